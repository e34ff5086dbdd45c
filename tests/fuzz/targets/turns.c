// SPDX-License-Identifier: MIT
/* Time, rings and the application, for targets that play the device; see the header. */
#define main test_vnet_fuzz_main
#include "../../unit/test_vnet_fuzz.c"
#undef main

#include "turns.h"

#include <fcntl.h>
#include <syslog.h>
#include <linux/virtio_ring.h>

#define LOOK_NS		100000000LL	/* that passes between two looks at the clock */

/* ------------------------------------------------------------------- time --- */

int64_t turns_now = 1;

/* Instead of the C library's, see rules.mk. */
int turns_clock_gettime(clockid_t which, struct timespec *ts);
int turns_clock_gettime(clockid_t which, struct timespec *ts)
{
	turns_now += LOOK_NS;
	ts->tv_sec = turns_now / 1000000000;
	ts->tv_nsec = turns_now % 1000000000;
	return 0;
}

int turns_usleep(useconds_t us);
int turns_usleep(useconds_t us)
{
	turns_now += us * 1000LL;
	return 0;
}

/* ------------------------------------------------------------------ rings --- */

static bool writable(uint16_t flags)
{
	return flags & VRING_DESC_F_WRITE;
}

static bool scribbled;	/* since turns_fresh(): what descriptors say is not all the driver's */

/* Memory that the driver says is the device's, or the driver is wrong. */
static void *theirs(const struct turns_ring *r, uint64_t addr, uint32_t len)
{
	void *p = r->va(r->arg, addr, len ? len : 1);

	assert_true(p || scribbled);
	return p;
}

/* What the device leaves in a buffer that it may write to. */
static void leave(void *p, uint16_t flags, const uint8_t *answer)
{
	if (!p || !writable(flags))
		return;
	if (answer)
		*(uint8_t *)p = *answer;
	else
		honest_header(p, 1);
}

static bool use_split(const struct turns_ring *r, unsigned int len, const uint8_t *answer, bool wrong)
{
	struct vring_avail *avail = r->avail;
	struct vring_used *used = r->used;
	struct vring_desc *desc = r->desc;
	uint16_t mask = (uint16_t)(r->size - 1), at = used->idx, id = avail->ring[at & mask], d = id;
	unsigned int n = 0;

	if (avail->idx == at || id > mask)
		return false;
	for (;;) {
		leave(theirs(r, desc[d].addr, desc[d].len), desc[d].flags, answer);
		if (!(desc[d].flags & VRING_DESC_F_NEXT) || ++n >= r->size)
			break;
		d = desc[d].next & mask;
	}
	used->ring[at & mask].id = wrong ? id ^ 1u : id;
	used->ring[at & mask].len = writable(desc[d].flags) ? len : 0;
	__atomic_store_n(&used->idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
	return true;
}

static bool use_packed(const struct turns_ring *r, unsigned int len, const uint8_t *answer, bool wrong)
{
	const uint16_t a = 1u << VRING_PACKED_DESC_F_AVAIL, u = 1u << VRING_PACKED_DESC_F_USED;
	struct vring_packed_desc *desc = r->desc, *first = &desc[*r->at & (r->size - 1)], *d = first;
	const bool wrapped = *r->at & r->size;
	uint16_t flags = first->flags, id;
	unsigned int n = 1;

	if ((flags & (a | u)) != (wrapped ? u : a))
		return false;
	for (;;) {
		leave(theirs(r, d->addr, d->len), d->flags, answer);
		if (!(d->flags & VRING_DESC_F_NEXT) || n >= r->size)
			break;
		d = &desc[(*r->at + n++) & (r->size - 1)];
	}
	id = d->id;
	first->id = wrong ? id ^ 1u : id;
	first->len = writable(d->flags) ? len : 0;
	*r->at += n;
	__atomic_store_n(&first->flags, wrapped ? 0 : a | u, __ATOMIC_RELEASE);
	return true;
}

bool turns_use(const struct turns_ring *r, unsigned int len)
{
	return r->packed ? use_packed(r, len, NULL, false) : use_split(r, len, NULL, false);
}

bool turns_answer(const struct turns_ring *r, uint8_t answer, bool wrong)
{
	return r->packed ? use_packed(r, 1, &answer, wrong) : use_split(r, 1, &answer, wrong);
}

/* Not the addresses that the driver wrote: turns_use() looks whether they are right. */
void turns_scribble(const struct turns_ring *r, const uint8_t *s)
{
	size_t bytes = 6 + 8 * r->size;
	struct vring_packed_desc *d;

	scribbled = true;
	if (!r->packed) {
		((uint8_t *)r->used)[s[2] % bytes] = s[3];
		return;
	}
	d = (struct vring_packed_desc *)r->desc + s[2] % r->size;
	if (s[3] & 1)
		d->id = s[3];
	else
		d->flags ^= (uint16_t)(1u << s[3] % 16);
}

/* ------------------------------------------------------------ application --- */

static struct run app[TURNS_PAIRS];
static struct vnet *all;	/* of which the first pair is */

uint64_t turns_features(void)
{
	return CTRL | MERGE | CUTS | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) |
		BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT(VIRTIO_NET_F_MTU) |
		BIT(VIRTIO_NET_F_GUEST_CSUM);
}

