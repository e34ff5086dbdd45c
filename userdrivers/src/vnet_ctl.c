// SPDX-License-Identifier: MIT
/*
 * vnet: the control queue (virtio 1.2, 5.1.6.5).
 *
 * One command at a time, in one page: what the device reads at the start, the
 * answer's byte at the end.  The caller waits, for the memory is the device's
 * until it has answered; one that does not is reset.
 *
 * What was set is remembered, and told again after a restart.
 */
#include "vnet_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_NS	2000000000LL
#define LOOKS		64	/* at the ring between two at the clock */
#define AT_ANSWER	(VNET_CTL_BYTES - 1)
#define NO_ANSWER	0xff

_Static_assert(sizeof(struct virtio_net_ctrl_hdr) + 8 + 6 * VNET_FILTER_MAX < AT_ANSWER,
	       "the longest command fits");

int vnet__ctl_create(struct vnet *v, const struct vnet_opts *o, unsigned int size)
{
	struct vnet_ctl *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	v->ctl = c;
	c->wait = o->wait;
	c->wait_arg = o->wait_arg;
	err = vring_create(&c->q, size, &v->mem);
	if (err)
		return err;
	c->mem = vdma_alloc_piece(&v->mem, VNET_CTL_BYTES, 64);
	return c->mem ? 0 : -ENOMEM;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* @bytes to read and one to write, as one chain; and a doorbell if it is wanted. */
static void send(struct vnet *v, unsigned int bytes)
{
	struct virtq *r = &v->ctl->q;
	uint64_t at = vdma_addr(&v->mem, v->ctl->mem), answer = at + AT_ANSWER;
	unsigned int head, tail;

	if (v->packed) {
		head = vpacked_id(r);
		tail = vpacked_set(r, r->avail_idx, head, at, bytes, VRING_DESC_F_NEXT);
		vpacked_set(r, tail, head, answer, 1, VRING_DESC_F_WRITE);
		vpacked_post(r, head, 2);
	} else {
		head = vring_get(r);
		tail = vring_get(r);
		vring_set(r, head, at, bytes, VRING_DESC_F_NEXT, tail);
		vring_set(r, tail, answer, 1, VRING_DESC_F_WRITE, 0);
		vring_post(r, head, tail, 2);
	}
	if (v->packed ? vpacked_announce(r) : vring_announce(r))
		v->dev->ops->kick(v->dev, VNET_CTLQ);
}

/* Whether the answer is there; a used index that ran away counts, and is judged next. */
static bool answered(const struct vnet *v)
{
	const struct virtq *r = &v->ctl->q;

	return v->packed ? vpacked_is_used(r, r->last_used) : vring_pending(r);
}

static void await(struct vnet *v)
{
	struct vnet_ctl *c = v->ctl;
	int64_t end = now_ns() + ANSWER_NS;
	unsigned int i;

	while (now_ns() < end) {
		for (i = 0; i < LOOKS; i++) {
			if (answered(v))
				return;
			if (c->wait)
				c->wait(c->wait_arg);
			else
				__builtin_ia32_pause();
		}
	}
	vnet__fail(v, "control queue: no answer to command %u of class %u within %lld ms",
		   c->mem[1], c->mem[0], ANSWER_NS / 1000000);
}

/* The chain that is used has to be the one that was sent. */
static bool take(struct vnet *v)
{
	struct virtq *r = &v->ctl->q;
	unsigned int id = VRING_BAD;
	uint32_t len = 0;

	if (v->packed)
		id = vpacked_peek(r, &len);
	else if (vring_pending(r) == 1)
		id = vring_take(r, &len);
	if (id == VRING_BAD) {
		vnet__fail(v, "control queue: device used something else than the command it was given");
		return false;
	}
	if (v->packed)
		vpacked_take(r, id);
	vring_put(r, id);
	return true;
}

int vnet__command(struct vnet *v, unsigned int class, unsigned int cmd, const void *data, unsigned int bytes)
{
	uint8_t *mem = v->ctl->mem, answer;

	mem[0] = (uint8_t)class;
	mem[1] = (uint8_t)cmd;
	memcpy(mem + 2, data, bytes);
	mem[AT_ANSWER] = NO_ANSWER;
	send(v, 2 + bytes);
	await(v);
	if (v->error || !take(v))
		return -EIO;
	if (!v->packed)
		vring_irq_quiet(&v->ctl->q);
	v->stats.commands++;
	answer = __atomic_load_n(&mem[AT_ANSWER], __ATOMIC_RELAXED);
	return answer == VIRTIO_NET_OK ? 0 : -EREMOTEIO;
}

/* ----------------------------------------------------------------- setting --- */

/* Stopped comes first: a device that failed to restart has no features. */
static int may(const struct vnet *v, unsigned int feature)
{
	if (v->error)
		return -EIO;
	return v->ctl && nomdrv_dev_has(v->dev, feature) ? 0 : -EOPNOTSUPP;
}

static int tell_mac(struct vnet *v, const uint8_t mac[6])
{
	return vnet__command(v, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6);
}

int vnet_set_mac(struct vnet *v, const uint8_t mac[6])
{
	static const uint8_t none[6];
	int err = may(v, VIRTIO_NET_F_CTRL_MAC_ADDR);
	unsigned int i;

	if (err)
		return err;
	if ((mac[0] & 1) || !memcmp(mac, none, 6))
		return -EINVAL;
	err = tell_mac(v, mac);
	if (err)
		return err;
	for (i = 0; i < vnet_nr_pairs(v); i++)
		memcpy(vnet_pair(v, i)->mac, mac, 6);
	v->ctl->mac_set = true;
	return 0;
}

/* Command number n is that of mode bit n. */
_Static_assert(1u << VIRTIO_NET_CTRL_RX_PROMISC == VNET_RX_MODE_PROMISC &&
	       1u << VIRTIO_NET_CTRL_RX_ALLMULTI == VNET_RX_MODE_ALLMULTI &&
	       1u << VIRTIO_NET_CTRL_RX_ALLUNI == VNET_RX_MODE_ALLUNI &&
	       1u << VIRTIO_NET_CTRL_RX_NOMULTI == VNET_RX_MODE_NOMULTI &&
	       1u << VIRTIO_NET_CTRL_RX_NOUNI == VNET_RX_MODE_NOUNI &&
	       1u << VIRTIO_NET_CTRL_RX_NOBCAST == VNET_RX_MODE_NOBCAST, "modes are commands");

#define MODES_ALL	0x3fu
#define MODES_EXTRA	0x3cu

/* Tell the device of the modes in @which. */
static int tell_modes(struct vnet *v, unsigned int mode, unsigned int which)
{
	struct vnet_ctl *c = v->ctl;
	unsigned int cmd;
	int err;

	for (cmd = 0; cmd <= VIRTIO_NET_CTRL_RX_NOBCAST; cmd++) {
		uint8_t on = mode >> cmd & 1;

		if (!(which >> cmd & 1))
			continue;
		err = vnet__command(v, VIRTIO_NET_CTRL_RX, cmd, &on, 1);
		if (err)
			return err;
		c->mode = (uint8_t)((c->mode & ~(1u << cmd)) | (unsigned int)on << cmd);
		c->mode_set |= (uint8_t)(1u << cmd);
	}
	return 0;
}

int vnet_set_rx_mode(struct vnet *v, unsigned int mode)
{
	bool extra = nomdrv_dev_has(v->dev, VIRTIO_NET_F_CTRL_RX_EXTRA);
	int err = may(v, VIRTIO_NET_F_CTRL_RX);
	unsigned int which;

	if (err)
		return err;
	if (mode & ~MODES_ALL)
		return -EINVAL;
	if (!extra && (mode & MODES_EXTRA))
		return -EOPNOTSUPP;
	/* What the device was never told may be anything, but for what it cannot be told. */
	which = (mode ^ v->ctl->mode) | (unsigned int)~v->ctl->mode_set;
	return tell_modes(v, mode, which & (extra ? MODES_ALL : MODES_ALL & ~MODES_EXTRA));
}

static int tell_filter(struct vnet *v)
{
	const struct vnet_ctl *c = v->ctl;
	uint8_t data[8 + 6 * VNET_FILTER_MAX], *p = data;
	uint32_t n = c->nr_unicast;

	memcpy(p, &n, 4);
	memcpy(p + 4, c->addr, 6 * n);
	p += 4 + 6 * n;
	n = c->nr_multicast;
	memcpy(p, &n, 4);
	memcpy(p + 4, c->addr + c->nr_unicast, 6 * n);
	p += 4 + 6 * n;
	return vnet__command(v, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
		       (unsigned int)(p - data));
}

static bool are_groups(const uint8_t (*addr)[6], unsigned int n, bool want)
{
	while (n--)
		if ((addr[n][0] & 1) != want)
			return false;
	return true;
}

int vnet_set_filter(struct vnet *v, const uint8_t (*unicast)[6], unsigned int nr_unicast,
		    const uint8_t (*multicast)[6], unsigned int nr_multicast)
{
	struct vnet_ctl *c = v->ctl, before;
	int err = may(v, VIRTIO_NET_F_CTRL_RX);

	if (err)
		return err;
	if (nr_unicast > VNET_FILTER_MAX || nr_multicast > VNET_FILTER_MAX - nr_unicast ||
	    !are_groups(unicast, nr_unicast, false) || !are_groups(multicast, nr_multicast, true))
		return -EINVAL;
	before = *c;
	c->nr_unicast = (uint16_t)nr_unicast;
	c->nr_multicast = (uint16_t)nr_multicast;
	if (nr_unicast)
		memcpy(c->addr, unicast, 6 * nr_unicast);
	if (nr_multicast)
		memcpy(c->addr + nr_unicast, multicast, 6 * nr_multicast);
	err = tell_filter(v);
	if (!err) {
		c->filter_set = true;
		return 0;
	}
	c->nr_unicast = before.nr_unicast;
	c->nr_multicast = before.nr_multicast;
	memcpy(c->addr, before.addr, sizeof(c->addr));
	return err;
}

static int tell_vlan(struct vnet *v, unsigned int vid, bool on)
{
	uint16_t id = (uint16_t)vid;

	return vnet__command(v, VIRTIO_NET_CTRL_VLAN, on ? VIRTIO_NET_CTRL_VLAN_ADD : VIRTIO_NET_CTRL_VLAN_DEL,
		       &id, sizeof(id));
}

int vnet_vlan(struct vnet *v, unsigned int vid, bool on)
{
	uint8_t *byte, bit = (uint8_t)(1u << (vid & 7));
	int err = may(v, VIRTIO_NET_F_CTRL_VLAN);

	if (err)
		return err;
	if (vid > 4095)
		return -EINVAL;
	err = tell_vlan(v, vid, on);
	if (err)
		return err;
	byte = &v->ctl->vlan[vid >> 3];
	*byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
	return 0;
}

int vnet_announce_ack(struct vnet *v)
{
	int err = may(v, VIRTIO_NET_F_GUEST_ANNOUNCE);

	return err ? err : vnet__command(v, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 0);
}

int vnet__ctl_restore(struct vnet *v)
{
	struct vnet_ctl *c = v->ctl;
	unsigned int vid, i;
	int err = 0;

	for (i = 0; !err && i < vnet_nr_pairs(v); i++)
		err = vnet_check(vnet_pair(v, i));
	if (err || !c)
		return err;
	err = vnet__mq_steer(v);
	if (!err && c->mac_set)
		err = tell_mac(v, v->mac);
	if (!err)
		err = tell_modes(v, c->mode, c->mode_set);
	if (!err && c->filter_set)
		err = tell_filter(v);
	for (vid = 0; !err && vid < 4096; vid++)
		if (c->vlan[vid >> 3] >> (vid & 7) & 1)
			err = tell_vlan(v, vid, true);
	return err;
}
