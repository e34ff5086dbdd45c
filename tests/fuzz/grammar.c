// SPDX-License-Identifier: MIT
/*
 * nom-fuzz: the grammar - which calls there are, and programs made of them.
 *
 * A new ioctl is one row.  Its fields are given by name; what each may hold is a
 * kind of fuzz.h.  "size" is not listed: K_MODE chooses it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"

#define F(type, name, what, par) \
	{ .kind = (what), .param = (par), .offset = offsetof(struct type, name), \
	  .bytes = sizeof(((struct type *)0)->name) }
/* Must be 0 unless a flag is set, and mostly is. */
#define WITH(flag, type, name, what, par) \
	{ .kind = (what), .param = (par), .offset = offsetof(struct type, name), \
	  .bytes = sizeof(((struct type *)0)->name), .with = (flag) }
#define OUT(type, name, what) { .kind = (what), .offset = offsetof(struct type, name) }
#define OUTS(...) .out = { __VA_ARGS__ }
#define IOCTL(w, command, fdkind, type, ...) \
	{ .name = #command, .weight = (w), .cmd = (command), .on = (fdkind), \
	  .size = sizeof(struct type), .field = { { .kind = (fdkind) }, { .kind = K_MODE }, __VA_ARGS__ } }
#define IOCTL_OUT(w, command, fdkind, type, outs, ...) \
	{ .name = #command, .weight = (w), .cmd = (command), .on = (fdkind), outs, \
	  .size = sizeof(struct type), .field = { { .kind = (fdkind) }, { .kind = K_MODE }, __VA_ARGS__ } }
#define CALL(w, fn, ...) { .name = #fn, .weight = (w), .run = fz_##fn, .field = { __VA_ARGS__ } }
#define A(what)		{ .kind = (what) }
#define AP(what, par)	{ .kind = (what), .param = (par) }

/* What later versions of the ABI have more, so that the fuzzer builds with each. */
#ifdef NOM_CLAIM_WAIT
#define CLAIM_FLAGS	(NOM_CLAIM_WAIT | NOM_CLAIM_NOTIFY_UID | NOM_CLAIM_NOTIFY_ANY)
#define CLAIM_MORE	, WITH(NOM_CLAIM_WAIT, nom_core_claim, deadline_ns, K_DEADLINE, 0), \
			WITH(NOM_CLAIM_NOTIFY_UID, nom_core_claim, notify_uid, K_SMALL, 2000), \
			F(nom_core_claim, reserved, K_FLAGS, 0)
#else
#define CLAIM_FLAGS	0
#define CLAIM_MORE
#endif
#ifdef NOM_MEM_RETURN
#define GRANT_ID	, OUT(nom_mem_grant, out_id, K_GRANT_ID)
#else
#define GRANT_ID
#endif
/* The argument of all that take an array of pieces. */
#define PIECES(w, command, which) \
	{ .name = #command, .weight = (w), .cmd = (command), .on = K_GRANT, .size = sizeof(struct nom_mem_map), \
	  .field = { { .kind = K_GRANT }, { .kind = K_MODE }, F(nom_mem_map, entries, K_ENTRIES, which), \
		     F(nom_mem_map, flags, K_FLAGS, 0) } }

