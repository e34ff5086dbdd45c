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
#define RECORD_MAX	72	/* of those that are looked up */
_Static_assert(sizeof(struct nom_board_price) <= RECORD_MAX, "room");
_Static_assert(sizeof(struct nom_board_reclaim) <= RECORD_MAX, "room");
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
 * One pass over a class for the record that begins with @key; what it finds counts
 * only if seq did not move.  A price's name is filled up with zeroes on the board,
 * so it is three words; a reclaim notice begins with its grant.
 */
static int find(const struct nom_board *b, size_t board_bytes, enum nom_board_class c,
		const uint64_t *key, unsigned int key_words, size_t record_bytes,
		size_t *offset_out)
{
	const volatile uint64_t *at;
	struct nom_board_section s;
	unsigned int i, k;
	ssize_t off;

	if ((unsigned int)c >= b->nr_classes)
		return -ENOENT;		/* a board from before there was such a class */
	copy_words(&s, &b->section[c], sizeof(s));
	for (i = 0; ; i++) {
		off = record_offset(&s, board_bytes, i, record_bytes);
		if (off < 0)
			return -ENOENT;
		at = (const volatile uint64_t *)(const void *)((const char *)b + off);
		for (k = 0; k < key_words && at[k] == key[k]; k++)
			;
		if (k < key_words)
			continue;
		*offset_out = (size_t)off;
		return 0;
	}
}

/* A consistent copy of that record, and where it is; @out is as it was else. */
static int lookup(const struct nom_board *b, size_t board_bytes, enum nom_board_class c,
		  const uint64_t *key, unsigned int key_words, void *out, size_t record_bytes,
		  size_t *offset_out)
{
	uint64_t record[RECORD_MAX / 8];
	unsigned int try;
	uint32_t seq;
	int err;

	for (try = 0; try < BOARD_TRIES; try++) {
		seq = board_begin(b);
		if (seq & 1) {
			__builtin_ia32_pause();
			continue;
		}
		err = find(b, board_bytes, c, key, key_words, record_bytes, offset_out);
		if (!err)
			copy_words(record, (const char *)b + *offset_out, record_bytes);
		if (board_retry(b, seq))
			continue;
		if (!err)
			copy_words(out, record, record_bytes);
		return err;
	}
	return -EAGAIN;
}

/* The name as it stands on the board; -EINVAL when it cannot stand there. */
static int name_words(const char *name, uint64_t words[NOMUX_PRICE_WORDS])
{
	char text[NOM_PRICE_NAME_MAX] = { 0 };
	unsigned int i;

	if (!name || !name[0])
		return -EINVAL;
	for (i = 0; name[i]; i++) {
		if (i == NOM_PRICE_NAME_MAX - 1)
			return -EINVAL;
		text[i] = name[i];
	}
	copy_words(words, text, sizeof(text));
	return 0;
}

int nomux__board_price(const struct nom_board *b, size_t board_bytes, const char *name,
		       struct nom_board_price *out)
{
	uint64_t key[NOMUX_PRICE_WORDS];
	size_t offset;
	int err = name_words(name, key);

	if (err || !out)
		return -EINVAL;
	return lookup(b, board_bytes, NOM_BOARD_PRICES, key, NOMUX_PRICE_WORDS, out, sizeof(*out),
		      &offset);
}

int nomux__board_reclaim(const struct nom_board *b, size_t board_bytes, uint64_t grant,
			 struct nom_board_reclaim *out)
{
	size_t offset;

	if (!out)
		return -EINVAL;
	return lookup(b, board_bytes, NOM_BOARD_RECLAIM, &grant, 1, out, sizeof(*out), &offset);
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

int nomux__price_find(const struct nom_board *b, size_t board_bytes, const char *name,
		      struct nomux_price *out)
{
	struct nom_board_price price;
	size_t offset;
	int err;

	if (!out || name_words(name, out->name))
		return -EINVAL;
	err = lookup(b, board_bytes, NOM_BOARD_PRICES, out->name, NOMUX_PRICE_WORDS, &price,
		     sizeof(price), &offset);
	if (err)
		return err;
	out->board = b;
	out->record = (const struct nom_board_price *)(const void *)((const char *)b + offset);
	return 0;
}

int nomux_price_find(struct nomux_ctx *ctx, const char *name, struct nomux_price *out)
{
	if (!ctx)
		return -EINVAL;
	return nomux__price_find(ctx->board, ctx->board_bytes, name, out);
}

int nomux__price_read_slow(const struct nomux_price *p, int64_t *ucr_out, uint64_t *changes_out)
{
	unsigned int try;
	uint32_t seq;
	bool same;

	for (try = 0; try < BOARD_TRIES; try++) {
		seq = board_begin(p->board);
		if (seq & 1) {
			__builtin_ia32_pause();
			continue;
		}
		same = nomux__price_is(p);
		*ucr_out = __atomic_load_n(&p->record->price_ucr, __ATOMIC_RELAXED);
		*changes_out = __atomic_load_n(&p->record->changes, __ATOMIC_RELAXED);
		if (!board_retry(p->board, seq))
			return same ? 0 : -ENOENT;
	}
	return -EAGAIN;
}

int nomux_board_reclaim(struct nomux_ctx *ctx, uint64_t grant, struct nom_board_reclaim *out)
{
	if (!ctx)
		return -EINVAL;
	return nomux__board_reclaim(ctx->board, ctx->board_bytes, grant, out);
}

uint64_t nomux_board_changes(struct nomux_ctx *ctx, enum nom_board_class c)
{
	return __atomic_load_n(&ctx->board->section[c].changes, __ATOMIC_RELAXED);
}
