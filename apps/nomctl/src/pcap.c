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

void pcap_fill_csum(uint8_t *f, uint32_t bytes)
{
	uint8_t *ip = f + ETH_BYTES, *l4, *at;
	uint32_t ihl, ip_bytes, l4_bytes, s;

	if (bytes < ETH_BYTES + 20 || f[12] != 0x08 || f[13] || ip[0] >> 4 != 4)
		return;
	ihl = (ip[0] & 0x0fu) * 4;
	ip_bytes = (uint32_t)ip[2] << 8 | ip[3];
	if (ihl < 20 || ip_bytes < ihl || ip_bytes > bytes - ETH_BYTES)
		return;
	l4 = ip + ihl;
	l4_bytes = ip_bytes - ihl;
	if (ip[9] == 6 && l4_bytes >= 20)
		at = l4 + 16;
	else if (ip[9] == 17 && l4_bytes >= 8)
		at = l4 + 6;
	else
		return;
	at[0] = at[1] = 0;
	s = sum(ip + 12, 8, ip[9] + l4_bytes);
	s = sum(l4, l4_bytes, s);
	s = (s & 0xffff) + (s >> 16);
	s = ~((s & 0xffff) + (s >> 16)) & 0xffff;
	if (!s && ip[9] == 17)
		s = 0xffff;		/* RFC 768: 0 means none */
	at[0] = (uint8_t)(s >> 8);
	at[1] = (uint8_t)s;
}
