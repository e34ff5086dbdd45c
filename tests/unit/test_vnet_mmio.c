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
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"
#include "nomux/log.h"
#include "../../userdrivers/src/mmio_fn.h"

#define BIT(n)		(1ULL << (n))
#define SLOT_BYTES	0x200
#define NR_QUEUES	3

struct dev {
	struct mmio_fn fn;
	uint8_t *regs;	/* a plain array; all but the doorbell are answered by t_read() */
	size_t bytes;
	uint32_t magic, version, id;
	uint64_t offered, accepted, on;
	uint32_t dfsel, gfsel, qsel, status, generation;
	struct {
		uint32_t num_max, num, ready;
		uint64_t desc, avail, used;
	} q[NR_QUEUES];
	struct virtio_net_config config;
	/* lies */
	bool keep_features_ok_clear, stuck_reset, generation_runs, refuse_start, never_ready, always_ready;
	unsigned int generation_changes;	/* that many reads see a change */
	unsigned int gone_after;	/* that many register reads, then all ones; 0: never */
	unsigned int garbage;		/* one register read in so many is random; 0: none */
	int map_err, irq_err;
	/* what happened */
	int irq_fd[2];
	unsigned int irq_sets, resets, closed, reads;
	bool dma_live;
};

static char said[4096];	/* the log since t_init() */

static void t_log(int level, const char *msg, void *arg)
{
	size_t len = strlen(said);

	snprintf(said + len, sizeof(said) - len, "%s\n", msg);
}

static struct dev *to_dev(struct mmio_fn *fn)
{
	return (struct dev *)fn;
}

static int t_map(struct mmio_fn *fn, void **va_out, size_t *bytes_out)
{
	struct dev *d = to_dev(fn);

	if (d->map_err)
		return d->map_err;
	*va_out = d->regs;
	*bytes_out = d->bytes;
	return 0;
}

static bool queue_is_there(const struct dev *d)
{
	return d->qsel < NR_QUEUES;
}

static uint32_t t_control_read(struct dev *d, unsigned int off)
{
	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return d->magic;
	case VIRTIO_MMIO_VERSION:
		return d->version;
	case VIRTIO_MMIO_DEVICE_ID:
		return d->id;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return (uint32_t)(d->dfsel < 2 ? d->offered >> (32 * d->dfsel) : 0);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue_is_there(d) ? d->q[d->qsel].num_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		if (d->always_ready)
			return 1;
		return queue_is_there(d) && !d->never_ready ? d->q[d->qsel].ready : 0;
	case VIRTIO_MMIO_STATUS:
		return d->status;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		if (d->generation_runs || d->generation_changes) {
			d->generation++;
			if (d->generation_changes)
				d->generation_changes--;
		}
		return d->generation;
	default:
		fail_msg("read of register 0x%x", off);
		return 0;
	}
}

static uint32_t t_read(struct mmio_fn *fn, const volatile void *reg, unsigned int width)
{
	struct dev *d = to_dev(fn);
	size_t off = (size_t)((const volatile uint8_t *)reg - d->regs);
	uint32_t v = 0;

	assert_true(off + width <= d->bytes);
	assert_int_equal(off % width, 0);
	d->reads++;
	if (d->gone_after && d->reads > d->gone_after)
		return UINT32_MAX >> (32 - 8 * width);
	if (d->garbage && (unsigned int)rand() % d->garbage == 0)
		return (uint32_t)rand() >> (32 - 8 * width);
	if (off < VIRTIO_MMIO_CONFIG) {
		assert_int_equal(width, 4);	/* 4.2.2.2 */
		return t_control_read(d, (unsigned int)off);
	}
	off -= VIRTIO_MMIO_CONFIG;
	assert_true(off + width <= sizeof(d->config));
	memcpy(&v, (uint8_t *)&d->config + off, width);
	return v;
}

static void set64(uint64_t *at, bool high, uint32_t v)
{
	*at = high ? (*at & 0xffffffffu) | (uint64_t)v << 32 : (*at & ~0xffffffffULL) | v;
}

