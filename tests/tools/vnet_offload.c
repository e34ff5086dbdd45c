// SPDX-License-Identifier: MIT
/*
 * vnet_offload: does checksum offload work, judged by a stranger?
 *
 *	vnet_offload --pci [0000:00:10.0]	in the guest, through VFIO
 *	vnet_offload --vhost SOCKET		hosted
 *
 * Beyond a TAP, one hop behind 10.0.0.1, is a Linux stack, 10.9.0.2, with a
 * listener at port 80; tests/scripts/vnet_tap builds that.  It answers a UDP
 * datagram to a closed port with an ICMP error and a SYN with a SYN-ACK, but
 * only if their checksums are good, which others had to complete; and the
 * SYN-ACK comes back with a partial one, since it never crossed a real wire.
 *
 * Then once more with large receive: 10.0.0.1 itself sends LARGE_BYTES from port
 * 81, in frames as long as its window and ours allow.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <linux/virtio_net.h>
#include <poll.h>

#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/ctx.h>

#include "../system/nomux_tap.h"

#define ETH		14
#define IP		20
#define PATIENCE_NS	3000000000ULL
#define MISS_NS		300000000ULL	/* how long no answer counts as none */
#define LARGE		(1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_TSO4)
#define LARGE_BYTES	1000000u

static const uint8_t own_ip[4] = { 10, 0, 0, 2 }, router_ip[4] = { 10, 0, 0, 1 };
static const uint8_t peer_ip[4] = { 10, 9, 0, 2 };
static uint8_t peer_mac[6], got[VNET_RX_LARGE_MAX_BYTES];
static const uint8_t *to_ip = peer_ip;
static unsigned int gso;	/* of the last frame */
static struct vnet *v;

