// SPDX-License-Identifier: MIT
/*
 * An AF_XDP socket in the place of a device (Documentation/networking/af_xdp.rst of Linux).
 *
 * The UMEM is vnet's buffers: frames are received into them, and sent from them.  The rings are the kernel's ABI and are used as they are, as
 * virtio's are elsewhere here: of libxdp there would be left a handful of system calls, and
 * four more libraries to be had where a server runs.
 *
 * Three ways, from the best: the driver has frames written into the UMEM and sent from it
 * (zero copy); the driver runs the program, and the kernel copies frames it receives into
 * the UMEM, without a socket buffer, and sends with one (copy); the kernel runs the program on
 * socket buffers that the driver made (generic).  Which it is to be is said by whoever opens,
 * and which it is, to him: generic is never had without being asked for.
 */
#include "vtrans_xdp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <linux/virtio_config.h>

#include "nomux/log.h"

#define SLOTS_DEFAULT	1024u
#define SNDBUF_BYTES	(8 << 20)
#define PAGE_BYTES	4096ul
#define BUSY_TRIES	100
#define BUSY_US		10000
#define BUDGET_DEFAULT	64u	/* frames a poll, NAPI's own; more needs a privilege */

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

static const char *const mode_names[] = { "as it can be had", "zero copy", "copy", "generic" };

static struct xdp_dev *to_xdp(struct nomdrv_dev *dev)
{
	return (struct xdp_dev *)dev;
}

static int set(int fd, int option, const void *value, socklen_t bytes)
{
	return setsockopt(fd, SOL_XDP, option, value, bytes) ? -errno : 0;
}

/* ------------------------------------------------------------- transport --- */

/* A socket is bound to one queue; who cannot tell has one. */
static int one_queue(const struct kif *k)
{
	struct ethtool_channels c = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq ifr = { .ifr_data = (void *)&c };

	memcpy(ifr.ifr_name, k->name, sizeof(k->name));
	if (ioctl(k->fd, SIOCETHTOOL, &ifr))
		return 0;
	if (c.combined_count + c.rx_count <= 1)
		return 0;
	return kif_refuse(k, -EOPNOTSUPP, "it has several receive queues, and a socket gets the frames of one (ethtool -L IFNAME combined 1, or rx 1)");
}

static int xdp_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct xdp_dev *d = to_xdp(dev);
	int err;

	/* Protocol 0: never receives. */
	d->kif.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->kif.fd < 0)
		return kif_refuse(&d->kif, -errno, "no packet socket to ask through");
	err = kif_look(&d->kif, VNET_FRAME_MAX_BYTES);
	if (err)
		return err;
	if (d->kif.mtu + VNET_ETH_BYTES + 4 > XDP_RX_MAX)
		return kif_refuse(&d->kif, -EMSGSIZE, "its MTU is above 1772, and a frame is to fit into one buffer");
	err = one_queue(&d->kif);
	if (err)
		return err;
	d->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		return kif_refuse(&d->kif, -errno, "no such socket (CONFIG_XDP_SOCKETS)");
	*offered_out = kif_features();
	return 0;
}

static int xdp_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	return 0;
}

static int xdp_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	return kif_config_read(&to_xdp(dev)->kif, off, buf, len);
}

static int xdp_queue_size(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out)
{
	*size_out = index <= VNET_TXQ ? to_xdp(dev)->slots : 0;
	return 0;
}

static int xdp_queue_setup(struct nomdrv_dev *dev, const struct nomdrv_queue *queue)
{
	return 0;
}

static int map_ring(struct xdp_dev *d, struct xdp_ring *r, const struct xdp_ring_offset *at, size_t desc_bytes, off_t page)
{
	r->bytes = at->desc + d->slots * desc_bytes;
	r->map = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, d->fd, page);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return -errno;
	}
	r->producer = (uint32_t *)((uint8_t *)r->map + at->producer);
	r->consumer = (uint32_t *)((uint8_t *)r->map + at->consumer);
	r->flags = (uint32_t *)((uint8_t *)r->map + at->flags);
	r->desc = (uint8_t *)r->map + at->desc;
	return 0;
}

