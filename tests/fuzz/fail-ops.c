// SPDX-License-Identifier: MIT
/*
 * nom-fail-nth: the operations - what each wants prepared, does, must have done, and
 * how it is undone.  A new ioctl is a run_...() and a row.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../system/lib/kmod.h"
#include "../system/lib/kmod_mmio.h"
#include "../system/lib/kmod_nl.h"
#include "fail.h"

#define RW		(NOM_MAP_READ | NOM_MAP_WRITE)

int fail_nom, fail_family, fail_group;
struct k_pci fail_nic;
char fail_mmio[NOM_MMIO_NAME_MAX];

/* What an operation works on; prepare() makes it, clean() undoes it. */
static struct {
	struct k_lease lease;
	struct nom_core_claim claim;
	int grant, efd, sock, fd, listener;
	void *window, *view;
	struct nom_map_entry e[20];
	pid_t child;
	int64_t price;
	uint32_t done;
	uint64_t bits[3][8], id;
} w;

static char stack[65536] __attribute__((aligned(4096)));
extern char k_upcall_entry[], k_restart_start[], k_restart_end[], k_restart_abort[];

static void need(long ret, const char *what)
{
	if (ret < 0)
		t_bail("%s: %s", what, strerror(-ret));
}

static void have_lease(void) { need(k_claim(fail_nom, NOM_CPU_ANY, 1 << 3, &w.lease), "claim"); }
static void no_lease(void)
{
	munmap(w.lease.sh, PAGE);
	close(w.lease.fd);
}
static struct nom_mem_info grant_info(void)
{
	struct nom_mem_info mi = { 0 };

