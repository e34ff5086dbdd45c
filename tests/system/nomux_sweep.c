// SPDX-License-Identifier: MIT
/*
 * An event at every instruction of an upcall.
 *
 * Under a clock that counts instructions (run-guest --icount) a nanosecond is
 * an instruction.  A write to an eventfd makes an upcall; the timer, armed just
 * before, fires one nanosecond later with each shot, and so walks through the
 * system call, the delivery, the stub, the handler and the restartable return.
 * Each shot must count both events once and leave all registers alone.
 */
#include <linux/nom.h>
#include <sys/eventfd.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV_WRITE	3
#define EV_TIMER	9
#define FIRST_NS	600
#define LAST_NS		4600
#define ROUNDS		10

unsigned long sweep_shot(int fd, const unsigned long *one, volatile unsigned long *count,
			 unsigned long want);

static volatile unsigned long writes, timers;

static void on_write(unsigned int event, uint64_t count, void *arg)
{
	writes += count;
	t_clobber_registers();
}

static void on_timer(unsigned int event, uint64_t count, void *arg)
{
	timers += count;
	t_clobber_registers();
}

int main(void)
{
	unsigned long shots = 0, lost = 0, changed = 0, one = 1, bad;
	struct nom_core_stats stats;
	struct nomux_core *core;
	struct nomux_ctx *nom;
	uint64_t ns;
	int round, i, fd, err;

	t_start(150);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	fd = eventfd(0, EFD_CLOEXEC);
	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_on_event(core, EV_WRITE, on_write, NULL));
	T_NEED(nomux_on_event(core, EV_TIMER, on_timer, NULL));
	T_NEED(nomux_event_bind(core, EV_WRITE, fd));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	for (round = 0; round < ROUNDS; round++) {
		for (ns = FIRST_NS; ns < LAST_NS; ns++) {
			shots++;
			for (i = 0; i < round; i++)	/* other distances from the clock's ticks */
				__asm__ __volatile__("nop");
			T_NEED(nomux_timer_arm(core, EV_TIMER, ns, 0));
			bad = sweep_shot(fd, &one, &timers, shots);
			changed += bad == 1;
			lost += bad == 2 || writes != shots || timers != shots;
			if (lost)
				break;
		}
	}
	T_NEED(nomux_core_stats(core, &stats));
	t_is((long)lost, 0, "40,000 shots, one instruction apart: no event lost");
	t_is((long)changed, 0, "no register changed");
	t_ok(!nomux_masked(core), "events are unmasked at the end");
	t_ok(stats.out_restarts >= 50, "the restartable section was hit");
	printf("# %lu shots, %llu restarts, %llu found masked, %llu upcalls\n", shots,
	       (unsigned long long)stats.out_restarts, (unsigned long long)stats.out_masked,
	       (unsigned long long)stats.out_events);
	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
