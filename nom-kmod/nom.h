/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nom: what the module's files share.
 *
 *	nom_main	/dev/nom, module load and unload
 *	nom_board	the bulletin board: the only writer of the mapped pages
 *	nom_limit	users, and what each may have
 *	nom_slot	which reserved core has which lease, who waits, who is asked
 *	nom_claim	the ways to a lease without its descriptor: claim, notify
 *	nom_lease	a lease and its descriptor: enter, leave, end
 *	nom_bind	eventfds that post events to a lease
 *	nom_irq		the device interrupt behind such an eventfd
 *	nom_storm	pauses for a lease that others post to without end
 *	nom_timer	the lease's timer
 *	nom_wait	the holder's sleep
 *	nom_pool	reserved memory in chunks of 2 MiB (nom_pool.h has more of it)
 *	nom_extent	the chunks behind a grant
 *	nom_quarantine	those that somebody may still write to
 *	nom_grant	an extent as a file descriptor
 *	nom_window	address space that shows a grant (nom_window.h has more of it)
 *	nom_view	the same in pages that can be pinned
 *	nom_revoke	what a grant gives back or loses ahead of its end
 *	nom_reclaim	notices that it shall, and their deadlines
 *	nom_device	PCI functions that are in user space's hands
 *	nom_mmio	and virtio devices without PCI
 *	nom_netlink	the "nom" generic netlink family
 *	nom_message	its messages, and those that tell of changes
 *	nom_sysfs	/sys/class/misc/nom
 *	nom_debugfs	/sys/kernel/debug/nom
 *
 * Locks and their order: Documentation/locking.rst.
 */
#ifndef _NOM_KMOD_H
#define _NOM_KMOD_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/irqbypass.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <asm/nom.h>
#include <linux/nom.h>

struct attribute_group;
struct eventfd_ctx;
struct file;
struct device;
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
void nom_board_device_leaving(u32 bdf);
void nom_board_device_del(u32 bdf);
int nom_board_price_set(const char *name, const char *unit, s64 price_ucr);
int nom_board_price_del(const char *name);
int nom_board_reclaim_room(void);
void nom_board_reclaim_set(const struct nom_board_reclaim *reclaim);
void nom_board_reclaim_del(u64 grant, enum nom_reclaim_state state);

/* copies of a record, for netlink; -ENOENT past the end */
int nom_board_get_core(unsigned int index, struct nom_board_core *out);
int nom_board_get_device(unsigned int index, struct nom_board_device *out);
int nom_board_get_price(unsigned int index, struct nom_board_price *out);
void nom_board_get_memory(struct nom_board_memory *out);

/* ------------------------------------------------------------- limit --- */

enum nom_resource { NOM_RES_CORES, NOM_RES_BINDINGS, NOM_RES_MEM, NOM_NR_RES };

/**
 * struct nom_user - one who pays
 * @node: in nom_users, under nom_user_lock, as long as there are references
 * @ref: open /dev/nom's, leases, and extents of memory
 * @uid: effective, of the opener; constant
 * @exempt: the opener had CAP_SYS_RESOURCE; constant
 * @used: by enum nom_resource
 * @notify_left: notifications until the next look at the clock
 * @notify_window: jiffies when @notify_left was filled
 * @notify_refused: how many were
 */
struct nom_user {
	struct hlist_node node;
	refcount_t ref;
	kuid_t uid;
	bool exempt;
	atomic64_t used[NOM_NR_RES];
	atomic_t notify_left;
	unsigned long notify_window;
	atomic64_t notify_refused;
};

struct nom_user *nom_user_get_current(void);
struct nom_user *nom_user_get(struct nom_user *user);
void nom_user_put(struct nom_user *user);
int nom_limit_charge(struct nom_user *user, enum nom_resource what, u64 n);
void nom_limit_uncharge(struct nom_user *user, enum nom_resource what, u64 n);
bool nom_limit_refill(struct nom_user *user);
void nom_limit_describe(struct nom_user *user, struct nom_limits *out);
int nom_limit_describe_nth(unsigned int nth, struct nom_limits *out);

/* May the user send one more notification? */
static inline bool nom_limit_notify(struct nom_user *user)
{
	return likely(atomic_dec_return(&user->notify_left) >= 0) || nom_limit_refill(user);
}

/* ------------------------------------------------------------- lease --- */

/**
 * struct nom_storm - what is known of a lease's storms; see nom_storm.c
 * @lock: protects all but @hits, @held and @held_events; and the interrupts
 *	behind the lease's bindings.  Taken in hard interrupts.
 * @paused: written under @lock, read anywhere
 * @stopped: the lease has ended
 * @hits: posts since @since; anybody, without a lock
 * @since: ktime of the last look
 * @nr_pauses: so far
 * @quiet: struct nom_irq that are off until the pause ends
 * @resume: ends the pause
 * @held_events: events with a count in @held
 * @held: counts to be posted when the pause ends
 */
