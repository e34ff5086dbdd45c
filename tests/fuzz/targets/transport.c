// SPDX-License-Identifier: MIT
/*
 * transport.c - libFuzzer target: what a device says in capabilities, registers and
 * configuration, on PCI and without, against the driver
 *
 * The device is tests/unit/vnet_rig.c's, well-behaved at first.  An input is four
 * bytes (bus, options, how many patches, how many lies), patches of the device
 * before it is opened, lies, and steps of the device and of the application.  A
 * lie changes the value of one read, so many reads after the lie before: what is
 * read twice may have changed in between.
 *
 * An open fails and says why, or works.  What works ends by a stop for which there
 * is a reason, or runs on; then the device has let go of the memory, and neither
 * memory, interrupt nor descriptor is left.
 */
#include "../../unit/vnet_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "turns.h"

#define HEAD		4
#define PATCHES_MAX	32
#define LIES_MAX	64
#define STEPS_MAX	200

static struct vnet_rig d;
static const uint8_t *lie;	/* the next one */
static unsigned int nr_lies, honest_left, same_left;
static uint8_t answer_as[TURNS_STEP];

static uint32_t odd(uint8_t n)
{
	static const uint32_t values[] = {
		0, 1, 2, 3, 4, 0x37, 0x38, 0x3f, 0x40, 0xfc, 0xff, 0xfff, 0x1000, 0x2000, 0x3ffc, 0x4000, 0x7fff, 0x8000, 0x8001,
		0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffff000, 0xfffffffc, 0xfffffffe, 0xffffffff,
	};

	return n < 128 ? values[n % (sizeof(values) / sizeof(values[0]))] : 1u << (n & 31);
}

/* ------------------------------------------------------------- the device --- */

static void tell_lie(uint8_t *value, unsigned int bytes, const uint8_t *s)
{
	unsigned int at = bytes > 4 ? (s[1] >> 3) % bytes : 0, n = bytes - at < 4 ? bytes - at : 4;
	uint32_t v = s[2] | (uint32_t)s[3] << 8;

	switch (s[1] & 7) {
	case 0:
		v = odd(s[2]) + s[3];
		memcpy(value + at, &v, n);
		break;
	case 1:
		memcpy(value + at, &v, n < 2 ? n : 2);
		break;
	case 2:
		value[s[2] % bytes] ^= (uint8_t)(1u << (s[3] & 7));
		break;
	case 3:
		memset(value, 0xff, bytes);
		break;
	case 4:
		memset(value, 0, bytes);
		break;
	case 5:
		value[at]++;
		break;
	case 6:
		value[at] = s[2];
		break;
	default:	/* gone from here on, until a step brings it back */
		memset(value, 0xff, bytes);
		d.gone_after = d.reads ? d.reads : 1;
	}
}

static void twist(struct vnet_rig *rig, void *value, unsigned int bytes)
{
	if (!nr_lies)
		return;
	if (honest_left) {
		honest_left--;
		return;
	}
	d.lied = true;
	tell_lie(value, bytes, lie);
	if (same_left) {	/* and again */
		same_left--;
		return;
	}
	lie += TURNS_STEP;
	if (!--nr_lies)
		return;
	honest_left = lie[0] & 63;
	same_left = lie[0] & 64 ? 1u + (lie[3] & 31) : 0;
}

static void patch_flags(uint8_t which)
{
	d.keep_features_ok_clear = which & 1;
	d.stuck_reset = which & 2;
	d.refuse_vector = which & 4;
	d.generation_runs = which & 8;
	d.refuse_start = which & 16;
	d.never_on = which & 32;
	d.always_on = which & 64;
}

static void patch_identity(const uint8_t *s, uint32_t v)
{
	switch (s[1] & 3) {
	case 0:
		d.magic = odd(s[2]) ^ s[3];
		break;
	case 1:
		d.version = v;
		break;
	case 2:
		d.id = v;
		break;
	default:
		if (!d.is_pci && !d.reads)	/* mapped is mapped */
			d.mem_bytes = v < RIG_SLOT_BYTES ? v : RIG_SLOT_BYTES;
	}
}

static void interrupt(uint8_t irq, uint32_t n)
{
	const uint64_t one = 1;
	ssize_t done;

	irq %= NOMDRV_NR_IRQS;
	if (d.irq_fd[irq] < 0)
		return;
	if (d.irq_count[irq])
		*d.irq_count[irq] += n;
	else
		done = write(d.irq_fd[irq], &one, sizeof(one));
	(void)done;
}

/* What is another from now on. */
static void patch(const uint8_t *s)
{
	static const uint8_t caps[] = { RIG_CAP_COMMON, RIG_CAP_NOTIFY, RIG_CAP_CONFIG, RIG_CAP_MSIX };
	uint32_t v = s[2] | (uint32_t)s[3] << 8;
	struct rig_queue *q = rig_queue(&d, s[1]);

	switch (s[0] & 15) {
	case 0:
		d.cfg[s[1]] = s[2];
		break;
	case 1:
		((uint8_t *)&d.config)[s[1] % sizeof(d.config)] = s[2];
		break;
	case 2:
		memcpy((uint8_t *)&d.config + s[1] % (sizeof(d.config) / 2) * 2, &v, 2);
		break;
	case 3:
		d.offered ^= BIT(s[1] & 63);
		break;
	case 4:
		q->max = s[2] < 32 ? 1u << s[2] : odd(s[2]) + s[3];
		break;
	case 5:
		d.num_queues = s[1] | (uint32_t)s[2] << 8;
		break;
	case 6:
		d.nr_irqs = s[1] % 20;
		d.irq_err = s[2] & 1 ? -EINVAL : 0;
		break;
	case 7:
		patch_flags(s[1]);
		break;
	case 8:
		d.generation_changes = s[1];
		break;
	case 9:
		q->notify_off = (uint16_t)v;
		break;
	case 10:
		patch_identity(s, v);
		break;
	case 11:
		d.cfg_err = s[1] & 8 ? -EIO : 0;
		d.map_err = s[1] & 1 ? -EOPNOTSUPP : s[1] & 2 ? -ENOMEM : s[1] & 4 ? -ENOENT : 0;
		break;
	case 12:	/* offset, length, or multiplier */
		v = odd(s[2]) + s[3];
		memcpy(d.cfg + caps[s[1] & 3] + 8 + 4 * ((s[1] >> 2) % 3), &v, 4);
		break;
	case 13:
		d.status = s[2] & 1 ? d.status | s[1] : s[1];
		break;
	case 14:
		d.gone_after = s[2] & 1 ? d.reads + s[1] : 0;
		break;
	default:
		interrupt(s[1], v);
	}
}