static void t_status_write(struct dev *d, uint32_t v)
{
	unsigned int i;

	if (!v) {
		d->resets++;
		if (d->stuck_reset && (d->status & VIRTIO_CONFIG_S_DRIVER_OK))
			return;
		for (i = 0; i < NR_QUEUES; i++)
			d->q[i].ready = 0;
		d->status = 0;
		return;
	}
	if (d->keep_features_ok_clear)
		v &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (d->refuse_start && (v & VIRTIO_CONFIG_S_DRIVER_OK))
		v |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if ((v & VIRTIO_CONFIG_S_DRIVER_OK) && !d->garbage) {	/* the queues first */
		assert_int_equal(d->q[0].ready, 1);
		assert_int_equal(d->q[1].ready, 1);
		assert_int_equal(d->q[2].ready, d->accepted >> VIRTIO_NET_F_CTRL_VQ & 1);
		assert_true(v & VIRTIO_CONFIG_S_FEATURES_OK);
	}
	d->status = v;
}

static void t_queue_write(struct dev *d, unsigned int off, uint32_t v)
{
	assert_true(queue_is_there(d));
	if (off != VIRTIO_MMIO_QUEUE_READY)
		assert_int_equal(d->q[d->qsel].ready, 0);	/* 4.2.3.2: before it is ready */
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		d->q[d->qsel].num = v;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		d->q[d->qsel].ready = v;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set64(&d->q[d->qsel].desc, off & 4, v);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set64(&d->q[d->qsel].avail, off & 4, v);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set64(&d->q[d->qsel].used, off & 4, v);
		break;
	default:
		fail_msg("write of register 0x%x", off);
	}
}

static void t_write(struct mmio_fn *fn, volatile void *reg, uint32_t v)
{
	struct dev *d = to_dev(fn);
	unsigned int off = (unsigned int)((volatile uint8_t *)reg - d->regs);

	assert_int_equal(off % 4, 0);
	if (d->gone_after && d->reads >= d->gone_after)
		return;
	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		d->dfsel = v;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		d->gfsel = v;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		set64(&d->accepted, d->gfsel == 1, v);
		break;
	case VIRTIO_MMIO_STATUS:
		t_status_write(d, v);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		d->qsel = v;
		break;
	default:
		t_queue_write(d, off, v);
	}
}

static int t_irq(struct mmio_fn *fn, int rx_fd, int config_fd)
{
	struct dev *d = to_dev(fn);

	if (d->irq_err)
		return d->irq_err;
	d->irq_sets++;
	d->irq_fd[0] = rx_fd;
	d->irq_fd[1] = config_fd;
	return 0;
}

static int t_irq_bind(struct mmio_fn *fn, unsigned int irq, struct nomux_core *core,
		      unsigned int event, int eventfd, uint64_t *count)
{
	assert_int_equal(eventfd, to_dev(fn)->irq_fd[irq]);
	*count += event;	/* as if that many came */
	return 0;
}

static void t_irq_unbind(struct mmio_fn *fn, unsigned int irq)
{
	assert_true(to_dev(fn)->irq_fd[irq] >= 0);
}

static int t_dma_alloc(struct mmio_fn *fn, size_t bytes, struct nomdrv_dma *out)
{
	struct dev *d = to_dev(fn);
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;

	out->va = aligned_alloc(NOMDRV_CHUNK_BYTES, bytes);
	out->bytes = bytes;
	out->chunk_dma = calloc(nr, sizeof(uint64_t));
	for (i = 0; i < nr; i++)
		out->chunk_dma[i] = 0x123400000000ULL + (i << NOMDRV_CHUNK_SHIFT);
	d->dma_live = true;
	return 0;
}

static void t_dma_free(struct mmio_fn *fn, struct nomdrv_dma *dma)
{
	struct dev *d = to_dev(fn);
	bool ready = d->q[0].ready || d->q[1].ready || d->q[2].ready;

	/* The device has been reset, or has lost its queues, or is gone. */
	assert_true(d->status == 0 || !ready || d->garbage || d->gone_after);
	free(dma->va);
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
	d->dma_live = false;
}

static void t_close(struct mmio_fn *fn)
{
	struct dev *d = to_dev(fn);

	assert_false(d->dma_live);
	assert_true(d->irq_fd[0] == -1 && d->irq_fd[1] == -1);
	d->closed++;
}

