/* SPDX-License-Identifier: MIT */
/*
 * What the files of libnomux share.  Not for anybody outside libnomux/src and
 * its tests.
 */
#ifndef NOMUX_INTERNAL_H
#define NOMUX_INTERNAL_H

#include <linux/nom.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

#include <nomux/api.h>
#include <nomux/core.h>
#include <nomux/upcall.h>

#define NOMUX_PAGE_BYTES	4096UL
#define NOMUX_HUGE_BYTES	(2UL << 20)
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a)		(((x) + (a) - 1) & ~((a) - 1))

struct nomux_ctx {
	int fd;
	const struct nom_board *board;
	size_t board_bytes;
	struct nom_info info;
};

/*
 * A core's region: 256 KiB, aligned to its size, so that the upcall stub finds
 * everything from its stack pointer by masking, without %gs, thread-local
 * storage or a table:
 *
 *	+0		struct nomux_core
 *	+4096		struct nom_shared, mapped from the lease
 *	+8192		guard, PROT_NONE
 *	stack_lo	upcall stack
 *	+256 KiB	stack_hi
 */
#define NOMUX_REGION_BYTES	(256UL << 10)
#define NOMUX_STACK_DEFAULT	(64UL << 10)
#define NOMUX_STACK_MIN		(16UL << 10)
#define NOMUX_STACK_MAX		(192UL << 10)
#define NOMUX_CORE_MAGIC	0x45524f43584d4e21ULL
#define NOMUX_NR_TRAPS		32

struct nomux_event_slot {
	nomux_event_fn fn;
	void *arg;
};

struct nomux_thread;

struct nomux_trap_slot {
	nomux_trap_fn fn;
	void *arg;
};

struct nomux_core {
	/* read by the stub: offsets are checked in upcall.c */
	uint64_t flags;			/* NOMUX_CORE_* */
	uint64_t xsave_bytes;
	uint64_t xsave_mask;		/* 0: no XSAVE, use FXSAVE */
	/* read and written by the dispatcher */
	struct timespec wait_ts;	/* see wait.c */
	uint64_t dropped;		/* posts without a handler */
	struct nomux_trap_slot trap[NOMUX_NR_TRAPS];
	struct nomux_event_slot event[NOM_NR_EVENTS];
	/* control path */
	uint64_t magic;			/* gone in a child after fork(): MADV_WIPEONFORK */
	struct nomux_ctx *ctx;
	uint64_t handle;
	uint64_t trap_mask;
	uint64_t notify_mask;
	uint64_t events_used;		/* bit per number given out by nomux_event_alloc() */
	int fd;
	int cpu;
	pid_t holder;			/* tid that entered, 0: nobody */
	bool rseq_off;			/* registration taken away, to be put back */
	uint32_t rseq_bytes;
	int old_slack_ns;
	char *stack_lo;
	/* user threads and timers */
	struct nom_frame *frame;	/* of the upcall being handled, NULL: none */
	bool timer_used;		/* armed by the application itself */
	bool timer_shared;		/* armed for nomux_timer_set() */
	int (*guard_fn)(struct nomux_thread *t, uint64_t address, void *arg);
	void *guard_arg;
};

/* upcall.c, stub.S */
extern const char nomux__upcall_entry[], nomux__restart_start[];
extern const char nomux__restart_end[], nomux__restart_abort[];
int nomux__upcall(struct nom_frame *frame, struct nomux_core *core);
int nomux__upcall_unhandled(struct nom_frame *frame, struct nomux_core *core);
void nomux__run_events(struct nomux_core *core);

/*
 * System calls that leave errno alone, so that upcall handlers may make them.
 * Return what the kernel does: -errno on failure.
 */
static inline long nomux__syscall5(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long ret;

	__asm__ __volatile__("syscall" : "=a" (ret)
			     : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8)
			     : "rcx", "r11", "memory");
	return ret;
}

static inline long nomux__syscall3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ __volatile__("syscall" : "=a" (ret) : "a" (nr), "D" (a), "S" (b), "d" (c)
			     : "rcx", "r11", "memory");
	return ret;
}

/* wait.c: nomux_wait() that a descriptor can end, too; revents as of ppoll(2) */
struct pollfd;
void nomux__wait_fds(struct nomux_core *core, uint64_t max_ns, struct pollfd *fds, unsigned int nr);
/* preempt.c: a handler that ran on the thread's stack asked for a switch */
void nomux__resched_noted(void);

char *nomux__put_str(char *p, const char *s);
char *nomux__put_hex(char *p, uint64_t v);

/* event.c: also for what shares the lease's timer */
int nomux__timer_arm_kernel(struct nomux_core *core, unsigned int event, uint64_t ns,
			    unsigned int flags);

/* guard.c: a line on the overflow, or p as it was */
char *nomux__guard_describe(char *p, const struct nom_frame *frame);

/* core.c: take glibc's rseq registration of this thread away; its size, 0: none */
uint32_t nomux__rseq_drop(void);
extern uint64_t nomux__xstate_bytes, nomux__xstate_mask;

/* log.c: one line that is formatted already; safe in an upcall handler */
void nomux__log_line(int level, const char *msg);

/* mem.c: all of the grant, in pages that may be pinned; NULL and errno */
struct nomux_mem;
void *nomux__mem_dma_view(struct nomux_mem *mem);

/* core.c */
extern __thread struct nomux_core *nomux__current;

/* board.c: the reader, apart from the device, so that tests can give it a board */
int nomux__board_snapshot(const struct nom_board *b, size_t board_bytes, void *buf, size_t bytes);
int nomux__board_price(const struct nom_board *b, size_t board_bytes, const char *name,
		       struct nom_board_price *out);
struct nomux_price;
int nomux__price_find(const struct nom_board *b, size_t board_bytes, const char *name,
		      struct nomux_price *out);
int nomux__board_reclaim(const struct nom_board *b, size_t board_bytes, uint64_t grant,
			 struct nom_board_reclaim *out);

/* sysfs.c */
int nomux__sysfs_read(const char *path, char *buf, size_t n);
int nomux__sysfs_write(const char *path, const char *text);
int nomux__sysfs_link(const char *path, char *name, size_t n);
int nomux__start_time(pid_t pid, uint64_t *start_out);

/* As nomux_mem_phys(), with flags of struct nom_mem_phys. */
int nomux__mem_phys(struct nomux_mem *mem, uint64_t offset, uint32_t flags, uint32_t device,
		    uint64_t *phys_out);

/* vfio_dma.c: all of a grant, in a window, in 2 MiB pages where the kernel can. */
int nomux__dma_window(struct nomux_ctx *ctx, struct nomux_mem *mem, const char *device, void **va_out);

/*
 * bus_bind.c; @bus as in /sys/bus, "pci" or "platform".  Name of the driver ("" for
 * none); from it, saying so; and back from @driver to whatever the kernel chooses.
 */
int nomux__bus_driver(const char *bus, const char *dev, char *name, size_t n);
int nomux__bus_take(const char *bus, const char *dev, const char *driver, const char *old_driver);
int nomux__bus_give_back(const char *bus, const char *dev, const char *driver);

/* pci_bind.c */
int nomux__pci_parse(const char *bdf, uint32_t *bdf_out);
int nomux__pci_take(const char *bdf, char *old_driver, size_t n);
int nomux__pci_give_back(const char *bdf);

#endif /* NOMUX_INTERNAL_H */
