// SPDX-License-Identifier: MIT
/*
 * PCI functions through VFIO: taken from their driver, used, given back - also
 * after kill -9.
 *
 * Takes the last virtio-net function.  With QEMU's edu device in the machine,
 * DMA and interrupts are tested, too: each MSI an upcall.  Works with and
 * without an IOMMU; tests/scripts/nomux_vfio_modes runs it in both.
 */
#include <fcntl.h>
#include <glob.h>
#include <linux/nom.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <nomux/board.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/log.h>
#include <nomux/upcall.h>
#include <nomux/vfio.h>

#include "nomux_tap.h"

#define HUGE		(2UL << 20)
#define NOIOMMU_SWITCH	"/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

static struct nomux_ctx *nom;
static char last_error[512];

static void keep_error(int level, const char *msg, void *arg)
{
	snprintf(last_error, sizeof(last_error), "%s", msg);
}

static unsigned int read_hex(const char *dir, const char *file)
{
	unsigned int v = 0;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%x", &v) != 1)
			v = 0;
		fclose(f);
	}
	return v;
}

/* The last function of that kind. */
static bool find_device(unsigned int vendor, unsigned int d1, unsigned int d2, char *bdf)
{
	glob_t g;
	size_t i;

	bdf[0] = '\0';
	if (glob("/sys/bus/pci/devices/*", 0, NULL, &g))
		return false;
	for (i = 0; i < g.gl_pathc; i++) {
		unsigned int device = read_hex(g.gl_pathv[i], "device");

		if (read_hex(g.gl_pathv[i], "vendor") == vendor && (device == d1 || device == d2))
			snprintf(bdf, 16, "%.15s", strrchr(g.gl_pathv[i], '/') + 1);
	}
	globfree(&g);
	return bdf[0] != '\0';
}

static const char *driver(const char *bdf)
{
	static char target[256];
	char path[96];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", bdf);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return "none";
	target[n] = '\0';
	return strrchr(target, '/') + 1;
}

static struct nom_board_memory memory(void)
{
	static uint64_t board[65536 / 8];
	const struct nom_board_memory *m;
	struct nom_board_memory none = { 0 };

	if (nomux_board_snapshot(nom, board, sizeof(board)))
		return none;
	m = nomux_board_record((void *)board, sizeof(board), NOM_BOARD_MEMORY, 0, sizeof(*m));
	return m ? *m : none;
}

/* Memory comes back as soon as the device is gone, but not within one system call. */
static bool memory_is_back(const struct nom_board_memory *before)
{
	int i;

	for (i = 0; i < 100; i++, usleep(10000))
		if (memory().free_bytes == before->free_bytes)
			return true;
	return false;
}

static void test_dma_memory(struct nomux_vfio *dev)
{
	struct nom_board_memory before = memory();
	uint64_t *dma;
	size_t nr, i;
	char *p;
	void *va;

	t_is(nomux_vfio_dma_alloc(dev, 0, &va, &dma, &nr), -EINVAL, "no bytes of DMA memory: EINVAL");
	T_NEED(nomux_vfio_dma_alloc(dev, 2 * HUGE + 1, &va, &dma, &nr));
	p = va;
	t_is((long)nr, 3, "DMA memory comes in chunks of 2 MiB");
	for (i = 0; i < nr * HUGE && !p[i]; i++)
		;
	t_is((long)i, (long)(nr * HUGE), "  zeroed and writable");
	memset(p, 1, nr * HUGE);
	t_ok(dma[0] % HUGE == 0 && dma[1] % HUGE == 0 && dma[0] != dma[1] && dma[1] != dma[2],
	     "  each with an address of its own");
	t_is((long)memory().granted_bytes, (long)(before.granted_bytes + 3 * HUGE), "  granted to us");
	nomux_vfio_dma_free(dev, va);
	if (nomux_vfio_trusted(dev))
		t_is((long)memory().free_bytes, (long)(before.free_bytes - 3 * HUGE),
		     "  freed while the device could still reach it: goes to nobody");
	else
		t_ok(memory_is_back(&before), "  freed, it is free");
}

static void test_bars_and_config(struct nomux_vfio *dev)
{
	unsigned int bar, mapped = 0, strange = 0;
	uint16_t vendor;
	size_t bytes;
	void *va;
	int err;

	T_NEED(nomux_vfio_config_read(dev, 0, &vendor, sizeof(vendor)));
	t_is(vendor, 0x1af4, "configuration space can be read");
	t_is(nomux_vfio_config_read(dev, 1 << 20, &vendor, 2), -EINVAL, "  within its bounds");
	for (bar = 0; bar < 6; bar++) {
		err = nomux_vfio_map_bar(dev, bar, &va, &bytes);
		mapped += !err && bytes >= 4096;
		strange += err && err != -ENOENT && err != -EOPNOTSUPP;
	}
	t_ok(mapped >= 1 && !strange, "its memory BARs can be mapped");
	t_is(nomux_vfio_map_bar(dev, 6, &va, &bytes), -EINVAL, "there is no BAR 6");
}

