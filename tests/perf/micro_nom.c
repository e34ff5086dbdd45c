// SPDX-License-Identifier: MIT
/* nom's half of nom-micro; handlers: general registers only. */
#include <errno.h>
#include <linux/nom.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <nomux/board.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/notify.h>
#include <nomux/thread.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "../../libnomux/src/internal.h"	/* nomux__syscall3() */
#include "micro.h"

#define PAGE	4096UL
#define AHEAD	16

static int on_ud(struct nom_frame *frame, void *arg)
{
	frame->rip += 2;
	return 0;
}

/* What the fault handler maps: the next pages of the grant. */
static struct {
	struct nomux_mem *grant;
	uint64_t used, bytes;
} memory;

static int on_pf(struct nom_frame *frame, void *arg)
{
	struct nom_map_entry e = {
		.va = frame->cr2 & ~(PAGE - 1), .offset = memory.used, .bytes = memory.bytes,
		.flags = NOM_MAP_READ | NOM_MAP_WRITE,
	};

	memory.used += memory.bytes;
	return nomux_mem_map(memory.grant, &e, 1) == 1 ? 0 : -1;
}

static void on_event(unsigned int event, uint64_t count, void *arg)
{
	micro.arrived = nomux_tsc();
}

static void on_many(unsigned int event, uint64_t count, void *arg)
{
	*(volatile uint64_t *)arg += count;
}

static uint64_t many;

int micro_nom_prepare(struct nomux_core *core)
{
	unsigned int i;
	int err;

	err = nomux_on_trap(core, MICRO_TRAP_UD, on_ud, NULL);
	if (!err)
		err = nomux_on_trap(core, MICRO_TRAP_PF, on_pf, NULL);
	if (!err)
		err = nomux_on_event(core, MICRO_EV_WRITE, on_event, NULL);
	if (!err)
		err = nomux_on_event(core, MICRO_EV_NOTIFY, on_event, NULL);
	if (!err)
		err = nomux_on_event(core, MICRO_EV_TIMER, on_event, NULL);
	for (i = 0; i < 16 && !err; i++)
		err = nomux_on_event(core, MICRO_EV_MANY + i, on_many, &many);
	return err;
}

static int invalid_instruction(void)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		__asm__ __volatile__("ud2" ::: "memory");
		micro.sample[i] = micro_now() - t;
	}
	return 0;
}

/* Touch pages of a window: each @ahead pages one fault, a sample is all of them. */
static int touch_window(unsigned int ahead)
{
	size_t bytes = PAGE * ahead * micro.rounds;
	volatile char *window;
	unsigned int i, k;
	uint64_t t;
	void *va;
	int err;

	memory.used = 0;
	memory.bytes = PAGE * ahead;
	err = nomux_mem_grant(micro.nom, bytes, &memory.grant);
	if (err)
		return err;
	err = nomux_mem_window(memory.grant, bytes, NULL, &va);
	window = va;
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		for (k = 0; k < ahead; k++)
			window[PAGE * (i * ahead + k)] = 1;
		micro.sample[i] = micro_now() - t;
	}
	nomux_mem_put(memory.grant);
	return err;
}

static int fault_and_map(void)
{
	return touch_window(1);
}

static int fault_and_map_ahead(void)
{
	return touch_window(AHEAD);
}

static int write_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), err;
	uint64_t one = 1;
	unsigned int i;

	if (fd < 0)
		return -errno;
	err = nomux_event_bind(micro.core, MICRO_EV_WRITE, fd);
	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		if (write(fd, &one, sizeof(one)) != sizeof(one) || !micro.arrived)
			err = -EIO;	/* the handler runs before write() returns */
		micro.sample[i] = micro.arrived - micro.begun;
	}
	close(fd);
	return err;
}

static int notify_self(void)
{
	uint64_t handle = nomux_core_handle(micro.core);
	unsigned int i;
	int err = 0;

	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		err = nomux_notify(micro.nom, handle, MICRO_EV_NOTIFY);
		if (!err && !micro.arrived)
			err = -EIO;
		micro.sample[i] = micro.arrived - micro.begun;
	}
	return err;
}

/*
 * As from somebody else: through the kernel, which interrupts us.  The system call
 * that nomux_notify() makes then, and not ioctl(3), whose arguments are variable.
 */
static int notify_kernel(void)
{
	struct nom_notify notify = {
		.size = sizeof(notify), .event = MICRO_EV_NOTIFY, .handle = nomux_core_handle(micro.core),
	};
	int fd = nomux_fd(micro.nom);
	unsigned int i;
	int err = 0;

	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		if (nomux__syscall3(SYS_ioctl, fd, NOM_NOTIFY, (long)(uintptr_t)&notify) || !micro.arrived)
			err = -EIO;
		micro.sample[i] = micro.arrived - micro.begun;
	}
	return err;
}

