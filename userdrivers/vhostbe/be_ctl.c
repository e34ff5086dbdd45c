// SPDX-License-Identifier: MIT
/*
 * vhostbe: the control side of vhost-user.
 *
 * Each request is one function; the table at the end gives the payload's size
 * and the number of descriptors that must come with it, and is checked before
 * the function runs.
 */
#include "be.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#define BIT(n)	(1ULL << (n))
#define PROTOCOL_FEATURES	(BIT(VHU_PROTOCOL_F_REPLY_ACK) | BIT(VHU_PROTOCOL_F_CONFIG))

void be_fail(struct vhostbe *be, const char *fmt, ...)
{
	va_list ap;

	if (be->broken)
		return;
	va_start(ap, fmt);
	vsnprintf(be->error, sizeof(be->error), fmt, ap);
	va_end(ap);
	be->broken = true;
	be->stats.protocol_errors++;
}

/* ---------------------------------------------------------------- memory --- */

static void unmap_regions(struct vhostbe *be)
{
	unsigned int i;

	for (i = 0; i < be->nr_regions; i++)
		munmap(be->region[i].map, be->region[i].map_bytes);
	be->nr_regions = 0;
}

void *be_guest(const struct vhostbe *be, uint64_t addr, uint64_t bytes)
{
	unsigned int i;

	for (i = 0; i < be->nr_regions; i++) {
		const struct be_region *r = &be->region[i];
		uint64_t off = addr - r->guest_addr;

		if (off < r->bytes && bytes <= r->bytes - off)
			return r->va + off;
	}
	return NULL;
}

void *be_user(const struct vhostbe *be, uint64_t addr, uint64_t bytes)
{
	unsigned int i;

	for (i = 0; i < be->nr_regions; i++) {
		const struct be_region *r = &be->region[i];
		uint64_t off = addr - r->user_addr;

		if (off < r->bytes && bytes <= r->bytes - off)
			return r->va + off;
	}
	return NULL;
}

static int map_region(struct vhostbe *be, const struct vhu_mem_region *m, int fd)
{
	struct be_region *r = &be->region[be->nr_regions];
	struct stat st;
	uint64_t end;
	void *map;

	if (!m->bytes || __builtin_add_overflow(m->mmap_offset, m->bytes, &end) ||
	    m->guest_addr + m->bytes < m->guest_addr || m->user_addr + m->bytes < m->user_addr) {
		be_fail(be, "memory region wraps around");
		return -1;
	}
	if (fstat(fd, &st) || st.st_size < 0 || end > (uint64_t)st.st_size) {
		be_fail(be, "memory region ends at %llu, its file at %lld", (unsigned long long)end,
			(long long)st.st_size);
		return -1;
	}
	map = mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		be_fail(be, "memory region cannot be mapped: %s", strerror(errno));
		return -1;
	}
	*r = (struct be_region){
		.guest_addr = m->guest_addr, .user_addr = m->user_addr, .bytes = m->bytes,
		.va = (uint8_t *)map + m->mmap_offset, .map = map, .map_bytes = end,
	};
	be->nr_regions++;
	return 0;
}

/* -------------------------------------------------------------- requests --- */

/* The rings whose state is complete run, the others do not. */
static void update_rings(struct vhostbe *be)
{
	unsigned int i;

	for (i = 0; i < BE_NR_QUEUES; i++) {
		struct be_ring *r = &be->ring[i];
		bool run = r->enabled && r->has_addr && r->num && r->kick_fd >= 0;

		if (run && !r->running)
			be_ring_start(be, r);
		else if (!run)
			be_ring_stop(r);
	}
}

static struct be_ring *ring_of(struct vhostbe *be, uint64_t index)
{
	if (index < BE_NR_QUEUES)
		return &be->ring[index];
	be_fail(be, "request %u names ring %llu", be->in.request, (unsigned long long)index);
	return NULL;
}

