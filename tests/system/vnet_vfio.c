// SPDX-License-Identifier: MIT
/*
 * vnet on a real virtio-net device inside the guest: on a PCI function, through
 * VFIO, or with --mmio on one without PCI, through nom.ko.
 *
 * Two devices share a hub: the driver has the second, Linux the first, where a
 * packet socket sends and receives frames of an experimental Ethernet type.
 * Nothing else talks there.
 *
 * What only a real device can show: addresses of the memory grant are right
 * (also across a break), the MSI-X vector arrives as an upcall and none is
 * lost, doorbells are as few as promised, and the function comes back.
 */
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <sys/mman.h>
#include <nomux/board.h>

#include "vnet_pair.h"

static int open_device(struct nomux_ctx *ctx, struct vnet **v)
{
	return mmio ? vnet_open_mmio(ctx, bdf[1], NULL, v) : vnet_open_vfio(ctx, bdf[1], NULL, v);
}

static uint64_t quarantined(void)
{
	static char board[64 << 10];
	const struct nom_board_memory *m;

	T_NEED(nomux_board_snapshot(nom, board, sizeof(board)));
	m = nomux_board_record((void *)board, sizeof(board), NOM_BOARD_MEMORY, 0, sizeof(*m));
	return m ? m->quarantined_bytes : UINT64_MAX;
}

/* Whether nothing is in quarantine, now or within two seconds. */
static bool leaves_quarantine(void)
{
	int i;

	for (i = 0; i < 100 && quarantined(); i++)
		usleep(20000);
	return !quarantined();
}

/* ------------------------------------------------------------------- tests --- */

/* A device without PCI, by its registers: what it was told of waits while it runs. */
static void test_quarantine(void)
{
	struct nomux_mmio *dev = NULL;
	volatile uint32_t *status;
	size_t bytes, nr;
	uint64_t *phys;
	void *regs, *mem;

	T_NEED(nomux_mmio_open(nom, bdf[1], &dev));
	nomux_mmio_regs(dev, &regs, &bytes);
	t_is((long)bytes, 512, "its registers are as long as ACPI says");
	status = (void *)((char *)regs + VIRTIO_MMIO_STATUS);
	T_NEED(nomux_mmio_dma_alloc(dev, 4 << 20, &mem, &phys, &nr));
	t_ok(nr == 2 && phys[0] && phys[1] && !(phys[0] & ((2 << 20) - 1)), "4 MiB: two addresses");
	nomux_mmio_dma_free(dev, mem);
	t_ok(leaves_quarantine(), "memory of a device that does not run is free at once");
	*status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
		  VIRTIO_CONFIG_S_DRIVER_OK;
	T_NEED(nomux_mmio_dma_alloc(dev, 4 << 20, &mem, &phys, &nr));
	nomux_mmio_dma_free(dev, mem);
	usleep(200000);		/* ten looks of the quarantine */
	t_is((long)quarantined(), 4 << 20, "that of one that runs is in quarantine");
	*status = 0;
	t_ok(leaves_quarantine(), "reset, it lets go");
	*status = VIRTIO_CONFIG_S_DRIVER_OK;
	T_NEED(nomux_mmio_dma_alloc(dev, 2 << 20, &mem, &phys, &nr));
	nomux_mmio_close(dev);
	t_ok(leaves_quarantine(), "closed, too");
}

/* As its last user left it, or the kernel. */
static long status_of_mmio(void)
{
	struct nomux_mmio *dev;
	uint32_t status;
	size_t bytes;
	void *regs;

	T_NEED(nomux_mmio_open(nom, bdf[1], &dev));
	nomux_mmio_regs(dev, &regs, &bytes);
	status = *(volatile uint32_t *)(void *)((char *)regs + VIRTIO_MMIO_STATUS);
	nomux_mmio_close(dev);
	return status;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		t_ok(false, "%s > %s: %s", text, path, strerror(errno));
	close(fd);
}

/* By hand, as an administrator would. */
static void bind_to_nom_mmio(void)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/platform/devices/%s/driver_override", bdf[1]);
	put(path, "nom-mmio");
	snprintf(path, sizeof(path), "/sys/bus/platform/devices/%s/driver/unbind", bdf[1]);
	if (driver[0])
		put(path, bdf[1]);
	put("/sys/bus/platform/drivers_probe", bdf[1]);
}

