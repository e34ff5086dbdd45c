// SPDX-License-Identifier: MIT
/*
 * The control queue, link state, MTU: what reaches the device, what comes back
 * after a restart, and devices that answer badly or not at all.  Each test for
 * split and packed rings.
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
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "vnet_pair.h"
#include "../../userdrivers/src/vtrans_fake.h"

#define BIT(n)	(1ULL << (n))
#define CTRL	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_VLAN) | \
		 BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | \
		 BIT(VIRTIO_NET_F_GUEST_ANNOUNCE))
#define CTL	2	/* the queue */

static uint64_t extra;

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 0x77 };
static const uint8_t uni[2][6] = { { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 } };
static const uint8_t multi[3][6] = { { 1, 0, 0x5e, 0, 0, 1 }, { 1, 0, 0x5e, 0, 0, 2 }, { 0x33, 0x33, 0, 0, 0, 1 } };

static void t_open(struct pair *p, uint64_t on, uint64_t off, unsigned int mtu)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_on = on, .arena_bytes = 64 << 10 };
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra, .features_off = off,
				  .mtu = (uint16_t)mtu };

	pair_open(p, "test_vnet_ctrl", &b, &o);
}

static void t_set_all(struct vnet *v)
{
	assert_int_equal(vnet_set_mac(v, mac), 0);
	assert_int_equal(vnet_set_rx_mode(v, VNET_RX_MODE_ALLMULTI | VNET_RX_MODE_NOBCAST), 0);
	assert_int_equal(vnet_set_filter(v, uni, 2, multi, 3), 0);
	assert_int_equal(vnet_vlan(v, 0, true), 0);
	assert_int_equal(vnet_vlan(v, 7, true), 0);
	assert_int_equal(vnet_vlan(v, 4095, true), 0);
	assert_int_equal(vnet_vlan(v, 7, false), 0);
}

static void t_is_all_set(const struct vhostbe_rx *rx)
{
	assert_memory_equal(rx->mac, mac, 6);
	assert_int_equal(rx->mode, VNET_RX_MODE_ALLMULTI | VNET_RX_MODE_NOBCAST);
	assert_int_equal(rx->nr_unicast, 2);
	assert_int_equal(rx->nr_multicast, 3);
	assert_memory_equal(rx->addr, uni, sizeof(uni));
	assert_memory_equal(rx->addr[2], multi, sizeof(multi));
	assert_int_equal(rx->vlan[0], 1);
	assert_int_equal(rx->vlan[511], 0x80);
}

static void test_vnet_ctrl_sets_what_it_says(void **state)
{
	const struct vhostbe_rx *rx;
	unsigned int before;
	struct pair p;

	t_open(&p, CTRL, 0, 0);
	assert_int_equal(vnet_features(p.v) & CTRL, CTRL);
	rx = vhostbe_rx_state(p.be);
	assert_int_equal(rx->commands, 0);
	t_set_all(p.v);
	t_is_all_set(rx);
	assert_memory_equal(vnet_mac(p.v), mac, 6);
	/* One command for what changes; at first each mode is told. */
	assert_int_equal(rx->commands, 1 + 6 + 1 + 4);
	assert_int_equal(vnet_stats(p.v)->commands, rx->commands);
	before = rx->commands;
	assert_int_equal(vnet_set_rx_mode(p.v, VNET_RX_MODE_PROMISC | VNET_RX_MODE_NOBCAST), 0);
	assert_int_equal(rx->commands, before + 2);
	assert_int_equal(rx->mode, VNET_RX_MODE_PROMISC | VNET_RX_MODE_NOBCAST);
	assert_int_equal(vnet_set_filter(p.v, NULL, 0, NULL, 0), 0);
	assert_int_equal(rx->nr_unicast + rx->nr_multicast, 0);
	/* Many: the ring goes round. */
	for (before = 0; before < 40000; before++)
		assert_int_equal(vnet_vlan(p.v, before & 4095, before & 4096), 0);
	assert_int_equal(rx->refused, 0);
	pair_close(&p);
}