const struct fz_op fz_ops[] = {
	/* /dev/nom */
	IOCTL(2, NOM_GET_INFO, K_NOM, nom_info, F(nom_info, flags, K_FLAGS, 0)),
	IOCTL_OUT(14, NOM_CORE_CLAIM, K_NOM, nom_core_claim,
		  OUTS(OUT(nom_core_claim, out_core_fd, K_CORE), OUT(nom_core_claim, out_handle, K_HANDLE)),
		  F(nom_core_claim, flags, K_FLAGS, CLAIM_FLAGS), F(nom_core_claim, cpu, K_CPU, 0),
		  F(nom_core_claim, notify_mask, K_FLAGS, ~0ULL) CLAIM_MORE),
	IOCTL_OUT(10, NOM_MEM_GRANT, K_NOM, nom_mem_grant,
		  OUTS(OUT(nom_mem_grant, out_grant_fd, K_GRANT) GRANT_ID),
		  F(nom_mem_grant, flags, K_FLAGS, NOM_GRANT_NODE), F(nom_mem_grant, bytes, K_CHUNKS, 0),
		  WITH(NOM_GRANT_NODE, nom_mem_grant, node, K_SMALL, 1)),
	IOCTL(10, NOM_NOTIFY, K_NOM, nom_notify, F(nom_notify, event, K_EVENT, 0),
	      F(nom_notify, handle, K_HANDLE, 0)),
#ifdef NOM_GET_LIMITS
	IOCTL(2, NOM_GET_LIMITS, K_NOM, nom_limits, F(nom_limits, flags, K_FLAGS, 0)),
#endif
	/* a lease */
	IOCTL(16, NOM_CORE_ENTER, K_CORE, nom_core_enter, F(nom_core_enter, flags, K_FLAGS, 0),
	      F(nom_core_enter, regs.entry, K_UPCALL_ADDR, 0), F(nom_core_enter, regs.stack_lo, K_UPCALL_ADDR, 1),
	      F(nom_core_enter, regs.stack_hi, K_UPCALL_ADDR, 2), F(nom_core_enter, regs.restart_start, K_UPCALL_ADDR, 3),
	      F(nom_core_enter, regs.restart_end, K_UPCALL_ADDR, 4), F(nom_core_enter, regs.restart_abort, K_UPCALL_ADDR, 5),
	      F(nom_core_enter, regs.trap_mask, K_FLAGS, NOM_TRAPS_SUPPORTED)),
	IOCTL(6, NOM_CORE_LEAVE, K_CORE, nom_info),
	IOCTL(10, NOM_CORE_BIND, K_CORE, nom_core_bind, F(nom_core_bind, event, K_EVENT, 0),
	      F(nom_core_bind, fd, K_EVENTFD, 0), F(nom_core_bind, flags, K_FLAGS, 0)),
	IOCTL(5, NOM_CORE_UNBIND, K_CORE, nom_core_bind, F(nom_core_bind, event, K_EVENT, 0),
	      F(nom_core_bind, fd, K_EVENTFD, 0), F(nom_core_bind, flags, K_FLAGS, 0)),
	IOCTL(8, NOM_CORE_TIMER, K_CORE, nom_core_timer, F(nom_core_timer, event, K_EVENT, 0),
	      F(nom_core_timer, flags, K_FLAGS, NOM_TIMER_ABS), F(nom_core_timer, reserved, K_FLAGS, 0),
	      F(nom_core_timer, ns, K_NS, 0)),
	IOCTL(6, NOM_CORE_SUBSCRIBE, K_CORE, nom_core_subscribe, F(nom_core_subscribe, event, K_EVENT, 0),
	      F(nom_core_subscribe, classes, K_FLAGS, (1 << NOM_BOARD_NR_CLASSES) - 1)),
	IOCTL(4, NOM_CORE_STATS, K_CORE, nom_core_stats, F(nom_core_stats, flags, K_FLAGS, 0)),
#ifdef NOM_CORE_MASK
	IOCTL(4, NOM_CORE_MASK, K_CORE, nom_core_bind, F(nom_core_bind, event, K_EVENT, 0),
	      F(nom_core_bind, fd, K_EVENTFD, 0), F(nom_core_bind, flags, K_FLAGS, 0)),
	IOCTL(4, NOM_CORE_UNMASK, K_CORE, nom_core_bind, F(nom_core_bind, event, K_EVENT, 0),
	      F(nom_core_bind, fd, K_EVENTFD, 0), F(nom_core_bind, flags, K_FLAGS, 0)),
#endif
#ifdef NOM_CORE_BINDING
	IOCTL(3, NOM_CORE_BINDING, K_CORE, nom_core_binding, F(nom_core_binding, index, K_SMALL, 3),
	      F(nom_core_binding, flags, K_FLAGS, 0)),
#endif
#ifdef NOM_CORE_WAIT
	IOCTL(4, NOM_CORE_WAIT, K_CORE, nom_core_wait, F(nom_core_wait, flags, K_FLAGS, 0), F(nom_core_wait, ns, K_SMALL, 100000)),
#endif
	/* a grant */
	PIECES(18, NOM_MEM_MAP, 0),
	PIECES(10, NOM_MEM_UNMAP, 0),
#ifdef NOM_MEM_PROTECT
	PIECES(8, NOM_MEM_PROTECT, 0),
#endif
#ifdef NOM_MEM_PROMOTE
	PIECES(6, NOM_MEM_PROMOTE, 0),
	PIECES(6, NOM_MEM_DEMOTE, 0),
#endif
#ifdef NOM_MEM_RETURN
	PIECES(4, NOM_MEM_RETURN, FZ_PIECES_OF_GRANT),
	IOCTL(2, NOM_MEM_INFO, K_GRANT, nom_mem_info, F(nom_mem_info, flags, K_FLAGS, 0),
	      F(nom_mem_info, held, K_BUFFER, 0), F(nom_mem_info, nr_held, K_SMALL, 3)),
#endif
#ifdef NOM_MEM_QUERY
	IOCTL(6, NOM_MEM_QUERY, K_GRANT, nom_mem_query,
	      F(nom_mem_query, flags, K_FLAGS, NOM_QUERY_CLEAR_YOUNG | NOM_QUERY_CLEAR_DIRTY),
	      F(nom_mem_query, va, K_ADDR, K_GRANT), F(nom_mem_query, bytes, K_LEN, 0),
	      F(nom_mem_query, mapped, K_BUFFER, 0), F(nom_mem_query, young, K_BUFFER, 0),
	      F(nom_mem_query, dirty, K_BUFFER, 0)),
#endif
	IOCTL(4, NOM_MEM_PHYS, K_GRANT, nom_mem_phys, F(nom_mem_phys, flags, K_FLAGS, 0),
	      F(nom_mem_phys, offset, K_GRANT_OFFSET, 0), F(nom_mem_phys, bdf, K_BDF, 0),
	      F(nom_mem_phys, reserved, K_FLAGS, 0)),

	IOCTL_OUT(4, NOM_MMIO_OPEN, K_NOM, nom_mmio_open, OUTS(OUT(nom_mmio_open, out_fd, K_MMIO)),
		  F(nom_mmio_open, flags, K_FLAGS, 0), F(nom_mmio_open, name, K_NAME, 0)),
	IOCTL(6, NOM_MMIO_IRQ, K_MMIO, nom_mmio_irq, F(nom_mmio_irq, flags, K_FLAGS, 0),
	      F(nom_mmio_irq, rx_fd, K_EVENTFD, 0), F(nom_mmio_irq, config_fd, K_EVENTFD, 0)),

	/* descriptors and mappings */
	CALL(3, open_nom, A(K_ANY)),
	CALL(4, mmap_board, A(K_NOM), A(K_LEN), A(K_PROT), AP(K_SMALL, 4)),
	CALL(12, mmap_core, A(K_CORE), A(K_PROT), AP(K_SMALL, 40)),
	CALL(12, mmap_window, A(K_GRANT), A(K_LEN), A(K_PROT), AP(K_SMALL, 40)),
	CALL(3, mmap_mmio, A(K_MMIO), A(K_LEN), A(K_PROT)),
	CALL(3, phys_mmio, A(K_GRANT), A(K_MMIO), A(K_GRANT_OFFSET)),
	CALL(6, mmap_dma, A(K_GRANT), A(K_LEN), A(K_PROT), A(K_GRANT_OFFSET)),
	CALL(1, mmap_any, A(K_FD), A(K_LEN), A(K_PROT), A(K_ANY)),
	CALL(5, munmap, A(K_ADDR), A(K_LEN)),
	CALL(5, mprotect, A(K_ADDR), A(K_LEN), A(K_PROT)),
	CALL(4, mremap, A(K_ADDR), A(K_LEN), A(K_LEN), AP(K_SMALL, 8)),
	CALL(4, madvise, A(K_ADDR), A(K_LEN), AP(K_SMALL, 26)),
	CALL(2, mlock, A(K_ADDR), A(K_LEN), AP(K_SMALL, 4)),
	CALL(16, touch, A(K_ADDR), AP(K_SMALL, 3)),
	CALL(3, gup, A(K_ADDR), A(K_LEN), AP(K_SMALL, 4)),
	CALL(3, proc_mem, A(K_ADDR), AP(K_SMALL, 2)),
	CALL(1, uffd, A(K_ADDR), A(K_LEN)),
	CALL(5, eventfd, AP(K_SMALL, 3), AP(K_SMALL, 4)),
	CALL(10, efd_write, A(K_EVENTFD), AP(K_SMALL, 9)),
	CALL(3, read_fd, A(K_FD), A(K_ADDR), AP(K_SMALL, 64)),
	CALL(6, close_fd, A(K_FD)),
	CALL(2, dup_fd, A(K_FD)),
	CALL(2, poll_fd, A(K_FD)),
	/* threads, processes, signals */
	CALL(3, fork_child, AP(K_SMALL, 5)),
	CALL(4, signal_thread, AP(K_SMALL, FZ_THREADS), AP(K_SMALL, 3)),
	CALL(1, end, AP(K_SMALL, 5)),
	CALL(2, alarm, A(K_NS)),
	CALL(12, unmask, AP(K_SMALL, 3)),
	CALL(3, write_shared, AP(K_SMALL, 80), A(K_ANY)),
	CALL(8, trap, AP(K_SMALL, 12)),
	CALL(3, nap, A(K_NS)),
	CALL(5, spin, AP(K_SMALL, 30000)),
	CALL(2, affinity, A(K_CPU)),
	CALL(2, read_path, A(K_PATH)),
	CALL(1, hotplug, A(K_CPU), AP(K_SMALL, 2)),
	CALL(1, vfio_move, AP(K_SMALL, 2)),
	CALL(1, set_param, AP(K_SMALL, 6), AP(K_SMALL, 8)),
	CALL(1, mem_release, A(K_NOM), A(K_CHUNKS), A(K_CPU)),
	/* netlink */
	CALL(2, nl_open, AP(K_SMALL, 4)),
	CALL(12, nl_send, A(K_NETLINK), AP(K_SMALL, NOM_GENL_CMD_GET_USERS + 2), A(K_SEED)),
	CALL(5, nl_read, A(K_NETLINK), AP(K_SMALL, 9)),
};
const unsigned int fz_nr_ops = sizeof(fz_ops) / sizeof(fz_ops[0]);

