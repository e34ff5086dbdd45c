/* SPDX-License-Identifier: MIT */
/*
 * A group: user threads that share several cores.
 *
 * Each core is a kernel thread that calls nomux_group_run(), after
 * nomux_core_enter() if it is a leased one.  A core without work steals half of
 * another's ready threads: those that have not started yet, and those made with
 * NOMUX_THREAD_MIGRATE.  Others stay on the core on which they started.
 *
 *	nomux_group_create(NULL, &g);
 *	opts.group = g;
 *	nomux_thread_create(first, NULL, &opts, &t);	threads they make are the group's
 *	on each core:	nomux_group_run(g);	returns when no thread is left
 *	nomux_join(t);
 *	nomux_group_destroy(g);
 */
#ifndef NOMUX_GROUP_H
#define NOMUX_GROUP_H

#include <nomux/api.h>

struct nomux_group;

#define NOMUX_GROUP_CORES	64	/* at most */

/**
 * struct nomux_group_opts - how a group idles
 * @sz: sizeof(struct nomux_group_opts)
 * @spin_ns: how long a core looks for work before it sleeps; 0 for the default
 *	of 20 us.  A core that spins is woken in some 100 ns, one that sleeps in
 *	microseconds.
 */
struct nomux_group_opts {
	size_t sz;
	uint64_t spin_ns;
};

/**
 * nomux_group_create - make a group without threads and cores
 * @opts: options, or NULL
 * @out: the group; give back with nomux_group_destroy()
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
NOMUX_API int nomux_group_create(const struct nomux_group_opts *opts, struct nomux_group **out);

/**
 * nomux_group_run - work for the group until no thread of it is left
 * @g: group
 *
 * The caller must be a kernel thread's own user thread ("main"), and that have
 * no other ones.  All cores return together.
 *
 * Return: 0 (at once when the group has no threads), -EBUSY (the kernel thread
 * has user threads of its own, or NOMUX_GROUP_CORES are at work), -EINVAL,
 * -ENOMEM.
 */
NOMUX_API int nomux_group_run(struct nomux_group *g);

/** nomux_group_destroy - free it; Return: 0, -EBUSY (threads or cores left), -EINVAL */
NOMUX_API int nomux_group_destroy(struct nomux_group *g);

#endif /* NOMUX_GROUP_H */
