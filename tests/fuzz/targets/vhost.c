// SPDX-License-Identifier: MIT
/*
 * vhost.c - libFuzzer target: what a vhost-user back-end answers, against the front-end
 *
 * The back-end is tests/unit/vhu_rig.c's, well-behaved at first.  An input is as for
 * the target transport: how it differs from the start, replies that are not as they
 * should be, steps of the back-end and of the application.
 *
 * What must hold is the same, and one thing more: who waits in vain for a reply in the
 * middle of its work does so once.
 */
#include "../../unit/vhu_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_config.h>

#include "turns.h"

#define BIT(n)		(1ULL << (n))
#define HEAD		4
#define PATCHES_MAX	32
#define LIES_MAX	64
#define STEPS_MAX	200
#define LONG_NS		4000000000LL	/* longer than any work takes, shorter than the driver waits */

static struct vhu_rig be;
static const uint8_t *lie;	/* the next one */
static unsigned int nr_lies, honest_left;
static uint8_t answer_as[TURNS_STEP];

static uint64_t odd(uint8_t n)
{
	static const uint64_t values[] = { 0, 1, 7, 8, 0x80, UINT32_MAX, 1ULL << 32, 1ULL << 63, UINT64_MAX };

	return n < 128 ? values[n % (sizeof(values) / sizeof(values[0]))] : BIT(n & 63);
}

/* ----------------------------------------------------------- the back-end --- */