void turns_opts(const uint8_t *s, struct vnet_opts *o)
{
	const uint64_t asked = (s[0] & 1 ? CTRL | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) : 0) |
		(s[0] & 2 ? MERGE : 0);

	*o = (struct vnet_opts){ .sz = sizeof(*o), .arena_bytes = 8192, .nr_bufs = BUFS, .queue_size = 64,
				 .features_on = asked, .nr_pairs = s[0] & 4 ? 1 + (s[0] >> 6) : 0 };
	if (s[0] & 8)
		o->features_off = BIT(VIRTIO_F_RING_PACKED);
}

void turns_begin(struct vnet *v)
{
	unsigned int i;

	all = v;
	for (i = 0; i < vnet_nr_pairs(v); i++) {
		struct vnet *p = vnet_pair(v, i);

		app[i] = (struct run){ .v = p, .irq_fd = vnet_irq_fd(p), .merge = vnet_features(p) >> VIRTIO_NET_F_MRG_RXBUF & 1 };
		app[i].arena = vnet_dma_alloc(p, 4096, 64);
		assert_non_null(app[i].arena);
	}
}

/* A stopped driver has a reason. */
static void look(struct vnet *v)
{
	const char *why;
	int err = vnet_error(v, &why);

	assert_true(!err || err == -EIO || err == -ESHUTDOWN);
	assert_true(!err || strlen(why) > 10);
}

static bool app_step(struct run *r, const uint8_t *s)
{
	uint64_t n = s[1];

	switch (s[0] & 15) {
	case 0:
		burst(r, s[1]);
		break;
	case 1:
		release(r, s[1]);
		vnet_rx_flush(r->v);
		break;
	case 2:
		transmit(r, s);
		break;
	case 3:
		vnet_tx_flush(r->v);
		vnet_tx_reap(r->v, t_done, r);
		break;
	case 4:
		if (vnet_irq_arm(r->v) && r->irq_fd >= 0 && s[1])
			interrupt(r, s[1]);
		vnet_irq_disarm(r->v);
		break;
	case 5:
		if (s[1] & 1 && vnet_config_fd(r->v) >= 0)
			n = (uint64_t)write(vnet_config_fd(r->v), &n, sizeof(n));
		vnet_config_changed(r->v);
		break;
	case 6:
		vnet_check(r->v);
		break;
	case 7:
		if (s[1] & 0x80)
			vnet_announce_ack(app[0].v);
		else if ((vnet_features(all) & CTRL) == CTRL)
			command(&app[0], s);
		break;
	case 8:
		if (s[1] < 32)
			vnet_stop(r->v);
		break;
	case 9:
		if (s[1] & 1)
			vnet_irq_unbind(r->v);
		else
			vnet_irq_bind(r->v, NULL, 0);
		if (s[1] & 2)
			vnet_config_unbind(all);
		else if (s[1] & 4)
			vnet_config_bind(all, NULL, 0);
		break;
	default:
		return false;
	}
	return true;
}

bool turns_step(const uint8_t *s)
{
	struct run *r = &app[(s[0] >> 4) % vnet_nr_pairs(all)];
	bool mine = app_step(r, s);

	look(r->v);
	return mine;
}

/* Those of all pairs come back in one call. */
static void any_done(void *cookie, void *arg)
{
	uint8_t *c = cookie;
	unsigned int i;

	for (i = 0; i < vnet_nr_pairs(all); i++)
		if (c >= app[i].cookie && c < app[i].cookie + COOKIES) {
			t_done(cookie, &app[i]);
			return;
		}
	fail_msg("a cookie of nobody");
}

int turns_restart(void)
{
	unsigned int i, id;
	int err;

	err = vnet_restart(all, any_done, NULL);
	for (i = 0; i < vnet_nr_pairs(all); i++) {
		assert_int_equal(app[i].back, app[i].queued);
		memset(app[i].cookie, 0, sizeof(app[i].cookie));
		app[i].queued = app[i].back = 0;
		look(app[i].v);
		for (id = 0; id < BUFS; id++)
			if (app[i].held[id])
				memset(vnet_rx_priv(app[i].v, (uint16_t)id), 0x33, VNET_PRIV_BYTES);
	}
	assert_true(!!err == !!vnet_error(all, NULL));
	return err;
}

void turns_end(void)
{
	unsigned int i;

	for (i = 0; i < vnet_nr_pairs(all); i++)
		vnet_stop(app[i].v);
	for (i = 0; i < vnet_nr_pairs(all); i++) {
		look(app[i].v);
		vnet_tx_reap(app[i].v, t_done, &app[i]);
		assert_int_equal(app[i].back, app[i].queued);
		release(&app[i], 0);
	}
	vnet_close(all);
}

uint64_t turns_fds(void)
{
	uint64_t open = 0;
	int fd;

	for (fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open |= BIT(fd);
	return open;
}

/* -------------------------------------------------------------------- log --- */

static bool said;

static void hear(int level, const char *message, void *arg)
{
	said |= level <= LOG_ERR;
	if (getenv("NOM_FUZZ_TALK"))
		fprintf(stderr, "%d %s\n", level, message);
}

void turns_fresh(void)
{
	said = scribbled = false;
}

bool turns_said_why(void)
{
	bool was = said;

	said = false;
	return was;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	nomux_set_log_fn(hear, NULL);
	return 0;
}
