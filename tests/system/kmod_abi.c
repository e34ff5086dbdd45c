// SPDX-License-Identifier: MIT
/*
 * kmod_abi: how /dev/nom takes its arguments - size first, growing at the end.
 * Every ioctl, each struct short, long, junk and with a tail of zeros, unknown
 * flags and reserved words, and the commands and descriptors that do not fit.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "lib/kmod.h"

enum where { NOM, CORE, GRANT };

/* What a command says to a good struct of the right size (a benign error will do). */
static const struct command {
	const char *name;
	unsigned long cmd;
	enum where where;
	size_t size;
	int good;		/* result of fill() with the right size */
	int flags_at;		/* offset of a flags word, -1: none */
} commands[] = {
	{ "NOM_GET_INFO", NOM_GET_INFO, NOM, sizeof(struct nom_info), 0, 4 },
	{ "NOM_CORE_CLAIM", NOM_CORE_CLAIM, NOM, sizeof(struct nom_core_claim), -ENOENT, 4 },
	{ "NOM_MEM_GRANT", NOM_MEM_GRANT, NOM, sizeof(struct nom_mem_grant), -ENOMEM, 4 },
	{ "NOM_MEM_RELEASE", NOM_MEM_RELEASE, NOM, sizeof(struct nom_mem_release), -EINVAL, 4 },
	{ "NOM_MMIO_OPEN", NOM_MMIO_OPEN, NOM, sizeof(struct nom_mmio_open), -ENODEV, 4 },
	{ "NOM_NOTIFY", NOM_NOTIFY, NOM, sizeof(struct nom_notify), -ENOENT, -1 },
	{ "NOM_GET_LIMITS", NOM_GET_LIMITS, NOM, sizeof(struct nom_limits), 0, 4 },
	{ "NOM_CORE_ENTER", NOM_CORE_ENTER, CORE, sizeof(struct nom_core_enter), -EINVAL, 4 },
	{ "NOM_CORE_BIND", NOM_CORE_BIND, CORE, sizeof(struct nom_core_bind), -EBADF, 12 },
	{ "NOM_CORE_UNBIND", NOM_CORE_UNBIND, CORE, sizeof(struct nom_core_bind), -EBADF, 12 },
	{ "NOM_CORE_TIMER", NOM_CORE_TIMER, CORE, sizeof(struct nom_core_timer), 0, 8 },
	{ "NOM_CORE_SUBSCRIBE", NOM_CORE_SUBSCRIBE, CORE, sizeof(struct nom_core_subscribe), 0, -1 },
	{ "NOM_CORE_STATS", NOM_CORE_STATS, CORE, sizeof(struct nom_core_stats), 0, 4 },
	{ "NOM_CORE_MASK", NOM_CORE_MASK, CORE, sizeof(struct nom_core_bind), -EBADF, 12 },
	{ "NOM_CORE_UNMASK", NOM_CORE_UNMASK, CORE, sizeof(struct nom_core_bind), -EBADF, 12 },
	{ "NOM_CORE_BINDING", NOM_CORE_BINDING, CORE, sizeof(struct nom_core_binding), -ENOENT, 20 },
	{ "NOM_CORE_WAIT", NOM_CORE_WAIT, CORE, sizeof(struct nom_core_wait), -ENXIO, 4 },
	{ "NOM_MEM_MAP", NOM_MEM_MAP, GRANT, sizeof(struct nom_mem_map), -EFAULT, 20 },
	{ "NOM_MEM_UNMAP", NOM_MEM_UNMAP, GRANT, sizeof(struct nom_mem_map), -EFAULT, 20 },
	{ "NOM_MEM_PHYS", NOM_MEM_PHYS, GRANT, sizeof(struct nom_mem_phys), -ENODEV, 4 },
	{ "NOM_MEM_PROTECT", NOM_MEM_PROTECT, GRANT, sizeof(struct nom_mem_map), -EFAULT, 20 },
	{ "NOM_MEM_QUERY", NOM_MEM_QUERY, GRANT, sizeof(struct nom_mem_query), -EFAULT, 4 },
	{ "NOM_MEM_PROMOTE", NOM_MEM_PROMOTE, GRANT, sizeof(struct nom_mem_map), -EOPNOTSUPP, 20 },
	{ "NOM_MEM_DEMOTE", NOM_MEM_DEMOTE, GRANT, sizeof(struct nom_mem_map), -EOPNOTSUPP, 20 },
	{ "NOM_MEM_RETURN", NOM_MEM_RETURN, GRANT, sizeof(struct nom_mem_map), -EOPNOTSUPP, 20 },
	{ "NOM_MEM_INFO", NOM_MEM_INFO, GRANT, sizeof(struct nom_mem_info), 0, 4 },
};

