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
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../system/lib/kmod.h"
#include "../system/lib/kmod_nl.h"
#include "../system/lib/kmod_pci.h"
#include "aftermath.h"

#define NTH_MAX		2000
#define DEBUGFS		"/sys/kernel/debug/"
#define RW		(NOM_MAP_READ | NOM_MAP_WRITE)

static int nom, fail_fd = -1, family, group;
static bool plain;		/* --plain: no faults, to see that the operations work */
static struct k_pci nic;
static const struct nom_board *board;

/* ---------------------------------------------------------- operations --- */

/* What an operation works on; prepare() makes it, clean() undoes it. */
static struct {
	struct k_lease lease;
	struct nom_core_claim claim;
	int grant, efd, sock, fd, listener;
	void *window, *view;
	struct nom_map_entry e[20];
	pid_t child;
	int64_t price;
} w;

static char stack[65536] __attribute__((aligned(4096)));
extern char k_upcall_entry[], k_restart_start[], k_restart_end[], k_restart_abort[];

static void need(long ret, const char *what)
{
	if (ret < 0)
		t_bail("%s: %s", what, strerror(-ret));
}

static void have_lease(void) { need(k_claim(nom, NOM_CPU_ANY, 0, &w.lease), "claim"); }
static void no_lease(void)
{
	munmap(w.lease.sh, PAGE);
	close(w.lease.fd);
}
static void have_grant(void)
{
	w.grant = k_grant(nom, 2 * CHUNK);
	need(w.grant, "grant");
	w.window = k_window(w.grant, 64 * CHUNK, PROT_READ | PROT_WRITE);
	if (w.window == MAP_FAILED)
		t_bail("window");
}
static void no_grant(void)
{
	munmap(w.window, 64 * CHUNK);
	close(w.grant);
}
static void have_view(void)
{
	have_grant();
	w.view = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, w.grant, NOM_GRANT_MMAP_DMA);
	if (w.view == MAP_FAILED)
		t_bail("view");
}
static void no_view(void)
{
	munmap(w.view, CHUNK);
	no_grant();
}
static void have_eventfd(void)
{
	have_lease();
	w.efd = eventfd(1, EFD_CLOEXEC);
}
static void no_eventfd(void)
{
	close(w.efd);
	no_lease();
}
static void have_listener(void)
{
	int f, g;

	w.listener = k_nl_open(&f, &g);
	need(w.listener, "netlink");
	need(k_nl_join(w.listener, g), "join");
}
static void no_listener(void) { close(w.listener); }
static void have_socket(void)
{
	struct timeval patience = { 5, 0 };

	w.sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (w.sock < 0 || setsockopt(w.sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		t_bail("socket");
}
static void no_socket(void) { close(w.sock); }

static long run_open(void)
{
	w.fd = open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	return w.fd < 0 ? -errno : 0;
}
static void undo_fd(void) { close(w.fd); }
static long run_info(void)
{
	struct nom_info info;

	return k_info(nom, &info);
}
static long run_claim(void)
{
	w.claim = (struct nom_core_claim){ .size = sizeof(w.claim), .cpu = NOM_CPU_ANY };
	return k_ioctl(nom, NOM_CORE_CLAIM, &w.claim);
}
static void undo_claim(void) { close(w.claim.out_core_fd); }
static long run_grant(void)
{
	w.fd = k_grant(nom, 3 * CHUNK);
	return w.fd < 0 ? w.fd : 0;
}
static long run_notify(void)
{
	long ret = k_notify(nom, w.lease.handle, 3);

	return ret == -EPERM ? 0 : ret;		/* the lease opened no event: as it should be */
}
static long run_enter(void)
{
	struct nom_core_enter e = { .size = sizeof(e), .regs = {
		.entry = (uintptr_t)k_upcall_entry, .stack_lo = (uintptr_t)stack,
		.stack_hi = (uintptr_t)stack + sizeof(stack), .restart_start = (uintptr_t)k_restart_start,
		.restart_end = (uintptr_t)k_restart_end, .restart_abort = (uintptr_t)k_restart_abort,
	} };

	return k_ioctl(w.lease.fd, NOM_CORE_ENTER, &e);
}
static void undo_enter(void)
{
	need(k_leave(&w.lease), "leave");
	no_lease();		/* it has ended: another one for the next turn */
	have_lease();
}
static long run_leave(void)
{
	long ret = run_enter();

	return ret ?: k_leave(&w.lease);
}
static void undo_leave(void)
{
	no_lease();
	have_lease();
}
static long run_bind(void) { return k_bind(&w.lease, 2, w.efd); }
static void undo_bind(void) { need(k_unbind(&w.lease, 2, w.efd), "unbind"); }
static long run_bind_unbind(void)
{
	long ret = k_bind(&w.lease, 2, w.efd);

	return ret ?: k_unbind(&w.lease, 2, w.efd);
}
static void undo_bind_unbind(void) { k_unbind(&w.lease, 2, w.efd); }
static long run_timer(void) { return k_timer(&w.lease, 1, 0, 1000000000); }
static void undo_timer(void) { k_timer(&w.lease, 1, 0, 0); }
static long run_subscribe(void) { return k_subscribe(&w.lease, 1, 1); }
static void undo_subscribe(void) { k_subscribe(&w.lease, 1, 0); }
static long run_stats(void)
{
	struct nom_core_stats s;

	return k_stats(&w.lease, &s);
}

static long run_map(void) { return k_map1(w.grant, w.window, 0, 2 * CHUNK, RW); }
static void undo_window(void)	/* with its page tables, so that they are missing again */
{
	munmap(w.window, 64 * CHUNK);
	w.window = k_window(w.grant, 64 * CHUNK, PROT_READ | PROT_WRITE);
}
static long run_map_huge(void)
{
	char *va = (char *)(((uintptr_t)w.window + CHUNK - 1) & ~(CHUNK - 1));

	return k_map1(w.grant, va, 0, 2 * CHUNK, RW | NOM_MAP_HUGE);
}
static long run_map_array(void)	/* three batches, each piece below a page table of its own */
{
	unsigned int i;
	uint32_t done;

	for (i = 0; i < 20; i++)
		w.e[i] = (struct nom_map_entry){ .va = (uintptr_t)w.window + i * CHUNK * 2,
						 .offset = i * PAGE, .bytes = PAGE, .flags = RW };
	return k_map(w.grant, true, w.e, 20, &done);
}
static long run_map_unmap(void)
{
	long ret = k_map1(w.grant, w.window, 0, PAGE, RW);

	return ret ?: k_unmap1(w.grant, w.window, PAGE, 0);
}
static long run_phys(void)
{
	uint64_t phys;

	return k_phys(w.grant, 0, nic.bdf, &phys);
}
static long keep(void *p)
{
	w.view = p;
	return p == MAP_FAILED ? -errno : 0;
}
static long run_mmap_board(void) { return keep(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, nom, 0)); }
static void undo_page(void) { munmap(w.view, PAGE); }
static long run_mmap_core(void)
{
	return keep(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, w.lease.fd, 0));
}
static long run_mmap_window(void) { return keep(k_window(w.grant, CHUNK, PROT_READ)); }
static long run_mmap_dma(void)
{
	return keep(mmap(NULL, CHUNK, PROT_READ, MAP_SHARED, w.grant, NOM_GRANT_MMAP_DMA + CHUNK));
}
static void undo_chunk(void) { munmap(w.view, CHUNK); }
static long run_touch(void)
{
	*(volatile char *)w.view = 1;
	return 0;
}
static void undo_touch(void)
{
	munmap(w.view, CHUNK);
	w.view = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, w.grant, NOM_GRANT_MMAP_DMA);
}
static long run_fork(void)
{
	w.child = fork();
	if (!w.child)
		_exit(0);
	return w.child < 0 ? -errno : 0;
}
static void undo_fork(void) { waitpid(w.child, NULL, 0); }