static const struct mmio_fn_ops t_ops = {
	.map = t_map, .reg_read = t_read, .reg_write = t_write, .irq = t_irq,
	.irq_bind = t_irq_bind, .irq_unbind = t_irq_unbind,
	.dma_alloc = t_dma_alloc, .dma_free = t_dma_free, .close = t_close,
};

static void t_init(struct dev *d)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 9, 8, 7 };

	memset(d, 0, sizeof(*d));
	d->fn.ops = &t_ops;
	strcpy(d->fn.name, "test");
	d->bytes = SLOT_BYTES;
	d->regs = calloc(1, d->bytes);
	d->magic = 0x74726976;
	d->version = 2;
	d->id = 1;
	d->offered = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
		BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4);
	d->irq_fd[0] = d->irq_fd[1] = -1;
	d->q[0].num_max = 16;
	d->q[1].num_max = 32;
	d->q[2].num_max = 64;
	d->q[0].ready = d->q[1].ready = 1;
	d->status = 0xf;	/* as the last driver left it */
	memcpy(d->config.mac, mac, 6);
	d->config.status = VIRTIO_NET_S_LINK_UP;
	said[0] = 0;
}

static int t_open(struct dev *d, struct vnet **v)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .features_on = d->on };
	struct nomdrv_dev *dev;
	int err;

	assert_int_equal(vtrans_mmio_create(&d->fn, &dev), 0);
	err = vnet_create(dev, &o, v);
	if (err)
		nomdrv_dev_destroy(dev);
	return err;
}

/* Opening fails with @want and says why, and nothing stays behind. */
static void t_refused(struct dev *d, int want, const char *why)
{
	struct vnet *v = NULL;

	assert_int_equal(t_open(d, &v), want);
	assert_null(v);
	assert_int_equal(d->closed, 1);
	if (!strstr(said, why))
		fail_msg("said \"%s\", not \"%s\"", said, why);
	free(d->regs);
}

static void t_end(struct dev *d, struct vnet *v)
{
	vnet_close(v);
	assert_int_equal(d->closed, 1);
	assert_int_equal(d->status, 0);
	free(d->regs);
}

static void test_mmio_opens_a_modern_device(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(d.status, 0xf);
	assert_int_equal(d.resets, 1);
	assert_int_equal(d.accepted, d.offered & ~BIT(VIRTIO_NET_F_GUEST_TSO4));
	assert_int_equal(d.q[0].num, 16);
	assert_int_equal(d.q[1].num, 32);
	assert_int_equal(d.q[0].desc >> 32, 0x1234);	/* both halves */
	assert_true(d.q[0].avail > d.q[0].desc && d.q[0].used > d.q[0].avail);
	assert_true(d.q[1].desc > d.q[0].used);
	assert_int_equal(vnet_mac(v)[5], 7);
	assert_true(vnet_link_up(v));
	t_end(&d, v);
	assert_int_equal(d.resets, 2);
}

static void test_mmio_opens_packed_rings(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.offered |= BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_RING_F_EVENT_IDX);
	assert_int_equal(t_open(&d, &v), 0);
	assert_true(vnet_features(v) & BIT(VIRTIO_F_RING_PACKED));
	/* Driver's and device's event, where split rings have avail and used. */
	assert_true(d.q[0].avail - d.q[0].desc >= 16 * 16);
	assert_true(d.q[0].used != d.q[0].avail);
	t_end(&d, v);
}

/* One register, the queue's number in it, and nothing beside it is written. */
static void test_mmio_doorbell_is_one_register(void **state)
{
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	uint32_t *bell;
	struct vnet *v;
	unsigned int i;
	struct dev d;

	t_init(&d);
	memset(d.regs, 0xee, SLOT_BYTES);
	bell = (uint32_t *)(void *)(d.regs + VIRTIO_MMIO_QUEUE_NOTIFY);
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(*bell, 0);	/* receive buffers */
	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
	assert_int_equal(*bell, 0);
	vnet_tx_flush(v);
	assert_int_equal(*bell, 1);
	for (i = 0; i < SLOT_BYTES; i++)
		if (i < VIRTIO_MMIO_QUEUE_NOTIFY || i > VIRTIO_MMIO_QUEUE_NOTIFY + 3)
			assert_int_equal(d.regs[i], 0xee);
	t_end(&d, v);
}

