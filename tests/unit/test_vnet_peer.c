// SPDX-License-Identifier: MIT
/*
 * The interface at the other end of the rings, with a guest that the test
 * plays: what it takes from the transmit ring, what lands in the guest's
 * buffers, and what happens while there is no guest or no buffer.
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

#include <nomdrv/vnet.h>

#include "../../userdrivers/src/vhost_user_msg.h"
#include "../../userdrivers/vhostbe/vhostbe.h"
#include "../../userdrivers/vhostbe/vnet_peer.h"

#define BIT(n)		(1ULL << (n))
#define MEM_BYTES	(1UL << 20)
#define GUEST		0x40000000ULL
#define NUM		16
#define RING_STEP	0x4000
#define AVAIL		0x1000
#define USED		0x2000
#define BUFS		0x10000	/* buffer i at BUFS + i * BUF_STEP, 12 bytes of header first */
#define BUF_STEP	2048
#define LONG		0x60000	/* a frame that is to be cut up */
#define HDR		12

enum { RX, TX };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 0, 9 };
static struct vhostbe *be;
static struct vnet *v;
static char path[64];
static struct {
	int sock, fd, kick[2], call[2];
	uint8_t *mem;
} g;

static void t_steps(void)
{
	for (int i = 0; i < 20 && vhostbe_step(be); i++)
		;
}

