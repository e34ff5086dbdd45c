// SPDX-License-Identifier: MIT
/*
 * The PCI transport and a function whose registers are this program: what its
 * capabilities and registers say is varied one at a time.
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
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "nomux/log.h"

#include "vnet_rig.h"

static void test_pci_opens_a_modern_device(void **state)
{
	struct vnet *v;
	struct vnet_rig d;
	uint16_t cmd;

	rig_init_pci(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(d.status, 0xf);
	assert_int_equal(d.accepted, d.offered & ~BIT(VIRTIO_NET_F_GUEST_TSO4));
	assert_int_equal(d.q[0].size, 16);
	assert_int_equal(d.q[1].size, 32);
	assert_int_equal(d.q[0].vector, 0);
	assert_int_equal(d.q[1].vector, VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(d.q[0].desc >> 32, 0x1234);
	assert_true(d.q[0].avail > d.q[0].desc && d.q[0].used > d.q[0].avail);
	assert_true(d.q[1].desc > d.q[0].used);
	assert_int_equal(vnet_irq_fd(v), d.irq_fd[0]);
	assert_int_equal(vnet_irq_bind(v, NULL, 5), 0);
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EBUSY);
	assert_int_equal(vnet_stats(v)->interrupts, 5);
	memcpy(&cmd, d.cfg + PCI_COMMAND, 2);
	assert_int_equal(cmd, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(vnet_mac(v)[5], 7);
	assert_true(vnet_link_up(v));
	rig_end(&d, v);
}

/* The rig looks at the widths. */
static void test_pci_fields_are_read_as_wide_as_they_are(void **state)
{
	struct vnet *v = NULL;
	struct vnet_rig d;

	rig_init_pci(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_RSS);
	d.config.max_virtqueue_pairs = 2;
	d.config.rss_max_key_size = 1;	/* what it says of RSS is read, and then refused */
	d.config.supported_hash_types = 0x3f;
	d.opts.nr_pairs = 2;
	assert_int_equal(rig_open(&d, &v), -EPROTO);
	assert_non_null(strstr(rig_said, "keys of 1 bytes"));
	rig_free(&d);
}

static void t_count(unsigned int what, void *arg)
{
	*(unsigned int *)arg += what;
}

/* The second vector: by its eventfd, and as an upcall. */
static void test_pci_configuration_interrupts(void **state)
{
	unsigned int what = 0;
	uint64_t one = 1;
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(d.config_vector, 1);
	assert_int_equal(vnet_config_fd(v), d.irq_fd[1]);
	assert_int_not_equal(d.irq_fd[0], d.irq_fd[1]);
	vnet_on_event(v, t_count, &what);
	d.config.status = 0;
	assert_false(vnet_config_changed(v));	/* nothing was signalled: registers are not read */
	assert_true(vnet_link_up(v));
	assert_int_equal(write(d.irq_fd[1], &one, sizeof(one)), sizeof(one));
	assert_true(vnet_config_changed(v));
	assert_false(vnet_link_up(v));
	assert_int_equal(what, VNET_EVENT_LINK);
	assert_false(vnet_config_changed(v));
	assert_int_equal(vnet_stats(v)->config_interrupts, 1);
	d.config.status = VIRTIO_NET_S_LINK_UP;
	assert_int_equal(vnet_config_bind(v, NULL, 7), 0);	/* rig_bound() counts as if 7 came */
	assert_int_equal(vnet_config_bind(v, NULL, 7), -EBUSY);
	assert_true(vnet_config_changed(v));
	assert_true(vnet_link_up(v));
	assert_int_equal(vnet_stats(v)->config_interrupts, 8);
	assert_int_equal(vnet_stats(v)->interrupts, 0);
	/* A restart puts both vectors where they were. */
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(d.config_vector, 1);
	assert_int_equal(d.q[0].vector, 0);
	rig_end(&d, v);

	rig_init_pci(&d);	/* a single vector goes to the receive queue */
	d.nr_irqs = 1;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(vnet_irq_fd(v), d.irq_fd[0]);
	assert_int_equal(vnet_config_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_config_bind(v, NULL, 7), -EOPNOTSUPP);
	assert_int_equal(d.config_vector, VIRTIO_MSI_NO_VECTOR);
	rig_end(&d, v);
}

