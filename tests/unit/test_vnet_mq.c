// SPDX-License-Identifier: MIT
/*
 * Several queue pairs on one device: what the device is told, that pairs have
 * nothing in common but it, and devices that lie about pairs or about RSS.  Each
 * test for split and packed rings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "nomdrv/vnet.h"
#include "../../userdrivers/src/vtrans_fake.h"

#define BIT(n)	(1ULL << (n))
#define MQ	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ))
#define RSS	BIT(VIRTIO_NET_F_RSS)
#define MAX	4	/* pairs of the device: more than are used, so the control queue is not the next one */
#define CTL	(2 * MAX)

static uint64_t extra;

/* A device that answers commands; what it was told last. */
struct rig {
	struct vtrans_fake *f;
	struct vnet *v;
	uint8_t answer;
	bool silent;
	unsigned int resets, at, nr_commands;
	uint8_t told[512];
	unsigned int told_bytes;
};

static void take_command(struct rig *r, uint64_t data, unsigned int bytes, uint64_t answer)
{
	assert_true(bytes <= sizeof(r->told));
	memcpy(r->told, vtrans_fake_va(r->f, data), bytes);
	r->told_bytes = bytes;
	*(uint8_t *)vtrans_fake_va(r->f, answer) = r->answer;
	r->nr_commands++;
}

static void t_device(void *arg)
{
	struct rig *r = arg;
	struct vtrans_fake *f = r->f;
	unsigned int mask = f->queue[CTL].size - 1;

	if (r->silent)
		return;
	if (f->resets != r->resets) {	/* begun again: so do the rings */
		r->resets = f->resets;
		r->at = 0;
	}
	if (extra) {
		struct vring_packed_desc *p = vtrans_fake_packed(f, CTL);

		if (!(p[r->at & mask].flags & 1u << VRING_PACKED_DESC_F_AVAIL))
			return;	/* first turn of the ring: it is never gone round here */
		take_command(r, p[r->at].addr, p[r->at].len, p[r->at + 1].addr);
		vtrans_fake_use_packed(f, CTL, r->at, p[r->at].id, 1);
		r->at += 2;
	} else {
		struct vring_desc *d = vtrans_fake_desc(f, CTL);
		unsigned int id;

		if (vtrans_fake_avail(f, CTL)->idx == (uint16_t)r->at)
			return;
		id = vtrans_fake_avail(f, CTL)->ring[r->at++ & mask];
		take_command(r, d[id].addr, d[id].len, d[d[id].next].addr);
		vtrans_fake_use(f, CTL, id, 1);
	}
}

static void t_make(struct rig *r, uint64_t offered)
{
	unsigned int i;

	memset(r, 0, sizeof(*r));
	r->f = vtrans_fake_create();
	r->f->offered |= offered | extra;
	for (i = 0; i <= CTL; i++)
		r->f->queue_size[i] = 8;
	r->f->config.max_virtqueue_pairs = MAX;
	r->f->config.rss_max_key_size = 40;
	r->f->config.rss_max_indirection_table_length = 128;
	r->f->config.supported_hash_types = 0x1ff;
}

static int t_open_err(struct rig *r, unsigned int pairs)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .nr_pairs = pairs, .wait = t_device,
			       .wait_arg = r };

	return vnet_create(&r->f->dev, &o, &r->v);
}

static void t_open(struct rig *r, uint64_t offered, unsigned int pairs)
{
	t_make(r, offered);
	assert_int_equal(t_open_err(r, pairs), 0);
}

/* A refused device is the caller's, and keeps nothing. */
static void t_refused(struct rig *r, int want, unsigned int pairs)
{
	assert_int_equal(t_open_err(r, pairs), want);
	assert_null(r->v);
	assert_false(r->f->started);
	assert_false(r->f->dma_live);
	nomdrv_dev_destroy(&r->f->dev);
}

/* ------------------------------------------------------ what the device is told --- */

