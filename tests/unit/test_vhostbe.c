// SPDX-License-Identifier: MIT
/*
 * The vhost-user back-end against a front-end that does not know how to
 * behave: it must drop that connection, say why, and serve the next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "fds.h"
#include "../../userdrivers/vhostbe/vhostbe.h"
#include "../../userdrivers/src/vhost_user_msg.h"

#define BIT(n)		(1ULL << (n))
#define MEM_BYTES	(1UL << 20)
#define GUEST		0x40000000ULL
#define NUM		16
/* Where the rings and the buffers lie in memory; ring q at q * RING_STEP. */
#define RING_STEP	0x4000
#define AVAIL		0x1000
#define USED		0x2000
#define BUFS		0x10000

#define FEATURES	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_CSUM))
#define TABLE		0x8000	/* an indirect table */

static struct vhostbe *be;
static uint64_t features = FEATURES;	/* that the front-end takes */
static char path[64];

struct front {
	int sock, mem_fd, kick[2], call[2];
	uint8_t *mem;
};

static int t_setup(void **state)
{
	snprintf(path, sizeof(path), "/tmp/test_vhostbe.%d", (int)getpid());
	return vhostbe_create(path, NULL, &be);
}

static int t_teardown(void **state)
{
	vhostbe_destroy(be);
	return 0;
}

static void t_steps(void)
{
	int i;

	for (i = 0; i < 20 && vhostbe_step(be); i++)
		;
}

static int t_connect(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(connect(s, (struct sockaddr *)&a, sizeof(a)), 0);
	t_steps();
	return s;
}

static void t_send_raw(int s, const void *p, size_t n, const int *fds, unsigned int nr_fds)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)p, n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nr_fds * sizeof(int));
	}
	sendmsg(s, &msg, MSG_NOSIGNAL);
	t_steps();
}

static void t_send(int s, struct vhu_msg *m, uint32_t request, uint32_t size, const int *fds,
		   unsigned int nr_fds)
{
	m->request = request;
	m->flags |= VHU_FLAG_VERSION;
	m->size = size;
	t_send_raw(s, VHU_WIRE(m), VHU_HDR_BYTES + size, fds, nr_fds);
}

static void t_u64(int s, uint32_t request, uint64_t v, int fd)
{
	struct vhu_msg m = { .u.u64 = v };

	t_send(s, &m, request, 8, &fd, fd >= 0);
}

static void t_state(int s, uint32_t request, unsigned int index, unsigned int num)
{
	struct vhu_msg m = { .u.state = { index, num } };

	t_send(s, &m, request, 8, NULL, 0);
}

