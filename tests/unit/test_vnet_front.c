// SPDX-License-Identifier: MIT
/*
 * The vhost-user front-end against a back-end that answers badly, and against
 * one that runs in a thread of its own: what two processors do to the
 * barriers cannot be seen when one thread plays both sides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "fds.h"
#include "nomdrv/vnet.h"
#include "nomux/log.h"
#include "../../userdrivers/vhostbe/vhostbe.h"
#include "vhu_rig.h"

#define BIT(n)	(1ULL << (n))

/* ------------------------------------------------ a server that answers badly --- */

enum lie {
	HONEST, WRONG_REQUEST, NO_REPLY_FLAG, WRONG_VERSION, SHORT_REPLY, HUGE_REPLY, HANG_UP,
	HALF_A_REPLY, NOT_ACKED, CONFIG_SHORTER, CONFIG_ELSEWHERE, SILENCE,
};

struct server {
	struct vhu_rig rig;
	enum lie lie;
	uint32_t when;	/* the request that is answered badly */
};

static void t_lie(struct vhu_rig *rig, struct vhu_msg *m, size_t *bytes)
{
	const struct server *s = (struct server *)rig;

	if (m->request != s->when)
		return;
	switch (s->lie) {
	case WRONG_REQUEST:
		m->request++;
		break;
	case NO_REPLY_FLAG:
		m->flags = VHU_FLAG_VERSION;
		break;
	case WRONG_VERSION:
		m->flags = VHU_FLAG_REPLY | 2;
		break;
	case SHORT_REPLY:
		m->size--;
		--*bytes;
		break;
	case HUGE_REPLY:
		m->size = 1 << 20;
		break;
	case HANG_UP:
		*bytes = 0;
		rig->hang_up = true;
		break;
	case HALF_A_REPLY:
		*bytes = VHU_HDR_BYTES + m->size / 2;
		rig->hang_up = true;
		break;
	case NOT_ACKED:
		m->u.u64 = 1;
		break;
	case CONFIG_SHORTER:
		m->u.config.size--;
		m->size--;
		--*bytes;
		break;
	case CONFIG_ELSEWHERE:
		m->u.config.offset++;
		break;
	case SILENCE:
		*bytes = 0;
		break;
	default:
		break;
	}
}

static unsigned int errors;	/* logged */

static void t_log(int level, const char *message, void *arg)
{
	errors += level <= LOG_ERR;
}

static void t_server(struct server *s, enum lie lie, uint32_t when)
{
	vhu_rig_begin(&s->rig);
	s->rig.twist = t_lie;
	s->lie = lie;
	s->when = when;
}

static int t_open(struct server *s, struct vnet **v)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .wait = vhu_rig_serve,
			       .wait_arg = &s->rig };

	return vnet_open_vhost_user(s->rig.path, &o, v);
}

static void test_front_opens_with_an_honest_server(void **state)
{
	unsigned int fds = t_nr_fds();
	struct server s;
	struct vnet *v;

	t_server(&s, HONEST, 0);
	assert_int_equal(t_open(&s, &v), 0);
	assert_int_equal(vnet_mtu(v), 1280);
	vnet_close(v);
	vhu_rig_end(&s.rig);
	assert_int_equal(t_nr_fds(), fds);
}

