// SPDX-License-Identifier: MIT
/*
 * nom-fuzz: the calls that are not ioctls of nom's - mappings, descriptors,
 * processes, signals, traps.  Each returns what the kernel said: >= 0 or -errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../system/lib/kmod_pci.h"
#include "fuzz.h"

#define FORKS_MAX	4
#define MEM_LEFT	(40UL << 20)	/* of the pool, when enough was released for good */

static long e(long ret)
{
	return ret < 0 ? -errno : ret;
}

/*
 * Run an instruction; 1 if it faulted, by an upcall or by a signal.  It may use the
 * stack (this file is built without a red zone), but not leave anything on it.
 */
#define PROBE(insn, ...) ({						\
	long bad_ = 1;							\
	__asm__ volatile("lea 9f(%%rip), %%rax\n\tmov %%rax, %1\n\t"	\
			 insn "\n\tmovq $0, %0\n9:\tmovq $0, %1"	\
			 : "+m"(bad_), "=m"(t->recover) : __VA_ARGS__	\
			 : "rax", "rcx", "rdx", "memory", "cc");	\
	bad_; })

/* Only mappings of our own: a program must not saw off what it sits on. */
static bool ours(struct fz_thread *t, uint64_t addr, uint64_t bytes)
{
	struct fz_region *r;

	for (r = t->run->region; r < t->run->region + FZ_REGIONS; r++)
		if (addr >= (uintptr_t)r->addr && addr < (uintptr_t)r->addr + r->bytes)
			return bytes < 1ULL << 32;
	return false;
}

static long keep_mapping(struct fz_thread *t, void *p, size_t bytes, enum fz_kind kind, int fd)
{
	if (p == MAP_FAILED)
		return -errno;
	fz_keep_region(t->run, p, bytes, kind, fd);
	return 0;
}

static long map(struct fz_thread *t, enum fz_kind kind, int fd, size_t bytes, int prot, uint64_t offset)
{
	if (bytes > 1UL << 36)
		return -ENOMEM;
	return keep_mapping(t, mmap(NULL, bytes, prot, MAP_SHARED, fd, offset), bytes, kind, fd);
}

