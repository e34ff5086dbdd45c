// SPDX-License-Identifier: MIT
/*
 * tcp.c - libFuzzer target: segments into established connections
 *
 * Three connections are opened in an orderly way.  An input is then records of
 * what the peer sends on one of them: flags, sequence and acknowledgment numbers
 * as distances from where they should be, window, options, data; and of what
 * the application does meanwhile.  So no byte is lost on getting past demux
 * and checksums.
 *
 * A record: control, flags, distance of seq (16 bits, signed), of ack, window,
 * length of options (4 bits) and data (8 bits); options and data follow.
 */
#include "../../unit/bytes.h"
#include "device.h"

#include "internal.h"
#include "look.h"

#include "lwip/priv/tcp_priv.h"

#include <linux/virtio_net.h>
#include <string.h>

#define NR_PEERS	3
#define RECORDS_MAX	200

struct peer {
	uint16_t port;
	uint32_t seq, ack;	/* where they should be, as far as known */
};

static struct peer peers[NR_PEERS];
static struct rtt nobody_rtt[NOMSTACK__MAX_CONNS];

static void segment(const struct peer *p, unsigned flags, uint32_t seq, uint32_t ack, unsigned window, const uint8_t *opt,
		    unsigned opt_len, const uint8_t *data, unsigned len)
{
	uint8_t f[54 + 40 + 2000] = "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x08\x00\x45";
	uint8_t *ip = f + 14, *t = ip + 20;
	unsigned hdr = 20 + ((opt_len + 3) & ~3u);

	put16(ip + 2, 20 + hdr + len);
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, PEER_IP);
	put32(ip + 16, OUR_IP);
	put16(t, p->port);
	put16(t + 2, 80);
	put32(t + 4, seq);
	put32(t + 8, ack);
	t[12] = (uint8_t)(hdr << 2);
	t[13] = (uint8_t)flags;
	put16(t + 14, window);
	if (opt_len)
		memcpy(t + 20, opt, opt_len);
	if (len)
		memcpy(t + hdr, data, len);
	fuzz_fix_sums(f, 34 + hdr + len);
	fuzz_inject(f, 34 + hdr + len, 0);
}

/* What the stack expects next and has sent last, if it still knows the connection. */
static void follow(struct peer *p)
{
	ip_addr_t us = { 0 }, them = { 0 };
	struct tcp_pcb *pcb;

	ip_2_ip4(&us)->addr = lwip_htonl(OUR_IP);
	ip_2_ip4(&them)->addr = lwip_htonl(PEER_IP);
	pcb = tcp_pcb_hash_find(&them, p->port, &us, 80, NETIF_NO_INDEX);
	if (!pcb)
		return;
	p->seq = pcb->rcv_nxt;
	p->ack = pcb->snd_nxt;
	/* What lwIP itself relies on.  TCP_SEQ_* of its own would be the same code twice. */
	FUZZ_ASSERT((int32_t)(pcb->snd_nxt - pcb->lastack) >= 0);
	/* A FIN that went with the last data is not in snd_lbb. */
	FUZZ_ASSERT((int32_t)(pcb->snd_lbb + !!(pcb->flags & TF_FIN) - pcb->snd_nxt) >= 0);
	FUZZ_ASSERT(pcb->rcv_wnd <= TCP_WND_MAX(pcb));
	FUZZ_ASSERT(pcb->snd_queuelen <= TCP_SND_QUEUELEN + 2);
	FUZZ_ASSERT(pcb->snd_buf <= TCP_SND_BUF);
}

static void handshake(struct nomstack *s, struct peer *p, unsigned options)
{
	/* MSS 1460; SACK permitted; window scale 7 */
	static const uint8_t opt[] = { 2, 4, 0x05, 0xb4, 4, 2, 1, 1, 3, 3, 7, 1 };

	segment(p, TCP_SYN, p->seq, 0, 65535, opt, options & 8 ? 12 : options & 4 ? 8 : 4, NULL, 0);
	fuzz_turn(s, 1000000);
	follow(p);
	segment(p, TCP_ACK, p->seq, p->ack, 65535, NULL, 0, NULL, 0);
	fuzz_turn(s, 1000000);
	follow(p);
}

static void record(struct nomstack *s, struct input *in)
{
	unsigned control = take8(in), flags = take8(in);
	struct peer *p = &peers[(control >> 4) % NR_PEERS];
	uint32_t seq, ack;
	unsigned window, opt_len, len;
	const uint8_t *opt, *data;

	follow(p);
	if (control & 0x80) {
		fuzz_app_act(flags & 15, flags >> 4, take8(in));
		fuzz_turn(s, fuzz_time(control & 15));
		return;
	}
	seq = p->seq + (uint32_t)(int16_t)take16(in);
	ack = p->ack + (uint32_t)(int16_t)take16(in);
	window = take16(in);
	opt_len = take8(in) % 41;
	len = take8(in) * 8u;
	if (opt_len > in->left)
		opt_len = (unsigned)in->left;
	opt = in->at;
	in->at += opt_len;
	in->left -= opt_len;
	if (len > in->left)
		len = (unsigned)in->left;
	data = in->at;
	in->at += len;
	in->left -= len;
	segment(p, flags, seq, ack, window, opt, opt_len, data, len);
	if (!(control & 0x40))
		fuzz_turn(s, fuzz_time(control & 15));
	follow(p);
}

/* What nomctl stat would show makes sense in any state. */
static void look(struct nomstack *s)
{
	static struct nomstack_lk_conn rows[NOMSTACK__LOOK_ROWS];
	static struct look nobody;
	uint64_t next = 0;
	unsigned n;

	nobody.rtt = nobody_rtt;
	nobody.rtt_gen = 1;		/* nothing was measured */
	s->look = &nobody;
	do {
		n = nomstack__look_conns(s, next, rows, NOMSTACK__LOOK_ROWS, &next);
		for (unsigned i = 0; i < n; i++) {
			if (rows[i].state == NOMSTACK_LK_LISTEN)
				continue;
			FUZZ_ASSERT(rows[i].state < NOMSTACK_LK_NR_STATES);
			FUZZ_ASSERT(rows[i].send_q <= TCP_SND_BUF + 2 && rows[i].unacked <= rows[i].send_q);
			FUZZ_ASSERT(rows[i].recv_q <= TCP_WND && rows[i].ooseq <= TCP_WND);
		}
	} while (next != NOMSTACK_LK_END);
	s->look = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct input in = { bytes, size };
	unsigned options = take8(&in);
	struct nomstack *s = fuzz_open((options & 1 ? 1ull << VIRTIO_NET_F_CSUM : 0) |
				       (options & 2 ? 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 : 0), false, NULL);

	for (unsigned i = 0; i < NR_PEERS; i++) {
		peers[i] = (struct peer){ .port = (uint16_t)(5000 + i), .seq = 0xffffff00u + i * 100 };
		handshake(s, &peers[i], options);
	}
	FUZZ_ASSERT(fuzz_app_open() == NR_PEERS);
	for (unsigned n = 0; in.left && n < RECORDS_MAX; n++)
		record(s, &in);
	fuzz_turn(s, 0);
	look(s);
	fuzz_close(s);
	return 0;
}
