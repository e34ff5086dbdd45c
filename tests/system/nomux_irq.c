// SPDX-License-Identifier: MIT
/*
 * nomux_irq - interrupts and the lease they belong to: where they go, that they
 * can be masked, what they count, and how much of a core a device gets that fires
 * without end.
 *
 * Needs two of QEMU's devices that fire when a register is written: rocker, whose
 * MSI-X can be masked, and edu, whose MSI cannot.  tests/scripts/nomux_irq boots
 * such a guest; its clock counts instructions, so that a share of time is a share
 * of instructions.
 */
#include <fcntl.h>
#include <glob.h>
#include <linux/nom.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/upcall.h>
#include <nomux/vfio.h>

#include "nomux_tap.h"

#define EV_DEVICE	9

/* by QEMU's docs/specs/rocker */
#define ROCKER_TEST_IRQ	0x20	/* takes a vector */
/* edu, by QEMU's docs/specs/edu */
#define EDU_RAISE	0x60
#define EDU_ACK		0x64

struct device {
	const char *name;
	struct nomux_vfio *vfio;
	volatile uint32_t *bar;
	int fd;
	void (*fire)(struct device *d);
};

static struct nomux_ctx *nom;
static struct nomux_core *core;
static int cpu;

static void rocker_fire(struct device *d)
{
	d->bar[ROCKER_TEST_IRQ / 4] = 0;
}

static void edu_fire(struct device *d)
{
	d->bar[EDU_ACK / 4] = 1;
	d->bar[EDU_RAISE / 4] = 1;
}

static struct device rocker = { .name = "rocker", .fire = rocker_fire };
static struct device edu = { .name = "edu", .fire = edu_fire };

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int set_param(const char *name, const char *value)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/module/nom/parameters/%s", name);
	return write_text(path, value);
}

