// SPDX-License-Identifier: MIT
/*
 * The mmio transport and a device whose registers are this program: what they
 * say is varied one at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "nomux/log.h"

#include "vnet_rig.h"

static void test_mmio_opens_a_modern_device(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(d.status, 0xf);
	assert_int_equal(d.resets, 1);
	assert_int_equal(d.accepted, d.offered & ~BIT(VIRTIO_NET_F_GUEST_TSO4));
	assert_int_equal(d.q[0].size, 16);
	assert_int_equal(d.q[1].size, 32);
	assert_int_equal(d.q[0].desc >> 32, 0x1234);	/* both halves */
	assert_true(d.q[0].avail > d.q[0].desc && d.q[0].used > d.q[0].avail);
	assert_true(d.q[1].desc > d.q[0].used);
	assert_int_equal(vnet_mac(v)[5], 7);
	assert_true(vnet_link_up(v));
	rig_end(&d, v);
	assert_int_equal(d.resets, 2);
}

static void test_mmio_opens_packed_rings(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.offered |= BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_RING_F_EVENT_IDX);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_true(vnet_features(v) & BIT(VIRTIO_F_RING_PACKED));
	/* Driver's and device's event, where split rings have avail and used. */
	assert_true(d.q[0].avail - d.q[0].desc >= 16 * 16);
	assert_true(d.q[0].used != d.q[0].avail);
	rig_end(&d, v);
}

/* The rig looks at the widths. */
static void test_mmio_fields_are_read_as_wide_as_they_are(void **state)
{
	struct vnet *v = NULL;
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_RSS);
	d.config.max_virtqueue_pairs = 2;
	d.config.rss_max_key_size = 1;	/* what it says of RSS is read, and then refused */
	d.config.supported_hash_types = 0x3f;
	d.opts.nr_pairs = 2;
	assert_int_equal(rig_open(&d, &v), -EPROTO);
	assert_non_null(strstr(rig_said, "keys of 1 bytes"));
	rig_free(&d);
}

/* One register, the queue's number in it, and nothing beside it is written. */
static void test_mmio_doorbell_is_one_register(void **state)
{
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	uint32_t *bell;
	struct vnet *v;
	unsigned int i;
	struct vnet_rig d;

	rig_init_mmio(&d);
	memset(d.mem, 0xee, RIG_SLOT_BYTES);
	bell = (uint32_t *)(void *)(d.mem + VIRTIO_MMIO_QUEUE_NOTIFY);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(*bell, 0);	/* receive buffers */
	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
	assert_int_equal(*bell, 0);
	vnet_tx_flush(v);
	assert_int_equal(*bell, 1);
	for (i = 0; i < RIG_SLOT_BYTES; i++)
		if (i < VIRTIO_MMIO_QUEUE_NOTIFY || i > VIRTIO_MMIO_QUEUE_NOTIFY + 3)
			assert_int_equal(d.mem[i], 0xee);
	rig_end(&d, v);
}

static void t_signal(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void test_mmio_one_interrupt_is_two_eventfds(void **state)
{
	struct vnet *v;
	struct vnet_rig d;
	int rx;

	rig_init_mmio(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	rx = vnet_irq_fd(v);
	assert_true(rx >= 0);
	assert_int_equal(rx, d.irq_fd[0]);
	assert_int_equal(vnet_config_fd(v), d.irq_fd[1]);
	assert_true(d.irq_fd[1] >= 0 && rx != d.irq_fd[1]);
	d.config.status = 0;
	t_signal(rx);
	assert_false(vnet_config_changed(v));	/* the other one */
	t_signal(d.irq_fd[1]);
	assert_true(vnet_config_changed(v));
	assert_false(vnet_link_up(v));
	assert_false(vnet_config_changed(v));

	assert_int_equal(vnet_irq_bind(v, NULL, 5), 0);	/* rig_bound() counts as if 5 came */
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EBUSY);
	assert_int_equal(vnet_config_bind(v, NULL, 7), 0);
	assert_int_equal(vnet_stats(v)->interrupts, 5);
	assert_int_equal(vnet_stats(v)->config_interrupts, 8);
	/* A restart leaves both as they are. */
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(vnet_irq_fd(v), rx);
	assert_int_equal(d.irq_sets, 1);
	rig_end(&d, v);
	assert_int_equal(d.irq_sets, 2);
}

static void test_mmio_without_an_interrupt_polls(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.irq_err = -EOPNOTSUPP;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_non_null(strstr(rig_said, "polling only"));
	assert_int_equal(vnet_irq_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_config_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EOPNOTSUPP);
	rig_end(&d, v);
}

static void test_mmio_control_queue(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	d.opts.features_on = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(d.q[2].on, 1);
	assert_int_equal(d.q[2].size, 64);
	assert_int_equal(vnet_set_rx_mode(v, VNET_RX_MODE_PROMISC), -EIO);	/* nobody answers here */
	assert_int_equal(*(uint32_t *)(void *)(d.mem + VIRTIO_MMIO_QUEUE_NOTIFY), 2);
	rig_end(&d, v);
	rig_init_mmio(&d);	/* promised, and not there */
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ);
	d.opts.features_on = BIT(VIRTIO_NET_F_CTRL_VQ);
	d.q[2].max = 0;
	rig_refused(&d, -EPROTO, "queue 2: size 0");
}