static long talk(uint8_t cmd, uint16_t flags)
{
	struct k_nl_req req;

	k_nl_begin(&req, family, cmd, flags);
	return k_nl_talk(w.sock, &req, NULL, NULL);
}
static long run_nl_info(void) { return talk(NOM_GENL_CMD_GET_INFO, 0); }
static long run_nl_cores(void) { return talk(NOM_GENL_CMD_GET_CORES, NLM_F_DUMP); }
static long run_nl_grants(void) { return talk(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP); }
static long run_nl_devices(void) { return talk(NOM_GENL_CMD_GET_DEVICES, NLM_F_DUMP); }
static long run_nl_prices(void) { return talk(NOM_GENL_CMD_GET_PRICES, NLM_F_DUMP); }
static long run_nl_price(void) { return k_nl_price(w.sock, family, "fault", "unit", ++w.price); }
static long run_nl_join(void) { return k_nl_join(w.sock, group); }

static const struct operation {
	const char *name;
	void (*prepare)(void);		/* once */
	long (*run)(void);
	void (*undo)(void);		/* after a success */
	void (*clean)(void);		/* once */
	void (*again)(void);		/* after a failure, too: what cannot be used twice */
} operations[] = {
	{ "open", NULL, run_open, undo_fd, NULL, NULL },
	{ "NOM_GET_INFO", NULL, run_info, NULL, NULL, NULL },
	{ "NOM_CORE_CLAIM", NULL, run_claim, undo_claim, NULL, NULL },
	{ "NOM_CORE_CLAIM, heard by a listener", have_listener, run_claim, undo_claim, no_listener, NULL },
	{ "NOM_MEM_GRANT", NULL, run_grant, undo_fd, NULL, NULL },
	{ "NOM_MEM_GRANT, heard by a listener", have_listener, run_grant, undo_fd, no_listener, NULL },
	{ "NOM_NOTIFY", have_lease, run_notify, NULL, no_lease, NULL },
	{ "NOM_CORE_ENTER", have_lease, run_enter, undo_enter, no_lease, NULL },
	{ "NOM_CORE_LEAVE", have_lease, run_leave, undo_leave, no_lease, NULL },
	{ "NOM_CORE_BIND", have_eventfd, run_bind, undo_bind, no_eventfd, NULL },
	{ "NOM_CORE_UNBIND", have_eventfd, run_bind_unbind, NULL, no_eventfd, undo_bind_unbind },
	{ "NOM_CORE_TIMER", have_lease, run_timer, undo_timer, no_lease, NULL },
	{ "NOM_CORE_SUBSCRIBE", have_lease, run_subscribe, undo_subscribe, no_lease, NULL },
	{ "NOM_CORE_STATS", have_lease, run_stats, NULL, no_lease, NULL },
	{ "NOM_MEM_MAP", have_grant, run_map, undo_window, no_grant, NULL },
	{ "NOM_MEM_MAP, 2 MiB", have_grant, run_map_huge, undo_window, no_grant, undo_window },
	{ "NOM_MEM_MAP, 20 pieces", have_grant, run_map_array, undo_window, no_grant, undo_window },
	{ "NOM_MEM_UNMAP", have_grant, run_map_unmap, undo_window, no_grant, undo_window },
	{ "NOM_MEM_PHYS", have_grant, run_phys, NULL, no_grant, NULL },
	{ "mmap of the board", NULL, run_mmap_board, undo_page, NULL, NULL },
	{ "mmap of a lease", have_lease, run_mmap_core, undo_page, no_lease, NULL },
	{ "mmap of a window", have_grant, run_mmap_window, undo_chunk, no_grant, NULL },
	{ "mmap of a DMA view", have_grant, run_mmap_dma, undo_chunk, no_grant, NULL },
	{ "touch of a DMA view", have_view, run_touch, undo_touch, no_view, undo_touch },
	{ "fork with a window", have_grant, run_fork, undo_fork, no_grant, NULL },
	{ "netlink GET_INFO", have_socket, run_nl_info, NULL, no_socket, NULL },
	{ "netlink GET_CORES", have_socket, run_nl_cores, NULL, no_socket, NULL },
	{ "netlink GET_GRANTS", have_socket, run_nl_grants, NULL, no_socket, NULL },
	{ "netlink GET_DEVICES", have_socket, run_nl_devices, NULL, no_socket, NULL },
	{ "netlink GET_PRICES", have_socket, run_nl_prices, NULL, no_socket, NULL },
	{ "netlink SET_PRICE", have_socket, run_nl_price, NULL, no_socket, NULL },
	{ "joining the group of changes", have_socket, run_nl_join, NULL, no_socket, NULL },
};

