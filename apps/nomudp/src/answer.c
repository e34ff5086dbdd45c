// SPDX-License-Identifier: MIT
/* answer.c - the responder on the raw tier: which frames are answered, and how often */
#include "answer.h"

#include "request.h"

#include <nomdrv/vnet.h>

#define SECOND_NS 1000000000ull
#define BURST_NS (SECOND_NS / 10)

bool pace_allows(struct pace *p, uint64_t now_ns)
{
	if (!p->per_s || p->due_ns > now_ns + BURST_NS) {
		p->limited++;
		return false;
	}
	p->due_ns = (p->due_ns > now_ns ? p->due_ns : now_ns) + SECOND_NS / p->per_s;
	p->answers++;
	return true;
}

/* What a responder hears once in a while. */
static __attribute__((noinline)) void answer_rare(struct answerer *a, uint64_t now_ns, enum nomstack_frame_kind kind,
						  const struct nomstack_frame *f, struct nomstack_raw_answer *out)
{
	if (kind == NOMSTACK_FRAME_ARP && pace_allows(&a->arp, now_ns))
		nomstack_frame_answer_arp(f, &a->self, out);
	if (kind == NOMSTACK_FRAME_ECHO && pace_allows(&a->icmp, now_ns))
		nomstack_frame_answer_echo(f, out);
}

void answer_frames(struct answerer *a, uint64_t now_ns, const struct vnet_rx *rx, struct nomstack_raw_answer *out, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		struct nomstack_frame f;
		enum nomstack_frame_kind kind = nomstack_frame_read(&rx[i], &a->self, &f);
		uint32_t bytes;

		a->kind[kind]++;
		out[i].len = 0;
		if (__builtin_expect(kind != NOMSTACK_FRAME_UDP, 0)) {
			answer_rare(a, now_ns, kind, &f, &out[i]);
			continue;
		}
		if (f.dst_port != a->port) {
			a->other_port++;
			continue;
		}
		bytes = request_answer(f.payload, f.payload_bytes);
		if (!bytes) {
			a->bad++;
			continue;
		}
		nomstack_frame_answer_udp(&f, bytes, a->offload, &out[i]);
		a->requests++;
		a->bytes += bytes;
	}
}
