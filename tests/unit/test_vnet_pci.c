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
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"
#include "../../userdrivers/src/pci_fn.h"

#define BIT(n)		(1ULL << (n))
#define BAR		4
#define BAR_BYTES	0x4000
#define COMMON_OFF	0x0000
#define ISR_OFF		0x1000
#define CONFIG_OFF	0x2000
#define NOTIFY_OFF	0x3000
#define MULT		4

/* Where the capabilities stand in configuration space. */
#define CAP_COMMON	0x40
#define CAP_NOTIFY	0x50
#define CAP_CONFIG	0x64
#define CAP_MSIX	0x74

struct dev {
	struct pci_fn fn;
	uint8_t cfg[256];
	uint8_t *bar;	/* a plain array; registers are answered by reg_read() */
	uint64_t offered, accepted, on;
	uint32_t dfsel, gfsel;
	uint16_t qsel, num_queues;
	uint8_t status, generation;
	struct {
		uint16_t size, vector, enable, notify_off;
		uint64_t desc, avail, used;
	} q[3];
	struct virtio_net_config config;
	/* lies */
	bool keep_features_ok_clear, stuck_reset, refuse_vector, generation_runs, refuse_start;
	unsigned int generation_changes;	/* that many reads see a change */
	unsigned int gone_after;	/* that many register reads, then all ones; 0: never */
	unsigned int garbage;	/* one register read in so many is random; 0: none */
	int nr_irqs, map_err;
	/* what happened */
	unsigned int resets, irq_sets, closed, config_reads, reads;
	int irq_fd[2];
	uint16_t config_vector;
	bool dma_live;
	uint8_t *dma;
};

static struct dev *to_dev(struct pci_fn *fn)
{
	return (struct dev *)fn;
}

static int t_config_read(struct pci_fn *fn, unsigned int off, void *buf, unsigned int len)
{
	assert_true(off + len <= 256);
	assert_true(++to_dev(fn)->config_reads < 200);	/* no walk without end */
	memcpy(buf, to_dev(fn)->cfg + off, len);
	return 0;
}

static int t_config_write(struct pci_fn *fn, unsigned int off, const void *buf, unsigned int len)
{
	assert_true(off + len <= 256);
	memcpy(to_dev(fn)->cfg + off, buf, len);
	return 0;
}

static int t_map_bar(struct pci_fn *fn, unsigned int bar, void **va_out, size_t *bytes_out)
{
	struct dev *d = to_dev(fn);

	if (d->map_err)
		return d->map_err;
	if (bar != BAR)
		return -ENOENT;
	*va_out = d->bar;
	*bytes_out = BAR_BYTES;
	return 0;
}

static uint32_t t_common_read(struct dev *d, unsigned int off)
{
	switch (off) {
	case VIRTIO_PCI_COMMON_DF:
		return (uint32_t)(d->dfsel < 2 ? d->offered >> (32 * d->dfsel) : 0);
	case VIRTIO_PCI_COMMON_NUMQ:
		return d->num_queues;
	case VIRTIO_PCI_COMMON_MSIX:
		return d->config_vector;
	case VIRTIO_PCI_COMMON_STATUS:
		return d->status;
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		if (d->generation_runs || d->generation_changes) {
			d->generation++;
			if (d->generation_changes)
				d->generation_changes--;
		}
		return d->generation;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return d->q[d->qsel].size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return d->q[d->qsel].vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return d->q[d->qsel].enable;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return d->q[d->qsel].notify_off;
	default:
		fail_msg("read of common register 0x%x", off);
		return 0;
	}
}

static uint32_t t_mmio_read(struct pci_fn *fn, const volatile void *reg, unsigned int width)
{
	struct dev *d = to_dev(fn);
	size_t off = (size_t)((const volatile uint8_t *)reg - d->bar);
	uint32_t v = 0;

	assert_true(off + width <= BAR_BYTES);
	assert_int_equal(off % width, 0);
	d->reads++;
	if (d->gone_after && d->reads > d->gone_after)
		return UINT32_MAX >> (32 - 8 * width);
	if (d->garbage && (unsigned int)rand() % d->garbage == 0)
		return (uint32_t)rand() >> (32 - 8 * width);
	if (off < ISR_OFF)
		return t_common_read(d, (unsigned int)off);
	assert_true(off >= CONFIG_OFF && off < NOTIFY_OFF);
	off -= CONFIG_OFF;
	memcpy(&v, (uint8_t *)&d->config + off, width);
	return v;
}