static void test_vnet_mq_sets_each_queue_up_under_its_number(void **state)
{
	static const int irq[6] = { 0, -1, 2, -1, 3, -1 };
	struct rig r;
	unsigned int i;

	t_open(&r, MQ, 3);
	assert_int_equal(r.f->nr_queues, 7);
	for (i = 0; i < 6; i++) {
		assert_int_equal(r.f->queue[i].index, i);
		assert_int_equal(r.f->queue[i].irq, irq[i]);
		assert_int_equal(r.f->queue[i].size, 8);
	}
	assert_int_equal(r.f->queue[6].size, 0);	/* the device's fourth pair is left alone */
	assert_int_equal(r.f->queue[CTL].size, 8);
	assert_int_equal(r.f->queue[CTL].irq, -1);
	assert_int_equal(vnet_nr_pairs(r.v), 3);
	assert_ptr_equal(vnet_pair(r.v, 0), r.v);
	assert_null(vnet_pair(r.v, 3));
	assert_ptr_equal(vnet_pair(vnet_pair(r.v, 2), 1), vnet_pair(r.v, 1));
	assert_int_equal(vnet_features(vnet_pair(r.v, 2)), vnet_features(r.v));
	assert_memory_equal(vnet_mac(vnet_pair(r.v, 1)), vnet_mac(r.v), 6);
	vnet_close(r.v);
}

static void test_vnet_mq_automatic_steering(void **state)
{
	static const uint8_t want[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0 };
	struct rig r;

	t_open(&r, MQ, 2);
	assert_int_equal(vnet_steering(r.v), VNET_STEER_AUTO);
	assert_int_equal(vnet_steering(vnet_pair(r.v, 1)), VNET_STEER_AUTO);
	assert_int_equal(r.nr_commands, 1);
	assert_int_equal(r.told_bytes, sizeof(want));
	assert_memory_equal(r.told, want, sizeof(want));
	assert_int_equal(r.f->kicks[CTL], 1);
	vnet_close(r.v);
}

static void test_vnet_mq_steering_by_hash(void **state)
{
	uint8_t key[2][40];
	unsigned int turn, i;
	struct rig r;

	for (turn = 0; turn < 2; turn++) {
		t_open(&r, MQ | RSS, 3);
		assert_int_equal(vnet_steering(r.v), VNET_STEER_RSS);
		assert_int_equal(r.nr_commands, 1);
		assert_int_equal(r.told_bytes, 2 + 4 + 2 + 2 + 2 * 128 + 2 + 1 + 40);
		assert_int_equal(r.told[0], VIRTIO_NET_CTRL_MQ);
		assert_int_equal(r.told[1], VIRTIO_NET_CTRL_MQ_RSS_CONFIG);
		/* TCP and UDP over IPv4 and IPv6; all else to the first pair. */
		assert_memory_equal(r.told + 2, "\x36\0\0\0", 4);
		assert_memory_equal(r.told + 6, "\x7f\0" "\0\0", 4);
		for (i = 0; i < 128; i++) {
			assert_int_equal(r.told[10 + 2 * i], i % 3);
			assert_int_equal(r.told[11 + 2 * i], 0);
		}
		assert_memory_equal(r.told + 266, "\x03\0" "\x28", 3);
		memcpy(key[turn], r.told + 269, 40);
		vnet_close(r.v);
	}
	assert_memory_not_equal(key[0], key[1], 40);	/* nobody can tell which core a flow meets */
	/* One that hashes no TCP is of no use. */
	t_make(&r, MQ | RSS);
	r.f->config.supported_hash_types = VIRTIO_NET_RSS_HASH_TYPE_IPv4;
	assert_int_equal(t_open_err(&r, 2), 0);
	assert_int_equal(vnet_steering(r.v), VNET_STEER_AUTO);
	vnet_close(r.v);
}

