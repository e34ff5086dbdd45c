// SPDX-License-Identifier: MIT
/*
 * tcg-count - counts what a guest executes, from outside the guest
 *
 *   -plugin tcg-count.so,out=FILE[,NAME=ADDRESS]...
 *   -plugin tcg-count.so,out=FILE,probe=on	only finds out whether QEMU loads it
 *
 * For each vCPU: instructions in user and kernel mode, apart for the regions
 * the guest brackets as busy work, and executions of the given kernel
 * addresses (System.map, with nokaslr).  Sleeps are taken apart: on the way to the halt,
 * out of it, and up to the answer.  The figures stand in FILE, mapped and
 * written live (layout.h), so that whoever measures reads them at the moments
 * that matter to him.  The guest pays nothing: no instruction, no exit.
 *
 * Cost: one call for each translation block executed.  Precision: a block left
 * early by an exception counts as a whole; blocks end at branches and are a
 * handful of instructions long, and page faults and interrupts are rare beside
 * them.  A busy bracket inside a block is exact: the rest of the block moves
 * to the new region.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "layout.h"
#include "plugin-api.h"

#define MARK_BYTES	7
#define MARK_BEGIN	0x10
#define MARK_END	0x11
#define MARK_DOORBELL	0x12
#define HLT		0xf4
#define KERNEL(vaddr)	((unsigned int)((vaddr) >> 63))

/* count_vcpu.sleep */
enum { AWAKE, HALTED, WOKEN /* and not rung a doorbell since */ };

PLUGIN_EXPORT int qemu_plugin_version = TCG_API;

static struct count_file *out;
static uint64_t address[COUNT_SYMBOLS];	/* of out->name[] */

/* What a symbol says of a sleep; the others are only counted. */
static enum { PLAIN, DEVICE_IRQ, KICK } role[COUNT_SYMBOLS];

static const struct {
	const char *name;
	int role;
} roles[] = {
	{ "common_interrupt", DEVICE_IRQ },
	{ "vp_notify", KICK },
	{ "vp_notify_with_data", KICK },
};

static struct count_vcpu *vcpu_of(unsigned int vcpu)
{
	return &out->vcpu[vcpu % COUNT_VCPUS];
}

/* The first block of ring 3 after a halt. */
static void wake(struct count_vcpu *v)
{
	v->word[v->device ? COUNT_WAKES : COUNT_WAKES_OTHER]++;
	v->word[v->device ? COUNT_WAKE : COUNT_WAKE_OTHER] += v->kernel;
	v->sleep = v->device ? WOKEN : AWAKE;
	v->woken_kernel = v->woken_user = 0;
}

/* data: instructions << 1 | kernel */
static void block_executed(unsigned int vcpu, void *data)
{
	struct count_vcpu *v = vcpu_of(vcpu);
	uintptr_t d = (uintptr_t)data;

	v->word[(d & 1 ? COUNT_KERNEL_IDLE : COUNT_USER_IDLE) + v->busy] += d >> 1;
	if (d & 1) {
		v->kernel += d >> 1;
		return;
	}
	if (v->sleep == HALTED)
		wake(v);
	v->woken_kernel += v->kernel;
	v->woken_user += d >> 1;
	v->kernel = 0;
}

/* The last instruction of its block. */
static void halt_executed(unsigned int vcpu, void *data)
{
	struct count_vcpu *v = vcpu_of(vcpu);
	bool first = v->sleep != HALTED;

	(void)data;
	v->word[first ? COUNT_HALTS : COUNT_RESTS]++;
	v->word[first ? COUNT_DOZE : COUNT_REST] += v->kernel;
	v->sleep = HALTED;
	v->kernel = v->device = 0;
}

/* left: instructions of the block, counted already and executed after this */
static void doorbell_rung(struct count_vcpu *v, uint64_t left, unsigned int kernel)
{
	if (v->sleep != WOKEN)
		return;
	v->sleep = AWAKE;
	v->word[COUNT_ANSWERS]++;
	v->word[COUNT_ANSWER_KERNEL] += v->woken_kernel + (kernel ? v->kernel - left : 0);
	v->word[COUNT_ANSWER_USER] += v->woken_user - (kernel ? 0 : left);
}

/* data: mark << 32 | instructions left in the block << 1 | kernel */
static void mark_executed(unsigned int vcpu, void *data)
{
	struct count_vcpu *v = vcpu_of(vcpu);
	uintptr_t d = (uintptr_t)data;
	unsigned int mark = d >> 32, idle = d & 1 ? COUNT_KERNEL_IDLE : COUNT_USER_IDLE;
	uint64_t left = (d & 0xffffffff) >> 1, busy = mark == MARK_BEGIN;

	if (mark == MARK_DOORBELL) {
		v->word[COUNT_DOORBELL]++;
		doorbell_rung(v, left, d & 1);
		return;
	}
	v->word[busy ? COUNT_BEGIN : COUNT_END]++;
	if (!busy && v->sleep == WOKEN)
		v->sleep = AWAKE;	/* nothing was to be answered; what follows is polling */
	if (v->busy != busy) {
		v->word[idle + v->busy] -= left;
		v->word[idle + busy] += left;
		v->busy = busy;
	}
}