static void test_vnet_ctrl_is_told_again_after_a_restart(void **state)
{
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra };
	struct pair p;

	t_open(&p, CTRL, 0, 0);
	t_set_all(p.v);
	vhostbe_destroy(p.be);
	assert_int_equal(vnet_check(p.v), -EIO);
	assert_int_equal(vnet_set_mac(p.v, uni[0]), -EIO);
	assert_int_equal(vhostbe_create(p.path, &b, &p.be), 0);
	assert_int_equal(vnet_restart(p.v, NULL, NULL), 0);
	t_is_all_set(vhostbe_rx_state(p.be));
	assert_memory_equal(vnet_mac(p.v), mac, 6);
	pair_close(&p);
}

static void test_vnet_ctrl_refuses_nonsense(void **state)
{
	static const uint8_t none[6], disliked[6] = { 2, 0, 0, 0xff, 0xff, 0xff };
	static uint8_t many[VNET_FILTER_MAX + 1][6];
	const struct vhostbe_rx *rx;
	struct pair p;

	t_open(&p, CTRL, 0, 0);
	rx = vhostbe_rx_state(p.be);
	assert_int_equal(vnet_set_mac(p.v, none), -EINVAL);
	assert_int_equal(vnet_set_mac(p.v, multi[0]), -EINVAL);
	assert_int_equal(vnet_set_rx_mode(p.v, 64), -EINVAL);
	assert_int_equal(vnet_vlan(p.v, 4096, true), -EINVAL);
	assert_int_equal(vnet_set_filter(p.v, multi, 1, NULL, 0), -EINVAL);
	assert_int_equal(vnet_set_filter(p.v, NULL, 0, uni, 1), -EINVAL);
	assert_int_equal(vnet_set_filter(p.v, (const uint8_t (*)[6])many, VNET_FILTER_MAX + 1, NULL, 0), -EINVAL);
	assert_int_equal(vnet_set_filter(p.v, (const uint8_t (*)[6])many, VNET_FILTER_MAX, multi, 1), -EINVAL);
	assert_int_equal(rx->commands + rx->refused, 0);
	assert_int_equal(vnet_set_filter(p.v, (const uint8_t (*)[6])many, VNET_FILTER_MAX, NULL, 0), 0);
	/* The device says no: all is as before. */
	assert_int_equal(vnet_set_mac(p.v, disliked), -EREMOTEIO);
	assert_int_equal(rx->refused, 1);
	assert_memory_not_equal(vnet_mac(p.v), disliked, 6);
	assert_int_equal(vnet_set_mac(p.v, mac), 0);
	t_set_all(p.v);
	assert_int_equal(vnet_set_filter(p.v, &disliked, 1, NULL, 0), -EREMOTEIO);
	assert_int_equal(vnet_restart(p.v, NULL, NULL), 0);
	t_is_all_set(rx);
	pair_close(&p);
}

static void test_vnet_ctrl_needs_its_features(void **state)
{
	struct pair p;

	t_open(&p, 0, 0, 0);	/* nobody asked */
	assert_int_equal(vnet_features(p.v) & CTRL, 0);
	assert_int_equal(vnet_set_mac(p.v, mac), -EOPNOTSUPP);
	assert_int_equal(vnet_set_rx_mode(p.v, 0), -EOPNOTSUPP);
	assert_int_equal(vnet_set_filter(p.v, NULL, 0, NULL, 0), -EOPNOTSUPP);
	assert_int_equal(vnet_vlan(p.v, 1, true), -EOPNOTSUPP);
	assert_int_equal(vnet_announce_ack(p.v), -EOPNOTSUPP);
	pair_close(&p);
	t_open(&p, CTRL, BIT(VIRTIO_NET_F_CTRL_VQ), 0);	/* the others make no sense without */
	assert_int_equal(vnet_features(p.v) & CTRL, 0);
	pair_close(&p);
	t_open(&p, CTRL, BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_STATUS), 0);
	assert_int_equal(vnet_set_rx_mode(p.v, VNET_RX_MODE_PROMISC), 0);
	assert_int_equal(vhostbe_rx_state(p.be)->commands, 2);
	assert_int_equal(vnet_set_rx_mode(p.v, VNET_RX_MODE_NOUNI), -EOPNOTSUPP);
	assert_int_equal(vnet_vlan(p.v, 1, true), -EOPNOTSUPP);
	assert_int_equal(vnet_announce_ack(p.v), -EOPNOTSUPP);
	pair_close(&p);
}

/* ------------------------------------------------- link, announcement, MTU --- */

struct heard {
	unsigned int calls, what;
};

