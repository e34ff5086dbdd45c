// SPDX-License-Identifier: MIT
/* take.c - what came on a connection, as answers to the load's requests */
#include "take.h"

#include <errno.h>

enum take take(struct load *l, unsigned i, struct answer *a, const char *data, size_t n, uint64_t now_ns, const char **why_out)
{
	size_t at = 0;

	while (at < n) {
		ssize_t used;

		if (!l->link[i].nr) {
			*why_out = "the server sent what nobody asked for";
			return TAKE_BAD;
		}
		used = answer_feed(a, data + at, n - at);
		if (used < 0) {
			*why_out = used == -EOPNOTSUPP ? "an answer in a transfer encoding, or without Content-Length: its end cannot be told" :
				   used == -EMSGSIZE ? "a header block of more than 8 KiB" : "not an HTTP/1.x answer";
			return TAKE_BAD;
		}
		at += (size_t)used;
		if (!a->complete)
			continue;
		load_answer(l, i, now_ns, a->status == 200, a->bytes);
		if (a->close)
			return TAKE_CLOSE;
	}
	return TAKE_MORE;
}
