// SPDX-License-Identifier: MIT
/*
 * kmod_dma: a device that goes on writing into memory whose owner has returned it,
 * and has been killed.  Another process drives it, and nobody tells that one.  As
 * long as the device can reach the memory nobody gets it; what others get it never
 * writes to.  That it does write is seen by having it read back what it wrote.
 *
 * Needs QEMU's educational device, behind an IOMMU or not:
 * tests/scripts/kmod_dma_guest boots both.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include "lib/kmod.h"
#include "lib/kmod_pci.h"

/* Its registers: source, destination, bytes, command; its own memory as it sees it. */
#define EDU_SRC		0x80
#define EDU_DST		0x88
#define EDU_COUNT	0x90
#define EDU_CMD		0x98
#define EDU_START	1
#define EDU_TO_MEMORY	2
#define EDU_BUFFER	0x40000
#define EDU_BYTES	2048UL		/* at once; QEMU 7.2 dies of all its 4096 */

#define RW		(NOM_MAP_READ | NOM_MAP_WRITE)
#define IOVA_OWN	0x10000000ULL	/* with an IOMMU: the driver's memory */
#define IOVA_TARGET	0x20000000ULL	/* the memory in question */

static int nom;
static const struct nom_board *board;
static struct k_pci dev;
static bool iommu;

/* What driver and test tell each other. */
static struct shared {
	volatile int ret;		/* driver: what went wrong */
	volatile unsigned int rounds;	/* the target held what the device wrote, so often */
	volatile unsigned int wrong;	/* or did not */
	volatile bool stop, stopped;
} *sh;

/* --- the driver --- */

static int container, group_fd, device;
static volatile char *regs;

static int vfio_open(void)
{
	struct vfio_region_info r = { .argsz = sizeof(r), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	char path[64], group[32];
	uint16_t cmd;
	int ret = k_pci_group(&dev, group, sizeof(group));

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/dev/vfio/%s%s", iommu ? "" : "noiommu-", group);
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (container < 0 || group_fd < 0 ||
	    ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, iommu ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU))
		return -errno;
	device = ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, dev.slot);
	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &r) ||
	    pread(device, &cmd, 2, r.offset + PCI_COMMAND) != 2)
		return -errno;
	cmd |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
	if (pwrite(device, &cmd, 2, r.offset + PCI_COMMAND) != 2)
		return -errno;
	r = (struct vfio_region_info){ .argsz = sizeof(r), .index = VFIO_PCI_BAR0_REGION_INDEX };
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &r))
		return -errno;
	regs = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, r.offset);
	return regs == MAP_FAILED ? -errno : 0;
}

/* Where the device finds a grant's bytes: two pieces of 2 MiB. */
static int reachable(int grant, uint64_t iova, uint64_t at[2])
{
	struct vfio_iommu_type1_dma_map m = { .argsz = sizeof(m),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, .iova = iova, .size = 2 * CHUNK };
	void *view;
	int ret;

	if (!iommu) {
		ret = k_phys(grant, 0, dev.bdf, &at[0]);
		return ret ? ret : k_phys(grant, CHUNK, dev.bdf, &at[1]);
	}
	view = mmap(NULL, 2 * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	m.vaddr = (uintptr_t)view;
	ret = ioctl(container, VFIO_IOMMU_MAP_DMA, &m) ? -errno : 0;
	munmap(view, 2 * CHUNK);
	at[0] = iova;
	at[1] = iova + CHUNK;
	return ret;
}

/* Copy EDU_BYTES, to memory or to the device's own; it takes its 100 ms. */
static int copy(uint64_t address, bool to_memory)
{
	unsigned int tries;

	*(volatile uint64_t *)(regs + EDU_SRC) = to_memory ? EDU_BUFFER : address;
	*(volatile uint64_t *)(regs + EDU_DST) = to_memory ? address : EDU_BUFFER;
	*(volatile uint64_t *)(regs + EDU_COUNT) = EDU_BYTES;
	*(volatile uint64_t *)(regs + EDU_CMD) = EDU_START | (to_memory ? EDU_TO_MEMORY : 0);
	for (tries = 0; tries < 1000; tries++) {
		if (!(*(volatile uint64_t *)(regs + EDU_CMD) & EDU_START))
			return 0;
		t_sleep_ms(10);
	}
	return -ETIMEDOUT;
}

static int drive(void *target)
{
	int own = k_grant(nom, 2 * CHUNK), grant = *(int *)target;
	volatile uint64_t *w = k_window(own, 2 * CHUNK, PROT_READ | PROT_WRITE);
	volatile uint64_t *back = w + CHUNK / 8;
	uint64_t mine[2], theirs[2], word = 0xd00d;
	unsigned int i;

	sh->ret = k_map1(own, (void *)w, 0, 2 * CHUNK, RW);
	if (!sh->ret)
		sh->ret = vfio_open();
	if (!sh->ret)
		sh->ret = reachable(own, IOVA_OWN, mine);
	if (!sh->ret)
		sh->ret = reachable(grant, IOVA_TARGET, theirs);
	close(grant);
	while (!sh->ret && !sh->stop) {
		bool good = true;

		word++;
		for (i = 0; i < EDU_BYTES / 8; i++)
			w[i] = word;
		/* mine to the target, something else into the device, the target back */
		sh->ret = copy(mine[0], false) ?: copy(theirs[1], true) ?:
			  copy(mine[0] + PAGE, false) ?: copy(theirs[1], false) ?: copy(mine[1], true);
		for (i = 0; i < EDU_BYTES / 8; i++)
			good = good && back[i] == word;
		sh->rounds += good;
		sh->wrong += !good;
	}
	sh->stopped = true;
	pause();
	return 0;
}

/* --- the test --- */

static uint64_t quarantined(void)
{
	struct nom_board_memory m;

	return k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m)) ? 0 : m.quarantined_bytes;
}

