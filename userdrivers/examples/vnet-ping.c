// SPDX-License-Identifier: MIT
/*
 * vnet-ping: the raw frame interface, read from top to bottom.
 *
 *	vnet-ping --pci 0000:00:10.0 OWN_IP PEER_IP	in a guest, through VFIO
 *	vnet-ping --mmio LNRO0005:00 OWN_IP PEER_IP	without PCI, through nom.ko
 *	vnet-ping --vhost SOCKET OWN_IP PEER_IP		hosted, against a back-end
 *
 * Asks for the peer's Ethernet address, sends ten ICMP echo requests by
 * polling and ten by sleeping on the interrupt, and prints the round trips and
 * what the driver counted.  Exit status: 0, 1 no answer, 2 usage.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/ctx.h>

#define TIMEOUT_NS	1000000000ULL
#define ECHO_BYTES	(14 + 20 + 8 + 56)

static struct vnet *v;
static uint8_t own_ip[4], peer_ip[4], peer_mac[6];

static void checksum(uint8_t *from, unsigned int len, uint8_t *to)
{
	uint32_t sum = 0;
	unsigned int i;

	for (i = 0; i < len; i += 2)
		sum += (uint32_t)from[i] << 8 | from[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	to[0] = (uint8_t)(~sum >> 8);
	to[1] = (uint8_t)~sum;
}

static void send_frame(const uint8_t *frame, uint32_t len)
{
	struct vnet_seg seg = { frame, len };

	vnet_tx_reap(v, NULL, NULL);	/* what earlier frames used is free again */
	vnet_tx_copy(v, &seg, 1, 0, 0);
	vnet_tx_flush(v);		/* one doorbell */
}

static void send_arp(uint16_t op, const uint8_t *to_mac, const uint8_t *to_ip)
{
	uint8_t f[42] = { 0 };

	memset(f, 0xff, 6);
	memcpy(f + 6, vnet_mac(v), 6);
	memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00", 9);
	f[21] = (uint8_t)op;
	memcpy(f + 22, vnet_mac(v), 6);
	memcpy(f + 28, own_ip, 4);
	memcpy(f + 32, to_mac, 6);
	memcpy(f + 38, to_ip, 4);
	send_frame(f, sizeof(f));
}

static void send_echo(uint16_t seq)
{
	uint8_t f[ECHO_BYTES] = { 0 };

	memcpy(f, peer_mac, 6);
	memcpy(f + 6, vnet_mac(v), 6);
	f[12] = 0x08;
	memcpy(f + 14, "\x45\x00\x00\x54\x00\x00\x00\x00\x40\x01", 10);
	memcpy(f + 26, own_ip, 4);
	memcpy(f + 30, peer_ip, 4);
	checksum(f + 14, 20, f + 24);
	f[34] = 8;	/* echo request */
	f[40] = (uint8_t)(seq >> 8);
	f[41] = (uint8_t)seq;
	checksum(f + 34, ECHO_BYTES - 34, f + 36);
	send_frame(f, sizeof(f));
}

/* What a frame is to us: 'a' an ARP reply, 'e' the echo reply @seq, 0 nothing. */
static char look(const uint8_t *f, uint32_t len, uint16_t seq)
{
	static const uint8_t nobody[6];

	if (len >= 42 && f[12] == 8 && f[13] == 6 && !memcmp(f + 38, own_ip, 4)) {
		if (f[21] == 1)
			send_arp(2, f + 22, f + 28);
		if (f[21] != 2 || memcmp(f + 28, peer_ip, 4))
			return 0;
		memcpy(peer_mac, f + 22, 6);
		return memcmp(peer_mac, nobody, 6) ? 'a' : 0;
	}
	if (len >= ECHO_BYTES && f[12] == 8 && f[13] == 0 && f[23] == 1 && f[34] == 0 &&
	    f[40] == seq >> 8 && f[41] == (seq & 0xff))
		return 'e';
	return 0;
}

/* Until a frame of this kind arrives.  Polls, or sleeps on the interrupt's eventfd. */
static bool wait_for(char kind, uint16_t seq, bool sleep)
{
	struct pollfd pfd = { .fd = vnet_irq_fd(v), .events = POLLIN };
	uint64_t end = nomux_now_ns() + TIMEOUT_NS;
	struct vnet_rx rx[16];
	bool found = false;

	while (!found && nomux_now_ns() < end && !vnet_error(v, NULL)) {
		unsigned int i, n = vnet_rx_burst(v, rx, 16);

		for (i = 0; i < n; i++) {
			found |= look(rx[i].data, rx[i].len, seq) == kind;
			vnet_rx_release(v, rx[i].id);
		}
		vnet_rx_flush(v);
		if (!n && sleep) {
			if (vnet_irq_arm(v))	/* false: a frame has come meanwhile */
				poll(&pfd, 1, 100);
			vnet_irq_disarm(v);
		}
	}
	return found;
}

static bool ping(uint16_t first, bool sleep)
{
	uint64_t sum = 0;
	uint16_t seq;

	for (seq = first; seq < first + 10; seq++) {
		uint64_t start = nomux_now_ns();

		send_echo(seq);
		if (!wait_for('e', seq, sleep)) {
			printf("no answer to echo request %u\n", seq);
			return false;
		}
		sum += nomux_now_ns() - start;
	}
	printf("10 echoes %s: %llu us each\n", sleep ? "asleep" : "polling",
	       (unsigned long long)sum / 10000);
	return true;
}

static int run(void)
{
	const struct vnet_stats *s = vnet_stats(v);
	uint8_t unknown[6] = { 0 };
	int tries = 3;
	bool good;

	do {
		send_arp(1, unknown, peer_ip);
		good = wait_for('a', 0, false);
	} while (!good && --tries);
	if (!good)
		printf("nobody has that address\n");
	good = good && ping(0, false) && ping(10, true);
	printf("received %llu, sent %llu, doorbells %llu + %llu, interrupts %llu\n",
	       (unsigned long long)s->rx_packets, (unsigned long long)s->tx_packets,
	       (unsigned long long)s->doorbells_rx, (unsigned long long)s->doorbells_tx,
	       (unsigned long long)s->interrupts);
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct nomux_ctx *nom = NULL;
	int err = -1;

	if (argc != 5 || inet_pton(AF_INET, argv[3], own_ip) != 1 ||
	    inet_pton(AF_INET, argv[4], peer_ip) != 1 || nomux_clock_init()) {
		fprintf(stderr, "usage: vnet-ping (--pci BDF | --mmio NAME | --vhost SOCKET) OWN_IP PEER_IP\n");
		return 2;
	}
	if (!strcmp(argv[1], "--vhost"))
		err = vnet_open_vhost_user(argv[2], NULL, &v);
	else if (!nomux_open(&nom))
		err = !strcmp(argv[1], "--mmio") ? vnet_open_mmio(nom, argv[2], NULL, &v) :
						  vnet_open_vfio(nom, argv[2], NULL, &v);
	if (!err) {
		err = run();
		vnet_close(v);
	} else {
		fprintf(stderr, "vnet-ping: %s: %s\n", argv[2], strerror(-err));
		err = 1;
	}
	nomux_close(nom);
	return err;
}
