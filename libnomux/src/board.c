// SPDX-License-Identifier: MIT
/*
 * Readers of the bulletin board.
 *
 * The writer is the kernel: seq odd, write barrier, records, write barrier,
 * seq even.  The reader's side is below; its two acquire points pair with the
 * kernel's two write barriers.
 */
#include <nomux/board.h>

#include <errno.h>
#include <string.h>

#include "internal.h"

/*
 * An update takes the kernel a few hundred nanoseconds, and they are rare: a
 * reader that fails this often is looking at something else than a board.
 */
#define BOARD_TRIES 4096

static inline uint32_t board_begin(const struct nom_board *b)
{
	return __atomic_load_n(&b->seq, __ATOMIC_ACQUIRE);
}

static inline bool board_retry(const struct nom_board *b, uint32_t seq)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);	/* copied before seq is read again */
	return (seq & 1) || __atomic_load_n(&b->seq, __ATOMIC_RELAXED) != seq;
}

/* Where record i lies, or -1 when anything about it does not fit. */
static ssize_t record_offset(const struct nom_board_section *s, size_t bytes,
			     unsigned int i, size_t record_bytes)
{
	uint64_t off;

	if (i >= s->nr || i >= s->max || s->stride < record_bytes || (s->stride & 7) ||
	    (s->offset & 7))
		return -1;
	off = s->offset + (uint64_t)i * s->stride;
	if (off < sizeof(struct nom_board) || off + record_bytes > bytes)
		return -1;
	return (ssize_t)off;
}

const void *nomux_board_record(const struct nom_board *board, size_t bytes,
			       enum nom_board_class c, unsigned int i, size_t record_bytes)
{
	struct nom_board_section s;
	ssize_t off;

	if (bytes < sizeof(*board) || (unsigned int)c >= NOM_BOARD_MAX_CLASSES ||
	    (unsigned int)c >= board->nr_classes)
		return NULL;
	s = board->section[c];
	off = record_offset(&s, bytes, i, record_bytes);
	return off < 0 ? NULL : (const char *)board + off;
}

/*
 * The copy races with the kernel by design, and the sequence count throws torn
 * copies away; word by word, so that the compiler cannot make more of it.
 */
static void copy_words(void *dst, const void *src, size_t bytes)
{
	const volatile uint64_t *s = src;
	uint64_t *d = dst;
	size_t i;

	for (i = 0; i < bytes / sizeof(*d); i++)
		d[i] = s[i];
}

int nomux__board_snapshot(const struct nom_board *b, size_t board_bytes, void *buf, size_t bytes)
{
	unsigned int try;
	uint32_t seq;

	if (!buf || bytes < board_bytes || ((uintptr_t)buf & 7))
		return -EINVAL;
	if (b->magic != NOM_BOARD_MAGIC)
		return -EPROTO;
	for (try = 0; try < BOARD_TRIES; try++) {
		seq = board_begin(b);
		if (seq & 1) {
			__builtin_ia32_pause();
			continue;
		}
		copy_words(buf, b, board_bytes);
		if (!board_retry(b, seq))
			return 0;
	}
	return -EAGAIN;
}

/* One pass over the prices; what it finds counts only if seq did not move. */
static int find_price(const struct nom_board *b, size_t board_bytes, const char *name,
		      struct nom_board_price *out)
{
	struct nom_board_section s;
	unsigned int i;
	ssize_t off;

	if (NOM_BOARD_PRICES >= b->nr_classes)
		return -ENOENT;		/* a board from before there were prices */
	copy_words(&s, &b->section[NOM_BOARD_PRICES], sizeof(s));
	for (i = 0; ; i++) {
		off = record_offset(&s, board_bytes, i, sizeof(*out));
		if (off < 0)
			return -ENOENT;
		copy_words(out, (const char *)b + off, sizeof(*out));
		if (strncmp(out->name, name, sizeof(out->name)) == 0)
			return 0;
	}
}

int nomux__board_price(const struct nom_board *b, size_t board_bytes, const char *name,
		       struct nom_board_price *out)
{
	struct nom_board_price price;
	unsigned int try;
	uint32_t seq;
	int err;

	if (!name || !name[0] || strlen(name) >= NOM_PRICE_NAME_MAX || !out)
		return -EINVAL;
	for (try = 0; try < BOARD_TRIES; try++) {
		seq = board_begin(b);
		if (seq & 1) {
			__builtin_ia32_pause();
			continue;
		}
		err = find_price(b, board_bytes, name, &price);
		if (board_retry(b, seq))
			continue;
		if (!err)
			*out = price;
		return err;
	}
	return -EAGAIN;
}

const struct nom_board *nomux_board(struct nomux_ctx *ctx)
{
	return ctx->board;
}

size_t nomux_board_bytes(const struct nomux_ctx *ctx)
{
	return ctx->board_bytes;
}

int nomux_board_snapshot(struct nomux_ctx *ctx, void *buf, size_t bytes)
{
	if (!ctx)
		return -EINVAL;
	return nomux__board_snapshot(ctx->board, ctx->board_bytes, buf, bytes);
}

int nomux_board_price(struct nomux_ctx *ctx, const char *name, struct nom_board_price *out)
{
	if (!ctx)
		return -EINVAL;
	return nomux__board_price(ctx->board, ctx->board_bytes, name, out);
}

uint64_t nomux_board_changes(struct nomux_ctx *ctx, enum nom_board_class c)
{
	return __atomic_load_n(&ctx->board->section[c].changes, __ATOMIC_RELAXED);
}