static void test_vnet_mq_one_pair_is_as_ever(void **state)
{
	struct rig r;

	t_open(&r, MQ | RSS, 1);
	assert_int_equal(vnet_features(r.v) & (MQ | RSS), 0);
	assert_int_equal(vnet_nr_pairs(r.v), 1);
	assert_ptr_equal(vnet_pair(r.v, 0), r.v);
	assert_null(vnet_pair(r.v, 1));
	assert_int_equal(vnet_steering(r.v), VNET_STEER_ONE);
	assert_int_equal(r.f->nr_queues, 2);
	assert_int_equal(r.nr_commands, 0);
	vnet_close(r.v);
}

static void test_vnet_mq_options(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet_opts o = { .sz = sizeof(o), .nr_pairs = VNET_PAIRS_MAX + 1 };
	struct vnet *v = NULL;

	assert_int_equal(vnet_create(&f->dev, &o, &v), -EINVAL);
	o = (struct vnet_opts){ .sz = sizeof(o), .features_on = BIT(VIRTIO_NET_F_MQ) };
	assert_int_equal(vnet_create(&f->dev, &o, &v), -EINVAL);
	o = (struct vnet_opts){ .sz = sizeof(o), .nr_pairs = 1, .features_on = RSS };
	assert_int_equal(vnet_create(&f->dev, &o, &v), -EINVAL);
	assert_null(v);
	nomdrv_dev_destroy(&f->dev);
}

/* ------------------------------------------------------------ on their own --- */

/* The device fills the next posted buffer of queue @q; it was never used before. */
static void t_receive(struct rig *r, unsigned int q, unsigned int nth, uint8_t mark)
{
	static const uint8_t hdr[12];
	uint64_t addr = extra ? vtrans_fake_packed(r->f, q)[nth].addr :
		vtrans_fake_desc(r->f, q)[vtrans_fake_avail(r->f, q)->ring[nth]].addr;
	uint8_t *va = vtrans_fake_va(r->f, addr);

	memcpy(va, hdr, sizeof(hdr));
	memset(va + sizeof(hdr), mark, 60);
	if (extra)
		vtrans_fake_use_packed(r->f, q, nth, vtrans_fake_packed(r->f, q)[nth].id, 72);
	else
		vtrans_fake_use(r->f, q, vtrans_fake_avail(r->f, q)->ring[nth], 72);
}

static void test_vnet_mq_pairs_share_nothing(void **state)
{
	static const uint8_t frame[60] = { 2 };
	const struct vnet_seg seg = { frame, sizeof(frame) };
	struct vnet *p[2];
	struct vnet_rx rx[8];
	void *mem[2];
	struct rig r;
	unsigned int i;

	t_open(&r, MQ, 2);
	for (i = 0; i < 2; i++) {
		p[i] = vnet_pair(r.v, i);
		mem[i] = vnet_dma_alloc(p[i], 4096, 64);
		assert_non_null(mem[i]);
	}
	for (i = 0; i < 2; i++) {
		assert_true(vnet_dma_contains(p[i], mem[i], 4096));
		assert_false(vnet_dma_contains(p[i], mem[!i], 1));
		/* Rings and buffers lie in the pair's own chunks. */
		assert_true(vnet_dma_contains(p[i], r.f->queue[2 * i].desc, 128));
		assert_true(vnet_dma_contains(p[i], r.f->queue[2 * i + 1].desc, 128));
		assert_false(vnet_dma_contains(p[!i], r.f->queue[2 * i].desc, 1));
	}
	assert_true(vnet_dma_contains(p[0], r.f->queue[CTL].desc, 128));

	t_receive(&r, 2, 0, 0xab);
	assert_int_equal(vnet_rx_burst(p[0], rx, 8), 0);
	assert_int_equal(vnet_rx_burst(p[1], rx, 8), 1);
	assert_int_equal(((uint8_t *)rx[0].data)[59], 0xab);
	assert_true(vnet_dma_contains(p[1], rx[0].data, rx[0].len));
	assert_int_equal(vnet_stats(p[1])->rx_packets, 1);
	assert_int_equal(vnet_stats(p[0])->rx_packets, 0);
	vnet_rx_release(p[1], rx[0].id);
	memset(r.f->kicks, 0, sizeof(r.f->kicks));
	vnet_rx_flush(p[1]);
	assert_int_equal(r.f->kicks[2], 1);
	assert_int_equal(vnet_tx_copy(p[1], &seg, 1, 0, 0), 0);
	vnet_tx_flush(p[1]);
	assert_int_equal(r.f->kicks[3], 1);
	assert_int_equal(r.f->kicks[0] + r.f->kicks[1] + r.f->kicks[CTL], 0);
	assert_int_equal(vnet_stats(p[0])->doorbells_tx, 0);
	assert_int_equal(vnet_tx_room(p[0]), 8);
	assert_int_equal(vnet_tx_room(p[1]), 7);
	vnet_close(r.v);
}