/* Unbinding waits until nobody has it; then it is bound again. */
static void unbind_waits(int fd)
{
	char now[64];
	int status = 0;
	pid_t pid;

	pid = fork();
	if (!pid) {
		close(fd);
		put("/sys/bus/platform/drivers/nom-mmio/unbind", bdf[1]);
		_exit(0);
	}
	usleep(300000);
	t_is(waitpid(pid, &status, WNOHANG), 0, "an unbind waits for who has it");
	close(fd);
	t_ok(waitpid(pid, &status, 0) == pid && !status, "closed, it ends");
	driver_of(bdf[1], now, sizeof(now));
	t_ok(!now[0], "and no driver has it");
	put("/sys/bus/platform/drivers_probe", bdf[1]);
}

/* What NOM_MMIO_OPEN and NOM_MMIO_IRQ refuse. */
static void test_refusals(void)
{
	struct nom_mmio_open o = { .size = sizeof(o) };
	struct nom_mmio_irq i = { .size = sizeof(i), .rx_fd = -1, .config_fd = -1 };
	int dev_nom = open("/dev/nom", O_RDWR | O_CLOEXEC), other = open("/dev/null", O_RDWR);
	char junk[sizeof(i) + 8] = { 0 };
	struct nomux_mmio *dev;
	void *p;

	T_NEED(nomux_mmio_open(nom, bdf[1], &dev));	/* bound to nom-mmio, and in use */
	snprintf(o.name, sizeof(o.name), "%s", bdf[1]);
	t_is(ioctl(dev_nom, NOM_MMIO_OPEN, &o) ? -errno : 0, -EBUSY, "in use: EBUSY");
	t_is(nomux_mmio_restore(nom, bdf[1]), -EBUSY, "nor is it given back");
	T_NEED(nomux_mmio_irq(dev, -1, -1));
	t_is(nomux_mmio_irq(dev, other, -1), -EINVAL, "no eventfd: EINVAL");
	t_is(nomux_mmio_irq(dev, -1, 999), -EBADF, "no descriptor: EBADF");
	t_is(nomux_mmio_irq(dev, -2, -1), -EINVAL, "minus two: EINVAL");
	nomux_mmio_close(dev);
	t_is(ioctl(dev_nom, NOM_MMIO_OPEN, &o) ? -errno : 0, -ENODEV, "closed, it is where it was before");
	bind_to_nom_mmio();
	t_is(ioctl(dev_nom, NOM_MMIO_OPEN, &o) ? -errno : 0, 0, "bound by hand, it opens");
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, o.out_fd, 0);
	t_ok(p == MAP_FAILED && errno == EINVAL, "a private mapping: EINVAL");
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, o.out_fd, 4096);
	t_ok(p == MAP_FAILED && errno == EINVAL, "from the second page: EINVAL");
	p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, o.out_fd, 0);
	t_ok(p == MAP_FAILED && errno == EINVAL, "two pages: EINVAL");
	p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, o.out_fd, 0);
	t_ok(p == MAP_FAILED && errno == EINVAL, "to be executed: EINVAL");
	i.flags = 1;
	t_is(ioctl(o.out_fd, NOM_MMIO_IRQ, &i) ? -errno : 0, -EOPNOTSUPP, "unknown flag: EOPNOTSUPP");
	i.flags = 0;
	i.size = sizeof(i) - 1;
	t_is(ioctl(o.out_fd, NOM_MMIO_IRQ, &i) ? -errno : 0, -EINVAL, "a byte short: EINVAL");
	i.size = sizeof(junk);
	memcpy(junk, &i, sizeof(i));
	t_is(ioctl(o.out_fd, NOM_MMIO_IRQ, junk) ? -errno : 0, 0, "a tail of zeros: good");
	junk[sizeof(junk) - 1] = 1;
	t_is(ioctl(o.out_fd, NOM_MMIO_IRQ, junk) ? -errno : 0, -E2BIG, "with a bit set: E2BIG");
	t_is(ioctl(o.out_fd, NOM_MEM_INFO, junk) ? -errno : 0, -ENOTTY, "another command: ENOTTY");
	unbind_waits(o.out_fd);
	t_is(nomux_mmio_restore(nom, bdf[1]), 0, "it is given back");
	close(dev_nom);
	close(other);
}

