// SPDX-License-Identifier: MIT
/* kmod: see kmod.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "kmod.h"

static unsigned int t_points, t_failures;

bool t_ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%s %u - ", good ? "ok" : "not ok", ++t_points);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	t_failures += !good;
	return good;
}

bool t_eq(long got, long want, const char *fmt, ...)
{
	char name[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	if (got != want)
		t_diag("%s: got %ld (%s), want %ld (%s)", name, got,
		       got < 0 ? strerror(-got) : "-", want, want < 0 ? strerror(-want) : "-");
	return t_ok(got == want, "%s", name);
}

void t_skip(const char *fmt, ...)
{
	va_list ap;

	printf("ok %u # SKIP ", ++t_points);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

void t_diag(const char *fmt, ...)
{
	va_list ap;

	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

void t_bail(const char *fmt, ...)
{
	va_list ap;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

int t_done(void)
{
	printf("1..%u\n", t_points);
	fflush(stdout);
	return t_failures ? 1 : 0;
}

pid_t t_spawn(int (*fn)(void *), void *arg)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		t_bail("fork: %s", strerror(errno));
	if (!pid) {
		alarm(30);
		_exit(fn(arg));
	}
	return pid;
}

int t_reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int t_child(int (*fn)(void *), void *arg)
{
	return t_reap(t_spawn(fn, arg));
}

void t_sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

bool t_wait(bool (*cond)(void *), void *arg, unsigned int ms)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (;;) {
		if (cond(arg))
			return true;
		clock_gettime(CLOCK_MONOTONIC, &b);
		if ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 > ms)
			return false;
		t_sleep_ms(2);
	}
}

sigjmp_buf k_out;

static void on_signal(int sig)
{
	siglongjmp(k_out, sig);
}

void k_catch(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

int k_touch(volatile char *p, bool write)
{
	int sig = sigsetjmp(k_out, 1);

	if (sig)
		return sig;
	if (write)
		*p = *p + 1;
	else
		(void)*p;
	return 0;
}

int k_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

int k_open(int flags)
{
	int fd = open(NOM_DEVICE_PATH, flags | O_CLOEXEC);

	if (fd < 0)
		t_bail("%s: %s: boot the patched kernel and load nom.ko", NOM_DEVICE_PATH,
		       strerror(errno));
	return fd;
}

int k_info(int nom, struct nom_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return k_ioctl(nom, NOM_GET_INFO, info);
}

const struct nom_board *k_board(int nom)
{
	struct nom_info info;
	void *p;

	if (k_info(nom, &info))
		t_bail("NOM_GET_INFO: %s", strerror(errno));
	p = mmap(NULL, info.out_board_bytes, PROT_READ, MAP_SHARED, nom, 0);
	if (p == MAP_FAILED)
		t_bail("mmap of the board: %s", strerror(errno));
	return p;
}

#define READ_TRIES	10000000	/* a second and more */

int k_board_read(const struct nom_board *b, enum nom_board_class c, unsigned int i,
		 void *out, size_t bytes)
{
	const volatile struct nom_board *v = b;
	unsigned int tries;
	uint32_t seq;
	int ret;

	for (tries = 0; tries < READ_TRIES; tries++) {
		if (tries % 1000 == 999)
			usleep(100);	/* the writer's processor may be one that the host keeps waiting */
		seq = __atomic_load_n(&b->seq, __ATOMIC_ACQUIRE);
		if (seq & 1)
			continue;
		ret = -ENOENT;
		if (i < v->section[c].nr) {
			memcpy(out, (const char *)b + v->section[c].offset + i * v->section[c].stride,
			       bytes);
			ret = 0;
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&b->seq, __ATOMIC_RELAXED) == seq)
			return ret;
	}
	return -EAGAIN;
}

uint64_t k_board_changes(const struct nom_board *b, enum nom_board_class c)
{
	return __atomic_load_n(&b->section[c].changes, __ATOMIC_ACQUIRE);
}

uint64_t k_mem_free(const struct nom_board *b)
{
	struct nom_board_memory m;

	return k_board_read(b, NOM_BOARD_MEMORY, 0, &m, sizeof(m)) ? 0 : m.free_bytes;
}

uint64_t k_mem_quarantined(const struct nom_board *b)
{
	struct nom_board_memory m;

	return k_board_read(b, NOM_BOARD_MEMORY, 0, &m, sizeof(m)) ? 0 : m.quarantined_bytes;
}