static void do_set_features(struct vhostbe *be)
{
	uint64_t f = be->in.u.u64;

	if (f & ~be->offered) {
		be_fail(be, "features 0x%llx were not offered", (unsigned long long)(f & ~be->offered));
		return;
	}
	if (be->ring[BE_RXQ].running || be->ring[BE_TXQ].running) {
		be_fail(be, "features change while rings run");
		return;
	}
	be->features = f;
	be->has_features = true;
	memset(&be->rx_state, 0, sizeof(be->rx_state));	/* as a reset would */
	if (be->port->features)
		be->port->features(be);
}

static void do_set_protocol(struct vhostbe *be)
{
	uint64_t f = be->in.u.u64;

	if (f & ~PROTOCOL_FEATURES) {
		be_fail(be, "protocol features 0x%llx were not offered", (unsigned long long)f);
		return;
	}
	be->protocol = f;
	be->has_protocol = true;
}

static void do_set_mem(struct vhostbe *be)
{
	const struct vhu_mem *m = &be->in.u.mem;
	unsigned int i;

	for (i = 0; i < BE_NR_QUEUES; i++)
		be_ring_stop(&be->ring[i]);
	unmap_regions(be);
	if (be->in.size < 8 || m->nr > VHU_MEM_REGIONS_MAX || m->nr != be->nr_in_fds ||
	    be->in.size != 8 + m->nr * sizeof(m->region[0])) {
		be_fail(be, "memory table of %u regions, %u bytes, %u descriptors", m->nr, be->in.size,
			be->nr_in_fds);
		return;
	}
	for (i = 0; i < m->nr; i++)
		if (map_region(be, &m->region[i], be->in_fds[i]))
			return;
}

static void do_set_num(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.state.index);
	unsigned int num = be->in.u.state.num;

	if (!r)
		return;
	if (r->running || !num || num > 32768 || (num & (num - 1)))
		be_fail(be, "ring size %u (running %d)", num, r->running);
	else
		r->num = num;
}

static void do_set_addr(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.addr.index);

	if (!r)
		return;
	if (r->running) {
		be_fail(be, "ring addresses change while it runs");
		return;
	}
	r->addr = be->in.u.addr;
	r->has_addr = true;
}

static void do_set_base(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.state.index);

	if (!r)
		return;
	if (be->features & BIT(VIRTIO_F_RING_PACKED)) {
		if (r->running || !r->num)
			be_fail(be, "ring base without a size, or while it runs");
		else
			be_packed_set_base(r, be->in.u.state.num);
		return;
	}
	if (r->running || be->in.u.state.num > 0xffff)
		be_fail(be, "ring base %u (running %d)", be->in.u.state.num, r->running);
	else
		r->last_avail = r->used_idx = (uint16_t)be->in.u.state.num;
}

/* A ring stops here; the reply says where. */
static void do_get_base(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.state.index);

	if (!r)
		return;
	be_ring_stop(r);
	r->enabled = false;
	if (r->kick_fd >= 0)
		close(r->kick_fd);
	r->kick_fd = -1;
	be->in.u.state.num = be->features & BIT(VIRTIO_F_RING_PACKED) ? be_packed_base(r) :
		r->last_avail;
}

static void take_fd(struct vhostbe *be, int *to)
{
	if (*to >= 0)
		close(*to);
	*to = -1;
	if (be->in.u.u64 & VHU_VRING_NOFD)
		return;
	if (be->nr_in_fds != 1) {
		be_fail(be, "request %u with %u descriptors", be->in.request, be->nr_in_fds);
		return;
	}
	*to = be->in_fds[0];
	be->nr_in_fds = 0;
}

static void do_set_kick(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.u64 & VHU_VRING_INDEX_MASK);

	if (!r)
		return;
	if (be->in.u.u64 & VHU_VRING_NOFD) {
		be_fail(be, "ring without a kick descriptor");
		return;
	}
	take_fd(be, &r->kick_fd);
	if (!(be->features & BIT(VHU_F_PROTOCOL_FEATURES)))
		r->enabled = true;
	r->kicked = true;
}

static void do_set_call(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.u64 & VHU_VRING_INDEX_MASK);

	if (r)
		take_fd(be, &r->call_fd);
}

static void do_set_err(struct vhostbe *be)
{
	ring_of(be, be->in.u.u64 & VHU_VRING_INDEX_MASK);
}

