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
#include <time.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "fds.h"
#include "nomdrv/vnet.h"
#include "../../userdrivers/vhostbe/vhostbe.h"
#include "../../userdrivers/src/vhost_user_msg.h"

#define BIT(n)		(1ULL << (n))
#define FEATURES	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | \
			 BIT(VIRTIO_NET_F_STATUS) | BIT(VHU_F_PROTOCOL_FEATURES))

/* ------------------------------------------------ a server that answers badly --- */

enum lie {
	HONEST, WRONG_REQUEST, NO_REPLY_FLAG, WRONG_VERSION, SHORT_REPLY, HUGE_REPLY, HANG_UP,
	HALF_A_REPLY, NOT_ACKED, CONFIG_SHORTER, CONFIG_ELSEWHERE,
};

struct server {
	int listen_fd, fd;
	enum lie lie;
	uint32_t when;	/* the request that is answered badly */
	unsigned int served;
	char path[64];
};

static void t_serve_close(struct server *s)
{
	close(s->fd);
	s->fd = -1;
}

static void t_reply(struct server *s, struct vhu_msg *m, uint32_t size)
{
	enum lie lie = m->request == s->when ? s->lie : HONEST;
	size_t bytes;

	m->flags = VHU_FLAG_VERSION | VHU_FLAG_REPLY;
	m->size = size;
	switch (lie) {
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
		m->size = size = size - 1;
		break;
	case HUGE_REPLY:
		m->size = 1 << 20;
		break;
	case HANG_UP:
		t_serve_close(s);
		return;
	case NOT_ACKED:
		m->u.u64 = 1;
		break;
	case CONFIG_SHORTER:
		m->u.config.size--;
		m->size = --size;
		break;
	case CONFIG_ELSEWHERE:
		m->u.config.offset++;
		break;
	default:
		break;
	}
	bytes = lie == HALF_A_REPLY ? VHU_HDR_BYTES + size / 2 : VHU_HDR_BYTES + size;
	assert_int_equal(send(s->fd, VHU_WIRE(m), bytes, MSG_NOSIGNAL), bytes);
	if (lie == HALF_A_REPLY)
		t_serve_close(s);
}

static void t_answer(struct server *s, struct vhu_msg *m)
{
	switch (m->request) {
	case VHU_GET_FEATURES:
		m->u.u64 = FEATURES;
		t_reply(s, m, 8);
		break;
	case VHU_GET_PROTOCOL_FEATURES:
		m->u.u64 = BIT(VHU_PROTOCOL_F_REPLY_ACK) | BIT(VHU_PROTOCOL_F_CONFIG);
		t_reply(s, m, 8);
		break;
	case VHU_GET_CONFIG:
		memset(m->u.config.data, 0, sizeof(m->u.config.data));
		m->u.config.data[0] = m->u.config.offset ? 0 : 2;	/* an address that can be */
		if (m->u.config.offset == offsetof(struct virtio_net_config, mtu))
			m->u.config.data[1] = 1500 >> 8;
		t_reply(s, m, m->size);
		break;
	case VHU_GET_VRING_BASE:
		t_reply(s, m, 8);
		break;
	default:
		if (m->flags & VHU_FLAG_NEED_REPLY) {
			m->u.u64 = 0;
			t_reply(s, m, 8);
		}
	}
}

/* Called by the front-end while it waits. */
static void t_serve(void *arg)
{
	struct server *s = arg;
	char control[256];
	struct vhu_msg m = { 0 };
	struct iovec iov = { VHU_WIRE(&m), VHU_HDR_BYTES };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	if (s->fd < 0)
		s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (s->fd < 0 || recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != VHU_HDR_BYTES)
		return;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		int fd;

		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
	}
	assert_true(m.size <= VHU_PAYLOAD_MAX);
	if (m.size)
		assert_int_equal(recv(s->fd, &m.u, m.size, MSG_WAITALL), m.size);
	s->served++;
	t_answer(s, &m);
}

static void t_server(struct server *s, enum lie lie, uint32_t when)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	*s = (struct server){ .fd = -1, .lie = lie, .when = when };
	snprintf(s->path, sizeof(s->path), "/tmp/test_vnet_front.%d", (int)getpid());
	strcpy(a.sun_path, s->path);
	unlink(s->path);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->listen_fd, 1), 0);
}

static int t_open(struct server *s, struct vnet **v)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .wait = t_serve, .wait_arg = s };

	return vnet_open_vhost_user(s->path, &o, v);
}

static void t_server_end(struct server *s)
{
	if (s->fd >= 0)
		close(s->fd);
	close(s->listen_fd);
	unlink(s->path);
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
	t_server_end(&s);
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
		err = t_open(&s, &v);
		if (err != bad[i].err)
			fail_msg("case %u: %d, wanted %d", i, err, bad[i].err);
		assert_null(v);
		assert_true(s.served > 0);
		t_server_end(&s);
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
		t_server_end(&s);
		assert_int_equal(t_nr_fds(), fds);
	}
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
		cmocka_unit_test(test_front_one_frame_round_and_round),
		cmocka_unit_test(test_front_many_frames_round_and_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