/* The control queue is the third, without an interrupt, and has a doorbell of its own. */
static void test_pci_control_queue(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	d.opts.features_on = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	d.q[2].max = 128;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(d.q[2].on, 1);
	assert_int_equal(d.q[2].size, 64);	/* more is of no use */
	assert_int_equal(d.q[2].vector, VIRTIO_MSI_NO_VECTOR);
	assert_true(d.q[2].desc > d.q[1].used);
	memset(d.mem + RIG_NOTIFY_OFF, 0xff, 16);
	assert_int_equal(vnet_set_rx_mode(v, VNET_RX_MODE_PROMISC), -EIO);	/* nobody answers here */
	assert_int_equal(*(uint16_t *)(void *)(d.mem + RIG_NOTIFY_OFF + 2 * RIG_MULT), 2);
	rig_end(&d, v);

	rig_init_pci(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ);
	d.opts.features_on = BIT(VIRTIO_NET_F_CTRL_VQ);
	d.q[2].max = 0;
	rig_refused(&d, -EPROTO, "queue 2: size 0");
}

static void test_pci_doorbells_land_in_their_registers(void **state)
{
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);
	memset(d.mem, 0xee, RIG_BAR_BYTES);
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(*(uint16_t *)(d.mem + RIG_NOTIFY_OFF), 0);	/* receive buffers */
	assert_int_equal(*(uint16_t *)(d.mem + RIG_NOTIFY_OFF + RIG_MULT), 0xeeee);
	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
	vnet_tx_flush(v);
	assert_int_equal(*(uint16_t *)(d.mem + RIG_NOTIFY_OFF + RIG_MULT), 1);
	assert_int_equal(d.mem[RIG_NOTIFY_OFF + RIG_MULT + 2], 0xee);
	rig_end(&d, v);
}

static void test_pci_legacy_and_foreign_devices_are_refused(void **state)
{
	struct vnet_rig d;
	struct vnet *v;

	rig_init_pci(&d);	/* legacy: no vendor capabilities */
	rig_put16(&d, PCI_DEVICE_ID, 0x1000);
	rig_put16(&d, PCI_SUBSYSTEM_ID, 1);
	d.cfg[PCI_CAPABILITY_LIST] = RIG_CAP_MSIX;
	rig_refused(&d, -EOPNOTSUPP, "a legacy virtio device");
	rig_init_pci(&d);	/* no capability list at all */
	rig_put16(&d, PCI_DEVICE_ID, 0x1000);
	rig_put16(&d, PCI_SUBSYSTEM_ID, 1);
	rig_put16(&d, PCI_STATUS, 0);
	rig_refused(&d, -EOPNOTSUPP, "a legacy virtio device");
	rig_init_pci(&d);	/* transitional, with the modern half: good */
	rig_put16(&d, PCI_DEVICE_ID, 0x1000);
	rig_put16(&d, PCI_SUBSYSTEM_ID, 1);
	assert_int_equal(rig_open(&d, &v), 0);
	rig_end(&d, v);
	rig_init_pci(&d);	/* virtio-blk */
	rig_put16(&d, PCI_DEVICE_ID, 0x1042);
	rig_refused(&d, -ENODEV, "not a virtio network device");
	rig_init_pci(&d);	/* an e1000 */
	rig_put16(&d, PCI_VENDOR_ID, 0x8086);
	rig_refused(&d, -ENODEV, "not a virtio network device");
	rig_init_pci(&d);	/* without VERSION_1 */
	d.offered &= ~BIT(VIRTIO_F_VERSION_1);
	rig_refused(&d, -EOPNOTSUPP, "lacks required features");
}

