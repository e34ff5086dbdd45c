/* SPDX-License-Identifier: MIT */
/*
 * A heap of deadlines whose nodes lie in the objects that wait.
 *
 * Insertion and removal never allocate, so a thread can always go to sleep, and
 * take O(log n) steps at worst, so that they may run in an upcall handler.  (A
 * pairing heap is shorter, but one removal may take n steps; a wheel rounds.)
 * Equal deadlines leave in the order they came.
 */
#ifndef NOMUX_HEAP_H
#define NOMUX_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	struct heap_node *parent, *left, *right;
	uint64_t when_ns;
	uint64_t seq;		/* of insertion */
	bool in;
};

/* A complete binary tree: the path to the last node is the bits of nr. */
struct heap {
	struct heap_node *root;	/* the earliest */
	uint64_t nr;
	uint64_t seq;
	uint64_t not_first_ns;	/* complement of root's deadline: 0 in an empty heap */
};

void nomux__heap_add(struct heap *h, struct heap_node *n, uint64_t when_ns);
void nomux__heap_del(struct heap *h, struct heap_node *n);

/* Take out the earliest if it is due at now_ns; else NULL. */
struct heap_node *nomux__heap_take(struct heap *h, uint64_t now_ns);

/*
 * The earliest deadline, UINT64_MAX (which no node may have) if there is none.  A
 * word of its own: it may be read without the lock that the heap is changed under.
 */
static inline uint64_t nomux__heap_first_ns(const struct heap *h)
{
	return ~__atomic_load_n(&h->not_first_ns, __ATOMIC_RELAXED);
}

#endif /* NOMUX_HEAP_H */
