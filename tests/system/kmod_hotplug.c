// SPDX-License-Identifier: MIT
/*
 * kmod_hotplug: a function is taken away while it is in use.  Its removal waits for
 * whoever drives it; so they are told, by the board and its event, and no more
 * addresses are given out for it.  When they have closed it, or were killed, it is
 * off the board and what it held in quarantine is free.  Then it comes back.
 *
 * Removes a virtio network device by sysfs, as a hot-unplug does, and finds it again
 * by a rescan; needs root, VFIO's no-IOMMU mode and such a device.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"
#include "lib/kmod_pci.h"

#define EVENT_BOARD	8
#define EVENT_DEVICE	9

static int nom, listener;
static const struct nom_board *board;
static struct k_pci dev;
static uint64_t all;

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) > 0;

	close(fd);
	return good;
}

static bool is_there(void *unused)
{
	struct nom_board_device d;

	return !k_board_device(board, dev.bdf, &d);
}

static bool is_leaving(void *unused)
{
	struct nom_board_device d;

	return !k_board_device(board, dev.bdf, &d) && d.state == NOM_DEVICE_LEAVING;
}

static bool is_gone(void *unused)
{
	struct nom_board_device d;

	return k_board_device(board, dev.bdf, &d) == -ENOENT;
}

static bool all_free(void *unused)
{
	return k_mem_free(board) == all;
}

/* The state in the next news of a device; others are skipped. */
static int next_state(void)
{
	static char buf[8192] __attribute__((aligned(8)));
	struct k_nl_msg m;

	while (!k_nl_next(listener, buf, sizeof(buf), &m, 3000))
		if (m.cmd == NOM_GENL_CMD_DEVICE_NTF && k_nl_u32(&m, NOM_GENL_A_BDF) == dev.bdf)
			return (int)k_nl_u32(&m, NOM_GENL_A_STATE);
	return -1;
}

/* Ends when the device is closed, by us as well: we were forked. */
static int remove_it(void *unused)
{
	char path[96];

	if (close_range(3, ~0U, 0))
		return 2;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", dev.slot);
	return put(path, "1") ? 0 : 1;
}

static bool exists(void *unused)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", dev.slot);
	return !access(path, F_OK);
}

static void comes_back(void)
{
	t_ok(put("/sys/bus/pci/rescan", "1") && t_wait(exists, NULL, 5000), "a rescan finds it again");
	t_ok(is_gone(NULL), "the kernel's own, it is not on the board");
}

static void taken_from_its_driver(void)
{
	int grant, fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct k_lease l;
	struct k_vfio v;
	uint64_t phys, one = 1;
	pid_t remover;

	t_eq(k_pci_move(&dev, "vfio-pci"), 0, "bind it to vfio-pci");
	t_eq(next_state(), 1 + NOM_DEVICE_PRESENT, "news: it is there");
	if (!t_eq(k_vfio_open(&dev, &v), 0, "open it"))
		return;
	t_eq(k_vfio_bus_master(&v, true), 0, "bus mastering on");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "claim a core");
	t_eq(k_subscribe(&l, EVENT_BOARD, 1ULL << NOM_BOARD_DEVICES), 0, "subscribe to devices");
	t_eq(k_bind(&l, EVENT_DEVICE, fd), 0, "bind an eventfd");
	t_eq(k_vfio_irq(&v, fd), 0, "and let the device signal it");
	grant = k_grant(nom, 2 * CHUNK);
	t_eq(k_phys(grant, 0, dev.bdf, &phys), 0, "a grant, and its address");

	remover = t_spawn(remove_it, NULL);
	t_ok(t_wait(is_leaving, NULL, 5000), "it is removed: the board says that it leaves");
	t_eq(next_state(), 1 + NOM_DEVICE_LEAVING, "news: it leaves");
	t_eq(l.sh->count[EVENT_BOARD], 1, "the subscriber is told");
	t_eq(k_phys(grant, CHUNK, dev.bdf, &phys), -ENODEV, "no more addresses are told for it");
	close(grant);
	t_eq(k_mem_quarantined(board), 2 * CHUNK, "the grant ends: quarantine, since it can still write");
	t_sleep_ms(100);
	t_ok(is_leaving(NULL) && !waitpid(remover, NULL, WNOHANG), "the removal waits for us");

	k_vfio_close(&v);
	t_eq(t_reap(remover), 0, "we close it: the removal ends");
	t_ok(is_gone(NULL), "it is off the board");
	t_eq(next_state(), 0, "news: it went");
	t_eq(l.sh->count[EVENT_BOARD], 2, "the subscriber is told");
	t_ok(t_wait(all_free, NULL, 5000), "quarantine is over");
	t_ok(write(fd, &one, sizeof(one)) == sizeof(one) && l.sh->count[EVENT_DEVICE] == 1,
	     "the binding outlives the device");
	t_eq(k_unbind(&l, EVENT_DEVICE, fd), 0, "and can be taken away");
	t_ok(!exists(NULL), "the machine has it no more");
	munmap(l.sh, PAGE);
	close(l.fd);
	close(fd);
	comes_back();
}

static int hold(void *unused)
{
	struct k_vfio v;
	uint64_t phys;
	int grant;

	if (k_vfio_open(&dev, &v) || k_vfio_bus_master(&v, true))
		return 1;
	grant = k_grant(nom, 4 * CHUNK);
	if (k_phys(grant, 0, dev.bdf, &phys))
		return 2;
	pause();
	return 0;
}

static bool holds(void *unused)
{
	return k_mem_free(board) == all - 4 * CHUNK;
}

static void its_driver_killed(void)
{
	pid_t holder, remover;

	t_eq(k_pci_move(&dev, "vfio-pci"), 0, "bind it again");
	t_ok(t_wait(is_there, NULL, 5000) && !is_leaving(NULL), "it is on the board as ever");
	holder = t_spawn(hold, NULL);
	t_ok(t_wait(holds, NULL, 5000), "a process drives it");
	t_sleep_ms(50);
	remover = t_spawn(remove_it, NULL);
	t_ok(t_wait(is_leaving, NULL, 5000), "it leaves");
	kill(holder, SIGKILL);
	t_eq(t_reap(holder), 128 + SIGKILL, "kill -9 of the process");
	t_eq(t_reap(remover), 0, "the removal ends");
	t_ok(is_gone(NULL), "it is off the board");
	t_ok(t_wait(all_free, NULL, 5000), "all memory is free");
	comes_back();
}

int main(void)
{
	int family, group;
	const char *why;

	nom = k_open(O_RDWR);
	board = k_board(nom);
	why = k_pci_trusted(&dev);
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 4;
	}
	all = k_mem_free(board);
	listener = k_nl_open(&family, &group);
	k_nl_join(listener, group);

	taken_from_its_driver();
	its_driver_killed();
	t_ok(k_mem_free(board) == all, "nothing is left over");
	return t_done();
}
