// SPDX-License-Identifier: MIT
/*
 * Leases: the region behind a handle, the thread that enters and leaves.
 */
#include <nomux/core.h>

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "internal.h"

__thread struct nomux_core *nomux__current;

#define CORE_FLAGS_KNOWN (NOMUX_CORE_SAVE_XSTATE | NOMUX_CORE_KEEP_RSEQ | NOMUX_CORE_WAIT | \
			  NOMUX_CORE_NOTIFY_UID | NOMUX_CORE_NOTIFY_ANY)

static int opts_read(const struct nomux_core_opts *in, struct nomux_core_opts *out)
{
	*out = (struct nomux_core_opts){ .sz = sizeof(*out), .cpu = NOMUX_CPU_ANY };
	if (in) {
		if (in->sz < offsetof(struct nomux_core_opts, trap_mask) || in->sz > 4096)
			return -EINVAL;
		memcpy(out, in, in->sz < sizeof(*out) ? in->sz : sizeof(*out));
	}
	if (out->flags & ~CORE_FLAGS_KNOWN)
		return -EOPNOTSUPP;
	if (!out->stack_bytes)
		out->stack_bytes = NOMUX_STACK_DEFAULT;
	if (out->stack_bytes < NOMUX_STACK_MIN || out->stack_bytes > NOMUX_STACK_MAX)
		return -EINVAL;
	out->stack_bytes = ALIGN_UP(out->stack_bytes, NOMUX_PAGE_BYTES);
	return out->cpu < NOMUX_CPU_ANY ? -EINVAL : 0;
}

/*
 * What XSAVE has to save: x87, SSE, AVX and AVX-512 (components 0-2 and 5-7),
 * as far as the kernel enabled them.  Not PKRU, which handlers share with the
 * thread, and not AMX, whose tiles handlers must not touch: it is 8 KiB.
 */
#define XSAVE_COMPONENTS 0xe7UL

/* The same for all cores; read by preempt.S. */
uint64_t nomux__xstate_bytes, nomux__xstate_mask;

static void xstate_layout(struct nomux_core *core)
{
	unsigned int a, b, c, d, i;
	uint32_t lo, hi;
	uint64_t end = 576;		/* legacy area and header */

	core->xsave_bytes = 512;
	core->xsave_mask = 0;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1U << 27)))
		return;			/* no OSXSAVE: FXSAVE */
	__asm__ __volatile__("xgetbv" : "=a" (lo), "=d" (hi) : "c" (0));
	core->xsave_mask = ((uint64_t)hi << 32 | lo) & XSAVE_COMPONENTS;
	for (i = 2; i < 8; i++) {
		if (!(core->xsave_mask & (1UL << i)))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		if (b + (uint64_t)a > end)
			end = b + (uint64_t)a;
	}
	core->xsave_bytes = ALIGN_UP(end, 64UL);
}