static void test_pci_blocks_outside_of_their_bar_are_refused(void **state)
{
	static const unsigned int caps[] = { RIG_CAP_COMMON, RIG_CAP_NOTIFY, RIG_CAP_CONFIG };
	static const struct { uint32_t offset, length; } bad[] = {
		{ RIG_BAR_BYTES, 0x1000 }, { RIG_BAR_BYTES - 0x800, 0x1000 }, { 0xfffff000, 0x2000 },
		{ 0x1000, 0xffffffff }, { 0xfffffffc, 0xfffffffc }, { 0x1001, 0x1000 },
		{ 0x1000, 0 },
	};
	unsigned int i, c;
	struct vnet_rig d;

	for (c = 0; c < 3; c++) {
		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			rig_init_pci(&d);
			rig_cap(&d, caps[c])->cap.offset = bad[i].offset;
			rig_cap(&d, caps[c])->cap.length = bad[i].length;
			rig_refused(&d, -EPROTO, "capability type");
		}
		rig_init_pci(&d);	/* a reserved BAR: ignored, so the block is missing */
		rig_cap(&d, caps[c])->cap.bar = 6;
		rig_refused(&d, -EPROTO, "a register block is missing");
		rig_init_pci(&d);	/* a BAR that is not there: the same */
		rig_cap(&d, caps[c])->cap.bar = 2;
		rig_refused(&d, -EPROTO, "a register block is missing");
		rig_init_pci(&d);	/* too short to be one */
		rig_cap(&d, caps[c])->cap.cap_len = 15;
		rig_refused(&d, -EPROTO, "a register block is missing");
	}
	rig_init_pci(&d);	/* common block shorter than its struct */
	rig_cap(&d, RIG_CAP_COMMON)->cap.length = 0x37;
	rig_refused(&d, -EPROTO, "needs 56 bytes");
	rig_init_pci(&d);	/* no multiplier */
	rig_cap(&d, RIG_CAP_NOTIFY)->cap.cap_len = 16;
	rig_refused(&d, -EPROTO, "lacks the multiplier");
	rig_init_pci(&d);	/* fields beyond the device's configuration */
	rig_cap(&d, RIG_CAP_CONFIG)->cap.length = 4;
	rig_refused(&d, -EPROTO, "has no field");
	rig_init_pci(&d);
	d.map_err = -EOPNOTSUPP;	/* I/O ports only */
	rig_refused(&d, -EPROTO, "a register block is missing");
	rig_init_pci(&d);
	d.map_err = -ENOMEM;
	rig_refused(&d, -ENOMEM, "cannot be mapped");
}

static void test_pci_doorbells_outside_of_their_block_are_refused(void **state)
{
	static const uint32_t mults[] = { 1, 3, 6, 0x80000001u };
	struct vnet *v;
	unsigned int i;
	struct vnet_rig d;

	for (i = 0; i < sizeof(mults) / sizeof(mults[0]); i++) {
		rig_init_pci(&d);
		rig_cap(&d, RIG_CAP_NOTIFY)->notify_off_multiplier = mults[i];
		rig_refused(&d, -EPROTO, "notification multiplier");
	}
	rig_init_pci(&d);
	d.q[1].notify_off = 0x400;	/* 0x400 * 4 = the block's length */
	rig_refused(&d, -EPROTO, "doorbell at");
	rig_init_pci(&d);
	rig_cap(&d, RIG_CAP_NOTIFY)->notify_off_multiplier = 0x80000000u;
	d.q[1].notify_off = 2;		/* 2^32: wraps in 32 bits */
	rig_refused(&d, -EPROTO, "doorbell at");
	rig_init_pci(&d);
	d.q[1].notify_off = 0x3ff;	/* the last that fits */
	assert_int_equal(rig_open(&d, &v), 0);
	rig_end(&d, v);
	rig_init_pci(&d);
	rig_cap(&d, RIG_CAP_NOTIFY)->notify_off_multiplier = 0;	/* one doorbell for all: allowed */
	rig_cap(&d, RIG_CAP_NOTIFY)->cap.length = 2;
	assert_int_equal(rig_open(&d, &v), 0);
	rig_end(&d, v);
}

static void test_pci_broken_capability_lists_end(void **state)
{
	struct vnet_rig d;

	rig_init_pci(&d);	/* a loop that never reaches the device block */
	rig_cap(&d, RIG_CAP_NOTIFY)->cap.cap_next = RIG_CAP_COMMON;
	rig_refused(&d, -EPROTO, "capability list is broken");
	rig_init_pci(&d);	/* into the header */
	rig_cap(&d, RIG_CAP_NOTIFY)->cap.cap_next = 0x10;
	rig_refused(&d, -EPROTO, "capability list is broken");
	rig_init_pci(&d);	/* a capability at the very end: shorter than it says */
	rig_cap(&d, RIG_CAP_CONFIG)->cap.cap_next = 0xfc;
	d.cfg[0xfc] = PCI_CAP_ID_VNDR;
	d.cfg[0xfe] = 16;
	d.cfg[0xfd] = 0;
	rig_cap(&d, RIG_CAP_CONFIG)->cap.cap_vndr = PCI_CAP_ID_PM;	/* and no device block */
	rig_refused(&d, -EPROTO, "a register block is missing");
}

static void test_pci_configuration_space_that_cannot_be_read(void **state)
{
	struct vnet_rig d;

	rig_init_pci(&d);
	d.cfg_err = -EIO;
	rig_refused(&d, -EIO, "cannot be read at 0x0");
	assert_int_equal(d.resets, 0);
}

