// SPDX-License-Identifier: MIT
/*
 * vnet on a real virtio-net function: what it does on request.
 *
 * The control queue against a device that filters by what it is told, frames in
 * several buffers, a restart with all of that, and automatic mode on a leased
 * core: asleep when idle, woken by each frame, polling under load.
 *
 * With --link it waits for what tests/scripts/vnet_link has QEMU do instead: the
 * link goes down and comes back, and the device asks to be announced.
 */
#include <sys/ioctl.h>

#include "vnet_pair.h"

#define CONTROL	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_VLAN) | \
		 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))
#define ANY_MS	200	/* within which a frame comes, or will not */
#define MS	1000000ULL

static const uint8_t other_mac[6] = { 0x02, 0, 0, 0, 0x77, 1 }, group_mac[6] = { 0x03, 0, 0, 0, 0x77, 2 };
static const uint8_t new_mac[6] = { 0x02, 0, 0, 0, 0x77, 3 };

static bool has_arg(int argc, char **argv, const char *arg)
{
	while (argc-- > 1)
		if (!strcmp(argv[argc], arg))
			return true;
	return false;
}

/* Linux sends a frame to @to, of VLAN @vid if that is not negative. */
static bool sends_to(const uint8_t to[6], int vid, uint32_t seq)
{
	uint8_t f[FRAME + 4];

	make_frame(f, true, seq, FRAME);
	memcpy(f, to, 6);
	if (vid >= 0) {
		memmove(f + 16, f + 12, FRAME - 12);
		f[12] = 0x81;
		f[13] = 0;
		f[14] = (uint8_t)(vid >> 8);
		f[15] = (uint8_t)vid;
	}
	return send(packet, f, vid >= 0 ? FRAME + 4 : FRAME, 0) > 0;
}

/* Whether the frame that was sent last is received within ANY_MS; strangers are dropped. */
static bool arrives(struct vnet *v, uint32_t seq)
{
	uint64_t end = nomux_now_ns() + ANY_MS * MS;
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	unsigned int n, i;
	bool found = false;

	while (!found && nomux_now_ns() < end) {
		n = vnet_rx_burst(v, rx, VNET_RX_SEG_MAX);
		for (i = 0; i < n; i++) {
			const uint8_t *f = rx[i].data;
			unsigned int at = rx[i].len > 22 && f[12] == 0x81 ? 16 : 12;
			uint32_t got;

			memcpy(&got, f + at + 2, 4);
			found |= rx[i].len >= FRAME && !memcmp(f + at, "\x88\xb5", 2) && got == seq;
			vnet_rx_release(v, rx[i].id);
		}
		vnet_rx_flush(v);
	}
	return found;
}

static bool comes(struct vnet *v, const uint8_t to[6], int vid)
{
	static uint32_t seq = 70000;

	return sends_to(to, vid, ++seq) && arrives(v, seq);
}

static void test_control(struct vnet *v)
{
	const uint8_t (*other)[6] = &other_mac, (*group)[6] = &group_mac;

	t_is((long)(vnet_features(v) & CONTROL), (long)CONTROL, "the control queue is negotiated");
	t_is(vnet_set_rx_mode(v, 0), 0, "neither promiscuous nor all multicast");
	t_ok(comes(v, mac_vnet, -1), "frames to the own address come in");
	t_ok(!comes(v, other_mac, -1), "frames to another one do not");
	t_ok(!comes(v, group_mac, -1), "nor do those to a group");
	t_is(vnet_set_filter(v, other, 1, group, 1), 0, "both are put into the filter");
	t_ok(comes(v, other_mac, -1) && comes(v, group_mac, -1), "and come in");
	t_is(vnet_set_filter(v, NULL, 0, NULL, 0), 0, "the filter is emptied");
	t_ok(!comes(v, other_mac, -1), "and they stay out");
	t_is(vnet_set_rx_mode(v, VNET_RX_MODE_ALLMULTI), 0, "all multicast");
	t_ok(comes(v, group_mac, -1) && !comes(v, other_mac, -1), "lets groups in and nothing else");
	t_is(vnet_set_rx_mode(v, VNET_RX_MODE_PROMISC), 0, "promiscuous");
	t_ok(comes(v, other_mac, -1), "lets everything in");
	t_is(vnet_set_rx_mode(v, 0), 0, "and off again");
	t_ok(!comes(v, mac_vnet, 5), "a tagged frame stays out at first");
	t_is(vnet_vlan(v, 5, true), 0, "its VLAN is let in");
	t_ok(comes(v, mac_vnet, 5) && !comes(v, mac_vnet, 6), "and no other");
	t_is(vnet_set_mac(v, new_mac), 0, "another address");
	t_ok(comes(v, new_mac, -1) && !comes(v, mac_vnet, -1), "is the one that counts");
}

