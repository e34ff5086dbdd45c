/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * nom: the device's ABI - ioctls of /dev/nom, of lease and grant file
 * descriptors, the bulletin board, and the "nom" generic netlink family.
 *
 * The upcall frame and the page shared with a leased core are <asm/nom.h>,
 * which the patched kernel exports; nothing of it is repeated here.
 *
 * Every ioctl argument starts with its own size and grows at the end only; a
 * field that an older caller does not have counts as zero and means the old
 * behaviour.  Errors mean the same everywhere:
 *
 *   ENOTTY      unknown command
 *   E2BIG       the struct is newer than this kernel and uses a part it lacks
 *   EOPNOTSUPP  understood, but a flag, value or feature is not supported
 *   EINVAL      one field is wrong, or the struct is shorter than version 1
 *   ENOENT      no such core, device, price or handle
 *   EBUSY       somebody else holds it
 *   EPERM       not allowed to this caller
 *   ENXIO       the lease this descriptor stood for has ended
 *   EDQUOT      the limit of the user who opened /dev/nom is reached
 */
#ifndef _UAPI_LINUX_NOM_H
#define _UAPI_LINUX_NOM_H

#include <linux/types.h>
#include <linux/ioctl.h>
#include <asm/nom.h>

#define NOM_DEVICE_PATH		"/dev/nom"
#define NOM_IOC_TYPE		0xE9
#define NOM_ABI_VERSION		1

/* ------------------------------------------------------------ /dev/nom --- */

/**
 * struct nom_info - ioctl(nom, NOM_GET_INFO): what this kernel offers
 * @size: sizeof(struct nom_info)
 * @flags: must be 0
 * @out_version: NOM_ABI_VERSION of the kernel
 * @out_nr_cores: reserved cores (nom_cpus=)
 * @out_features: NOM_FEATURE_*
 * @out_mem_bytes: reserved memory (nom_mem=)
 * @out_board_bytes: length of the bulletin board mapping
 * @out_traps: mask of x86 exceptions an application may claim
 */
struct nom_info {
	__u32 size;
	__u32 flags;
	__u32 out_version;
	__u32 out_nr_cores;
	__aligned_u64 out_features;
	__aligned_u64 out_mem_bytes;
	__aligned_u64 out_board_bytes;
	__aligned_u64 out_traps;
};

#define NOM_FEATURE_HUGE_MAP	(1ULL << 0)	/* NOM_MAP_HUGE works */
#define NOM_FEATURE_MEM_PHYS	(1ULL << 1)	/* NOM_MEM_PHYS (trusted mode) */
#define NOM_FEATURE_DMA_VIEW	(1ULL << 2)	/* NOM_GRANT_MMAP_DMA */
#define NOM_FEATURE_CHANGE	(1ULL << 3)	/* NOM_MEM_PROTECT, QUERY, NOM_MAP_TRACK */
#define NOM_FEATURE_PROMOTE	(1ULL << 4)	/* NOM_MEM_PROMOTE, NOM_MEM_DEMOTE */
#define NOM_FEATURE_RECLAIM	(1ULL << 5)	/* NOM_MEM_RETURN, reclaim notices */
#define NOM_FEATURE_CLAIM_WAIT	(1ULL << 8)	/* NOM_CLAIM_* flags */
#define NOM_FEATURE_LIMITS	(1ULL << 9)	/* limits per user, NOM_GET_LIMITS */
#define NOM_FEATURE_IRQ		(1ULL << 10)	/* affinity, mask, storms, NOM_CORE_BINDING */
#define NOM_FEATURE_WAIT	(1ULL << 11)	/* NOM_CORE_WAIT */
#define NOM_FEATURE_PRICE_DEL	(1ULL << 16)	/* NOM_GENL_CMD_DEL_PRICE */
#define NOM_FEATURE_DEVICE_STATE (1ULL << 17)	/* nom_board_device.state */
#define NOM_FEATURE_MEM_RELEASE	(1ULL << 24)	/* NOM_MEM_RELEASE */
#define NOM_FEATURE_MMIO	(1ULL << 25)	/* NOM_MMIO_OPEN, NOM_PHYS_MMIO */

#define NOM_GET_INFO	_IO(NOM_IOC_TYPE, 0x00)

/**
 * struct nom_core_claim - ioctl(nom, NOM_CORE_CLAIM): lease a reserved core
 * @size: sizeof(struct nom_core_claim)
 * @flags: NOM_CLAIM_*
 * @cpu: the reserved core wanted, or NOM_CPU_ANY
 * @out_core_fd: the lease, close-on-exec.  mmap(2) of one page at offset 0
 *	gives its struct nom_shared.
 * @out_handle: names the lease to others (NOM_NOTIFY, netlink); never reused
 * @notify_mask: events that NOM_NOTIFY may post to this lease
 * @deadline_ns: with NOM_CLAIM_WAIT: CLOCK_MONOTONIC, when to give up; 0: never
 * @notify_uid: with NOM_CLAIM_NOTIFY_UID: one more user who may NOM_NOTIFY
 * @reserved: must be 0
 *
 * The lease ends when the attached thread leaves, exits or execs, or, as long
 * as no thread has attached, when the descriptor is closed.
 *
 * Who waits gets a core in the order of asking, from the hand of who gives it
 * back: nobody comes in between.  A signal ends the wait, and its handler's
 * SA_RESTART asks anew, at the end of the queue.
 *
 * Return: 0, -EBUSY (leased already), -ENOENT (not a reserved core, or none;
 * or offline), -EPERM (descriptor not open for writing), -EDQUOT (the user's
 * limit of cores; who waits counts), -ETIMEDOUT, -EINTR, -EINVAL (a field that
 * its flag does not ask for, no such user), -EOPNOTSUPP.
 */