static bool find(const char *id, char *bdf)
{
	char path[96], modalias[64] = "";
	glob_t g;
	size_t i;
	int fd;

	bdf[0] = '\0';
	if (glob("/sys/bus/pci/devices/*", 0, NULL, &g))
		return false;
	for (i = 0; i < g.gl_pathc && !bdf[0]; i++) {
		snprintf(path, sizeof(path), "%s/modalias", g.gl_pathv[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (read(fd, modalias, sizeof(modalias) - 1) > 0 && !strncmp(modalias, id, strlen(id)))
			snprintf(bdf, 16, "%.15s", strrchr(g.gl_pathv[i], '/') + 1);
		close(fd);
	}
	globfree(&g);
	return bdf[0] != '\0';
}

static void device_open(struct device *d, const char *id)
{
	char bdf[16];
	size_t bytes;
	void *va;

	if (!find(id, bdf)) {
		printf("1..0 # SKIP no %s: see tests/scripts/nomux_irq\n", d->name);
		exit(T_SKIP);
	}
	T_NEED(nomux_vfio_open(nom, bdf, &d->vfio));
	T_NEED(nomux_vfio_map_bar(d->vfio, 0, &va, &bytes));
	d->bar = va;
	d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	T_NEED(d->fd);
}

/* --- what the kernel says of an interrupt --- */

static int affinity(int irq, char *list, size_t bytes)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/irq/%d/smp_affinity_list", irq);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, list, bytes - 1);
	close(fd);
	list[n > 0 ? n - 1 : 0] = '\0';
	return n > 0 ? 0 : -ENOENT;
}

/* Interrupts of devices taken so far on a CPU: of one, or of all (0). */
static long taken(int irq, int on_cpu)
{
	long count[2], sum = 0;
	char line[512];
	int number;
	FILE *f = fopen("/proc/interrupts", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %d: %ld %ld", &number, &count[0], &count[1]) == 3 &&
		    (!irq || number == irq))
			sum += count[on_cpu];
	if (f)
		fclose(f);
	return sum;
}

static int irq_of(unsigned int index)
{
	struct nom_core_binding b;
	int err = nomux_binding(core, index, &b);

	return err ? err : b.out_irq;
}

static bool is_at(int irq, const char *where)
{
	char list[64];

	return irq > 0 && !affinity(irq, list, sizeof(list)) && !strcmp(list, where);
}

/* --- an ordinary device: the events, one by one --- */

static volatile uint64_t events, upcalls;

static void on_device(unsigned int event, uint64_t count, void *arg)
{
	events += count;
	upcalls++;
}

static bool comes(uint64_t want)
{
	uint64_t until = nomux_now_ns() + 200000000;

	while (events < want && nomux_now_ns() < until)
		;
	return events == want;
}

static void affinity_follows(struct device *d)
{
	char here[8];
	int irq, i;

	snprintf(here, sizeof(here), "%d", cpu);
	T_NEED(nomux_vfio_irq(d->vfio, 0, d->fd));
	T_NEED(nomux_event_bind(core, EV_DEVICE, d->fd));
	irq = irq_of(0);
	t_ok(irq > 0, "%s: the binding knows its interrupt (%d)", d->name, irq);
	events = 0;
	for (i = 1; i <= 10; i++) {
		d->fire(d);
		if (!comes((uint64_t)i))
			break;
	}
	t_is((long)events, 10, "ten interrupts, ten events");
	t_ok(is_at(irq, here), "the interrupt goes to the leased core");
	t_ok(taken(irq, cpu) >= 9, "and was taken there (%ld, elsewhere %ld)", taken(irq, cpu),
	     taken(irq, 0));

	T_NEED(nomux_event_unbind(core, EV_DEVICE, d->fd));
	t_ok(is_at(irq, "0"), "unbound: it goes to the ordinary core");
	T_NEED(nomux_vfio_irq(d->vfio, 0, -1));
	T_NEED(nomux_event_bind(core, EV_DEVICE, d->fd));
	t_is(irq_of(0), 0, "bound before it is a device's: no interrupt yet");
	T_NEED(nomux_vfio_irq(d->vfio, 0, d->fd));
	irq = irq_of(0);
	t_ok(is_at(irq, here), "then it is, and goes to the leased core");
	T_NEED(nomux_vfio_irq(d->vfio, 0, -1));
	t_is(irq_of(0), 0, "taken from the device: no interrupt any more");
	T_NEED(nomux_vfio_irq(d->vfio, 0, d->fd));
}

static void mask(struct device *d, long most)
{
	struct nom_core_binding b;
	int irq = irq_of(0), i;
	long before, elsewhere;

	events = 0;
	d->fire(d);
	t_ok(comes(1), "%s: an event before", d->name);
	usleep(20000);		/* the vector's last move is over */
	t_is(nomux_event_mask(core, EV_DEVICE, d->fd), 0, "mask");
	t_is(nomux_event_mask(core, EV_DEVICE, d->fd), 0, "mask again");
	T_NEED(nomux_binding(core, 0, &b));
	t_ok(b.out_flags & NOM_BINDING_MASKED, "the binding says so");
	before = taken(irq, cpu);
	elsewhere = taken(irq, 0);
	for (i = 0; i < 300; i++)
		d->fire(d);
	usleep(20000);
	t_is((long)events, 1, "300 interrupts, no event");
	t_ok(taken(irq, cpu) - before <= most, "%ld at most were taken here: %ld (elsewhere %ld)",
	     most, taken(irq, cpu) - before, taken(irq, 0) - elsewhere);
	t_is(nomux_event_unmask(core, EV_DEVICE, d->fd), 0, "unmask");
	usleep(20000);
	t_ok(events > 1, "what came is posted (%llu)", (unsigned long long)events - 1);
	before = (long)events;
	d->fire(d);
	t_ok(comes((uint64_t)before + 1), "and the next comes");
	T_NEED(nomux_binding(core, 0, &b));
	t_ok(!(b.out_flags & NOM_BINDING_MASKED) && b.out_events == events && b.out_signals >= 2,
	     "counted: %llu signals, %llu events", (unsigned long long)b.out_signals,
	     (unsigned long long)b.out_events);

	nomux_event_mask(core, EV_DEVICE, d->fd);
	T_NEED(nomux_event_unbind(core, EV_DEVICE, d->fd));
	T_NEED(nomux_event_bind(core, EV_DEVICE, d->fd));
	events = 0;
	d->fire(d);
	t_ok(comes(1), "unbound while masked, and bound: not masked");
	t_is(nomux_event_unmask(core, EV_DEVICE, d->fd), 0, "unmask what is not masked");
	t_is(nomux_event_mask(core, EV_DEVICE + 1, d->fd), -ENOENT, "mask what is not bound");
}

/* Who polls takes no interrupts: not of this device, not of another. */
static void poll(struct device *d)
{
	long before;
	int i;

	T_NEED(nomux_vfio_irq(d->vfio, 0, -1));
	before = taken(0, cpu);
	events = 0;
	for (i = 0; i < 1000; i++)
		d->fire(d);
	t_is((long)events, 0, "a polling driver is not told");
	t_is(taken(0, cpu) - before, 0, "nor interrupted, by a device that fires 1,000 times");
	T_NEED(nomux_vfio_irq(d->vfio, 0, d->fd));
	usleep(20000);
}

/* --- a device that fires without end: each event makes the next --- */

static volatile uint64_t storm_until;

static void on_storm(unsigned int event, uint64_t count, void *arg)
{
	struct device *d = arg;

	events += count;
	upcalls++;
	if (nomux_now_ns() < storm_until)
		d->fire(d);
}

/* How far a loop gets in a window of time, which fire() may eat up. */
static uint64_t loop(uint64_t ns, struct device *d)
{
	uint64_t until = nomux_now_ns() + ns, n = 0;

	events = upcalls = 0;
	storm_until = d ? until : 0;
	if (d)
		d->fire(d);
	while (nomux_now_ns() < until)
		n++;
	usleep(5000);
	printf("# %llu loops, %llu upcalls, %llu events\n", (unsigned long long)n,
	       (unsigned long long)upcalls, (unsigned long long)events);
	return n;
}

static unsigned int stormed(struct device *d, uint64_t ns, uint64_t quiet)
{
	return (unsigned int)(loop(ns, d) * 100 / quiet);
}

static void storm(struct device *d)
{
	const uint64_t ns = 20000000;
	struct nom_core_binding b;
	unsigned int kept;
	uint64_t quiet;
	int i;

	T_NEED(nomux_on_event(core, EV_DEVICE, on_storm, d));
	/* the first interrupts still come to the old core, where they cause the move */
	storm_until = 0;
	for (i = 0; i < 5; i++) {
		d->fire(d);
		usleep(20000);
	}
	quiet = loop(ns, NULL);

	T_NEED(set_param("storm_gap_ns", "0"));
	kept = stormed(d, ns, quiet);
	t_ok(kept < 30, "%s: a storm without protection leaves %u %% of the core (%llu upcalls)",
	     d->name, kept, (unsigned long long)upcalls);
	T_NEED(nomux_binding(core, 0, &b));
	t_is((long)b.out_pauses, 0, "and goes on without a pause");

	T_NEED(set_param("storm_gap_ns", "5000"));
	T_NEED(set_param("storm_share_pct", "50"));
	kept = stormed(d, ns, quiet);
	t_ok(kept >= 46, "a share of 50 %% leaves the other half: %u %% (%llu upcalls)", kept,
	     (unsigned long long)upcalls);
	T_NEED(nomux_binding(core, 0, &b));
	t_ok(b.out_pauses > 10 && upcalls > 500, "and is a share: %llu pauses",
	     (unsigned long long)b.out_pauses);
	T_NEED(set_param("storm_share_pct", "20"));
	kept = stormed(d, ns, quiet);
	t_ok(kept >= 76, "a share of 20 %% leaves four fifths: %u %% (%llu upcalls)", kept,
	     (unsigned long long)upcalls);
	T_NEED(set_param("storm_share_pct", "50"));

	/* and after the storm all is as before */
	T_NEED(nomux_on_event(core, EV_DEVICE, on_device, NULL));
	events = 0;
	usleep(20000);
	d->fire(d);
	t_ok(comes(1), "after the storm an event is an event");
	T_NEED(nomux_binding(core, 0, &b));
	t_ok(b.out_flags & NOM_BINDING_AFFINE && !(b.out_flags & NOM_BINDING_PAUSED),
	     "and comes to the leased core");
}

/* An interrupt that cannot be masked is sent away when it storms. */
static void banish(struct device *d)
{
	struct nom_core_binding b;
	char here[8];

	snprintf(here, sizeof(here), "%d", cpu);
	T_NEED(nomux_on_event(core, EV_DEVICE, on_storm, d));
	t_ok(is_at(irq_of(0), here), "%s: its interrupt comes to the leased core", d->name);
	stormed(d, 20000000, 1);
	T_NEED(nomux_binding(core, 0, &b));
	t_ok(b.out_pauses > 0 && !(b.out_flags & NOM_BINDING_AFFINE) && is_at(irq_of(0), "0"),
	     "it storms: it goes to the ordinary core (%llu pauses)",
	     (unsigned long long)b.out_pauses);
	T_NEED(nomux_on_event(core, EV_DEVICE, on_device, NULL));
	events = 0;
	d->fire(d);
	t_ok(comes(1), "where it is an event as before");
	T_NEED(nomux_event_unbind(core, EV_DEVICE, d->fd));
	T_NEED(nomux_event_bind(core, EV_DEVICE, d->fd));
	d->fire(d);
	t_ok(comes(2) && is_at(irq_of(0), here), "bound anew it may come again");
}

/* The lease ends with its interrupt masked and bound. */
static void lease_ends(struct device *d)
{
	int irq = irq_of(0);

	nomux_event_mask(core, EV_DEVICE, d->fd);
	nomux_core_release(core);
	t_ok(is_at(irq, "0"), "%s: the lease ends: the interrupt goes to the ordinary core", d->name);
	d->fire(d);
	usleep(2000);
	t_ok(eventfd_read(d->fd, &(eventfd_t){ 0 }) == 0, "and is not masked any more");
}

static void lease_begins(void)
{
	T_NEED(nomux_core_claim(nom, NULL, &core));
	cpu = nomux_core_cpu(core);
	nomux_on_event(core, EV_DEVICE, on_device, NULL);
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
}

int main(void)
{
	t_start(170);
	if (nomux_open(&nom)) {
		printf("1..0 # SKIP no /dev/nom\n");
		return T_SKIP;
	}
	write_text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y");
	device_open(&rocker, "pci:v00001B36d00000006");
	device_open(&edu, "pci:v00001234d000011E8");

	lease_begins();
	affinity_follows(&rocker);
	mask(&rocker, 1);
	poll(&rocker);
	storm(&rocker);
	lease_ends(&rocker);

	lease_begins();
	affinity_follows(&edu);
	mask(&edu, 20);
	banish(&edu);
	lease_ends(&edu);

	nomux_vfio_close(rocker.vfio);
	nomux_vfio_close(edu.vfio);
	nomux_close(nom);
	return t_end();
}