/* The device forgets everything, and is told again. */
static void test_restart(struct vnet *v)
{
	uint64_t f = vnet_features(v);
	unsigned int i;

	for (i = 0; i < 3; i++) {
		t_is(vnet_restart(v, NULL, NULL), 0, "a running device is restarted");
		t_is((long)vnet_features(v), (long)f, "with the same features");
		t_ok(comes(v, new_mac, -1) && comes(v, new_mac, 5) && !comes(v, mac_vnet, -1) &&
		     !comes(v, new_mac, 6), "address, VLAN and mode are as before");
	}
	t_is((long)vnet_stats(v)->restarts, 3, "three restarts are counted");
	t_is(vnet_set_mac(v, mac_vnet), 0, "the old address again");
	t_ok(comes(v, mac_vnet, -1), "receives");
}

static int set_mtu(const char *name, int mtu)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), err = 0;
	struct ifreq ifr = { .ifr_mtu = mtu };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", name);
	if (ioctl(s, SIOCSIFMTU, &ifr))
		err = -errno;
	close(s);
	return err;
}

static void test_merged(struct vnet *v)
{
	static uint8_t f[9014];
	const struct vnet_stats *s = vnet_stats(v);
	uint64_t merged = s->rx_merged, end;
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	unsigned int round, n, i, k;
	bool good = true;

	t_ok(vnet_features(v) & BIT(VIRTIO_NET_F_MRG_RXBUF), "MRG_RXBUF is negotiated");
	T_NEED(set_mtu(ifname, 9000));
	for (round = 0; round < 200 && good; round++) {
		size_t len = 1515 + round * 37 % 7500, at = 0;

		memcpy(f, mac_vnet, 6);
		memcpy(f + 6, mac_linux, 6);
		f[12] = ETHERTYPE >> 8;
		f[13] = ETHERTYPE & 0xff;
		for (i = 14; i < len; i++)
			f[i] = (uint8_t)(round + i + (i >> 8));
		good = send(packet, f, len, 0) == (ssize_t)len;
		end = nomux_now_ns() + PATIENCE_NS;
		while (good && !at && nomux_now_ns() < end) {
			n = vnet_rx_burst(v, rx, VNET_RX_SEG_MAX);
			for (i = 0; i < n; i = k + 1) {
				const uint8_t *h = rx[i].data;
				bool ours = h[12] == ETHERTYPE >> 8 && h[13] == (ETHERTYPE & 0xff);

				for (k = i;; k++) {
					if (ours && at + rx[k].len <= len)
						good &= !memcmp(rx[k].data, f + at, rx[k].len);
					at += ours ? rx[k].len : 0;
					vnet_rx_release(v, rx[k].id);
					if (!(rx[k].flags & VNET_RX_MORE))
						break;
				}
			}
			vnet_rx_flush(v);
		}
		good = good && at == len;
	}
	T_NEED(set_mtu(ifname, 1500));
	t_ok(good, "200 frames of 1,515 to 9,014 bytes come in whole");
	t_ok(s->rx_merged - merged > 150, "most of them in several buffers (%llu)",
	     (unsigned long long)(s->rx_merged - merged));
	t_is((long)s->rx_bad, 0, "no bad frame");
}

/* --------------------------------------------------------------- automatic --- */

struct sender {
	unsigned int nr, gap_us;
	volatile bool stop, done;
};

static void *send_frames(void *arg)
{
	struct sender *s = arg;
	uint32_t i;

	for (i = 0; i < s->nr && !s->stop; i++) {
		linux_sends(i, FRAME);
		if (s->gap_us)
			usleep(s->gap_us);
	}
	s->done = true;
	return NULL;
}

static uint64_t turns;