struct nom_core_claim {
	__u32 size;
	__u32 flags;
	__s32 cpu;
	__s32 out_core_fd;
	__aligned_u64 out_handle;
	__aligned_u64 notify_mask;
	__aligned_u64 deadline_ns;
	__u32 notify_uid;
	__u32 reserved;
};

#define NOM_CORE_CLAIM_SIZE_V1	32

#define NOM_CLAIM_WAIT		(1U << 0)	/* sleep until a core is free */
#define NOM_CLAIM_NOTIFY_UID	(1U << 1)	/* also notify_uid may notify */
#define NOM_CLAIM_NOTIFY_ANY	(1U << 2)	/* whoever may open /dev/nom may notify */

#define NOM_CPU_ANY	(-1)
#define NOM_CORE_CLAIM	_IO(NOM_IOC_TYPE, 0x01)

/**
 * struct nom_mem_grant - ioctl(nom, NOM_MEM_GRANT): take reserved memory
 * @size: sizeof(struct nom_mem_grant)
 * @flags: NOM_GRANT_NODE, or 0
 * @bytes: a multiple of 2 MiB, > 0
 * @out_grant_fd: the grant, close-on-exec; what its mmap(2) gives depends on
 *	the offset, see NOM_GRANT_MMAP_WINDOW and NOM_GRANT_MMAP_DMA
 * @node: with NOM_GRANT_NODE all of it is from this NUMA node; else must be 0
 * @out_id: names the grant in netlink and in reclaim notices; never reused
 *
 * Grant memory is zeroed before its owner sees it.  It goes back when the last
 * reference (descriptor, windows and views) is gone and nothing pins it, or piece
 * by piece before: NOM_MEM_RETURN.
 *
 * Return: 0, -ENOMEM (not so much left, or not there), -EINVAL, -EINTR (killed on the way).
 */
struct nom_mem_grant {
	__u32 size;
	__u32 flags;
	__aligned_u64 bytes;
	__s32 out_grant_fd;
	__u32 node;
	__aligned_u64 out_id;		/* since the first version: 24 bytes */
};

#define NOM_GRANT_NODE	(1U << 0)
#define NOM_MEM_GRANT	_IO(NOM_IOC_TYPE, 0x02)

/*
 * mmap(2) offsets of a grant's descriptor, MAP_SHARED both.
 *
 * WINDOW: address space of up to 1 TiB in which nothing is mapped until
 * NOM_MEM_MAP; a touch of an unmapped page is #PF to the leaseholder (upcall)
 * or SIGBUS.  A window is unmapped as a whole; it cannot be split, grown, moved
 * or inherited.  Nobody can pin what a window maps: get_user_pages(), O_DIRECT
 * and VFIO's DMA map refuse it.
 *
 * DMA: NOM_GRANT_MMAP_DMA + n maps the grant's bytes from n on, all of them
 * there, in reference-counted 4 KiB pages: the view for VFIO_IOMMU_MAP_DMA
 * (which pins) and the like.  Pages still pinned when the grant ends are
 * quarantined until the pins go.  Pins count against RLIMIT_MEMLOCK.
 */
#define NOM_GRANT_MMAP_WINDOW	0ULL
#define NOM_GRANT_MMAP_DMA	(1ULL << 40)

/**
 * struct nom_mem_release - ioctl(nom, NOM_MEM_RELEASE): memory for the kernel
 * @size: sizeof(struct nom_mem_release)
 * @flags: must be 0
 * @bytes: how much of the reserved memory to give away; a multiple of 2 MiB, > 0
 * @node: from this NUMA node only, or NOM_NODE_ANY
 * @reserved: must be 0
 * @out_bytes: how much it was; less than @bytes if not so much was free
 *
 * Memory that nobody was granted becomes ordinary memory of the kernel, and does
 * not come back before the next boot.
 *
 * Return: 0, -ENOMEM (none is free), -EBUSY (somebody counts on a page of it),
 * -ENOSPC (it would leave reserved memory in too many pieces), -EINVAL, -EPERM
 * (needs CAP_SYS_ADMIN, and a descriptor open for writing).
 */
struct nom_mem_release {
	__u32 size;
	__u32 flags;
	__aligned_u64 bytes;
	__s32 node;
	__u32 reserved;
	__aligned_u64 out_bytes;
};

#define NOM_NODE_ANY	(-1)
#define NOM_MEM_RELEASE	_IO(NOM_IOC_TYPE, 0x30)

#define NOM_MMIO_NAME_MAX	48