static void test_vnet_mq_each_pair_has_its_interrupt(void **state)
{
	struct rig r;
	int fd[2];

	t_make(&r, MQ);
	fd[0] = r.f->irq_fd = eventfd(0, EFD_NONBLOCK);
	fd[1] = r.f->more_irq_fd[nomdrv_irq_rx(1)] = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(t_open_err(&r, 3), 0);
	assert_int_equal(vnet_irq_fd(r.v), fd[0]);
	assert_int_equal(vnet_irq_fd(vnet_pair(r.v, 1)), fd[1]);
	assert_int_equal(vnet_irq_fd(vnet_pair(r.v, 2)), -EOPNOTSUPP);	/* too few vectors: it polls */
	assert_int_equal(vnet_config_fd(vnet_pair(r.v, 1)), -EOPNOTSUPP);
	assert_true(vnet_irq_arm(vnet_pair(r.v, 1)));
	t_receive(&r, 0, 0, 1);
	assert_false(vnet_irq_arm(r.v));
	assert_true(vnet_irq_arm(vnet_pair(r.v, 1)));	/* a frame for another one is none for it */
	t_receive(&r, 2, 0, 1);
	assert_false(vnet_irq_arm(vnet_pair(r.v, 1)));
	vnet_close(r.v);
	close(fd[0]);
	close(fd[1]);
}

/* ---------------------------------------------------------- stop and restart --- */

static void t_count(void *cookie, void *arg)
{
	++*(unsigned int *)arg;
}

/* The device breaks the rules of one pair's queue. */
static void t_lie(struct rig *r, unsigned int q)
{
	if (extra)
		vtrans_fake_use_packed(r->f, q, 0, 77, 72);
	else
		vtrans_fake_use(r->f, q, 77, 72);
}

static void test_vnet_mq_one_that_stops_stops_all(void **state)
{
	unsigned int liar, done, commands;
	struct vnet_rx rx[8], more[8];
	const char *why;
	struct rig r;

	for (liar = 0; liar < 2; liar++) {
		struct vnet *bad, *good;
		struct vnet_tx tx = { .nr_seg = 1 };
		struct vnet_seg seg;

		t_open(&r, MQ | RSS, 2);
		bad = vnet_pair(r.v, liar);
		good = vnet_pair(r.v, !liar);
		t_receive(&r, 2 * !liar, 0, 0x5a);
		assert_int_equal(vnet_rx_burst(good, rx, 8), 1);
		seg = (struct vnet_seg){ vnet_dma_alloc(good, 1000, 64), 1000 };
		tx.seg = &seg;
		tx.cookie = &r;
		assert_int_equal(vnet_tx(good, &tx), 0);
		vnet_tx_flush(good);

		t_lie(&r, 2 * liar);
		assert_int_equal(vnet_rx_burst(bad, more, 8), 0);
		assert_int_equal(vnet_error(bad, NULL), -EIO);
		assert_false(r.f->started);
		assert_int_equal(vnet_error(good, NULL), 0);	/* it has not looked yet */
		assert_int_equal(vnet_rx_burst(good, more, 8), 0);
		assert_int_equal(vnet_check(good), -EIO);
		vnet_error(good, &why);
		assert_non_null(strstr(why, liar ? "queue pair 1: " : "queue pair 0: "));
		assert_non_null(strstr(why, "not outstanding"));
		assert_int_equal(vnet_tx(good, &tx), -EIO);
		assert_int_equal(((uint8_t *)rx[0].data)[30], 0x5a);	/* what is held stays readable */

		commands = r.nr_commands;
		done = 0;
		assert_int_equal(vnet_restart(r.v, t_count, &done), 0);
		assert_int_equal(done, 1);
		assert_int_equal(r.nr_commands, commands + 1);
		assert_int_equal(r.told[1], VIRTIO_NET_CTRL_MQ_RSS_CONFIG);
		assert_int_equal(vnet_check(bad), 0);
		assert_int_equal(vnet_check(good), 0);
		assert_int_equal(vnet_stats(good)->restarts, 1);
		assert_int_equal(vnet_tx(good, &tx), 0);
		vnet_rx_release(good, rx[0].id);
		t_receive(&r, 2, 0, 1);
		assert_int_equal(vnet_rx_burst(vnet_pair(r.v, 1), more, 8), 1);
		vnet_close(r.v);
	}
}