static int make_rings(struct xdp_dev *d)
{
	static const int options[] = { XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING };
	struct xdp_umem_reg umem = { .addr = (uintptr_t)d->umem, .len = d->umem_bytes, .chunk_size = XDP_CHUNK_BYTES, .headroom = XDP_HEADROOM };
	struct xdp_mmap_offsets at;
	socklen_t bytes = sizeof(at);
	int err = set(d->fd, XDP_UMEM_REG, &umem, sizeof(umem)), sndbuf = SNDBUF_BYTES;
	unsigned int i;

	if (err)
		return kif_refuse(&d->kif, err, err == -ENOBUFS ? "its memory may not be pinned (ulimit -l, or CAP_IPC_LOCK)" : "its memory is not taken");
	for (i = 0; !err && i < sizeof(options) / sizeof(options[0]); i++)
		err = set(d->fd, options[i], &d->slots, sizeof(d->slots));
	if (!err && getsockopt(d->fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &bytes))
		err = -errno;
	if (!err && bytes != sizeof(at))
		err = -EOPNOTSUPP;	/* a kernel without need-wakeup */
	if (!err)
		err = map_ring(d, &d->rx, &at.rx, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING);
	if (!err)
		err = map_ring(d, &d->tx, &at.tx, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
	if (!err)
		err = map_ring(d, &d->fill, &at.fr, sizeof(uint64_t), XDP_UMEM_PGOFF_FILL_RING);
	if (!err)
		err = map_ring(d, &d->done, &at.cr, sizeof(uint64_t), XDP_UMEM_PGOFF_COMPLETION_RING);
	if (err)
		return kif_refuse(&d->kif, err, "no rings (Linux 5.9 has all that is needed)");
	/* Frames that are sent in copy mode count; without the right to raise it fewer go at once. */
	if (setsockopt(d->fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof(sndbuf)))
		setsockopt(d->fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	return 0;
}

static int poll_busily(const struct xdp_dev *d)
{
	int one = 1, us = (int)d->busy_us, budget = (int)d->budget;

	if (!us)
		return 0;
	if (setsockopt(d->fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &one, sizeof(one)) ||
	    setsockopt(d->fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) ||
	    setsockopt(d->fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget)))
		return kif_refuse(&d->kif, -errno, "it cannot be polled (Linux 5.11, CONFIG_NET_RX_BUSY_POLL, CAP_NET_ADMIN)");
	return 0;
}

/* All is done when vnet has laid out its memory, and knows its address. */
static int xdp_start(struct nomdrv_dev *dev)
{
	return 0;
}

/* The buffers, which lie one behind the other (lay_out() in vnet_mem.c), in whole pages. */
int vtrans_xdp_set_up(struct xdp_dev *d, struct vnet *v)
{
	uintptr_t begin = (uintptr_t)v->rx_base & ~(PAGE_BYTES - 1);
	uintptr_t end = (uintptr_t)vnet__tx_buf(v, v->txq.size - 1) - VNET_BUF_SKIP + VNET_BUF_BYTES;
	int err;

	d->v = v;
	d->umem = (uint8_t *)begin;
	d->umem_bytes = (end - begin + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	err = make_rings(d);
	return err ? err : poll_busily(d);
}

static void unmap_ring(struct xdp_ring *r)
{
	if (r->map)
		munmap(r->map, r->bytes);
	*r = (struct xdp_ring){ 0 };
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int xdp_reset(struct nomdrv_dev *dev)
{
	struct xdp_dev *d = to_xdp(dev);

	close_fd(&d->link_fd);
	close_fd(&d->map_fd);
	unmap_ring(&d->rx);
	unmap_ring(&d->tx);
	unmap_ring(&d->fill);
	unmap_ring(&d->done);
	close_fd(&d->fd);
	kif_close(&d->kif);
	return 0;
}

static int xdp_status(struct nomdrv_dev *dev)
{
	struct xdp_dev *d = to_xdp(dev);
	struct xdp_statistics st = { 0 };
	socklen_t bytes = sizeof(st);
	int err;

	if (!getsockopt(d->fd, SOL_XDP, XDP_STATISTICS, &st, &bytes) && d->v)
		d->v->stats.rx_lost = st.rx_dropped + st.rx_ring_full;
	err = kif_status(&d->kif);
	if (!err && d->v)
		kif_send_on(&d->kif, d->v);
	return err ? err : VIRTIO_CONFIG_S_DRIVER_OK;
}

static void xdp_kick(struct nomdrv_dev *dev, unsigned int index)
{
}

static int xdp_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *out)
{
	return kif_dma_alloc(bytes, out);
}

static void xdp_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	kif_dma_free(dma);
}

static void xdp_destroy(struct nomdrv_dev *dev)
{
	xdp_reset(dev);
	free(dev);
}

static int xdp_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	return irq == NOMDRV_IRQ_RX ? to_xdp(dev)->fd : -EOPNOTSUPP;
}

static const struct nomdrv_trans_ops xdp_ops = {
	.name = "AF_XDP",
	.probe = xdp_probe,
	.set_features = xdp_set_features,
	.config_read = xdp_config_read,
	.queue_size = xdp_queue_size,
	.queue_setup = xdp_queue_setup,
	.start = xdp_start,
	.reset = xdp_reset,
	.status = xdp_status,
	.kick = xdp_kick,
	.dma_alloc = xdp_dma_alloc,
	.dma_free = xdp_dma_free,
	.destroy = xdp_destroy,
	.irq_fd = xdp_irq_fd,
};