/**
 * struct nom_mmio_open - ioctl(NOM_MMIO_OPEN): a virtio device without PCI
 * @size: sizeof(struct nom_mmio_open)
 * @flags: must be 0
 * @name: of a platform device bound to nom-mmio, NUL-terminated
 * @out_fd: the device, close-on-exec; one opener at a time.  mmap(2) it, shared, at
 *	offset 0, to the end of the page in which the registers end.
 * @out_offset: where in that mapping the registers begin
 * @out_bytes: how long they are
 *
 * Trusted mode: who writes to the registers can make the device write anywhere.
 * When the descriptor and all mappings are gone the device is reset.
 *
 * Return: 0, -EPERM (needs CAP_SYS_RAWIO), -ENODEV (nom-mmio has no device of that
 * name), -EBUSY (somebody has it), -EINVAL (@name does not end), -EOPNOTSUPP.
 */
struct nom_mmio_open {
	__u32 size;
	__u32 flags;
	char name[NOM_MMIO_NAME_MAX];
	__s32 out_fd;
	__u32 out_offset;
	__aligned_u64 out_bytes;
};

#define NOM_MMIO_OPEN	_IO(NOM_IOC_TYPE, 0x31)

/**
 * struct nom_mmio_irq - ioctl(device, NOM_MMIO_IRQ): what its interrupt signals
 * @size: sizeof(struct nom_mmio_irq)
 * @flags: must be 0
 * @rx_fd: an eventfd for used buffers, -1: none
 * @config_fd: and for a changed configuration, -1: none
 *
 * Causes are acknowledged by the kernel.  Both -1: off.  Each call forgets the one
 * before.  With NOM_CORE_BIND of @rx_fd the interrupt comes to the leased core.
 *
 * Return: 0, -ENXIO (it has no interrupt), -EBUSY (another driver has it), -EBADF or
 * -EINVAL (no eventfd), -EOPNOTSUPP; after a failure it is off.
 */
struct nom_mmio_irq {
	__u32 size;
	__u32 flags;
	__s32 rx_fd;
	__s32 config_fd;
};

#define NOM_MMIO_IRQ	_IO(NOM_IOC_TYPE, 0x32)

/**
 * struct nom_notify - ioctl(nom, NOM_NOTIFY): post an event to a lease
 * @size: sizeof(struct nom_notify)
 * @event: 0 .. NOM_NR_EVENTS - 1, within the target's notify_mask
 * @handle: out_handle of the target lease
 *
 * Allowed to the user of the lease, to those whom the claim let in
 * (NOM_CLAIM_NOTIFY_*), and to CAP_KILL; for the events of notify_mask.
 *
 * Return: 0, -ENOENT (no such lease), -EPERM (other user, or event not in the
 * target's notify_mask), -EAGAIN (more than the user's notifications per second).
 */
struct nom_notify {
	__u32 size;
	__u32 event;
	__aligned_u64 handle;
};

#define NOM_NOTIFY	_IO(NOM_IOC_TYPE, 0x03)

/**
 * struct nom_limits - ioctl(nom, NOM_GET_LIMITS): what the opener may have
 * @size: sizeof(struct nom_limits)
 * @flags: must be 0
 * @out_uid: user who opened this descriptor, and to whom all is charged
 * @out_exempt: 1 if that user had CAP_SYS_RESOURCE: the limits do not hold
 * @out_cores: leases, and claims that wait
 * @out_cores_max: NOM_UNLIMITED or a number, as all that end in _max
 * @out_bindings: eventfds bound
 * @out_bindings_max: over all leases; of one lease NOM_BINDINGS_MAX
 * @out_mem_bytes: memory granted, or in quarantine after that
 * @out_mem_bytes_max: likewise
 * @out_notify_refused: notifications refused with -EAGAIN so far
 * @out_notify_per_s_max: notifications a second
 */
struct nom_limits {
	__u32 size;
	__u32 flags;
	__u32 out_uid;
	__u32 out_exempt;
	__aligned_u64 out_cores;
	__aligned_u64 out_cores_max;
	__aligned_u64 out_bindings;
	__aligned_u64 out_bindings_max;
	__aligned_u64 out_mem_bytes;
	__aligned_u64 out_mem_bytes_max;
	__aligned_u64 out_notify_refused;
	__aligned_u64 out_notify_per_s_max;
};

#define NOM_UNLIMITED	(~0ULL)
#define NOM_GET_LIMITS	_IO(NOM_IOC_TYPE, 0x04)

/* ------------------------------------------------------- a lease's fd --- */

/**
 * struct nom_core_enter - ioctl(core, NOM_CORE_ENTER): attach this thread
 * @size: sizeof(struct nom_core_enter)
 * @flags: must be 0
 * @regs: upcall registration, see <asm/nom.h>
 *
 * The calling thread moves to the leased core and receives its upcalls.  It
 * starts with vif == 0 (events masked).
 *
 * Return: 0, -EBUSY (attached already), -EINVAL, -EOPNOTSUPP (trap mask,
 * 32-bit caller, user shadow stack), -ENXIO, -EAGAIN (somebody changed the
 * caller's affinity in the same moment).
 */
struct nom_core_enter {
	__u32 size;
	__u32 flags;
	struct nom_upcall_regs regs;
};

#define NOM_CORE_ENTER	_IO(NOM_IOC_TYPE, 0x10)

/* ioctl(core, NOM_CORE_LEAVE): detach this thread, end the lease. */
#define NOM_CORE_LEAVE	_IO(NOM_IOC_TYPE, 0x11)