bool fz_op_is_ioctl(const struct fz_op *op)
{
	return !op->run;
}

unsigned int fz_op_args(const struct fz_op *op)
{
	unsigned int n = 0;

	while (n < FZ_ARGS && op->field[n].kind != K_NONE)
		n++;
	return n;
}

static int op_named(const char *name)
{
	unsigned int i;

	for (i = 0; i < fz_nr_ops; i++)
		if (!strcmp(fz_ops[i].name, name))
			return i;
	return -ENOENT;
}

/* ----------------------------------------------------------- programs --- */

static void make_args(struct fz_call *c, struct fz_rng *r)
{
	const struct fz_op *op = &fz_ops[c->op];
	unsigned int i, n = fz_op_args(op);

	memset(c->arg, 0, sizeof(c->arg));
	for (i = 0; i < n; i++) {
		c->arg[i] = fz_value_make(&op->field[i], r);
		/* the flags are the first field behind descriptor and K_MODE */
		if (op->field[i].with && !(c->arg[2] & op->field[i].with) && fz_percent(r, 92))
			c->arg[i] = 0;
	}
}

static void make_call(struct fz_call *c, unsigned int threads, struct fz_rng *r)
{
	static unsigned int total;
	unsigned int i, pick;

	if (!total)
		for (i = 0; i < fz_nr_ops; i++)
			total += fz_ops[i].weight;
	pick = fz_below(r, total);
	for (i = 0; pick >= fz_ops[i].weight; i++)
		pick -= fz_ops[i].weight;
	c->op = i;
	c->thread = fz_below(r, threads);
	make_args(c, r);
}

