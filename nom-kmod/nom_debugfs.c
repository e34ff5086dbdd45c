// SPDX-License-Identifier: GPL-2.0
/*
 * nom: /sys/kernel/debug/nom - tables for people, root's, and no ABI.
 *
 * Programs take netlink, the board or sysfs.  Here is what these leave out because
 * it concerns whoever runs the machine: what each piece of quarantined memory
 * waits for, and the board's own book-keeping.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/debugfs.h>
#include <linux/pci.h>
#include <linux/seq_file.h>
#include "nom.h"

static struct dentry *nom_debugfs;

static const char *const nom_core_states[] = {
	[NOM_CORE_FREE] = "free",
	[NOM_CORE_LEASED] = "leased",
	[NOM_CORE_RUNNING] = "running",
	[NOM_CORE_OFFLINE] = "offline",
};

static int cores_show(struct seq_file *m, void *unused)
{
	struct nom_core_stats s;
	struct nom_board_core c;
	struct nom_owner owner;
	unsigned int i;

	seq_puts(m, "cpu state handle pid uid command events traps masked posts kicks restarts failed\n");
	for (i = 0; !nom_board_get_core(i, &c); i++) {
		seq_printf(m, "%u %s", c.cpu, nom_core_states[c.state]);
		if (!nom_lease_describe(i, &owner, &s))
			seq_printf(m, " %#llx %d %u %s %llu %llu %llu %llu %llu %llu %llu",
				   c.handle, owner.pid, c.uid, owner.comm, s.out_events,
				   s.out_traps, s.out_masked, s.out_posts, s.out_kicks,
				   s.out_restarts, s.out_failed);
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(cores);

static void nom_show_grant(struct seq_file *m, u64 id, const char *state, u64 bytes,
			   const struct nom_owner *owner)
{
	seq_printf(m, "%llu %s %llu %d %u %s", id, state, bytes, owner->pid,
		   from_kuid_munged(&init_user_ns, owner->uid), owner->comm);
}

static int grants_show(struct seq_file *m, void *unused)
{
	struct nom_grant_info grant = { 0 };
	struct nom_owner owner;
	struct nom_held held;
	u64 id, bytes;

	seq_puts(m, "id state bytes pid uid command, and what is mapped or waited for\n");
	while (!nom_extent_describe(grant.id, &grant)) {
		nom_show_grant(m, grant.id, "granted", grant.bytes, &grant.owner);
		seq_printf(m, " mapped=%llu", grant.mapped_bytes);
		if (grant.wanted_bytes)
			seq_printf(m, " wanted=%llu", grant.wanted_bytes);
		seq_putc(m, '\n');
	}
	for (id = 0; !nom_quarantine_describe(id, &id, &bytes, &owner, &held);) {
		nom_show_grant(m, id, "quarantined", bytes, &owner);
		if (held.told && held.mmio)
			seq_puts(m, " device=mmio");
		else if (held.told)
			seq_printf(m, " device=%04x:%02x:%02x.%x", held.bdf >> 16,
				   held.bdf >> 8 & 0xff, held.bdf >> 3 & 0x1f, held.bdf & 7);
		if (held.pinned)
			seq_puts(m, " pinned");
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(grants);

static int devices_show(struct seq_file *m, void *unused)
{
	struct nom_board_device d;
	struct pci_dev *pdev;
	unsigned int i;
	int err;

	seq_puts(m, "address vendor:device class, and what it does\n");
	for (i = 0; !nom_board_get_device(i, &d); i++) {
		seq_printf(m, "%04x:%02x:%02x.%x %04x:%04x %06x%s", d.bdf >> 16, d.bdf >> 8 & 0xff,
			   d.bdf >> 3 & 0x1f, d.bdf & 7, d.vendor, d.device, d.class_code,
			   d.state == NOM_DEVICE_LEAVING ? " leaving" : "");
		pdev = nom_device_get(d.bdf, &err);
		if (pdev && nom_device_masters_bus(pdev))
			seq_puts(m, " bus-master");
		pci_dev_put(pdev);
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(devices);

static int bindings_show(struct seq_file *m, void *unused)
{
	struct nom_core_binding b;
	struct nom_board_core c;
	unsigned int i, nth;

	seq_puts(m, "cpu event irq signals events pauses, and its state\n");
	for (i = 0; !nom_board_get_core(i, &c); i++) {
		for (nth = 0; !nom_lease_describe_binding(i, nth, &b); nth++)
			seq_printf(m, "%u %u %d %llu %llu %llu%s%s%s\n", c.cpu, b.out_event, b.out_irq,
				   b.out_signals, b.out_events, b.out_pauses,
				   b.out_flags & NOM_BINDING_MASKED ? " masked" : "",
				   b.out_flags & NOM_BINDING_PAUSED ? " paused" : "",
				   b.out_flags & NOM_BINDING_AFFINE ? " affine" : "");
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(bindings);

/* "3/-" of what has no limit */
static void nom_show_limit(struct seq_file *m, u64 used, u64 max)
{
	if (max == NOM_UNLIMITED)
		seq_printf(m, " %llu/-", used);
	else
		seq_printf(m, " %llu/%llu", used, max);
}

static int users_show(struct seq_file *m, void *unused)
{
	struct nom_limits l;
	unsigned int i;

	seq_puts(m, "uid cores bytes bindings notifications: used/limit; of these refused/a second\n");
	for (i = 0; !nom_limit_describe_nth(i, &l); i++) {
		seq_printf(m, "%u", l.out_uid);
		nom_show_limit(m, l.out_cores, l.out_cores_max);
		nom_show_limit(m, l.out_mem_bytes, l.out_mem_bytes_max);
		nom_show_limit(m, l.out_bindings, l.out_bindings_max);
		nom_show_limit(m, l.out_notify_refused, l.out_notify_per_s_max);
		seq_puts(m, l.out_exempt ? " exempt\n" : "\n");
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(users);

void nom_debugfs_init(void)
{
	/* without debugfs these do nothing, and that is all right */
	nom_debugfs = debugfs_create_dir("nom", NULL);
	debugfs_create_file("cores", 0400, nom_debugfs, NULL, &cores_fops);
	debugfs_create_file("grants", 0400, nom_debugfs, NULL, &grants_fops);
	debugfs_create_file("bindings", 0400, nom_debugfs, NULL, &bindings_fops);
	debugfs_create_file("users", 0400, nom_debugfs, NULL, &users_fops);
	debugfs_create_file("devices", 0400, nom_debugfs, NULL, &devices_fops);
}

void nom_debugfs_exit(void)
{
	debugfs_remove_recursive(nom_debugfs);
}