static void test_vnet_mq_stopped_by_its_user(void **state)
{
	const char *why;
	struct rig r;

	t_open(&r, MQ, 2);
	vnet_stop(vnet_pair(r.v, 1));
	assert_false(r.f->started);
	assert_int_equal(vnet_check(r.v), -ESHUTDOWN);
	vnet_error(r.v, &why);
	assert_string_equal(why, "queue pair 1: stopped by its user");
	vnet_close(r.v);
}

static void test_vnet_mq_restart_of_a_device_with_less(void **state)
{
	struct rig r;

	t_open(&r, MQ, 2);
	r.f->offered &= ~BIT(VIRTIO_NET_F_MQ);
	assert_int_equal(vnet_restart(r.v, NULL, NULL), -EPROTO);
	assert_int_equal(vnet_error(vnet_pair(r.v, 1), NULL), -EIO);
	r.f->offered |= BIT(VIRTIO_NET_F_MQ);
	r.f->queue_size[3] = 0;
	assert_int_equal(vnet_restart(r.v, NULL, NULL), -EPROTO);
	r.f->queue_size[3] = 8;
	r.answer = VIRTIO_NET_ERR;
	assert_int_equal(vnet_restart(r.v, NULL, NULL), -EREMOTEIO);
	r.answer = VIRTIO_NET_OK;
	assert_int_equal(vnet_restart(r.v, NULL, NULL), 0);
	assert_int_equal(vnet_check(vnet_pair(r.v, 1)), 0);
	vnet_close(r.v);
}

/* Two threads find the end at once; the device is reset, and both know. */
static void *t_meets_the_end(void *arg)
{
	struct vnet_rx rx[8];
	struct vnet *v = arg;

	while (!vnet_rx_burst(v, rx, 8) && !vnet_error(v, NULL))
		vnet_check(v);
	return NULL;
}

static void test_vnet_mq_two_threads_stop_at_once(void **state)
{
	unsigned int turn, i;

	for (turn = 0; turn < 200; turn++) {
		pthread_t thread[2];
		struct rig r;

		t_open(&r, MQ, 2);
		for (i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, t_meets_the_end, vnet_pair(r.v, i)), 0);
		t_lie(&r, 0);
		t_lie(&r, 2);
		for (i = 0; i < 2; i++) {
			pthread_join(thread[i], NULL);
			assert_int_equal(vnet_error(vnet_pair(r.v, i), NULL), -EIO);
		}
		assert_false(r.f->started);
		assert_int_equal(r.f->resets, 1);
		vnet_close(r.v);
	}
}

/* ------------------------------------------------------------------- lies --- */