/* A struct that changes nothing: an unknown core, too much memory, no window. */
static struct nom_map_entry nowhere = { .va = 0x1000, .bytes = PAGE, .flags = NOM_MAP_READ };

static void fill(const struct command *c, void *p, size_t size)
{
	memset(p, 0, 2 * PAGE);
	switch (c->cmd) {
	case NOM_CORE_CLAIM:
		((struct nom_core_claim *)p)->cpu = 4095;
		break;
	case NOM_MEM_GRANT:
		((struct nom_mem_grant *)p)->bytes = 1UL << 45;
		break;
	case NOM_MEM_RELEASE:
		((struct nom_mem_release *)p)->node = 4095;	/* never any memory */
		((struct nom_mem_release *)p)->bytes = CHUNK;
		break;
	case NOM_CORE_BIND:
	case NOM_CORE_UNBIND:
	case NOM_CORE_MASK:
	case NOM_CORE_UNMASK:
		((struct nom_core_bind *)p)->fd = -1;
		break;
	case NOM_MEM_MAP:
	case NOM_MEM_UNMAP:
	case NOM_MEM_PROTECT:
	case NOM_MEM_PROMOTE:
	case NOM_MEM_DEMOTE:
	case NOM_MEM_RETURN:
		((struct nom_mem_map *)p)->nr = 1;
		((struct nom_mem_map *)p)->entries = (uintptr_t)&nowhere;
		break;
	case NOM_MEM_QUERY:
		((struct nom_mem_query *)p)->bytes = PAGE;
		break;
	case NOM_MEM_PHYS:
		((struct nom_mem_phys *)p)->bdf = 0xffffffff;
		break;
	}
	*(uint32_t *)p = size;
}

/* Size of a struct's first version. */
static size_t first_size(const struct command *c)
{
	return c->cmd == NOM_MEM_GRANT ? 24 : c->cmd == NOM_CORE_CLAIM ? NOM_CORE_CLAIM_SIZE_V1 : c->size;
}

static void command(const struct command *c, int fd)
{
	static char buf[2 * PAGE] __attribute__((aligned(4096)));
	char *edge;

	fill(c, buf, c->size);
	t_eq(k_ioctl(fd, c->cmd, buf), c->good, "%s: right size", c->name);
	fill(c, buf, first_size(c));
	t_eq(k_ioctl(fd, c->cmd, buf), c->good, "%s: its first version", c->name);
	fill(c, buf, first_size(c) - 1);
	t_eq(k_ioctl(fd, c->cmd, buf), -EINVAL, "%s: a byte short", c->name);
	fill(c, buf, 0);
	t_eq(k_ioctl(fd, c->cmd, buf), -EINVAL, "%s: size 0", c->name);
	fill(c, buf, c->size + 64);
	t_eq(k_ioctl(fd, c->cmd, buf), c->good, "%s: a tail of zeros", c->name);
	fill(c, buf, c->size + 64);
	buf[c->size + 63] = 1;
	t_eq(k_ioctl(fd, c->cmd, buf), -E2BIG, "%s: a tail with a bit set", c->name);
	fill(c, buf, PAGE);
	t_eq(k_ioctl(fd, c->cmd, buf), c->good, "%s: a page of it", c->name);
	fill(c, buf, PAGE + 1);
	t_eq(k_ioctl(fd, c->cmd, buf), -E2BIG, "%s: more than a page", c->name);
	fill(c, buf, 0xffffffff);
	t_eq(k_ioctl(fd, c->cmd, buf), -E2BIG, "%s: junk size", c->name);
	if (c->flags_at >= 0) {
		fill(c, buf, c->size);
		*(uint32_t *)(buf + c->flags_at) = 1U << 31;
		t_eq(k_ioctl(fd, c->cmd, buf), -EOPNOTSUPP, "%s: unknown flag", c->name);
	}
	t_eq(k_ioctl(fd, c->cmd, NULL), -EFAULT, "%s: null pointer", c->name);
	t_eq(k_ioctl(fd, c->cmd, (void *)0xffff800000000000), -EFAULT, "%s: kernel pointer", c->name);

	edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(edge + PAGE, PAGE);
	fill(c, buf, c->size);
	memcpy(edge + PAGE - c->size + 4, buf, c->size - 4);
	t_eq(k_ioctl(fd, c->cmd, edge + PAGE - c->size + 4), -EFAULT, "%s: ends in a hole", c->name);
	munmap(edge, PAGE);
}