int k_board_device(const struct nom_board *b, uint32_t bdf, struct nom_board_device *out)
{
	unsigned int i;
	int ret;

	for (i = 0; !(ret = k_board_read(b, NOM_BOARD_DEVICES, i, out, sizeof(*out))); i++)
		if (out->bdf == bdf)
			return 0;
	return ret;
}

int k_claim(int nom, int cpu, uint64_t notify_mask, struct k_lease *out)
{
	struct nom_core_claim c = { .size = sizeof(c), .cpu = cpu, .notify_mask = notify_mask };

	return k_claim_by(nom, &c, out);
}

int k_claim_by(int nom, struct nom_core_claim *c, struct k_lease *out)
{
	int ret = k_ioctl(nom, NOM_CORE_CLAIM, c);

	if (ret)
		return ret;
	out->fd = c->out_core_fd;
	out->handle = c->out_handle;
	out->sh = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
	return out->sh == MAP_FAILED ? -errno : 0;
}

void k_drop(struct k_lease *l)
{
	munmap(l->sh, PAGE);
	close(l->fd);
}

extern char k_upcall_entry[], k_restart_start[], k_restart_end[], k_restart_abort[];
k_trap_fn k_on_trap;

void k_upcall_handler(struct nom_frame *frame);
K_HANDLER void k_upcall_handler(struct nom_frame *frame)
{
	if (!k_on_trap || k_on_trap(frame))
		k_sys3(231 /* exit_group */, 120, 0, 0);
}

int k_enter(struct k_lease *l, uint64_t trap_mask)
{
	const size_t bytes = 64 * 1024;
	struct nom_core_enter e = { .size = sizeof(e) };
	char *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (stack == MAP_FAILED)
		return -errno;
	e.regs.entry = (uintptr_t)k_upcall_entry;
	e.regs.stack_lo = (uintptr_t)stack;
	e.regs.stack_hi = (uintptr_t)stack + bytes;
	e.regs.restart_start = (uintptr_t)k_restart_start;
	e.regs.restart_end = (uintptr_t)k_restart_end;
	e.regs.restart_abort = (uintptr_t)k_restart_abort;
	e.regs.trap_mask = trap_mask;
	return k_ioctl(l->fd, NOM_CORE_ENTER, &e);
}

int k_leave(struct k_lease *l)
{
	return k_ioctl(l->fd, NOM_CORE_LEAVE, NULL);
}

int k_bind(struct k_lease *l, unsigned int event, int fd)
{
	struct nom_core_bind b = { .size = sizeof(b), .event = event, .fd = fd };

	return k_ioctl(l->fd, NOM_CORE_BIND, &b);
}

int k_unbind(struct k_lease *l, unsigned int event, int fd)
{
	struct nom_core_bind b = { .size = sizeof(b), .event = event, .fd = fd };

	return k_ioctl(l->fd, NOM_CORE_UNBIND, &b);
}

int k_mask(struct k_lease *l, unsigned int event, int fd, bool mask)
{
	struct nom_core_bind b = { .size = sizeof(b), .event = event, .fd = fd };

	return k_ioctl(l->fd, mask ? NOM_CORE_MASK : NOM_CORE_UNMASK, &b);
}

int k_binding(struct k_lease *l, unsigned int index, struct nom_core_binding *out)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->index = index;
	return k_ioctl(l->fd, NOM_CORE_BINDING, out);
}

int k_timer(struct k_lease *l, unsigned int event, uint32_t flags, uint64_t ns)
{
	struct nom_core_timer t = { .size = sizeof(t), .event = event, .flags = flags, .ns = ns };

	return k_ioctl(l->fd, NOM_CORE_TIMER, &t);
}

int k_subscribe(struct k_lease *l, unsigned int event, uint64_t classes)
{
	struct nom_core_subscribe s = { .size = sizeof(s), .event = event, .classes = classes };

	return k_ioctl(l->fd, NOM_CORE_SUBSCRIBE, &s);
}

int k_notify(int nom, uint64_t handle, unsigned int event)
{
	struct nom_notify n = { .size = sizeof(n), .event = event, .handle = handle };

	return k_ioctl(nom, NOM_NOTIFY, &n);
}

int k_stats(struct k_lease *l, struct nom_core_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	return k_ioctl(l->fd, NOM_CORE_STATS, out);
}

int k_limits(int nom, struct nom_limits *out)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	return k_ioctl(nom, NOM_GET_LIMITS, out);
}

static struct k_param {
	const char *name;
	char was[16];
} k_params[8];
static pid_t k_params_of;

