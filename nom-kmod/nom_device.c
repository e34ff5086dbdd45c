// SPDX-License-Identifier: GPL-2.0
/*
 * nom: PCI functions that are in user space's hands, i.e. bound to vfio-pci.
 *
 * VFIO is not touched; the bus's notifier says who comes and goes.  The list
 * feeds the bulletin board and answers two questions of NOM_MEM_PHYS and of the
 * quarantine: is this function one, and can it reach memory by itself?
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/notifier.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "nom.h"

#define NOM_VFIO_DRIVER		"vfio-pci"

struct nom_device {
	struct list_head link;
	struct pci_dev *pdev;		/* with a reference */
	u32 bdf;
	bool leaving;			/* vfio-pci is being told to let go */
};

/* Protects the list.  Inside device_lock() and nom_pool_lock. */
static DEFINE_MUTEX(nom_device_lock);
static LIST_HEAD(nom_devices);

/**
 * nom_device_bdf - a function's address as the ABI writes it
 * @pdev: held by the caller
 */
u32 nom_device_bdf(struct pci_dev *pdev)
{
	return (u32)pci_domain_nr(pdev->bus) << 16 | pci_dev_id(pdev);
}

static struct nom_device *nom_device_find(struct pci_dev *pdev)
{
	struct nom_device *d;

	lockdep_assert_held(&nom_device_lock);
	list_for_each_entry(d, &nom_devices, link)
		if (d->pdev == pdev)
			return d;
	return NULL;
}

/* The device's lock is held: its driver cannot change. */
static void nom_device_bound(struct pci_dev *pdev)
{
	struct nom_board_device record = {
		.bdf = nom_device_bdf(pdev),
		.vendor = pdev->vendor,
		.device = pdev->device,
		.class_code = pdev->class,
	};
	struct nom_device *d;

	if (!pdev->dev.driver || strcmp(pdev->dev.driver->name, NOM_VFIO_DRIVER))
		return;
	mutex_lock(&nom_device_lock);
	if (nom_device_find(pdev))
		goto out;
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d) {
		pci_warn(pdev, "nom: no memory to note the device\n");
		goto out;
	}
	d->pdev = pci_dev_get(pdev);
	d->bdf = record.bdf;
	list_add_tail(&d->link, &nom_devices);
	nom_board_device_add(&record);
out:
	mutex_unlock(&nom_device_lock);
}

/*
 * Unbind, remove and hot-unplug all begin here.  VFIO then waits, without end,
 * for its user to close the function: say on the board that this is due.
 */
static void nom_device_leaving(struct pci_dev *pdev)
{
	struct nom_device *d;

	mutex_lock(&nom_device_lock);
	d = nom_device_find(pdev);
	if (d) {
		d->leaving = true;
		nom_board_device_leaving(d->bdf);
	}
	mutex_unlock(&nom_device_lock);
}

static void nom_device_unbound(struct pci_dev *pdev)
{
	struct nom_device *d;

	mutex_lock(&nom_device_lock);
	d = nom_device_find(pdev);
	if (d) {
		list_del(&d->link);
		nom_board_device_del(d->bdf);
	}
	mutex_unlock(&nom_device_lock);
	if (!d)
		return;
	nom_quarantine_device_gone(&pdev->dev);
	pci_dev_put(d->pdev);
	kfree(d);
}

/* Called with the device's lock held. */
static int nom_device_notify(struct notifier_block *nb, unsigned long what, void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);

	if (what == BUS_NOTIFY_BOUND_DRIVER)
		nom_device_bound(pdev);
	else if (what == BUS_NOTIFY_UNBIND_DRIVER)
		nom_device_leaving(pdev);
	else if (what == BUS_NOTIFY_UNBOUND_DRIVER)
		nom_device_unbound(pdev);
	return NOTIFY_DONE;
}

static struct notifier_block nom_device_nb = {
	.notifier_call = nom_device_notify,
};

/**
 * nom_device_get - find a function by its address
 * @bdf: domain << 16 | bus << 8 | device << 3 | function
 * @err_out: -ENODEV (no such function, or leaving) or -EBUSY (not bound to
 *	vfio-pci)
 *
 * Return: the function, with a reference, or NULL.
 */
struct pci_dev *nom_device_get(u32 bdf, int *err_out)
{
	struct pci_dev *pdev = NULL;
	bool leaving = false;
	struct nom_device *d;

	mutex_lock(&nom_device_lock);
	list_for_each_entry(d, &nom_devices, link) {
		if (d->bdf != bdf)
			continue;
		leaving = d->leaving;
		if (!leaving)
			pdev = pci_dev_get(d->pdev);
	}
	mutex_unlock(&nom_device_lock);
	if (pdev)
		return pdev;
	if (leaving) {
		*err_out = -ENODEV;
		return NULL;
	}

	pdev = pci_get_domain_bus_and_slot(bdf >> 16, PCI_BUS_NUM(bdf), bdf & 0xff);
	*err_out = pdev ? -EBUSY : -ENODEV;
	pci_dev_put(pdev);
	return NULL;
}

/**
 * nom_device_masters_bus - can this function write to memory on its own?
 * @pdev: held by the caller
 *
 * Not if it left vfio-pci (its driver of today is the kernel's and knows none of
 * our addresses), if it is gone or without power (reads all ones), or if bus
 * mastering is off.
 */
bool nom_device_masters_bus(struct pci_dev *pdev)
{
	bool ours;
	u16 cmd;

	mutex_lock(&nom_device_lock);
	ours = nom_device_find(pdev);
	mutex_unlock(&nom_device_lock);
	if (!ours)
		return false;
	if (pci_read_config_word(pdev, PCI_COMMAND, &cmd) || PCI_POSSIBLE_ERROR(cmd))
		return false;
	return cmd & PCI_COMMAND_MASTER;
}

static int nom_device_note(struct device *dev, void *data)
{
	device_lock(dev);
	nom_device_bound(to_pci_dev(dev));
	device_unlock(dev);
	return 0;
}

int __init nom_device_init(void)
{
	int ret;

	ret = bus_register_notifier(&pci_bus_type, &nom_device_nb);
	if (ret)
		return ret;
	return bus_for_each_dev(&pci_bus_type, NULL, NULL, nom_device_note);
}

void nom_device_exit(void)
{
	struct nom_device *d, *next;

	bus_unregister_notifier(&pci_bus_type, &nom_device_nb);
	list_for_each_entry_safe(d, next, &nom_devices, link) {
		list_del(&d->link);
		pci_dev_put(d->pdev);
		kfree(d);
	}
}
