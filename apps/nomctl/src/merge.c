// SPDX-License-Identifier: MIT
/* Frames of several stacks in the order of time: merge.h. */
#include "merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (32u << 20)	/* that wait */

int merge_add(const struct nomstack_lk_frame *f, uint8_t *data, void *arg)
{
	struct merge *m = arg;
	uint8_t *copy = malloc(f->bytes ? f->bytes : 1);

	if (copy && m->nr == m->room) {
		size_t room = m->room * 2 + 64;
		struct merge_frame *of = reallocarray(m->of, room, sizeof(*of));

		if (of) {
			m->of = of;
			m->room = room;
		}
	}
	if (!copy || m->nr == m->room) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, data, f->bytes);
	m->of[m->nr++] = (struct merge_frame){ *f, m->came++, copy };
	m->bytes += sizeof(*m->of) + f->bytes;
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct merge_frame *x = a, *y = b;

	if (x->frame.when_ns != y->frame.when_ns)
		return x->frame.when_ns < y->frame.when_ns ? -1 : 1;
	return x->nr < y->nr ? -1 : x->nr > y->nr;
}

int merge_take(struct merge *m, uint64_t until_ns, nomctl_look_frame_fn fn, void *arg)
{
	bool all = m->bytes > BYTES_MAX;
	size_t n = 0;
	int ret = 0;

	qsort(m->of, m->nr, sizeof(*m->of), by_time);
	while (!ret && n < m->nr && (all || m->of[n].frame.when_ns < until_ns)) {
		ret = fn(&m->of[n].frame, m->of[n].data, arg);
		m->bytes -= sizeof(*m->of) + m->of[n].frame.bytes;
		free(m->of[n++].data);
	}
	m->nr -= n;
	memmove(m->of, m->of + n, m->nr * sizeof(*m->of));
	return ret;
}

void merge_free(struct merge *m)
{
	while (m->nr)
		free(m->of[--m->nr].data);
	free(m->of);
	*m = (struct merge){ 0 };
}