/**
 * struct nom_core_bind - ioctl(core, NOM_CORE_BIND / UNBIND / MASK / UNMASK)
 * @size: sizeof(struct nom_core_bind)
 * @event: 0 .. NOM_NR_EVENTS - 1
 * @fd: an eventfd; its counter is drained into the event's count (one per
 *	signal with EFD_SEMAPHORE)
 * @flags: must be 0
 *
 * Bind: each signal of the eventfd (a VFIO MSI-X vector, say) posts @event.
 * Unbind takes away the binding of (event, fd).
 *
 * Mask: signals stay in the eventfd's counter, to be posted when unmasked; and
 * if it is a device's, the interrupt is disabled, so that it costs the core
 * nothing.
 *
 * The interrupt of a bound VFIO vector comes to the leased core as long as it is
 * bound, and to the ordinary cores again afterwards.
 *
 * Return: 0, -EBADF, -EINVAL (not an eventfd), -EEXIST (this eventfd is bound
 * to this lease), -ENOENT (no such binding), -ENOSPC (NOM_BINDINGS_MAX), -EDQUOT
 * (the user's limit of bindings), -ENXIO.
 *
 * A binding ends with its eventfd (last descriptor closed) or with the lease.
 */
struct nom_core_bind {
	__u32 size;
	__u32 event;
	__s32 fd;
	__u32 flags;
};

#define NOM_BINDINGS_MAX	64
#define NOM_CORE_BIND	_IO(NOM_IOC_TYPE, 0x12)
#define NOM_CORE_UNBIND	_IO(NOM_IOC_TYPE, 0x13)

/**
 * struct nom_core_timer - ioctl(core, NOM_CORE_TIMER): one-shot timer
 * @size: sizeof(struct nom_core_timer)
 * @event: posted at expiry
 * @flags: NOM_TIMER_ABS or 0 (relative)
 * @reserved: must be 0
 * @ns: CLOCK_MONOTONIC nanoseconds; relative 0 disarms
 *
 * One timer per lease; arming replaces what was armed.  It fires on the core
 * of the caller; the holder is the one to arm it.
 *
 * Return: 0, -EINVAL, -EOPNOTSUPP, -ENXIO.
 */
struct nom_core_timer {
	__u32 size;
	__u32 event;
	__u32 flags;
	__u32 reserved;
	__aligned_u64 ns;
};

#define NOM_TIMER_ABS	(1U << 0)
#define NOM_CORE_TIMER	_IO(NOM_IOC_TYPE, 0x14)

/**
 * struct nom_core_subscribe - ioctl(core, NOM_CORE_SUBSCRIBE)
 * @size: sizeof(struct nom_core_subscribe)
 * @event: posted when a subscribed class of the board changes
 * @classes: bit per enum nom_board_class; 0 unsubscribes
 *
 * Return: 0, -EINVAL, -EOPNOTSUPP (unknown class), -ENXIO.
 */
struct nom_core_subscribe {
	__u32 size;
	__u32 event;
	__aligned_u64 classes;
};

#define NOM_CORE_SUBSCRIBE _IO(NOM_IOC_TYPE, 0x15)

/**
 * struct nom_core_stats - ioctl(core, NOM_CORE_STATS)
 * @size: sizeof(struct nom_core_stats)
 * @flags: must be 0
 * @out_events: event upcalls delivered
 * @out_traps: trap and fault upcalls delivered
 * @out_restarts: deliveries that restarted the return section
 * @out_masked: deliveries put off because vif was 0
 * @out_posts: events posted
 * @out_kicks: posts that had to reach into the thread (TIF flag, IPI)
 * @out_failed: upcalls that could not be delivered
 */
struct nom_core_stats {
	__u32 size;
	__u32 flags;
	__aligned_u64 out_events;
	__aligned_u64 out_traps;
	__aligned_u64 out_restarts;
	__aligned_u64 out_masked;
	__aligned_u64 out_posts;
	__aligned_u64 out_kicks;
	__aligned_u64 out_failed;
};

#define NOM_CORE_STATS	_IO(NOM_IOC_TYPE, 0x16)

#define NOM_CORE_MASK	_IO(NOM_IOC_TYPE, 0x17)
#define NOM_CORE_UNMASK	_IO(NOM_IOC_TYPE, 0x18)

/**
 * struct nom_core_binding - ioctl(core, NOM_CORE_BINDING): look at a binding
 * @size: sizeof(struct nom_core_binding)
 * @index: which, from 0 on in the order of binding
 * @out_event: what it posts
 * @out_irq: Linux interrupt number of the device's vector, 0 for none
 * @out_flags: NOM_BINDING_*
 * @flags: must be 0
 * @out_signals: how often the eventfd was signalled: interrupts, or write(2)
 * @out_events: sum of what it posted
 * @out_pauses: how often it was held back as part of a storm
 *
 * Return: 0, -ENOENT (past the last), -ENXIO, -EOPNOTSUPP.
 */
struct nom_core_binding {
	__u32 size;
	__u32 index;
	__u32 out_event;
	__s32 out_irq;
	__u32 out_flags;
	__u32 flags;
	__aligned_u64 out_signals;
	__aligned_u64 out_events;
	__aligned_u64 out_pauses;
};

