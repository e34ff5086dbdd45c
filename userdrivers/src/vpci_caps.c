// SPDX-License-Identifier: MIT
/*
 * The capabilities of a virtio device on PCI (virtio 1.2, 4.1.4).
 *
 * The device says in vendor capabilities which BAR holds its register blocks,
 * at what offset and how long they are.  Nothing of that is believed before it
 * has been compared with the BAR's real size: a doorbell is a bare store to an
 * address computed from these numbers, and must never land elsewhere.
 *
 * Each capability is read once, as a whole: what is checked is what is used.
 */
#include "vpci_caps.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "nomux/log.h"

#include "pci_fn.h"

#define CAPS_MAX	48	/* as many as fit into 192 bytes */

#define complain(fn, fmt, ...) \
	nomux_log(LOG_ERR, "virtio-pci: " fmt ", device=%s", ##__VA_ARGS__, (fn)->name)

int vpci_cfg_read(struct pci_fn *fn, unsigned int off, void *buf, unsigned int len)
{
	int err = fn->ops->config_read(fn, off, buf, len);

	if (err)
		complain(fn, "configuration space cannot be read at 0x%x: %s", off, strerror(-err));
	return err;
}

/*
 * The block that a capability names, if it lies inside of its BAR.  -ENOENT:
 * not one for us (a reserved BAR number, I/O ports); another capability of the
 * same type may be.
 */
static int map_block(struct pci_fn *fn, const struct virtio_pci_cap *cap, uint32_t min_len,
		     uint32_t align, struct vpci_block *out)
{
	void *va;
	size_t bytes;
	int err;

	if (cap->bar > 5)
		return -ENOENT;
	if (cap->length < min_len || cap->offset % align) {
		complain(fn, "capability type %u: offset 0x%x, length 0x%x, needs %u bytes aligned to %u",
			 cap->cfg_type, cap->offset, cap->length, min_len, align);
		return -EPROTO;
	}
	err = fn->ops->map_bar(fn, cap->bar, &va, &bytes);
	if (err) {
		if (err == -EOPNOTSUPP)
			err = -ENOENT;
		nomux_log(err == -ENOENT ? LOG_INFO : LOG_ERR,
			  "virtio-pci: capability type %u: BAR %u cannot be mapped: %s, device=%s",
			  cap->cfg_type, cap->bar, strerror(-err), fn->name);
		return err;
	}
	if (cap->offset > bytes || cap->length > bytes - cap->offset) {
		complain(fn, "capability type %u: offset 0x%x, length 0x%x exceed BAR %u of 0x%zx bytes",
			 cap->cfg_type, cap->offset, cap->length, cap->bar, bytes);
		return -EPROTO;
	}
	out->base = (volatile uint8_t *)va + cap->offset;
	out->len = cap->length;
	return 0;
}

static int take_notify(struct pci_fn *fn, struct vpci_caps *c, const struct virtio_pci_notify_cap *cap)
{
	uint32_t mult = cap->notify_off_multiplier;
	int err;

	if (cap->cap.cap_len < sizeof(*cap)) {
		complain(fn, "notification capability of %u bytes lacks the multiplier",
			 cap->cap.cap_len);
		return -EPROTO;
	}
	if (mult & (mult - 1) || mult == 1) {
		complain(fn, "notification multiplier %u is neither 0 nor an even power of two", mult);
		return -EPROTO;
	}
	err = map_block(fn, &cap->cap, 2, 2, &c->notify);
	if (!err)
		c->notify_mult = mult;
	return err;
}

/* 4.1.4: the first usable capability of a type is the one to use. */
static int take_cap(struct pci_fn *fn, struct vpci_caps *c, const struct virtio_pci_notify_cap *cap)
{
	switch (cap->cap.cfg_type) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		return c->common.base ? 0 :
			map_block(fn, &cap->cap, sizeof(struct virtio_pci_common_cfg), 4, &c->common);
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		return c->notify.base ? 0 : take_notify(fn, c, cap);
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		return c->config.base ? 0 : map_block(fn, &cap->cap, 1, 4, &c->config);
	default:
		return 0;
	}
}

static int walk(struct pci_fn *fn, struct vpci_caps *c)
{
	uint16_t status;
	unsigned int i;
	uint8_t pos;
	int err;

	err = vpci_cfg_read(fn, PCI_STATUS, &status, sizeof(status));
	if (!err)
		err = vpci_cfg_read(fn, PCI_CAPABILITY_LIST, &pos, sizeof(pos));
	if (err || !(status & PCI_STATUS_CAP_LIST))
		return err;
	for (i = 0; i < CAPS_MAX; i++) {
		struct virtio_pci_notify_cap cap = { 0 };
		unsigned int room;

		pos &= ~3u;
		if (!pos)
			return 0;
		if (pos < PCI_STD_HEADER_SIZEOF)
			break;
		room = PCI_CFG_SPACE_SIZE - pos;
		err = vpci_cfg_read(fn, pos, &cap, room < sizeof(cap) ? room : (unsigned int)sizeof(cap));
		if (err)
			return err;
		if (cap.cap.cap_vndr == PCI_CAP_ID_VNDR &&
		    cap.cap.cap_len >= sizeof(struct virtio_pci_cap) && cap.cap.cap_len <= room) {
			c->any = true;
			err = take_cap(fn, c, &cap);
			if (err && err != -ENOENT)
				return err;
		}
		pos = cap.cap.cap_next;
	}
	complain(fn, "capability list is broken at 0x%x after %u entries", pos, i);
	return -EPROTO;
}

int vpci_caps_find(struct pci_fn *fn, struct vpci_caps *out)
{
	int err;

	memset(out, 0, sizeof(*out));
	err = walk(fn, out);
	if (err)
		return err;
	if (!out->any) {
		complain(fn, "a legacy virtio device, without the modern interface; with QEMU, use disable-legacy=on");
		return -EOPNOTSUPP;
	}
	if (!out->common.base || !out->notify.base || !out->config.base) {
		complain(fn, "a register block is missing:%s%s%s", out->common.base ? "" : " common",
			 out->notify.base ? "" : " notify", out->config.base ? "" : " device");
		return -EPROTO;
	}
	return 0;
}