/* data: symbol << 32 | instructions left in the block */
static void symbol_executed(unsigned int vcpu, void *data)
{
	struct count_vcpu *v = vcpu_of(vcpu);
	uintptr_t d = (uintptr_t)data, s = d >> 32;

	v->symbol[s]++;
	if (role[s] == DEVICE_IRQ)
		v->device = 1;
	else if (role[s] == KICK)
		doorbell_rung(v, d & 0xffffffff, 1);
}

static bool is_halt(const struct qemu_plugin_insn *insn)
{
	uint8_t b;

	if (qemu_plugin_insn_size(insn) != 1)
		return false;
#if TCG_API >= 3
	if (qemu_plugin_insn_data(insn, &b, 1) != 1)
		return false;
#else
	b = *(const uint8_t *)qemu_plugin_insn_data(insn);
#endif
	return b == HLT;
}

/* The K of a magic NOP, or 0. */
static unsigned int mark_of(const struct qemu_plugin_insn *insn)
{
	const uint8_t *b;

	if (qemu_plugin_insn_size(insn) != MARK_BYTES)
		return 0;
#if TCG_API >= 3
	uint8_t copy[MARK_BYTES];

	if (qemu_plugin_insn_data(insn, copy, sizeof(copy)) != sizeof(copy))
		return 0;
	b = copy;
#else
	b = qemu_plugin_insn_data(insn);
#endif
	if (b[0] != 0x0f || b[1] != 0x1f || b[2] != 0x80 || b[4] != 0x4d || b[5] != 0x4f || b[6] != 0x4e)
		return 0;
	return b[3] >= MARK_BEGIN && b[3] <= MARK_DOORBELL ? b[3] : 0;
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	uintptr_t kernel = KERNEL(qemu_plugin_tb_vaddr(tb));

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block_executed, QEMU_PLUGIN_CB_NO_REGS, (void *)(n << 1 | kernel));
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uintptr_t mark = mark_of(insn);

		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark_executed, QEMU_PLUGIN_CB_NO_REGS,
							       (void *)(mark << 32 | (n - i - 1) << 1 | kernel));
		if (!kernel)
			continue;
		if (is_halt(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, halt_executed, QEMU_PLUGIN_CB_NO_REGS, NULL);
		for (uintptr_t s = 0; s < out->nr_symbols; s++)
			if (address[s] == qemu_plugin_insn_vaddr(insn))
				qemu_plugin_register_vcpu_insn_exec_cb(insn, symbol_executed, QEMU_PLUGIN_CB_NO_REGS,
								       (void *)(s << 32 | (n - i - 1)));
	}
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || ftruncate(fd, sizeof(*out)))
		goto fail;
	out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (out == MAP_FAILED)
		goto fail;
	close(fd);
	return 0;
fail:
	fprintf(stderr, "tcg-count: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	if (argc < 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "tcg-count: the first argument must be out=FILE\n");
		return -1;
	}
	if (argc - 1 > COUNT_SYMBOLS) {
		fprintf(stderr, "tcg-count: %d symbols, at most %d\n", argc - 1, COUNT_SYMBOLS);
		return -1;
	}
	if (argc == 2 && !strcmp(argv[1], "probe=on"))
		return 0;
	if (open_file(argv[0] + 4))
		return -1;
	for (int i = 1; i < argc; i++) {
		char *equals = strchr(argv[i], '='), *end = NULL;

		if (equals)
			address[i - 1] = strtoull(equals + 1, &end, 0);
		if (!equals || *end || end == equals + 1 || equals - argv[i] >= COUNT_NAME) {
			fprintf(stderr, "tcg-count: %s is not NAME=ADDRESS\n", argv[i]);
			return -1;
		}
		memcpy(out->name[i - 1], argv[i], equals - argv[i]);
		for (size_t r = 0; r < sizeof(roles) / sizeof(roles[0]); r++)
			if (!strcmp(out->name[i - 1], roles[r].name))
				role[i - 1] = roles[r].role;
	}
	out->nr_symbols = argc - 1;
	out->nr_vcpus = COUNT_VCPUS;
	out->bytes = sizeof(*out);
	out->version = COUNT_VERSION;
	__atomic_store_n(&out->magic, COUNT_MAGIC, __ATOMIC_RELEASE);
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	return 0;
}
