// SPDX-License-Identifier: MIT
/*
 * An interface of the kernel's in the place of a device.
 *
 * It stays the kernel's, with its driver.  Two things keep the kernel's stack from
 * answering, too: our frames have an Ethernet address of their own, which the interface is
 * told to let in, so that to the kernel they are another station's and the first thing
 * ip_rcv() drops; and the user gives the interface no IP address of ours.
 */
#include "kif.h"

#include <errno.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>
#include <linux/if_packet.h>
#include <linux/virtio_config.h>

#include "nomux/log.h"

#include "vnet_internal.h"

#define FEATURE(n)	(1ULL << (n))

int kif_init(struct kif *k, const char *kind, const char *name)
{
	size_t n = strlen(name);

	if (n >= sizeof(k->name))
		return -ENODEV;
	*k = (struct kif){ .kind = kind, .fd = -1 };
	memcpy(k->name, name, n);
	return 0;
}

int kif_refuse(const struct kif *k, int err, const char *what)
{
	nomux_log(LOG_ERR, "vnet: %s on %s: %s: %s", k->kind, k->name, what, strerror(-err));
	return err;
}

int kif_look(struct kif *k, uint32_t frame_max)
{
	const int longest = (int)(frame_max - VNET_ETH_BYTES - 4);	/* and a VLAN tag */
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, k->name, sizeof(k->name));
	if (ioctl(k->fd, SIOCGIFINDEX, &ifr))
		return -errno;
	k->ifindex = ifr.ifr_ifindex;
	if (ioctl(k->fd, SIOCGIFHWADDR, &ifr))
		return -errno;
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return kif_refuse(k, -EPROTOTYPE, "it is no Ethernet interface");
	memcpy(k->mac, ifr.ifr_hwaddr.sa_data, 6);
	/* Another one, the same each time: locally administered, and a bit turned where that is so already. */
	k->mac[0] = (uint8_t)((k->mac[0] ^ 8) | 2);
	if (ioctl(k->fd, SIOCGIFMTU, &ifr))
		return -errno;
	k->mtu = (uint16_t)(ifr.ifr_mtu > (int)UINT16_MAX ? UINT16_MAX : ifr.ifr_mtu);
	/* Slots hold less than the buffers behind them. */
	if (k->mtu > longest && k->mtu <= VNET_FRAME_MAX_BYTES - VNET_ETH_BYTES - 4)
		k->mtu = (uint16_t)longest;
	if (ioctl(k->fd, SIOCGIFFLAGS, &ifr))
		return -errno;
	return ifr.ifr_flags & IFF_UP ? 0 : kif_refuse(k, -ENETDOWN, "it is not up");
}

int kif_listen(const struct kif *k, const uint8_t mac[6])
{
	struct packet_mreq own = { .mr_ifindex = k->ifindex, .mr_type = PACKET_MR_UNICAST, .mr_alen = 6 };
	struct packet_mreq groups = { .mr_ifindex = k->ifindex, .mr_type = PACKET_MR_ALLMULTI };

	memcpy(own.mr_address, mac, 6);
	if (setsockopt(k->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &own, sizeof(own)) ||
	    setsockopt(k->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &groups, sizeof(groups)))
		return kif_refuse(k, -errno, "it does not let our address in");
	return 0;
}

/* By index, for an interface can be given another name. */
static int ask(const struct kif *k, unsigned long what, struct ifreq *ifr)
{
	memset(ifr, 0, sizeof(*ifr));
	ifr->ifr_ifindex = k->ifindex;
	return ioctl(k->fd, SIOCGIFNAME, ifr) || ioctl(k->fd, what, ifr) ? -errno : 0;
}

int kif_status(const struct kif *k)
{
	struct ifreq ifr;
	int err = ask(k, SIOCGIFMTU, &ifr);

	if (err)
		return err;
	return ifr.ifr_mtu < k->mtu ? -EMSGSIZE : 0;
}

void kif_send_on(struct kif *k, struct vnet *v)
{
	if (!k->down)
		return;
	k->down = false;
	v->path->tx_flush(v);
}

void kif_close(struct kif *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

uint64_t kif_features(void)
{
	return FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_NET_F_MTU) | FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_STATUS);
}

int kif_config_read(const struct kif *k, unsigned int off, void *buf, unsigned int len)
{
	struct virtio_net_config c = { .mtu = k->mtu };
	struct ifreq ifr;

	memcpy(c.mac, k->mac, 6);
	if (!ask(k, SIOCGIFFLAGS, &ifr) && (ifr.ifr_flags & IFF_UP) && (ifr.ifr_flags & IFF_RUNNING))
		c.status = VIRTIO_NET_S_LINK_UP;
	if (off > sizeof(c) || len > sizeof(c) - off)
		return -EINVAL;
	memcpy(buf, (uint8_t *)&c + off, len);
	return 0;
}

int kif_dma_alloc(size_t bytes, struct nomdrv_dma *out)
{
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;
	uint8_t *va = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (va == MAP_FAILED)
		return -errno;
	*out = (struct nomdrv_dma){ .va = va, .bytes = bytes, .chunk_dma = calloc(nr, sizeof(*out->chunk_dma)) };
	if (!out->chunk_dma) {
		munmap(va, bytes);
		*out = (struct nomdrv_dma){ 0 };
		return -ENOMEM;
	}
	for (i = 0; i < nr; i++)
		out->chunk_dma[i] = (uintptr_t)va + (i << NOMDRV_CHUNK_SHIFT);
	return 0;
}

void kif_dma_free(struct nomdrv_dma *dma)
{
	munmap(dma->va, dma->bytes);
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
}

uint32_t kif_frame_bytes(const struct vnet_seg *seg, unsigned int nr_seg, uint32_t max)
{
	uint64_t total = 0;
	unsigned int i;

	for (i = 0; i < nr_seg; i++) {
		if (!seg[i].len)
			return 0;
		total += seg[i].len;
	}
	return total < VNET_ETH_BYTES || total > max ? 0 : (uint32_t)total;
}

void kif_frame_copy(uint8_t *to, const struct vnet_seg *seg, unsigned int nr_seg)
{
	unsigned int i;

	for (i = 0; i < nr_seg; i++) {
		memcpy(to, seg[i].addr, seg[i].len);
		to += seg[i].len;
	}
}

void kif_take_over(struct vnet *v, const struct vnet_path *path)
{
	unsigned int i;

	v->path = path;
	v->slow = true;
	v->rx_turn_at = VNET_HDR_BYTES;
	v->rx_nr_spare = 0;
	for (i = v->rx_nr_bufs; i-- > 0;)
		vnet__spare(v, i);
	v->rxq.nr_free = 0;	/* nothing to post: vnet_rx_flush() ends there */
	v->rxq.announced = v->rxq.size;
	v->rxq.last_used = 0;	/* so that vnet_rx_room() is what the kernel may still fill */
	v->txq.announced = v->txq.avail_idx = 0;
	v->txq.nr_free = v->txq.size;
	v->stats.doorbells_rx = v->stats.doorbells_suppressed = 0;
}
