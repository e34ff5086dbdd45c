// SPDX-License-Identifier: MIT
/* A capture file: pcap.h. */
#include "pcap.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC_NS 0xa1b23c4du	/* section 4: time stamps have nanoseconds */
#define LINKTYPE_ETHERNET 1u
#define ETH_BYTES 14u

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2], snap_bytes, linktype;
};

struct frame_header {
	uint32_t s, ns, bytes, wire_bytes;
};

_Static_assert(sizeof(struct file_header) == 24 && sizeof(struct frame_header) == 16, "format");

/* All or nothing, as far as a file can be cut. */
static int append(struct pcap *p, struct iovec *v, int n)
{
	uint64_t written = 0;

	while (n) {
		ssize_t got = writev(p->fd, v, n);
		int err = got < 0 ? errno : 0;

		if (err == EINTR)
			continue;
		if (got <= 0) {
			/* A pipe stays as it is. */
			if (written && ftruncate(p->fd, (off_t)p->bytes) == 0)
				lseek(p->fd, (off_t)p->bytes, SEEK_SET);
			return -(err ? err : EIO);
		}
		written += (uint64_t)got;
		for (; n && (size_t)got >= v->iov_len; v++, n--)
			got -= (ssize_t)v->iov_len;
		if (n) {
			v->iov_base = (char *)v->iov_base + got;
			v->iov_len -= (size_t)got;
		}
	}
	p->bytes += written;
	return 0;
}

int pcap_begin(struct pcap *p, int fd, uint32_t snap_bytes)
{
	struct file_header h = {
		.magic = MAGIC_NS, .major = 2, .minor = 4, .snap_bytes = snap_bytes, .linktype = LINKTYPE_ETHERNET,
	};
	struct iovec v = { &h, sizeof(h) };

	*p = (struct pcap){ .fd = fd };
	return append(p, &v, 1);
}

int pcap_frame(struct pcap *p, uint64_t when_ns, const void *data, uint32_t bytes, uint32_t wire_bytes)
{
	struct frame_header h = { (uint32_t)(when_ns / 1000000000), (uint32_t)(when_ns % 1000000000), bytes, wire_bytes };
	struct iovec v[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)data, bytes } };
	int err = append(p, v, bytes ? 2 : 1);

	if (!err)
		p->frames++;
	return err;
}

static uint32_t sum(const uint8_t *p, uint32_t n, uint32_t s)
{
	for (uint32_t i = 0; i < n; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return s;
}

/* What a sum covers besides the segment, and where the segment is. */
struct covered {
	const uint8_t *addrs;
	uint32_t addrs_bytes, proto, l4_at, l4_bytes;
};

static bool find_l4(const uint8_t *f, uint32_t bytes, struct covered *out)
{
	const uint8_t *ip = f + ETH_BYTES;
	uint32_t head, all;

	if (bytes < ETH_BYTES + 20)
		return false;
	if (f[12] == 0x08 && !f[13] && ip[0] >> 4 == 4) {
		head = (ip[0] & 0x0fu) * 4;
		all = (uint32_t)ip[2] << 8 | ip[3];
		*out = (struct covered){ ip + 12, 8, ip[9], 0, 0 };
	} else if (f[12] == 0x86 && f[13] == 0xdd && ip[0] >> 4 == 6 && bytes >= ETH_BYTES + 40) {
		head = 40;
		all = head + ((uint32_t)ip[4] << 8 | ip[5]);
		*out = (struct covered){ ip + 8, 32, ip[6], 0, 0 };
	} else {
		return false;
	}
	if (head < 20 || all < head || all > bytes - ETH_BYTES)
		return false;
	out->l4_at = ETH_BYTES + head;
	out->l4_bytes = all - head;
	return true;
}

void pcap_fill_csum(uint8_t *f, uint32_t bytes)
{
	struct covered c;
	uint8_t *at;
	uint32_t s;

	if (!find_l4(f, bytes, &c))
		return;
	if (c.proto == 6 && c.l4_bytes >= 20)
		at = f + c.l4_at + 16;
	else if (c.proto == 17 && c.l4_bytes >= 8)
		at = f + c.l4_at + 6;
	else
		return;
	at[0] = at[1] = 0;
	s = sum(c.addrs, c.addrs_bytes, c.proto + c.l4_bytes);
	s = sum(f + c.l4_at, c.l4_bytes, s);
	s = (s & 0xffff) + (s >> 16);
	s = ~((s & 0xffff) + (s >> 16)) & 0xffff;
	if (!s && c.proto == 17)
		s = 0xffff;		/* RFC 768: 0 means none */
	at[0] = (uint8_t)(s >> 8);
	at[1] = (uint8_t)s;
}