static void reserved_words(int nom, int core, int grant)
{
	struct nom_mem_grant g = { .size = sizeof(g), .bytes = CHUNK, .node = 1 };
	struct nom_core_claim c = { .size = sizeof(c), .cpu = 4095, .reserved = 1 };
	struct nom_core_timer t = { .size = sizeof(t), .reserved = 1 };
	struct nom_mem_phys p = { .size = sizeof(p), .reserved = 1, .bdf = 0xffffffff };
	struct nom_mmio_open o = { .size = sizeof(o) };
	struct nom_core_subscribe s = { .size = sizeof(s), .classes = 1ULL << NOM_BOARD_NR_CLASSES };

	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), -EINVAL, "NOM_MEM_GRANT: a node, and not asked for one");
	g.flags = NOM_GRANT_NODE;
	g.node = 0xffffffff;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), -EINVAL, "NOM_MEM_GRANT: a node that cannot be");
	g.flags = 0;
	t_eq(k_ioctl(nom, NOM_CORE_CLAIM, &c), -EINVAL, "NOM_CORE_CLAIM: reserved word");
	c.reserved = 0;
	c.deadline_ns = 1;
	t_eq(k_ioctl(nom, NOM_CORE_CLAIM, &c), -EINVAL, "NOM_CORE_CLAIM: a deadline, but not to wait");
	c.flags = NOM_CLAIM_WAIT;
	c.deadline_ns = ~0ULL;
	t_eq(k_ioctl(nom, NOM_CORE_CLAIM, &c), -EINVAL, "NOM_CORE_CLAIM: a deadline beyond the clock");
	c.flags = c.deadline_ns = 0;
	c.notify_uid = 1;
	t_eq(k_ioctl(nom, NOM_CORE_CLAIM, &c), -EINVAL, "NOM_CORE_CLAIM: a user, but no flag");
	c.flags = NOM_CLAIM_NOTIFY_UID;
	c.notify_uid = ~0U;
	t_eq(k_ioctl(nom, NOM_CORE_CLAIM, &c), -EINVAL, "NOM_CORE_CLAIM: user -1");
	t_eq(k_ioctl(core, NOM_CORE_TIMER, &t), -EINVAL, "NOM_CORE_TIMER: reserved word");
	t_eq(k_ioctl(grant, NOM_MEM_PHYS, &p), -EINVAL, "NOM_MEM_PHYS: reserved word");
	p.reserved = 0;
	p.flags = NOM_PHYS_MMIO;
	t_eq(k_ioctl(grant, NOM_MEM_PHYS, &p), -EBADF, "NOM_MEM_PHYS: no descriptor");
	p.bdf = (unsigned int)grant;
	t_eq(k_ioctl(grant, NOM_MEM_PHYS, &p), -EBADF, "NOM_MEM_PHYS: a descriptor of something else");
	memset(o.name, 'x', sizeof(o.name));
	t_eq(k_ioctl(nom, NOM_MMIO_OPEN, &o), -EINVAL, "NOM_MMIO_OPEN: a name without an end");
	t_eq(k_ioctl(core, NOM_CORE_SUBSCRIBE, &s), -EOPNOTSUPP, "NOM_CORE_SUBSCRIBE: unknown class");
	s.classes = 1ULL << 63;
	t_eq(k_ioctl(core, NOM_CORE_SUBSCRIBE, &s), -EOPNOTSUPP, "NOM_CORE_SUBSCRIBE: class 63");
	s.classes = 1;
	s.event = NOM_NR_EVENTS;
	t_eq(k_ioctl(core, NOM_CORE_SUBSCRIBE, &s), -EINVAL, "NOM_CORE_SUBSCRIBE: event 64");
	g.node = 0;
	g.bytes = 0;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), -EINVAL, "NOM_MEM_GRANT: no bytes");
	g.bytes = CHUNK + PAGE;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), -EINVAL, "NOM_MEM_GRANT: not a multiple of 2 MiB");
	g.bytes = ~0ULL << 21;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), -ENOMEM, "NOM_MEM_GRANT: nearly 2^64 bytes");
}