static void put16(uint8_t *p, unsigned int x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static uint32_t sum(const uint8_t *p, unsigned int len, uint32_t s)
{
	for (; len > 1; len -= 2, p += 2)
		s += (uint32_t)p[0] << 8 | p[1];
	return len ? s + ((uint32_t)p[0] << 8) : s;
}

static unsigned int fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

/* Ethernet and IPv4 headers around @len bytes of transport at f + 34. */
static unsigned int wrap(uint8_t *f, uint8_t proto, unsigned int len)
{
	static unsigned int id;

	memcpy(f, peer_mac, 6);
	memcpy(f + 6, vnet_mac(v), 6);
	put16(f + 12, 0x0800);
	memset(f + ETH, 0, IP);
	f[ETH] = 0x45;
	put16(f + ETH + 2, IP + len);
	put16(f + ETH + 4, ++id);
	f[ETH + 8] = 64;
	f[ETH + 9] = proto;
	memcpy(f + ETH + 12, own_ip, 4);
	memcpy(f + ETH + 16, to_ip, 4);
	put16(f + ETH + 10, ~fold(sum(f + ETH, IP, 0)));
	return ETH + IP + len;
}

static unsigned int pseudo(uint8_t proto, unsigned int len)
{
	return fold(sum(own_ip, 4, sum(to_ip, 4, proto + len)));
}

static int transmit(const uint8_t *f, unsigned int len, uint16_t start, uint16_t offset)
{
	/* Two segments: the sum must run across them. */
	struct vnet_seg seg[2] = { { f, len / 2 }, { f + len / 2, len - len / 2 } };
	int err = vnet_tx_copy(v, seg, 2, start, offset);

	vnet_tx_flush(v);
	return err;
}

/* The next frame, put together in got[] and given back; its length and first part, or 0. */
static unsigned int next_frame(struct vnet_rx *first)
{
	static struct vnet_rx rx[VNET_RX_SEG_MAX];
	static unsigned int at, nr;
	unsigned int len = 0;
	bool more;

	if (at == nr) {
		at = 0;
		nr = vnet_rx_burst(v, rx, VNET_RX_SEG_MAX);
		if (!nr)
			return 0;
	}
	*first = rx[at];
	gso = first->flags & VNET_RX_LARGE ? vnet_rx_gso_bytes(first) : 0;
	do {
		memcpy(got + len, rx[at].data, rx[at].len);
		len += rx[at].len;
		more = rx[at].flags & VNET_RX_MORE;
		vnet_rx_release(v, rx[at++].id);
	} while (more);
	vnet_rx_flush(v);
	return len;
}

/* The next IPv4 frame of @proto for us; ARP requests for us are answered meanwhile.  Its length. */
static unsigned int receive(uint8_t proto, uint64_t ns, struct vnet_rx *out)
{
	uint64_t end = nomux_now_ns() + ns;

	while (nomux_now_ns() < end) {
		const uint8_t *f = got;
		unsigned int len;

		vnet_tx_reap(v, NULL, NULL);
		len = next_frame(out);
		if (!len) {
			poll(NULL, 0, 1);
			continue;
		}
		if (len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 1 && !memcmp(f + 38, own_ip, 4)) {
			uint8_t r[42];

			memcpy(r, f, 42);
			memcpy(r, f + 6, 6);
			memcpy(r + 6, vnet_mac(v), 6);
			r[21] = 2;
			memcpy(r + 22, vnet_mac(v), 6);
			memcpy(r + 28, own_ip, 4);
			memcpy(r + 32, f + 22, 10);
			transmit(r, 42, 0, 0);
		}
		if ((proto == 0 && len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2) ||
		    (proto && len >= ETH + IP && f[12] == 8 && f[13] == 0 && f[ETH + 9] == proto))
			return len;
	}
	return 0;
}

static bool resolve(void)
{
	uint8_t f[42] = { 0 };
	struct vnet_rx rx;
	int tries;

	for (tries = 0; tries < 5; tries++) {
		memset(f, 0xff, 6);
		memcpy(f + 6, vnet_mac(v), 6);
		memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
		memcpy(f + 22, vnet_mac(v), 6);
		memcpy(f + 28, own_ip, 4);
		memcpy(f + 38, router_ip, 4);
		transmit(f, 42, 0, 0);
		if (receive(0, PATIENCE_NS, &rx)) {
			memcpy(peer_mac, got + 6, 6);
			return true;
		}
	}
	return false;
}

/* A datagram of @payload bytes to a closed port; @spoil the sum by that much. */
static bool udp_is_answered(unsigned int payload, unsigned int spoil)
{
	uint8_t f[1600] = { 0 };
	unsigned int len = 8 + payload, i, total;
	struct vnet_rx rx;

	put16(f + 34, 40000 + payload);
	put16(f + 36, 9);
	put16(f + 38, len);
	for (i = 0; i < payload; i++)
		f[42 + i] = (uint8_t)(i * 7 + 1);
	put16(f + 40, fold(pseudo(17, len) + spoil));
	total = wrap(f, 17, len);
	if (transmit(f, total, 34, 6))
		return false;
	/* ICMP destination unreachable, port, quoting our datagram. */
	return receive(1, spoil ? MISS_NS : PATIENCE_NS, &rx) && got[34] == 3 && got[35] == 3 &&
		got[42 + 20] == f[34] && got[42 + 21] == f[35];
}

/* A TCP segment without data. */
static int segment(uint16_t from, uint16_t to, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window)
{
	uint8_t f[54] = { 0 };

	put16(f + 34, from);
	put16(f + 36, to);
	put16(f + 38, seq >> 16);
	put16(f + 40, seq & 0xffff);
	put16(f + 42, ack >> 16);
	put16(f + 44, ack & 0xffff);
	f[46] = 5 << 4;
	f[47] = flags;
	put16(f + 48, window);
	put16(f + 50, pseudo(6, 20));
	wrap(f, 6, 20);
	return transmit(f, 54, 34, 16);
}

static bool syn_is_answered(struct vnet_rx *rx)
{
	return !segment(41000, 80, 0x1234, 0, 2, 1000) && receive(6, PATIENCE_NS, rx) &&
		(got[47] & 0x3f) == 0x12;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The next TCP frame from port @from to @to; others, of earlier connections, are dropped. */
static unsigned int receive_tcp(uint16_t from, uint16_t to, struct vnet_rx *rx)
{
	uint64_t end = nomux_now_ns() + PATIENCE_NS;
	unsigned int len;

	while (nomux_now_ns() < end) {
		len = receive(6, PATIENCE_NS, rx);
		if (len >= 54 && (got[34] << 8 | got[35]) == from && (got[36] << 8 | got[37]) == to)
			return len;
	}
	return 0;
}

/* What 10.0.0.1:81 sends: byte i is i * 7 + (i >> 8), from the start of the stream. */
static void large(void)
{
	unsigned int frames = 0, large = 0, longest = 0, mss = 0, sums = 0, spoilt = 0, len;
	/* The reset at the end may be lost, and then the connection is there for some time. */
	const uint16_t port = (uint16_t)(42000 + nomux_now_ns() / 1000 % 10000);
	uint32_t next, taken = 0;
	struct vnet_rx rx;

	if (!t_ok((vnet_features(v) & LARGE) == LARGE, "large receive is negotiated"))
		return;
	to_ip = router_ip;
	if (!t_ok(!segment(port, 81, 0, 0, 2, 65535) && receive_tcp(81, port, &rx) &&
		  (got[47] & 0x3f) == 0x12, "the router accepts a connection"))
		return;
	next = get32(got + 38) + 1;
	segment(port, 81, 1, next, 0x10, 65535);
	while (taken < LARGE_BYTES && (len = receive_tcp(81, port, &rx))) {
		unsigned int at = ETH + IP + (got[46] >> 4) * 4u, end = ETH + (unsigned int)(got[16] << 8 | got[17]), i;

		if (end > len || at > end)
			break;
		if (at == end)
			continue;
		frames++;
		if (get32(got + 38) == next) {
			for (i = at; i < end; i++, taken++)
				spoilt += got[i] != (uint8_t)(taken * 7 + (taken >> 8));
			next += end - at;
			large += (rx.flags & VNET_RX_LARGE) != 0;
			sums += (rx.flags & VNET_RX_CSUM_OK) != 0;
			mss = gso ? gso : mss;
			longest = end > longest ? end : longest;
		}
		segment(port, 81, 1, next, 0x10, 65535);
	}
	segment(port, 81, 1, next, 0x04, 0);
	printf("# %u bytes in %u frames, %u of them large, the longest %u bytes, segments of %u\n", taken, frames,
	       large, longest, mss);
	t_is(taken, LARGE_BYTES, "the stream comes in whole");
	t_is(spoilt, 0, "and as it was sent");
	t_ok(large && longest > 4 * 1514, "in large frames");
	t_ok(mss == 536, "made of segments as long as we said, with nothing, that they may be (%u)", mss);
	t_ok(sums == frames, "with sums that need not be looked at");
	t_ok(vnet_stats(v)->rx_large >= large && vnet_stats(v)->rx_merged >= 5, "the counters say so");
	t_is(vnet_error(v, NULL), 0, "the driver still runs");
}

static void run(void)
{
	uint64_t want = 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM;
	struct vnet_rx rx;
	bool good = true;
	unsigned int i;

	if (!t_ok((vnet_features(v) & want) == want, "checksum offload is negotiated both ways"))
		return;
	if (!t_ok(resolve(), "the router answers ARP"))
		return;
	for (i = 0; i < 5; i++)
		good &= udp_is_answered(1 + i * 289, 0);
	t_ok(good, "datagrams of 1 to 1157 bytes with an offloaded sum are taken");
	t_ok(!udp_is_answered(100, 1), "one whose pseudo header's sum is wrong is not");
	t_ok(syn_is_answered(&rx), "a SYN with an offloaded sum is answered");
	t_ok(rx.flags & VNET_RX_CSUM_OK, "the answer's checksum is vouched for");
	t_ok(vnet_stats(v)->tx_csum_offload >= 7 && vnet_stats(v)->rx_csum_ok >= 1,
	     "the counters say so: %llu, %llu", (unsigned long long)vnet_stats(v)->tx_csum_offload,
	     (unsigned long long)vnet_stats(v)->rx_csum_ok);
	t_is(vnet_error(v, NULL), 0, "the driver still runs");
}

int main(int argc, char **argv)
{
	struct vnet_opts o = { .sz = sizeof(o) };
	struct nomux_ctx *nom = NULL;
	const char *name = argc == 3 ? argv[2] : NULL;
	bool pci = argc >= 2 && !strcmp(argv[1], "--pci");
	int round;
	glob_t g;

	if (!pci && (argc != 3 || strcmp(argv[1], "--vhost"))) {
		fprintf(stderr, "usage: vnet_offload --pci [BDF] | --vhost SOCKET\n");
		return 2;
	}
	t_start(60);
	T_NEED(nomux_clock_init());
	if (pci)
		T_NEED(nomux_open(&nom));
	/* The first virtio-net function, unless one is named. */
	if (pci && !name && glob("/sys/bus/pci/devices/*/virtio*/net", 0, NULL, &g) == 0) {
		*strstr(g.gl_pathv[0], "/virtio") = 0;
		name = strrchr(g.gl_pathv[0], '/') + 1;
	}
	if (!name)
		T_NEED(-ENODEV);
	for (round = 0; round < 2; round++) {
		T_NEED(pci ? vnet_open_vfio(nom, name, &o, &v) : vnet_open_vhost_user(name, &o, &v));
		if (round)
			large();
		else
			run();
		vnet_close(v);
		o.features_on = LARGE;
	}
	if (nom)
		nomux_close(nom);
	return t_end();
}