/* The loop of vnet.h, until @frames of ours were received or @ns are over. */
static unsigned int auto_loop(struct vnet *v, struct nomux_core *core, unsigned int frames, uint64_t ns)
{
	uint64_t end = nomux_now_ns() + ns;
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	unsigned int got = 0, n, i;

	while (got < frames && nomux_now_ns() < end) {
		turns++;
		n = vnet_rx_burst(v, rx, VNET_RX_SEG_MAX);
		for (i = 0; i < n; i++) {
			got += rx[i].len > 14 && !memcmp((uint8_t *)rx[i].data + 12, "\x88\xb5", 2);
			vnet_rx_release(v, rx[i].id);
		}
		vnet_rx_flush(v);
		if (!vnet_auto(v, nomux_now_ns(), false))
			continue;
		nomux_mask(core);
		if (vnet_irq_arm(v))
			nomux_wait(core, 100 * MS);
		vnet_irq_disarm(v);
		nomux_unmask(core);
		vnet_auto_woke(v, nomux_now_ns());
	}
	return got;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static void test_auto(struct vnet *v, struct nomux_core *core)
{
	const struct vnet_stats *s = vnet_stats(v);
	uint64_t t0, cpu, asleep, sleeps, refused, irqs, span;
	struct sender snd = { .nr = 300, .gap_us = 5000 };
	unsigned int got, i;
	pthread_t thread;
	int event = nomux_event_alloc(core);

	T_NEED(event);
	T_NEED(vnet_irq_bind(v, core, (unsigned int)event));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	auto_loop(v, core, UINT32_MAX, 500 * MS);	/* it learns that nothing comes */

	t0 = nomux_now_ns();
	cpu = cpu_ns();
	asleep = s->auto_asleep_ns;
	sleeps = s->auto_sleeps;
	irqs = s->interrupts;
	turns = 0;
	auto_loop(v, core, UINT32_MAX, 3000 * MS);
	span = nomux_now_ns() - t0;
	cpu = cpu_ns() - cpu;
	asleep = s->auto_asleep_ns - asleep;
	sleeps = s->auto_sleeps - sleeps;
	printf("# idle for %llu ms: awake %.2f %%, CPU time %.2f %%, %llu sleeps, %llu turns, %llu interrupts\n",
	       (unsigned long long)(span / MS), 100.0 * (double)(span - asleep) / (double)span,
	       100.0 * (double)cpu / (double)span, (unsigned long long)sleeps,
	       (unsigned long long)turns, (unsigned long long)(s->interrupts - irqs));
	/* Counts; shares of time are the host's as well where the guest is emulated. */
	t_ok(sleeps >= 10 && sleeps <= 40, "idle, it wakes up ten times a second for its timer (%llu in 3 s)",
	     (unsigned long long)sleeps);
	t_ok(turns <= 3 * sleeps, "and goes back to sleep at once (%llu turns)", (unsigned long long)turns);
	t_ok(asleep > span / 2, "so it sleeps most of the time");

	sleeps = s->auto_sleeps;
	irqs = s->interrupts;
	asleep = s->auto_asleep_ns;
	t0 = nomux_now_ns();
	pthread_create(&thread, NULL, send_frames, &snd);
	got = auto_loop(v, core, snd.nr, 60000 * MS);
	snd.stop = true;
	pthread_join(thread, NULL);
	span = nomux_now_ns() - t0;
	printf("# %u frames, one in 5 ms: awake %.2f %%, %llu sleeps, %llu interrupts, spin %llu ns\n", got,
	       100.0 * (double)(span - (s->auto_asleep_ns - asleep)) / (double)span,
	       (unsigned long long)(s->auto_sleeps - sleeps),
	       (unsigned long long)(s->interrupts - irqs), (unsigned long long)s->auto_spin_ns);
	t_is(got, snd.nr, "each of 300 rare frames wakes it");
	t_ok(s->auto_sleeps - sleeps >= 100 && s->interrupts - irqs >= 100, "by an interrupt, mostly");

	/* Under load: frames as fast as Linux sends them. */
	snd = (struct sender){ .nr = 20000 };
	refused = s->auto_refused;
	sleeps = s->auto_sleeps;
	irqs = s->interrupts;
	T_NEED(vnet_auto_set(v, 0, 20 * MS));	/* a sleep costs more here than on hardware */
	pthread_create(&thread, NULL, send_frames, &snd);
	for (i = got = 0; !snd.done; i++) {	/* until it has sent: it waits for room */
		snd.stop = i > 300;
		got += auto_loop(v, core, UINT32_MAX, 100 * MS);
	}
	pthread_join(thread, NULL);
	printf("# %u of %u frames without a pause: %llu sleeps (%llu refused), %llu interrupts\n", got, snd.nr,
	       (unsigned long long)(s->auto_sleeps - sleeps), (unsigned long long)(s->auto_refused - refused),
	       (unsigned long long)(s->interrupts - irqs));
	t_ok(got > 100, "frames without a pause are received");
	t_ok((s->interrupts - irqs) * 20 <= got, "with less than an interrupt for 20 of them");
	vnet_irq_unbind(v);
	T_NEED(nomux_core_release(core));
}

/* The second vector is there, and quiet when nothing changes. */
static void test_config(struct vnet *v)
{
	t_ok(vnet_config_fd(v) >= 0, "there is an interrupt for changes of the configuration");
	t_ok(!vnet_config_changed(v), "and none came");
	t_is((long)vnet_stats(v)->config_interrupts, 0, "none at all");
}

/* ---------------------------------------------------- changes from outside --- */

/* What happened, in order: 'd'own, 'u'p, 'a'nnounce. */
struct heard {
	struct vnet *v;
	char what[64];
	size_t nr;
};

static void hear(unsigned int what, void *arg)
{
	struct heard *h = arg;

	if ((what & VNET_EVENT_LINK) && h->nr < sizeof(h->what) - 2)
		h->what[h->nr++] = vnet_link_up(h->v) ? 'u' : 'd';
	if (what & VNET_EVENT_ANNOUNCE)
		h->what[h->nr++] = 'a';
}

/* Asleep on a leased core until the device's second vector wakes it. */
static void test_link(struct vnet *v, struct nomux_core *core)
{
	const struct vnet_stats *s = vnet_stats(v);
	struct heard h = { .v = v };
	unsigned int looks = 0, wakes = 0;
	uint64_t end;
	int event = nomux_event_alloc(core);

	t_ok(vnet_features(v) & BIT(VIRTIO_NET_F_GUEST_ANNOUNCE), "GUEST_ANNOUNCE is negotiated");
	T_NEED(event);
	t_is(vnet_config_bind(v, core, (unsigned int)event), 0, "the second vector becomes an upcall");
	vnet_on_event(v, hear, &h);
	T_NEED(nomux_core_enter(core));
	printf("# ready\n");
	end = nomux_now_ns() + 60000 * MS;
	while (!strchr(h.what, 'a') && nomux_now_ns() < end) {
		nomux_mask(core);
		if (vnet_config_changed(v)) {
			looks++;
		} else {
			nomux_wait(core, 60000 * MS);
			wakes++;
		}
		nomux_unmask(core);
	}
	t_ok(!strcmp(h.what, "dua"), "it hears of the link's end, its return and the request, once each (\"%s\")",
	     h.what);
	t_ok(s->config_interrupts >= 3 && looks <= 3 && wakes <= 4,
	     "by %llu interrupts, %u wake-ups and %u looks at the registers",
	     (unsigned long long)s->config_interrupts, wakes, looks);
	t_is(vnet_announce_ack(v), 0, "the request is acknowledged");
	h.nr = 0;
	memset(h.what, 0, sizeof(h.what));
	t_is(vnet_check(v), 0, "the device is well");
	t_ok(!h.nr, "and asks no more");
	t_ok(vnet_link_up(v) && comes(v, mac_vnet, -1), "frames come in again");
	vnet_config_unbind(v);
	T_NEED(nomux_core_release(core));
}

int main(int argc, char **argv)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_on = CONTROL | BIT(VIRTIO_NET_F_MRG_RXBUF) };
	bool link = has_arg(argc, argv, "--link");
	struct nomux_core *core = NULL;
	struct vnet *v = NULL;

	mmio = has_arg(argc, argv, "--mmio");
	pair_up(170);
	T_NEED(nomux_core_claim(nom, NULL, &core));
	if (link)
		o.features_on |= BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
	T_NEED(mmio ? vnet_open_mmio(nom, bdf[1], &o, &v) : vnet_open_vfio(nom, bdf[1], &o, &v));
	memcpy(mac_vnet, vnet_mac(v), 6);	/* Linux has no driver for each */
	if (link) {
		test_link(v, core);
		vnet_close(v);
		return t_end();
	}
	t_is(!!(vnet_features(v) & BIT(VIRTIO_F_RING_PACKED)), has_arg(argc, argv, "--packed"),
	     "packed rings where they are offered");
	test_control(v);
	test_restart(v);
	test_merged(v);
	test_config(v);
	test_auto(v, core);
	t_is(vnet_check(v), 0, "the device is well");
	vnet_close(v);
	close(packet);
	set_up(ifname, false);
	nomux_close(nom);
	return t_end();
}