/* More than any message has, and all of it is there. */
static void send_long(struct vhu_msg *m, size_t *bytes, uint32_t size)
{
	static const uint8_t filler[65536];

	m->size = size;
	*bytes = 0;
	if (send(be.fd, VHU_WIRE(m), VHU_HDR_BYTES, MSG_NOSIGNAL) < 0 ||
	    send(be.fd, filler, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		be.hang_up = true;
}

/* Beside the reply, which takes none: the front-end must not keep it. */
static void send_descriptor(struct vhu_msg *m, size_t *bytes)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { VHU_WIRE(m), *bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &be.listen_fd, sizeof(int));
	if (sendmsg(be.fd, &msg, MSG_NOSIGNAL) == (ssize_t)*bytes)
		*bytes = 0;
}

static void tell_lie(struct vhu_msg *m, size_t *bytes, const uint8_t *s)
{
	uint32_t v = s[2] | (uint32_t)s[3] << 8;

	switch (s[1] & 15) {
	case 0:
		m->request = v;
		break;
	case 1:
		m->flags = v;
		break;
	case 2:
		m->size = s[1] & 16 ? UINT32_MAX - v : v;
		break;
	case 3:		/* consistent, but not as long as it should be */
		m->size = v % (VHU_PAYLOAD_MAX + 1);
		*bytes = VHU_HDR_BYTES + m->size;
		break;
	case 4:
		m->u.u64 = odd(s[2]) + s[3];
		break;
	case 5:
		*bytes = 0;
		be.hang_up = true;
		break;
	case 6:
		*bytes = v % *bytes;
		be.hang_up = true;
		break;
	case 7:
		*bytes = 0;
		break;
	case 8:
		*bytes = v % *bytes;
		break;
	case 9:
		m->u.config.offset = v;
		break;
	case 10:
		m->u.config.size = v;
		break;
	case 11:
		m->u.config.data[s[2]] = s[3];
		break;
	case 12:	/* twice */
		if (send(be.fd, VHU_WIRE(m), *bytes, MSG_NOSIGNAL) < 0)
			be.hang_up = true;
		break;
	case 13:
		send_descriptor(m, bytes);
		break;
	case 14:
		((uint8_t *)&m->u)[v % VHU_PAYLOAD_MAX] = s[0];
		break;
	default:
		send_long(m, bytes, v);
	}
}

static void twist(struct vhu_rig *s, struct vhu_msg *m, size_t *bytes)
{
	if (!nr_lies)
		return;
	if (honest_left) {
		honest_left--;
		return;
	}
	tell_lie(m, bytes, lie);
	lie += TURNS_STEP;
	if (--nr_lies)
		honest_left = lie[0] & 63;
}

/* What is another from now on. */
static void patch(const uint8_t *s)
{
	switch (s[0] & 7) {
	case 0:
		be.offered ^= BIT(s[1] & 63);
		break;
	case 1:
		be.protocol ^= BIT(s[1] & 15);
		break;
	case 2:
		((uint8_t *)&be.config)[s[1] % sizeof(be.config)] = s[2];
		break;
	case 3:
		memcpy((uint8_t *)&be.config + s[1] % (sizeof(be.config) / 2) * 2, s + 2, 2);
		break;
	case 4:
		if (s[1] < 64)
			vhu_rig_hang_up(&be);
		break;
	case 5:		/* what nobody asked for */
		if (be.fd >= 0 && send(be.fd, s, 1 + s[1] % 3u, MSG_NOSIGNAL) < 0)
			vhu_rig_hang_up(&be);
		break;
	default:
		vhu_rig_serve(&be);
	}
}

static void *va(void *arg, uint64_t dma, size_t bytes)
{
	return vhu_rig_va(&be, dma, bytes);
}

static bool ring(unsigned int number, struct turns_ring *out)
{
	struct vhu_rig_queue *q = &be.q[number % VHU_RIG_QUEUES];

	if (!vhu_rig_connected(&be) || !q->on)
		return false;
	*out = (struct turns_ring){
		.desc = (void *)(uintptr_t)q->addr.desc_user_addr, .avail = (void *)(uintptr_t)q->addr.avail_user_addr,
		.used = (void *)(uintptr_t)q->addr.used_user_addr,
		.size = q->size, .at = &q->at, .packed = be.accepted >> VIRTIO_F_RING_PACKED & 1, .va = va,
	};
	return true;
}

/* Called while the driver waits: for a reply, or for the answer to a command. */
static void wait(void *arg)
{
	unsigned int served = be.served;
	struct turns_ring r;

	vhu_rig_serve(&be);
	if (be.served != served || !ring(2, &r))
		return;
	if ((answer_as[1] & 7) != 6)
		turns_answer(&r, (answer_as[1] & 7) == 4 ? answer_as[3] : 0, (answer_as[1] & 7) == 5);
}

/* ------------------------------------------------------------------- runs --- */

static void device_step(const uint8_t *s)
{
	struct turns_ring r;

	switch (s[0] & 15) {
	case 10: case 11: case 12:
		if (ring(s[1] & 1, &r))
			turns_use(&r, 26u + s[2] * 7u);
		break;
	case 13:
		if (s[1] < 64 && ring(s[1] & 1, &r))
			turns_scribble(&r, s);
		break;
	case 14:
		patch((const uint8_t[]){ s[0] >> 4, s[1], s[2], s[3] });
		break;
	default:
		if (turns_restart() && !turns_said_why())
			fail_msg("no restart, and no reason");
	}
}

static void run(struct vnet *v, const uint8_t *s, size_t left)
{
	unsigned int n;

	turns_begin(v);
	for (n = 0; n < STEPS_MAX && left >= TURNS_STEP; n++, s += TURNS_STEP, left -= TURNS_STEP) {
		int64_t since = turns_now;

		memcpy(answer_as, s, TURNS_STEP);
		if (!turns_step(s))
			device_step(s);
		else if (turns_now - since > LONG_NS)
			assert_true(vnet_error(v, NULL));
	}
	turns_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *s = data + HEAD;
	struct vnet_opts o;
	unsigned int nr_patches;
	struct vnet *v = NULL;
	const uint64_t fds = turns_fds();
	size_t left;

	if (size < HEAD)
		return 0;
	left = size - HEAD;
	turns_opts(data + 1, &o);
	o.wait = wait;
	vhu_rig_begin(&be);
	be.twist = twist;
	be.offered |= turns_features() | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_RSS);
	be.config.max_virtqueue_pairs = TURNS_PAIRS;
	be.config.rss_max_key_size = 40;
	be.config.rss_max_indirection_table_length = 128;
	be.config.supported_hash_types = 0x3f;
	be.config.mtu = 1500;
	memset(answer_as, 0, sizeof(answer_as));
	for (nr_patches = data[2] % PATCHES_MAX; nr_patches && left >= TURNS_STEP; nr_patches--, s += TURNS_STEP, left -= TURNS_STEP)
		patch(s);
	lie = s;
	nr_lies = data[3] % LIES_MAX < left / TURNS_STEP ? data[3] % LIES_MAX : (unsigned int)(left / TURNS_STEP);
	s += nr_lies * TURNS_STEP;
	left -= nr_lies * TURNS_STEP;
	honest_left = nr_lies ? lie[0] & 63 : 0;
	turns_fresh();
	if (!vnet_open_vhost_user(be.path, &o, &v))
		run(v, s, left);
	else if (v || !turns_said_why())
		fail_msg("not opened, and no reason");
	vhu_rig_end(&be);
	assert_int_equal(turns_fds(), fds);
	return 0;
}