	need(k_mem_info(w.grant, &mi), "NOM_MEM_INFO");
	return mi;
}
/* Far from all else: no page table of any level is there, and none is left behind. */
static void open_window(void)
{
	w.window = mmap((void *)(1UL << 45), 64 * CHUNK, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED_NOREPLACE, w.grant, NOM_GRANT_MMAP_WINDOW);
	if (w.window == MAP_FAILED)
		t_bail("window: %s", strerror(errno));
}
static void have_grant(void)
{
	w.grant = k_grant(fail_nom, 2 * CHUNK);
	need(w.grant, "grant");
	w.id = grant_info().out_id;
	open_window();
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

/* What is news of before goes. */
static void deaf(void)
{
	char buf[8192];

	while (recv(w.listener, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
}

/* Whoever listens is told of a change, or that it missed something. */
static bool heard(uint8_t cmd)
{
	struct k_nl_msg msg;
	char buf[8192];
	int ret;

	do {
		ret = k_nl_next(w.listener, buf, sizeof(buf), &msg, 0);
	} while (!ret && msg.cmd != cmd);
	if (ret && ret != -ENOBUFS)
		t_diag("the listener heard nothing: %s", strerror(-ret));
	return !ret || ret == -ENOBUFS;
}
static void have_socket(void)
{
	struct timeval patience = { 5, 0 };

	w.sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (w.sock < 0 || setsockopt(w.sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		t_bail("socket");
}
static void no_socket(void) { close(w.sock); }
static void have_reclaim(void)
{
	have_grant();
	have_socket();
}
static void no_reclaim(void)
{
	no_socket();
	no_grant();
}
static void have_bound(void)
{
	have_eventfd();
	have_socket();
	need(k_bind(&w.lease, 2, w.efd), "bind");
}
static void no_bound(void)
{
	no_socket();
	no_eventfd();
}
static void have_price(void)
{
	have_listener();
	have_socket();
}
static void no_price(void)
{
	no_socket();
	no_listener();
}

static long run_open(void)
{
	w.fd = open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	return w.fd < 0 ? -errno : 0;
}
static void undo_fd(void) { close(w.fd); }
static long run_info(void)
{
	struct nom_info info;

	return k_info(fail_nom, &info);
}
static long run_limits(void)
{
	struct nom_limits limits;

	return k_limits(fail_nom, &limits);
}
static long run_claim(void)
{
	w.claim = (struct nom_core_claim){ .size = sizeof(w.claim), .cpu = NOM_CPU_ANY };
	return k_ioctl(fail_nom, NOM_CORE_CLAIM, &w.claim);
}
static void undo_claim(void) { close(w.claim.out_core_fd); }
static long run_grant(void)
{
	w.fd = k_grant(fail_nom, 3 * CHUNK);
	return w.fd < 0 ? w.fd : 0;
}
static long run_notify(void) { return k_notify(fail_nom, w.lease.handle, 3); }
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
static void have_masked(void)
{
	have_eventfd();
	need(k_bind(&w.lease, 2, w.efd), "bind");
}
static long run_mask(void) { return k_mask(&w.lease, 2, w.efd, true); }
static long run_unmask(void) { return k_mask(&w.lease, 2, w.efd, false); }
static long run_binding(void)
{
	struct nom_core_binding b;

	return k_binding(&w.lease, 0, &b);
}
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
	open_window();
}
static long run_map_huge(void) { return k_map1(w.grant, w.window, 0, 2 * CHUNK, RW | NOM_MAP_HUGE); }
static long run_map_array(void)	/* three batches, each piece below a page table of its own */
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		w.e[i] = (struct nom_map_entry){ .va = (uintptr_t)w.window + i * CHUNK * 2,
						 .offset = i * PAGE, .bytes = PAGE, .flags = RW };
	return k_map(w.grant, true, w.e, 20, &w.done);
}
static long run_map_unmap(void)
{
	long ret = k_map1(w.grant, w.window, 0, PAGE, RW);

	return ret ?: k_unmap1(w.grant, w.window, PAGE, 0);
}
static long run_protect(void)
{
	long ret = k_map1(w.grant, w.window, 0, PAGE, RW);

	return ret ?: k_range(w.grant, NOM_MEM_PROTECT, w.window, 0, PAGE, NOM_MAP_READ);
}
static long run_query(void)
{
	struct nom_mem_query q = { .mapped = (uintptr_t)w.bits[0], .young = (uintptr_t)w.bits[1],
				   .dirty = (uintptr_t)w.bits[2] };
	long ret = k_map1(w.grant, w.window, 0, PAGE, RW);

	return ret ?: k_query(w.grant, NOM_QUERY_CLEAR_YOUNG | NOM_QUERY_CLEAR_DIRTY, w.window, CHUNK, &q);
}
static long run_promote(void)
{
	long ret = k_map1(w.grant, w.window, 0, CHUNK, RW);

	return ret ?: k_range(w.grant, NOM_MEM_PROMOTE, w.window, 0, CHUNK, 0);
}
static long run_demote(void)
{
	long ret = k_map1(w.grant, w.window, 0, CHUNK, RW | NOM_MAP_HUGE);

	return ret ?: k_range(w.grant, NOM_MEM_DEMOTE, w.window, 0, CHUNK, 0);
}
static void again_grant(void)	/* it has less than before */
{
	no_grant();
	have_grant();
}
static void have_mapped(void)
{
	have_grant();
	need(k_map1(w.grant, w.window, 0, 2 * CHUNK, RW), "map");
}
static long run_return(void) { return k_range(w.grant, NOM_MEM_RETURN, NULL, CHUNK, CHUNK, 0); }
static void again_mapped(void)
{
	no_grant();
	have_mapped();
}
static long run_mem_info(void)
{
	struct nom_mem_info mi = { .held = (uintptr_t)w.bits[0], .nr_held = 8 };

	return k_mem_info(w.grant, &mi);
}
/* For good: who runs it expects less from then on. */
static long run_release(void)
{
	struct nom_mem_release r = { .size = sizeof(r), .bytes = CHUNK, .node = NOM_NODE_ANY };

	return k_ioctl(fail_nom, NOM_MEM_RELEASE, &r);
}

/* Whole or not at all: what is in force is what was said to be done. */
static bool check_map(long ret) { return grant_info().out_mapped == (ret ? 0 : 2 * CHUNK); }
static bool check_map_array(long ret) { return grant_info().out_mapped == w.done * PAGE; }
static bool check_return(long ret)
{
	struct nom_mem_info mi = grant_info();

	return mi.out_bytes == (ret ? 2 : 1) * CHUNK && mi.out_mapped == mi.out_bytes;
}
static bool check_promote(long ret)
{
	uint64_t mapped = grant_info().out_mapped;

	return mapped == CHUNK || (ret && !mapped);
}
static bool check_claim(long ret) { return ret || heard(NOM_GENL_CMD_CORE_NTF); }
static bool check_grant(long ret) { return ret || heard(NOM_GENL_CMD_MEM_NTF); }
static bool check_price(long ret) { return ret || heard(NOM_GENL_CMD_PRICE_NTF); }
static bool check_price_del(long ret) { return ret || heard(NOM_GENL_CMD_PRICE_DEL_NTF); }

static long run_phys(void)
{
	uint64_t phys;

	return k_phys(w.grant, 0, fail_nic.bdf, &phys);
}
static long run_mmio_open(void)
{
	struct nom_mmio_open how;

	w.fd = k_mmio_open(fail_nom, fail_mmio, &how);
	return w.fd < 0 ? w.fd : 0;
}
static void no_mmio(void)
{
	close(w.fd);
	t_sleep_ms(20);		/* its reset */
}
static void have_mmio(void)
{
	need(run_mmio_open(), "NOM_MMIO_OPEN");
	w.efd = eventfd(0, EFD_CLOEXEC);
}
static void no_mmio_irq(void)
{
	close(w.efd);
	no_mmio();
}
static long run_mmio_irq(void) { return k_mmio_irq(w.fd, w.efd, w.efd); }
static void undo_mmio_irq(void) { k_mmio_irq(w.fd, -1, -1); }
static void have_mmio_grant(void)
{
	have_grant();
	have_mmio();
}
static void no_mmio_grant(void)
{
	no_mmio_irq();
	no_grant();
}
static long run_phys_mmio(void)
{
	struct nom_mem_phys phys = { .size = sizeof(phys), .flags = NOM_PHYS_MMIO, .bdf = (uint32_t)w.fd };

	return ioctl(w.grant, NOM_MEM_PHYS, &phys) ? -errno : 0;
}
static long keep(void *p)
{
	w.view = p;
	return p == MAP_FAILED ? -errno : 0;
}
static long run_mmap_board(void) { return keep(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fail_nom, 0)); }
static void undo_page(void) { munmap(w.view, PAGE); }
static long run_mmap_mmio(void) { return keep(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, w.fd, 0)); }
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

	k_nl_begin(&req, fail_family, cmd, flags);
	return k_nl_talk(w.sock, &req, NULL, NULL);
}
static long run_nl_info(void) { return talk(NOM_GENL_CMD_GET_INFO, 0); }
static long run_nl_cores(void) { return talk(NOM_GENL_CMD_GET_CORES, NLM_F_DUMP); }
static long run_nl_grants(void) { return talk(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP); }
static long run_nl_devices(void) { return talk(NOM_GENL_CMD_GET_DEVICES, NLM_F_DUMP); }
static long run_nl_prices(void) { return talk(NOM_GENL_CMD_GET_PRICES, NLM_F_DUMP); }
static long run_nl_nodes(void) { return talk(NOM_GENL_CMD_GET_NODES, NLM_F_DUMP); }
static long run_nl_bindings(void) { return talk(NOM_GENL_CMD_GET_BINDINGS, NLM_F_DUMP); }
static long run_nl_users(void) { return talk(NOM_GENL_CMD_GET_USERS, NLM_F_DUMP); }
static long run_nl_price(void) { return k_nl_price(w.sock, fail_family, "fault", "unit", ++w.price); }
static void again_price(void) { k_nl_del_price(w.sock, fail_family, "swept"); }
static long run_nl_price_del(void)
{
	long ret = k_nl_price(w.sock, fail_family, "swept", "unit", ++w.price);

	return ret ?: k_nl_del_price(w.sock, fail_family, "swept");
}
static long run_nl_reclaim(void)
{
	uint64_t bytes = CHUNK;
	uint32_t ms = NOM_RECLAIM_MAX_MS;
	struct k_nl_req req;

	k_nl_begin(&req, fail_family, NOM_GENL_CMD_RECLAIM, 0);
	k_nl_put(&req, NOM_GENL_A_HANDLE, &w.id, sizeof(w.id));
	k_nl_put(&req, NOM_GENL_A_MEM_WANTED, &bytes, sizeof(bytes));
	k_nl_put(&req, NOM_GENL_A_DEADLINE_MS, &ms, sizeof(ms));
	return k_nl_talk(w.sock, &req, NULL, NULL);
}
static long run_nl_join(void) { return k_nl_join(w.sock, fail_group); }