#define NOM_BINDING_MASKED	(1U << 0)	/* by NOM_CORE_MASK */
#define NOM_BINDING_PAUSED	(1U << 1)	/* held back just now, see storms */
#define NOM_BINDING_AFFINE	(1U << 2)	/* its interrupt was sent to the core */
#define NOM_CORE_BINDING _IO(NOM_IOC_TYPE, 0x19)

/**
 * struct nom_core_wait - ioctl(core, NOM_CORE_WAIT): sleep until an event is posted
 * @size: sizeof(struct nom_core_wait)
 * @flags: must be 0
 * @ns: longest sleep; beyond the clock's range: no bound
 *
 * The holder's.  Called with events masked: they are unmasked for the length of the
 * sleep, and masked again on return.  None is delivered by this call; what ended the sleep is in
 * nom_shared.pending.  Does not sleep if something is pending already.
 *
 * Return: 0, -EINTR (a signal), -ENXIO (the caller is not the holder), -EOPNOTSUPP.
 */
struct nom_core_wait {
	__u32 size;
	__u32 flags;
	__aligned_u64 ns;
};

#define NOM_CORE_WAIT	_IO(NOM_IOC_TYPE, 0x1a)

/* ------------------------------------------------------- a grant's fd --- */

/**
 * struct nom_map_entry - one piece of NOM_MEM_MAP / NOM_MEM_UNMAP
 * @va: address in a window of this grant, aligned to the page size used
 * @offset: byte offset in the grant, likewise (ignored by unmap)
 * @bytes: length, likewise, > 0
 * @flags: NOM_MAP_*
 * @reserved: must be 0
 */
struct nom_map_entry {
	__aligned_u64 va;
	__aligned_u64 offset;
	__aligned_u64 bytes;
	__u32 flags;
	__u32 reserved;
};

#define NOM_MAP_READ	(1U << 0)	/* required by map */
#define NOM_MAP_WRITE	(1U << 1)
#define NOM_MAP_EXEC	(1U << 2)
#define NOM_MAP_HUGE	(1U << 3)	/* 2 MiB entries; all three aligned to 2 MiB */
#define NOM_MAP_TRACK	(1U << 4)	/* map: neither accessed nor dirty at first */
#define NOM_MAP_FILL	(1U << 5)	/* promote: map the pages that are missing */

/**
 * struct nom_mem_map - ioctl(grant, NOM_MEM_MAP / NOM_MEM_UNMAP)
 * @size: sizeof(struct nom_mem_map)
 * @nr: entries, 1 .. NOM_MAP_MAX
 * @entries: user pointer to struct nom_map_entry[nr]
 * @out_done: entries carried out; the first @out_done are in force also when
 *	an error is returned for the next one
 * @flags: must be 0
 *
 * An entry is carried out whole or not at all, none if @out_done cannot be
 * written.  Unmapping what is not mapped is no error; unmapping a part of a
 * 2 MiB entry is -EINVAL.
 *
 * Without NOM_MAP_TRACK a new entry counts as accessed, and as dirty if it is
 * writable: NOM_MEM_QUERY says so until it has cleared the bits.
 *
 * Return: 0, -EINVAL, -EFAULT (va not in a window of this grant), -EEXIST (a
 * page is mapped there), -EPERM (more access than the window has), -ENXIO (the
 * grant has lost this memory), -ENOMEM, -EOPNOTSUPP (unknown flag).
 */
struct nom_mem_map {
	__u32 size;
	__u32 nr;
	__aligned_u64 entries;
	__u32 out_done;
	__u32 flags;
};

#define NOM_MAP_MAX	512
#define NOM_MEM_MAP	_IO(NOM_IOC_TYPE, 0x20)
#define NOM_MEM_UNMAP	_IO(NOM_IOC_TYPE, 0x21)

/**
 * struct nom_mem_phys - ioctl(grant, NOM_MEM_PHYS): trusted mode, thesis 3.5
 * @size: sizeof(struct nom_mem_phys)
 * @flags: NOM_PHYS_MMIO
 * @offset: multiple of 2 MiB
 * @out_phys: guest-physical address of the 2 MiB at @offset
 * @bdf: the PCI function that will do DMA there: domain << 16 | bus << 8 |
 *	device << 3 | function; it must be bound to vfio-pci.  With NOM_PHYS_MMIO:
 *	the descriptor of NOM_MMIO_OPEN
 * @reserved: must be 0
 *
 * A grant whose addresses were told for a device is quarantined when it ends:
 * its memory goes to nobody until that device can no longer master the bus; with
 * NOM_PHYS_MMIO, until it has been reset, which closing it does.
 *
 * Return: 0, -EPERM (needs CAP_SYS_RAWIO), -ENODEV, -EBUSY (device not bound
 * to vfio-pci), -EBADF (no such descriptor), -EINVAL, -EOPNOTSUPP (unknown flag).
 */
struct nom_mem_phys {
	__u32 size;
	__u32 flags;
	__aligned_u64 offset;
	__aligned_u64 out_phys;
	__u32 bdf;
	__u32 reserved;
};

#define NOM_PHYS_MMIO		1U	/* struct nom_mem_phys.flags */
#define NOM_MEM_PHYS	_IO(NOM_IOC_TYPE, 0x22)

