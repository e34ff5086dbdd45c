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

static const uint8_t own_ip[4] = { 10, 0, 0, 2 }, router_ip[4] = { 10, 0, 0, 1 };
static const uint8_t peer_ip[4] = { 10, 9, 0, 2 };
static uint8_t peer_mac[6];
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
	memcpy(f + ETH + 16, peer_ip, 4);
	put16(f + ETH + 10, ~fold(sum(f + ETH, IP, 0)));
	return ETH + IP + len;
}

static unsigned int pseudo(uint8_t proto, unsigned int len)
{
	return fold(sum(own_ip, 4, sum(peer_ip, 4, proto + len)));
}

static int transmit(const uint8_t *f, unsigned int len, uint16_t start, uint16_t offset)
{
	/* Two segments: the sum must run across them. */
	struct vnet_seg seg[2] = { { f, len / 2 }, { f + len / 2, len - len / 2 } };
	int err = vnet_tx_copy(v, seg, 2, start, offset);

	vnet_tx_flush(v);
	return err;
}

/* The next IPv4 frame of @proto for us; ARP requests for us are answered meanwhile. */
static bool receive(uint8_t proto, uint64_t ns, struct vnet_rx *out, uint8_t *copy)
{
	uint64_t end = nomux_now_ns() + ns;
	struct vnet_rx rx;

	while (nomux_now_ns() < end) {
		uint8_t *f;
		bool ours;

		vnet_tx_reap(v, NULL, NULL);
		if (!vnet_rx_burst(v, &rx, 1)) {
			poll(NULL, 0, 1);
			continue;
		}
		f = rx.data;
		if (rx.len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 1 && !memcmp(f + 38, own_ip, 4)) {
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
		ours = (proto == 0 && rx.len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2) ||
			(proto && rx.len >= ETH + IP && f[12] == 8 && f[13] == 0 && f[ETH + 9] == proto);
		if (ours) {
			*out = rx;
			memcpy(copy, f, rx.len);
		}
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
		if (ours)
			return true;
	}
	return false;
}

static bool resolve(void)
{
	uint8_t f[42] = { 0 }, got[2048];
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
		if (receive(0, PATIENCE_NS, &rx, got)) {
			memcpy(peer_mac, got + 6, 6);
			return true;
		}
	}
	return false;
}

/* A datagram of @payload bytes to a closed port; @spoil the sum by that much. */
static bool udp_is_answered(unsigned int payload, unsigned int spoil)
{
	uint8_t f[1600] = { 0 }, got[2048];
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
	return receive(1, spoil ? MISS_NS : PATIENCE_NS, &rx, got) && got[34] == 3 && got[35] == 3 &&
		got[42 + 20] == f[34] && got[42 + 21] == f[35];
}

static bool syn_is_answered(struct vnet_rx *rx, uint8_t *got)
{
	uint8_t f[54] = { 0 };

	put16(f + 34, 41000);
	put16(f + 36, 80);
	put16(f + 40, 0x1234);
	f[46] = 5 << 4;
	f[47] = 2;
	put16(f + 48, 1000);
	put16(f + 50, pseudo(6, 20));
	wrap(f, 6, 20);
	return !transmit(f, 54, 34, 16) && receive(6, PATIENCE_NS, rx, got) && (got[47] & 0x3f) == 0x12;
}

static void run(void)
{
	uint64_t want = 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM;
	uint8_t got[2048];
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
	t_ok(syn_is_answered(&rx, got), "a SYN with an offloaded sum is answered");
	t_ok(rx.flags & VNET_RX_CSUM_OK, "the answer's checksum is vouched for");
	t_ok(vnet_stats(v)->tx_csum_offload >= 7 && vnet_stats(v)->rx_csum_ok >= 1,
	     "the counters say so: %llu, %llu", (unsigned long long)vnet_stats(v)->tx_csum_offload,
	     (unsigned long long)vnet_stats(v)->rx_csum_ok);
	t_is(vnet_error(v, NULL), 0, "the driver still runs");
}

int main(int argc, char **argv)
{
	struct nomux_ctx *nom = NULL;
	glob_t g;

	t_start(60);
	T_NEED(nomux_clock_init());
	if (argc == 3 && !strcmp(argv[1], "--vhost")) {
		T_NEED(vnet_open_vhost_user(argv[2], NULL, &v));
	} else if (argc >= 2 && !strcmp(argv[1], "--pci")) {
		T_NEED(nomux_open(&nom));
		/* The first virtio-net function, unless one is named. */
		if (argc < 3 && glob("/sys/bus/pci/devices/*/virtio*/net", 0, NULL, &g) == 0) {
			*strstr(g.gl_pathv[0], "/virtio") = 0;
			T_NEED(vnet_open_vfio(nom, strrchr(g.gl_pathv[0], '/') + 1, NULL, &v));
		} else {
			T_NEED(vnet_open_vfio(nom, argv[2], NULL, &v));
		}
	} else {
		fprintf(stderr, "usage: vnet_offload --pci [BDF] | --vhost SOCKET\n");
		return 2;
	}
	run();
	vnet_close(v);
	if (nom)
		nomux_close(nom);
	return t_end();
}
