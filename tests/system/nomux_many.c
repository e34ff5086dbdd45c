// SPDX-License-Identifier: MIT
/*
 * nomux_many - several leases at once: three threads of one process, three
 * processes, and both taking cores from each other at run time.  What belongs to
 * one lease (events, traps, timer, stack) never reaches another.
 *
 * Needs three reserved cores; tests/scripts/nomux_many boots such a guest.
 */
#include <errno.h>
#include <linux/nom.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nomux/board.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define CORES		3
#define EV_TICK		4
#define EV_RING		5
#define TRAPS		2000
#define RINGS		300
#define CHURN_ROUNDS	40
#define CHURNERS	6	/* half of them threads of one process, half processes */

/* What a lease saw; in memory that processes share. */
struct side {
	uint64_t handle;
	int cpu, err, number;
	uint64_t ticks, traps, rings, strangers;
};

static struct side *sides;
static struct nomux_ctx *nom;
static unsigned int *meet_at, *busy, *holders_max, *clashes;

struct own {
	struct side *side;
	struct nomux_core *core;
	char *stack_lo, *stack_hi;	/* of the lease */
	char *own_hi;			/* of the thread that holds it: below are its frames */
};

#define OWN_STACK	(64UL << 10)	/* more of it is not used here */

/* By the kernel also to oneself, which nomux_notify() would do in ring 3, on this stack. */
static int ring(const struct side *s)
{
	struct nom_notify n = {
		.size = sizeof(n), .event = EV_RING + (unsigned int)s->number, .handle = s->handle,
	};

	return ioctl(nomux_fd(nom), NOM_NOTIFY, &n) ? -errno : 0;
}

/*
 * On the lease's own stack, or where its thread itself has looked for events
 * (nomux_unmask(), nomux_wait()), and told by its own thread?
 */
static void check_place(struct own *o)
{
	char here;
	bool upcall = &here >= o->stack_lo && &here < o->stack_hi;
	bool looked = &here < o->own_hi && &here >= o->own_hi - OWN_STACK;

	o->side->strangers += !(upcall || looked) || nomux_core_current() != o->core ||
			      sched_getcpu() != o->side->cpu;
}

static void on_tick(unsigned int event, uint64_t count, void *arg)
{
	struct own *o = arg;

	check_place(o);
	o->side->ticks += count;
	nomux_timer_arm(o->core, event, 200000 + 1000 * (uint64_t)o->side->number, 0);
}

static void on_ring(unsigned int event, uint64_t count, void *arg)
{
	struct own *o = arg;

	check_place(o);
	o->side->rings += count;
	o->side->strangers += event != (unsigned int)(EV_RING + o->side->number);
}

static int on_ud(struct nom_frame *frame, void *arg)
{
	struct own *o = arg;

	check_place(o);
	o->side->traps++;
	/* the number of the lease is in the trapping code's rdi */
	o->side->strangers += frame->gprs[NOMUX_GPR_RDI] != (uint64_t)o->side->number;
	frame->rip += 2;
	return 0;
}

static void trap(int number)
{
	__asm__ __volatile__("ud2" :: "D"((long)number) : "memory");
}

/* All sides, of whatever process. */
static void meet(unsigned int which)
{
	__atomic_add_fetch(&meet_at[which], 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&meet_at[which], __ATOMIC_SEQ_CST) < CORES)
		nomux_wait(nomux_core_current(), 1000000);
}

static int claim(struct own *o, uint32_t flags)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .flags = flags,
		.notify_mask = 1ULL << (EV_RING + o->side->number),
	};
	int err = nomux_core_claim(nom, &opts, &o->core);

	if (err)
		return err;
	o->stack_hi = (char *)o->core + (256UL << 10);
	o->stack_lo = o->stack_hi - (64UL << 10);
	o->own_hi = (char *)__builtin_frame_address(0) + 4096;
	o->side->cpu = nomux_core_cpu(o->core);
	o->side->handle = nomux_core_handle(o->core);
	nomux_on_event(o->core, EV_TICK, on_tick, o);
	nomux_on_event(o->core, EV_RING + o->side->number, on_ring, o);
	err = nomux_on_trap(o->core, 6, on_ud, o);
	return err ? err : nomux_core_enter(o->core);
}

