/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nom: what the module's files share.
 *
 *	nom_main	/dev/nom, module load and unload
 *	nom_board	the bulletin board: the only writer of the mapped pages
 *	nom_lease	reserved cores: claim, enter, leave, end
 *	nom_event	what posts events to a lease: eventfds, timer, subscription
 *	nom_pool	reserved memory in chunks of 2 MiB, and its quarantine
 *	nom_grant	a piece of that memory as a file descriptor
 *	nom_window	address space that shows a grant (nom_window.h has more of it)
 *	nom_view	the same in pages that can be pinned
 *	nom_revoke	what a grant gives back or loses ahead of its end
 *	nom_reclaim	notices that it shall, and their deadlines
 *	nom_device	PCI functions that are in user space's hands
 *	nom_netlink	the "nom" generic netlink family
 *
 * Locks and their order: Documentation/locking.rst.
 */
#ifndef _NOM_KMOD_H
#define _NOM_KMOD_H

#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <asm/nom.h>
#include <linux/nom.h>

struct file;
struct pci_dev;
struct vm_area_struct;
struct vm_fault;

#define NOM_CHUNK_SHIFT		21		/* PMD_SHIFT, asserted in nom_pool.c */
#define NOM_CHUNK_BYTES		(1UL << NOM_CHUNK_SHIFT)
#define NOM_CHUNK_PAGES		(NOM_CHUNK_BYTES >> PAGE_SHIFT)
#define NOM_CHUNK_GONE		U32_MAX		/* in place of a chunk's number */

/* Who holds something, as people and netlink see it. */
struct nom_owner {
	pid_t pid;			/* of the process, initial pid namespace */
	kuid_t uid;			/* effective */
	char comm[TASK_COMM_LEN];
};

void nom_owner_set_current(struct nom_owner *owner);

/* nom_main.c */
extern struct workqueue_struct *nom_wq;	/* unbound; outlives leases and pool */
int nom_struct_in(void *dst, size_t ksize, size_t min, const void __user *arg,
		  size_t *usize_out);
u64 nom_features(void);
int nom_struct_out(void __user *arg, size_t usize, const void *src, size_t ksize);

/* ------------------------------------------------------------- board --- */

int nom_board_init(unsigned int nr_cores, u64 mem_bytes);
void nom_board_exit(void);
size_t nom_board_bytes(void);
int nom_board_mmap(struct vm_area_struct *vma);

void nom_board_core(unsigned int index, const struct nom_board_core *core);
void nom_board_memory(const struct nom_board_memory *memory);
void nom_board_device_add(const struct nom_board_device *device);
void nom_board_device_del(u32 bdf);
int nom_board_price_set(const char *name, const char *unit, s64 price_ucr);
int nom_board_reclaim_room(void);
void nom_board_reclaim_set(const struct nom_board_reclaim *reclaim);
void nom_board_reclaim_del(u64 grant, enum nom_reclaim_state state);

/* copies of a record, for netlink; -ENOENT past the end */
int nom_board_get_core(unsigned int index, struct nom_board_core *out);
int nom_board_get_device(unsigned int index, struct nom_board_device *out);
int nom_board_get_price(unsigned int index, struct nom_board_price *out);
void nom_board_get_memory(struct nom_board_memory *out);

/* ------------------------------------------------------------- lease --- */

/**
 * struct nom_lease - one reserved core in somebody's hands
 * @u: what the core kernel knows of it; its count is the lease's
 * @handle: generation << 16 | cpu; names the lease, never reused
 * @index: of the core's record on the board
 * @notify_mask: events NOM_NOTIFY may post; constant
 * @page: the shared page
 * @lock: protects @attached, @ended, @binds, @nr_binds and arming
 * @attached: a thread has entered
 * @ended: nothing may be bound, armed or attached any more
 * @owner: claimer, then the process that entered; under nom_slot_lock
 * @binds: struct nom_bind
 * @nr_binds: length of @binds
 * @timer: the one timer; its callback reads @timer_event
 * @timer_event: written under @lock with the timer stopped
 * @sub: event << 32 | classes; written under @lock, read anywhere
 * @reap: takes away bindings whose eventfd was closed
 * @rcu: frees after readers of the slot table are gone
 */
