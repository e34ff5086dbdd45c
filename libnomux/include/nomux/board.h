/* SPDX-License-Identifier: MIT */
/*
 * Reading the bulletin board (thesis 3.5): what cores, memory, devices and
 * prices there are.  The kernel writes it, everybody reads it, and none of the
 * functions here makes a system call.
 *
 * Records are read under the board's sequence count.  A reader that keeps
 * running into updates gives up with -EAGAIN after a bounded number of tries
 * instead of spinning for ever.
 */
#ifndef NOMUX_BOARD_H
#define NOMUX_BOARD_H

#include <linux/nom.h>
#include <nomux/api.h>

struct nomux_ctx;

/**
 * nomux_board - the live mapping; read it under its sequence count
 * @ctx: context, keeps the mapping
 */
NOMUX_API const struct nom_board *nomux_board(struct nomux_ctx *ctx);

/**
 * nomux_board_bytes - length of the mapping, the size a snapshot needs
 * @ctx: context
 */
NOMUX_API size_t nomux_board_bytes(const struct nomux_ctx *ctx);

/**
 * nomux_board_snapshot - copy the whole board as it was at one moment
 * @ctx: context
 * @buf: aligned to 8 bytes
 * @bytes: its length, at least nomux_board_bytes()
 *
 * Threads: any.
 * Return: 0, -EAGAIN (updates kept coming), -EINVAL (buffer too short),
 * -EPROTO (not a board).
 */
NOMUX_API int nomux_board_snapshot(struct nomux_ctx *ctx, void *buf, size_t bytes);

/**
 * nomux_board_record - find a record of a snapshot, bounds checked
 * @board: a snapshot
 * @bytes: its length
 * @c: class of the record
 * @i: number of the record, 0 ..
 * @record_bytes: what the caller will read of it
 *
 * Return: the record, or NULL when there is no such record (so a loop over i
 * ends at NULL).
 */
NOMUX_API const void *nomux_board_record(const struct nom_board *board, size_t bytes,
					 enum nom_board_class c, unsigned int i,
					 size_t record_bytes);

/**
 * nomux_board_price - look a price up by its name
 * @ctx: context
 * @name: as published, "bandwidth" say
 * @out: consistent copy of the record
 *
 * Threads: any; no system call.
 * Return: 0, -ENOENT (nobody published such a price), -EAGAIN.
 */
NOMUX_API int nomux_board_price(struct nomux_ctx *ctx, const char *name,
				struct nom_board_price *out);

/**
 * nomux_board_reclaim - is memory of a grant asked back?
 * @ctx: context
 * @grant: nomux_mem_id()
 * @out: consistent copy of the notice: how much is wanted still, and by when
 *
 * Threads: any, upcall handlers included; no system call.
 * Return: 0, -ENOENT (nothing is asked), -EAGAIN, -EINVAL.
 */
NOMUX_API int nomux_board_reclaim(struct nomux_ctx *ctx, uint64_t grant,
				  struct nom_board_reclaim *out);

#define NOMUX_PRICE_WORDS	(NOM_PRICE_NAME_MAX / 8)

/**
 * struct nomux_price - where a price stands on the board
 * @board: the mapping it is in, read-only
 * @record: in it; another price may stand there once one was taken off the board
 * @name: whose place it is, filled up with zeroes
 */
struct nomux_price {
	const struct nom_board *board;
	const struct nom_board_price *record;
	uint64_t name[NOMUX_PRICE_WORDS];
};

/**
 * nomux_price_find - look a price's place up, to read it often
 * @ctx: context, keeps the mapping
 * @name: as published
 * @out: for nomux_price_read(), as long as @ctx is open
 *
 * Threads: any; no system call.
 * Return: 0, -ENOENT (nobody published such a price), -EAGAIN, -EINVAL.
 */
NOMUX_API int nomux_price_find(struct nomux_ctx *ctx, const char *name, struct nomux_price *out);

/* Does the price still stand there? */
static inline bool nomux__price_is(const struct nomux_price *p)
{
	const volatile uint64_t *at = (const volatile uint64_t *)(const void *)p->record->name;

	return at[0] == p->name[0] && at[1] == p->name[1] && at[2] == p->name[2];
}

/* While an update is going on, or when another price stands there. */
NOMUX_API int nomux__price_read_slow(const struct nomux_price *p, int64_t *ucr_out,
				     uint64_t *changes_out);

/**
 * nomux_price_read - what it is now
 * @p: of nomux_price_find()
 * @ucr_out: micro-credits per unit
 * @changes_out: how often it was set: grows when it changes
 *
 * The two belong together.  Some 25 instructions.
 * Threads: any.
 * Return: 0, -ENOENT (the price is gone or stands elsewhere: look it up anew),
 * -EAGAIN (updates kept coming).
 */
static inline int nomux_price_read(const struct nomux_price *p, int64_t *ucr_out,
				   uint64_t *changes_out)
{
	uint32_t seq = __atomic_load_n(&p->board->seq, __ATOMIC_ACQUIRE);
	bool same = nomux__price_is(p);

	*ucr_out = __atomic_load_n(&p->record->price_ucr, __ATOMIC_RELAXED);
	*changes_out = __atomic_load_n(&p->record->changes, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);	/* partner: the kernel's W1, see memory-ordering.rst */
	if (__builtin_expect(same && !(seq & 1) &&
			     __atomic_load_n(&p->board->seq, __ATOMIC_RELAXED) == seq, 1))
		return 0;
	return nomux__price_read_slow(p, ucr_out, changes_out);
}

/**
 * nomux_board_changes - how often a class changed; one load
 * @ctx: context
 * @c: class
 *
 * Cheap enough to compare on every turn of a poll loop.
 */
NOMUX_API uint64_t nomux_board_changes(struct nomux_ctx *ctx, enum nom_board_class c);

#endif /* NOMUX_BOARD_H */