static bool t_closed(int s)
{
	char buf[512];
	ssize_t n;

	while ((n = recv(s, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}

/* The connection was dropped for cause, and a new one is served. */
static void t_dropped(int s, const char *word)
{
	static uint64_t errors;
	struct vhu_msg m = { 0 };
	int again;

	assert_int_equal(vhostbe_stats(be)->protocol_errors, ++errors);
	if (!vhostbe_last_error(be) || !strstr(vhostbe_last_error(be), word))
		fail_msg("error \"%s\" lacks \"%s\"", vhostbe_last_error(be), word);
	assert_true(t_closed(s));
	close(s);
	again = t_connect();
	t_send(again, &m, VHU_GET_FEATURES, 0, NULL, 0);
	assert_int_equal(recv(again, VHU_WIRE(&m), 20, MSG_DONTWAIT), 20);
	assert_int_equal(m.flags & VHU_FLAG_REPLY, VHU_FLAG_REPLY);
	assert_true(m.u.u64 & BIT(VIRTIO_F_VERSION_1));
	close(again);
	t_steps();
}

/* ---------------------------------------------------------------- messages --- */

static void test_vhostbe_bad_messages(void **state)
{
	static const struct { uint32_t request, flags, size; const char *word; } bad[] = {
		{ 0, 1, 0, "unknown" }, { 999, 1, 0, "unknown" }, { UINT32_MAX, 1, 8, "unknown" },
		{ VHU_GET_FEATURES, 0, 0, "flags" }, { VHU_GET_FEATURES, 2, 0, "flags" },
		{ VHU_GET_FEATURES, 5, 0, "flags" },
		{ VHU_GET_FEATURES, 1, 8, "bytes" }, { VHU_SET_FEATURES, 1, 0, "bytes" },
		{ VHU_SET_FEATURES, 1, 4, "bytes" }, { VHU_SET_FEATURES, 1, 16, "bytes" },
		{ VHU_SET_VRING_NUM, 1, 7, "bytes" }, { VHU_SET_VRING_ADDR, 1, 39, "bytes" },
		{ VHU_SET_MEM_TABLE, 1, 0, "memory table" }, { VHU_SET_MEM_TABLE, 1, 264, "memory table" },
		{ VHU_GET_CONFIG, 1, 0, "configuration" }, { VHU_GET_CONFIG, 1, 11, "configuration" },
		{ VHU_SET_VRING_KICK, 1, 8, "descriptors" },
	};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vhu_msg m = { .request = bad[i].request, .flags = bad[i].flags,
				     .size = bad[i].size };
		int s = t_connect();

		if (bad[i].request == VHU_SET_MEM_TABLE)
			m.u.mem.nr = bad[i].size ? 9 : 0;
		t_send_raw(s, VHU_WIRE(&m), VHU_HDR_BYTES + bad[i].size, NULL, 0);
		t_dropped(s, bad[i].word);
	}
	{	/* a size that no message has: refused before it is waited for */
		struct vhu_msg m = { .request = VHU_GET_FEATURES, .flags = 1, .size = 1 << 30 };
		int s = t_connect();

		t_send_raw(s, VHU_WIRE(&m), VHU_HDR_BYTES, NULL, 0);
		t_dropped(s, "bytes");
	}
}

static void test_vhostbe_bad_values(void **state)
{
	struct vhu_msg m = { .u.config = { .offset = 250, .size = 16 } };
	int s;

	s = t_connect();
	t_u64(s, VHU_SET_FEATURES, BIT(VIRTIO_NET_F_GUEST_UFO), -1);
	t_dropped(s, "not offered");
	s = t_connect();
	t_u64(s, VHU_SET_PROTOCOL_FEATURES, BIT(0), -1);
	t_dropped(s, "not offered");
	s = t_connect();
	t_state(s, VHU_SET_VRING_NUM, 3, 16);
	t_dropped(s, "ring 3");
	s = t_connect();
	t_state(s, VHU_SET_VRING_NUM, 0, 24);
	t_dropped(s, "size 24");
	s = t_connect();
	t_state(s, VHU_SET_VRING_NUM, 0, 65536);
	t_dropped(s, "size 65536");
	s = t_connect();
	t_state(s, VHU_SET_VRING_NUM, 0, 0);
	t_dropped(s, "size 0");
	s = t_connect();
	t_state(s, VHU_SET_VRING_BASE, 0, 65536);
	t_dropped(s, "base 65536");
	s = t_connect();
	t_state(s, VHU_SET_VRING_ENABLE, 0, 1);
	t_dropped(s, "without protocol features");
	s = t_connect();
	t_u64(s, VHU_SET_VRING_KICK, VHU_VRING_NOFD, -1);
	t_dropped(s, "without a kick");
	s = t_connect();
	t_u64(s, VHU_SET_VRING_CALL, 7, -1);
	t_dropped(s, "ring 7");
	s = t_connect();
	t_send(s, &m, VHU_GET_CONFIG, 12 + 16, NULL, 0);
	t_dropped(s, "configuration");
}

/* As QEMU does for a device without a driver. */
static void test_vhostbe_rings_enabled_before_features(void **state)
{
	struct vhu_msg m = { 0 };
	int s = t_connect();

	t_u64(s, VHU_SET_PROTOCOL_FEATURES, BIT(VHU_PROTOCOL_F_REPLY_ACK), -1);
	t_state(s, VHU_SET_VRING_ENABLE, 0, 1);
	t_state(s, VHU_SET_VRING_ENABLE, 1, 1);
	t_send(s, &m, VHU_GET_FEATURES, 0, NULL, 0);
	assert_int_equal(recv(s, VHU_WIRE(&m), 20, MSG_DONTWAIT), 20);
	close(s);
	t_steps();
	/* The next connection has negotiated nothing. */
	s = t_connect();
	t_state(s, VHU_SET_VRING_ENABLE, 0, 1);
	t_dropped(s, "without protocol features");
}

static void test_vhostbe_stray_descriptors_are_closed(void **state)
{
	unsigned int fds, i;
	struct vhu_msg m = { 0 };
	int many[12], s;

	for (i = 0; i < 12; i++)
		many[i] = eventfd(0, EFD_CLOEXEC);
	fds = t_nr_fds();
	s = t_connect();
	t_send(s, &m, VHU_GET_FEATURES, 0, many, 3);
	t_dropped(s, "3 descriptors");
	s = t_connect();
	t_send(s, &m, VHU_SET_OWNER, 0, many, 12);
	t_dropped(s, "descriptors");
	assert_int_equal(t_nr_fds(), fds);
	for (i = 0; i < 12; i++)
		close(many[i]);
}

static void test_vhostbe_message_in_pieces(void **state)
{
	struct vhu_msg m = { .request = VHU_GET_FEATURES, .flags = 1 };
	uint8_t *p = VHU_WIRE(&m);
	int s = t_connect(), i;

	for (i = 0; i < 12; i++)
		t_send_raw(s, p + i, 1, NULL, 0);
	assert_int_equal(recv(s, p, 20, MSG_DONTWAIT), 20);
	assert_true(m.u.u64 & BIT(VIRTIO_F_VERSION_1));
	/* Two at once. */
	m = (struct vhu_msg){ .request = VHU_GET_FEATURES, .flags = 1 };
	{
		uint8_t two[24];

		memcpy(two, p, 12);
		memcpy(two + 12, p, 12);
		t_send_raw(s, two, 24, NULL, 0);
	}
	assert_int_equal(recv(s, p, 20, MSG_DONTWAIT), 20);
	assert_int_equal(recv(s, p, 20, MSG_DONTWAIT), 20);
	close(s);
	t_steps();
}

/* ------------------------------------------------------------------ memory --- */

static int t_memfd(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static void test_vhostbe_bad_memory_tables(void **state)
{
	static const struct vhu_mem_region bad[] = {
		{ GUEST, 2 * MEM_BYTES, 0x1000, 0 },		/* longer than its file */
		{ GUEST, MEM_BYTES, 0x1000, 4096 },		/* the same by offset */
		{ GUEST, MEM_BYTES, 0x1000, ~0ULL - 100 },	/* wraps */
		{ GUEST, ~0ULL, 0x1000, 0 }, { ~0ULL - 10, MEM_BYTES, 0x1000, 0 },
		{ GUEST, MEM_BYTES, ~0ULL - 10, 0 }, { GUEST, 0, 0x1000, 0 },
	};
	unsigned int i;
	int s, fd = t_memfd(MEM_BYTES);

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vhu_msg m = { .u.mem = { .nr = 1 } };

		m.u.mem.region[0] = bad[i];
		s = t_connect();
		t_send(s, &m, VHU_SET_MEM_TABLE, 40, &fd, 1);
		t_dropped(s, "memory region");
	}
	{
		struct vhu_msg m = { .u.mem = { .nr = 2 } };
		int evfd = eventfd(0, EFD_CLOEXEC);

		s = t_connect();	/* two regions, one descriptor */
		t_send(s, &m, VHU_SET_MEM_TABLE, 72, &fd, 1);
		t_dropped(s, "memory table");
		m.u.mem.nr = 1;		/* what cannot be mapped */
		m.u.mem.region[0] = (struct vhu_mem_region){ GUEST, 4096, 0x1000, 0 };
		s = t_connect();
		t_send(s, &m, VHU_SET_MEM_TABLE, 40, &evfd, 1);
		t_dropped(s, "memory region");
		close(evfd);
	}
	close(fd);
}

/* ------------------------------------------------------------------- rings --- */

static struct vring_desc *t_desc(struct front *f, int q)
{
	return (void *)(f->mem + q * RING_STEP);
}

static struct vring_avail *t_avail(struct front *f, int q)
{
	return (void *)(f->mem + q * RING_STEP + AVAIL);
}

static struct vring_used *t_used(struct front *f, int q)
{
	return (void *)(f->mem + q * RING_STEP + USED);
}

/* Everything right, up to the kick descriptors, which start the rings. */
static void t_front(struct front *f, const struct vhost_vring_addr *override)
{
	struct vhu_msg m = { .u.mem = { .nr = 1 } };
	int q;

	f->sock = t_connect();
	f->mem_fd = t_memfd(MEM_BYTES);
	f->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->mem_fd, 0);
	t_u64(f->sock, VHU_SET_FEATURES, features, -1);
	m.u.mem.region[0] = (struct vhu_mem_region){ GUEST, MEM_BYTES, (uintptr_t)f->mem, 0 };
	t_send(f->sock, &m, VHU_SET_MEM_TABLE, 40, &f->mem_fd, 1);
	for (q = 0; q < 2; q++) {
		struct vhu_msg a = { .u.addr = {
			.index = (unsigned int)q,
			.desc_user_addr = (uintptr_t)t_desc(f, q),
			.avail_user_addr = (uintptr_t)t_avail(f, q),
			.used_user_addr = (uintptr_t)t_used(f, q),
		} };

		if (override && (int)override->index == q)
			a.u.addr = *override;
		f->kick[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		f->call[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		t_state(f->sock, VHU_SET_VRING_NUM, (unsigned int)q, NUM);
		t_send(f->sock, &a, VHU_SET_VRING_ADDR, 40, NULL, 0);
		t_u64(f->sock, VHU_SET_VRING_CALL, (unsigned int)q, f->call[q]);
		t_u64(f->sock, VHU_SET_VRING_KICK, (unsigned int)q, f->kick[q]);
	}
}

static void t_front_end(struct front *f)
{
	int q;

	munmap(f->mem, MEM_BYTES);
	close(f->mem_fd);
	for (q = 0; q < 2; q++) {
		close(f->kick[q]);
		close(f->call[q]);
	}
}

static void t_kick(struct front *f, int q)
{
	eventfd_write(f->kick[q], 1);
	t_steps();
}

static void t_offer(struct front *f, int q, uint16_t head)
{
	struct vring_avail *a = t_avail(f, q);

	a->ring[a->idx & (NUM - 1)] = head;
	a->idx++;
}

static void test_vhostbe_rings_outside_of_memory(void **state)
{
	struct front f;
	unsigned int i;

	struct vhost_vring_addr nowhere = { .index = 1 };

	t_front(&f, &nowhere);
	t_dropped(f.sock, "outside of memory");
	t_front_end(&f);
	/* The used ring's last bytes beyond the end: moved there while the ring is stopped. */
	for (i = 0; i < 3; i++) {
		struct vhu_msg m = { 0 };
		uint8_t *end;

		t_front(&f, NULL);
		assert_true(vhostbe_running(be));
		t_state(f.sock, VHU_GET_VRING_BASE, 1, 0);
		assert_false(vhostbe_running(be));
		end = f.mem + MEM_BYTES;
		m.u.addr = (struct vhost_vring_addr){
			.index = 1,
			.desc_user_addr = (uintptr_t)(i == 0 ? end - NUM * 16 + 16 : (uint8_t *)t_desc(&f, 1)),
			.avail_user_addr = (uintptr_t)(i == 1 ? end - (4 + NUM * 2) : (uint8_t *)t_avail(&f, 1)),
			.used_user_addr = (uintptr_t)(i == 2 ? end - (4 + NUM * 8) : (uint8_t *)t_used(&f, 1)),
		};
		t_send(f.sock, &m, VHU_SET_VRING_ADDR, 40, NULL, 0);
		t_u64(f.sock, VHU_SET_VRING_KICK, 1, f.kick[1]);
		t_dropped(f.sock, "outside of memory");
		t_front_end(&f);
	}
}

static void test_vhostbe_bad_rings(void **state)
{
	enum { AHEAD, HEAD, LOOP, NEXT, OUTSIDE, END, ZERO, WRITABLE, INDIRECT, SHORT, LONG, GSO, FLAGS,
	       CSUM, USO, NR };
	static const char *const words[NR] = { "ahead", "descriptor 16", "chain", "descriptor 99",
		"bytes at", "bytes at", "bytes at", "flags", "flags", "frame of", "longer", "gso",
		"negotiated", "checksum", "gso 0x5" };
	int k;

	for (k = 0; k < NR; k++) {
		struct vring_desc *d;
		struct virtio_net_hdr_v1 *h;
		struct front f;
		int i;

		t_front(&f, NULL);
		assert_true(vhostbe_running(be));
		d = t_desc(&f, 1);
		h = (void *)(f.mem + BUFS);
		d[0] = (struct vring_desc){ .addr = GUEST + BUFS, .len = 100 };
		t_offer(&f, 1, 0);
		switch (k) {
		case AHEAD:
			t_avail(&f, 1)->idx = NUM + 1;
			break;
		case HEAD:
			t_avail(&f, 1)->ring[0] = NUM;
			break;
		case LOOP:
			d[0].flags = VRING_DESC_F_NEXT;
			break;
		case NEXT:
			d[0].flags = VRING_DESC_F_NEXT;
			d[0].next = 99;
			break;
		case OUTSIDE:
			d[0].addr = GUEST - 1;
			break;
		case END:
			d[0].addr = GUEST + MEM_BYTES - 99;
			break;
		case ZERO:
			d[0].len = 0;
			break;
		case WRITABLE:
			d[0].flags = VRING_DESC_F_WRITE;
			break;
		case INDIRECT:
			d[0].flags = VRING_DESC_F_INDIRECT;
			break;
		case SHORT:
			d[0].len = 12 + 13;
			break;
		case LONG:
			for (i = 0; i < 3; i++)
				d[i] = (struct vring_desc){ GUEST + BUFS, 30000, VRING_DESC_F_NEXT,
							    (uint16_t)(i + 1) };
			d[2].flags = 0;
			break;
		case GSO:
			h->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
			break;
		case FLAGS:
			h->flags = VIRTIO_NET_HDR_F_DATA_VALID;
			break;
		case USO:
			h->gso_type = 5;
			break;
		case CSUM:
			h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
			h->csum_start = 80;
			h->csum_offset = 7;	/* 80 + 7 + 2 > 88 */
			break;
		}
		t_kick(&f, 1);
		t_dropped(f.sock, words[k]);
		t_front_end(&f);
	}
}

static void test_vhostbe_bad_receive_buffers(void **state)
{
	uint8_t frame[100] = { 0 };
	struct front f;

	/* A buffer that may not be written to. */
	t_front(&f, NULL);
	t_desc(&f, 0)[0] = (struct vring_desc){ .addr = GUEST + BUFS, .len = 200 };
	t_offer(&f, 0, 0);
	assert_int_equal(vhostbe_inject(be, frame, sizeof(frame), NULL), -EAGAIN);
	t_dropped(f.sock, "flags");
	t_front_end(&f);
	/* One that is too small is no error of the protocol, but the frame is lost. */
	t_front(&f, NULL);
	t_desc(&f, 0)[0] = (struct vring_desc){ .addr = GUEST + BUFS, .len = 111,
						.flags = VRING_DESC_F_WRITE };
	t_offer(&f, 0, 0);
	assert_int_equal(vhostbe_inject(be, frame, sizeof(frame), NULL), -EMSGSIZE);
	assert_int_equal(t_used(&f, 0)->idx, 0);
	/* A chain: the frame is spread over it, header included. */
	t_desc(&f, 0)[0] = (struct vring_desc){ GUEST + BUFS, 7,
						VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 3 };
	t_desc(&f, 0)[3] = (struct vring_desc){ GUEST + BUFS + 64, 200, VRING_DESC_F_WRITE, 0 };
	memset(frame, 0x77, sizeof(frame));
	assert_int_equal(vhostbe_inject(be, frame, sizeof(frame), NULL), 0);
	assert_int_equal(t_used(&f, 0)->idx, 1);
	assert_int_equal(t_used(&f, 0)->ring[0].id, 0);
	assert_int_equal(t_used(&f, 0)->ring[0].len, 112);
	assert_int_equal(f.mem[BUFS + 7], 0);
	assert_int_equal(f.mem[BUFS + 64 + 4], 0);	/* num_buffers, high byte */
	assert_memory_equal(f.mem + BUFS + 64 + 5, frame, sizeof(frame));
	assert_int_equal(f.mem[BUFS + 64 + 105], 0);
	close(f.sock);
	t_steps();
	t_front_end(&f);
}

/* A frame in a table of three descriptors, behind a direct one; then what no table may be. */
static void test_vhostbe_indirect_tables(void **state)
{
	enum { GOOD, NESTED, CROOKED, OUTSIDE, EMPTY, WRITABLE, BEYOND, NR };
	static const char *const words[NR] = { NULL, "flags", "table of 40", "table of", "table of 0", "flags", "descriptor 3 of 3" };
	struct vhostbe_opts o = { .sz = sizeof(o), .features_on = BIT(VIRTIO_RING_F_INDIRECT_DESC) };
	uint8_t got[200];
	int k;

	vhostbe_destroy(be);
	assert_int_equal(vhostbe_create(path, &o, &be), 0);
	features = FEATURES | BIT(VIRTIO_RING_F_INDIRECT_DESC);
	for (k = 0; k < NR; k++) {
		struct vring_desc *d, *t;
		struct front f;

		t_front(&f, NULL);
		d = t_desc(&f, 1);
		t = (void *)(f.mem + TABLE);
		d[0] = (struct vring_desc){ GUEST + BUFS, 12, VRING_DESC_F_NEXT, 5 };
		d[5] = (struct vring_desc){ GUEST + TABLE, 3 * sizeof(*t), VRING_DESC_F_INDIRECT, 0 };
		t[0] = (struct vring_desc){ GUEST + BUFS + 100, 10, VRING_DESC_F_NEXT, 2 };
		t[2] = (struct vring_desc){ GUEST + BUFS + 200, 20, VRING_DESC_F_NEXT, 1 };
		t[1] = (struct vring_desc){ GUEST + BUFS + 300, 30, 0, 0 };
		memset(f.mem + BUFS + 100, 'a', 10);
		memset(f.mem + BUFS + 200, 'b', 20);
		memset(f.mem + BUFS + 300, 'c', 30);
		if (k == NESTED)
			t[1] = d[5];
		else if (k == CROOKED)
			d[5].len = 40;
		else if (k == OUTSIDE)
			d[5].addr = GUEST + MEM_BYTES - sizeof(*t);
		else if (k == EMPTY)
			d[5].len = 0;
		else if (k == WRITABLE)
			t[2].flags |= VRING_DESC_F_WRITE;
		else if (k == BEYOND)
			t[2].next = 3;
		t_offer(&f, 1, 0);
		t_kick(&f, 1);
		if (k != GOOD) {
			assert_true(t_closed(f.sock));
			if (!vhostbe_last_error(be) || !strstr(vhostbe_last_error(be), words[k]))
				fail_msg("error \"%s\" lacks \"%s\"", vhostbe_last_error(be), words[k]);
		} else {
			assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), 60);
			assert_memory_equal(got, "aaaaaaaaaabbbbbbbbbbbbbbbbbbbbcccccccccccccccccccccccccccccc", 60);
			assert_int_equal(t_used(&f, 1)->idx, 1);
			assert_int_equal(t_used(&f, 1)->ring[0].id, 0);
		}
		close(f.sock);
		t_steps();
		t_front_end(&f);
	}
	features = FEATURES;
	assert_int_equal(vhostbe_stats(be)->protocol_errors, NR - 1);
}

/* Polled: no doorbell is wanted, and none is needed; asked for again, they are. */
static void test_vhostbe_polled(void **state)
{
	struct vring_desc *d;
	struct front f;
	uint8_t got[200];

	t_front(&f, NULL);
	d = t_desc(&f, 1);
	d[0] = (struct vring_desc){ .addr = GUEST + BUFS, .len = 12 + 60 };
	assert_int_equal(vhostbe_poll(be), 0);
	assert_int_equal(t_used(&f, 1)->flags, 0);
	vhostbe_busy(be, true);
	assert_int_equal(t_used(&f, 1)->flags, VRING_USED_F_NO_NOTIFY);
	t_offer(&f, 1, 0);
	assert_int_equal(vhostbe_poll(be), 1);
	assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), 60);
	assert_int_equal(vhostbe_poll(be), 0);
	assert_int_equal(t_used(&f, 1)->flags, VRING_USED_F_NO_NOTIFY);
	/* A frame from before doorbells were asked for is seen without one. */
	t_offer(&f, 1, 0);
	vhostbe_busy(be, false);
	vhostbe_step(be);
	assert_int_equal(t_used(&f, 1)->flags, 0);
	assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), 60);
	/* What was stopped under a poller stays stopped. */
	vhostbe_busy(be, true);
	t_state(f.sock, VHU_GET_VRING_BASE, 1, 0);
	assert_int_equal(vhostbe_poll(be), 0);
	close(f.sock);
	t_steps();
	t_front_end(&f);
}

