// SPDX-License-Identifier: MIT
/*
 * nom-fuzz: coverage by KCOV.  nom.ko and nom_upcall.c alone are instrumented (see
 * kconfig/debug.config), so every address is one of ours.  What runs in
 * interrupts, or late in a thread's exit, KCOV does not see.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "fuzz.h"

#define KCOV		"/sys/kernel/debug/kcov"
#define KCOV_INIT_TRACE	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define ENTRIES		16384UL

static struct {
	int fd;
	unsigned long *trace;	/* [0]: how many follow */
} slot[FZ_THREADS];
static bool works;

int fz_cover_open(void)
{
	unsigned int i;

	works = false;
	for (i = 0; i < FZ_THREADS; i++) {
		slot[i].fd = open(KCOV, O_RDWR | O_CLOEXEC);
		if (slot[i].fd < 0 || ioctl(slot[i].fd, KCOV_INIT_TRACE, ENTRIES))
			return -errno;
		slot[i].trace = mmap(NULL, ENTRIES * 8, PROT_READ | PROT_WRITE, MAP_SHARED, slot[i].fd, 0);
		if (slot[i].trace == MAP_FAILED)
			return -errno;
	}
	works = true;
	return 0;
}

void fz_cover_reset(void)
{
	unsigned int i;

	for (i = 0; works && i < FZ_THREADS; i++)
		__atomic_store_n(&slot[i].trace[0], 0, __ATOMIC_RELAXED);
}

/* From here on the calling thread's way through the kernel is noted. */
void fz_cover_thread(unsigned int index)
{
	if (works)
		ioctl(slot[index].fd, KCOV_ENABLE, 0);
}

unsigned int fz_cover_collect(bool (*seen)(uint64_t pc))
{
	unsigned long n, k;
	unsigned int i, fresh = 0;

	for (i = 0; works && i < FZ_THREADS; i++) {
		n = __atomic_load_n(&slot[i].trace[0], __ATOMIC_RELAXED);
		for (k = 1; k <= n && k < ENTRIES; k++)
			fresh += seen(slot[i].trace[k]);
	}
	return fresh;
}

/* As symbol+offset: the names outlive the guest. */
struct symbol { uint64_t addr; char name[64]; };

void fz_cover_report(FILE *out, const uint64_t *pc, unsigned int nr)
{
	static struct symbol s[8192];
	unsigned int n = 0, i, k;
	FILE *in = fopen("/proc/kallsyms", "r");
	char line[256], type, module[64];
	unsigned long addr;

	while (in && fgets(line, sizeof(line), in) && n < sizeof(s) / sizeof(s[0])) {
		module[0] = 0;
		if (sscanf(line, "%lx %c %63s [%63[^]]", &addr, &type, s[n].name, module) < 3)
			continue;
		if ((type | 0x20) == 't' && (module[0] || !__builtin_strncmp(s[n].name, "nom_", 4)))
			s[n++].addr = addr;
	}
	if (in)
		fclose(in);
	for (i = 0; i < nr; i++) {
		const struct symbol *best = NULL;

		for (k = 0; k < n; k++)
			if (s[k].addr <= pc[i] && (!best || s[k].addr > best->addr))
				best = &s[k];
		if (best && pc[i] - best->addr < 0x10000)
			fprintf(out, "cover %s %#lx\n", best->name, (unsigned long)(pc[i] - best->addr));
		else
			fprintf(out, "cover ? %#lx\n", (unsigned long)pc[i]);
	}
}
