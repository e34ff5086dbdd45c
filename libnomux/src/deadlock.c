// SPDX-License-Identifier: MIT
/* Who waits for what, when nobody can go on. */
#include <syslog.h>

#include <nomux/log.h>

#include "thread_internal.h"

static const char *const what[] = {
	[WAIT_SLEEP] = "a time", [WAIT_JOIN] = "the end", [WAIT_MUTEX] = "a mutex",
	[WAIT_READ] = "a lock to read", [WAIT_WRITE] = "a lock to write",
	[WAIT_COND] = "a signal", [WAIT_SEM] = "a semaphore",
	[WAIT_SEM_EXTERNAL] = "a semaphore from outside", [WAIT_SEND] = "room in a channel",
	[WAIT_RECV] = "an item of a channel", [WAIT_OFFLOAD] = "a helper",
};

static const char *name_of(const struct nomux_thread *t)
{
	return t ? t->name : "nobody";
}

/* Whose doing it would be; NULL: anybody's. */
static const char *waits_for(const struct nomux_thread *t)
{
	const struct nomux_mutex *m = t->wait_on;
	const struct nomux_rwlock *rw = t->wait_on;
	const struct nomux_thread *writer;

	switch (t->wait_kind) {
	case WAIT_JOIN:
		return name_of(t->wait_on);
	case WAIT_MUTEX:
		/* written by other cores, which sleep by now */
		return name_of((struct nomux_thread *)(__atomic_load_n(&m->owner, __ATOMIC_RELAXED) & ~1UL));
	case WAIT_READ:
	case WAIT_WRITE:
		writer = __atomic_load_n(&rw->writer, __ATOMIC_RELAXED);
		return writer ? writer->name :
		       __atomic_load_n(&rw->readers, __ATOMIC_RELAXED) ? "readers" : "nobody";
	default:
		return NULL;
	}
}

void nomux__deadlock_report(const struct nomux_thread *all)
{
	const struct nomux_thread *t;
	const char *of;

	nomux_log(LOG_ERR, "nomux: deadlock, every user thread waits for another:");
	for (t = all; t; t = t->all_next) {
		if (t->wait_kind == WAIT_NONE)
			continue;
		of = waits_for(t);
		nomux_log(LOG_ERR, "nomux:   %s=%p waits for %s%s%s, object=%p", t->name,
			  (const void *)t, what[t->wait_kind], of ? " of " : "", of ? of : "",
			  t->wait_on);
	}
}