static void *region_map(void)
{
	char *p, *start;
	size_t head;

	p = mmap(NULL, 2 * NOMUX_REGION_BYTES, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	start = (char *)ALIGN_UP((uintptr_t)p, NOMUX_REGION_BYTES);
	head = (size_t)(start - p);
	if (head)
		munmap(p, head);
	munmap(start + NOMUX_REGION_BYTES, NOMUX_REGION_BYTES - head);
	return start;
}

static int region_fill(char *region, size_t stack_bytes)
{
	char *stack = region + NOMUX_REGION_BYTES - stack_bytes;

	if (mprotect(region, NOMUX_PAGE_BYTES, PROT_READ | PROT_WRITE) ||
	    mprotect(stack, stack_bytes, PROT_READ | PROT_WRITE))
		return -errno;
	/* A child after fork() has no lease: it must not find one. */
	if (madvise(region, NOMUX_PAGE_BYTES, MADV_WIPEONFORK))
		return -errno;
	/* The stack is there before the first upcall needs it; best effort. */
	for (size_t off = 0; off < stack_bytes; off += NOMUX_PAGE_BYTES)
		((volatile char *)stack)[off] = 0;
	return 0;
}

static uint32_t claim_flags(uint32_t flags)
{
	return (flags & NOMUX_CORE_WAIT ? NOM_CLAIM_WAIT : 0) |
	       (flags & NOMUX_CORE_NOTIFY_UID ? NOM_CLAIM_NOTIFY_UID : 0) |
	       (flags & NOMUX_CORE_NOTIFY_ANY ? NOM_CLAIM_NOTIFY_ANY : 0);
}

static const char *claim_failure(int err)
{
	switch (err) {
	case -ENOENT:
		return "not reserved (boot with nom_cpus=)";
	case -EDQUOT:
		return "your user holds as many as it may (nom's parameter user_cores)";
	case -E2BIG:
		return "this kernel's nom.ko cannot wait, nor let others notify";
	default:
		return strerror(-err);
	}
}

int nomux_core_claim(struct nomux_ctx *ctx, const struct nomux_core_opts *opts,
		     struct nomux_core **core_out)
{
	struct nom_core_claim claim = { .size = sizeof(claim) };
	struct nomux_core_opts o;
	struct nomux_core *core;
	char *region;
	int err;

	if (!ctx || !core_out)
		return -EINVAL;
	err = opts_read(opts, &o);
	if (err)
		return err;
	if (o.trap_mask & ~ctx->info.out_traps)
		return -EOPNOTSUPP;

	region = region_map();
	if (!region)
		return -ENOMEM;
	err = region_fill(region, o.stack_bytes);
	if (err)
		goto err_region;

	claim.cpu = o.cpu;
	claim.notify_mask = o.notify_mask;
	claim.flags = claim_flags(o.flags);
	claim.notify_uid = o.notify_uid;
	claim.deadline_ns = o.deadline_ns;
	if (ioctl(ctx->fd, NOM_CORE_CLAIM, &claim)) {
		err = -errno;
		nomux_log(LOG_INFO, "nomux: cannot claim a core, cpu=%d: %s", o.cpu,
			  claim_failure(err));
		goto err_region;
	}
	if (mmap(region + NOMUX_CORE_SHARED_OFFSET, NOMUX_PAGE_BYTES, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, claim.out_core_fd, 0) == MAP_FAILED) {
		err = -errno;
		goto err_close;
	}

	core = (struct nomux_core *)(void *)region;
	core->flags = o.flags;
	xstate_layout(core);
	nomux__xstate_bytes = core->xsave_bytes;
	nomux__xstate_mask = core->xsave_mask;
	core->ctx = ctx;
	core->handle = claim.out_handle;
	core->trap_mask = o.trap_mask;
	core->notify_mask = o.notify_mask;
	core->fd = claim.out_core_fd;
	if (nomux_core_shared(core)->magic != NOM_ABI_MAGIC) {
		err = -EPROTO;
		goto err_close;
	}
	core->cpu = (int)nomux_core_shared(core)->cpu;
	core->stack_lo = region + NOMUX_REGION_BYTES - o.stack_bytes;
	/* Whoever unmasks looks at pending again: no interrupt needed meanwhile. */
	nomux_core_shared(core)->flags = NOM_SHARED_NO_KICK_MASKED;
	core->magic = NOMUX_CORE_MAGIC;
	*core_out = core;
	return 0;

err_close:
	close(claim.out_core_fd);
err_region:
	munmap(region, NOMUX_REGION_BYTES);
	return err;
}

/*
 * glibc's registration of restartable sequences: find the size it was made
 * with by trying; the kernel refuses all others with EINVAL.
 */
uint32_t nomux__rseq_drop(void)
{
	static const uint32_t sizes[] = { 32, 64, 128 };
	void *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	unsigned int i;

	if (!__rseq_size)
		return 0;
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		if (!syscall(SYS_rseq, area, sizes[i], RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
			return sizes[i];
	return 0;
}

static void rseq_take(struct nomux_core *core)
{
	core->rseq_bytes = core->flags & NOMUX_CORE_KEEP_RSEQ ? 0 : nomux__rseq_drop();
	core->rseq_off = core->rseq_bytes != 0;
}

static void rseq_put_back(struct nomux_core *core)
{
	void *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	if (core->rseq_off && syscall(SYS_rseq, area, core->rseq_bytes, 0, RSEQ_SIG))
		nomux_log(LOG_WARNING, "nomux: cannot register rseq again: %s", strerror(errno));
	core->rseq_off = false;
}

static void slack_put_back(const struct nomux_core *core)
{
	if (core->old_slack_ns > 0)
		prctl(PR_SET_TIMERSLACK, (unsigned long)core->old_slack_ns);
}

static bool core_valid(const struct nomux_core *core)
{
	return core && core->magic == NOMUX_CORE_MAGIC;
}

/* Threads end without telling; their lease ended with them. */
static bool holder_alive(const struct nomux_core *core)
{
	return core->holder && !syscall(SYS_tgkill, getpid(), core->holder, 0);
}

int nomux_core_enter(struct nomux_core *core)
{
	struct nom_core_enter enter = { .size = sizeof(enter) };
	int err;

	if (!core_valid(core))
		return -EINVAL;
	if (nomux_core_current() || holder_alive(core))
		return -EBUSY;
	nomux_clock_init();

	/* An idle sleep should end when it is due, not up to 50 us later. */
	core->old_slack_ns = prctl(PR_GET_TIMERSLACK);
	prctl(PR_SET_TIMERSLACK, 1UL);
	rseq_take(core);
	nomux_core_shared(core)->vif = 0;
	enter.regs.entry = (uintptr_t)nomux__upcall_entry;
	enter.regs.stack_lo = (uintptr_t)core->stack_lo;
	enter.regs.stack_hi = (uintptr_t)core + NOMUX_REGION_BYTES;
	enter.regs.restart_start = (uintptr_t)nomux__restart_start;
	enter.regs.restart_end = (uintptr_t)nomux__restart_end;
	enter.regs.restart_abort = (uintptr_t)nomux__restart_abort;
	enter.regs.trap_mask = core->trap_mask;
	/* Both are wanted by upcalls, which may come before the ioctl returns. */
	core->holder = (pid_t)syscall(SYS_gettid);
	nomux__current = core;
	if (ioctl(core->fd, NOM_CORE_ENTER, &enter)) {
		err = -errno;
		nomux__current = NULL;
		core->holder = 0;
		rseq_put_back(core);
		slack_put_back(core);
		nomux_log(LOG_ERR, "nomux: cannot enter the core, cpu=%d: %s", core->cpu,
			  strerror(-err));
		return err;
	}
	return 0;
}

static void core_leave(struct nomux_core *core)
{
	nomux_mask(core);
	if (ioctl(core->fd, NOM_CORE_LEAVE) && errno != ENXIO)
		nomux_log(LOG_WARNING, "nomux: cannot leave the core, cpu=%d: %s", core->cpu,
			  strerror(errno));
	rseq_put_back(core);
	slack_put_back(core);
	nomux__current = NULL;
}

int nomux_core_release(struct nomux_core *core)
{
	if (!core)
		return 0;
	if (!core_valid(core))
		return -EINVAL;
	if (nomux__current == core)
		core_leave(core);
	else if (holder_alive(core))
		return -EBUSY;
	core->magic = 0;
	close(core->fd);
	munmap(core, NOMUX_REGION_BYTES);
	return 0;
}

struct nomux_core *nomux_core_current(void)
{
	/* The magic is gone in a child after fork(), which inherits the pointer. */
	return core_valid(nomux__current) ? nomux__current : NULL;
}

int nomux_core_cpu(const struct nomux_core *core)
{
	return core->cpu;
}

uint64_t nomux_core_handle(const struct nomux_core *core)
{
	return core->handle;
}

int nomux_core_stats(struct nomux_core *core, struct nom_core_stats *out)
{
	struct nom_core_stats stats = { .size = sizeof(stats) };

	if (!core_valid(core) || !out)
		return -EINVAL;
	if (ioctl(core->fd, NOM_CORE_STATS, &stats))
		return -errno;
	*out = stats;
	return 0;
}
