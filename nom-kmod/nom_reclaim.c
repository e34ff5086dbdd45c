// SPDX-License-Identifier: GPL-2.0
/*
 * nom: reclaim notices - asking a grant's owner for memory, and taking it.
 *
 * Whoever may (CAP_SYS_ADMIN, over netlink) names a grant, a number of bytes and
 * a deadline.  The notice stands on the bulletin board, is an event to leases
 * that subscribed to its class, and news on netlink.  The owner chooses what it can
 * do without and returns that (NOM_MEM_RETURN).  What is missing at the deadline is
 * taken from it (nom_revoke.c): no sooner, and no more.
 *
 * A notice is a part of the extent and stands under the pool's lock.  One work
 * item, queued for the earliest deadline, carries all of them out.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/workqueue.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_RECLAIM_RETRY_MS	20	/* the kernel had no memory to do it with */

static void nom_reclaim_due(struct work_struct *work);
static DECLARE_DELAYED_WORK(nom_reclaim_work, nom_reclaim_due);

static void nom_reclaim_publish(const struct nom_extent *extent)
{
	struct nom_board_reclaim record = {
		.grant = extent->id,
		.bytes = extent->wanted_bytes,
		.deadline_ns = extent->deadline_ns,
		.pid = extent->owner.pid,
		.uid = from_kuid_munged(&init_user_ns, extent->owner.uid),
	};

	/* it has its place there, or none was needed when it was made */
	nom_board_reclaim_set(&record);
}

static void nom_reclaim_done(struct nom_extent *extent, enum nom_reclaim_state state)
{
	extent->wanted_bytes = 0;
	nom_board_reclaim_del(extent->id, state);
}

/**
 * nom_reclaim_met - an extent lost memory, one way or the other
 * @extent: the extent
 * @bytes: how much
 *
 * Context: the pool's lock is held.
 */
void nom_reclaim_met(struct nom_extent *extent, u64 bytes)
{
	if (!extent->wanted_bytes)
		return;
	if (bytes < extent->wanted_bytes) {
		extent->wanted_bytes -= bytes;
		nom_reclaim_publish(extent);
		return;
	}
	nom_reclaim_done(extent, extent->revoking ? NOM_RECLAIM_TAKEN : NOM_RECLAIM_MET);
}

/**
 * nom_reclaim_end - an extent ends
 * @extent: the extent
 *
 * Context: the pool's lock is held.
 */
void nom_reclaim_end(struct nom_extent *extent)
{
	if (extent->wanted_bytes)
		nom_reclaim_done(extent, NOM_RECLAIM_ENDED);
}

/* ------------------------------------------------------- deadlines --- */

struct nom_owed {
	struct nom_extent *extent;
	u64 bytes;
};

static int nom_reclaim_read_owed(void *arg)
{
	struct nom_owed *owed = arg;

	/* a new notice, whose deadline is to come, may stand in the old one's place */
	owed->bytes = owed->extent->revoking ? owed->extent->wanted_bytes : 0;
	return 0;
}

/**
 * nom_reclaim_owed - what an extent should have given by now and has not
 * @extent: its grant's lock is held: it loses nothing meanwhile
 *
 * Return: bytes; never more than it has.
 */
u64 nom_reclaim_owed(struct nom_extent *extent)
{
	struct nom_owed owed = { .extent = extent };

	nom_extent_call(nom_reclaim_read_owed, &owed);
	return owed.bytes;
}

/* Whose turn it is, or how long that takes. */
struct nom_due {
	struct file *file;	/* held */
	u64 wait_ns;		/* until the next; U64_MAX: there is none */
};

static int nom_reclaim_find_due(void *arg)
{
	struct nom_extent *extent = NULL;
	struct nom_due *due = arg;
	u64 now = ktime_get_ns();

	due->file = NULL;
	due->wait_ns = U64_MAX;
	while ((extent = nom_extent_next(extent))) {
		if (!extent->wanted_bytes)
			continue;
		if (extent->deadline_ns > now) {
			due->wait_ns = min(due->wait_ns, extent->deadline_ns - now);
			continue;
		}
		/* none: its release waits for the pool's lock, and ends the notice */
		due->file = get_file_active(&extent->file);
		if (!due->file)
			continue;
		extent->revoking = true;
		return 0;
	}
	return 0;
}

static void nom_reclaim_due(struct work_struct *work)
{
	struct nom_due due;
	int ret = 0;

	do {
		nom_extent_call(nom_reclaim_find_due, &due);
		if (!due.file)
			break;
		ret = nom_revoke(nom_grant_of(due.file));
		fput(due.file);
	} while (!ret);

	if (ret)
		queue_delayed_work(nom_wq, &nom_reclaim_work,
				   msecs_to_jiffies(NOM_RECLAIM_RETRY_MS));
	else if (due.wait_ns != U64_MAX)
		queue_delayed_work(nom_wq, &nom_reclaim_work, nsecs_to_jiffies(due.wait_ns) + 1);
}

/* ------------------------------------------------------------ asking --- */

struct nom_ask {
	u64 id;
	u64 bytes;
	u32 deadline_ms;
};

static int nom_reclaim_note(void *arg)
{
	const struct nom_ask *ask = arg;
	struct nom_extent *extent = nom_extent_find(ask->id);
	int ret;

	if (!extent)
		return -ENOENT;
	if (extent->wanted_bytes)
		return -EBUSY;
	if (ask->bytes > (u64)(extent->nr - extent->nr_gone) << NOM_CHUNK_SHIFT)
		return -EINVAL;
	ret = nom_board_reclaim_room();
	if (ret)
		return ret;
	extent->revoking = false;
	extent->wanted_bytes = ask->bytes;
	extent->deadline_ns = ktime_get_ns() + (u64)ask->deadline_ms * NSEC_PER_MSEC;
	nom_reclaim_publish(extent);
	trace_nom_grant(extent->id, ask->bytes, "reclaim");
	return 0;
}

/**
 * nom_reclaim_ask - ask for a part of a grant
 * @id: the grant's
 * @bytes: how much: a multiple of NOM_CHUNK_BYTES, > 0
 * @deadline_ms: from now; then it is taken
 *
 * Return: 0, -ENOENT (no such grant), -EBUSY (asked already), -EINVAL (more than
 * it has), -ENOSPC (NOM_BOARD_MAX_RECLAIMS notices stand).
 */
int nom_reclaim_ask(u64 id, u64 bytes, u32 deadline_ms)
{
	struct nom_ask ask = { .id = id, .bytes = bytes, .deadline_ms = deadline_ms };
	int ret;

	if (!bytes || !IS_ALIGNED(bytes, NOM_CHUNK_BYTES))
		return -EINVAL;
	ret = nom_extent_call(nom_reclaim_note, &ask);
	if (!ret)
		mod_delayed_work(nom_wq, &nom_reclaim_work, 0);
	return ret;
}

void nom_reclaim_exit(void)
{
	cancel_delayed_work_sync(&nom_reclaim_work);
}