static void test_front_refuses_bad_answers(void **state)
{
	static const struct { enum lie lie; uint32_t when; int err; } bad[] = {
		{ WRONG_REQUEST, VHU_GET_FEATURES, -EPROTO },
		{ NO_REPLY_FLAG, VHU_GET_FEATURES, -EPROTO },
		{ WRONG_VERSION, VHU_GET_FEATURES, -EPROTO },
		{ SHORT_REPLY, VHU_GET_FEATURES, -EPROTO },
		{ HUGE_REPLY, VHU_GET_FEATURES, -EPROTO },
		{ HANG_UP, VHU_GET_FEATURES, -ECONNRESET },
		{ HALF_A_REPLY, VHU_GET_FEATURES, -ECONNRESET },
		{ HANG_UP, VHU_GET_PROTOCOL_FEATURES, -ECONNRESET },
		{ SHORT_REPLY, VHU_GET_PROTOCOL_FEATURES, -EPROTO },
		{ HUGE_REPLY, VHU_GET_CONFIG, -EPROTO },
		{ CONFIG_SHORTER, VHU_GET_CONFIG, -EPROTO },
		{ CONFIG_ELSEWHERE, VHU_GET_CONFIG, -EPROTO },
		{ HALF_A_REPLY, VHU_GET_CONFIG, -ECONNRESET },
		{ NOT_ACKED, VHU_SET_FEATURES, -EPROTO },
		{ NOT_ACKED, VHU_SET_MEM_TABLE, -EPROTO },
		{ HANG_UP, VHU_SET_MEM_TABLE, -ECONNRESET },
		{ NOT_ACKED, VHU_SET_VRING_NUM, -EPROTO },
		{ NOT_ACKED, VHU_SET_VRING_ADDR, -EPROTO },
		{ NOT_ACKED, VHU_SET_VRING_CALL, -EPROTO },
		{ WRONG_REQUEST, VHU_SET_VRING_KICK, -EPROTO },
		{ NOT_ACKED, VHU_SET_VRING_ENABLE, -EPROTO },
		{ HANG_UP, VHU_SET_VRING_ENABLE, -ECONNRESET },
	};
	unsigned int i, fds = t_nr_fds();

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vnet *v = NULL;
		struct server s;
		int err;

		t_server(&s, bad[i].lie, bad[i].when);
		errors = 0;
		err = t_open(&s, &v);
		if (err != bad[i].err)
			fail_msg("case %u: %d, wanted %d", i, err, bad[i].err);
		if (!errors)
			fail_msg("case %u: no reason", i);
		assert_null(v);
		assert_true(s.rig.served > 0);
		vhu_rig_end(&s.rig);
		assert_int_equal(t_nr_fds(), fds);
	}
}

/* Closing works although the back-end does not confirm that it has let go. */
static void test_front_closes_without_the_back_ends_help(void **state)
{
	static const enum lie lies[] = { HANG_UP, WRONG_REQUEST, SHORT_REPLY };
	unsigned int i, fds = t_nr_fds();

	for (i = 0; i < 3; i++) {
		struct server s;
		struct vnet *v;

		t_server(&s, lies[i], VHU_GET_VRING_BASE);
		assert_int_equal(t_open(&s, &v), 0);
		vnet_close(v);
		vhu_rig_end(&s.rig);
		assert_int_equal(t_nr_fds(), fds);
	}
}

/* What breaks the protocol in the middle of the work is the end of it: at once, and with a reason. */
static void test_front_stops_at_a_bad_answer(void **state)
{
	static const enum lie lies[] = { HANG_UP, WRONG_REQUEST, SHORT_REPLY, HALF_A_REPLY };
	unsigned int i, fds = t_nr_fds();

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		const char *why;
		struct server s;
		struct vnet *v;
		unsigned int served;

		t_server(&s, lies[i], 0);
		assert_int_equal(t_open(&s, &v), 0);
		assert_int_equal(vnet_check(v), 0);
		s.when = VHU_GET_CONFIG;
		assert_int_equal(vnet_check(v), -EIO);
		assert_int_equal(vnet_error(v, &why), -EIO);
		assert_non_null(strstr(why, "device lost"));
		served = s.rig.served;
		vnet_close(v);	/* nobody is asked to let go */
		assert_int_equal(s.rig.served, served);
		vhu_rig_end(&s.rig);
		assert_int_equal(t_nr_fds(), fds);
	}
}

/* A reply that is late is not taken for that to the next request. */
static void test_front_does_not_wait_twice(void **state)
{
	struct server s;
	struct vnet *v;
	time_t start;

	t_server(&s, SILENCE, 0);
	assert_int_equal(t_open(&s, &v), 0);
	s.when = VHU_GET_CONFIG;
	start = time(NULL);
	assert_int_equal(vnet_check(v), -EIO);	/* five seconds */
	assert_true(time(NULL) - start >= 4);
	start = time(NULL);
	assert_int_equal(vnet_check(v), -EIO);
	vnet_close(v);
	assert_true(time(NULL) - start < 4);
	vhu_rig_end(&s.rig);
}

struct crowd {
	struct server s;
	int other[8];
	unsigned int nr, waits;
};

static void t_serve_crowd(void *arg)
{
	struct crowd *c = arg;

	if (++c->waits < 3)
		return;
	while (c->nr)
		close(c->other[--c->nr]);
	vhu_rig_serve(&c->s.rig);
	if (c->s.rig.fd >= 0 && !vhu_rig_connected(&c->s.rig))	/* one of those */
		vhu_rig_serve(&c->s.rig);
}