static void t_heard(unsigned int what, void *arg)
{
	struct heard *h = arg;

	h->calls++;
	h->what = what;
}

static void test_vnet_check_tells_of_changes(void **state)
{
	struct heard h = { 0 };
	struct pair p;

	t_open(&p, CTRL, 0, 0);
	vnet_on_event(p.v, t_heard, &h);
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.calls, 0);
	vhostbe_set_link(p.be, false);
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.calls, 1);
	assert_int_equal(h.what, VNET_EVENT_LINK);
	assert_false(vnet_link_up(p.v));
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.calls, 1);	/* once for each change */
	vhostbe_set_link(p.be, true);
	vhostbe_announce(p.be);
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.what, VNET_EVENT_LINK | VNET_EVENT_ANNOUNCE);
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.what, VNET_EVENT_ANNOUNCE);	/* until it is acknowledged */
	assert_int_equal(vnet_announce_ack(p.v), 0);
	assert_int_equal(vhostbe_rx_state(p.be)->acks, 1);
	assert_int_equal(h.calls, 3);
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.calls, 3);
	vnet_on_event(p.v, NULL, NULL);
	vhostbe_set_link(p.be, false);
	assert_int_equal(vnet_check(p.v), 0);
	assert_int_equal(h.calls, 3);
	/* No interrupt for it in hosted mode: said, not pretended. */
	assert_int_equal(vnet_config_fd(p.v), -EOPNOTSUPP);
	assert_int_equal(vnet_config_bind(p.v, NULL, 1), -EOPNOTSUPP);
	assert_false(vnet_config_changed(p.v));
	pair_close(&p);
}

/* Frames of 9000 bytes and more, if a frame may take several buffers. */
static void test_vnet_mtu_beyond_a_buffer(void **state)
{
	static uint8_t buf[9018], got[9018];
	struct vnet_seg seg[2];
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2 };
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	unsigned int i, n, at = 0;
	uint8_t *mem;
	struct pair p;

	t_open(&p, 0, 0, 9000);
	assert_int_equal(vnet_mtu(p.v), 1500);
	assert_false(vnet_features(p.v) & BIT(VIRTIO_NET_F_MTU));
	pair_close(&p);
	/* It is asked for if it is needed, and not else. */
	t_open(&p, BIT(VIRTIO_NET_F_MTU), 0, 2016);
	assert_int_equal(vnet_mtu(p.v), 2016);
	assert_false(vnet_features(p.v) & BIT(VIRTIO_NET_F_MRG_RXBUF));
	pair_close(&p);
	t_open(&p, BIT(VIRTIO_NET_F_MTU), BIT(VIRTIO_NET_F_MRG_RXBUF), 9000);
	assert_int_equal(vnet_mtu(p.v), 1500);
	pair_close(&p);
	t_open(&p, BIT(VIRTIO_NET_F_MTU), 0, 9000);
	assert_int_equal(vnet_mtu(p.v), 9000);
	assert_true(vnet_features(p.v) & BIT(VIRTIO_NET_F_MRG_RXBUF));
	pair_close(&p);
	t_open(&p, BIT(VIRTIO_NET_F_MRG_RXBUF), 0, 9000);
	assert_int_equal(vnet_mtu(p.v), 9000);
	mem = vnet_dma_alloc(p.v, 9019, 64);
	for (i = 0; i < 9018; i++)
		mem[i] = buf[i] = (uint8_t)(i * 13 + (i >> 8));
	seg[0] = (struct vnet_seg){ mem, 54 };
	seg[1] = (struct vnet_seg){ mem + 54, 9018 - 54 };
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	seg[1].len++;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	/* A copy has to fit one of our buffers. */
	seg[0] = (struct vnet_seg){ mem, VNET_FRAME_MAX_BYTES };
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), 0);
	seg[0].len++;
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), -EINVAL);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 9018);
	assert_memory_equal(got, buf, 9018);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), VNET_FRAME_MAX_BYTES);
	assert_int_equal(vhostbe_inject(p.be, buf, 9018, NULL), 0);
	n = vnet_rx_burst(p.v, rx, VNET_RX_SEG_MAX);
	assert_int_equal(n, 5);
	for (i = 0; i < n; i++) {
		assert_memory_equal(rx[i].data, buf + at, rx[i].len);
		at += rx[i].len;
		vnet_rx_release(p.v, rx[i].id);
	}
	assert_int_equal(at, 9018);
	pair_close(&p);
}