static void do_enable(struct vhostbe *be)
{
	struct be_ring *r = ring_of(be, be->in.u.state.index);

	if (!r)
		return;
	/* QEMU enables the rings of a device that has no driver yet: before SET_FEATURES. */
	if ((!(be->features & BIT(VHU_F_PROTOCOL_FEATURES)) && !be->has_protocol) || be->in.u.state.num > 1)
		be_fail(be, "enable %u without protocol features or with a strange value",
			be->in.u.state.num);
	else
		r->enabled = be->in.u.state.num;
}

static void do_get_config(struct vhostbe *be)
{
	struct vhu_config *c = &be->in.u.config;

	if (be->in.size < VHU_CONFIG_HDR_BYTES || c->size != be->in.size - VHU_CONFIG_HDR_BYTES ||
	    c->offset > sizeof(be->config) || c->size > sizeof(be->config) - c->offset) {
		be_fail(be, "%u bytes of configuration at %u in a message of %u", c->size, c->offset,
			be->in.size);
		return;
	}
	memcpy(c->data, (const uint8_t *)&be->config + c->offset, c->size);
}

static void do_get_features(struct vhostbe *be)
{
	be->in.u.u64 = be->offered;
}

static void do_get_protocol(struct vhostbe *be)
{
	be->in.u.u64 = PROTOCOL_FEATURES;
}

static void do_nothing(struct vhostbe *be)
{
}

/* What a request carries and brings back; -1: the function checks or says. */
static const struct request {
	uint32_t number;
	int in_bytes, max_fds, reply_bytes;
	void (*fn)(struct vhostbe *be);
} requests[] = {
	{ VHU_GET_FEATURES, 0, 0, 8, do_get_features },
	{ VHU_SET_FEATURES, 8, 0, 0, do_set_features },
	{ VHU_SET_OWNER, 0, 0, 0, do_nothing },
	{ VHU_SET_MEM_TABLE, -1, VHU_MEM_REGIONS_MAX, 0, do_set_mem },
	{ VHU_SET_VRING_NUM, sizeof(struct vhost_vring_state), 0, 0, do_set_num },
	{ VHU_SET_VRING_ADDR, sizeof(struct vhost_vring_addr), 0, 0, do_set_addr },
	{ VHU_SET_VRING_BASE, sizeof(struct vhost_vring_state), 0, 0, do_set_base },
	{ VHU_GET_VRING_BASE, sizeof(struct vhost_vring_state), 0,
	  sizeof(struct vhost_vring_state), do_get_base },
	{ VHU_SET_VRING_KICK, 8, 1, 0, do_set_kick },
	{ VHU_SET_VRING_CALL, 8, 1, 0, do_set_call },
	{ VHU_SET_VRING_ERR, 8, 1, 0, do_set_err },
	{ VHU_GET_PROTOCOL_FEATURES, 0, 0, 8, do_get_protocol },
	{ VHU_SET_PROTOCOL_FEATURES, 8, 0, 0, do_set_protocol },
	{ VHU_SET_VRING_ENABLE, sizeof(struct vhost_vring_state), 0, 0, do_enable },
	{ VHU_GET_CONFIG, -1, 0, -1, do_get_config },
};

static void reply(struct vhostbe *be, uint32_t bytes)
{
	be->in.flags = VHU_FLAG_VERSION | VHU_FLAG_REPLY;
	be->in.size = bytes;
	if (send(be->sock, VHU_WIRE(&be->in), VHU_HDR_BYTES + bytes, MSG_NOSIGNAL | MSG_DONTWAIT) !=
	    (ssize_t)(VHU_HDR_BYTES + bytes))
		be_fail(be, "reply to request %u cannot be sent", be->in.request);
}

