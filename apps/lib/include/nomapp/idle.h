/* SPDX-License-Identifier: MIT */
/*
 * idle.h - when a poll loop sleeps, and what ends that
 *
 * The driver's automatic mode decides (vnet_auto()): to poll without work for at
 * most idle_us, and for less where the last sleeps were long.  Under load nothing
 * sleeps, an idle server polls for one turn after each timer, and one request in a
 * while costs one sleep, not idle_us of polling.
 *
 * Threads: the loop's, but for app_idle_wake().
 */
#ifndef NOMAPP_IDLE_H
#define NOMAPP_IDLE_H

#include <stdbool.h>
#include <stdint.h>

struct nomux_core;
struct nomux_ctx;
struct vnet;

/**
 * struct app_idle - who sleeps
 * @v: the device
 * @device: as --device names it
 * @core: leased; NULL: hosted
 * @prepare, @done: of the stack, around a sleep: nomstack_idle_prepare(), _done()
 * @arg: for both
 * @sleeps, @wakeups, @syscalls: counters: sleeps, those that a frame or app_idle_wake()
 *	ended, system calls; @spin_ns: how long is polled without work now
 * @wake_fd, @wake_event, @socket_calls: app_idle_open()'s own
 */
struct app_idle {
	struct vnet *v;
	const char *device;
	struct nomux_core *core;
	bool (*prepare)(void *arg);
	void (*done)(void *arg);
	void *arg;
	uint64_t *sleeps, *wakeups, *syscalls, *spin_ns;
	int wake_fd, wake_event;
	uint64_t socket_calls;
};

/* app_idle_open - what app_idle_wake() takes; @core is not entered yet.  Exit status. */
int app_idle_open(struct app_idle *i);
void app_idle_close(struct app_idle *i);

/**
 * app_idle_enter - this thread lives on the leased core from here on
 * @i: open, with a core
 * @polls: it never sleeps, so the device need not have an interrupt that can be an upcall
 *
 * Interrupts of the device's rings and of its configuration become upcalls.  Comes
 * back masked, for further events to be bound: nomux_unmask() is the caller's.
 *
 * Return: an exit status, its message is printed.
 */
int app_idle_enter(struct app_idle *i, bool polls);

/* app_idle_bound - poll for at most so long without work; 0: not at all */
void app_idle_bound(struct app_idle *i, uint64_t idle_us);

/**
 * app_idle - a turn without work: whether to sleep, by what the last sleeps taught
 * @i: open
 * @now_ns: nomux_now_ns()
 * @max_ns: for so long at most
 * @held: the stack holds a batch for W: it would refuse
 * @woken_out: app_idle_wake() has been called, and the sleep was over for it (hosted)
 *
 * Return: it slept, or tried to.
 */
bool app_idle(struct app_idle *i, uint64_t now_ns, uint64_t max_ns, bool held, bool *woken_out);

/* app_idle_nap - sleep without the device for @ns at most, or until app_idle_wake(), which it says */
bool app_idle_nap(struct app_idle *i, uint64_t ns);

/* app_idle_wake - any thread: end a sleep of the loop's; 0 or -errno */
int app_idle_wake(struct app_idle *i, struct nomux_ctx *ctx);

/* app_idle_count - on an interface of the kernel's each announcement is a system call: count them */
void app_idle_count(struct app_idle *i);

#endif