struct nom_storm {
	raw_spinlock_t lock;		/* see above */
	bool paused;
	bool stopped;
	unsigned int hits;
	u64 since;
	u64 nr_pauses;
	struct list_head quiet;
	struct hrtimer resume;
	atomic64_t held_events;
	atomic64_t held[NOM_NR_EVENTS];
};

/**
 * struct nom_sleep - the holder's sleep in NOM_CORE_WAIT; it and its core alone touch this
 * @timer: lazy, see nom_wait.c
 * @sleeper: the holder while it sleeps, else NULL
 * @until: when its sleep ends by itself, KTIME_MAX for never; valid with @sleeper
 */
struct nom_sleep {
	struct hrtimer timer;
	struct task_struct *sleeper;
	ktime_t until;
};

/**
 * struct nom_lease - one reserved core in somebody's hands
 * @u: what the core kernel knows of it; its count is the lease's
 * @handle: generation << 16 | cpu; names the lease, never reused
 * @index: of the core's record on the board
 * @user: who pays, with a reference
 * @claim_flags: NOM_CLAIM_*; constant
 * @notify_uid: who else may NOM_NOTIFY; constant
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
 * @sleep: of the holder
 * @sub: event << 32 | classes; written under @lock, read anywhere
 * @storm: what others post goes through it
 * @reap: takes away bindings whose eventfd was closed
 * @rcu: frees after readers of the slot table are gone
 */
struct nom_lease {
	struct nom_upcall u;
	u64 handle;
	unsigned int index;
	struct nom_user *user;
	u32 claim_flags;
	kuid_t notify_uid;
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
	struct nom_sleep sleep;
	u64 sub;
	struct nom_storm storm;
	struct work_struct reap;
	struct rcu_head rcu;
};

extern const struct nom_upcall_ops nom_lease_ops;
int nom_lease_create(struct nom_user *user, const struct nom_core_claim *claim,
		     struct nom_lease **lease_out);
void nom_lease_discard(struct nom_lease *lease);
void nom_lease_end(struct nom_lease *lease);
void nom_lease_stats(const struct nom_lease *lease, struct nom_core_stats *out);
struct file *nom_lease_file(struct nom_lease *lease);

/* nom_claim.c */
int nom_ioctl_core_claim(struct nom_user *user, void __user *arg);
long nom_ioctl_notify(struct nom_user *user, void __user *arg);

/* nom_slot.c */
int nom_slot_init(void);
void nom_slot_exit(void);
int nom_slot_claim(struct nom_lease *lease, s32 cpu, bool wait, u64 deadline_ns);
void nom_slot_enter(struct nom_lease *lease);
void nom_slot_free(struct nom_lease *lease);
struct nom_lease *nom_slot_lease(u64 handle);
unsigned int nom_lease_nr_cores(void);
void nom_lease_post_class(enum nom_board_class class);
int nom_lease_describe(unsigned int index, struct nom_owner *owner_out,
		       struct nom_core_stats *stats_out);
int nom_lease_describe_binding(unsigned int index, unsigned int nth,
			       struct nom_core_binding *out);

/* ------------------------------------------------------------ binding --- */

#define NOM_IRQ_OFF_MASK	(1U << 0)	/* NOM_CORE_MASK */
#define NOM_IRQ_OFF_STORM	(1U << 1)	/* until the storm's pause ends */

/**
 * struct nom_irq - the device interrupt behind a binding, if there is one
 * @consumer: how we learn of it
 * @registered: @consumer is
 * @affine: it was sent to the leased core; under storm.lock
 * @can_mask: it can be silenced at its source; under storm.lock
 * @nr: its number, 0 while there is none; under storm.lock
 * @off: NOM_IRQ_OFF_*; under storm.lock
 * @quiet: in storm.quiet, or empty; under storm.lock
 * @nr_pauses: how often it was; under storm.lock
 */
struct nom_irq {
	struct irq_bypass_consumer consumer;
	bool registered;
	bool affine;
	bool can_mask;
	int nr;
	unsigned int off;
	struct list_head quiet;
	u64 nr_pauses;
};

/**
 * struct nom_bind - an eventfd that posts an event
 * @link: in lease->binds, under lease->lock
 * @lease: outlives the binding, which nom_lease_end() takes away
 * @event: what is posted; constant
 * @dead: its eventfd is closed; set under the queue's lock
 * @masked: leave the counter where it is; under the queue's lock
 * @nr_signals: of the eventfd; under the queue's lock
 * @nr_events: posted; under the queue's lock
 * @ctx: the eventfd, with a reference
 * @wait: our entry on its wait queue
 * @queue: that queue; lives as long as @ctx
 * @poll: only for the moment of binding
 * @irq: what is behind the eventfd
 */