static void t_signal(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void test_mmio_one_interrupt_is_two_eventfds(void **state)
{
	struct vnet *v;
	struct dev d;
	int rx;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
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

	assert_int_equal(vnet_irq_bind(v, NULL, 5), 0);	/* t_irq_bind() counts as if 5 came */
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EBUSY);
	assert_int_equal(vnet_config_bind(v, NULL, 7), 0);
	assert_int_equal(vnet_stats(v)->interrupts, 5);
	assert_int_equal(vnet_stats(v)->config_interrupts, 8);
	/* A restart leaves both as they are. */
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(vnet_irq_fd(v), rx);
	assert_int_equal(d.irq_sets, 1);
	t_end(&d, v);
	assert_int_equal(d.irq_sets, 2);
}

static void test_mmio_without_an_interrupt_polls(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.irq_err = -EOPNOTSUPP;
	assert_int_equal(t_open(&d, &v), 0);
	assert_non_null(strstr(said, "polling only"));
	assert_int_equal(vnet_irq_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_config_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EOPNOTSUPP);
	t_end(&d, v);
}

static void test_mmio_control_queue(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	d.on = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(d.q[2].ready, 1);
	assert_int_equal(d.q[2].num, 64);
	assert_int_equal(vnet_set_rx_mode(v, VNET_RX_MODE_PROMISC), -EIO);	/* nobody answers here */
	assert_int_equal(*(uint32_t *)(void *)(d.regs + VIRTIO_MMIO_QUEUE_NOTIFY), 2);
	t_end(&d, v);
	t_init(&d);	/* promised, and not there */
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ);
	d.on = BIT(VIRTIO_NET_F_CTRL_VQ);
	d.q[2].num_max = 0;
	t_refused(&d, -EPROTO, "queue 2: size 0");
}

static void test_mmio_what_is_no_modern_net_device_is_refused(void **state)
{
	struct dev d;

	t_init(&d);
	d.magic = 0;
	t_refused(&d, -ENODEV, "magic 0x00000000");
	assert_int_equal(d.resets, 0);	/* it was not touched */
	assert_int_equal(d.reads, 1);
	t_init(&d);	/* the other byte order */
	d.magic = 0x76697274;
	t_refused(&d, -ENODEV, "magic 0x76697274");
	t_init(&d);
	d.version = 1;
	t_refused(&d, -EOPNOTSUPP, "force-legacy=false");
	assert_int_equal(d.resets, 0);
	t_init(&d);
	d.version = 3;
	t_refused(&d, -EOPNOTSUPP, "version 3");
	t_init(&d);
	d.version = 0;
	t_refused(&d, -EOPNOTSUPP, "version 0");
	t_init(&d);
	d.id = 0;
	t_refused(&d, -ENODEV, "empty slot");
	assert_int_equal(d.resets, 0);
	t_init(&d);	/* a disk */
	d.id = 2;
	t_refused(&d, -ENODEV, "not a network device");
	assert_int_equal(d.resets, 0);
	t_init(&d);
	d.offered &= ~BIT(VIRTIO_F_VERSION_1);
	t_refused(&d, -EOPNOTSUPP, "lacks required features");
	t_init(&d);	/* all ones */
	d.gone_after = 0;
	d.magic = d.version = d.id = UINT32_MAX;
	t_refused(&d, -ENODEV, "magic 0xffffffff");
}

static void test_mmio_registers_that_are_too_few_are_refused(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.bytes = VIRTIO_MMIO_CONFIG - 4;
	t_refused(&d, -EPROTO, "are not the registers");
	t_init(&d);	/* no configuration: no field is read beyond */
	d.bytes = VIRTIO_MMIO_CONFIG;
	t_refused(&d, -EPROTO, "has no field");
	t_init(&d);
	d.bytes = VIRTIO_MMIO_CONFIG + 5;	/* an address has 6 */
	t_refused(&d, -EPROTO, "has no field");
	t_init(&d);
	d.bytes = VIRTIO_MMIO_CONFIG + 8;	/* and the link state two */
	assert_int_equal(t_open(&d, &v), 0);
	t_end(&d, v);
	t_init(&d);
	d.map_err = -EACCES;
	t_refused(&d, -EACCES, "cannot map");
}

