// SPDX-License-Identifier: MIT
/* nom's half of nom-micro; handlers: general registers only. */
#include <errno.h>
#include <linux/nom.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/notify.h>
#include <nomux/upcall.h>

#include "micro.h"

#define EV_WRITE	3
#define EV_NOTIFY	4
#define TRAP_UD		6
#define TRAP_PF		14

static int on_ud(struct nom_frame *frame, void *arg)
{
	frame->rip += 2;
	return 0;
}

struct memory {
	struct nomux_mem *grant;
	uint64_t used;
};

static int on_pf(struct nom_frame *frame, void *arg)
{
	struct memory *m = arg;
	struct nom_map_entry e = {
		.va = frame->cr2 & ~4095UL, .offset = m->used, .bytes = 4096,
		.flags = NOM_MAP_READ | NOM_MAP_WRITE,
	};

	m->used += 4096;
	return nomux_mem_map(m->grant, &e, 1) == 1 ? 0 : -1;
}

static void on_event(unsigned int event, uint64_t count, void *arg)
{
	micro.arrived = nomux_tsc();
}

static void measure_ud(void)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		__asm__ __volatile__("ud2" ::: "memory");
		micro.sample[i] = micro_now() - t;
	}
	micro_report("invalid-instruction/upcall", "nom");
}

static int measure_pf(struct nomux_ctx *nom, struct memory *m)
{
	size_t bytes = 4096UL * micro.rounds;
	volatile char *window;
	unsigned int i;
	uint64_t t;
	void *va;
	int err;

	err = nomux_mem_grant(nom, bytes, &m->grant);
	if (err)
		return err;
	err = nomux_mem_window(m->grant, bytes, NULL, &va);
	window = va;
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		window[4096UL * i] = 1;
		micro.sample[i] = micro_now() - t;
	}
	if (!err)
		micro_report("page-fault-map/upcall", "nom");
	nomux_mem_put(m->grant);
	return err;
}

static int measure_write(struct nomux_core *core)
{
	int fd = eventfd(0, EFD_CLOEXEC), err;
	uint64_t one = 1;
	unsigned int i;

	if (fd < 0)
		return -errno;
	err = nomux_event_bind(core, EV_WRITE, fd);
	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		if (write(fd, &one, sizeof(one)) != sizeof(one) || !micro.arrived)
			err = -EIO;	/* the handler runs before write() returns */
		micro.sample[i] = micro.arrived - micro.begun;
	}
	if (!err)
		micro_report("event-same-core/eventfd-write", "nom");
	close(fd);
	return err;
}

static int measure_notify(struct nomux_ctx *nom, struct nomux_core *core)
{
	uint64_t handle = nomux_core_handle(core);
	unsigned int i;
	int err = 0;

	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		err = nomux_notify(nom, handle, EV_NOTIFY);
		if (!err && !micro.arrived)
			err = -EIO;
		micro.sample[i] = micro.arrived - micro.begun;
	}
	if (!err)
		micro_report("event-same-core/notify", "nom");
	return err;
}

int micro_run_nom(void)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV_NOTIFY,
	};
	struct memory memory = { 0 };
	struct nomux_core *core;
	struct nomux_ctx *nom;
	int err;

	err = nomux_open(&nom);
	if (err)
		return err;
	err = nomux_core_claim(nom, &opts, &core);
	if (err)
		goto out_close;
	err = nomux_on_trap(core, TRAP_UD, on_ud, NULL);
	if (!err)
		err = nomux_on_trap(core, TRAP_PF, on_pf, &memory);
	if (!err)
		err = nomux_on_event(core, EV_WRITE, on_event, NULL);
	if (!err)
		err = nomux_on_event(core, EV_NOTIFY, on_event, NULL);
	if (!err)
		err = nomux_core_enter(core);
	if (!err) {
		nomux_unmask(core);
		measure_ud();
		err = measure_pf(nom, &memory);
		if (!err)
			err = measure_write(core);
		if (!err)
			err = measure_notify(nom, core);
	}
	nomux_core_release(core);
out_close:
	nomux_close(nom);
	return err;
}