/* What most calls need before they can do anything; everything else is chance. */
static const char *const openings[][6] = {
	{ "NOM_CORE_CLAIM", "mmap_core", "NOM_CORE_ENTER", "unmask" },
	{ "NOM_CORE_CLAIM", "mmap_core", "eventfd", "NOM_CORE_BIND", "NOM_CORE_ENTER", "unmask" },
	{ "NOM_CORE_CLAIM", "eventfd", "NOM_CORE_BIND", "NOM_CORE_MASK", "NOM_CORE_UNMASK", "NOM_CORE_UNBIND" },
	{ "NOM_MEM_GRANT", "mmap_window", "NOM_MEM_MAP", "touch", "NOM_MEM_UNMAP" },
	{ "NOM_MEM_GRANT", "mmap_dma", "touch" },
	{ "NOM_MMIO_OPEN", "eventfd", "NOM_MMIO_IRQ", "NOM_MEM_GRANT", "phys_mmio", "mmap_mmio" },
	{ "NOM_CORE_CLAIM", "NOM_NOTIFY", "NOM_CORE_SUBSCRIBE", "NOM_CORE_STATS" },
	{ "NOM_MEM_GRANT", "mmap_window", "NOM_MEM_MAP", "NOM_MEM_PROTECT", "NOM_MEM_QUERY", "NOM_MEM_UNMAP" },
	{ "NOM_MEM_GRANT", "mmap_window", "NOM_MEM_MAP", "NOM_MEM_PROMOTE", "NOM_MEM_DEMOTE" },
	{ "NOM_MEM_GRANT", "mmap_dma", "touch", "NOM_MEM_RETURN", "nl_open", "nl_send" },
	{ "NOM_CORE_CLAIM", "mmap_core", "NOM_MEM_GRANT", "mmap_window", "NOM_CORE_ENTER", "touch" },
	{ NULL },
};