struct nom_lease {
	struct nom_upcall u;
	u64 handle;
	unsigned int index;
	u64 notify_mask;
	struct page *page;
	struct mutex lock;		/* see above */
	bool attached;
	bool ended;
	struct nom_owner owner;
	struct list_head binds;
	unsigned int nr_binds;
	struct hrtimer timer;
	unsigned int timer_event;
	u64 sub;
	struct work_struct reap;
	struct rcu_head rcu;
};

int nom_lease_init(void);
void nom_lease_exit(void);
unsigned int nom_lease_nr_cores(void);
int nom_ioctl_core_claim(void __user *arg);
int nom_ioctl_notify(void __user *arg);
void nom_lease_post_class(enum nom_board_class class);
int nom_lease_describe(unsigned int index, struct nom_owner *owner_out,
		       struct nom_core_stats *stats_out);

/* nom_event.c; lease->lock held for the first four */
void nom_event_init(struct nom_lease *lease);
int nom_event_bind(struct nom_lease *lease, unsigned int event, int fd);
int nom_event_unbind(struct nom_lease *lease, unsigned int event, int fd);
int nom_event_timer(struct nom_lease *lease, const struct nom_core_timer *t);
void nom_event_teardown(struct nom_lease *lease);

/* -------------------------------------------------------------- pool --- */

/* A DMA-capable function that was told addresses; one reference each. */
struct nom_told {
	struct list_head link;
	struct pci_dev *pdev;
	bool clear;		/* seen unbound or off the bus since the grant ended */
};

/**
 * struct nom_extent - chunks of the pool that belong together
 * @link: in the pool's list of granted or of quarantined extents
 * @id: names it in netlink and traces
 * @nr: chunks it had at first; offsets go as far
 * @nr_gone: of them, it has no more; written under the grant's and the pool's lock
 * @chunk: their numbers, in the order of the grant's offsets, or NOM_CHUNK_GONE;
 *	written likewise
 * @pinnable: pages were shown in a DMA view, so they may be pinned
 * @told: functions that know addresses of it (struct nom_told)
 * @owner: whoever asked for it
 * @mapped: bytes mapped in windows
 * @file: the grant's, as long as it is in the list of granted ones
 * @wanted_bytes: asked back and not yet given; 0: nothing is asked
 * @deadline_ns: when it is taken, CLOCK_MONOTONIC
 * @revoking: the deadline has passed
 */
struct nom_extent {
	struct list_head link;
	u64 id;
	unsigned int nr;
	unsigned int nr_gone;
	u32 *chunk;
	bool pinnable;
	struct list_head told;
	struct nom_owner owner;
	atomic64_t mapped;
	struct file *file;
	u64 wanted_bytes;
	u64 deadline_ns;
	bool revoking;
};

/* A grant as others see it. */
struct nom_grant_info {
	u64 id;
	u64 bytes;
	u64 mapped_bytes;
	u64 wanted_bytes;
	u64 deadline_ns;
	struct nom_owner owner;
};

int nom_pool_init(void);
void nom_pool_exit(void);
u64 nom_pool_bytes(void);
phys_addr_t nom_pool_phys(const struct nom_extent *extent, u64 offset);
bool nom_extent_has(const struct nom_extent *extent, u64 offset, u64 bytes);
u32 nom_pool_chunk(unsigned long pfn);
unsigned int nom_pool_nr_chunks(void);
bool nom_pool_chunk_pinned(u32 chunk);
int nom_pool_take(u64 bytes, int node, struct nom_extent **extent_out);
int nom_pool_node(unsigned int index, int *node_out, u64 *total_out, u64 *free_out);
void nom_pool_give_back(struct nom_extent *extent);
int nom_pool_release(u64 bytes, int node, u64 *released_out);
int nom_pool_split(struct nom_extent *extent, const unsigned long *gone, unsigned int nr,
		   struct nom_extent **part_out);