const struct fail_op fail_ops[] = {
	{ "open", .run = run_open, .undo = undo_fd },
	{ "NOM_GET_INFO", .run = run_info },
	{ "NOM_GET_LIMITS", .run = run_limits },
	{ "NOM_CORE_CLAIM", .run = run_claim, .undo = undo_claim },
	{ "NOM_CORE_CLAIM, heard by a listener", .prepare = have_listener, .run = run_claim,
	  .check = check_claim, .undo = undo_claim, .clean = no_listener, .hears = true },
	{ "NOM_MEM_GRANT", .run = run_grant, .undo = undo_fd },
	{ "NOM_MEM_GRANT, heard by a listener", .prepare = have_listener, .run = run_grant,
	  .check = check_grant, .undo = undo_fd, .clean = no_listener, .hears = true },
	{ "NOM_NOTIFY", .prepare = have_lease, .run = run_notify, .clean = no_lease },
	{ "NOM_CORE_ENTER", .prepare = have_lease, .run = run_enter, .undo = undo_enter, .clean = no_lease },
	{ "NOM_CORE_LEAVE", .prepare = have_lease, .run = run_leave, .undo = undo_leave, .clean = no_lease },
	{ "NOM_CORE_BIND", .prepare = have_eventfd, .run = run_bind, .undo = undo_bind, .clean = no_eventfd },
	{ "NOM_CORE_UNBIND", .prepare = have_eventfd, .run = run_bind_unbind, .again = undo_bind_unbind,
	  .clean = no_eventfd },
	{ "NOM_CORE_MASK", .prepare = have_masked, .run = run_mask, .clean = no_eventfd },
	{ "NOM_CORE_UNMASK", .prepare = have_masked, .run = run_unmask, .clean = no_eventfd },
	{ "NOM_CORE_BINDING", .prepare = have_masked, .run = run_binding, .clean = no_eventfd },
	{ "NOM_CORE_TIMER", .prepare = have_lease, .run = run_timer, .undo = undo_timer, .clean = no_lease },
	{ "NOM_CORE_SUBSCRIBE", .prepare = have_lease, .run = run_subscribe, .undo = undo_subscribe,
	  .clean = no_lease },
	{ "NOM_CORE_STATS", .prepare = have_lease, .run = run_stats, .clean = no_lease },
	{ "NOM_MEM_MAP", .prepare = have_grant, .run = run_map, .check = check_map, .undo = undo_window,
	  .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_MAP, 2 MiB", .prepare = have_grant, .run = run_map_huge, .check = check_map,
	  .undo = undo_window, .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_MAP, 20 pieces", .prepare = have_grant, .run = run_map_array, .check = check_map_array,
	  .undo = undo_window, .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_UNMAP", .prepare = have_grant, .run = run_map_unmap, .undo = undo_window,
	  .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_PROTECT", .prepare = have_grant, .run = run_protect, .undo = undo_window,
	  .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_QUERY", .prepare = have_grant, .run = run_query, .undo = undo_window,
	  .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_PROMOTE", .prepare = have_grant, .run = run_promote, .check = check_promote,
	  .undo = undo_window, .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_DEMOTE", .prepare = have_grant, .run = run_demote, .check = check_promote,
	  .undo = undo_window, .again = undo_window, .clean = no_grant },
	{ "NOM_MEM_RETURN", .prepare = have_mapped, .run = run_return, .check = check_return,
	  .undo = again_mapped, .again = again_mapped, .clean = no_grant },
	{ "NOM_MEM_INFO", .prepare = have_grant, .run = run_mem_info, .clean = no_grant },
	{ "NOM_MEM_PHYS", .prepare = have_grant, .run = run_phys, .clean = no_grant, .nic = true },
	{ "NOM_MMIO_OPEN", .run = run_mmio_open, .undo = no_mmio, .mmio = true },
	{ "NOM_MMIO_IRQ", .prepare = have_mmio, .run = run_mmio_irq, .undo = undo_mmio_irq, .clean = no_mmio_irq,
	  .again = undo_mmio_irq, .mmio = true },
	{ "NOM_MEM_PHYS for it", .prepare = have_mmio_grant, .run = run_phys_mmio, .clean = no_mmio_grant, .mmio = true },
	{ "mmap of registers", .prepare = have_mmio, .run = run_mmap_mmio, .undo = undo_page, .clean = no_mmio_irq,
	  .mmio = true, .maps_device = true },
	{ "NOM_MEM_RELEASE", .run = run_release, .lasts = true },
	{ "mmap of the board", .run = run_mmap_board, .undo = undo_page },
	{ "mmap of a lease", .prepare = have_lease, .run = run_mmap_core, .undo = undo_page,
	  .clean = no_lease },
	{ "mmap of a window", .prepare = have_grant, .run = run_mmap_window, .undo = undo_chunk,
	  .clean = no_grant },
	{ "mmap of a DMA view", .prepare = have_grant, .run = run_mmap_dma, .undo = undo_chunk,
	  .clean = no_grant },
	{ "touch of a DMA view", .prepare = have_view, .run = run_touch, .undo = undo_touch,
	  .again = undo_touch, .clean = no_view },
	{ "fork with a window", .prepare = have_grant, .run = run_fork, .undo = undo_fork, .clean = no_grant },
	{ "netlink GET_INFO", .prepare = have_socket, .run = run_nl_info, .clean = no_socket, .talks = true },
	{ "netlink GET_CORES", .prepare = have_socket, .run = run_nl_cores, .clean = no_socket,
	  .talks = true },
	{ "netlink GET_GRANTS", .prepare = have_socket, .run = run_nl_grants, .clean = no_socket,
	  .talks = true },
	{ "netlink GET_DEVICES", .prepare = have_socket, .run = run_nl_devices, .clean = no_socket,
	  .talks = true },
	{ "netlink GET_PRICES", .prepare = have_socket, .run = run_nl_prices, .clean = no_socket,
	  .talks = true },
	{ "netlink GET_NODES", .prepare = have_socket, .run = run_nl_nodes, .clean = no_socket,
	  .talks = true },
	{ "netlink GET_BINDINGS", .prepare = have_bound, .run = run_nl_bindings, .clean = no_bound,
	  .talks = true },
	{ "netlink GET_USERS", .prepare = have_socket, .run = run_nl_users, .clean = no_socket,
	  .talks = true },
	{ "netlink SET_PRICE", .prepare = have_price, .run = run_nl_price, .check = check_price,
	  .clean = no_price, .talks = true, .hears = true },
	{ "netlink DEL_PRICE", .prepare = have_price, .run = run_nl_price_del, .check = check_price_del,
	  .again = again_price, .clean = no_price, .talks = true, .hears = true },
	{ "netlink RECLAIM", .prepare = have_reclaim, .run = run_nl_reclaim, .undo = again_grant,
	  .again = again_grant, .clean = no_reclaim, .talks = true },
	{ "joining the group of changes", .prepare = have_socket, .run = run_nl_join, .clean = no_socket,
	  .talks = true },
};
const unsigned int fail_nr_ops = sizeof(fail_ops) / sizeof(fail_ops[0]);

void fail_fresh(const struct fail_op *o)
{
	if (o->talks) {
		no_socket();
		have_socket();
	}
	if (o->hears)
		deaf();
}