static void outputs(int nom)
{
	struct nom_info info;

	t_eq(k_info(nom, &info), 0, "NOM_GET_INFO");
	t_eq(info.out_version, NOM_ABI_VERSION, "version");
	t_ok(info.out_nr_cores >= 1, "reserved cores: %u", info.out_nr_cores);
	t_ok(info.out_mem_bytes >= CHUNK && info.out_mem_bytes % CHUNK == 0,
	     "reserved memory: %llu MiB", (unsigned long long)info.out_mem_bytes >> 20);
	t_ok(info.out_board_bytes >= sizeof(struct nom_board) && info.out_board_bytes % PAGE == 0,
	     "board: %llu bytes", (unsigned long long)info.out_board_bytes);
	t_ok(info.out_features & NOM_FEATURE_MEM_PHYS && info.out_features & NOM_FEATURE_DMA_VIEW &&
	     info.out_features & NOM_FEATURE_HUGE_MAP && info.out_features & NOM_FEATURE_CHANGE &&
	     info.out_features & NOM_FEATURE_PROMOTE && info.out_features & NOM_FEATURE_RECLAIM &&
	     info.out_features & NOM_FEATURE_CLAIM_WAIT && info.out_features & NOM_FEATURE_LIMITS &&
	     info.out_features & NOM_FEATURE_IRQ && info.out_features & NOM_FEATURE_WAIT, "features: %#llx",
	     (unsigned long long)info.out_features);
	t_eq(info.out_traps, NOM_TRAPS_SUPPORTED, "traps");
	t_eq(fcntl(nom, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC, "(the test itself opens close-on-exec)");
}

static void wrong_place(int nom, int core, int grant)
{
	struct nom_info info = { .size = sizeof(info) };
	int ro = k_open(O_RDONLY);
	struct nom_core_claim c = { .size = sizeof(c), .cpu = NOM_CPU_ANY };
	struct nom_mem_grant g = { .size = sizeof(g), .bytes = CHUNK };

	t_eq(k_ioctl(nom, NOM_IOC_TYPE << 8 | 0x7f, &info), -ENOTTY, "/dev/nom: unknown command");
	t_eq(k_ioctl(core, NOM_GET_INFO, &info), -ENOTTY, "lease: a command of /dev/nom");
	t_eq(k_ioctl(grant, NOM_CORE_LEAVE, &info), -ENOTTY, "grant: a command of a lease");
	t_eq(k_ioctl(nom, NOM_MEM_MAP, &info), -ENOTTY, "/dev/nom: a command of a grant");

	t_eq(k_ioctl(ro, NOM_GET_INFO, &info), 0, "opened read-only: NOM_GET_INFO");
	t_eq(k_ioctl(ro, NOM_CORE_CLAIM, &c), -EPERM, "opened read-only: no lease");
	t_eq(k_ioctl(ro, NOM_MEM_GRANT, &g), -EPERM, "opened read-only: no grant");
	t_eq(k_notify(ro, 1, 0), -EPERM, "opened read-only: no notification");
	t_eq(fcntl(core, F_GETFD), FD_CLOEXEC, "a lease is close-on-exec");
	t_eq(fcntl(grant, F_GETFD), FD_CLOEXEC, "a grant is close-on-exec");
	close(ro);
}

int main(void)
{
	int nom = k_open(O_RDWR), grant;
	struct k_lease l;
	unsigned int i;

	if (k_claim(nom, NOM_CPU_ANY, 0, &l))
		t_bail("no core to lease: boot with nom_cpus=1");
	grant = k_grant(nom, CHUNK);
	if (grant < 0)
		t_bail("no memory to be granted: boot with nom_mem=64M");

	outputs(nom);
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		command(&commands[i], commands[i].where == NOM ? nom :
				      commands[i].where == CORE ? l.fd : grant);
	reserved_words(nom, l.fd, grant);
	wrong_place(nom, l.fd, grant);
	return t_done();
}