static void dispatch(struct vhostbe *be)
{
	bool need_ack = (be->in.flags & VHU_FLAG_NEED_REPLY) &&
		(be->protocol & BIT(VHU_PROTOCOL_F_REPLY_ACK));
	const struct request *q;

	for (q = requests; q < requests + sizeof(requests) / sizeof(requests[0]); q++)
		if (q->number == be->in.request)
			break;
	if (q == requests + sizeof(requests) / sizeof(requests[0])) {
		be_fail(be, "unknown request %u", be->in.request);
		return;
	}
	if ((q->in_bytes >= 0 && be->in.size != (uint32_t)q->in_bytes) ||
	    be->nr_in_fds > (unsigned int)q->max_fds) {
		be_fail(be, "request %u with %u bytes and %u descriptors", q->number, be->in.size,
			be->nr_in_fds);
		return;
	}
	q->fn(be);
	if (!be->broken)
		update_rings(be);
	if (be->broken)
		return;
	if (q->reply_bytes) {
		reply(be, q->reply_bytes > 0 ? (uint32_t)q->reply_bytes : be->in.size);
	} else if (need_ack) {
		be->in.u.u64 = 0;
		reply(be, 8);
	}
}

/* ------------------------------------------------------------- connection --- */

static void close_in_fds(struct vhostbe *be)
{
	while (be->nr_in_fds)
		close(be->in_fds[--be->nr_in_fds]);
}

void be_disconnect(struct vhostbe *be)
{
	unsigned int i;

	if (be->sock >= 0)
		close(be->sock);
	be->sock = -1;
	close_in_fds(be);
	for (i = 0; i < BE_NR_QUEUES; i++) {
		struct be_ring *r = &be->ring[i];

		if (r->kick_fd >= 0)
			close(r->kick_fd);
		if (r->call_fd >= 0)
			close(r->call_fd);
		*r = (struct be_ring){ .kick_fd = -1, .call_fd = -1 };
	}
	unmap_regions(be);
	be->features = be->protocol = 0;
	be->has_features = be->has_protocol = false;
	be->in_len = 0;
	be->broken = false;
}

/* All descriptors of a control message; more than there is room for are closed. */
static void collect_fds(struct vhostbe *be, struct msghdr *msg)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned int n, i;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (be->nr_in_fds < BE_FDS_MAX) {
				be->in_fds[be->nr_in_fds++] = fd;
			} else {
				close(fd);
				be_fail(be, "more than %d descriptors", BE_FDS_MAX);
			}
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		be_fail(be, "descriptors were lost");
}

/* Some of the message that is coming in: 1: it is complete, 0: not yet, -1: the end. */
static int receive(struct vhostbe *be)
{
	char control[CMSG_SPACE(BE_FDS_MAX * sizeof(int))];
	uint32_t want = be->in_len < VHU_HDR_BYTES ? VHU_HDR_BYTES : VHU_HDR_BYTES + be->in.size;
	struct iovec iov = { (char *)VHU_WIRE(&be->in) + be->in_len, want - be->in_len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	ssize_t n;

	if (want > be->in_len) {
		n = recvmsg(be->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		if (n == 0)
			return -1;
		collect_fds(be, &msg);
		be->in_len += (uint32_t)n;
	}
	if (be->in_len < VHU_HDR_BYTES)
		return 0;
	if (be->in.size > VHU_PAYLOAD_MAX ||
	    (be->in.flags & VHU_FLAG_VERSION_MASK) != VHU_FLAG_VERSION ||
	    (be->in.flags & VHU_FLAG_REPLY)) {
		be_fail(be, "message of request %u, flags 0x%x, %u bytes", be->in.request,
			be->in.flags, be->in.size);
		return -1;
	}
	if (be->in_len < VHU_HDR_BYTES + be->in.size)
		return want == VHU_HDR_BYTES ? receive(be) : 0;
	return 1;
}

unsigned int be_ctl_step(struct vhostbe *be)
{
	unsigned int done = 0;

	if (be->sock < 0) {
		be->sock = accept4(be->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (be->sock < 0)
			return 0;
		be->stats.connections++;
		done++;
	}
	while (be->sock >= 0) {
		int got = receive(be);

		if (got > 0) {
			dispatch(be);
			close_in_fds(be);
			be->in_len = 0;
			done++;
		}
		if (got < 0 || be->broken) {
			be_disconnect(be);
			done++;
		}
		if (got == 0)
			break;
	}
	return done;
}
