// SPDX-License-Identifier: MIT
/*
 * tcg-lines - which cache lines two vCPUs of a guest share in user mode, and who writes them
 *
 *   -plugin tcg-lines.so,out=FILE,first=VCPU	vCPUs VCPU and VCPU + 1
 *   -plugin tcg-lines.so,out=FILE,probe=on	only finds out whether QEMU loads it
 *
 * Two threads of one process, one on each: addresses are virtual, so on these vCPUs
 * nothing else may run in user mode (cores that are leased).  While the word @on of
 * FILE is set, each load and store counts for its line of 64 bytes, in a table in FILE
 * (layout.h), which is mapped and written live.  A line that one of them writes and the
 * other touches travels between their caches; reading one together costs nothing.
 * What a device writes is not seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../tcg-count/plugin-api.h"
#include "layout.h"

PLUGIN_EXPORT int qemu_plugin_version = TCG_API;

static struct lines_file *out;
static unsigned int first_vcpu;

/* The line's place; NULL: the table is full, which is counted. */
static struct line *find(uint64_t line)
{
	uint64_t at = line * 0x9e3779b97f4a7c15ull >> (64 - LINES_BITS);

	for (unsigned int i = 0; i < LINES_PROBES; i++) {
		struct line *l = &out->line[(at + i) & (LINES - 1)];
		uint64_t seen = __atomic_load_n(&l->line, __ATOMIC_RELAXED);

		if (seen == line)
			return l;
		if (!seen && (__atomic_compare_exchange_n(&l->line, &seen, line, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
			      seen == line))
			return l;
	}
	return NULL;
}

static void accessed(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *data)
{
	unsigned int who = vcpu - first_vcpu, last = (vaddr & 63) + (1u << qemu_plugin_mem_size_shift(info)) - 1;
	bool store = qemu_plugin_mem_is_store(info);

	(void)data;
	if (who > 1 || !__atomic_load_n(&out->on, __ATOMIC_RELAXED) || vaddr >> 63)
		return;
	for (uint64_t line = vaddr >> 6; line <= (vaddr >> 6) + last / 64; line++) {
		struct line *l = find(line);

		if (!l)
			__atomic_fetch_add(&out->overflows, 1, __ATOMIC_RELAXED);
		else if (store)
			l->writes[who]++;
		else
			l->reads[who]++;
	}
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	if (qemu_plugin_tb_vaddr(tb) >> 63)
		return;
	for (size_t i = 0; i < n; i++)
		qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), accessed, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
}

PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	int fd;

	(void)info;
	if (argc == 2 && !strcmp(argv[1], "probe=on"))
		return 0;
	if (argc != 2 || strncmp(argv[0], "out=", 4) || strncmp(argv[1], "first=", 6)) {
		fprintf(stderr, "tcg-lines: arguments are out=FILE,first=VCPU\n");
		return -1;
	}
	first_vcpu = (unsigned int)strtoul(argv[1] + 6, NULL, 10);
	fd = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	out = fd < 0 || ftruncate(fd, sizeof(*out)) ? MAP_FAILED : mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (out == MAP_FAILED) {
		fprintf(stderr, "tcg-lines: %s: %s\n", argv[0] + 4, strerror(errno));
		return -1;
	}
	close(fd);
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	return 0;
}
