// SPDX-License-Identifier: MIT
/*
 * nom-fail-nth: each call once with its first allocation (or copy from or to user
 * space) failing, once with its second, and so on, until none is left to fail.
 *
 * A call that fails must say why, and leave all as it was: cores, memory,
 * descriptors, mappings.  One that succeeds all the same must have done its work.
 * After either, the plain call succeeds.  Wants the kernel's fault injection, see
 * kconfig/debug.config; tests/fuzz/run-fail-nth boots such a kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../system/lib/kmod.h"
#include "../system/lib/kmod_mmio.h"
#include "../system/lib/kmod_nl.h"
#include "aftermath.h"
#include "fail.h"

#define NTH_MAX		2000
#define DEBUGFS		"/sys/kernel/debug/"

static int fail_fd = -1;
static bool plain;		/* --plain: no faults, to see that the operations work */
static const struct nom_board *board;

struct world {
	struct nom_board_memory memory;
	struct nom_board_core core[64];
	unsigned int fds, maps;
};

static unsigned int count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static unsigned int count_maps(void)
{
	static char buf[65536];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	unsigned int lines = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		while (n)
			lines += buf[--n] == '\n';
	close(fd);
	return lines;
}

static void look(struct world *out)
{
	unsigned int i;

	memset(out, 0, sizeof(*out));
	k_board_read(board, NOM_BOARD_MEMORY, 0, &out->memory, sizeof(out->memory));
	for (i = 0; i < 64 && !k_board_read(board, NOM_BOARD_CORES, i, &out->core[i], sizeof(out->core[0])); i++)
		out->core[i].handle = !!out->core[i].handle;	/* grows; that there is one matters */
	out->fds = count_entries("/proc/self/fd");
	out->maps = count_maps();
}

static bool as_before(const struct world *before, struct world *now)
{
	unsigned int patience;

	/* a descriptor that is closed inside a system call is released on its way out */
	for (patience = 0; patience < 50; patience++) {
		look(now);
		if (!memcmp(before, now, sizeof(*now)))
			return true;
		t_sleep_ms(10);
	}
	t_diag("memory granted %llu -> %llu, core 0 state %u -> %u, descriptors %u -> %u, mappings %u -> %u",
	       (unsigned long long)before->memory.granted_bytes, (unsigned long long)now->memory.granted_bytes,
	       before->core[0].state, now->core[0].state, before->fds, now->fds, before->maps, now->maps);
	return false;
}

static void arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth), tries = 100;

	if (plain)
		return;
	while (write(fail_fd, text, n) != n && tries--)	/* disarming may meet the fault itself */
		;
}

/* Whether the fault came; the kernel says how far it still was. */
static bool disarm(void)
{
	char text[16] = "";
	ssize_t n = plain ? 0 : pread(fail_fd, text, sizeof(text) - 1, 0);

	arm(0);
	return n > 0 && !atoi(text);
}

static bool is_reason(const struct fail_op *o, long ret)
{
	return ret == -ENOMEM || ret == -EFAULT || ret == -ENOBUFS || (o->maps_device && ret == -EINVAL);
}

static void sweep(const struct fail_op *o)
{
	unsigned int nth, failed = 0, harmless = 0;
	static struct world before, now;
	bool good = true, came = true;
	long ret, again;

	if (o->nic && !fail_nic.bdf) {
		t_skip("%s: no network device to bind", o->name);
		return;
	}
	if (o->mmio && !fail_mmio[0]) {
		t_skip("%s: no virtio device without PCI", o->name);
		return;
	}
	if (o->prepare)
		o->prepare();
	again = o->run();		/* once, so that what is made once is there */
	if (!again && o->undo)
		o->undo();
	else if (o->again)
		o->again();
	t_sleep_ms(20);			/* what is released on the way out of a system call */
	look(&before);
	for (nth = 1; good && came && nth <= NTH_MAX; nth++) {
		fail_fresh(o);
		arm(nth);
		ret = o->run();
		came = disarm();
		if (o->check && !o->check(ret)) {
			t_diag("%s: fault %u: not what %s means", o->name, nth, ret ? strerror(-ret) : "success");
			good = false;
		}
		if (ret && (!came || !is_reason(o, ret))) {
			t_diag("%s: fault %u: %s%s", o->name, nth, strerror(-ret), came ? "" : ", with no fault");
			good = false;
		}
		failed += !!ret;
		harmless += !ret && came;
		if (!ret && o->undo)
			o->undo();
		else if (o->again)
			o->again();
		if (!ret && o->lasts)
			look(&before);
		if (!as_before(&before, &now)) {
			t_diag("%s: fault %u (%s) leaves something behind", o->name, nth, ret ? strerror(-ret) : "harmless");
			good = false;
		}
		fail_fresh(o);
		again = o->run();
		if (!again && o->undo)
			o->undo();
		else if (o->again)
			o->again();
		if (again) {
			t_diag("%s: after fault %u, the plain call: %s", o->name, nth, strerror(-again));
			good = false;
		}
		if (o->lasts)
			look(&before);
	}
	if (o->clean)
		o->clean();
	t_ok(good && !came, "%s: %u faults, %u refused, %u did no harm", o->name, failed + harmless, failed, harmless);
}

static bool put(const char *file, const char *text)
{
	char path[128];
	int fd;
	bool good;

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

int main(int argc, char **argv)
{
	unsigned int i;
	struct nom_info info;

	plain = argc > 1 && !strcmp(argv[1], "--plain");
	if (!plain) {
		fail_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
		if (fail_fd < 0 || !put("failslab/ignore-gfp-wait", "N") ||
		    !put("fail_page_alloc/ignore-gfp-wait", "N") ||
		    !put("fail_page_alloc/ignore-gfp-highmem", "N") || !put("fail_page_alloc/min-order", "0")) {
			printf("1..0 # SKIP this kernel has no fault injection: NOM_KCONFIG=\"base nom debug\"\n");
			return 4;
		}
	}
	put("failslab/verbose", "0");
	put("fail_page_alloc/verbose", "0");
	put("fail_usercopy/verbose", "0");
	fail_nom = k_open(O_RDWR);
	board = k_board(fail_nom);
	i = k_nl_open(&fail_family, &fail_group);
	close(i);
	if (k_pci_find(&fail_nic) && k_pci_move(&fail_nic, "vfio-pci"))
		fail_nic.bdf = 0;
	k_mmio_find(fail_mmio);
	for (i = 0; i < fail_nr_ops; i++)
		sweep(&fail_ops[i]);
	if (!k_info(fail_nom, &info))
		munmap((void *)board, info.out_board_bytes);
	close(fail_nom);
	fz_aftermath();
	return t_done();
}
