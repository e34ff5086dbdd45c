// SPDX-License-Identifier: MIT
/*
 * kmod_numa: reserved memory in several ranges.  tests/scripts/kmod_numa_guest
 * boots the guests it wants:
 *
 *	nodes	two nodes, nom_mem=64M@0,128M@1: each has its own, and memory that
 *		is released goes to the node it is on, and stays gone
 *	split	a size no range has: all of it can be granted, in several ranges
 *	none	a nom_mem= that is refused
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "lib/kmod.h"

#define MAX_RANGES	40

static struct range {
	unsigned long start, end;
} ranges[MAX_RANGES];

/* Lines of /proc/iomem that are ours; sets ranges[] */
static int read_ranges(unsigned long *bytes_out)
{
	char line[256];
	FILE *f = fopen("/proc/iomem", "r");
	int nr = 0;

	if (!f)
		t_bail("/proc/iomem cannot be read");
	*bytes_out = 0;
	while (fgets(line, sizeof(line), f)) {
		struct range *r = &ranges[nr];

		if (!strstr(line, ": nom reserved memory"))
			continue;
		if (sscanf(line, " %lx-%lx", &r->start, &r->end) != 2 || ++nr == MAX_RANGES)
			t_bail("/proc/iomem: %s", line);
		*bytes_out += r->end + 1 - r->start;
	}
	fclose(f);
	return nr;
}

/* MemTotal of a node, or of all (-1), in bytes */
static long mem_total(int node)
{
	char path[64] = "/proc/meminfo", line[256], *s;
	long kib = -1;
	FILE *f;

	if (node >= 0)
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	f = fopen(path, "r");
	if (!f)
		t_bail("%s cannot be read", path);
	while (kib < 0 && fgets(line, sizeof(line), f)) {
		s = strstr(line, "MemTotal:");
		if (s)
			kib = strtol(s + 9, NULL, 10);
	}
	fclose(f);
	return kib * 1024;
}

static int release(int nom, uint64_t bytes, int node, uint64_t *out)
{
	struct nom_mem_release r = { .size = sizeof(r), .bytes = bytes, .node = node };
	int ret = k_ioctl(nom, NOM_MEM_RELEASE, &r);

	*out = ret ? 0 : r.out_bytes;
	return ret;
}

static int release_unprivileged(void *arg)
{
	uint64_t got;

	if (setuid(65534))
		return 100;
	return -release(*(int *)arg, CHUNK, NOM_NODE_ANY, &got);
}

static bool is_zero(int grant, size_t bytes)
{
	const unsigned long *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	size_t i;

	if (p == MAP_FAILED)
		return false;
	for (i = 0; i < bytes / sizeof(*p) && !p[i]; i += 512)
		;
	munmap((void *)p, bytes);
	return i >= bytes / sizeof(*p);
}

static void refusals(int nom)
{
	struct nom_mem_release r = { .size = sizeof(r), .bytes = CHUNK, .node = NOM_NODE_ANY };
	struct nom_mem_release *ro_arg;
	int ro = k_open(O_RDONLY);
	struct nom_info info;
	uint64_t got;

	t_eq(k_ioctl(ro, NOM_MEM_RELEASE, &r), -EPERM, "opened read-only: nothing is released");
	close(ro);
	t_eq(t_child(release_unprivileged, &nom), EPERM, "nor without CAP_SYS_ADMIN");
	t_eq(release(nom, 0, NOM_NODE_ANY, &got), -EINVAL, "no bytes");
	t_eq(release(nom, CHUNK + PAGE, NOM_NODE_ANY, &got), -EINVAL, "not a multiple of 2 MiB");
	t_eq(release(nom, CHUNK, -2, &got), -EINVAL, "node -2");
	t_eq(release(nom, CHUNK, 1 << 20, &got), -EINVAL, "node 2^20");
	t_eq(release(nom, CHUNK, 3, &got), -ENOMEM, "a node that is not there");
	r.flags = 1;
	t_eq(k_ioctl(nom, NOM_MEM_RELEASE, &r), -EOPNOTSUPP, "unknown flag");
	r.flags = 0;
	r.reserved = 1;
	t_eq(k_ioctl(nom, NOM_MEM_RELEASE, &r), -EINVAL, "reserved word");
	ro_arg = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.reserved = 0;
	*ro_arg = r;
	mprotect(ro_arg, PAGE, PROT_READ);
	t_eq(k_ioctl(nom, NOM_MEM_RELEASE, ro_arg), -EFAULT, "an argument that cannot be written");
	munmap(ro_arg, PAGE);
	t_eq(k_info(nom, &info), 0, "NOM_GET_INFO");
	t_eq(info.out_mem_bytes, 192 * MIB, "nothing was released");
}

static int grant_on(int nom, uint64_t bytes, uint32_t node)
{
	struct nom_mem_grant g = { .size = sizeof(g), .flags = NOM_GRANT_NODE, .bytes = bytes,
				   .node = node };
	int ret = k_ioctl(nom, NOM_MEM_GRANT, &g);

	return ret ? ret : g.out_grant_fd;
}