static void test_vnet_mq_device_that_lies_about_its_pairs(void **state)
{
	static const struct {
		unsigned int max;
		int want;
	} cases[] = { { 0, -EPROTO }, { 0x8000, -EPROTO }, { 0xffff, -EPROTO }, { 1, -EOPNOTSUPP }, { 2, -EOPNOTSUPP },
		      /* It claims more than it has queues: the control queue is not there. */
		      { 300, -EPROTO }, { 0x7fff, -EPROTO } };
	struct rig r;
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t_make(&r, MQ);
		r.f->config.max_virtqueue_pairs = (uint16_t)cases[i].max;
		t_refused(&r, cases[i].want, 3);
	}
	/* A queue of a pair that it claims is missing, or impossible. */
	for (i = 0; i < 6; i++) {
		t_make(&r, MQ);
		r.f->queue_size[i] = i & 1 ? 0 : 3;
		t_refused(&r, -EPROTO, 3);
	}
}

static void test_vnet_mq_device_without(void **state)
{
	static const uint64_t offers[] = { 0, BIT(VIRTIO_NET_F_CTRL_VQ), BIT(VIRTIO_NET_F_MQ), RSS };
	struct rig r;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		t_make(&r, offers[i]);
		t_refused(&r, -EOPNOTSUPP, 2);
	}
}

static void test_vnet_mq_device_that_lies_about_rss(void **state)
{
	struct rig r;

	t_make(&r, MQ | RSS);
	r.f->config.rss_max_key_size = 39;
	t_refused(&r, -EPROTO, 2);
	t_make(&r, MQ | RSS);
	r.f->config.rss_max_indirection_table_length = 127;
	t_refused(&r, -EPROTO, 2);
}

static void test_vnet_mq_device_that_refuses_the_command(void **state)
{
	uint64_t rss;
	struct rig r;

	for (rss = 0; rss <= RSS; rss += RSS) {
		t_make(&r, MQ | rss);
		r.answer = VIRTIO_NET_ERR;
		t_refused(&r, -EREMOTEIO, 2);
		t_make(&r, MQ | rss);
		r.answer = 0x55;	/* neither */
		t_refused(&r, -EREMOTEIO, 2);
	}
	t_make(&r, MQ);
	r.silent = true;
	t_refused(&r, -EIO, 2);
}

static void test_vnet_mq_each_step_that_fails_leaves_nothing(void **state)
{
	enum vtrans_fake_op op;
	unsigned int nth, steps = 0;
	struct rig r;
	int err;

	for (op = FAKE_PROBE; op < FAKE_NR_OPS; op++) {
		for (nth = 0; ; nth++) {
			t_make(&r, MQ | RSS);
			r.f->fail_op = op;
			r.f->fail_skip = nth;
			err = t_open_err(&r, 2);
			if (!err)
				break;
			steps++;
			assert_false(r.f->started);
			assert_false(r.f->dma_live);
			nomdrv_dev_destroy(&r.f->dev);
		}
		vnet_close(r.v);
	}
	assert_true(steps > 20);	/* five sizes, five queues, config, ... */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_mq_sets_each_queue_up_under_its_number),
		cmocka_unit_test(test_vnet_mq_automatic_steering),
		cmocka_unit_test(test_vnet_mq_steering_by_hash),
		cmocka_unit_test(test_vnet_mq_one_pair_is_as_ever),
		cmocka_unit_test(test_vnet_mq_options),
		cmocka_unit_test(test_vnet_mq_pairs_share_nothing),
		cmocka_unit_test(test_vnet_mq_each_pair_has_its_interrupt),
		cmocka_unit_test(test_vnet_mq_one_that_stops_stops_all),
		cmocka_unit_test(test_vnet_mq_stopped_by_its_user),
		cmocka_unit_test(test_vnet_mq_restart_of_a_device_with_less),
		cmocka_unit_test(test_vnet_mq_two_threads_stop_at_once),
		cmocka_unit_test(test_vnet_mq_device_that_lies_about_its_pairs),
		cmocka_unit_test(test_vnet_mq_device_without),
		cmocka_unit_test(test_vnet_mq_device_that_lies_about_rss),
		cmocka_unit_test(test_vnet_mq_device_that_refuses_the_command),
		cmocka_unit_test(test_vnet_mq_each_step_that_fails_leaves_nothing),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