/*
 * ioctl(grant, NOM_MEM_PROTECT), argument struct nom_mem_map: give what is mapped
 * in [va, va + bytes) the protection of flags (NOM_MAP_READ, _WRITE, _EXEC); offset
 * is ignored.  Pages never vanish meanwhile, accessed and dirty bits stay, and what
 * is not mapped stays so.  In force for all processors when the call returns.
 *
 * Return: as NOM_MEM_MAP; -EINVAL for a part of a 2 MiB entry.
 */
#define NOM_MEM_PROTECT	_IO(NOM_IOC_TYPE, 0x23)

/**
 * struct nom_mem_query - ioctl(grant, NOM_MEM_QUERY): what was touched
 * @size: sizeof(struct nom_mem_query)
 * @flags: NOM_QUERY_*
 * @va: address in a window of this grant, multiple of 2 MiB
 * @bytes: length, multiple of 4 KiB, 1 .. NOM_QUERY_MAX
 * @mapped: user pointer to a bit per 4 KiB page in words of 64: is it mapped?
 * @young: likewise: was it accessed?
 * @dirty: likewise: was it written to?  Each of the three may be 0.
 * @out_mapped: bits set in @mapped
 * @out_young: bits set in @young
 * @out_dirty: bits set in @dirty
 *
 * "Was" means: since it was mapped with NOM_MAP_TRACK, or the bit was cleared.  A
 * 2 MiB entry has one answer for its 512 pages.  Who clears dirty bits and then
 * reads the pages misses no write: what comes after the call sets the bit again.
 *
 * Return: 0, -EINVAL (also: clearing a part of a 2 MiB entry), -EFAULT (not in one
 * window of this grant; a bad pointer, nothing was cleared), -ENOMEM, -EOPNOTSUPP.
 */
struct nom_mem_query {
	__u32 size;
	__u32 flags;
	__aligned_u64 va;
	__aligned_u64 bytes;
	__aligned_u64 mapped;
	__aligned_u64 young;
	__aligned_u64 dirty;
	__aligned_u64 out_mapped;
	__aligned_u64 out_young;
	__aligned_u64 out_dirty;
};

#define NOM_QUERY_CLEAR_YOUNG	(1U << 0)
#define NOM_QUERY_CLEAR_DIRTY	(1U << 1)
#define NOM_QUERY_MAX		(1ULL << 30)
#define NOM_MEM_QUERY	_IO(NOM_IOC_TYPE, 0x24)

/*
 * ioctl(grant, NOM_MEM_PROMOTE), argument struct nom_mem_map: make one 2 MiB entry
 * of each 512 small ones in [va, va + bytes), both multiples of 2 MiB.  The small
 * ones must show one 2 MiB of the grant in its order, with one protection.
 * NOM_MAP_FILL: it is enough that NOM_FOLD_MIN are there; the others are mapped,
 * too.  offset is ignored.  A 2 MiB entry that is there already is no error.
 *
 * ioctl(grant, NOM_MEM_DEMOTE): the reverse.  Then a part can be unmapped, protected
 * or asked about.
 *
 * Pages never vanish meanwhile; accessed and dirty bits are kept, ored by PROMOTE.
 *
 * Return: as NOM_MEM_MAP; -ENOENT (too few entries there), -EINVAL (they do not make
 * one), -EOPNOTSUPP (no 2 MiB entries here).
 */
#define NOM_FOLD_MIN	64
#define NOM_MEM_PROMOTE	_IO(NOM_IOC_TYPE, 0x25)
#define NOM_MEM_DEMOTE	_IO(NOM_IOC_TYPE, 0x26)

/*
 * ioctl(grant, NOM_MEM_RETURN), argument struct nom_mem_map: give [offset, offset +
 * bytes), both multiples of 2 MiB, back for good; va and flags are 0.  It goes out of
 * all windows and views; its offsets stay holes, which NOM_MEM_MAP and NOM_MEM_PHYS
 * refuse with -ENXIO and views with SIGBUS.
 *
 * Return: as NOM_MEM_MAP; -ENXIO (not there any more).
 */
#define NOM_MEM_RETURN	_IO(NOM_IOC_TYPE, 0x27)

/**
 * struct nom_mem_info - ioctl(grant, NOM_MEM_INFO): what it is and has
 * @size: sizeof(struct nom_mem_info)
 * @flags: must be 0
 * @out_id: as NOM_MEM_GRANT told
 * @out_offsets: bytes it had at first; offsets go as far
 * @out_bytes: bytes it has
 * @out_mapped: bytes mapped in windows
 * @out_wanted: bytes asked back and not yet returned, see struct nom_board_reclaim
 * @out_deadline_ns: when they are taken, CLOCK_MONOTONIC
 * @held: user pointer to a bit per 2 MiB of @out_offsets: is it there?  Or 0
 * @nr_held: words of 64 bits there is room for at @held; the others are left out
 */
struct nom_mem_info {
	__u32 size;
	__u32 flags;
	__aligned_u64 out_id;
	__aligned_u64 out_offsets;
	__aligned_u64 out_bytes;
	__aligned_u64 out_mapped;
	__aligned_u64 out_wanted;
	__aligned_u64 out_deadline_ns;
	__aligned_u64 held;
	__aligned_u64 nr_held;
};

#define NOM_MEM_INFO	_IO(NOM_IOC_TYPE, 0x28)