static void t_send(struct vhu_msg *m, uint32_t request, uint32_t size, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { VHU_WIRE(m), VHU_HDR_BYTES + size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	m->request = request;
	m->flags = VHU_FLAG_VERSION;
	m->size = size;
	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	assert_true(sendmsg(g.sock, &msg, MSG_NOSIGNAL) > 0);
	t_steps();
}

static void t_u64(uint32_t request, uint64_t value, int fd)
{
	struct vhu_msg m = { .u.u64 = value };

	t_send(&m, request, 8, fd);
}

static uint8_t *t_ring(int q)
{
	return g.mem + q * RING_STEP;
}

static struct vring_desc *t_desc(int q)
{
	return (void *)t_ring(q);
}

static struct vring_avail *t_avail(int q)
{
	return (void *)(t_ring(q) + AVAIL);
}

static struct vring_used *t_used(int q)
{
	return (void *)(t_ring(q) + USED);
}

static uint8_t *t_buf(unsigned i)
{
	return g.mem + BUFS + i * BUF_STEP;
}

static void t_offer(int q, uint16_t head)
{
	struct vring_avail *a = t_avail(q);

	a->ring[a->idx & (NUM - 1)] = head;
	a->idx++;
}

/* Receive buffer @i, for the device to fill. */
static void t_post(unsigned i)
{
	t_desc(RX)[i] = (struct vring_desc){ GUEST + BUFS + i * BUF_STEP, BUF_STEP, VRING_DESC_F_WRITE, 0 };
	t_offer(RX, (uint16_t)i);
}

/* A guest whose driver takes these features, and starts both rings. */
static void t_guest(uint64_t features)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct vhu_msg m = { .u.mem = { .nr = 1 } };

	g.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(a.sun_path, path);
	assert_int_equal(connect(g.sock, (struct sockaddr *)&a, sizeof(a)), 0);
	g.fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(g.fd, MEM_BYTES), 0);
	g.mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, 0);
	t_u64(VHU_SET_FEATURES, BIT(VIRTIO_F_VERSION_1) | features, -1);
	m.u.mem.region[0] = (struct vhu_mem_region){ GUEST, MEM_BYTES, (uintptr_t)g.mem, 0 };
	t_send(&m, VHU_SET_MEM_TABLE, 40, g.fd);
	for (unsigned q = 0; q < 2; q++) {
		struct vhu_msg s = { .u.state = { q, NUM } };
		struct vhu_msg addr = { .u.addr = { .index = q, .desc_user_addr = (uintptr_t)t_desc((int)q),
			.avail_user_addr = (uintptr_t)t_avail((int)q), .used_user_addr = (uintptr_t)t_used((int)q) } };

		g.kick[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		g.call[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		t_send(&s, VHU_SET_VRING_NUM, 8, -1);
		t_send(&addr, VHU_SET_VRING_ADDR, 40, -1);
		t_u64(VHU_SET_VRING_CALL, q, g.call[q]);
		t_u64(VHU_SET_VRING_KICK, q, g.kick[q]);
	}
	assert_true(vhostbe_running(be));
}

static void t_guest_ends(void)
{
	assert_null(vhostbe_last_error(be));
	close(g.sock);
	t_steps();
	munmap(g.mem, MEM_BYTES);
	close(g.fd);
	for (int q = 0; q < 2; q++) {
		close(g.kick[q]);
		close(g.call[q]);
	}
}

static int t_setup(void **state)
{
	snprintf(path, sizeof(path), "/tmp/test_vnet_peer.%d", (int)getpid());
	return vhostbe_create(path, NULL, &be) || vnet_peer_create(be, mac, &v);
}

static int t_teardown(void **state)
{
	vnet_peer_destroy(v);
	vhostbe_destroy(be);
	return 0;
}

/* A TCP segment of @len bytes with data of @fill; its sum is left open. */
static void t_frame(uint8_t *f, unsigned len, uint8_t fill)
{
	memset(f, fill, len);
	memcpy(f, "\x52\x54\x00\x00\x00\x09\x52\x54\x00\x00\x00\x02\x08\x00\x45", 15);
	f[16] = (uint8_t)((len - 14) >> 8);
	f[17] = (uint8_t)(len - 14);
	f[23] = 6;
	f[46] = 0x50;
}

static int t_transmit(const uint8_t *f, uint32_t len)
{
	struct vnet_seg seg[2] = { { f, 20 }, { f + 20, len - 20 } };

	return vnet_tx_copy(v, seg, 2, 34, 16);
}

static void test_frames_of_the_guest_come_in_order_and_vouched_for(void **state)
{
	struct virtio_net_hdr_v1 *h;
	struct vnet_rx rx[8];
	unsigned i;

	t_guest(BIT(VIRTIO_NET_F_CSUM));
	for (i = 0; i < 3; i++) {
		t_frame(t_buf(i) + HDR, 60 + i, (uint8_t)('a' + i));
		t_desc(TX)[i] = (struct vring_desc){ GUEST + BUFS + i * BUF_STEP, HDR + 60 + i, 0, 0 };
		t_offer(TX, (uint16_t)i);
	}
	h = (void *)t_buf(1);
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = 34;
	h->csum_offset = 16;
	assert_int_equal(t_used(TX)->idx, 0);
	assert_int_equal(vnet_rx_burst(v, rx, 2), 2);
	assert_int_equal(t_used(TX)->idx, 3);		/* the guest's again, all of them */
	assert_int_equal(vnet_rx_pending(v), 1);
	assert_int_equal(vnet_rx_burst(v, rx + 2, 6), 1);
	for (i = 0; i < 3; i++) {
		assert_int_equal(rx[i].len, 60 + i);
		assert_memory_equal(rx[i].data, t_buf(i) + HDR, 60 + i);
		assert_int_equal(rx[i].flags, i == 1 ? VNET_RX_CSUM_OK : 0);
		assert_int_equal(((uintptr_t)rx[i].data + 14) % 4, 0);
		assert_int_equal((uintptr_t)vnet_rx_priv(v, rx[i].id) % 64, 0);
	}
	assert_int_equal(vnet_rx_room(v), vnet_rx_size(v) - 3);
	for (i = 0; i < 3; i++)
		vnet_rx_release(v, rx[i].id);
	assert_int_equal(vnet_rx_room(v), vnet_rx_size(v));
	assert_int_equal(vnet_rx_burst(v, rx, 8), 0);
	t_guest_ends();
}

static void test_frame_to_be_cut_up_comes_in_one_piece(void **state)
{
	struct virtio_net_hdr_v1 *h;
	struct vnet_rx rx;
	unsigned total = 54 + 40000;

	t_guest(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4));
	h = (void *)(g.mem + LONG);
	*h = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1448, .hdr_len = 54 };
	t_frame(g.mem + LONG + HDR, total, 'l');
	t_desc(TX)[0] = (struct vring_desc){ GUEST + LONG, HDR + total, 0, 0 };
	t_offer(TX, 0);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
	assert_int_equal(rx.len, total);
	assert_memory_equal(rx.data, g.mem + LONG + HDR, total);
	assert_int_equal(rx.flags, VNET_RX_CSUM_OK);
	vnet_rx_release(v, rx.id);
	t_guest_ends();
}