void fz_program_make(struct fz_program *p, struct fz_rng *r)
{
	unsigned int o, i, nr = 4 + fz_below(r, FZ_CALLS - 12);

	memset(p, 0, sizeof(*p));
	p->threads = 1 + fz_below(r, FZ_THREADS);
	p->unprivileged = fz_percent(r, 30);
	for (o = 1 + fz_below(r, 3); o; o--) {
		const char *const *names = openings[fz_below(r, sizeof(openings) / sizeof(openings[0]))];
		unsigned int thread = fz_below(r, p->threads);

		for (i = 0; i < 6 && names[i] && p->nr < FZ_CALLS - 6; i++) {
			struct fz_call *c = &p->call[p->nr++];
			int op = op_named(names[i]);

			if (op < 0)
				abort();	/* a row was renamed */
			c->op = op;
			c->thread = thread;
			make_args(c, r);
		}
	}
	while (p->nr < nr)
		make_call(&p->call[p->nr++], p->threads, r);
}

static void insert(struct fz_program *p, unsigned int at, const struct fz_call *c)
{
	if (p->nr == FZ_CALLS)
		p->nr--;
	memmove(&p->call[at + 1], &p->call[at], (p->nr - at) * sizeof(*c));
	p->call[at] = *c;
	p->nr++;
}