/* One side's life: claim, enter, be there with the others, leave. */
static void live(struct side *s)
{
	struct own o = { .side = s };
	int i, k, err;

	err = claim(&o, 0);
	if (err) {
		s->err = err;
		return;
	}
	nomux_unmask(o.core);
	meet(0);
	nomux_timer_arm(o.core, EV_TICK, 200000, 0);
	for (i = 0; i < TRAPS; i++)
		trap(s->number);
	for (i = 0; i < RINGS && !s->err; i++)
		for (k = 0; k < CORES && !s->err; k++)
			s->err = ring(&sides[k]);
	/* another's event is not ours to give */
	if (!s->err && nomux_notify(nom, sides[(s->number + 1) % CORES].handle,
				    EV_RING + (unsigned int)s->number) != -EPERM)
		s->err = -EPROTO;
	meet(1);
	while (s->ticks < 3 || s->rings < CORES * RINGS)
		nomux_wait(o.core, 10000000);
	meet(2);
	nomux_core_release(o.core);
}

static void *live_thread(void *arg)
{
	live(arg);
	return NULL;
}

static void reset(void)
{
	int i;

	memset(meet_at, 0, 8 * sizeof(*meet_at));
	memset(sides, 0, CHURNERS * sizeof(*sides));
	for (i = 0; i < CHURNERS; i++)
		sides[i].number = i;
}

static void judge(const char *what)
{
	uint64_t cpus = 0;
	int i;

	for (i = 0; i < CORES; i++) {
		struct side *s = &sides[i];

		t_ok(!s->err, "%s %d: runs on core %d (%d)", what, i, s->cpu, s->err);
		t_ok(s->traps == TRAPS, "%s %d: its %d traps, no other's (%llu)", what, i, TRAPS,
		     (unsigned long long)s->traps);
		t_ok(s->rings == CORES * RINGS, "%s %d: its %d notifications (%llu)", what, i,
		     CORES * RINGS, (unsigned long long)s->rings);
		t_ok(s->ticks >= 3, "%s %d: its timer (%llu)", what, i, (unsigned long long)s->ticks);
		t_ok(!s->strangers, "%s %d: all of it on its stack, core and thread", what, i);
		cpus |= 1ULL << s->cpu;
	}
	t_ok(__builtin_popcountll(cpus) == CORES, "%ss: each on a core of its own", what);
}

static void threads(void)
{
	pthread_t thread[CORES];
	int i;

	reset();
	for (i = 0; i < CORES; i++)
		pthread_create(&thread[i], NULL, live_thread, &sides[i]);
	for (i = 0; i < CORES; i++)
		pthread_join(thread[i], NULL);
	judge("thread");
}

static void processes(void)
{
	int i, status, bad = 0;
	pid_t pid[CORES];

	reset();
	for (i = 0; i < CORES; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			alarm(60);
			nomux_close(nom);
			if (nomux_open(&nom))
				_exit(1);
			live(&sides[i]);
			_exit(0);
		}
	}
	for (i = 0; i < CORES; i++)
		bad += waitpid(pid[i], &status, 0) != pid[i] || status;
	t_ok(!bad, "three processes end well");
	judge("process");
}

/* --- cores change hands --- */