void nom_pool_part_ends(struct nom_extent *extent, struct nom_extent *part);
int nom_pool_tell(struct nom_extent *extent, struct pci_dev *pdev);
void nom_pool_device_gone(struct pci_dev *pdev);
void nom_pool_show(struct nom_extent *extent, struct file *file);
struct nom_extent *nom_pool_find(u64 id);
struct nom_extent *nom_pool_next(struct nom_extent *extent);
int nom_pool_call(int (*fn)(void *arg), void *arg);
int nom_pool_describe(u64 after, struct nom_grant_info *out);
void nom_pool_info(const struct nom_extent *extent, struct nom_grant_info *out);

/* ------------------------------------------------------------- grant --- */

/**
 * struct nom_grant - an extent behind a file descriptor
 * @extent: the memory
 * @lock: entries of windows and views change under it, and what the grant has;
 *	inside the mm's mmap_lock, where both are held
 * @folds: entries of the 2 MiB level were exchanged once; then it stays set
 */
struct nom_grant {
	struct nom_extent *extent;
	struct mutex lock;		/* see above */
	u32 folds;
};

int nom_ioctl_mem_grant(void __user *arg);
int nom_ioctl_mem_release(void __user *arg);
struct nom_grant *nom_grant_of(struct file *file);

/* nom_window.c, nom_view.c */
bool nom_window_huge_works(void);
int nom_window_mmap(struct nom_grant *grant, struct vm_area_struct *vma);
int nom_dma_view_mmap(struct nom_grant *grant, struct vm_area_struct *vma);
int nom_ioctl_mem_map(struct nom_grant *grant, void __user *arg);
int nom_ioctl_mem_unmap(struct nom_grant *grant, void __user *arg);

/* nom_change.c */
int nom_ioctl_mem_protect(struct nom_grant *grant, void __user *arg);
int nom_ioctl_mem_query(struct nom_grant *grant, void __user *arg);

/* nom_fold.c */
bool nom_fold_works(void);
bool nom_fold_settled(struct vm_fault *vmf);
void nom_fold_empty(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd, pmd_t entry);
int nom_ioctl_mem_promote(struct nom_grant *grant, void __user *arg);
int nom_ioctl_mem_demote(struct nom_grant *grant, void __user *arg);

/* nom_revoke.c */
int nom_ioctl_mem_return(struct nom_grant *grant, void __user *arg);
int nom_revoke(struct nom_grant *grant, u64 bytes);

/* nom_reclaim.c; the pool's lock is held for the first two */
void nom_reclaim_met(struct nom_extent *extent, u64 bytes);
void nom_reclaim_end(struct nom_extent *extent);
int nom_reclaim_ask(u64 id, u64 bytes, u32 deadline_ms);
void nom_reclaim_exit(void);

/* ------------------------------------------------------------ device --- */

int nom_device_init(void);
void nom_device_exit(void);
struct pci_dev *nom_device_get(u32 bdf, int *err_out);
bool nom_device_masters_bus(struct pci_dev *pdev);

/* ----------------------------------------------------------- netlink --- */

int nom_netlink_init(void);
void nom_netlink_exit(void);
void nom_netlink_ntf_core(const struct nom_board_core *core);
void nom_netlink_ntf_memory(const struct nom_board_memory *memory);
void nom_netlink_ntf_device(const struct nom_board_device *device, bool added);
void nom_netlink_ntf_price(const struct nom_board_price *price);
void nom_netlink_ntf_reclaim(const struct nom_board_reclaim *reclaim,
			     enum nom_reclaim_state state);

#endif /* _NOM_KMOD_H */
