// SPDX-License-Identifier: MIT
/* vhostbe: commands on the control queue (virtio 1.2, 5.1.6.5). */
#include "be.h"

#include <string.h>

#define CMD_MAX	2048

/* An address that this device does not like. */
static bool disliked(const uint8_t *addr)
{
	return !memcmp(addr + 3, "\xff\xff\xff", 3);
}

/* The table of addresses: twice a number and that many. */
static bool set_table(struct vhostbe_rx *rx, const uint8_t *p, uint32_t len)
{
	unsigned int total = 0, nr[2], i;
	uint8_t addr[VHOSTBE_ADDR_MAX][6];
	uint32_t n;

	for (i = 0; i < 2; i++) {
		if (len < 4)
			return false;
		memcpy(&n, p, 4);
		p += 4;
		len -= 4;
		if (n > VHOSTBE_ADDR_MAX - total || len < 6 * n)
			return false;
		memcpy(addr[total], p, 6 * n);
		p += 6 * n;
		len -= 6 * n;
		nr[i] = n;
		total += n;
	}
	for (i = 0; i < total; i++)
		if (disliked(addr[i]))
			return false;
	if (len)
		return false;
	memcpy(rx->addr, addr, 6 * total);
	rx->nr_unicast = nr[0];
	rx->nr_multicast = nr[1];
	return true;
}

static bool set_vlan(struct vhostbe_rx *rx, unsigned int cmd, const uint8_t *p, uint32_t len)
{
	uint16_t vid;
	uint8_t bit;

	if (len != 2 || cmd > VIRTIO_NET_CTRL_VLAN_DEL)
		return false;
	memcpy(&vid, p, 2);
	if (vid > 4095)
		return false;
	bit = (uint8_t)(1u << (vid & 7));
	if (cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		rx->vlan[vid >> 3] |= bit;
	else
		rx->vlan[vid >> 3] &= (uint8_t)~bit;
	return true;
}

static bool has(const struct vhostbe *be, unsigned int bit)
{
	return be->features >> bit & 1;
}

static bool execute(struct vhostbe *be, unsigned int class, unsigned int cmd, const uint8_t *p,
		    uint32_t len)
{
	struct vhostbe_rx *rx = &be->rx_state;

	switch (class) {
	case VIRTIO_NET_CTRL_RX:
		if (len != 1 || p[0] > 1 || cmd > VIRTIO_NET_CTRL_RX_NOBCAST ||
		    !has(be, cmd > VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX_EXTRA :
			     VIRTIO_NET_F_CTRL_RX))
			return false;
		rx->mode = (uint8_t)((rx->mode & ~(1u << cmd)) | (unsigned int)p[0] << cmd);
		return true;
	case VIRTIO_NET_CTRL_MAC:
		if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
			return has(be, VIRTIO_NET_F_CTRL_RX) && set_table(rx, p, len);
		if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || len != 6 || !has(be, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
		    disliked(p))
			return false;
		memcpy(rx->mac, p, 6);
		return true;
	case VIRTIO_NET_CTRL_VLAN:
		return has(be, VIRTIO_NET_F_CTRL_VLAN) && set_vlan(rx, cmd, p, len);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || len || !has(be, VIRTIO_NET_F_GUEST_ANNOUNCE))
			return false;
		be->config.status &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
		rx->acks++;
		return true;
	default:
		return false;
	}
}

/* One chain: bytes to read, then at least one to write the answer into; false after be_fail(). */
static bool serve_one(struct vhostbe *be, struct be_ring *r)
{
	struct be_part part[BE_IOV_MAX];
	uint8_t cmd[CMD_MAX];
	uint32_t len = 0;
	uint16_t head;
	bool good;
	int n, i;

	n = be_ring_peek(be, r, BE_BOTH, part, &head);
	if (n < 0)
		return false;
	for (i = 0; i < n && !part[i].write; i++) {
		if (part[i].len > sizeof(cmd) - len) {
			be_fail(be, "command longer than %zu bytes", sizeof(cmd));
			return false;
		}
		memcpy(cmd + len, part[i].va, part[i].len);
		len += part[i].len;
	}
	if (len < 2 || i + 1 != n) {
		be_fail(be, "command of %u bytes with %d parts for the answer", len, n - i);
		return false;
	}
	good = execute(be, cmd[0], cmd[1], cmd + 2, len - 2);
	if (good)
		be->rx_state.commands++;
	else
		be->rx_state.refused++;
	part[i].va[0] = good ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	be_ring_use(r, head, 1);
	return true;
}

unsigned int be_serve_commands(struct vhostbe *be)
{
	struct be_ring *r = &be->ring[BE_CTLQ];
	unsigned int done = 0;
	int n;

	for (;;) {
		n = be_ring_avail(be, r);
		while (n-- > 0 && serve_one(be, r))
			done++;
		if (be->broken)
			return done;
		be_ring_publish(be, r);
		if (!be_ring_kicks_on(be, r))
			return done;
	}
}
