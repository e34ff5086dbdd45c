// SPDX-License-Identifier: MIT
/* post.c - frames from one core to another */
#include "post.h"

#include <string.h>

bool post_put(struct post *p, const void *frame, uint32_t len)
{
	uint32_t put = p->put;

	/* pairs with the reader's release: it is done with the slot */
	if (len > NOMSTACK_SHARE_BYTES || put - __atomic_load_n(&p->taken, __ATOMIC_ACQUIRE) == POST_SLOTS)
		return false;
	memcpy(p->frame[put % POST_SLOTS], frame, len);
	p->len[put % POST_SLOTS] = (uint16_t)len;
	__atomic_store_n(&p->put, put + 1, __ATOMIC_RELEASE);
	return true;
}

uint32_t post_take(struct post *p, void *frame)
{
	uint32_t taken = p->taken, len;

	/* pairs with the writer's release: the frame is there */
	if (taken == __atomic_load_n(&p->put, __ATOMIC_ACQUIRE))
		return 0;
	len = p->len[taken % POST_SLOTS];
	memcpy(frame, p->frame[taken % POST_SLOTS], len);
	__atomic_store_n(&p->taken, taken + 1, __ATOMIC_RELEASE);
	return len;
}