/* Others wait for the back-end already, as many as may: no call blocks for that. */
static void test_front_waits_to_be_accepted(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct crowd c = { .nr = 0 };
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .wait = t_serve_crowd, .wait_arg = &c };
	struct vnet *v;

	t_server(&c.s, HONEST, 0);
	strcpy(a.sun_path, c.s.rig.path);
	for (;;) {
		assert_true(c.nr < 8);
		c.other[c.nr] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(c.other[c.nr++], (struct sockaddr *)&a, sizeof(a)))
			break;
	}
	assert_int_equal(vnet_open_vhost_user(c.s.rig.path, &o, &v), 0);
	assert_true(c.waits > 3);
	vnet_close(v);
	vhu_rig_end(&c.s.rig);
}

/* ------------------------------------------------------- a thread of its own --- */

static volatile bool stop;

static void *t_device(void *arg)
{
	struct vhostbe *be = arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if (!vhostbe_step(be))
			vhostbe_wait(be, 200);
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/*
 * @inflight frames go round through an echo; both sides sleep when they have
 * nothing to do.  A doorbell or an interrupt that is lost leaves both asleep:
 * the sleep that lasts a second tells.  Contents are checked: an index seen
 * before the frame would show old bytes.
 */
static void t_round_trips(uint64_t features_off, unsigned int inflight, unsigned int total)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .queue_size = 64,
			       .features_off = features_off };
	unsigned int sent = 0, got = 0, slept = 0, i;
	uint8_t f[64] = { 0 };
	struct vnet_seg seg = { f, sizeof(f) };
	struct vnet_rx rx[32];
	struct vhostbe *be;
	pthread_t device;
	struct vnet *v;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_vnet_thread.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, NULL, &be), 0);
	vhostbe_port_echo(be);
	stop = false;
	assert_int_equal(pthread_create(&device, NULL, t_device, be), 0);
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), 0);
	while (got < total) {
		struct pollfd pfd = { .fd = vnet_irq_fd(v), .events = POLLIN };
		unsigned int n;

		while (sent < total && sent - got < inflight) {
			memcpy(f + 14, &sent, sizeof(sent));
			memset(f + 18, (int)sent, 46);
			if (vnet_tx_copy(v, &seg, 1, 0, 0))
				break;
			sent++;
		}
		vnet_tx_flush(v);
		n = vnet_rx_burst(v, rx, 32);
		for (i = 0; i < n; i++) {
			uint8_t *p = rx[i].data;
			unsigned int seq;

			memcpy(&seq, p + 14, sizeof(seq));
			assert_int_equal(seq, got);
			assert_int_equal(p[18], (uint8_t)got);
			assert_int_equal(p[63], (uint8_t)got);
			got++;
			vnet_rx_release(v, rx[i].id);
		}
		vnet_rx_flush(v);
		vnet_tx_reap(v, NULL, NULL);
		if (n || !vnet_irq_arm(v))
			continue;
		slept++;
		if (poll(&pfd, 1, 1000) != 1) {
			uint64_t end = now_ms() + 2000;	/* a busy machine is no lost wake-up */

			while (!vnet_rx_pending(v) && now_ms() < end)
				usleep(1000);
			if (vnet_rx_pending(v))
				fail_msg("slept over a frame after %u of %u", got, total);
			fail_msg("a doorbell was lost after %u of %u", got, total);
		}
		vnet_irq_disarm(v);
	}
	assert_int_equal(vnet_error(v, NULL), 0);
	assert_true(slept > 0);
	assert_true(vnet_stats(v)->interrupts > 0);
	vnet_close(v);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(device, NULL);
	assert_int_equal(vhostbe_stats(be)->protocol_errors, 0);
	vhostbe_destroy(be);
}

static void test_front_one_frame_round_and_round(void **state)
{
	t_round_trips(0, 1, 20000);
	t_round_trips(BIT(VIRTIO_RING_F_EVENT_IDX), 1, 20000);
}

static void test_front_many_frames_round_and_round(void **state)
{
	t_round_trips(0, 48, 100000);
	t_round_trips(BIT(VIRTIO_RING_F_EVENT_IDX), 48, 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_front_opens_with_an_honest_server),
		cmocka_unit_test(test_front_refuses_bad_answers),
		cmocka_unit_test(test_front_closes_without_the_back_ends_help),
		cmocka_unit_test(test_front_stops_at_a_bad_answer),
		cmocka_unit_test(test_front_does_not_wait_twice),
		cmocka_unit_test(test_front_waits_to_be_accepted),
		cmocka_unit_test(test_front_one_frame_round_and_round),
		cmocka_unit_test(test_front_many_frames_round_and_round),
	};

	nomux_set_log_fn(t_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