static void test_open(struct vnet *v, bool iommu, bool packed)
{
	struct vnet *second = NULL;
	uint64_t f = vnet_features(v);

	if (driver[0])
		t_ok(!memcmp(vnet_mac(v), mac_vnet, 6), "the address is the one Linux had");
	memcpy(mac_vnet, vnet_mac(v), 6);
	t_ok((f & BIT(VIRTIO_F_VERSION_1)) && (f & BIT(VIRTIO_RING_F_EVENT_IDX)),
	     "VERSION_1 and EVENT_IDX are negotiated");
	t_ok(!(f & (BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_MRG_RXBUF))),
	     "no receive offload that buffers could not hold");
	t_is(!!(f & BIT(VIRTIO_F_ACCESS_PLATFORM)), iommu, iommu ?
	     "ACCESS_PLATFORM is negotiated" : "ACCESS_PLATFORM is not offered");
	t_is(!!(f & BIT(VIRTIO_F_RING_PACKED)), packed, packed ?
	     "RING_PACKED is negotiated" : "RING_PACKED is not offered");
	t_ok(vnet_link_up(v), "the link is up");
	t_is(vnet_check(v), 0, "the device is well");
	t_is(open_device(nom, &second), -EBUSY, "a second opener is told busy");
}

static void test_transmit(struct vnet *v)
{
	const struct vnet_stats *s = vnet_stats(v);
	uint64_t bells = s->doorbells_tx;
	unsigned int size = vnet_tx_room(v), batch, i;
	bool good = true;

	for (batch = 0; batch < 10; batch++) {
		for (i = 0; i < 10; i++)
			good &= vnet_sends(v, batch * 10 + i, 14 + 50 + batch * 150);
		vnet_tx_flush(v);
		for (i = 0; i < 10; i++)
			good &= linux_gets(batch * 10 + i, 14 + 50 + batch * 150);
		good &= drain_tx(v, size, NULL, NULL);
	}
	t_ok(good, "100 frames in 10 batches arrive in order and whole");
	t_ok(s->doorbells_tx - bells <= 10, "at most one doorbell a batch (%llu)",
	     (unsigned long long)(s->doorbells_tx - bells));
}

static void done_count(void *cookie, void *arg)
{
	(*(unsigned int *)cookie)++;
}

static void test_transmit_zero_copy(struct vnet *v)
{
	unsigned int cookie = 0, size = vnet_tx_room(v), i;
	uint8_t *mem = vnet_dma_alloc(v, 6 << 20, 64), *brk;
	uint8_t f[1600];
	struct vnet_seg seg[3] = { { f, 54 } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 3, .cookie = &cookie };
	bool good = mem != NULL;

	if (!t_ok(good, "6 MiB of DMA memory"))
		return;
	/* The second segment ends, and the third lies across, a border of 2 MiB. */
	brk = (uint8_t *)(((uintptr_t)mem + (2 << 20)) & ~((uintptr_t)(2 << 20) - 1));
	for (i = 0; i < 40; i++) {
		uint8_t *a = brk + (i & 1) * (2 << 20);

		make_frame(f, false, 1000 + i, 1400);
		memcpy(a - 900, f + 54, 600);
		memcpy(a - 300, f + 654, 746);
		seg[1] = (struct vnet_seg){ a - 900, 600 };
		seg[2] = (struct vnet_seg){ a - 300, 746 };
		good &= vnet_tx(v, &tx) == 0;
		vnet_tx_flush(v);
		good &= linux_gets(1000 + i, 1400);
		good &= drain_tx(v, size, done_count, NULL);
	}
	t_ok(good, "40 frames straight from DMA memory, across 2 MiB borders");
	t_is(cookie, 40, "each cookie came back once");
}