struct nom_bind {
	struct list_head link;
	struct nom_lease *lease;
	unsigned int event;
	bool dead;
	bool masked;
	u64 nr_signals;
	u64 nr_events;
	struct eventfd_ctx *ctx;
	wait_queue_entry_t wait;
	wait_queue_head_t *queue;
	poll_table poll;
	struct nom_irq irq;
};

/* nom_bind.c; lease->lock held, but for init */
void nom_bind_init(struct nom_lease *lease);
int nom_bind_create(struct nom_lease *lease, unsigned int event, int fd);
int nom_bind_end(struct nom_lease *lease, unsigned int event, int fd);
int nom_bind_mask(struct nom_lease *lease, unsigned int event, int fd, bool mask);
int nom_bind_describe(struct nom_lease *lease, unsigned int index,
		      struct nom_core_binding *out);
void nom_bind_end_all(struct nom_lease *lease);

/* nom_irq.c */
void nom_irq_init(void);
void nom_irq_register(struct nom_bind *bind);
void nom_irq_unregister(struct nom_bind *bind);
void nom_irq_mask(struct nom_bind *bind, bool mask);
void nom_irq_pause(struct nom_bind *bind);
void nom_irq_resume(struct nom_lease *lease);

/* nom_storm.c */
void nom_storm_init(struct nom_lease *lease);
void nom_storm_stop(struct nom_lease *lease);
void nom_storm_flush(struct nom_lease *lease);
void nom_storm_hold(struct nom_lease *lease, unsigned int event, u64 n);
bool nom_storm_look(struct nom_lease *lease);

#define NOM_STORM_HITS		64	/* posts between two looks at the clock */

/**
 * nom_storm_post - post what somebody else wants posted
 * @lease: alive
 * @event: below NOM_NR_EVENTS
 * @n: how often it occurred
 *
 * Context: any but NMI.
 * Return: true if the source should be quiet until the pause ends.
 */
static __always_inline bool nom_storm_post(struct nom_lease *lease, unsigned int event,
					   u64 n)
{
	struct task_struct *holder;

	if (unlikely(READ_ONCE(lease->storm.paused))) {
		nom_storm_hold(lease, event, n);
		return true;
	}
	nom_post(&lease->u, event, n);
	holder = READ_ONCE(lease->u.task);
	if (!holder || (holder == current && in_task()))
		return false;
	/* two cores that count at the same time may lose one: no matter */
	return unlikely(++lease->storm.hits >= NOM_STORM_HITS) && nom_storm_look(lease);
}

/* nom_wait.c */
void nom_wait_init(struct nom_lease *lease);
int nom_wait(struct nom_lease *lease, u64 ns);
void nom_wait_stop(struct nom_lease *lease);

/* nom_timer.c; lease->lock held, but for init */
void nom_timer_init(struct nom_lease *lease);
int nom_timer_arm(struct nom_lease *lease, const struct nom_core_timer *t);
void nom_timer_stop(struct nom_lease *lease);

/* ------------------------------------------ pool, extents, quarantine --- */