static void set64(uint64_t *at, bool high, uint32_t v)
{
	*at = high ? (*at & 0xffffffffu) | (uint64_t)v << 32 : (*at & ~0xffffffffULL) | v;
}

static void t_status_write(struct dev *d, uint8_t v)
{
	if (!v) {
		d->resets++;
		d->q[0].enable = d->q[1].enable = d->q[2].enable = 0;
		d->config_vector = VIRTIO_MSI_NO_VECTOR;
		d->q[0].vector = d->q[1].vector = VIRTIO_MSI_NO_VECTOR;
		d->status = d->stuck_reset && (d->status & VIRTIO_CONFIG_S_DRIVER_OK) ? 0xf : 0;
		return;
	}
	if (d->keep_features_ok_clear)
		v &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if (d->refuse_start && (v & VIRTIO_CONFIG_S_DRIVER_OK))
		v |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if ((v & VIRTIO_CONFIG_S_DRIVER_OK) && !d->garbage) {	/* both queues first */
		assert_int_equal(d->q[0].enable, 1);
		assert_int_equal(d->q[1].enable, 1);
		assert_int_equal(d->q[2].enable, d->accepted >> VIRTIO_NET_F_CTRL_VQ & 1);
		assert_true(v & VIRTIO_CONFIG_S_FEATURES_OK);
	}
	d->status = v;
}

static void t_mmio_write(struct pci_fn *fn, volatile void *reg, unsigned int width, uint32_t v)
{
	struct dev *d = to_dev(fn);
	unsigned int off = (unsigned int)((volatile uint8_t *)reg - d->bar);

	assert_int_equal(off % width, 0);
	if (d->gone_after && d->reads >= d->gone_after)
		return;
	if (off >= VIRTIO_PCI_COMMON_Q_SIZE && off < VIRTIO_PCI_COMMON_Q_NDATA &&
	    off != VIRTIO_PCI_COMMON_Q_ENABLE)
		assert_int_equal(d->q[d->qsel].enable, 0);	/* 4.1.4.3.2: before enabling */
	switch (off) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		d->dfsel = v;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		d->gfsel = v;
		break;
	case VIRTIO_PCI_COMMON_GF:
		set64(&d->accepted, d->gfsel == 1, v);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		d->config_vector = d->refuse_vector ? VIRTIO_MSI_NO_VECTOR : (uint16_t)v;
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		t_status_write(d, (uint8_t)v);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		assert_true(v < 3);
		d->qsel = (uint16_t)v;
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		d->q[d->qsel].size = (uint16_t)v;
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		d->q[d->qsel].vector = d->refuse_vector ? VIRTIO_MSI_NO_VECTOR : (uint16_t)v;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		d->q[d->qsel].enable = (uint16_t)v;
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		set64(&d->q[d->qsel].desc, off & 4, v);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		set64(&d->q[d->qsel].avail, off & 4, v);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		set64(&d->q[d->qsel].used, off & 4, v);
		break;
	default:
		fail_msg("write of register 0x%x", off);
	}
}

static int t_nr_irqs(struct pci_fn *fn)
{
	return to_dev(fn)->nr_irqs;
}

static int t_irq(struct pci_fn *fn, unsigned int vector, int eventfd)
{
	assert_true(vector < 2);
	to_dev(fn)->irq_sets++;
	to_dev(fn)->irq_fd[vector] = eventfd;
	return 0;
}

static int t_irq_bind(struct pci_fn *fn, unsigned int vector, struct nomux_core *core,
		      unsigned int event, int eventfd, uint64_t *count)
{
	assert_int_equal(eventfd, to_dev(fn)->irq_fd[vector]);
	*count += event;
	return 0;
}

static void t_irq_unbind(struct pci_fn *fn, unsigned int vector)
{
}

static int t_dma_alloc(struct pci_fn *fn, size_t bytes, struct nomdrv_dma *out)
{
	struct dev *d = to_dev(fn);
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;

	out->va = d->dma = aligned_alloc(NOMDRV_CHUNK_BYTES, bytes);
	out->bytes = bytes;
	out->chunk_dma = calloc(nr, sizeof(uint64_t));
	for (i = 0; i < nr; i++)
		out->chunk_dma[i] = 0x123400000000ULL + (i << NOMDRV_CHUNK_SHIFT);
	d->dma_live = true;
	return 0;
}