static void nodes(int nom)
{
	long node0 = mem_total(0), node1 = mem_total(1), all = mem_total(-1);
	struct nom_info info;
	int fds[64], nr, i;
	unsigned long sum;
	uint64_t got;

	nr = read_ranges(&sum);
	t_eq(nr, 2, "two ranges in /proc/iomem");
	t_eq(sum, 192 * MIB, "of 192 MiB");
	t_eq(k_info(nom, &info), 0, "NOM_GET_INFO");
	t_eq(info.out_mem_bytes, 192 * MIB, "all of it can be granted");
	t_ok(info.out_features & NOM_FEATURE_MEM_RELEASE, "NOM_FEATURE_MEM_RELEASE");
	refusals(nom);

	/* Nothing that is granted goes */
	fds[0] = k_grant(nom, 192 * MIB);
	t_ok(fds[0] >= 0, "a grant of everything, from both nodes");
	t_ok(is_zero(fds[0], 192 * MIB), "is zero");
	t_eq(release(nom, CHUNK, NOM_NODE_ANY, &got), -ENOMEM, "leaves nothing to release");
	close(fds[0]);

	/* Of one node, or not at all */
	fds[0] = grant_on(nom, 64 * MIB, 0);
	t_ok(fds[0] >= 0, "a grant of all of node 0");
	t_eq(grant_on(nom, CHUNK, 0), -ENOMEM, "then that has no more");
	fds[1] = grant_on(nom, 128 * MIB, 1);
	t_ok(fds[1] >= 0, "but node 1 has all of its own");
	t_eq(k_grant(nom, CHUNK), -ENOMEM, "and nothing is left");
	t_eq(grant_on(nom, CHUNK, 2), -ENOMEM, "nor on a node that is not there");
	close(fds[0]), close(fds[1]);

	t_eq(release(nom, 1024 * MIB, 1, &got), 0, "release 1 GiB of node 1");
	t_eq(got, 128 * MIB, "which has 128 MiB");
	t_eq(mem_total(1) - node1, 128 * MIB, "the node has so much more");
	t_eq(mem_total(0) - node0, 0, "the other one has not");
	t_eq(mem_total(-1) - all, 128 * MIB, "the machine has, too");
	t_eq(read_ranges(&sum), 1, "one range is left in /proc/iomem");
	t_eq(sum, 64 * MIB, "of 64 MiB");
	t_eq(release(nom, CHUNK, 1, &got), -ENOMEM, "node 1 has no more");

	/* Free one chunk in the middle of node 0 and release it */
	for (i = 0; i < 32; i++)
		fds[i] = k_grant(nom, CHUNK);
	t_ok(fds[31] >= 0 && k_grant(nom, CHUNK) == -ENOMEM, "node 0 is 32 chunks");
	close(fds[10]);
	t_eq(release(nom, 64 * MIB, NOM_NODE_ANY, &got), 0, "release the one that is free");
	t_eq(got, CHUNK, "2 MiB");
	t_eq(read_ranges(&sum), 2, "a range was split");
	t_eq(sum, 62 * MIB, "62 MiB are left");
	t_ok(ranges[0].end + 1 + CHUNK == ranges[1].start, "with the hole between the two");
	for (i = 0; i < 32; i++)
		if (i != 10)
			close(fds[i]);
	close(nom);

	t_eq(k_unload(), 0, "the module unloads");
	t_eq(k_load(), 0, "and loads again");
	nom = k_open(O_RDWR);
	t_eq(k_info(nom, &info), 0, "NOM_GET_INFO");
	t_eq(info.out_mem_bytes, 62 * MIB, "what was released stays so");
	t_eq(k_grant(nom, 64 * MIB), -ENOMEM, "no grant of 64 MiB");
	t_ok(k_grant(nom, 62 * MIB) >= 0, "one of 62 MiB, across the hole");
}

static void split(int nom)
{
	unsigned long sum, longest = 0;
	struct nom_info info;
	int nr, i, fd;

	nr = read_ranges(&sum);
	for (i = 0; i < nr; i++)
		if (ranges[i].end + 1 - ranges[i].start > longest)
			longest = ranges[i].end + 1 - ranges[i].start;
	t_ok(nr > 1, "%d ranges in /proc/iomem, the longest of %lu MiB", nr, longest >> 20);
	t_eq(sum, 2200 * MIB, "2200 MiB together");
	t_eq(k_info(nom, &info), 0, "NOM_GET_INFO");
	t_eq(info.out_mem_bytes, 2200 * MIB, "so says the module");
	fd = k_grant(nom, longest + CHUNK);
	t_ok(fd >= 0, "a grant of more than the longest: %d", fd);
}

static void none(int nom)
{
	unsigned long sum;
	struct nom_info info;

	t_eq(read_ranges(&sum), 0, "no memory is reserved");
	t_eq(k_info(nom, &info), 0, "NOM_GET_INFO");
	t_eq(info.out_mem_bytes, 0, "so says the module");
	t_eq(k_grant(nom, CHUNK), -ENOMEM, "no grants");
}

int main(int argc, char **argv)
{
	int nom = k_open(O_RDWR);

	if (argc != 2)
		t_bail("usage: kmod_numa nodes|split|none");
	if (!strcmp(argv[1], "nodes"))
		nodes(nom);
	else if (!strcmp(argv[1], "split"))
		split(nom);
	else
		none(nom);
	return t_done();
}