/* ------------------------------------------------------ bulletin board --- */

/*
 * mmap(2) of /dev/nom, PROT_READ, MAP_SHARED, offset 0, out_board_bytes.
 * Thesis 3.5: what there is, who holds it, what it costs; no system call to
 * read.  The kernel is the only writer.  Snapshot: read seq until even, copy,
 * read barrier, seq unchanged; else again (a reader gives up after a bound).
 *
 * Sections and records are found by offset and stride, so both may grow.
 */
#define NOM_BOARD_MAGIC		0x424d4f4e	/* "NOMB" */
#define NOM_BOARD_VERSION	1

enum nom_board_class {
	NOM_BOARD_CORES,
	NOM_BOARD_MEMORY,
	NOM_BOARD_DEVICES,
	NOM_BOARD_PRICES,
	NOM_BOARD_RECLAIM,
	NOM_BOARD_NR_CLASSES,
	NOM_BOARD_MAX_CLASSES = 8,
};

struct nom_board_section {
	__u32 offset;		/* bytes from the board's start */
	__u32 stride;		/* bytes from record to record */
	__u32 nr;		/* records in use */
	__u32 max;		/* records there is room for */
	__aligned_u64 changes;	/* grows with every change of this class */
};

struct nom_board {
	__u32 magic;
	__u32 version;
	__u32 bytes;
	__u32 seq;		/* odd: an update is under way */
	__aligned_u64 updated_ns;	/* CLOCK_MONOTONIC of the last change */
	__u32 nr_classes;
	__u32 reserved;
	struct nom_board_section section[NOM_BOARD_MAX_CLASSES];
};

#define NOM_CORE_FREE		0
#define NOM_CORE_LEASED		1	/* claimed, nobody attached */
#define NOM_CORE_RUNNING	2	/* a thread is attached */
#define NOM_CORE_OFFLINE	3

struct nom_board_core {
	__u32 cpu;
	__u32 state;		/* NOM_CORE_* */
	__aligned_u64 handle;	/* 0 when free */
	__u32 pid;		/* holder's process, initial pid namespace; 0 when free */
	__u32 uid;
};

struct nom_board_memory {
	__aligned_u64 total_bytes;
	__aligned_u64 free_bytes;
	__aligned_u64 granted_bytes;
	__aligned_u64 quarantined_bytes;
};

#define NOM_DEVICE_PRESENT	0
#define NOM_DEVICE_LEAVING	1	/* close it: its removal waits for the descriptor */

/* PCI functions bound to vfio-pci; bdf as in struct nom_mem_phys. */
struct nom_board_device {
	__u32 bdf;
	__u16 vendor;
	__u16 device;
	__u32 class_code;	/* 24 bits */
	__u32 state;		/* NOM_DEVICE_* */
};

#define NOM_PRICE_NAME_MAX	24

/*
 * Records move when one goes: find a price by its name, a device by its bdf.
 *
 * Money is in micro-credits (ucr, 1/1,000,000 of the unit of account, "$").
 * name says what is priced and per what: "bandwidth" per Gbit sent, "core" per
 * core-hour, "memory" per GiB-hour, or anything a provider invents.
 */
struct nom_board_price {
	char name[NOM_PRICE_NAME_MAX];		/* NUL-terminated, [a-z0-9_.-] */
	char unit[NOM_PRICE_NAME_MAX];		/* "Gbit", "core-hour", ... */
	__aligned_s64 price_ucr;		/* per unit; >= 0 */
	__aligned_u64 since_ns;			/* CLOCK_MONOTONIC */
	__aligned_u64 changes;
};

#define NOM_PRICE_MAX_UCR	1000000000000000LL	/* 10^9 $ per unit */

/*
 * A reclaim notice: the grant's owner is asked to return so many bytes
 * (NOM_MEM_RETURN).  What is missing at the deadline is taken: from the end of the
 * grant, pinned memory last.  bytes falls as memory is returned; the record goes
 * when it is 0 or the grant ends.
 */
struct nom_board_reclaim {
	__aligned_u64 grant;	/* out_id of NOM_MEM_GRANT */
	__aligned_u64 bytes;	/* still wanted */
	__aligned_u64 deadline_ns;	/* CLOCK_MONOTONIC */
	__u32 pid;		/* of who was granted it, initial pid namespace */
	__u32 uid;
};

#define NOM_RECLAIM_MAX_MS	3600000U	/* longest deadline: an hour */

/* What became of it, in NOM_GENL_A_STATE of RECLAIM_NTF. */
enum nom_reclaim_state {
	NOM_RECLAIM_ASKED,		/* it stands, with so many bytes wanted */
	NOM_RECLAIM_MET,		/* all was returned in time */
	NOM_RECLAIM_TAKEN,		/* some had to be taken */
	NOM_RECLAIM_ENDED,		/* the grant ended */
};

/* ----------------------------------------------------- generic netlink --- */

#define NOM_GENL_NAME		"nom"
#define NOM_GENL_VERSION	1
#define NOM_GENL_MCGRP_CHANGES	"changes"

/*
 * GET_* answer dumps; *_PRICE need CAP_NET_ADMIN, RECLAIM needs CAP_SYS_ADMIN;
 * *_NTF go to "changes".
 */