/* Sixteen events posted while masked, by the kernel; unmask, all handled. */
static int many_events(void)
{
	struct nom_notify notify = { .size = sizeof(notify), .handle = nomux_core_handle(micro.core) };
	int fd = nomux_fd(micro.nom);
	unsigned int i, k;
	int err = 0;
	uint64_t t;

	for (i = 0; i < micro.rounds && !err; i++) {
		many = 0;
		nomux_mask(micro.core);
		for (k = 0; k < 16; k++) {
			notify.event = MICRO_EV_MANY + k;
			err |= ioctl(fd, NOM_NOTIFY, &notify);
		}
		t = micro_now();
		nomux_unmask(micro.core);
		micro.sample[i] = micro_now() - t;
		if (many != 16)
			err = -EIO;
	}
	return err;
}

/* Armed for at once; it interrupts the code behind the call, or the call. */
static int timer(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		err = nomux_timer_arm(micro.core, MICRO_EV_TIMER, 1, 0);
		while (!err && !micro.arrived)
			;
		micro.sample[i] = micro.arrived - micro.begun;
	}
	return err;
}

/* --------------------------------------------------------------- board --- */

static volatile uint64_t sink;

static int board_changes(void)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		MICRO_16(sink = nomux_board_changes(micro.nom, NOM_BOARD_PRICES));
		micro.sample[i] = micro_now() - t;
	}
	return 0;
}

/* The last price there is: all before it are passed by. */
static int last_price(struct nom_board_price *out)
{
	size_t bytes = nomux_board_bytes(micro.nom);
	const struct nom_board_price *p;
	void *copy = malloc(bytes);
	unsigned int i;
	int err;

	if (!copy)
		return -ENOMEM;
	err = nomux_board_snapshot(micro.nom, copy, bytes);
	for (i = 0; !err; i++) {
		p = nomux_board_record(copy, bytes, NOM_BOARD_PRICES, i, sizeof(*p));
		if (!p)
			break;
		*out = *p;
	}
	free(copy);
	return err ? err : i ? 0 : -ENOENT;
}

static int board_price(void)
{
	struct nom_board_price price;
	char name[NOM_PRICE_NAME_MAX];
	unsigned int i;
	uint64_t t;
	int err;

	err = last_price(&price);
	if (err)
		return err;
	memcpy(name, price.name, sizeof(name));
	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		MICRO_16(err |= nomux_board_price(micro.nom, name, &price));
		micro.sample[i] = micro_now() - t;
	}
	return err;
}

static int board_price_handle(void)
{
	struct nom_board_price price;
	struct nomux_price p;
	uint64_t changes, t;
	unsigned int i;
	int64_t ucr;
	int err;

	err = last_price(&price);
	if (!err)
		err = nomux_price_find(micro.nom, price.name, &p);
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		MICRO_16(err |= nomux_price_read(&p, &ucr, &changes); sink = (uint64_t)ucr);
		micro.sample[i] = micro_now() - t;
	}
	return err;
}

/* ------------------------------------------------------------- threads --- */

static void yielder(void *arg)
{
	unsigned int i;

	for (i = 0; i < 16 * micro.rounds; i++)
		nomux_yield();
}

/* Two user threads take turns: a sample is 32 switches, 16 there and back. */
static int thread_switch(void)
{
	struct nomux_thread *t;
	unsigned int i;
	uint64_t begun;
	int err;

	err = nomux_thread_create(yielder, NULL, NULL, &t);
	if (err)
		return err;
	for (i = 0; i < micro.rounds; i++) {
		begun = micro_now();
		MICRO_16(nomux_yield());
		micro.sample[i] = (micro_now() - begun) / 2;
	}
	nomux_join(t);
	return 0;
}

const struct micro_op micro_nom_ops[] = {
	{ "invalid-instruction/upcall", "nom", MICRO_LEASED, invalid_instruction },
	{ "page-fault-map/upcall", "nom", MICRO_LEASED, fault_and_map },
	{ "page-fault-map-16-ahead/upcall", "nom", MICRO_LEASED | MICRO_PER_16, fault_and_map_ahead },
	{ "event-same-core/notify-oneself", "nom", MICRO_LEASED, notify_self },
	{ "event-same-core/notify", "nom", MICRO_LEASED, notify_kernel },
	{ "event-same-core/eventfd-write", "nom", MICRO_LEASED, write_eventfd },
	{ "events-pending/unmask-16", "nom", MICRO_LEASED | MICRO_PER_16, many_events },
	{ "timer-to-handler/upcall", "nom", MICRO_LEASED, timer },
	{ "board-read/changes", "nom", MICRO_NOM | MICRO_PER_16, board_changes },
	{ "board-read/price", "nom", MICRO_NOM | MICRO_PER_16, board_price_handle },
	{ "board-read/price-by-name", "nom", MICRO_NOM | MICRO_PER_16, board_price },
	{ "thread-switch/nomux-yield", "nom", MICRO_LEASED | MICRO_PER_16, thread_switch },
	{ 0 },
};