static void test_mmio_queues_that_lie_are_refused(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 24, 65536, 1u << 31, UINT32_MAX };
	unsigned int i, q;
	struct dev d;

	for (q = 0; q < 2; q++) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			t_init(&d);
			d.q[q].num_max = sizes[i];
			t_refused(&d, -EPROTO, "not a power of two");
		}
	}
	t_init(&d);
	d.never_ready = true;
	t_refused(&d, -EPROTO, "does not become ready");
	t_init(&d);
	d.always_ready = true;
	t_refused(&d, -EPROTO, "ready after a reset");
}

static void test_mmio_negotiation_that_is_refused(void **state)
{
	struct dev d;

	t_init(&d);
	d.keep_features_ok_clear = true;
	t_refused(&d, -EOPNOTSUPP, "refuses features");
	t_init(&d);
	d.refuse_start = true;
	t_refused(&d, -EIO, "does not start");
}

static void test_mmio_configuration_that_changes(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);	/* for a while: read again */
	d.generation_changes = 5;
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(vnet_mac(v)[5], 7);
	t_end(&d, v);
	t_init(&d);	/* for ever: give up */
	d.generation_runs = true;
	t_refused(&d, -EPROTO, "changed in each of 16 reads");
}

static void test_mmio_needs_reset_and_restart(void **state)
{
	const char *why;
	struct vnet *v;
	struct dev d;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	d.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	assert_true(vnet_check(v) < 0);
	assert_true(vnet_error(v, &why) < 0);
	assert_int_equal(d.status, 0);
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(d.status, 0xf);
	assert_int_equal(vnet_error(v, NULL), 0);
	d.q[1].num_max = 16;	/* it comes back with less */
	assert_int_equal(vnet_restart(v, NULL, NULL), -EPROTO);
	assert_int_equal(d.status, 0);
	t_end(&d, v);
}

/* Gone at each register read in turn: never a wait for what cannot come. */
static void test_mmio_removal_at_each_register_read(void **state)
{
	unsigned int n, opened = 0;

	for (n = 1; !opened; n++) {
		struct vnet *v = NULL;
		struct dev d;

		t_init(&d);
		d.gone_after = n;
		opened = !t_open(&d, &v);
		assert_true(d.reads < n + 64);
		if (opened)
			vnet_close(v);
		else
			assert_null(v);
		assert_int_equal(d.closed, 1);
		assert_false(d.dma_live);
		free(d.regs);
	}
	assert_true(n > 20);
}

static void test_mmio_removal_with_frames_under_way(void **state)
{
	struct vnet_rx rx[4];
	const char *why;
	struct vnet *v;
	struct dev d;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	d.gone_after = d.reads;
	assert_int_equal(vnet_rx_burst(v, rx, 4), 0);
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	assert_true(d.reads < d.gone_after + 8);
	vnet_close(v);
	assert_true(d.reads < d.gone_after + 8);
	assert_int_equal(d.closed, 1);
	free(d.regs);
}

static void test_mmio_registers_that_read_as_anything(void **state)
{
	unsigned int round, opened = 0;

	srand(20261126);
	for (round = 0; round < 400; round++) {
		struct vnet *v = NULL;
		struct dev d;

		t_init(&d);
		d.garbage = 4 + round % 60;
		if (!t_open(&d, &v)) {
			opened++;
			vnet_check(v);
			vnet_close(v);
		}
		assert_int_equal(d.closed, 1);
		assert_false(d.dma_live);
		free(d.regs);
	}
	assert_true(opened > 0 && opened < round);
}

static void test_mmio_reset_that_never_finishes_costs_the_queues(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.stuck_reset = true;	/* and at open: refused after two seconds */
	t_refused(&d, -ETIMEDOUT, "reset does not finish");
	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	d.stuck_reset = true;
	vnet_close(v);		/* t_dma_free() checks the order */
	assert_int_equal(d.q[0].ready | d.q[1].ready, 0);
	assert_int_equal(d.closed, 1);
	free(d.regs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mmio_opens_a_modern_device),
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
	};

	nomux_set_log_fn(t_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
