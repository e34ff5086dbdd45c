// SPDX-License-Identifier: MIT
/*
 * kmod_iommu: grants and VFIO type1, where there is an IOMMU.  A window cannot be
 * mapped for DMA, because nobody could pin it; a DMA view can, is pinned, and
 * the memory is nobody's until VFIO lets go of it, however the owner ended.
 *
 * Needs a virtio network device behind an IOMMU, for example
 *   scripts/run-guest --append intel_iommu=on --qemu-arg '-device intel-iommu' ...
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vfio.h>
#include "lib/kmod.h"
#include "lib/kmod_pci.h"

static int nom;
static const struct nom_board *board;
static struct k_pci dev;
static int container, group_fd, device;

static int vfio_open(void)
{
	char path[64], group[32];
	int ret;

	ret = k_pci_group(&dev, group, sizeof(group));
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (container < 0 || group_fd < 0 ||
	    ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -errno;
	device = ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, dev.slot);
	return device < 0 ? -errno : 0;
}

static void vfio_close(void)
{
	close(device), close(group_fd), close(container);
}

static int dma_map(void *va, size_t bytes, uint64_t iova, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map m = { .argsz = sizeof(m), .flags = flags,
		.vaddr = (uintptr_t)va, .iova = iova, .size = bytes };

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &m) ? -errno : 0;
}

static int dma_unmap(uint64_t iova, size_t bytes)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u), .iova = iova, .size = bytes };

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &u) ? -errno : 0;
}

static bool all_free(void *bytes)
{
	return k_mem_free(board) == *(uint64_t *)bytes;
}

#define DMA_RW	(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

static void *view_of(int grant, size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
}

static void windows(void)
{
	int grant = k_grant(nom, 2 * CHUNK);
	char *w = k_window(grant, 2 * CHUNK, PROT_READ | PROT_WRITE);

	t_eq(dma_map(w, CHUNK, 0, DMA_RW), -EFAULT, "an empty window");
	t_eq(k_map1(grant, w, 0, CHUNK, NOM_MAP_READ | NOM_MAP_WRITE), 0, "map 4 KiB entries");
	t_eq(dma_map(w, CHUNK, 0, DMA_RW), -EFAULT, "a window with them");
	t_eq(dma_map(w, PAGE, 0, VFIO_DMA_MAP_FLAG_READ), -EFAULT, "not even for reading");
	t_eq(k_map1(grant, w + CHUNK, CHUNK, CHUNK, NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_HUGE), 0,
	     "map 2 MiB");
	t_eq(dma_map(w + CHUNK, CHUNK, 0, DMA_RW), -EFAULT, "a window with that");
	munmap(w, 2 * CHUNK);
	close(grant);
	t_eq(k_mem_quarantined(board), 0, "nothing is pinned by all this");
}

static void views(void)
{
	uint64_t before = k_mem_free(board);
	int grant = k_grant(nom, 2 * CHUNK);
	char *v = view_of(grant, 2 * CHUNK);

	t_eq(dma_map(v, 2 * CHUNK, 0, DMA_RW), 0, "a view of 4 MiB");
	munmap(v, 2 * CHUNK);
	close(grant);
	t_eq(k_mem_quarantined(board), 2 * CHUNK, "its grant ends: quarantine");
	t_sleep_ms(200);
	t_eq(k_mem_quarantined(board), 2 * CHUNK, "it stays there while it is mapped for DMA");
	t_eq(dma_unmap(0, 2 * CHUNK), 2 * 0, "unmap");
	t_ok(t_wait(all_free, &before, 5000), "quarantine is over");

	grant = k_grant(nom, CHUNK);
	v = view_of(grant, CHUNK);
	t_eq(dma_map(v, CHUNK, 0, DMA_RW), 0, "map a view");
	t_eq(dma_unmap(0, CHUNK), 0, "unmap it in time");
	munmap(v, CHUNK);
	close(grant);
	t_ok(all_free(&before), "free at once");
}

static int hold_all(void *unused)
{
	int grant;

	if (vfio_open())
		return 1;
	grant = k_grant(nom, 8 * CHUNK);
	if (dma_map(view_of(grant, 8 * CHUNK), 8 * CHUNK, 0, DMA_RW))
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

	t_ok(t_wait(holds, &before, 5000), "a process maps a view for DMA");
	t_sleep_ms(300);
	kill(pid, SIGKILL);
	t_eq(t_reap(pid), 128 + SIGKILL, "kill -9");
	t_ok(t_wait(all_free, &before, 5000), "memory comes back");
}

int main(void)
{
	int ret;

	nom = k_open(O_RDWR);
	board = k_board(nom);
	if (!k_pci_find(&dev) || !k_pci_has_iommu(&dev) ||
	    access("/sys/bus/pci/drivers/vfio-pci", F_OK)) {
		printf("1..0 # SKIP no virtio network device behind an IOMMU, or no vfio-pci\n");
		return 4;
	}
	t_eq(k_pci_move(&dev, "vfio-pci"), 0, "bind %s to vfio-pci", dev.slot);
	ret = vfio_open();
	if (t_eq(ret, 0, "open it with type1")) {
		windows();
		views();
		vfio_close();
		killed();
	}
	t_eq(k_pci_move(&dev, dev.driver), 0, "give it back to %s", dev.driver);
	return t_done();
}