/* A frame in nine parts, three bytes to 500: one descriptor of the ring where there are tables. */
static void test_transmit_table(struct vnet *v)
{
	const bool tables = vnet_features(v) >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	unsigned int cookie = 0, size = vnet_tx_room(v), i, k, at;
	uint8_t *mem = vnet_dma_alloc(v, 16384, 64);
	uint8_t f[1600];
	struct vnet_seg seg[9] = { { f, 54 } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 9, .cookie = &cookie };
	bool good = mem != NULL, one = true;

	for (i = 0; i < 300 && good; i++) {	/* the ring's end among them */
		static const unsigned int lens[9] = { 54, 3, 500, 100, 41, 200, 400, 1, 101 };

		make_frame(f, false, 2000 + i, 1400);
		for (k = 1, at = 54; k < 9; at += lens[k++]) {
			seg[k] = (struct vnet_seg){ mem + (9 - k) * 512, lens[k] };
			memcpy(mem + (9 - k) * 512, f + at, lens[k]);
		}
		good &= at == 1400 && vnet_tx(v, &tx) == 0;
		one &= vnet_tx_room(v) == size - (tables ? 1 : 9);
		vnet_tx_flush(v);
		good &= linux_gets(2000 + i, 1400);
		good &= drain_tx(v, size, done_count, NULL);
	}
	t_ok(good, "300 frames in nine parts arrive whole");
	t_ok(tables && one, "each took one descriptor of the ring");
	t_is(cookie, 300, "each cookie came back once");
}

static void test_receive(struct vnet *v)
{
	const struct vnet_stats *s = vnet_stats(v);
	uint64_t bells = s->doorbells_rx, irqs = 0;
	bool good = true;
	unsigned int i;

	for (i = 0; i < 1000 && good; i++)
		good = linux_sends(i, 60 + i) && vnet_gets(v, i, 60 + i);
	t_ok(good, "1000 frames of 60 to 1059 bytes are received whole");
	printf("# doorbells for receive buffers: %llu, suppressed so far %llu\n",
	       (unsigned long long)(s->doorbells_rx - bells),
	       (unsigned long long)s->doorbells_suppressed);
	/*
	 * QEMU notifies once after each reset whatever it is told (its signalled_used is void),
	 * for each queue; without PCI all have the same interrupt.
	 */
	if (read(vnet_irq_fd(v), &irqs, sizeof(irqs)) < 0)
		irqs = 0;
	t_ok(irqs <= (mmio ? 2 : 1), "no interrupt while polling (%llu, QEMU's first)", (unsigned long long)irqs);
	t_is((long)s->rx_bad, 0, "no bad frame");
}

/* More than 65536 entries through the transmit ring. */
static void test_wrap(struct vnet *v)
{
	unsigned int size, n = 0;
	bool good = true;

	size = vnet_tx_room(v);
	while (n < 66000 && good) {
		unsigned int i, batch = vnet_tx_room(v);

		for (i = 0; i < batch && good; i++, n++)
			good = vnet_sends(v, n, 60);
		vnet_tx_flush(v);
		good = good && drain_tx(v, size, NULL, NULL);
	}
	t_ok(good && !vnet_error(v, NULL), "66,000 frames: the index wraps");
	while (recv(packet, &n, sizeof(n), MSG_DONTWAIT | MSG_TRUNC) > 0)
		;
}

static void test_flood(struct vnet *v)
{
	static struct vnet_rx rx[2048];	/* QEMU's queues have 256 entries, or 1024 without PCI */
	unsigned int held = 0, i;
	bool good = true;

	uint64_t end = nomux_now_ns() + PATIENCE_NS;

	/* Nobody gives a buffer back: the device must run out, and nothing else happen. */
	for (i = 0; held < 2 * vnet_rx_size(v) && nomux_now_ns() < end; i++) {
		linux_sends_now(5000 + i, 60);
		held += vnet_rx_burst(v, rx + held, 2048 - held);
		vnet_rx_flush(v);
	}
	t_is(held, 2 * vnet_rx_size(v), "every buffer ended up held");
	t_is(vnet_rx_room(v), 0, "the device has none left");
	for (i = 0; i < held; i++)
		vnet_rx_release(v, rx[i].id);
	vnet_rx_flush(v);
	settle(v);	/* what the hub held back */
	t_is(vnet_rx_room(v), vnet_rx_size(v), "released, the ring is full again");
	for (i = 0; i < 50 && good; i++)
		good = linux_sends(i, 200) && vnet_gets(v, i, 200);
	t_ok(good && !vnet_error(v, NULL), "and frames flow again");
}