enum nom_genl_cmd {
	NOM_GENL_CMD_UNSPEC,
	NOM_GENL_CMD_GET_INFO,		/* do: one message, INFO_* and memory */
	NOM_GENL_CMD_GET_CORES,		/* dump: a message per reserved core */
	NOM_GENL_CMD_GET_GRANTS,	/* dump: a message per grant; one with MEM_QUARANTINED
					 * instead of MEM_GRANTED for what waits after one */
	NOM_GENL_CMD_GET_DEVICES,	/* dump */
	NOM_GENL_CMD_GET_PRICES,	/* dump */
	NOM_GENL_CMD_SET_PRICE,		/* do: PRICE_NAME, PRICE_UNIT (first time), PRICE_UCR */
	NOM_GENL_CMD_CORE_NTF,
	NOM_GENL_CMD_MEM_NTF,
	NOM_GENL_CMD_DEVICE_NTF,
	NOM_GENL_CMD_PRICE_NTF,
	NOM_GENL_CMD_RECLAIM,		/* do: HANDLE (a grant's), MEM_WANTED, DEADLINE_MS */
	NOM_GENL_CMD_RECLAIM_NTF,	/* HANDLE, MEM_WANTED, DEADLINE_NS, PID, UID, STATE */
	NOM_GENL_CMD_GET_NODES,		/* dump: a message per NUMA node with reserved memory */
	NOM_GENL_CMD_DEL_PRICE,		/* do: PRICE_NAME */
	NOM_GENL_CMD_PRICE_DEL_NTF,	/* PRICE_NAME and the rest as it last stood */
	NOM_GENL_CMD_GET_BINDINGS,	/* dump: a message per binding of each lease */
	NOM_GENL_CMD_GET_USERS,		/* dump: per user, what they have and may have */
};

enum nom_genl_attr {
	NOM_GENL_A_UNSPEC,
	NOM_GENL_A_PAD,
	NOM_GENL_A_VERSION,		/* u32 */
	NOM_GENL_A_FEATURES,		/* u64 */
	NOM_GENL_A_NR_CORES,		/* u32 */
	NOM_GENL_A_CPU,			/* u32 */
	NOM_GENL_A_STATE,		/* u32 NOM_CORE_* */
	NOM_GENL_A_HANDLE,		/* u64 */
	NOM_GENL_A_PID,			/* u32 */
	NOM_GENL_A_UID,			/* u32 */
	NOM_GENL_A_COMM,		/* string */
	NOM_GENL_A_MEM_TOTAL,		/* u64 bytes */
	NOM_GENL_A_MEM_FREE,		/* u64 bytes */
	NOM_GENL_A_MEM_GRANTED,		/* u64 bytes; per grant in GET_GRANTS */
	NOM_GENL_A_MEM_QUARANTINED,	/* u64 bytes */
	NOM_GENL_A_MEM_MAPPED,		/* u64 bytes mapped of a grant */
	NOM_GENL_A_BDF,			/* u32 */
	NOM_GENL_A_VENDOR,		/* u16 */
	NOM_GENL_A_DEVICE,		/* u16 */
	NOM_GENL_A_CLASS,		/* u32 */
	NOM_GENL_A_PRICE_NAME,		/* string */
	NOM_GENL_A_PRICE_UNIT,		/* string */
	NOM_GENL_A_PRICE_UCR,		/* s64 */
	NOM_GENL_A_PRICE_SINCE_NS,	/* u64 CLOCK_MONOTONIC */
	NOM_GENL_A_EVENTS,		/* u64 */
	NOM_GENL_A_TRAPS,		/* u64 */
	NOM_GENL_A_POSTS,		/* u64 */
	NOM_GENL_A_RESTARTS,		/* u64 */
	NOM_GENL_A_KICKS,		/* u64 */
	NOM_GENL_A_FAILED,		/* u64 */
	NOM_GENL_A_MEM_WANTED,		/* u64 bytes asked back of a grant */
	NOM_GENL_A_DEADLINE_MS,		/* u32 from now */
	NOM_GENL_A_DEADLINE_NS,		/* u64 CLOCK_MONOTONIC */
	NOM_GENL_A_NODE,		/* u32 NUMA node */
	NOM_GENL_A_EVENT,		/* u32: what a binding posts */
	NOM_GENL_A_IRQ,			/* u32: its interrupt's number, 0: none */
	NOM_GENL_A_FLAGS,		/* u32 NOM_BINDING_* */
	NOM_GENL_A_SIGNALS,		/* u64 */
	NOM_GENL_A_PAUSES,		/* u64 */
	NOM_GENL_A_EXEMPT,		/* flag: the limits do not hold for this user */
	NOM_GENL_A_CORES_MAX,		/* u64, as all of a user's limits: NOM_UNLIMITED */
	NOM_GENL_A_MEM_MAX,		/* u64 bytes */
	NOM_GENL_A_NR_BINDINGS,		/* u32 */
	NOM_GENL_A_BINDINGS_MAX,	/* u64 */
	NOM_GENL_A_NOTIFY_REFUSED,	/* u64 */
	NOM_GENL_A_NOTIFY_MAX,		/* u64 a second */
	__NOM_GENL_A_MAX,
};
#define NOM_GENL_A_MAX (__NOM_GENL_A_MAX - 1)

#endif /* _UAPI_LINUX_NOM_H */
