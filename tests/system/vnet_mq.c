// SPDX-License-Identifier: MIT
/*
 * vnet_mq - two queue pairs of a real device, each on a leased core of its own.
 *
 * Usage: vnet_mq BDF rss|auto [packed]; the interface is 10.0.N.2, N the function's
 * device number minus 26.  Run by tests/scripts/vnet_mq, which sends.
 *
 * Each pair answers ARP, and what comes to UDP port 7 with the number of the pair
 * as its first byte.  A datagram to port 9 ends the test.  Between two frames a pair
 * sleeps until its own interrupt.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/virtio_config.h>
#include <pthread.h>
#include <stdint.h>

#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define NR	2
#define MS	1000000ULL
#define AT_UDP	34	/* behind Ethernet and an IP header without options */

static struct {
	struct vnet *v;
	struct nomux_core *core;
	pthread_t thread;
	uint64_t datagrams, sleeps;
	int failed;
} pair[NR];

static struct nomux_ctx *nom;
static uint8_t ip4[4] = { 10, 0, 0, 2 };
static unsigned int ready;
static bool stop;

/* The reply to an ARP request for us, made of the request. */
static bool answer_arp(const uint8_t *mac, uint8_t *f, uint32_t len)
{
	if (len < 42 || memcmp(f + 20, "\0\1", 2) || memcmp(f + 38, ip4, 4))
		return false;
	memcpy(f, f + 6, 6);
	memcpy(f + 6, mac, 6);
	f[21] = 2;
	memcpy(f + 32, f + 22, 10);
	memcpy(f + 22, mac, 6);
	memcpy(f + 28, ip4, 4);
	return true;
}

/* The same datagram back; a sum of zero says that there is none. */
static bool answer_udp(unsigned int i, uint8_t *f, uint32_t len)
{
	uint8_t tmp[6];

	if (len < AT_UDP + 9 || f[23] != IPPROTO_UDP || memcmp(f + 30, ip4, 4))
		return false;
	if (f[AT_UDP + 3] == 9)
		__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	if (f[AT_UDP + 3] != 7)
		return false;
	pair[i].datagrams++;
	memcpy(tmp, f, 6);
	memcpy(f, f + 6, 6);
	memcpy(f + 6, tmp, 6);
	memcpy(tmp, f + 26, 4);
	memcpy(f + 26, f + 30, 4);
	memcpy(f + 30, tmp, 4);
	memcpy(tmp, f + AT_UDP, 2);
	memcpy(f + AT_UDP, f + AT_UDP + 2, 2);
	memcpy(f + AT_UDP + 2, tmp, 2);
	memset(f + AT_UDP + 6, 0, 2);
	f[AT_UDP + 8] = (uint8_t)i;
	return true;
}

static unsigned int turn(unsigned int i)
{
	struct vnet *v = pair[i].v;
	struct vnet_rx rx[32];
	unsigned int n = vnet_rx_burst(v, rx, 32), k;

	vnet_tx_reap(v, NULL, NULL);
	for (k = 0; k < n; k++) {
		uint8_t *f = rx[k].data;
		struct vnet_seg seg = { f, rx[k].len };
		uint16_t type = (uint16_t)(f[12] << 8 | f[13]);

		if (type == ETH_P_ARP ? answer_arp(vnet_mac(v), f, rx[k].len) :
		    type == ETH_P_IP && answer_udp(i, f, rx[k].len))
			vnet_tx_copy(v, &seg, 1, 0, 0);
		vnet_rx_release(v, rx[k].id);
	}
	vnet_rx_flush(v);
	if (vnet_tx_queued(v))
		vnet_tx_flush(v);
	return n;
}

static void *serve(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;
	struct nomux_core *core = pair[i].core;
	int event = nomux_event_alloc(core);

	pair[i].failed = event < 0 ? event : vnet_irq_bind(pair[i].v, core, (unsigned int)event);
	if (!pair[i].failed)
		pair[i].failed = nomux_core_enter(core);
	__atomic_add_fetch(&ready, 1, __ATOMIC_RELEASE);
	if (pair[i].failed)
		return NULL;
	nomux_unmask(core);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (turn(i))
			continue;
		nomux_mask(core);
		if (vnet_irq_arm(pair[i].v)) {
			pair[i].sleeps++;
			nomux_wait(core, 100 * MS);
		}
		vnet_irq_disarm(pair[i].v);
		nomux_unmask(core);
	}
	vnet_irq_unbind(pair[i].v);
	pair[i].failed = nomux_core_release(core);
	return NULL;
}

int main(int argc, char **argv)
{
	struct vnet_opts o = { .sz = sizeof(o), .nr_pairs = NR + 1 };
	bool rss = argc > 2 && !strcmp(argv[2], "rss"), packed = argc > 3 && !strcmp(argv[3], "packed");
	struct vnet *v = NULL;
	unsigned int i;

	if (argc < 3) {
		printf("1..0 # SKIP needs a device: run tests/scripts/vnet_mq\n");
		return T_SKIP;
	}
	ip4[2] = (uint8_t)(strtoul(argv[1] + 8, NULL, 16) - 26);
	t_start(100);
	T_NEED(nomux_open(&nom));
	nomux_clock_init();
	t_is(vnet_open_vfio(nom, argv[1], &o, &v), -EOPNOTSUPP, "more pairs than the device has are refused");
	o.nr_pairs = NR;
	T_NEED(vnet_open_vfio(nom, argv[1], &o, &v));
	t_is((long)vnet_nr_pairs(v), NR, "two pairs are there");
	t_is((long)vnet_steering(v), rss ? VNET_STEER_RSS : VNET_STEER_AUTO, "with the steering that is offered");
	t_is(!!(vnet_features(v) & 1ULL << VIRTIO_F_RING_PACKED), packed, "and the rings");
	for (i = 0; i < NR; i++) {
		pair[i].v = vnet_pair(v, i);
		T_NEED(nomux_core_claim(nom, NULL, &pair[i].core));
		T_NEED(-pthread_create(&pair[i].thread, NULL, serve, (void *)(uintptr_t)i));
	}
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < NR)
		usleep(1000);
	printf("# ready\n");
	for (i = 0; i < NR; i++)
		pthread_join(pair[i].thread, NULL);
	for (i = 0; i < NR; i++) {
		const struct vnet_stats *s = vnet_stats(pair[i].v);

		t_is(pair[i].failed, 0, "a pair had its core and its interrupt");
		t_ok(pair[i].datagrams > 50, "pair %u answered %" PRIu64 " datagrams", i, pair[i].datagrams);
		t_ok(s->interrupts > 5 && pair[i].sleeps > 5, "and was woken by its own vector: %" PRIu64
		     " interrupts, %" PRIu64 " sleeps", s->interrupts, pair[i].sleeps);
		t_is(vnet_check(pair[i].v), 0, "and is well");
	}
	vnet_close(v);
	nomux_close(nom);
	return t_end();
}