bool vtrans_is_xdp(const struct nomdrv_dev *dev)
{
	return dev->ops == &xdp_ops;
}

int vtrans_xdp_create(const char *ifname, const struct vnet_opts *o, struct xdp_dev **out)
{
	struct xdp_dev *d;
	struct kif kif;
	int err = kif_init(&kif, "AF_XDP socket", ifname);

	if (err)
		return err;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	nomdrv_dev_init(&d->dev, &xdp_ops);
	d->kif = kif;
	d->slots = o->queue_size ? o->queue_size : SLOTS_DEFAULT;
	d->mask = d->slots - 1;
	d->asked = o->xdp_mode;
	d->busy_us = o->xdp_busy_us;
	d->budget = o->xdp_busy_budget ? o->xdp_busy_budget : BUDGET_DEFAULT;
	d->fd = d->map_fd = d->link_fd = -1;
	*out = d;
	return 0;
}

/* ------------------------------------------------------------------ bind --- */

static int bind_as(const struct xdp_dev *d, uint16_t flags)
{
	struct sockaddr_xdp at = {
		.sxdp_family = AF_XDP, .sxdp_flags = XDP_USE_NEED_WAKEUP | flags, .sxdp_ifindex = (uint32_t)d->kif.ifindex,
	};

	return bind(d->fd, (struct sockaddr *)&at, sizeof(at)) ? -errno : 0;
}

/* The queue of a socket that was closed is free a little later: the kernel leaves that to a worker. */
static int bind_soon(const struct xdp_dev *d, uint16_t flags)
{
	int tries, err = bind_as(d, flags);

	for (tries = 0; err == -EBUSY && tries < BUSY_TRIES; tries++) {
		usleep(BUSY_US);
		err = bind_as(d, flags);
	}
	return err;
}

/* By trying; what the kernel would do by itself when asked for neither is not told apart from failure. */
static int bind_best(struct xdp_dev *d)
{
	struct xdp_options got = { 0 };
	socklen_t bytes = sizeof(got);
	int err = -EOPNOTSUPP;	/* not asked for */

	if (d->asked == VNET_XDP_BEST || d->asked == VNET_XDP_ZERO_COPY)
		err = bind_soon(d, XDP_ZEROCOPY);
	if (err && d->asked == VNET_XDP_ZERO_COPY)
		return kif_refuse(&d->kif, err, err == -EOPNOTSUPP ? "its driver offers no zero copy" : err == -EBUSY ? "another socket has its queue 0" : "no zero copy");
	if (err && err != -EBUSY)
		err = bind_soon(d, XDP_COPY);
	if (err)
		return kif_refuse(&d->kif, err, err == -EBUSY ? "another socket has its queue 0" : "cannot bind");
	if (getsockopt(d->fd, SOL_XDP, XDP_OPTIONS, &got, &bytes))
		return kif_refuse(&d->kif, -errno, "it does not say what it does");
	d->mode = got.flags & XDP_OPTIONS_ZEROCOPY ? VNET_XDP_ZERO_COPY : d->asked == VNET_XDP_GENERIC ? VNET_XDP_GENERIC : VNET_XDP_COPY;
	return 0;
}

static const char *why_no_program(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "its driver takes no program (virtio-net: none with receive offloads that it cannot turn off, see dmesg), and generic mode was not asked for";
	case -EBUSY:
	case -EEXIST:
		return "another program is on it (ip link set IFNAME xdp off)";
	default:
		return "no program can be put on it";
	}
}

int vtrans_xdp_listen(struct xdp_dev *d, const uint8_t mac[6])
{
	int err, prog;

	err = bind_best(d);
	if (!err)
		err = kif_listen(&d->kif, mac);
	if (err)
		return err;
	d->map_fd = xdp_map_create();
	if (d->map_fd < 0)
		return kif_refuse(&d->kif, d->map_fd, "no BPF map (CONFIG_BPF_SYSCALL, CAP_BPF)");
	err = xdp_map_set(d->map_fd, d->fd);
	if (err)
		return kif_refuse(&d->kif, err, "the socket does not fit into a map");
	prog = xdp_prog_load(d->map_fd, mac);
	if (prog < 0)
		return kif_refuse(&d->kif, prog, "no BPF program (CAP_NET_ADMIN and CAP_BPF)");
	d->link_fd = xdp_prog_attach(prog, d->kif.ifindex, d->asked == VNET_XDP_GENERIC);
	close(prog);
	if (d->link_fd < 0)
		return kif_refuse(&d->kif, d->link_fd, why_no_program(d->link_fd));
	nomux_log(LOG_NOTICE, "vnet: AF_XDP socket on %s: mode %s (asked for: %s), need-wakeup, %s", d->kif.name, mode_names[d->mode],
		  mode_names[d->asked], d->busy_us ? "busy polling" : "interrupts");
	return 0;
}
