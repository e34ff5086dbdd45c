// SPDX-License-Identifier: GPL-2.0
/*
 * nom: /sys/class/misc/nom - the same truth as the board's, one value a file.
 *
 *	version, features, mem_{total,free,granted,quarantined}_bytes
 *	coreN/state			free, leased, running or offline
 *	coreN/{handle,pid,uid,comm}	of the lease; -ENODATA when there is none
 *	coreN/{events,traps,...}	its counters; likewise
 *
 * Readable by everybody, as the netlink family is.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/device.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include "nom.h"

/* ------------------------------------------------------------ the whole --- */

static ssize_t version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", NOM_ABI_VERSION);
}
static DEVICE_ATTR_RO(version);

static ssize_t features_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%#llx\n", nom_features());
}
static DEVICE_ATTR_RO(features);

#define NOM_MEM_ATTR(what)							\
static ssize_t mem_##what##_show(struct device *dev, struct device_attribute *attr, \
				 char *buf)					\
{										\
	struct nom_board_memory memory;						\
										\
	nom_board_get_memory(&memory);						\
	return sysfs_emit(buf, "%llu\n", memory.what);				\
}										\
static DEVICE_ATTR_RO(mem_##what)

NOM_MEM_ATTR(total_bytes);
NOM_MEM_ATTR(free_bytes);
NOM_MEM_ATTR(granted_bytes);
NOM_MEM_ATTR(quarantined_bytes);

static struct attribute *nom_attrs[] = {
	&dev_attr_version.attr,
	&dev_attr_features.attr,
	&dev_attr_mem_total_bytes.attr,
	&dev_attr_mem_free_bytes.attr,
	&dev_attr_mem_granted_bytes.attr,
	&dev_attr_mem_quarantined_bytes.attr,
	NULL,
};

static const struct attribute_group nom_group = {
	.attrs = nom_attrs,
};

/* --------------------------------------------------------------- a core --- */

/* Files of a core; those after comm are struct nom_core_stats' counters. */
static const struct {
	const char *name;
	size_t counter;		/* offset */
} nom_core_files[] = {
	{ "state" }, { "handle" }, { "pid" }, { "uid" }, { "comm" },
	{ "events", offsetof(struct nom_core_stats, out_events) },
	{ "traps", offsetof(struct nom_core_stats, out_traps) },
	{ "restarts", offsetof(struct nom_core_stats, out_restarts) },
	{ "masked", offsetof(struct nom_core_stats, out_masked) },
	{ "posts", offsetof(struct nom_core_stats, out_posts) },
	{ "kicks", offsetof(struct nom_core_stats, out_kicks) },
	{ "failed", offsetof(struct nom_core_stats, out_failed) },
};

enum { NOM_FILE_STATE, NOM_FILE_HANDLE, NOM_FILE_PID, NOM_FILE_UID, NOM_FILE_COMM };

#define NOM_NR_FILES	ARRAY_SIZE(nom_core_files)

struct nom_core_attr {
	struct device_attribute attr;
	unsigned int index;		/* of the core's record */
	unsigned int file;
};

struct nom_core_dir {
	struct attribute_group group;
	char name[16];
	struct nom_core_attr attrs[NOM_NR_FILES];
	struct attribute *list[NOM_NR_FILES + 1];
};

static struct nom_core_dir *nom_core_dirs;
static const struct attribute_group **nom_groups;

static ssize_t nom_core_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	static const char *const states[] = {
		[NOM_CORE_FREE] = "free",
		[NOM_CORE_LEASED] = "leased",
		[NOM_CORE_RUNNING] = "running",
		[NOM_CORE_OFFLINE] = "offline",
	};
	const struct nom_core_attr *a = container_of(attr, struct nom_core_attr, attr);
	struct nom_core_stats stats;
	struct nom_board_core core;
	struct nom_owner owner;
	int ret;

	ret = nom_board_get_core(a->index, &core);
	if (ret)
		return ret;
	if (a->file == NOM_FILE_STATE)
		return sysfs_emit(buf, "%s\n", states[core.state]);
	if (!core.handle || nom_lease_describe(a->index, &owner, &stats))
		return -ENODATA;

	switch (a->file) {
	case NOM_FILE_HANDLE:
		return sysfs_emit(buf, "%#llx\n", core.handle);
	case NOM_FILE_PID:
		return sysfs_emit(buf, "%d\n", owner.pid);
	case NOM_FILE_UID:
		return sysfs_emit(buf, "%u\n", from_kuid_munged(&init_user_ns, owner.uid));
	case NOM_FILE_COMM:
		return sysfs_emit(buf, "%s\n", owner.comm);
	default:
		return sysfs_emit(buf, "%llu\n",
				  *(u64 *)((void *)&stats + nom_core_files[a->file].counter));
	}
}

static void nom_core_dir_init(struct nom_core_dir *dir, unsigned int index)
{
	struct nom_board_core core;
	struct nom_core_attr *a;
	unsigned int i;

	nom_board_get_core(index, &core);
	snprintf(dir->name, sizeof(dir->name), "core%u", core.cpu);
	for (i = 0; i < NOM_NR_FILES; i++) {
		a = &dir->attrs[i];
		sysfs_attr_init(&a->attr.attr);
		a->attr.attr.name = nom_core_files[i].name;
		a->attr.attr.mode = 0444;
		a->attr.show = nom_core_show;
		a->index = index;
		a->file = i;
		dir->list[i] = &a->attr.attr;
	}
	dir->group.name = dir->name;
	dir->group.attrs = dir->list;
}

/**
 * nom_sysfs_init - make the attributes of the device
 * @groups_out: for struct miscdevice; valid until nom_sysfs_exit()
 *
 * Return: 0 or -ENOMEM.
 */
int __init nom_sysfs_init(const struct attribute_group ***groups_out)
{
	unsigned int i, nr = nom_lease_nr_cores();

	nom_core_dirs = kcalloc(nr, sizeof(*nom_core_dirs), GFP_KERNEL);
	nom_groups = kcalloc(nr + 2, sizeof(*nom_groups), GFP_KERNEL);
	if (!nom_core_dirs || !nom_groups) {
		nom_sysfs_exit();
		return -ENOMEM;
	}
	nom_groups[0] = &nom_group;
	for (i = 0; i < nr; i++) {
		nom_core_dir_init(&nom_core_dirs[i], i);
		nom_groups[1 + i] = &nom_core_dirs[i].group;
	}
	*groups_out = nom_groups;
	return 0;
}

void nom_sysfs_exit(void)
{
	kfree(nom_groups);
	kfree(nom_core_dirs);
}