static void test_eventfd(struct vnet *v)
{
	struct pollfd pfd = { .fd = vnet_irq_fd(v), .events = POLLIN };
	uint64_t before = vnet_stats(v)->interrupts;
	bool armed;

	armed = vnet_irq_arm(v);
	t_ok(armed && poll(&pfd, 1, 50) == 0, "armed and quiet");
	linux_sends(1, 100);
	t_is(poll(&pfd, 1, 5000), 1, "a frame signals the eventfd");
	vnet_irq_disarm(v);
	t_is((long)(vnet_stats(v)->interrupts - before), 1, "one interrupt is counted");
	t_ok(vnet_gets(v, 1, 100), "the frame is there");
	linux_sends(2, 100);
	t_ok(vnet_gets(v, 2, 100) && poll(&pfd, 1, 50) == 0, "disarmed, the next one signals nothing");
	/* A frame that came before arming must not be slept over. */
	linux_sends(3, 100);
	usleep(50000);
	t_ok(!vnet_irq_arm(v), "arming sees a frame that is there already");
	t_ok(vnet_gets(v, 3, 100), "and it is received");
}

/* Lock-step: a frame is sent only after the last one was received. */
struct lockstep {
	uint32_t nr;
	volatile uint32_t got;
	volatile bool stop;
};

static void *lockstep_sender(void *arg)
{
	struct lockstep *l = arg;
	uint64_t seed = 88172645463325252ULL;
	uint32_t i;

	for (i = 0; i < l->nr && !l->stop; i++) {
		volatile unsigned int n;

		while (l->got != i && !l->stop)
			sched_yield();
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		n = (unsigned int)(seed % 20000);
		while (n--)
			;
		linux_sends(i, FRAME);
	}
	return NULL;
}

static void test_upcall(struct vnet *v, struct nomux_core *core)
{
	struct lockstep l = { .nr = 2000 };
	uint64_t before = vnet_stats(v)->interrupts, slept = 0, irqs;
	pthread_t sender;
	struct vnet_rx rx;
	bool good = true;
	int event = nomux_event_alloc(core);

	T_NEED(event);
	t_is(vnet_irq_bind(v, core, (unsigned int)event), 0, "the vector becomes an upcall");
	pthread_create(&sender, NULL, lockstep_sender, &l);
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	while (l.got < l.nr && good) {
		if (vnet_rx_burst(v, &rx, 1)) {
			bool ours = rx.len > 14 && !memcmp((uint8_t *)rx.data + 12, "\x88\xb5", 2);

			if (ours) {
				good = frame_is(rx.data, rx.len, true, l.got, FRAME);
				l.got++;
			}
			vnet_rx_release(v, rx.id);
			vnet_rx_flush(v);
			continue;
		}
		nomux_mask(core);
		if (vnet_irq_arm(v)) {
			uint64_t t0 = nomux_now_ns();

			nomux_wait(core, PATIENCE_NS);
			slept++;
			if (nomux_now_ns() - t0 > PATIENCE_NS / 2)
				good = false;	/* a lost wake-up */
		}
		vnet_irq_disarm(v);
		nomux_unmask(core);
	}
	l.stop = true;
	pthread_join(sender, NULL);
	irqs = vnet_stats(v)->interrupts - before;
	t_ok(good && l.got == l.nr, "2000 frames wake a sleeping core, none is slept over");
	t_ok(irqs > 0 && irqs <= slept + 1, "%llu sleeps, %llu interrupts", (unsigned long long)slept,
	     (unsigned long long)irqs);

	/* Busy on the leased core: nothing interrupts. */
	before = vnet_stats(v)->interrupts;
	l = (struct lockstep){ .nr = 2000 };
	pthread_create(&sender, NULL, lockstep_sender, &l);
	good = true;
	while (l.got < l.nr && good) {
		good = vnet_gets(v, l.got, FRAME);
		l.got++;
	}
	l.stop = true;
	pthread_join(sender, NULL);
	t_ok(good, "2000 frames are received by polling on the leased core");
	t_is((long)(vnet_stats(v)->interrupts - before), 0, "without an interrupt");
	vnet_irq_unbind(v);
	T_NEED(nomux_core_release(core));
}

