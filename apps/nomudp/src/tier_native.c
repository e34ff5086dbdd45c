// SPDX-License-Identifier: MIT
/* tier_native.c - answers on the private stack: what its comfort costs beside the raw tier */
#include "request.h"
#include "server.h"
#include "tier.h"

#include <nomdrv/vnet.h>
#include <nomstack/look.h>
#include <nomux/log.h>

#include <errno.h>
#include <string.h>
#include <syslog.h>

#define DHCP_MS 15000
#define LOOK_MS 200
#define DATAGRAM_MAX 65493	/* the longest that nomstack_udp_send() takes, in fragments */

static struct nomstack *stack;
static uint16_t port;
static uint64_t requests, bytes, bad, unsent;

static void on_datagram(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t from)
{
	static uint8_t answer[DATAGRAM_MAX];
	uint32_t reply = 0;

	/* what came may be read only, and what is sent is copied by the stack */
	if (len <= sizeof(answer)) {
		memcpy(answer, data, len);
		reply = request_answer(answer, len);
	}
	if (!reply) {
		bad++;
		return;
	}
	if (nomstack_udp_send(s, port, ip4_be, from, answer, reply)) {
		unsent++;
		return;
	}
	requests++;
	bytes += reply;
}

static int native_open(struct server *srv, struct vnet *v)
{
	struct nomstack_opts opts = { .sz = sizeof(opts), .vnet = v, .ip4 = srv->opt.ip, .hostname = srv->opt.name };
	int ret = nomstack_open(&opts, &stack);

	if (ret) {
		die_message("cannot open the network stack: %s%s", strerror(-ret),
			    ret == -EINVAL ? ": --ip takes ADDR/LEN (10.0.0.2/24) or dhcp" : "");
		return ret == -EINVAL ? EXIT_USAGE : ret == -ENOMEM ? EXIT_NO_MEMORY : EXIT_DEVICE;
	}
	nomstack_knob_set(stack, "icmp_per_s", srv->opt.icmp_per_s);
	for (unsigned ms = 0; ; ms += LOOK_MS) {
		ret = nomstack_wait_address(stack, LOOK_MS);
		if (ret != -ETIMEDOUT || ms >= DHCP_MS || atomic_load(&srv->stop))
			break;
	}
	if (ret) {
		die_message(ret == -ETIMEDOUT ? "no DHCP server answered: give a fixed address with --ip ADDR/LEN" : "the device failed");
		return ret == -ETIMEDOUT ? EXIT_ADDRESS : EXIT_DEVICE;
	}
	port = (uint16_t)srv->opt.port;
	ret = nomstack_udp_bind(stack, port, on_datagram, NULL);
	if (ret) {
		die_message("cannot listen on UDP port %d: %s", port, strerror(-ret));
		return EXIT_ADDRESS;
	}
	ret = nomstack_look_open(stack, 0);
	if (ret)
		nomux_log(LOG_WARNING, "nomudp: nomctl cannot look at the stack: no file in /dev/shm: %s", strerror(-ret));
	return EXIT_OK;
}

static void native_close(void)
{
	nomstack_close(stack);
	stack = NULL;
}

static unsigned native_poll(uint64_t now_ns)
{
	return nomstack_poll(stack);	/* reads the clock itself */
}

static uint64_t native_next_ns(uint64_t now_ns)
{
	return nomstack_next_ns(stack);
}

static bool native_idle_prepare(void)
{
	return nomstack_idle_prepare(stack);
}

static void native_idle_done(void)
{
	nomstack_idle_done(stack);
}

static int native_restart(void)
{
	return nomstack_restart(stack);
}

static int native_announce(void)
{
	return nomstack_announce(stack);
}

static bool native_look(void)
{
	return nomstack_look(stack);
}

static int native_knob_set(const char *name, int64_t v)
{
	return nomstack_knob_set(stack, name, v);
}

static int native_knob_get(const char *name, int64_t *out)
{
	return nomstack_knob_get(stack, name, out);
}

static void native_show(struct server *srv)
{
	struct metrics *m = &srv->m;
	struct nomstack_stats s;

	nomstack_stats(stack, &s);
	metric_set(m, M_REQUESTS, requests);
	metric_set(m, M_BYTES, bytes);
	metric_set(m, M_BAD, bad);
	metric_set(m, M_UNSENT, unsent);
	metric_set(m, M_ICMP_LIMITED, s.drop_icmp);
	metric_set(m, M_RX_BATCHES, s.rx_batches);
	metric_set(m, M_TX_BATCHES, s.tx_batches);
	metric_set(m, M_STACK_DROPS, s.drop_csum + s.drop_mem + s.drop_proto);
	metric_set(m, M_DELAY_RX, s.delay_max_ns_rx);
}

const struct tier_ops tier_native = {
	.open = native_open, .close = native_close, .poll = native_poll, .next_ns = native_next_ns,
	.idle_prepare = native_idle_prepare, .idle_done = native_idle_done, .restart = native_restart, .announce = native_announce, .look = native_look,
	.knobs = nomstack_knobs, .knob_set = native_knob_set, .knob_get = native_knob_get, .show = native_show,
};
