// SPDX-License-Identifier: MIT
/* A heap of deadlines, as a complete binary tree of pointers. */
#include "heap.h"

static bool before(const struct heap_node *a, const struct heap_node *b)
{
	return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->seq < b->seq;
}

/* The pointer that points (or will point) to the nr-th node, counted from 1. */
static struct heap_node **slot_of(struct heap *h, uint64_t nr, struct heap_node **parent)
{
	struct heap_node **slot = &h->root;
	int bit = 63 - __builtin_clzll(nr);

	*parent = NULL;
	while (bit-- > 0) {
		*parent = *slot;
		slot = nr & (1ULL << bit) ? &(*slot)->right : &(*slot)->left;
	}
	return slot;
}

static struct heap_node **slot_to(struct heap *h, const struct heap_node *n)
{
	if (!n->parent)
		return &h->root;
	return n->parent->left == n ? &n->parent->left : &n->parent->right;
}

static void adopt(struct heap_node *parent)
{
	if (parent->left)
		parent->left->parent = parent;
	if (parent->right)
		parent->right->parent = parent;
}

/* Exchange a node with its parent. */
static void rise(struct heap *h, struct heap_node *n)
{
	struct heap_node *p = n->parent, *l = n->left, *r = n->right;

	*slot_to(h, p) = n;
	n->parent = p->parent;
	if (p->left == n) {
		n->left = p;
		n->right = p->right;
	} else {
		n->left = p->left;
		n->right = p;
	}
	p->left = l;
	p->right = r;
	adopt(n);
	adopt(p);
}

static void sift(struct heap *h, struct heap_node *n)
{
	struct heap_node *c;

	while (n->parent && before(n, n->parent))
		rise(h, n);
	for (;;) {
		c = n->left;
		if (c && n->right && before(n->right, c))
			c = n->right;
		if (!c || !before(c, n))
			return;
		rise(h, c);
	}
}

static void note_first(struct heap *h)
{
	__atomic_store_n(&h->not_first_ns, h->root ? ~h->root->when_ns : 0, __ATOMIC_RELAXED);
}

void nomux__heap_add(struct heap *h, struct heap_node *n, uint64_t when_ns)
{
	struct heap_node **slot;

	n->when_ns = when_ns;
	n->seq = h->seq++;
	n->left = n->right = NULL;
	n->in = true;
	slot = slot_of(h, ++h->nr, &n->parent);
	*slot = n;
	sift(h, n);
	note_first(h);
}

void nomux__heap_del(struct heap *h, struct heap_node *n)
{
	struct heap_node **slot, *last, *parent;

	slot = slot_of(h, h->nr--, &parent);
	last = *slot;
	*slot = NULL;
	n->in = false;
	if (last != n) {
		last->parent = n->parent;
		last->left = n->left;
		last->right = n->right;
		*slot_to(h, n) = last;
		adopt(last);
		sift(h, last);
	}
	note_first(h);
}

struct heap_node *nomux__heap_take(struct heap *h, uint64_t now_ns)
{
	struct heap_node *n = h->root;

	if (!n || n->when_ns > now_ns)
		return NULL;
	nomux__heap_del(h, n);
	return n;
}
