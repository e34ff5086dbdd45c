/* SPDX-License-Identifier: MIT */
/*
 * Client of the kernel's "nom" generic netlink family (<linux/nom.h>): dumps of
 * cores, grants, devices and prices, price setting, and change notifications.
 *
 * Errors of the kernel arrive as the -errno the kernel gave, with its own words
 * in econ_nl_why() when it had any.  Threads: one at a time per handle.
 */
#ifndef ECON_NL_H
#define ECON_NL_H

#include <stddef.h>
#include <stdint.h>

#include <linux/nom.h>

struct econ_nl;

/**
 * struct econ_nl_record - one message of the family, decoded
 * @cmd: enum nom_genl_cmd
 * @present: bit per enum nom_genl_attr that the message had; the rest is 0
 *
 * Numbers wider than the attribute on the wire are fine; strings are cut and
 * always terminated.
 */
struct econ_nl_record {
	unsigned cmd;
	uint64_t present;
	uint32_t version, nr_cores, cpu, state, pid, uid, bdf, class_code, node;
	uint16_t vendor, device;
	uint64_t features, handle;
	uint64_t mem_total_bytes, mem_free_bytes, mem_granted_bytes, mem_quarantined_bytes;
	uint64_t mem_mapped_bytes;
	uint64_t mem_wanted_bytes;	/* asked back of a grant */
	uint64_t deadline_ns;		/* CLOCK_MONOTONIC */
	uint64_t events, traps, posts, restarts, kicks, failed;
	uint32_t event, irq, flags, nr_bindings;
	uint64_t signals, pauses;
	uint64_t cores_max, mem_max, bindings_max, notify_refused, notify_max;
	int64_t price_ucr;
	uint64_t price_since_ns;	/* CLOCK_MONOTONIC */
	char comm[32];
	char price_name[NOM_PRICE_NAME_MAX];
	char price_unit[NOM_PRICE_NAME_MAX];
};

/* A return other than 0 ends the iteration and is passed on. */
typedef int (*econ_nl_fn)(const struct econ_nl_record *record, void *arg);

/**
 * econ_nl_open - connect and find the family
 * @nl_out: close with econ_nl_close()
 *
 * Return: 0, -ENODEV (this kernel has no nom family), -ENOMEM, -errno of the
 * socket.
 */
int econ_nl_open(struct econ_nl **nl_out);

/** econ_nl_close - NULL is fine */
void econ_nl_close(struct econ_nl *nl);

/** econ_nl_why - what the kernel said with the last error, "" if nothing */
const char *econ_nl_why(const struct econ_nl *nl);

/**
 * econ_nl_get - NOM_GENL_CMD_GET_*: one record, or one for each of a dump
 * @cmd: which
 * @fn: called for each record
 *
 * Return: 0, what @fn returned, or -errno; -ENODEV when the module went away.
 */
int econ_nl_get(struct econ_nl *nl, enum nom_genl_cmd cmd, econ_nl_fn fn, void *arg);

/**
 * econ_nl_set_price - put a price on the board
 * @name: [a-z0-9_.-]
 * @unit: NULL or "": keep the unit on the board
 * @ucr: per unit, 0 .. NOM_PRICE_MAX_UCR
 *
 * Return: 0, -EPERM (needs CAP_NET_ADMIN), -EINVAL, -ENOSPC (the board is full),
 * -ENODEV.
 */
int econ_nl_set_price(struct econ_nl *nl, const char *name, const char *unit, int64_t ucr);

/**
 * econ_nl_reclaim - ask a grant's owner for memory
 * @grant: handle of NOM_GENL_CMD_GET_GRANTS
 * @bytes: a multiple of 2 MiB, not more than it has
 * @deadline_ms: from now; then the kernel takes what is missing
 *
 * Return: 0, -ENOENT (no such grant), -EBUSY (asked already), -EPERM (needs
 * CAP_SYS_ADMIN), -EINVAL, -ERANGE, -ENOSPC (too many notices), -ENODEV.
 */
int econ_nl_reclaim(struct econ_nl *nl, uint64_t grant, uint64_t bytes, uint32_t deadline_ms);

/**
 * econ_nl_del_price - take a price off the board
 * @name: which
 *
 * Return: 0, -ENOENT (no such price), -EPERM (needs CAP_NET_ADMIN), -ENODEV,
 * -EOPNOTSUPP (a module without NOM_FEATURE_PRICE_DEL).
 */
int econ_nl_del_price(struct econ_nl *nl, const char *name);

/**
 * econ_nl_watch - wait for change notifications
 * @fn: called for each
 * @timeout_ms: return 0 after so long without one; -1: never
 *
 * The first call joins the multicast group; changes before it are not seen.
 * Return: 0, what @fn returned, -EINTR (a signal), -errno.
 */
int econ_nl_watch(struct econ_nl *nl, econ_nl_fn fn, void *arg, int timeout_ms);

#endif /* ECON_NL_H */