/* A device that was told addresses; one reference each. */
struct nom_told {
	struct list_head link;
	struct device *dev;	/* a PCI function, or one of nom_mmio.c */
	bool clear;		/* seen unbound, off the bus or reset since the grant ended */
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
 * @user: who pays, with a reference; NULL for as long as nobody does
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
	struct nom_user *user;
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
u32 nom_pool_chunk(unsigned long pfn);
unsigned int nom_pool_nr_chunks(void);
bool nom_pool_chunk_pinned(u32 chunk);
int nom_pool_node(unsigned int index, int *node_out, u64 *total_out, u64 *free_out);
int nom_pool_release(u64 bytes, int node, u64 *released_out);

int nom_extent_take(u64 bytes, int node, struct nom_extent **extent_out);
void nom_extent_give_back(struct nom_extent *extent);
bool nom_extent_has(const struct nom_extent *extent, u64 offset, u64 bytes);
int nom_extent_split(struct nom_extent *extent, const unsigned long *gone, unsigned int nr,
		     struct nom_extent **part_out);
void nom_extent_part_ends(struct nom_extent *extent, struct nom_extent *part);
void nom_extent_show(struct nom_extent *extent, struct file *file);
struct nom_extent *nom_extent_find(u64 id);
struct nom_extent *nom_extent_next(struct nom_extent *extent);
int nom_extent_call(int (*fn)(void *arg), void *arg);
int nom_extent_describe(u64 after, struct nom_grant_info *out);
void nom_extent_info(const struct nom_extent *extent, struct nom_grant_info *out);

/* What quarantined memory waits for. */
struct nom_held {
	bool told;			/* @bdf was told addresses, and reaches memory */
	bool mmio;			/* it has no @bdf, being one of nom_mmio.c */
	bool pinned;			/* somebody has pages of a DMA view */
	u32 bdf;			/* the first such function */
};

void nom_quarantine_exit(void);
int nom_quarantine_tell(struct nom_extent *extent, struct device *dev);
void nom_quarantine_device_gone(struct device *dev);
int nom_quarantine_describe(u64 after, u64 *id_out, u64 *bytes_out,
			    struct nom_owner *owner_out, struct nom_held *held_out);

/* ------------------------------------------------------------- grant --- */

/**
 * struct nom_grant - an extent behind a file descriptor
 * @extent: the memory
 * @lock: entries of windows and views change under it, and what the grant has;
 *	inside the mm's mmap_lock, where both are held
 * @near: the window that was used last, or NULL; under @lock, so that one that is
 *	closed is never found here
 * @folds: entries of the 2 MiB level were exchanged once; then it stays set
 */
struct nom_grant {
	struct nom_extent *extent;
	struct mutex lock;		/* see above */
	struct vm_area_struct *near;
	u32 folds;
};

int nom_ioctl_mem_grant(struct nom_user *user, void __user *arg);
int nom_ioctl_mem_release(void __user *arg);
struct nom_grant *nom_grant_of(struct file *file);

/* nom_window.c, nom_view.c */
/*
 * Can 2 MiB be mapped at a time?  Known when compiling where the kernel has no
 * transparent huge pages (PREEMPT_RT): what would then lack functions goes.
 */
static inline bool nom_huge_works(void)
{
	return IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && has_transparent_hugepage();
}

int nom_window_mmap(struct nom_grant *grant, struct vm_area_struct *vma);
int nom_dma_view_mmap(struct nom_grant *grant, struct vm_area_struct *vma);
long nom_ioctl_mem_map(struct nom_grant *grant, void __user *arg);
int nom_ioctl_mem_unmap(struct nom_grant *grant, void __user *arg);

/* nom_change.c */
int nom_ioctl_mem_protect(struct nom_grant *grant, void __user *arg);
int nom_ioctl_mem_query(struct nom_grant *grant, void __user *arg);

/* nom_fold.c */
bool nom_fold_settled(struct vm_fault *vmf);
void nom_fold_empty(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd, pmd_t entry);
int nom_ioctl_mem_promote(struct nom_grant *grant, void __user *arg);
int nom_ioctl_mem_demote(struct nom_grant *grant, void __user *arg);

/* nom_revoke.c */
int nom_ioctl_mem_return(struct nom_grant *grant, void __user *arg);
int nom_revoke(struct nom_grant *grant);

/* nom_reclaim.c; the pool's lock is held for the first two */
void nom_reclaim_met(struct nom_extent *extent, u64 bytes);
void nom_reclaim_end(struct nom_extent *extent);
u64 nom_reclaim_owed(struct nom_extent *extent);
int nom_reclaim_ask(u64 id, u64 bytes, u32 deadline_ms);
void nom_reclaim_exit(void);

/* ------------------------------------------------------------ device --- */

int nom_device_init(void);
void nom_device_exit(void);
struct pci_dev *nom_device_get(u32 bdf, int *err_out);
u32 nom_device_bdf(struct pci_dev *pdev);
bool nom_device_masters_bus(struct pci_dev *pdev);

/* nom_mmio.c */
int nom_mmio_init(void);
void nom_mmio_exit(void);
int nom_ioctl_mmio_open(void __user *arg);
struct device *nom_mmio_get(int fd);
bool nom_mmio_runs(struct device *dev);

/* ----------------------------------------------------------- netlink --- */

int nom_netlink_init(void);
void nom_netlink_exit(void);
void nom_netlink_ntf_core(const struct nom_board_core *core);
void nom_netlink_ntf_memory(const struct nom_board_memory *memory);
void nom_netlink_ntf_device(const struct nom_board_device *device, bool there);
void nom_netlink_ntf_price(const struct nom_board_price *price, bool there);
void nom_netlink_ntf_reclaim(const struct nom_board_reclaim *reclaim,
			     enum nom_reclaim_state state);

/* ------------------------------------------------------ sysfs, debugfs --- */

int nom_sysfs_init(const struct attribute_group ***groups_out);
void nom_sysfs_exit(void);
void nom_debugfs_init(void);
void nom_debugfs_exit(void);

#endif /* _NOM_KMOD_H */