static void *va(void *arg, uint64_t dma, size_t bytes)
{
	return rig_va(&d, dma, bytes);
}

/* Whether queue @number is there for the device. */
static bool ring(unsigned int number, struct turns_ring *out)
{
	struct rig_queue *q = rig_queue(&d, number);

	if (d.moved || !d.dma_live || !q->on || !d.running)
		return false;
	*out = (struct turns_ring){
		.desc = rig_va(&d, q->desc, 0), .avail = rig_va(&d, q->avail, 0), .used = rig_va(&d, q->used, 0),
		.size = q->size, .at = &q->at, .packed = d.accepted >> VIRTIO_F_RING_PACKED & 1, .va = va,
	};
	return true;
}

/* Called while the driver waits for the answer to a command. */
static void answer(void *arg)
{
	const bool many = d.accepted >> VIRTIO_NET_F_MQ & 1;
	struct turns_ring r;

	if (!ring(many ? 2u * d.config.max_virtqueue_pairs : 2, &r))
		return;
	if ((answer_as[1] & 7) == 7)
		turns_scribble(&r, answer_as);
	if ((answer_as[1] & 7) != 6)
		turns_answer(&r, (answer_as[1] & 7) == 4 ? answer_as[3] : 0, (answer_as[1] & 7) == 5);
}

/* ------------------------------------------------------------------- runs --- */

static void device_step(const uint8_t *s)
{
	struct turns_ring r;

	switch (s[0] & 15) {
	case 10: case 11: case 12:
		if (ring(s[1] % (2 * TURNS_PAIRS), &r))
			turns_use(&r, 26u + s[2] * 7u);
		break;
	case 13:
		if (s[1] < 64 && ring(s[1] % (2 * TURNS_PAIRS), &r))
			turns_scribble(&r, s);
		break;
	case 14:
		patch((const uint8_t[]){ s[0] >> 4, s[1], s[2], s[3] });
		break;
	default:
		d.config_reads = 0;
		if (turns_restart() && !turns_said_why())
			fail_msg("no restart, and no reason");
	}
}

/* A pair that is stopped has stopped the device. */
static void look(struct vnet *v)
{
	unsigned int i;

	for (i = 0; i < vnet_nr_pairs(v); i++)
		if (vnet_error(vnet_pair(v, i), NULL))
			assert_true(rig_let_go(&d));
}

static void run(struct vnet *v, const uint8_t *s, size_t left)
{
	unsigned int n;

	turns_begin(v);
	for (n = 0; n < STEPS_MAX && left >= TURNS_STEP; n++, s += TURNS_STEP, left -= TURNS_STEP) {
		memcpy(answer_as, s, TURNS_STEP);
		if (!turns_step(s))
			device_step(s);
		look(v);
	}
	turns_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *s = data + HEAD;
	unsigned int nr_patches, i;
	struct vnet *v = NULL;
	const uint64_t fds = turns_fds();
	size_t left;

	if (size < HEAD)
		return 0;
	left = size - HEAD;
	if (data[0] & 1)
		rig_init_pci(&d);
	else
		rig_init_mmio(&d);
	turns_opts(data + 1, &d.opts);
	d.opts.wait = answer;
	d.wild = true;
	d.twist = twist;
	d.offered |= turns_features() | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_RSS);
	d.num_queues = 2 * TURNS_PAIRS + 1;
	d.nr_irqs = TURNS_PAIRS + 1;
	for (i = 0; i < RIG_QUEUES; i++)
		d.q[i].max = 64;
	d.config.mtu = 1500;
	d.config.max_virtqueue_pairs = TURNS_PAIRS;
	d.config.rss_max_key_size = 40;
	d.config.rss_max_indirection_table_length = 128;
	d.config.supported_hash_types = 0x3f;
	memset(answer_as, 0, sizeof(answer_as));
	for (nr_patches = data[2] % PATCHES_MAX; nr_patches && left >= TURNS_STEP; nr_patches--, s += TURNS_STEP, left -= TURNS_STEP)
		patch(s);
	lie = s;
	nr_lies = data[3] % LIES_MAX < left / TURNS_STEP ? data[3] % LIES_MAX : (unsigned int)(left / TURNS_STEP);
	s += nr_lies * TURNS_STEP;
	left -= nr_lies * TURNS_STEP;
	honest_left = nr_lies ? lie[0] & 63 : 0;
	same_left = 0;
	turns_fresh();
	if (!rig_open(&d, &v))
		run(v, s, left);
	else if (v || !turns_said_why())
		fail_msg("not opened, and no reason");
	rig_free(&d);
	assert_int_equal(turns_fds(), fds);
	return 0;
}