/* --------------------------------------------------------------- sweep --- */

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

static bool is_reason(long ret)
{
	return ret == -ENOMEM || ret == -EFAULT || ret == -ENOBUFS;
}

static void sweep(const struct operation *o)
{
	unsigned int nth, failed = 0, harmless = 0;
	static struct world before, now;
	bool good = true, came = true;
	long ret, again;

	if (o->run == run_phys && !nic.bdf) {
		t_skip("%s: no network device to bind", o->name);
		return;
	}
	if (o->prepare)
		o->prepare();
	again = o->run();		/* once, so that what is made once is there */
	if (!again && o->undo)
		o->undo();
	else if (o->again)
		o->again();
	look(&before);
	for (nth = 1; good && came && nth <= NTH_MAX; nth++) {
		if (o->prepare == have_socket) {	/* answers to a failed request may be left in it */
			no_socket();
			have_socket();
		}
		arm(nth);
		ret = o->run();
		came = disarm();
		if (ret && (!came || !is_reason(ret))) {
			t_diag("%s: fault %u: %s%s", o->name, nth, strerror(-ret), came ? "" : ", with no fault");
			good = false;
		}
		failed += !!ret;
		harmless += !ret && came;
		if (!ret && o->undo)
			o->undo();
		else if (o->again)
			o->again();
		if (!as_before(&before, &now)) {
			t_diag("%s: fault %u (%s) leaves something behind", o->name, nth, ret ? strerror(-ret) : "harmless");
			good = false;
		}
		if (o->prepare == have_socket) {
			no_socket();
			have_socket();
		}
		again = o->run();
		if (!again && o->undo)
			o->undo();
		else if (o->again)
			o->again();
		if (again) {
			t_diag("%s: after fault %u, the plain call: %s", o->name, nth, strerror(-again));
			good = false;
		}
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
	nom = k_open(O_RDWR);
	board = k_board(nom);
	i = k_nl_open(&family, &group);
	close(i);
	if (k_pci_find(&nic) && k_pci_move(&nic, "vfio-pci"))
		nic.bdf = 0;
	for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		sweep(&operations[i]);
	if (!k_info(nom, &info))
		munmap((void *)board, info.out_board_bytes);
	close(nom);
	fz_aftermath();
	return t_done();
}