static void t_dma_free(struct pci_fn *fn, struct nomdrv_dma *dma)
{
	struct dev *d = to_dev(fn);
	uint16_t cmd;

	/* The device has been reset, or has lost the bus. */
	memcpy(&cmd, d->cfg + PCI_COMMAND, 2);
	assert_true(d->status == 0 || !(cmd & PCI_COMMAND_MASTER) || d->garbage);
	free(dma->va);
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
	d->dma_live = false;
}

static void t_close(struct pci_fn *fn)
{
	struct dev *d = to_dev(fn);

	assert_false(d->dma_live);
	d->closed++;
}

static const struct pci_fn_ops t_ops = {
	.config_read = t_config_read, .config_write = t_config_write, .map_bar = t_map_bar,
	.mmio_read = t_mmio_read, .mmio_write = t_mmio_write,
	.nr_irqs = t_nr_irqs, .irq = t_irq, .irq_bind = t_irq_bind, .irq_unbind = t_irq_unbind,
	.dma_alloc = t_dma_alloc, .dma_free = t_dma_free, .close = t_close,
};

static void put16(struct dev *d, unsigned int off, uint16_t v)
{
	memcpy(d->cfg + off, &v, 2);
}

static void put_cap(struct dev *d, uint8_t at, uint8_t next, uint8_t type, uint32_t offset,
		    uint32_t length)
{
	struct virtio_pci_notify_cap cap = {
		.cap = {
			.cap_vndr = PCI_CAP_ID_VNDR, .cap_next = next,
			.cap_len = type == VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16,
			.cfg_type = type, .bar = BAR, .offset = offset, .length = length,
		},
		.notify_off_multiplier = MULT,
	};

	memcpy(d->cfg + at, &cap, cap.cap.cap_len);
}

static void t_init(struct dev *d)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 9, 8, 7 };

	memset(d, 0, sizeof(*d));
	d->fn.ops = &t_ops;
	strcpy(d->fn.name, "test");
	d->bar = calloc(1, BAR_BYTES);
	put16(d, PCI_VENDOR_ID, 0x1af4);
	put16(d, PCI_DEVICE_ID, 0x1041);
	put16(d, PCI_STATUS, PCI_STATUS_CAP_LIST);
	d->cfg[PCI_CAPABILITY_LIST] = CAP_COMMON;
	put_cap(d, CAP_COMMON, CAP_NOTIFY, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFF, 0x38);
	put_cap(d, CAP_NOTIFY, CAP_CONFIG, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFF, 0x1000);
	put_cap(d, CAP_CONFIG, CAP_MSIX, VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG_OFF, 0x1000);
	d->cfg[CAP_MSIX] = PCI_CAP_ID_MSIX;
	d->offered = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
		BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4);
	d->num_queues = 3;
	d->q[0].size = 16;
	d->q[1].size = 32;
	d->q[0].notify_off = 0;
	d->q[1].notify_off = 1;
	d->q[0].vector = d->q[1].vector = VIRTIO_MSI_NO_VECTOR;
	d->nr_irqs = 3;
	d->irq_fd[0] = d->irq_fd[1] = -1;
	d->config_vector = VIRTIO_MSI_NO_VECTOR;
	d->status = 0xf;	/* as the last driver left it */
	memcpy(d->config.mac, mac, 6);
	d->config.status = VIRTIO_NET_S_LINK_UP;
}

static int t_open(struct dev *d, struct vnet **v)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .features_on = d->on };
	struct nomdrv_dev *dev;
	int err;

	assert_int_equal(vtrans_pci_modern_create(&d->fn, &dev), 0);
	err = vnet_create(dev, &o, v);
	if (err)
		nomdrv_dev_destroy(dev);
	return err;
}

/* Opening fails with @want, and nothing stays behind. */
static void t_refused(struct dev *d, int want)
{
	struct vnet *v = NULL;

	assert_int_equal(t_open(d, &v), want);
	assert_null(v);
	assert_int_equal(d->closed, 1);
	assert_true(d->irq_fd[0] == -1 && d->irq_fd[1] == -1);
	free(d->bar);
}

static void t_end(struct dev *d, struct vnet *v)
{
	vnet_close(v);
	assert_int_equal(d->closed, 1);
	assert_int_equal(d->status, 0);
	assert_true(d->irq_fd[0] == -1 && d->irq_fd[1] == -1);
	free(d->bar);
}