static bool all_free(void *bytes)
{
	return k_mem_free(board) == *(uint64_t *)bytes;
}

static bool three_more(void *since)
{
	return sh->rounds >= *(unsigned int *)since + 3 || sh->ret;
}

static bool goes_on(void)
{
	unsigned int since = sh->rounds;

	return t_wait(three_more, &since, 60000) && !sh->ret && !sh->wrong;
}

static int own_it(void *target)
{
	char *w = k_window(*(int *)target, 2 * CHUNK, PROT_READ | PROT_WRITE);

	if (k_map1(*(int *)target, w, 0, 2 * CHUNK, RW))
		return 1;
	pause();
	return 0;
}

/* Nothing but zeros in all there is to be had, before and after the device's turns. */
static unsigned int strangers(bool wait)
{
	uint64_t bytes = k_mem_free(board), i, dirty = 0;
	int grant = k_grant(nom, bytes);
	volatile uint64_t *w = k_window(grant, bytes, PROT_READ | PROT_WRITE);

	if (k_map1(grant, (void *)w, 0, bytes, RW | NOM_MAP_HUGE))
		return ~0U;
	if (wait && !goes_on())
		return ~0U;
	if (!wait)
		t_sleep_ms(300);
	for (i = 0; i < bytes / 8; i += 8)
		dirty += w[i] != 0;
	munmap((void *)w, bytes);
	close(grant);
	return dirty;
}

int main(void)
{
	uint64_t before;
	pid_t owner, driver;
	int target;

	nom = k_open(O_RDWR);
	board = k_board(nom);
	if (!k_pci_find_edu(&dev) || access("/sys/bus/pci/drivers/vfio-pci", F_OK)) {
		printf("1..0 # SKIP no educational device (-device edu), or no vfio-pci\n");
		return 4;
	}
	iommu = k_pci_has_iommu(&dev);
	before = k_mem_free(board);
	sh = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_eq(k_pci_move(&dev, "vfio-pci"), 0, "%s to vfio-pci, %s", dev.slot,
	     iommu ? "behind an IOMMU" : "without an IOMMU");

	target = k_grant(nom, 2 * CHUNK);
	owner = t_spawn(own_it, &target);
	driver = t_spawn(drive, &target);
	if (!t_ok(goes_on(), "the device writes to memory that another process owns"))
		t_diag("%d, %u good, %u wrong", sh->ret, sh->rounds, sh->wrong);

	t_eq(k_range(target, NOM_MEM_RETURN, NULL, CHUNK, CHUNK, 0), 0, "that memory is returned");
	t_eq(quarantined(), CHUNK, "quarantine");
	t_eq(strangers(true), 0, "the device goes on writing there, and nowhere else");
	t_eq(quarantined(), CHUNK, "still quarantine");

	close(target);
	kill(owner, SIGKILL);
	t_eq(t_reap(owner), 128 + SIGKILL, "the owner is killed");
	t_eq(quarantined(), 2 * CHUNK, "the rest of its memory is in quarantine, too");
	t_eq(strangers(true), 0, "the device goes on writing there, and nowhere else");
	t_eq(k_mem_free(board), before - 4 * CHUNK, "nobody was given any of it");

	kill(driver, SIGKILL);
	t_eq(t_reap(driver), 128 + SIGKILL, "the driver is killed in the middle of a copy");
	if (!t_ok(t_wait(all_free, &before, 10000), "now all is free"))
		t_diag("free %lu of %lu, quarantined %lu", (unsigned long)k_mem_free(board),
		       (unsigned long)before, (unsigned long)quarantined());
	t_eq(strangers(false), 0, "and zero, and stays so");
	t_eq(k_pci_move(&dev, ""), 0, "give the device back");
	return t_done();
}