static void test_slow_stack_leaves_frames_in_the_ring(void **state)
{
	unsigned size = vnet_rx_size(v), i, n = 0;
	struct vnet_rx *rx = calloc(size, sizeof(*rx));

	t_guest(0);
	t_frame(t_buf(0) + HDR, 60, 's');
	t_desc(TX)[0] = (struct vring_desc){ GUEST + BUFS, HDR + 60, 0, 0 };
	for (i = 0; i < size; i++) {
		t_offer(TX, 0);
		n += vnet_rx_burst(v, rx + n, 1);
	}
	assert_int_equal(n, size);
	assert_int_equal(vnet_rx_room(v), 0);
	t_offer(TX, 0);
	assert_int_equal(vnet_rx_burst(v, rx, 1), 0);
	assert_int_equal(t_used(TX)->idx, size);
	vnet_rx_release(v, rx[7].id);
	assert_int_equal(vnet_rx_burst(v, rx + 7, 1), 1);
	assert_int_equal(t_used(TX)->idx, size + 1);
	for (i = 0; i < size; i++)
		vnet_rx_release(v, rx[i].id);
	free(rx);
	t_guest_ends();
}

/* Open for who takes it, complete for who does not. */
static void test_sums_are_open_only_for_who_takes_that(void **state)
{
	uint8_t f[100], want[100];

	t_frame(f, sizeof(f), 'c');
	memcpy(want, f, sizeof(f));
	assert_true(vhostbe_csum_complete(want, sizeof(want), 34, 16));
	for (int takes = 0; takes < 2; takes++) {
		struct virtio_net_hdr_v1 *h;

		t_guest(takes ? BIT(VIRTIO_NET_F_GUEST_CSUM) : 0);
		h = (void *)t_buf(2);
		t_post(2);
		assert_int_equal(t_transmit(f, sizeof(f)), 0);
		assert_int_equal(t_used(RX)->idx, 0);		/* not announced */
		assert_int_equal(vnet_tx_queued(v), 1);
		vnet_tx_flush(v);
		assert_int_equal(vnet_tx_queued(v), 0);
		assert_int_equal(t_used(RX)->idx, 1);
		assert_int_equal(t_used(RX)->ring[0].len, HDR + sizeof(f));
		assert_memory_equal(t_buf(2) + HDR, takes ? f : want, sizeof(f));
		assert_int_equal(h->flags, takes ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
		if (takes)
			assert_int_equal(h->csum_start + h->csum_offset, 50);
		t_guest_ends();
	}
}

static void test_frames_wait_for_buffers_in_order(void **state)
{
	uint8_t f[80];
	unsigned i, seen = 0;

	t_guest(BIT(VIRTIO_NET_F_GUEST_CSUM));
	for (i = 0; i < 10; i++) {
		t_frame(f, 60 + i, (uint8_t)('0' + i));
		if (i == 4)
			t_post(3);	/* in the middle: the first that waits gets it, not this one */
		assert_int_equal(t_transmit(f, 60 + i), 0);
	}
	assert_int_equal(vnet_peer_stats(v)->tx_waited, 10);
	vnet_tx_flush(v);
	for (i = 0; seen < 10; i++) {
		struct vnet_rx none;

		assert_true(i < 20);
		vnet_rx_burst(v, &none, 1);	/* a look at the rings moves them on, and announces them */
		while (seen < t_used(RX)->idx) {
			unsigned id = t_used(RX)->ring[seen & (NUM - 1)].id;

			assert_int_equal(t_used(RX)->ring[seen & (NUM - 1)].len, HDR + 60 + seen);
			assert_int_equal(t_buf(id)[HDR + 59], '0' + seen);
			seen++;
			t_post(id);
		}
	}
	assert_int_equal(vnet_peer_stats(v)->tx_lost, 0);
	t_guest_ends();
}

static void test_queue_of_waiting_frames_ends(void **state)
{
	uint8_t f[60];
	unsigned n;

	t_guest(0);
	t_frame(f, sizeof(f), 'q');
	for (n = 0; n < 5000 && !t_transmit(f, sizeof(f)); n++)
		;
	assert_int_equal(n, 1024);
	assert_int_equal(t_transmit(f, sizeof(f)), -EAGAIN);
	t_guest_ends();
	assert_int_equal(vnet_rx_burst(v, &(struct vnet_rx){ 0 }, 1), 0);
	assert_int_equal(vnet_peer_stats(v)->tx_lost, 1024);	/* with the guest that they were for */
}

static void test_without_a_guest_frames_are_lost(void **state)
{
	uint64_t lost = vnet_peer_stats(v)->tx_lost;
	uint8_t f[60];
	struct vnet_rx rx;

	t_frame(f, sizeof(f), 'x');
	assert_int_equal(t_transmit(f, sizeof(f)), 0);
	vnet_tx_flush(v);
	assert_int_equal(vnet_peer_stats(v)->tx_lost, lost + 1);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 0);
}