/* Garbage of all kinds; the only demand is to live (and, under ASan, honestly). */
static void test_vhostbe_survives_garbage(void **state)
{
	unsigned int fds = t_nr_fds(), round;

	srand(4711);
	for (round = 0; round < 1500; round++) {
		struct front f;
		unsigned int i;

		if (round % 3) {
			uint8_t junk[600];
			int s = t_connect();

			for (i = 0; i < sizeof(junk); i++)
				junk[i] = (uint8_t)(rand() % 4 ? 0 : rand());
			*(uint32_t *)junk = (uint32_t)rand() % 30;
			*(uint32_t *)(junk + 4) = 1;
			*(uint32_t *)(junk + 8) = (uint32_t)rand() % 64;
			t_send_raw(s, junk, 12 + (size_t)rand() % 588, NULL, 0);
			close(s);
			t_steps();
			continue;
		}
		t_front(&f, NULL);
		for (i = 0; i < 0x8000; i += 2)
			if (rand() % 3 == 0)
				*(uint16_t *)(f.mem + i) = (uint16_t)(rand() % 4 ? rand() % 20 : rand());
		for (i = 0; i < 2 * NUM; i++)
			t_desc(&f, i & 1)[i / 2].addr = GUEST + BUFS + (uint64_t)rand() % 200;
		t_avail(&f, 1)->idx = (uint16_t)(rand() % (NUM + 2));
		t_kick(&f, 1);
		vhostbe_inject(be, f.mem, 60, NULL);
		close(f.sock);
		t_steps();
		t_front_end(&f);
	}
	assert_int_equal(t_nr_fds(), fds);
	assert_true(vhostbe_stats(be)->protocol_errors > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vhostbe_bad_messages),
		cmocka_unit_test(test_vhostbe_bad_values),
		cmocka_unit_test(test_vhostbe_rings_enabled_before_features),
		cmocka_unit_test(test_vhostbe_stray_descriptors_are_closed),
		cmocka_unit_test(test_vhostbe_message_in_pieces),
		cmocka_unit_test(test_vhostbe_bad_memory_tables),
		cmocka_unit_test(test_vhostbe_rings_outside_of_memory),
		cmocka_unit_test(test_vhostbe_bad_rings),
		cmocka_unit_test(test_vhostbe_bad_receive_buffers),
		cmocka_unit_test(test_vhostbe_polled),
		cmocka_unit_test(test_vhostbe_survives_garbage),
		cmocka_unit_test(test_vhostbe_indirect_tables),	/* a device of its own: last */
	};

	return cmocka_run_group_tests(tests, t_setup, t_teardown);
}