static void test_irqs(struct nomux_vfio *dev)
{
	int nr = nomux_vfio_nr_irqs(dev), fd = eventfd(0, EFD_CLOEXEC);

	t_ok(nr >= 2, "it has MSI-X vectors");
	t_is(nomux_vfio_irq(dev, 0, -1), 0, "turning off what is off");
	t_is(nomux_vfio_irq(dev, 1, fd), 0, "a vector to an eventfd");
	t_is(nomux_vfio_irq(dev, 0, fd), 0, "another");
	t_is(nomux_vfio_irq(dev, 1, -1), 0, "and off");
	t_is(nomux_vfio_irq(dev, (unsigned int)nr, fd), -EINVAL, "no such vector: EINVAL");
	close(fd);
}

static void test_take_and_give_back(const char *bdf)
{
	struct nom_board_memory before = memory();
	struct nomux_vfio *dev, *again = NULL;
	char had[64];

	snprintf(had, sizeof(had), "%s", driver(bdf));
	printf("# %s, driver %s\n", bdf, had);
	T_NEED(nomux_vfio_open(nom, bdf, &dev));
	printf("# %s\n", nomux_vfio_trusted(dev) ? "trusted mode, no IOMMU" : "IOMMU");
	t_ok(!strcmp(driver(bdf), "vfio-pci"), "an opened function is at vfio-pci");
	nomux_set_log_fn(keep_error, NULL);
	t_is(nomux_vfio_open(nom, bdf, &again), -EBUSY, "opened twice: EBUSY");
	t_ok(strstr(last_error, bdf) != NULL, "  with a message that names it");
	printf("# %s\n", last_error);
	t_is(nomux_vfio_restore(bdf), -EBUSY, "given back while in use: EBUSY");
	nomux_set_log_fn(NULL, NULL);
	test_bars_and_config(dev);
	test_irqs(dev);
	test_dma_memory(dev);
	nomux_vfio_close(dev);
	t_ok(!strcmp(driver(bdf), had), "a closed function is at its driver again");
	t_ok(memory_is_back(&before), "and its memory is free");
}