/* ------------------------------------------------------- devices that lie --- */

enum answer { SILENT, WRONG_ID, TWICE, RAN_AHEAD, ODD_BYTE, NO_BYTE, NR_ANSWERS };

struct liar {
	struct vtrans_fake *f;
	enum answer how;
	unsigned int calls, seen;
};

static void t_answer(void *arg)
{
	struct liar *l = arg;
	struct vring_desc *d = l->f->queue[CTL].desc;
	unsigned int id, second;

	l->calls++;
	if (l->seen || l->how == SILENT)
		return;
	if (extra) {
		struct vring_packed_desc *p = vtrans_fake_packed(l->f, CTL);

		if (!(p[0].flags & 1u << VRING_PACKED_DESC_F_AVAIL))
			return;
		id = p[0].id;
		second = 1;
	} else {
		if (!vtrans_fake_avail(l->f, CTL)->idx)
			return;
		id = vtrans_fake_avail(l->f, CTL)->ring[0];
		second = d[id].next;
	}
	l->seen++;
	/* The address is at the same place in descriptors of both kinds. */
	if (l->how != NO_BYTE)
		*(uint8_t *)vtrans_fake_va(l->f, d[second].addr) = l->how == ODD_BYTE ? 0x55 : 0;
	if (extra) {
		vtrans_fake_use_packed(l->f, CTL, 0, l->how >= ODD_BYTE ? id : l->how == WRONG_ID ? id + 1 : 0xffff, 1);
		return;
	}
	vtrans_fake_use(l->f, CTL, l->how == WRONG_ID ? id + 1 : id, 1);
	if (l->how == TWICE)
		vtrans_fake_use(l->f, CTL, id, 1);
	if (l->how == RAN_AHEAD)
		vtrans_fake_used(l->f, CTL)->idx = 77;
}

static void test_vnet_ctrl_device_that_answers_badly(void **state)
{
	enum answer how;

	for (how = SILENT; how < NR_ANSWERS; how++) {
		struct liar l = { .f = vtrans_fake_create(), .how = how };
		struct vnet_opts o = { .sz = sizeof(o), .features_on = CTRL, .arena_bytes = 8192,
				       .wait = t_answer, .wait_arg = &l };
		const char *why = NULL;
		struct vnet *v;

		l.f->offered |= CTRL | extra;
		assert_int_equal(vnet_create(&l.f->dev, &o, &v), 0);
		assert_int_equal(vnet_set_mac(v, mac), how >= ODD_BYTE ? -EREMOTEIO : -EIO);
		if (how >= ODD_BYTE) {
			assert_int_equal(vnet_error(v, NULL), 0);
		} else {
			assert_int_equal(vnet_error(v, &why), -EIO);
			assert_non_null(strstr(why, how == SILENT ? "no answer to command 1 of class 1" : "something else"));
			assert_false(l.f->started);
		}
		assert_memory_not_equal(vnet_mac(v), mac, 6);
		assert_true(l.calls > 0);
		vnet_close(v);
	}
}

static void test_vnet_ctrl_queue_that_is_not_there(void **state)
{
	static const unsigned int sizes[] = { 0, 1, 3, 32769 };
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct vtrans_fake *f = vtrans_fake_create();
		struct vnet_opts o = { .sz = sizeof(o), .features_on = CTRL };
		struct vnet *v = NULL;

		f->offered |= CTRL | extra;
		f->queue_size[CTL] = sizes[i];
		assert_int_equal(vnet_create(&f->dev, &o, &v), -EPROTO);
		nomdrv_dev_destroy(&f->dev);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_ctrl_sets_what_it_says),
		cmocka_unit_test(test_vnet_ctrl_is_told_again_after_a_restart),
		cmocka_unit_test(test_vnet_ctrl_refuses_nonsense),
		cmocka_unit_test(test_vnet_ctrl_needs_its_features),
		cmocka_unit_test(test_vnet_check_tells_of_changes),
		cmocka_unit_test(test_vnet_mtu_beyond_a_buffer),
		cmocka_unit_test(test_vnet_ctrl_device_that_answers_badly),
		cmocka_unit_test(test_vnet_ctrl_queue_that_is_not_there),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
