// SPDX-License-Identifier: MIT
/*
 * kmod_device: PCI functions in user space's hands - on the board when vfio-pci has
 * them, told addresses by NOM_MEM_PHYS, and memory that waits in quarantine until
 * they can no longer write to it.  Takes a virtio network device from its driver
 * and gives it back; needs root, VFIO's no-IOMMU mode and such a device.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"
#include "lib/kmod_pci.h"

static int nom;
static const struct nom_board *board;
static struct k_pci dev;

/* --- tests --- */

static void board_and_news(void)
{
	char buf[8192] __attribute__((aligned(8)));
	int listener, family, group;
	struct nom_board_device d;
	struct k_nl_msg m;
	struct k_lease l;
	uint64_t phys;
	int grant;

	grant = k_grant(nom, CHUNK);
	t_eq(k_board_device(board, dev.bdf, &d), -ENOENT, "%s has driver %s and is not on the board", dev.slot, dev.driver);
	t_eq(k_phys(grant, 0, dev.bdf, &phys), -EBUSY, "addresses for a function the kernel drives");
	t_eq(k_phys(grant, 0, 0xfffffff0, &phys), -ENODEV, "addresses for no function");
	close(grant);

	listener = k_nl_open(&family, &group);
	k_nl_join(listener, group);
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "claim");
	t_eq(k_subscribe(&l, 8, 1ULL << NOM_BOARD_DEVICES), 0, "subscribe to devices");
	t_eq(k_nl_next(listener, buf, sizeof(buf), &m, 2000), 0, "(news of the claim)");

	t_eq(k_pci_move(&dev, "vfio-pci"), 0, "bind it to vfio-pci");
	t_eq(k_board_device(board, dev.bdf, &d), 0, "it is on the board");
	t_ok(d.vendor == 0x1af4 && d.class_code == 0x020000, "with vendor and class: %04x %06x",
	     d.vendor, d.class_code);
	t_eq(l.sh->count[8], 1, "the subscriber was told");
	t_eq(k_nl_next(listener, buf, sizeof(buf), &m, 2000), 0, "news");
	t_ok(m.cmd == NOM_GENL_CMD_DEVICE_NTF && k_nl_u32(&m, NOM_GENL_A_BDF) == dev.bdf &&
	     k_nl_u32(&m, NOM_GENL_A_STATE) == 1, "of this function");
	munmap(l.sh, PAGE);
	close(l.fd);
	close(listener);
}

static int phys_without_rawio(void *arg)
{
	uint64_t phys;

	if (setgid(65534) || setuid(65534))
		return 200;
	return -k_phys(*(int *)arg, 0, dev.bdf, &phys);
}

static void addresses(void)
{
	int grant = k_grant(nom, 4 * CHUNK), i, k;
	uint64_t phys[4];
	bool good = true;

	for (i = 0; i < 4; i++)
		t_eq(k_phys(grant, i * CHUNK, dev.bdf, &phys[i]), 0, "address of chunk %d", i);
	for (i = 0; i < 4; i++)
		for (k = 0; k <= i; k++)
			good = good && !(phys[i] % CHUNK) && phys[i] && (i == k || phys[i] != phys[k]);
	t_ok(good, "they differ and are multiples of 2 MiB: %#lx", (unsigned long)phys[0]);
	t_eq(k_phys(grant, 4 * CHUNK, dev.bdf, &phys[0]), -EINVAL, "beyond the grant");
	t_eq(k_phys(grant, PAGE, dev.bdf, &phys[0]), -EINVAL, "not a multiple of 2 MiB");
	t_eq(k_phys(grant, ~0ULL << 21, dev.bdf, &phys[0]), -EINVAL, "far beyond");
	t_eq(t_child(phys_without_rawio, &grant), EPERM, "without CAP_SYS_RAWIO");
	close(grant);
}

static bool all_free(void *bytes)
{
	return k_mem_free(board) == *(uint64_t *)bytes;
}

static void quarantine(void)
{
	uint64_t before = k_mem_free(board), phys, again;
	struct k_vfio v;
	int grant, ret;

	ret = k_vfio_open(&dev, &v);
	if (!t_eq(ret, 0, "open it"))
		return;
	grant = k_grant(nom, CHUNK);
	t_eq(k_phys(grant, 0, dev.bdf, &phys), 0, "address");
	close(grant);
	t_ok(all_free(&before), "it cannot master the bus: free at once");

	t_eq(k_vfio_bus_master(&v, true), 0, "bus mastering on");
	close(k_grant(nom, CHUNK));
	t_ok(all_free(&before), "addresses it was not told: free at once");
	grant = k_grant(nom, 2 * CHUNK);
	t_eq(k_phys(grant, 0, dev.bdf, &phys), 0, "address");
	t_eq(k_phys(grant, CHUNK, dev.bdf, &again), 0, "another of the same grant");
	close(grant);
	t_eq(k_mem_quarantined(board), 2 * CHUNK, "quarantine");
	t_sleep_ms(200);
	t_eq(k_mem_quarantined(board), 2 * CHUNK, "it does not pass by itself");
	grant = k_grant(nom, before - 2 * CHUNK);
	t_ok(grant >= 0, "the rest can be granted");
	t_eq(k_grant(nom, CHUNK), -ENOMEM, "no more than the rest");
	close(grant);
	t_eq(k_vfio_bus_master(&v, false), 0, "bus mastering off");
	t_ok(t_wait(all_free, &before, 5000), "quarantine is over");
	t_eq(k_vfio_bus_master(&v, true), 0, "on again");
	t_ok(all_free(&before), "what is free stays free");

	grant = k_grant(nom, CHUNK);
	k_phys(grant, 0, dev.bdf, &phys);
	close(grant);
	t_eq(k_mem_quarantined(board), CHUNK, "quarantine");
	k_vfio_close(&v);
	t_ok(t_wait(all_free, &before, 5000), "the function is closed: quarantine is over");
}

static int hold_all(void *unused)
{
	struct k_vfio v;
	uint64_t phys;
	int grant;

	if (k_vfio_open(&dev, &v) || k_vfio_bus_master(&v, true))
		return 1;
	grant = k_grant(nom, 8 * CHUNK);
	if (k_phys(grant, 0, dev.bdf, &phys))
		return 2;
	pause();
	return 0;
}

static bool holds(void *before)
{
	return k_mem_free(board) == *(uint64_t *)before - 8 * CHUNK;
}

static void killed(void)
{
	uint64_t before = k_mem_free(board);
	pid_t pid = t_spawn(hold_all, NULL);

	t_ok(t_wait(holds, &before, 5000), "a process holds the function and memory for it");
	t_sleep_ms(50);
	kill(pid, SIGKILL);
	t_eq(t_reap(pid), 128 + SIGKILL, "kill -9");
	t_ok(t_wait(all_free, &before, 5000), "memory comes back");
}

int main(void)
{
	struct nom_board_device d;
	const char *why;
	uint64_t before;

	nom = k_open(O_RDWR);
	board = k_board(nom);
	why = k_pci_trusted(&dev);
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 4;
	}
	before = k_mem_free(board);

	board_and_news();
	addresses();
	quarantine();
	killed();
	t_eq(k_pci_move(&dev, dev.driver), 0, "give it back to %s", dev.driver);
	t_eq(k_board_device(board, dev.bdf, &d), -ENOENT, "it is off the board");
	t_ok(k_mem_free(board) == before, "nothing is left over");
	return t_done();
}