static void test_pci_negotiation_that_is_refused(void **state)
{
	struct vnet_rig d;

	rig_init_pci(&d);
	d.keep_features_ok_clear = true;
	rig_refused(&d, -EOPNOTSUPP, "refuses features");
	rig_init_pci(&d);
	d.refuse_start = true;
	rig_refused(&d, -EIO, "does not start");
	rig_init_pci(&d);
	d.num_queues = 1;
	rig_refused(&d, -EPROTO, "queue 1: size 0");
	rig_init_pci(&d);
	d.q[1].max = 24;
	rig_refused(&d, -EPROTO, "queue 1: size 24");
}

static void test_pci_configuration_that_changes(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);	/* for a while: read again */
	d.generation_changes = 5;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(vnet_mac(v)[5], 7);
	rig_end(&d, v);
	rig_init_pci(&d);	/* for ever: give up */
	d.generation_runs = true;
	rig_refused(&d, -EPROTO, "changed in each of 16 reads");
}

static void test_pci_without_interrupts_polls(void **state)
{
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);
	d.nr_irqs = 0;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(vnet_irq_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EOPNOTSUPP);
	rig_end(&d, v);
	rig_init_pci(&d);
	d.refuse_vector = true;
	assert_int_equal(rig_open(&d, &v), 0);
	assert_int_equal(vnet_irq_fd(v), -EOPNOTSUPP);
	rig_end(&d, v);
}

static void test_pci_device_that_disappears(void **state)
{
	const char *why;
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.status = 0xff;
	d.stuck_reset = false;
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	rig_end(&d, v);
}

/* Gone at each register read in turn: never a wait for what cannot come. */
static void test_pci_removal_at_each_register_read(void **state)
{
	unsigned int n, opened = 0;

	for (n = 1; !opened; n++) {
		struct vnet *v = NULL;
		struct vnet_rig d;

		rig_init_pci(&d);
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

static void test_pci_removal_with_frames_under_way(void **state)
{
	struct vnet_rx rx[4];
	const char *why;
	struct vnet *v;
	struct vnet_rig d;

	rig_init_pci(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.gone_after = d.reads;
	/* The memory is ours: a device that is gone leaves it as it is. */
	assert_int_equal(vnet_rx_burst(v, rx, 4), 0);
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	assert_true(d.reads < d.gone_after + 8);
	vnet_close(v);
	assert_true(d.reads < d.gone_after + 8);
	rig_free(&d);
}

static void test_pci_registers_that_read_as_anything(void **state)
{
	unsigned int round, opened = 0;

	srand(20261126);
	for (round = 0; round < 400; round++) {
		struct vnet *v = NULL;
		struct vnet_rig d;

		rig_init_pci(&d);
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

/* Two seconds each; also when it cannot be read what else the function was told. */
static void t_stuck(bool unreadable)
{
	struct vnet *v;
	struct vnet_rig d;
	uint16_t cmd;

	rig_init_pci(&d);
	assert_int_equal(rig_open(&d, &v), 0);
	d.stuck_reset = true;
	d.cfg_err = unreadable ? -EIO : 0;
	vnet_close(v);		/* rig_dma_free() checks the order */
	memcpy(&cmd, d.cfg + PCI_COMMAND, 2);
	assert_false(cmd & PCI_COMMAND_MASTER);
	rig_free(&d);
}

static void test_pci_reset_that_never_finishes_costs_the_bus(void **state)
{
	t_stuck(false);
	t_stuck(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pci_opens_a_modern_device),
		cmocka_unit_test(test_pci_fields_are_read_as_wide_as_they_are),
		cmocka_unit_test(test_pci_configuration_interrupts),
		cmocka_unit_test(test_pci_control_queue),
		cmocka_unit_test(test_pci_doorbells_land_in_their_registers),
		cmocka_unit_test(test_pci_legacy_and_foreign_devices_are_refused),
		cmocka_unit_test(test_pci_blocks_outside_of_their_bar_are_refused),
		cmocka_unit_test(test_pci_doorbells_outside_of_their_block_are_refused),
		cmocka_unit_test(test_pci_broken_capability_lists_end),
		cmocka_unit_test(test_pci_configuration_space_that_cannot_be_read),
		cmocka_unit_test(test_pci_negotiation_that_is_refused),
		cmocka_unit_test(test_pci_configuration_that_changes),
		cmocka_unit_test(test_pci_without_interrupts_polls),
		cmocka_unit_test(test_pci_device_that_disappears),
		cmocka_unit_test(test_pci_removal_at_each_register_read),
		cmocka_unit_test(test_pci_removal_with_frames_under_way),
		cmocka_unit_test(test_pci_registers_that_read_as_anything),
		cmocka_unit_test(test_pci_reset_that_never_finishes_costs_the_bus),
	};

	nomux_set_log_fn(rig_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