static void test_pci_opens_a_modern_device(void **state)
{
	struct vnet *v;
	struct dev d;
	uint16_t cmd;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
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
	t_end(&d, v);
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
	struct dev d;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
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
	assert_int_equal(vnet_config_bind(v, NULL, 7), 0);	/* t_irq_bind() counts as if 7 came */
	assert_int_equal(vnet_config_bind(v, NULL, 7), -EBUSY);
	assert_true(vnet_config_changed(v));
	assert_true(vnet_link_up(v));
	assert_int_equal(vnet_stats(v)->config_interrupts, 8);
	assert_int_equal(vnet_stats(v)->interrupts, 0);
	/* A restart puts both vectors where they were. */
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(d.config_vector, 1);
	assert_int_equal(d.q[0].vector, 0);
	t_end(&d, v);

	t_init(&d);	/* a single vector goes to the receive queue */
	d.nr_irqs = 1;
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(vnet_irq_fd(v), d.irq_fd[0]);
	assert_int_equal(vnet_config_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_config_bind(v, NULL, 7), -EOPNOTSUPP);
	assert_int_equal(d.config_vector, VIRTIO_MSI_NO_VECTOR);
	t_end(&d, v);
}

/* The control queue is the third, without an interrupt, and has a doorbell of its own. */
static void test_pci_control_queue(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	d.on = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	d.num_queues = 3;
	d.q[2].size = 128;
	d.q[2].notify_off = 2;
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(d.q[2].enable, 1);
	assert_int_equal(d.q[2].size, 64);	/* more is of no use */
	assert_int_equal(d.q[2].vector, VIRTIO_MSI_NO_VECTOR);
	assert_true(d.q[2].desc > d.q[1].used);
	memset(d.bar + NOTIFY_OFF, 0xff, 16);
	assert_int_equal(vnet_set_rx_mode(v, VNET_RX_MODE_PROMISC), -EIO);	/* nobody answers here */
	assert_int_equal(*(uint16_t *)(void *)(d.bar + NOTIFY_OFF + 2 * MULT), 2);
	t_end(&d, v);

	t_init(&d);
	d.offered |= BIT(VIRTIO_NET_F_CTRL_VQ);
	d.on = BIT(VIRTIO_NET_F_CTRL_VQ);
	t_refused(&d, -EPROTO);	/* two queues */
}

static void test_pci_doorbells_land_in_their_registers(void **state)
{
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet *v;
	struct dev d;

	t_init(&d);
	memset(d.bar, 0xee, BAR_BYTES);
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(*(uint16_t *)(d.bar + NOTIFY_OFF), 0);	/* receive buffers */
	assert_int_equal(*(uint16_t *)(d.bar + NOTIFY_OFF + MULT), 0xeeee);
	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
	vnet_tx_flush(v);
	assert_int_equal(*(uint16_t *)(d.bar + NOTIFY_OFF + MULT), 1);
	assert_int_equal(d.bar[NOTIFY_OFF + MULT + 2], 0xee);
	t_end(&d, v);
}

static void test_pci_legacy_and_foreign_devices_are_refused(void **state)
{
	struct dev d;
	struct vnet *v;

	t_init(&d);	/* legacy: no vendor capabilities */
	put16(&d, PCI_DEVICE_ID, 0x1000);
	put16(&d, PCI_SUBSYSTEM_ID, 1);
	d.cfg[PCI_CAPABILITY_LIST] = CAP_MSIX;
	t_refused(&d, -EOPNOTSUPP);
	t_init(&d);	/* no capability list at all */
	put16(&d, PCI_DEVICE_ID, 0x1000);
	put16(&d, PCI_SUBSYSTEM_ID, 1);
	put16(&d, PCI_STATUS, 0);
	t_refused(&d, -EOPNOTSUPP);
	t_init(&d);	/* transitional, with the modern half: good */
	put16(&d, PCI_DEVICE_ID, 0x1000);
	put16(&d, PCI_SUBSYSTEM_ID, 1);
	assert_int_equal(t_open(&d, &v), 0);
	t_end(&d, v);
	t_init(&d);	/* virtio-blk */
	put16(&d, PCI_DEVICE_ID, 0x1042);
	t_refused(&d, -ENODEV);
	t_init(&d);	/* an e1000 */
	put16(&d, PCI_VENDOR_ID, 0x8086);
	t_refused(&d, -ENODEV);
	t_init(&d);	/* without VERSION_1 */
	d.offered &= ~BIT(VIRTIO_F_VERSION_1);
	t_refused(&d, -EOPNOTSUPP);
}

static struct virtio_pci_notify_cap *cap_at(struct dev *d, unsigned int at)
{
	return (void *)(d->cfg + at);
}

