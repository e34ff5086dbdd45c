// SPDX-License-Identifier: MIT
/*
 * Memory of threads: one mapping each, of guard page, stack, and on top the
 * struct nomux_thread.
 *
 * Mapping, protecting and first touching a stack costs microseconds, making a
 * thread some 30 ns: so a kernel thread keeps stacks of the default size.
 */
#include <sys/mman.h>

#include "stack.h"
#include "thread_internal.h"

#define STACKS_KEPT	256	/* 16 MiB of address space, at most */

#if defined(__SANITIZE_ADDRESS__)
void __asan_unpoison_memory_region(const volatile void *p, size_t bytes);
/* The frames of a thread that has ended never returned: their red zones stay. */
#define stack_clean(p, bytes)	__asan_unpoison_memory_region(p, bytes)
#else
#define stack_clean(p, bytes)	do { } while (0)
#endif

static size_t mapping_bytes(size_t stack_bytes)
{
	return GUARD_BYTES + stack_bytes + ALIGN_UP(sizeof(struct nomux_thread), NOMUX_PAGE_BYTES);
}

static struct nomux_thread *stack_map(size_t stack_bytes)
{
	size_t bytes = mapping_bytes(stack_bytes);
	struct nomux_thread *t;
	char *p;

	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p, GUARD_BYTES, PROT_NONE)) {
		munmap(p, bytes);
		return NULL;
	}
	t = (struct nomux_thread *)(void *)(p + GUARD_BYTES + stack_bytes);
	t->stack = p;
	t->stack_bytes = stack_bytes;
	return t;
}

struct nomux_thread *nomux__stack_get(struct sched *s, size_t bytes)
{
	struct nomux_thread *t = s->stacks;

	if (bytes != STACK_DEFAULT || !t)
		return stack_map(bytes);
	s->stacks = t->next;
	s->nr_stacks--;
	return t;
}

static void stack_unmap(struct nomux_thread *t)
{
	nomux__stall_memory_lock();
	munmap(t->stack, mapping_bytes(t->stack_bytes));
	nomux__stall_memory_unlock();
}

void nomux__stack_put(struct sched *s, struct nomux_thread *t)
{
	t->magic = 0;
	stack_clean(t->stack + GUARD_BYTES, t->stack_bytes);
	if (t->stack_bytes != STACK_DEFAULT || s->nr_stacks == STACKS_KEPT) {
		stack_unmap(t);
		return;
	}
	t->next = s->stacks;
	s->stacks = t;
	s->nr_stacks++;
}

void nomux__stacks_drain(struct sched *s)
{
	struct nomux_thread *t;

	while ((t = s->stacks)) {
		s->stacks = t->next;
		s->nr_stacks--;
		stack_unmap(t);
	}
}