/* A child that is killed while the device runs; then the function is free again. */
static void test_killed_holder(void)
{
	struct vnet *v = NULL;
	int ready[2], status, err = -EBUSY, i;
	pid_t pid;
	char c;

	T_NEED(pipe(ready));
	pid = fork();
	if (!pid) {
		struct nomux_ctx *own;
		struct vnet_rx rx;

		alarm(60);
		if (nomux_open(&own) || open_device(own, &v))
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;) {
			if (vnet_rx_burst(v, &rx, 1)) {
				vnet_rx_release(v, rx.id);
				vnet_rx_flush(v);
			}
		}
	}
	close(ready[1]);
	t_is(read(ready[0], &c, 1), 1, "a child drives the device");
	close(ready[0]);
	for (i = 0; i < 300; i++)	/* some in flight when it dies */
		linux_sends_now((uint32_t)i, 200);
	kill(pid, SIGKILL);
	for (; i < 400; i++)
		linux_sends_now((uint32_t)i, 200);
	waitpid(pid, &status, 0);
	t_ok(leaves_quarantine(), "killed, it leaves nothing in quarantine");
	if (mmio)
		t_is(status_of_mmio(), 0, "for the kernel has reset the device");
	for (i = 0; i < 100 && err == -EBUSY; i++) {
		err = open_device(nom, &v);
		if (err == -EBUSY)
			usleep(20000);
	}
	if (!t_is(err, 0, "after kill -9 the function can be opened again"))
		return;
	settle(v);
	t_ok(linux_sends(7, 90) && vnet_gets(v, 7, 90), "and works");
	vnet_close(v);
	/* It was with vfio-pci or nom-mmio when opened, so that is where it went back to. */
	t_is(mmio ? nomux_mmio_restore(nom, bdf[1]) : nomux_vfio_restore(bdf[1]), 0,
	     "its usual driver is asked to take it");
}

static void test_given_back(void)
{
	char now[64] = "", name[64];
	uint8_t mac[6];
	int i;

	for (i = 0; i < 100; i++) {
		driver_of(bdf[1], now, sizeof(now));
		if (!strcmp(now, driver) && (!driver[0] || find_interface(bdf[1], name, sizeof(name), mac)))
			break;
		usleep(20000);
	}
	t_ok(!strcmp(now, driver), "closed, the device is back with %s (%s)", driver[0] ? driver : "nobody", now);
	if (driver[0])
		t_ok(i < 100 && !memcmp(mac, mac_vnet, 6), "and Linux has its interface again");
}

static bool has_arg(int argc, char **argv, const char *arg)
{
	while (argc-- > 1)
		if (!strcmp(argv[argc], arg))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	bool iommu = has_arg(argc, argv, "--iommu"), packed = has_arg(argc, argv, "--packed");
	struct nomux_core *core = NULL;
	struct vnet *v = NULL;
	int i;

	mmio = has_arg(argc, argv, "--mmio");
	pair_up(150);
	T_NEED(nomux_core_claim(nom, NULL, &core));

	if (mmio) {
		test_quarantine();
		test_refusals();
	}
	T_NEED(open_device(nom, &v));
	test_open(v, iommu, packed);
	test_transmit(v);
	test_transmit_zero_copy(v);
	test_transmit_table(v);
	test_receive(v);
	test_wrap(v);
	test_flood(v);
	test_eventfd(v);
	test_upcall(v, core);
	vnet_close(v);
	test_given_back();
	for (i = 0; i < 3; i++) {
		bool good;

		T_NEED(open_device(nom, &v));
		good = linux_sends(i, 77) && vnet_gets(v, i, 77);
		vnet_close(v);
		t_ok(good, "opened again, it receives (%d)", i);
	}
	test_killed_holder();
	test_given_back();
	close(packet);
	set_up(ifname, false);
	nomux_close(nom);
	return t_end();
}
