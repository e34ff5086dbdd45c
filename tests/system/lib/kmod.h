/* SPDX-License-Identifier: MIT */
/*
 * kmod: what the VM tests of nom.ko share: TAP, thin wrappers around the device's
 * ioctls, an upcall entry.  They use the uapi headers and nothing of libnomux, so
 * that a failure here is the module's.
 */
#ifndef KMOD_TEST_H
#define KMOD_TEST_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/nom.h>

#define MIB		(1UL << 20)
#define CHUNK		(2 * MIB)
#define PAGE		4096UL

/* --- TAP: every check is a point; t_done() prints the plan and the status --- */
bool t_ok(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool t_eq(long got, long want, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void t_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void t_diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void t_bail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int t_done(void);

/* --- children: the function's value, or 128 + signal; bounded in time --- */
int t_child(int (*fn)(void *), void *arg);
pid_t t_spawn(int (*fn)(void *), void *arg);
int t_reap(pid_t pid);
/* until cond() holds or ms are over; returns whether it held */
bool t_wait(bool (*cond)(void *), void *arg, unsigned int ms);
void t_sleep_ms(unsigned int ms);

/* --- what a touch does: 0, or the signal it gave; k_catch() before the first --- */
extern sigjmp_buf k_out;
void k_catch(void);			/* SIGBUS and SIGSEGV lead to k_out */
int k_touch(volatile char *p, bool write);

/* --- the device; -errno everywhere --- */
int k_ioctl(int fd, unsigned long cmd, void *arg);
int k_open(int flags);			/* bails out with the remedy */
int k_info(int nom, struct nom_info *info);
const struct nom_board *k_board(int nom);
/* consistent copy of a record; -ENOENT past the section's end */
int k_board_read(const struct nom_board *b, enum nom_board_class c, unsigned int i,
		 void *out, size_t bytes);
uint64_t k_board_changes(const struct nom_board *b, enum nom_board_class c);
uint64_t k_mem_free(const struct nom_board *b);
uint64_t k_mem_quarantined(const struct nom_board *b);
int k_board_device(const struct nom_board *b, uint32_t bdf, struct nom_board_device *out);

struct k_lease {
	int fd;
	uint64_t handle;
	struct nom_shared *sh;
};
int k_claim(int nom, int cpu, uint64_t notify_mask, struct k_lease *out);
int k_claim_by(int nom, struct nom_core_claim *c, struct k_lease *out);
void k_drop(struct k_lease *l);		/* unmap and close: ends what nobody entered */
int k_enter(struct k_lease *l, uint64_t trap_mask);
int k_leave(struct k_lease *l);
int k_bind(struct k_lease *l, unsigned int event, int fd);
int k_unbind(struct k_lease *l, unsigned int event, int fd);
int k_mask(struct k_lease *l, unsigned int event, int fd, bool mask);
int k_binding(struct k_lease *l, unsigned int index, struct nom_core_binding *out);
int k_timer(struct k_lease *l, unsigned int event, uint32_t flags, uint64_t ns);
int k_subscribe(struct k_lease *l, unsigned int event, uint64_t classes);
int k_notify(int nom, uint64_t handle, unsigned int event);
int k_stats(struct k_lease *l, struct nom_core_stats *out);

int k_limits(int nom, struct nom_limits *out);
/* a parameter of the module; sets it back at exit */
int k_param(const char *name, int value);

int k_grant(int nom, uint64_t bytes);
void *k_window(int grant, size_t bytes, int prot);	/* MAP_FAILED */
int k_map1(int grant, void *va, uint64_t offset, uint64_t bytes, uint32_t flags);
int k_unmap1(int grant, void *va, uint64_t bytes, uint32_t flags);
int k_map(int grant, bool map, struct nom_map_entry *e, unsigned int nr, uint32_t *done);
/* any command that takes an array of entries, and the same with one entry */
int k_array(int grant, unsigned long cmd, struct nom_map_entry *e, unsigned int nr, uint32_t *done);
int k_range(int grant, unsigned long cmd, void *va, uint64_t offset, uint64_t bytes, uint32_t flags);
int k_query(int grant, uint32_t flags, void *va, uint64_t bytes, struct nom_mem_query *q);
int k_mem_info(int grant, struct nom_mem_info *out);
int k_phys(int grant, uint64_t offset, uint32_t bdf, uint64_t *out);

/* --- the module itself; the caller has closed and unmapped all it had of it --- */
int k_unload(void);			/* -EWOULDBLOCK while somebody holds something */
int k_load(void);			/* gives /dev/nom its owner and mode back */

/* --- upcalls: traps only, events stay masked.  fn returns 0: go on at rip --- */
typedef int (*k_trap_fn)(struct nom_frame *frame);
extern k_trap_fn k_on_trap;
#define K_HANDLER __attribute__((target("general-regs-only")))
/* a system call from a handler, which must not touch the FPU */
K_HANDLER static inline long k_sys3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

#endif