static unsigned nr_done;
static void done(void *cookie, void *arg)
{
	assert_ptr_equal(cookie, &nr_done);
	nr_done++;
}

static void test_memory_of_what_is_sent_is_free_at_once(void **state)
{
	uint8_t *f = vnet_dma_alloc(v, 2000, 64);
	struct vnet_seg seg = { f, 90 };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1, .cookie = &nr_done };

	assert_non_null(f);
	assert_true(vnet_dma_contains(v, f, 2000));
	assert_false(vnet_dma_contains(v, &seg, 1));
	t_frame(f, 90, 'z');
	t_guest(0);
	t_post(0);
	assert_int_equal(vnet_tx(v, &tx), 0);
	assert_int_equal(vnet_tx_reap(v, done, NULL), 1);
	assert_int_equal(nr_done, 1);
	assert_int_equal(vnet_tx_reap(v, done, NULL), 0);
	tx.gso_bytes = 1448;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	tx.gso_bytes = 0;
	tx.csum_start = 80;
	tx.csum_offset = 10;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	seg.len = 3000;
	tx.csum_start = 0;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	t_guest_ends();
}

/* Between arming and disarming doorbells are wanted, else not; what came meanwhile is not slept over. */
static void test_sleep_asks_for_doorbells(void **state)
{
	struct vnet_rx rx;

	t_guest(0);
	assert_int_equal(t_used(TX)->flags, VRING_USED_F_NO_NOTIFY);
	assert_true(vnet_irq_arm(v));
	assert_int_equal(t_used(TX)->flags, 0);
	vnet_irq_disarm(v);
	assert_int_equal(t_used(TX)->flags, VRING_USED_F_NO_NOTIFY);
	t_frame(t_buf(0) + HDR, 60, 'w');
	t_desc(TX)[0] = (struct vring_desc){ GUEST + BUFS, HDR + 60, 0, 0 };
	t_offer(TX, 0);
	assert_false(vnet_irq_arm(v));
	assert_int_equal(t_used(TX)->flags, VRING_USED_F_NO_NOTIFY);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
	vnet_rx_release(v, rx.id);
	t_guest_ends();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_frames_of_the_guest_come_in_order_and_vouched_for, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_frame_to_be_cut_up_comes_in_one_piece, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_slow_stack_leaves_frames_in_the_ring, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_sums_are_open_only_for_who_takes_that, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_frames_wait_for_buffers_in_order, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_queue_of_waiting_frames_ends, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_without_a_guest_frames_are_lost, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_memory_of_what_is_sent_is_free_at_once, t_setup, t_teardown),
		cmocka_unit_test_setup_teardown(test_sleep_asks_for_doorbells, t_setup, t_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
