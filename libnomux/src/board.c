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

/*
 * One pass over the prices; what it finds counts only if seq did not move.  @name
 * is filled up with zeroes, as the names on the board are.
 */
static int find_price(const struct nom_board *b, size_t board_bytes, const uint64_t *name,
		      struct nom_board_price *out, size_t *offset_out)
{
	const size_t words = sizeof(out->name) / sizeof(*name);
	const volatile uint64_t *at;
	struct nom_board_section s;
	unsigned int i, k;
	ssize_t off;

	copy_words(&s, &b->section[NOM_BOARD_PRICES], sizeof(s));
	for (i = 0; ; i++) {
		off = record_offset(&s, board_bytes, i, sizeof(*out));
		if (off < 0)
			return -ENOENT;
		at = (const volatile uint64_t *)(const void *)((const char *)b + off);
		for (k = 0; k < words && at[k] == name[k]; k++)
			;
		if (k < words)
			continue;
		copy_words(out, (const char *)b + off, sizeof(*out));
		*offset_out = (size_t)off;
		return 0;
	}
}

static int price_lookup(const struct nom_board *b, size_t board_bytes, const char *name,
			struct nom_board_price *out, size_t *offset_out)
{
	union {
		char text[NOM_PRICE_NAME_MAX];
		uint64_t words[NOM_PRICE_NAME_MAX / sizeof(uint64_t)];
	} key = { { 0 } };
	struct nom_board_price price;
	unsigned int try, i;
	uint32_t seq;
	int err;

	if (!name || !name[0] || !out)
		return -EINVAL;
	for (i = 0; name[i]; i++) {
		if (i == NOM_PRICE_NAME_MAX - 1)
			return -EINVAL;
		key.text[i] = name[i];
	}
	for (try = 0; try < BOARD_TRIES; try++) {
		seq = board_begin(b);
		if (seq & 1) {
			__builtin_ia32_pause();
			continue;
		}
		err = find_price(b, board_bytes, key.words, &price, offset_out);
		if (board_retry(b, seq))
			continue;
		if (!err)
			*out = price;
		return err;
	}
	return -EAGAIN;
}

int nomux__board_price(const struct nom_board *b, size_t board_bytes, const char *name,
		       struct nom_board_price *out)
{
	size_t offset;

	return price_lookup(b, board_bytes, name, out, &offset);
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

int nomux_price_find(struct nomux_ctx *ctx, const char *name, struct nomux_price *out)
{
	struct nom_board_price price;
	size_t offset;
	int err;

	if (!ctx || !out)
		return -EINVAL;
	err = price_lookup(ctx->board, ctx->board_bytes, name, &price, &offset);
	if (err)
		return err;
	out->board = ctx->board;
	out->record = (const struct nom_board_price *)(const void *)((const char *)ctx->board + offset);
	return 0;
}

int nomux__price_read_slow(const struct nomux_price *p, int64_t *ucr_out, uint64_t *changes_out)
{
	unsigned int try;
	uint32_t seq;

	for (try = 0; try < BOARD_TRIES; try++) {
		seq = board_begin(p->board);
		if (seq & 1) {
			__builtin_ia32_pause();
			continue;
		}
		*ucr_out = __atomic_load_n(&p->record->price_ucr, __ATOMIC_RELAXED);
		*changes_out = __atomic_load_n(&p->record->changes, __ATOMIC_RELAXED);
		if (!board_retry(p->board, seq))
			return 0;
	}
	return -EAGAIN;
}

uint64_t nomux_board_changes(struct nomux_ctx *ctx, enum nom_board_class c)
{
	return __atomic_load_n(&ctx->board->section[c].changes, __ATOMIC_RELAXED);
}