static int param_rw(const char *name, const char *write_this, char *read_here, size_t bytes)
{
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/module/nom/parameters/%s", name);
	fd = open(path, (write_this ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write_this ? write(fd, write_this, strlen(write_this)) : read(fd, read_here, bytes - 1);
	n = n < 0 ? -errno : n;
	close(fd);
	if (n >= 0 && read_here)
		read_here[n] = 0;
	return n < 0 ? (int)n : 0;
}

static void params_back(void)
{
	unsigned int i;

	for (i = 0; getpid() == k_params_of && i < sizeof(k_params) / sizeof(k_params[0]); i++)
		if (k_params[i].name)
			param_rw(k_params[i].name, k_params[i].was, NULL, 0);
}

int k_param(const char *name, int value)
{
	struct k_param *p = k_params;
	char text[16];

	while (p->name && strcmp(p->name, name))
		p++;
	if (!p->name) {
		if (!k_params_of)
			atexit(params_back);
		k_params_of = getpid();
		if (param_rw(name, NULL, p->was, sizeof(p->was)))
			t_bail("the module has no parameter %s", name);
		p->name = name;
	}
	snprintf(text, sizeof(text), "%d", value);
	return param_rw(name, text, NULL, 0);
}

int k_grant(int nom, uint64_t bytes)
{
	struct nom_mem_grant g = { .size = sizeof(g), .bytes = bytes };
	int ret = k_ioctl(nom, NOM_MEM_GRANT, &g);

	return ret ? ret : g.out_grant_fd;
}

void *k_window(int grant, size_t bytes, int prot)
{
	return mmap(NULL, bytes, prot, MAP_SHARED, grant, NOM_GRANT_MMAP_WINDOW);
}

int k_array(int grant, unsigned long cmd, struct nom_map_entry *e, unsigned int nr, uint32_t *done)
{
	struct nom_mem_map m = { .size = sizeof(m), .nr = nr, .entries = (uintptr_t)e,
				 .out_done = 0xdead };
	int ret = k_ioctl(grant, cmd, &m);

	if (done)
		*done = m.out_done;
	return ret;
}

int k_range(int grant, unsigned long cmd, void *va, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	struct nom_map_entry e = { .va = (uintptr_t)va, .offset = offset, .bytes = bytes,
				   .flags = flags };

	return k_array(grant, cmd, &e, 1, NULL);
}

int k_map(int grant, bool map, struct nom_map_entry *e, unsigned int nr, uint32_t *done)
{
	return k_array(grant, map ? NOM_MEM_MAP : NOM_MEM_UNMAP, e, nr, done);
}

int k_map1(int grant, void *va, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	return k_range(grant, NOM_MEM_MAP, va, offset, bytes, flags);
}

int k_unmap1(int grant, void *va, uint64_t bytes, uint32_t flags)
{
	return k_range(grant, NOM_MEM_UNMAP, va, 0, bytes, flags);
}

/* The caller has set the pointers it wants in *q. */
int k_query(int grant, uint32_t flags, void *va, uint64_t bytes, struct nom_mem_query *q)
{
	q->size = sizeof(*q);
	q->flags = flags;
	q->va = (uintptr_t)va;
	q->bytes = bytes;
	return k_ioctl(grant, NOM_MEM_QUERY, q);
}

int k_mem_info(int grant, struct nom_mem_info *out)
{
	out->size = sizeof(*out);
	return k_ioctl(grant, NOM_MEM_INFO, out);
}

int k_phys(int grant, uint64_t offset, uint32_t bdf, uint64_t *out)
{
	struct nom_mem_phys p = { .size = sizeof(p), .offset = offset, .bdf = bdf };
	int ret = k_ioctl(grant, NOM_MEM_PHYS, &p);

	if (!ret)
		*out = p.out_phys;
	return ret;
}

static struct stat k_node;	/* of /dev/nom, before the module went */

int k_unload(void)
{
	stat(NOM_DEVICE_PATH, &k_node);
	return syscall(SYS_delete_module, "nom", O_NONBLOCK) ? -errno : 0;
}

int k_load(void)
{
	int fd = open("/lib/nom/nom.ko", O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	if (!ret && k_node.st_mode &&
	    (chown(NOM_DEVICE_PATH, k_node.st_uid, k_node.st_gid) ||
	     chmod(NOM_DEVICE_PATH, k_node.st_mode & 07777)))
		return -errno;
	return ret;
}