static void test_pci_blocks_outside_of_their_bar_are_refused(void **state)
{
	static const unsigned int caps[] = { CAP_COMMON, CAP_NOTIFY, CAP_CONFIG };
	static const struct { uint32_t offset, length; } bad[] = {
		{ BAR_BYTES, 0x1000 }, { BAR_BYTES - 0x800, 0x1000 }, { 0xfffff000, 0x2000 },
		{ 0x1000, 0xffffffff }, { 0xfffffffc, 0xfffffffc }, { 0x1001, 0x1000 },
		{ 0x1000, 0 },
	};
	unsigned int i, c;
	struct dev d;

	for (c = 0; c < 3; c++) {
		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			t_init(&d);
			cap_at(&d, caps[c])->cap.offset = bad[i].offset;
			cap_at(&d, caps[c])->cap.length = bad[i].length;
			t_refused(&d, -EPROTO);
		}
		t_init(&d);	/* a reserved BAR: ignored, so the block is missing */
		cap_at(&d, caps[c])->cap.bar = 6;
		t_refused(&d, -EPROTO);
		t_init(&d);	/* a BAR that is not there: the same */
		cap_at(&d, caps[c])->cap.bar = 2;
		t_refused(&d, -EPROTO);
		t_init(&d);	/* too short to be one */
		cap_at(&d, caps[c])->cap.cap_len = 15;
		t_refused(&d, -EPROTO);
	}
	t_init(&d);	/* common block shorter than its struct */
	cap_at(&d, CAP_COMMON)->cap.length = 0x37;
	t_refused(&d, -EPROTO);
	t_init(&d);	/* no multiplier */
	cap_at(&d, CAP_NOTIFY)->cap.cap_len = 16;
	t_refused(&d, -EPROTO);
	t_init(&d);	/* fields beyond the device's configuration */
	cap_at(&d, CAP_CONFIG)->cap.length = 4;
	t_refused(&d, -EPROTO);
	t_init(&d);
	d.map_err = -EOPNOTSUPP;	/* I/O ports only */
	t_refused(&d, -EPROTO);
	t_init(&d);
	d.map_err = -ENOMEM;
	t_refused(&d, -ENOMEM);
}

static void test_pci_doorbells_outside_of_their_block_are_refused(void **state)
{
	static const uint32_t mults[] = { 1, 3, 6, 0x80000001u };
	struct vnet *v;
	unsigned int i;
	struct dev d;

	for (i = 0; i < sizeof(mults) / sizeof(mults[0]); i++) {
		t_init(&d);
		cap_at(&d, CAP_NOTIFY)->notify_off_multiplier = mults[i];
		t_refused(&d, -EPROTO);
	}
	t_init(&d);
	d.q[1].notify_off = 0x400;	/* 0x400 * 4 = the block's length */
	t_refused(&d, -EPROTO);
	t_init(&d);
	cap_at(&d, CAP_NOTIFY)->notify_off_multiplier = 0x80000000u;
	d.q[1].notify_off = 2;		/* 2^32: wraps in 32 bits */
	t_refused(&d, -EPROTO);
	t_init(&d);
	d.q[1].notify_off = 0x3ff;	/* the last that fits */
	assert_int_equal(t_open(&d, &v), 0);
	t_end(&d, v);
	t_init(&d);
	cap_at(&d, CAP_NOTIFY)->notify_off_multiplier = 0;	/* one doorbell for all: allowed */
	cap_at(&d, CAP_NOTIFY)->cap.length = 2;
	assert_int_equal(t_open(&d, &v), 0);
	t_end(&d, v);
}

static void test_pci_broken_capability_lists_end(void **state)
{
	struct dev d;

	t_init(&d);	/* a loop that never reaches the device block */
	cap_at(&d, CAP_NOTIFY)->cap.cap_next = CAP_COMMON;
	t_refused(&d, -EPROTO);
	t_init(&d);	/* into the header */
	cap_at(&d, CAP_NOTIFY)->cap.cap_next = 0x10;
	t_refused(&d, -EPROTO);
	t_init(&d);	/* a capability at the very end: shorter than it says */
	cap_at(&d, CAP_CONFIG)->cap.cap_next = 0xfc;
	d.cfg[0xfc] = PCI_CAP_ID_VNDR;
	d.cfg[0xfe] = 16;
	d.cfg[0xfd] = 0;
	cap_at(&d, CAP_CONFIG)->cap.cap_vndr = PCI_CAP_ID_PM;	/* and no device block */
	t_refused(&d, -EPROTO);
}