static void churn(struct side *s)
{
	unsigned int n, i, looks;
	struct own o;
	uint64_t traps;
	int round;

	for (round = 0; round < CHURN_ROUNDS; round++) {
		o = (struct own){ .side = s };
		s->err = claim(&o, NOMUX_CORE_WAIT);
		if (s->err)
			return;
		nomux_unmask(o.core);
		n = __atomic_add_fetch(busy, 1, __ATOMIC_SEQ_CST);
		if (n > CORES)
			__atomic_add_fetch(clashes, 1, __ATOMIC_SEQ_CST);
		/* Once, all three shall be seen: whoever is early waits a little. */
		for (looks = 0; looks < 2000 && *(volatile unsigned int *)holders_max < CORES; looks++) {
			n = __atomic_load_n(busy, __ATOMIC_SEQ_CST);
			if (n > *holders_max)
				*holders_max = n;
			usleep(10);
		}
		traps = s->traps;
		for (i = 0; i < 20; i++)
			trap(s->number);
		s->err = ring(s);
		if (s->err || s->traps != traps + 20 || s->rings != (uint64_t)round + 1) {
			s->err = s->err ? s->err : -EPROTO;
			return;
		}
		__atomic_sub_fetch(busy, 1, __ATOMIC_SEQ_CST);
		nomux_core_release(o.core);
	}
}

static void *churn_thread(void *arg)
{
	churn(arg);
	return NULL;
}

static bool all_free(void)
{
	static char buf[1 << 16] __attribute__((aligned(8)));
	const struct nom_board *b = (const void *)buf;
	const struct nom_board_core *core;
	unsigned int i;

	if (nomux_board_snapshot(nom, buf, sizeof(buf)))
		return false;
	for (i = 0; (core = nomux_board_record(b, sizeof(buf), NOM_BOARD_CORES, i, sizeof(*core))); i++)
		if (core->state != NOM_CORE_FREE)
			return false;
	return i >= CORES;
}

static void churners(void)
{
	pthread_t thread[CHURNERS / 2];
	pid_t pid[CHURNERS];
	int i, status, bad = 0;

	reset();
	for (i = CHURNERS / 2; i < CHURNERS; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			alarm(100);
			nomux_close(nom);
			if (nomux_open(&nom))
				_exit(1);
			churn(&sides[i]);
			_exit(0);
		}
	}
	for (i = 0; i < CHURNERS / 2; i++)
		pthread_create(&thread[i], NULL, churn_thread, &sides[i]);
	for (i = 0; i < CHURNERS / 2; i++)
		pthread_join(thread[i], NULL);
	for (i = CHURNERS / 2; i < CHURNERS; i++)
		bad += waitpid(pid[i], &status, 0) != pid[i] || status;
	t_ok(!bad, "the processes among them end well");
	for (i = 0; i < CHURNERS; i++) {
		struct side *s = &sides[i];

		t_ok(!s->err && s->traps == 20 * CHURN_ROUNDS && s->rings == CHURN_ROUNDS,
		     "%s %d had a core %d times, and what was its own each time (%d)",
		     i < CHURNERS / 2 ? "thread" : "process", i, CHURN_ROUNDS, s->err);
		t_ok(!s->strangers, "%d: nothing came to the wrong place", i);
	}
	t_ok(!*clashes, "never more holders than cores");
	t_ok(*holders_max == CORES, "all cores were in use at once (%u)", *holders_max);
	t_ok(all_free(), "at the end all cores are free");
}

int main(void)
{
	struct nom_info info;
	unsigned int *words;

	t_start(240);
	if (nomux_open(&nom)) {
		printf("1..0 # SKIP no /dev/nom\n");
		return T_SKIP;
	}
	T_NEED(nomux_info(nom, &info));
	if (info.out_nr_cores != CORES) {
		printf("1..0 # SKIP not three reserved cores: see tests/scripts/nomux_many\n");
		return T_SKIP;
	}
	sides = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	words = (unsigned int *)(void *)((char *)sides + 4096);
	meet_at = words, busy = words + 16, holders_max = words + 17, clashes = words + 18;
	threads();
	processes();
	churners();
	nomux_close(nom);
	return t_end();
}