/**
 * fz_program_change - a neighbour of a program that was worth keeping
 * @p: changed
 * @other: another one, to take a part of
 * @r: chance
 */
void fz_program_change(struct fz_program *p, const struct fz_program *other, struct fz_rng *r)
{
	unsigned int turns = 1 + fz_below(r, 4), at, n;
	struct fz_call c;

	while (turns--) {
		at = fz_below(r, p->nr);
		switch (fz_below(r, 7)) {
		case 0: case 1:		/* another value */
			n = fz_op_args(&fz_ops[p->call[at].op]);
			if (n) {
				n = fz_below(r, n);
				p->call[at].arg[n] = fz_value_make(&fz_ops[p->call[at].op].field[n], r);
			}
			break;
		case 2:			/* another call between */
			make_call(&c, p->threads, r);
			insert(p, at < FZ_CALLS - 1 ? at : 0, &c);
			break;
		case 3:			/* one less */
			if (p->nr > 2) {
				memmove(&p->call[at], &p->call[at + 1], (p->nr - at - 1) * sizeof(c));
				p->nr--;
			}
			break;
		case 4:			/* the same again, perhaps by another thread */
			c = p->call[at];
			c.thread = fz_below(r, p->threads);
			insert(p, at < FZ_CALLS - 1 ? at : 0, &c);
			break;
		case 5:			/* the other's end behind our beginning */
			for (n = fz_below(r, other->nr); n < other->nr && at < FZ_CALLS; n++) {
				p->call[at] = other->call[n];
				p->call[at].thread %= p->threads;
				if (++at > p->nr)
					p->nr = at;
			}
			break;
		default:		/* who runs what */
			p->threads = 1 + fz_below(r, FZ_THREADS);
			p->unprivileged = fz_percent(r, 30);
			for (n = 0; n < p->nr; n++)
				p->call[n].thread %= p->threads;
			p->call[at].thread = fz_below(r, p->threads);
		}
	}
}

/* --------------------------------------------------------------- text --- */

size_t fz_program_print(const struct fz_program *p, char *text, size_t bytes)
{
	unsigned int i, k;
	size_t n;

	n = snprintf(text, bytes, "program threads=%u unprivileged=%u\n", p->threads, p->unprivileged);
	for (i = 0; i < p->nr; i++) {
		const struct fz_op *op = &fz_ops[p->call[i].op];

		n += snprintf(text + n, bytes - n, "%u %s", p->call[i].thread, op->name);
		for (k = 0; k < fz_op_args(op); k++)
			n += snprintf(text + n, bytes - n, " %llx", (unsigned long long)p->call[i].arg[k]);
		n += snprintf(text + n, bytes - n, "\n");
	}
	return n + snprintf(text + n, bytes - n, "end\n");
}

int fz_program_parse(struct fz_program *p, FILE *in)
{
	char line[1024], *word, *rest;
	struct fz_call *c;
	unsigned int k;
	int op;

	memset(p, 0, sizeof(*p));
	do {
		if (!fgets(line, sizeof(line), in))
			return 1;
	} while (sscanf(line, "program threads=%u unprivileged=%u", &p->threads, &p->unprivileged) != 2);
	if (!p->threads || p->threads > FZ_THREADS)
		return -EINVAL;
	while (fgets(line, sizeof(line), in)) {
		if (!strncmp(line, "end", 3))
			return p->nr ? 0 : -EINVAL;
		if (p->nr == FZ_CALLS)
			return -EINVAL;
		c = &p->call[p->nr];
		c->thread = strtoul(line, &rest, 10);
		word = strtok(rest, " \n");
		op = word ? op_named(word) : -ENOENT;
		if (op < 0 || c->thread >= p->threads)
			return -EINVAL;
		c->op = op;
		for (k = 0; k < FZ_ARGS && (word = strtok(NULL, " \n")); k++)
			c->arg[k] = strtoull(word, NULL, 16);
		p->nr++;
	}
	return -EINVAL;		/* cut off */
}