static void test_kill(const char *bdf)
{
	struct nom_board_memory before = memory();
	int status, pipefd[2];
	char byte, had[64];
	pid_t pid;

	snprintf(had, sizeof(had), "%s", driver(bdf));
	T_NEED(pipe(pipefd) ? -errno : 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct nomux_vfio *dev;
		uint64_t *dma;
		size_t nr;
		void *va;

		T_NEED(nomux_vfio_open(nom, bdf, &dev));
		T_NEED(nomux_vfio_dma_alloc(dev, HUGE, &va, &dma, &nr));
		if (write(pipefd[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	t_is(read(pipefd[0], &byte, 1), 1, "another process opens it");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	t_ok(!strcmp(driver(bdf), "vfio-pci"), "killed, it leaves the function at vfio-pci");
	t_ok(memory_is_back(&before), "  its memory comes back all the same");
	t_is(nomux_vfio_restore(bdf), 0, "nomux_vfio_restore()");
	t_ok(!strcmp(driver(bdf), had), "  gives it back to its driver");
	t_is(nomux_vfio_restore(bdf), 0, "  and does nothing to one that is there");
}

static int open_as_nobody(const char *bdf)
{
	struct nomux_vfio *dev;

	nomux_set_log_fn(keep_error, NULL);
	if (setgid(65534) || setuid(65534))
		return 255;
	return -nomux_vfio_open(nom, bdf, &dev);
}

static int open_without_switch(const char *bdf)
{
	struct nomux_vfio *dev = NULL;
	int fd = open(NOIOMMU_SWITCH, O_WRONLY | O_CLOEXEC), err;

	nomux_set_log_fn(keep_error, NULL);
	if (write(fd, "N", 1) != 1)
		return 255;
	err = nomux_vfio_open(nom, bdf, &dev);
	if (write(fd, "Y", 1) != 1)
		return 255;
	close(fd);
	return strstr(last_error, NOIOMMU_SWITCH) ? -err : 254;
}

static int in_child(int (*fn)(const char *), const char *bdf)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(fn(bdf));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void test_refusals(const char *bdf)
{
	char path[96];

	t_is(in_child(open_as_nobody, bdf), EBUSY, "not ours to take: EBUSY");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	if (access(path, F_OK))
		t_is(in_child(open_without_switch, bdf), EOPNOTSUPP,
		     "trusted mode not enabled: EOPNOTSUPP, and the message says how");
	t_ok(strcmp(driver(bdf), "vfio-pci"), "after a refusal the driver is what it was");
}

/* ---------------------------------------------------- QEMU's edu device --- */

#define EDU_ID		0x00
#define EDU_RAISE	0x60
#define EDU_ACK		0x64
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_BUFFER	0x40000ULL	/* its own 4 KiB */
#define EDU_TO_DEVICE	1		/* start */
#define EDU_TO_MEMORY	3		/* start, direction */

static volatile uint64_t interrupts;

static void on_interrupt(unsigned int event, uint64_t count, void *arg)
{
	interrupts += count;
}

static void edu_dma(volatile char *bar, uint64_t src, uint64_t dst, uint64_t bytes, uint64_t cmd)
{
	*(volatile uint64_t *)(bar + EDU_DMA_SRC) = src;
	*(volatile uint64_t *)(bar + EDU_DMA_DST) = dst;
	*(volatile uint64_t *)(bar + EDU_DMA_COUNT) = bytes;
	*(volatile uint64_t *)(bar + EDU_DMA_CMD) = cmd;
	while (*(volatile uint64_t *)(bar + EDU_DMA_CMD) & 1)
		usleep(1000);
}

static void test_edu_dma(struct nomux_vfio *dev, volatile char *bar)
{
	uint64_t *dma;
	size_t nr;
	void *va;
	char *p;

	T_NEED(nomux_vfio_dma_alloc(dev, 2 * HUGE, &va, &dma, &nr));
	p = va;
	strcpy(p + 100, "from one chunk to the other");
	edu_dma(bar, dma[0] + 100, EDU_BUFFER, 64, EDU_TO_DEVICE);
	edu_dma(bar, EDU_BUFFER, dma[1] + 4096, 64, EDU_TO_MEMORY);
	t_ok(!strcmp(p + HUGE + 4096, p + 100), "the device reads and writes DMA memory");
	nomux_vfio_dma_free(dev, va);
}

static void test_edu_interrupts(struct nomux_vfio *dev, volatile char *bar)
{
	int fd = eventfd(0, EFD_CLOEXEC), i;
	struct nomux_core *core;
	uint64_t until;

	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_on_event(core, 1, on_interrupt, NULL));
	T_NEED(nomux_event_bind(core, 1, fd));
	T_NEED(nomux_vfio_irq(dev, 0, fd));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	for (i = 0; i < 2000; i++) {
		*(volatile uint32_t *)(bar + EDU_RAISE) = 1;
		until = nomux_now_ns() + 2000000000;
		while (interrupts <= (uint64_t)i && nomux_now_ns() < until)
			;
		if (interrupts != (uint64_t)i + 1)
			break;
		*(volatile uint32_t *)(bar + EDU_ACK) = 1;
	}
	t_is(i, 2000, "2,000 interrupts, each an upcall");
	T_NEED(nomux_core_release(core));
	close(fd);
}

static void test_edu(void)
{
	struct nomux_vfio *dev;
	size_t bytes;
	char bdf[16];
	void *bar;

	if (!find_device(0x1234, 0x11e8, 0x11e8, bdf)) {
		printf("ok %d - DMA and interrupts # SKIP no edu device (see nomux_vfio_modes)\n",
		       ++t_ran);
		return;
	}
	T_NEED(nomux_vfio_open(nom, bdf, &dev));
	T_NEED(nomux_vfio_map_bar(dev, 0, &bar, &bytes));
	t_is(*(volatile uint32_t *)bar & 0xff, 0xed, "the edu device answers");
	test_edu_dma(dev, bar);
	test_edu_interrupts(dev, bar);
	nomux_vfio_close(dev);
	t_ok(!strcmp(driver(bdf), "none"), "a function that had no driver has none again");
}

int main(void)
{
	char bdf[16];
	int err;

	t_start(120);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	if (!find_device(0x1af4, 0x1000, 0x1041, bdf)) {
		printf("1..0 # SKIP no virtio-net function in this machine\n");
		return T_SKIP;
	}
	test_take_and_give_back(bdf);
	test_kill(bdf);
	test_refusals(bdf);
	test_edu();
	nomux_close(nom);
	return t_end();
}