long fz_open_nom(struct fz_thread *t, const uint64_t *a)
{
	static const int flags[] = { O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_NONBLOCK, O_PATH };
	int fd = open(NOM_DEVICE_PATH, flags[a[0] % 5] | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	fz_keep_fd(t->run, K_NOM, fd);
	return 0;
}

long fz_mmap_board(struct fz_thread *t, const uint64_t *a)
{
	return map(t, K_NOM, a[0], a[3] ? 8192 : a[1], a[3] ? PROT_READ : a[2], a[3] == 3 ? FZ_PAGE : 0);
}

long fz_mmap_core(struct fz_thread *t, const uint64_t *a)
{
	return map(t, K_CORE, a[0], a[2] == 1 ? 2 * FZ_PAGE : FZ_PAGE, a[2] > 3 ? PROT_READ | PROT_WRITE : a[1],
		   a[2] == 2 ? FZ_PAGE : 0);
}

long fz_mmap_window(struct fz_thread *t, const uint64_t *a)
{
	if (a[3] == 1)
		return keep_mapping(t, mmap(NULL, FZ_CHUNK, PROT_READ, MAP_PRIVATE, a[0], 0), FZ_CHUNK, K_GRANT, a[0]);
	return map(t, K_GRANT, a[0], a[3] > 3 ? 8 * FZ_CHUNK : a[1], a[3] > 8 ? PROT_READ | PROT_WRITE : a[2],
		   a[3] == 2 ? FZ_PAGE : NOM_GRANT_MMAP_WINDOW);
}

long fz_mmap_dma(struct fz_thread *t, const uint64_t *a)
{
	return map(t, K_GRANT, a[0], a[1], a[2], NOM_GRANT_MMAP_DMA + (a[3] & ~(FZ_PAGE - 1)) % (1ULL << 40));
}

long fz_mmap_any(struct fz_thread *t, const uint64_t *a)
{
	return map(t, K_GRANT, a[0], a[1], a[2], a[3] & ~(FZ_PAGE - 1));
}

/* Nobody is told where it lies: a device that is written to at random can write anywhere. */
long fz_mmap_mmio(struct fz_thread *t, const uint64_t *a)
{
	void *p = mmap(NULL, a[1], (int)(a[2] & 7), MAP_SHARED, (int)a[0], 0);

	return p == MAP_FAILED ? -errno : 0;
}

long fz_phys_mmio(struct fz_thread *t, const uint64_t *a)
{
	struct nom_mem_phys phys = { .size = sizeof(phys), .flags = NOM_PHYS_MMIO, .offset = a[2], .bdf = (uint32_t)a[1] };

	return e(ioctl((int)a[0], NOM_MEM_PHYS, &phys));
}

long fz_munmap(struct fz_thread *t, const uint64_t *a)
{
	return ours(t, a[0], a[1]) ? e(munmap((void *)a[0], a[1])) : -EPERM;
}

long fz_mprotect(struct fz_thread *t, const uint64_t *a)
{
	return ours(t, a[0], a[1]) ? e(mprotect((void *)a[0], a[1], a[2] & 7)) : -EPERM;
}

long fz_mremap(struct fz_thread *t, const uint64_t *a)
{
	void *p;

	if (!ours(t, a[0], a[1]) || a[2] > 1ULL << 32)
		return -EPERM;
	p = mremap((void *)a[0], a[1], a[2], a[3] & (MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	return keep_mapping(t, p, a[2], K_GRANT, -1);
}

long fz_madvise(struct fz_thread *t, const uint64_t *a)
{
	return ours(t, a[0], a[1]) ? e(madvise((void *)a[0], a[1], a[2])) : -EPERM;
}

long fz_mlock(struct fz_thread *t, const uint64_t *a)
{
	static unsigned char vec[8192];

	if (!ours(t, a[0], a[1]))
		return -EPERM;
	switch (a[2]) {
	case 0:
		return e(mlock((void *)a[0], a[1]));
	case 1:
		return e(munlock((void *)a[0], a[1]));
	case 2:
		return e(msync((void *)a[0], a[1], MS_SYNC));
	default:
		return e(mincore((void *)a[0], a[1] % (sizeof(vec) * FZ_PAGE), vec));
	}
}

long fz_touch(struct fz_thread *t, const uint64_t *a)
{
	if (a[1] == 0)
		return PROBE("movb (%2), %%cl", "r"(a[0]));
	if (!ours(t, a[0], 0))
		return -EPERM;
	if (a[1] == 1)
		return PROBE("lock; orb $0, (%2)", "r"(a[0]));
	/* execute: what is there does not come back, and faults soon; zeros are "add %al, (%rax)" */
	return PROBE("xor %%eax, %%eax\n\tjmp *%2", "r"(a[0]));
}

/* Copies by the kernel's own hand, which may not fault, and pages it wants to hold. */
long fz_gup(struct fz_thread *t, const uint64_t *a)
{
	static char buf[65536];
	struct iovec here = { buf, sizeof(buf) }, there = { (void *)a[0], a[1] % sizeof(buf) };
	int p[2];
	long ret;

	switch (a[2]) {
	case 0:
		return e(process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	case 1:
		return ours(t, a[0], 0) ? e(process_vm_writev(getpid(), &here, 1, &there, 1, 0)) : -EPERM;
	}
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	if (a[2] == 2)
		ret = e(vmsplice(p[1], &there, 1, SPLICE_F_NONBLOCK));
	else
		ret = e(write(p[1], there.iov_base, there.iov_len));
	close(p[0]);
	close(p[1]);
	return ret;
}

long fz_proc_mem(struct fz_thread *t, const uint64_t *a)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char buf[256] = { 0 };
	long ret;

	if (fd < 0)
		return -errno;
	if (a[1])
		ret = ours(t, a[0], 0) ? e(pwrite(fd, buf, sizeof(buf), a[0])) : -EPERM;
	else
		ret = e(pread(fd, buf, sizeof(buf), a[0]));
	close(fd);
	return ret;
}

long fz_uffd(struct fz_thread *t, const uint64_t *a)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { a[0] & ~(FZ_PAGE - 1), a[1] }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	long ret;

	if (fd < 0)
		return -errno;
	ret = ours(t, a[0], a[1]) ? e(ioctl(fd, UFFDIO_API, &api) ?: ioctl(fd, UFFDIO_REGISTER, &reg)) : -EPERM;
	close(fd);
	return ret;
}

/* --------------------------------------------------------- descriptors --- */

long fz_eventfd(struct fz_thread *t, const uint64_t *a)
{
	int fd = eventfd(a[0], EFD_CLOEXEC | EFD_NONBLOCK | (a[1] == 1 ? EFD_SEMAPHORE : 0));

	if (fd < 0)
		return -errno;
	fz_keep_fd(t->run, K_EVENTFD, fd);
	return 0;
}

long fz_efd_write(struct fz_thread *t, const uint64_t *a)
{
	uint64_t v = a[1] == 8 ? 0xfffffffffffffffe : a[1];

	return e(write(a[0], &v, sizeof(v)));
}

long fz_read_fd(struct fz_thread *t, const uint64_t *a)
{
	fcntl(a[0], F_SETFL, O_NONBLOCK);
	return ours(t, a[1], 0) ? e(read(a[0], (void *)a[1], a[2] & 0xffff)) : -EPERM;
}

long fz_close_fd(struct fz_thread *t, const uint64_t *a)
{
	return (int)a[0] > 2 ? e(close(a[0])) : -EPERM;
}

long fz_dup_fd(struct fz_thread *t, const uint64_t *a)
{
	return (int)a[0] > 2 ? e(fcntl(a[0], F_DUPFD_CLOEXEC, 3)) : -EPERM;
}

long fz_poll_fd(struct fz_thread *t, const uint64_t *a)
{
	struct pollfd p = { a[0], POLLIN | POLLOUT, 0 };

	return e(poll(&p, 1, 0));
}

/* -------------------------------------------------- processes, signals --- */

/* A child inherits descriptors, and may use them after we have gone. */
long fz_fork_child(struct fz_thread *t, const uint64_t *a)
{
	struct fz_run *run = t->run;
	unsigned int i, k;
	pid_t pid;

	if (__atomic_fetch_add(&run->forks, 1, __ATOMIC_RELAXED) >= FORKS_MAX)
		return -EAGAIN;
	pid = a[0] == 3 ? vfork() : fork();
	if (pid < 0)
		return -errno;
	if (pid) {
		if (a[0] == 4)
			kill(pid, SIGKILL);
		waitpid(pid, NULL, a[0] == 2 ? 0 : WNOHANG);
		return 0;
	}
	if (a[0] == 3)
		_exit(0);
	for (i = 0; i < FZ_REGIONS; i++)
		if (run->region[i].addr)
			PROBE("movb (%2), %%cl", "r"(run->region[i].addr));
	for (k = K_NOM; k < K_NR_FDS; k++)
		for (i = 0; i < FZ_SLOTS; i++)
			if (run->fd[k][i] > 2) {
				mmap(NULL, FZ_PAGE, PROT_READ, MAP_SHARED, run->fd[k][i], 0);
				ioctl(run->fd[k][i], NOM_CORE_LEAVE, NULL);
			}
	if (a[0] == 1)
		execl("/bin/busybox", "true", NULL);
	_exit(0);
}

long fz_signal_thread(struct fz_thread *t, const uint64_t *a)
{
	if (a[0] >= t->run->p->threads)
		return -EINVAL;
	return e(syscall(SYS_tgkill, getpid(), t->run->tid[a[0]], a[1] == 2 ? SIGALRM : SIGUSR1));
}

long fz_end(struct fz_thread *t, const uint64_t *a)
{
	switch (a[0]) {
	case 0:
		kill(getpid(), SIGKILL);
		return 0;
	case 1:
		execl("/bin/busybox", "true", NULL);
		return -errno;
	case 2:
		_exit(0);
	case 3:
		if (t->index)
			syscall(SYS_exit, 0);	/* the thread alone, without libc's help */
		return -EBUSY;
	default:
		kill(getpid(), SIGSTOP);	/* until the deadline */
		return 0;
	}
}

long fz_alarm(struct fz_thread *t, const uint64_t *a)
{
	struct itimerval v = { { 0, 1000 + a[0] % 100000 }, { 0, 1000 } };

	return e(setitimer(ITIMER_REAL, &v, NULL));
}

long fz_nap(struct fz_thread *t, const uint64_t *a)
{
	struct timespec ts = { 0, a[0] % 3000000 };

	return e(nanosleep(&ts, NULL));
}

long fz_spin(struct fz_thread *t, const uint64_t *a)
{
	volatile uint64_t n;

	for (n = a[0] % 100000; n; n--)
		fz_shared_struct[n % 64] ^= n;	/* under the hands of K_MODE 11 */
	return 0;
}

long fz_affinity(struct fz_thread *t, const uint64_t *a)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if ((int)a[0] >= 0 && a[0] < 64)
		CPU_SET(a[0], &set);
	else
		memset(&set, 0xff, sizeof(set));
	return e(sched_setaffinity(0, sizeof(set), &set));
}

/* -------------------------------------------------------------- upcalls --- */

static struct nom_shared *shared(struct fz_thread *t)
{
	struct fz_region *r = fz_find_region(t->run, K_CORE, 0);

	return t->shared ? t->shared : r ? r->addr : NULL;
}

long fz_unmask(struct fz_thread *t, const uint64_t *a)
{
	struct nom_shared *sh = shared(t);

	if (!sh)
		return -ENXIO;
	return PROBE("mov %3, (%2)", "r"(sh), "r"((uint32_t)a[0]));
}

/* A holder may write what it likes into its page. */
long fz_write_shared(struct fz_thread *t, const uint64_t *a)
{
	struct nom_shared *sh = shared(t);

	if (!sh)
		return -ENXIO;
	return PROBE("mov %3, (%2)", "r"((char *)sh + a[0] * 8 % FZ_PAGE), "r"(a[1]));
}

long fz_trap(struct fz_thread *t, const uint64_t *a)
{
	switch (a[0]) {
	case 0:
		return PROBE("xor %%edx, %%edx\n\txor %%ecx, %%ecx\n\tdiv %%ecx", "r"(0));
	case 1:
		return PROBE("int3", "r"(0));
	case 2:
		return PROBE("int $4", "r"(0));
	case 3:
		return PROBE("ud2", "r"(0));
	case 4:
		return PROBE("hlt", "r"(0));
	case 5:		/* #SS: not canonical, by way of the stack segment */
		return PROBE("mov %%rbp, %%rcx\n\tlea 8f(%%rip), %%rax\n\tmov %%rax, %1\n\tmov %2, %%rbp\n\t"
			     "mov (%%rbp), %%rdx\n8:\tmov %%rcx, %%rbp", "r"(1ULL << 62));
	case 6:		/* #MF */
		return PROBE("fninit\n\tfldcw %2\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait", "m"((uint16_t){ 0x0300 }));
	case 7:		/* #AC */
		return PROBE("pushf\n\torl $0x40000, (%%rsp)\n\tpopf\n\tmov 1(%2), %%ecx\n\t"
			     "pushf\n\tandl $~0x40000, (%%rsp)\n\tpopf", "r"(t->struct_buf));
	case 8:		/* #XM */
		return PROBE("ldmxcsr %2\n\tpxor %%xmm0, %%xmm0\n\tdivss %%xmm0, %%xmm0", "m"((uint32_t){ 0x1f00 }));
	case 9:		/* #GP, not canonical */
		return PROBE("mov (%2), %%rcx", "r"(1ULL << 62));
	case 10:	/* #DB by single-step */
		return PROBE("pushf\n\torl $0x100, (%%rsp)\n\tpopf\n\tnop", "r"(0));
	default:	/* #NP or #GP: a selector of nobody's */
		return PROBE("mov %w2, %%fs", "r"(0x7b));
	}
}

/* -------------------------------------------------------- the system --- */

long fz_read_path(struct fz_thread *t, const uint64_t *a)
{
	static char buf[16384];
	int fd;
	long ret;

	if (!fz_nr_paths)
		return -ENOENT;
	fd = open(fz_paths[a[0] % fz_nr_paths], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	do {
		ret = e(read(fd, buf, sizeof(buf)));
	} while (ret > 0 && (a[0] >> 32) % 4);
	close(fd);
	return ret;
}

/* Root's; refused while the core is leased. */
long fz_hotplug(struct fz_thread *t, const uint64_t *a)
{
	char path[80];
	int fd;
	long ret;

	if ((int)a[0] < 1 || a[0] > 63)
		return -EINVAL;
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", (int)a[0]);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = e(write(fd, a[1] & 1 ? "1" : "0", 1));
	close(fd);
	return ret;
}

/* Root's, too: a device leaves vfio-pci and comes back. */
long fz_vfio_move(struct fz_thread *t, const uint64_t *a)
{
	int fd = open(a[0] & 1 ? "/sys/bus/pci/drivers/vfio-pci/bind" : "/sys/bus/pci/drivers/vfio-pci/unbind",
		      O_WRONLY | O_CLOEXEC);
	const char *slot = getenv("FZ_NIC");
	long ret;

	if (fd < 0 || !slot)
		return fd < 0 ? -errno : -ENODEV;
	ret = e(write(fd, slot, strlen(slot)));
	close(fd);
	return ret;
}

/* Root's: limits and storm protection; mostly as they are by default. */
long fz_set_param(struct fz_thread *t, const uint64_t *a)
{
	static const char *const names[][2] = {
		{ "user_cores", "-1" }, { "user_mem_mib", "-1" }, { "user_bindings", "256" },
		{ "user_notify_per_s", "250000" }, { "storm_share_pct", "50" }, { "storm_gap_ns", "5000" },
	};
	static const char *const odd[] = { "1", "0", "x" };
	const char *const *param = names[a[0] % 6];
	const char *value = a[1] % 8 < 3 ? odd[a[1] % 8] : param[1];
	char path[80];
	int fd;
	long ret;

	snprintf(path, sizeof(path), "/sys/module/nom/parameters/%s", param[0]);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = e(write(fd, value, strlen(value)));
	close(fd);
	return ret;
}

/* Root's; there is no way back, so only while enough is left for the others. */
long fz_mem_release(struct fz_thread *t, const uint64_t *a)
{
	struct nom_mem_release r = { .size = sizeof(r), .bytes = a[1], .node = a[2] };
	struct nom_info info = { .size = sizeof(info) };

	if (ioctl(a[0], NOM_GET_INFO, &info))
		return -errno;
	if (info.out_mem_bytes < MEM_LEFT + a[1])
		r.bytes |= 1;
	return e(ioctl(a[0], NOM_MEM_RELEASE, &r));
}
