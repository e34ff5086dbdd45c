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
 *	nom_window	address space that shows a grant
 *	nom_device	PCI functions that are in user space's hands
 *	nom_netlink	the "nom" generic netlink family
 *	nom_sysfs	/sys/class/misc/nom
 *	nom_debugfs	/sys/kernel/debug/nom
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

struct attribute_group;
struct file;
struct pci_dev;
struct vm_area_struct;

#define NOM_CHUNK_SHIFT		21		/* PMD_SHIFT, asserted in nom_pool.c */
#define NOM_CHUNK_BYTES		(1UL << NOM_CHUNK_SHIFT)
#define NOM_CHUNK_PAGES		(NOM_CHUNK_BYTES >> PAGE_SHIFT)

/* Who holds something, as people and netlink see it. */
struct nom_owner {
	pid_t pid;			/* of the process, initial pid namespace */
	kuid_t uid;			/* effective */
	char comm[TASK_COMM_LEN];
};

void nom_owner_set_current(struct nom_owner *owner);

/* nom_main.c */
extern struct workqueue_struct *nom_wq;	/* unbound; outlives leases and pool */
u64 nom_features(void);
int nom_struct_in(void *dst, size_t ksize, size_t min, const void __user *arg,
		  size_t *usize_out);
int nom_struct_out(void __user *arg, size_t usize, const void *src, size_t ksize);

/* ------------------------------------------------------------- board --- */

int nom_board_init(unsigned int nr_cores, u64 mem_bytes);
void nom_board_exit(void);
size_t nom_board_bytes(void);
int nom_board_mmap(struct vm_area_struct *vma);

void nom_board_core(unsigned int index, const struct nom_board_core *core);
void nom_board_memory(const struct nom_board_memory *memory);
void nom_board_device_add(const struct nom_board_device *device);
void nom_board_device_leaving(u32 bdf);
void nom_board_device_del(u32 bdf);
int nom_board_price_set(const char *name, const char *unit, s64 price_ucr);
int nom_board_price_del(const char *name);

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
 * @nr: chunks
 * @chunk: their numbers, in the order of the grant's offsets
 * @pinnable: pages were shown in a DMA view, so they may be pinned
 * @told: functions that know addresses of it (struct nom_told)
 * @owner: whoever asked for it
 * @mapped: bytes mapped in windows
 */
struct nom_extent {
	struct list_head link;
	u64 id;
	unsigned int nr;
	u32 *chunk;
	bool pinnable;
	struct list_head told;
	struct nom_owner owner;
	atomic64_t mapped;
};

int nom_pool_init(void);
void nom_pool_exit(void);
u64 nom_pool_bytes(void);
phys_addr_t nom_pool_phys(const struct nom_extent *extent, u64 offset);
int nom_pool_take(u64 bytes, struct nom_extent **extent_out);
void nom_pool_give_back(struct nom_extent *extent);
int nom_pool_tell(struct nom_extent *extent, struct pci_dev *pdev);
void nom_pool_device_gone(struct pci_dev *pdev);
int nom_pool_describe(u64 after, u64 *id_out, u64 *bytes_out, u64 *mapped_out,
		      struct nom_owner *owner_out);

/* What quarantined memory waits for. */
struct nom_held {
	bool told;			/* @bdf was told addresses, and masters the bus */
	bool pinned;			/* somebody has pages of a DMA view */
	u32 bdf;			/* the first such function */
};

int nom_pool_describe_quarantined(u64 after, u64 *id_out, u64 *bytes_out,
				  struct nom_owner *owner_out, struct nom_held *held_out);

/* ------------------------------------------------------------- grant --- */

/**
 * struct nom_grant - an extent behind a file descriptor
 * @extent: the memory
 * @lock: windows change under it, and under the mm's mmap_lock outside it
 * @huge_task: who is inserting a 2 MiB entry just now; written under @lock
 * @huge_pfn: what @huge_task inserts
 * @huge_done: it was inserted
 */
struct nom_grant {
	struct nom_extent *extent;
	struct mutex lock;		/* see above */
	struct task_struct *huge_task;
	unsigned long huge_pfn;
	bool huge_done;
};

int nom_ioctl_mem_grant(void __user *arg);

/* nom_window.c */
bool nom_window_huge_works(void);
int nom_window_mmap(struct nom_grant *grant, struct vm_area_struct *vma);
int nom_dma_view_mmap(struct nom_grant *grant, struct vm_area_struct *vma);
int nom_ioctl_mem_map(struct nom_grant *grant, void __user *arg, bool map);

/* ------------------------------------------------------------ device --- */

int nom_device_init(void);
void nom_device_exit(void);
struct pci_dev *nom_device_get(u32 bdf, int *err_out);
u32 nom_device_bdf(struct pci_dev *pdev);
bool nom_device_masters_bus(struct pci_dev *pdev);

/* ----------------------------------------------------------- netlink --- */

int nom_netlink_init(void);
void nom_netlink_exit(void);
void nom_netlink_ntf_core(const struct nom_board_core *core);
void nom_netlink_ntf_memory(const struct nom_board_memory *memory);
void nom_netlink_ntf_device(const struct nom_board_device *device, bool there);
void nom_netlink_ntf_price(const struct nom_board_price *price, bool there);

/* ------------------------------------------------------ sysfs, debugfs --- */

int nom_sysfs_init(const struct attribute_group ***groups_out);
void nom_sysfs_exit(void);
void nom_debugfs_init(void);
void nom_debugfs_exit(void);

#endif /* _NOM_KMOD_H */