static void test_mmio_what_is_no_modern_net_device_is_refused(void **state)
{
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.magic = 0;
	rig_refused(&d, -ENODEV, "magic 0x00000000");
	assert_int_equal(d.resets, 0);	/* it was not touched */
	assert_int_equal(d.reads, 1);
	rig_init_mmio(&d);	/* the other byte order */
	d.magic = 0x76697274;
	rig_refused(&d, -ENODEV, "magic 0x76697274");
	rig_init_mmio(&d);
	d.version = 1;
	rig_refused(&d, -EOPNOTSUPP, "force-legacy=false");
	assert_int_equal(d.resets, 0);
	rig_init_mmio(&d);
	d.version = 3;
	rig_refused(&d, -EOPNOTSUPP, "version 3");
	rig_init_mmio(&d);
	d.version = 0;
	rig_refused(&d, -EOPNOTSUPP, "version 0");
	rig_init_mmio(&d);
	d.id = 0;
	rig_refused(&d, -ENODEV, "empty slot");
	assert_int_equal(d.resets, 0);
	rig_init_mmio(&d);	/* a disk */
	d.id = 2;
	rig_refused(&d, -ENODEV, "not a network device");
	assert_int_equal(d.resets, 0);
	rig_init_mmio(&d);
	d.offered &= ~BIT(VIRTIO_F_VERSION_1);
	rig_refused(&d, -EOPNOTSUPP, "lacks required features");
	rig_init_mmio(&d);	/* all ones */
	d.gone_after = 0;
	d.magic = d.version = d.id = UINT32_MAX;
	rig_refused(&d, -ENODEV, "magic 0xffffffff");
}

static void test_mmio_registers_that_are_too_few_are_refused(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.mem_bytes = VIRTIO_MMIO_CONFIG - 4;
	rig_refused(&d, -EPROTO, "are not the registers");
	rig_init_mmio(&d);	/* no configuration: no field is read beyond */
	d.mem_bytes = VIRTIO_MMIO_CONFIG;
	rig_refused(&d, -EPROTO, "has no field");
	rig_init_mmio(&d);
	d.mem_bytes = VIRTIO_MMIO_CONFIG + 5;	/* an address has 6 */
	rig_refused(&d, -EPROTO, "has no field");
	rig_init_mmio(&d);
	d.mem_bytes = VIRTIO_MMIO_CONFIG + 8;	/* and the link state two */
	assert_int_equal(rig_open(&d, &v), 0);
	rig_end(&d, v);
	rig_init_mmio(&d);
	d.map_err = -EACCES;
	rig_refused(&d, -EACCES, "cannot map");
}

static void test_mmio_queues_that_lie_are_refused(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 24, 65536, 1u << 31, UINT32_MAX };
	unsigned int i, q;
	struct vnet_rig d;

	for (q = 0; q < 2; q++) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			rig_init_mmio(&d);
			d.q[q].max = sizes[i];
			rig_refused(&d, -EPROTO, "not a power of two");
		}
	}
	rig_init_mmio(&d);
	d.never_on = true;
	rig_refused(&d, -EPROTO, "does not become ready");
	rig_init_mmio(&d);
	d.always_on = true;
	rig_refused(&d, -EPROTO, "ready after a reset");
}

static void test_mmio_negotiation_that_is_refused(void **state)
{
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.keep_features_ok_clear = true;
	rig_refused(&d, -EOPNOTSUPP, "refuses features");
	rig_init_mmio(&d);
	d.refuse_start = true;
	rig_refused(&d, -EIO, "does not start");
}

static void test_mmio_configuration_that_changes(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);	/* for a while: read again */
	d.generation_changes = 5;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(vnet_mac(v)[5], 7);
	rig_end(&d, v);
	rig_init_mmio(&d);	/* for ever: give up */
	d.generation_runs = true;
	rig_refused(&d, -EPROTO, "changed in each of 16 reads");
}