static void test_pci_negotiation_that_is_refused(void **state)
{
	struct dev d;

	t_init(&d);
	d.keep_features_ok_clear = true;
	t_refused(&d, -EOPNOTSUPP);
	t_init(&d);
	d.refuse_start = true;
	t_refused(&d, -EIO);
	t_init(&d);
	d.num_queues = 1;
	t_refused(&d, -EPROTO);
	t_init(&d);
	d.q[1].size = 24;
	t_refused(&d, -EPROTO);
}

static void test_pci_configuration_that_changes(void **state)
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
	t_refused(&d, -EPROTO);
}

static void test_pci_without_interrupts_polls(void **state)
{
	struct vnet *v;
	struct dev d;

	t_init(&d);
	d.nr_irqs = 0;
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(vnet_irq_fd(v), -EOPNOTSUPP);
	assert_int_equal(vnet_irq_bind(v, NULL, 5), -EOPNOTSUPP);
	t_end(&d, v);
	t_init(&d);
	d.refuse_vector = true;
	assert_int_equal(t_open(&d, &v), 0);
	assert_int_equal(vnet_irq_fd(v), -EOPNOTSUPP);
	assert_true(d.irq_fd[0] == -1 && d.irq_fd[1] == -1);
	t_end(&d, v);
}

static void test_pci_device_that_disappears(void **state)
{
	const char *why;
	struct vnet *v;
	struct dev d;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	d.status = 0xff;
	d.stuck_reset = false;
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	t_end(&d, v);
}

/* Gone at each register read in turn: never a wait for what cannot come. */
static void test_pci_removal_at_each_register_read(void **state)
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
		assert_true(d.irq_fd[0] == -1 && d.irq_fd[1] == -1);
		assert_false(d.dma_live);
		free(d.bar);
	}
	assert_true(n > 20);
}

static void test_pci_removal_with_frames_under_way(void **state)
{
	struct vnet_rx rx[4];
	const char *why;
	struct vnet *v;
	struct dev d;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	d.gone_after = d.reads;
	/* The memory is ours: a device that is gone leaves it as it is. */
	assert_int_equal(vnet_rx_burst(v, rx, 4), 0);
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	assert_true(d.reads < d.gone_after + 8);
	vnet_close(v);
	assert_true(d.reads < d.gone_after + 8);
	assert_int_equal(d.closed, 1);
	free(d.bar);
}

static void test_pci_registers_that_read_as_anything(void **state)
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
		assert_true(d.irq_fd[0] == -1 && d.irq_fd[1] == -1);
		assert_false(d.dma_live);
		free(d.bar);
	}
	assert_true(opened > 0 && opened < round);
}

static void test_pci_reset_that_never_finishes_costs_the_bus(void **state)
{
	struct vnet *v;
	struct dev d;
	uint16_t cmd;

	t_init(&d);
	assert_int_equal(t_open(&d, &v), 0);
	d.stuck_reset = true;	/* two seconds */
	vnet_close(v);		/* t_dma_free() checks the order */
	memcpy(&cmd, d.cfg + PCI_COMMAND, 2);
	assert_false(cmd & PCI_COMMAND_MASTER);
	assert_int_equal(d.closed, 1);
	free(d.bar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pci_opens_a_modern_device),
		cmocka_unit_test(test_pci_configuration_interrupts),
		cmocka_unit_test(test_pci_control_queue),
		cmocka_unit_test(test_pci_doorbells_land_in_their_registers),
		cmocka_unit_test(test_pci_legacy_and_foreign_devices_are_refused),
		cmocka_unit_test(test_pci_blocks_outside_of_their_bar_are_refused),
		cmocka_unit_test(test_pci_doorbells_outside_of_their_block_are_refused),
		cmocka_unit_test(test_pci_broken_capability_lists_end),
		cmocka_unit_test(test_pci_negotiation_that_is_refused),
		cmocka_unit_test(test_pci_configuration_that_changes),
		cmocka_unit_test(test_pci_without_interrupts_polls),
		cmocka_unit_test(test_pci_device_that_disappears),
		cmocka_unit_test(test_pci_removal_at_each_register_read),
		cmocka_unit_test(test_pci_removal_with_frames_under_way),
		cmocka_unit_test(test_pci_registers_that_read_as_anything),
		cmocka_unit_test(test_pci_reset_that_never_finishes_costs_the_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