static void test_mmio_needs_reset_and_restart(void **state)
{
	const char *why;
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	assert_true(vnet_check(v) < 0);
	assert_true(vnet_error(v, &why) < 0);
	assert_int_equal(d.status, 0);
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(d.status, 0xf);
	assert_int_equal(vnet_error(v, NULL), 0);
	d.q[1].max = 16;	/* it comes back with less */
	assert_int_equal(vnet_restart(v, NULL, NULL), -EPROTO);
	assert_int_equal(d.status, 0);
	rig_end(&d, v);
}

/* Gone at each register read in turn: never a wait for what cannot come. */
static void test_mmio_removal_at_each_register_read(void **state)
{
	unsigned int n, opened = 0;

	for (n = 1; !opened; n++) {
		struct vnet *v = NULL;
		struct vnet_rig d;

		rig_init_mmio(&d);
		d.gone_after = n;
		opened = !rig_open(&d, &v);
		assert_true(d.reads < n + 64);
		if (opened)
			vnet_close(v);
		else
			assert_null(v);
		assert_false(d.dma_live);
		rig_free(&d);
	}
	assert_true(n > 20);
}

static void test_mmio_removal_with_frames_under_way(void **state)
{
	struct vnet_rx rx[4];
	const char *why;
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.gone_after = d.reads;
	assert_int_equal(vnet_rx_burst(v, rx, 4), 0);
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	assert_true(d.reads < d.gone_after + 8);
	vnet_close(v);
	assert_true(d.reads < d.gone_after + 8);
	rig_free(&d);
}

static void test_mmio_registers_that_read_as_anything(void **state)
{
	unsigned int round, opened = 0;

	srand(20261126);
	for (round = 0; round < 400; round++) {
		struct vnet *v = NULL;
		struct vnet_rig d;

		rig_init_mmio(&d);
		d.garbage = 4 + round % 60;
		if (!rig_open(&d, &v)) {
			opened++;
			vnet_check(v);
			vnet_close(v);
		}
		assert_false(d.dma_live);
		rig_free(&d);
	}
	assert_true(opened > 0 && opened < round);
}

static void test_mmio_reset_that_never_finishes_costs_the_queues(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_mmio(&d);
	d.stuck_reset = true;	/* and at open: refused after two seconds */
	rig_refused(&d, -ETIMEDOUT, "reset does not finish");
	rig_init_mmio(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.stuck_reset = true;
	vnet_close(v);		/* rig_dma_free() checks the order */
	assert_int_equal(d.q[0].on | d.q[1].on, 0);
	rig_free(&d);
}

static void t_ones(struct vnet_rig *d, void *value, unsigned int bytes)
{
	memset(value, 0xff, bytes);
}

/* All ones are what a bus returns where nothing is, and what a device may say that runs on. */
static void test_mmio_device_that_plays_dead_loses_the_queues(void **state)
{
	struct vnet_rig d;
	struct vnet *v;

	rig_init_mmio(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.stuck_reset = true;
	d.twist = t_ones;
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(d.q[0].on | d.q[1].on, 0);
	vnet_close(v);
	rig_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mmio_opens_a_modern_device),
		cmocka_unit_test(test_mmio_fields_are_read_as_wide_as_they_are),
		cmocka_unit_test(test_mmio_opens_packed_rings),
		cmocka_unit_test(test_mmio_doorbell_is_one_register),
		cmocka_unit_test(test_mmio_one_interrupt_is_two_eventfds),
		cmocka_unit_test(test_mmio_without_an_interrupt_polls),
		cmocka_unit_test(test_mmio_control_queue),
		cmocka_unit_test(test_mmio_what_is_no_modern_net_device_is_refused),
		cmocka_unit_test(test_mmio_registers_that_are_too_few_are_refused),
		cmocka_unit_test(test_mmio_queues_that_lie_are_refused),
		cmocka_unit_test(test_mmio_negotiation_that_is_refused),
		cmocka_unit_test(test_mmio_configuration_that_changes),
		cmocka_unit_test(test_mmio_needs_reset_and_restart),
		cmocka_unit_test(test_mmio_removal_at_each_register_read),
		cmocka_unit_test(test_mmio_removal_with_frames_under_way),
		cmocka_unit_test(test_mmio_registers_that_read_as_anything),
		cmocka_unit_test(test_mmio_reset_that_never_finishes_costs_the_queues),
		cmocka_unit_test(test_mmio_device_that_plays_dead_loses_the_queues),
	};

	nomux_set_log_fn(rig_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
