// SPDX-License-Identifier: GPL-2.0
/*
 * nom: virtio devices without PCI, i.e. platform devices with the registers of
 * virtio-mmio, in user space's hands.
 *
 * What the kernel has for this does not do.  vfio-platform is not for x86, and
 * maps registers that fill pages only: QEMU's fill 512 bytes.  uio_pdrv_genirq
 * does not see the registers of a device that ACPI describes, nor take one that
 * the command line does.  And neither stops a device whose user is killed: there
 * is no bus mastering to switch off, and it would go on writing received frames
 * to where it was told.  So this is a driver, a small one, to be chosen by
 * driver_override; its registers are mapped, and its interrupt signals eventfds.
 *
 * The device's own registers say whether it can write to memory (virtio 1.2,
 * 2.1.2: no buffer is used before DRIVER_OK), and writing 0 to its status makes
 * it forget (2.4).  That is done when the descriptor's last user is gone, mappings
 * included; until then what it was told of stays in quarantine.
 *
 * Like NOM_MEM_PHYS it is trusted mode: whoever has the registers can make the
 * device write anywhere, and a page may hold the registers of eight devices.
 * The board does not show these devices: its records name PCI functions.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irqbypass.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_mmio.h>
#include "nom.h"

#define NOM_MMIO_DRIVER		"nom-mmio"
#define NOM_MMIO_MAGIC		0x74726976	/* "virt" */
#define NOM_MMIO_GONE		U32_MAX		/* what a bus returns where nothing is */
#define NOM_MMIO_RESET_MS	100

/**
 * struct nom_mmio - a device bound to this driver, or one that left it unreset
 * @link: in the list of all
 * @dev: the platform device; with a reference
 * @regs: its registers
 * @start: where they are
 * @bytes: and how long
 * @irq: its interrupt, or negative
 * @file: whoever has it; NULL: nobody
 * @bound: this driver has it
 * @irq_on: the handler may run; the two below do not change meanwhile
 * @rx: an eventfd for used buffers, or NULL
 * @config: and for a changed configuration
 * @producer: of @rx, for affinity, mask and storms (nom_irq.c)
 */
struct nom_mmio {
	struct list_head link;
	struct device *dev;
	void __iomem *regs;
	phys_addr_t start;
	u64 bytes;
	int irq;
	struct file *file;
	bool bound;
	bool irq_on;
	struct eventfd_ctx *rx, *config;
	struct irq_bypass_producer producer;
};

/* Protects the list and what is in it.  Inside device_lock() and nom_pool_lock. */
static DEFINE_MUTEX(nom_mmio_lock);
static LIST_HEAD(nom_mmios);
static DECLARE_WAIT_QUEUE_HEAD(nom_mmio_closed);

static struct nom_mmio *nom_mmio_find(struct device *dev)
{
	struct nom_mmio *m;

	lockdep_assert_held(&nom_mmio_lock);
	list_for_each_entry(m, &nom_mmios, link)
		if (m->dev == dev)
			return m;
	return NULL;
}

/* --------------------------------------------------------- interrupt --- */

/* The wire is level-triggered: it is quiet when its cause was acknowledged. */
static irqreturn_t nom_mmio_handle(int nr, void *arg)
{
	struct nom_mmio *m = arg;
	u32 cause = readl(m->regs + VIRTIO_MMIO_INTERRUPT_STATUS);

	if (!cause || cause == NOM_MMIO_GONE)
		return IRQ_NONE;	/* without end: the kernel shuts the line down */
	writel(cause, m->regs + VIRTIO_MMIO_INTERRUPT_ACK);
	if (cause & VIRTIO_MMIO_INT_VRING && m->rx)
		eventfd_signal(m->rx);
	if (cause & VIRTIO_MMIO_INT_CONFIG && m->config)
		eventfd_signal(m->config);
	return IRQ_HANDLED;
}

static void nom_mmio_irq_off(struct nom_mmio *m)
{
	lockdep_assert_held(&nom_mmio_lock);
	if (m->producer.token)
		irq_bypass_unregister_producer(&m->producer);
	m->producer.token = NULL;
	if (m->irq_on)
		free_irq(m->irq, m);
	m->irq_on = false;
	if (m->rx)
		eventfd_ctx_put(m->rx);
	if (m->config)
		eventfd_ctx_put(m->config);
	m->rx = m->config = NULL;
}

static int nom_mmio_irq_fd(int fd, struct eventfd_ctx **ctx_out)
{
	struct eventfd_ctx *ctx;

	if (fd == -1)
		return 0;
	ctx = eventfd_ctx_fdget(fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	*ctx_out = ctx;
	return 0;
}

static int nom_mmio_irq_on(struct nom_mmio *m, const struct nom_mmio_irq *i)
{
	int ret;

	ret = nom_mmio_irq_fd(i->rx_fd, &m->rx);
	if (!ret)
		ret = nom_mmio_irq_fd(i->config_fd, &m->config);
	if (ret || (!m->rx && !m->config))
		goto err;
	ret = request_irq(m->irq, nom_mmio_handle, 0, dev_name(m->dev), m);
	if (ret)
		goto err;
	m->irq_on = true;
	if (m->rx) {
		m->producer = (struct irq_bypass_producer){ .token = m->rx, .irq = m->irq };
		/* without, it is an interrupt as any other */
		if (irq_bypass_register_producer(&m->producer))
			m->producer.token = NULL;
	}
	return 0;
err:
	nom_mmio_irq_off(m);
	return ret;
}

static long nom_mmio_fop_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct nom_mmio *m = file->private_data;
	struct nom_mmio_irq i;
	size_t usize;
	int ret;

	if (cmd != NOM_MMIO_IRQ)
		return -ENOTTY;
	ret = nom_struct_in(&i, sizeof(i), sizeof(i), (void __user *)arg, &usize);
	if (ret)
		return ret;
	if (i.flags)
		return -EOPNOTSUPP;
	if (i.rx_fd < -1 || i.config_fd < -1)
		return -EINVAL;
	if (m->irq < 0)
		return -ENXIO;
	mutex_lock(&nom_mmio_lock);
	nom_mmio_irq_off(m);
	ret = nom_mmio_irq_on(m, &i);
	mutex_unlock(&nom_mmio_lock);
	return ret;
}

/* -------------------------------------------------------- descriptor --- */

static bool nom_mmio_reset(struct nom_mmio *m)
{
	unsigned int ms;
	u32 status;

	writel(0, m->regs + VIRTIO_MMIO_STATUS);
	for (ms = 0; ms < NOM_MMIO_RESET_MS; ms++) {
		status = readl(m->regs + VIRTIO_MMIO_STATUS);
		if (!status || status == NOM_MMIO_GONE)
			return true;
		msleep(1);
	}
	dev_warn(m->dev, "nom: does not finish its reset; what it was told of stays in quarantine\n");
	return false;
}

/* Descriptors and mappings are gone: nobody can start it again. */
static int nom_mmio_fop_release(struct inode *inode, struct file *file)
{
	struct nom_mmio *m = file->private_data;
	struct device *dev = get_device(m->dev);
	bool clean;

	mutex_lock(&nom_mmio_lock);
	nom_mmio_irq_off(m);
	clean = nom_mmio_reset(m);
	m->file = NULL;
	mutex_unlock(&nom_mmio_lock);
	wake_up_all(&nom_mmio_closed);	/* and m may be gone */
	if (clean)
		nom_quarantine_device_gone(dev);
	put_device(dev);
	return 0;
}

/* Whole pages, from the one in which the registers begin. */
static int nom_mmio_fop_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct nom_mmio *m = file->private_data;

	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return vm_iomap_memory(vma, m->start & PAGE_MASK,
			       PAGE_ALIGN(offset_in_page(m->start) + m->bytes));
}

static const struct file_operations nom_mmio_fops = {
	.owner		= THIS_MODULE,
	.release	= nom_mmio_fop_release,
	.mmap		= nom_mmio_fop_mmap,
	.unlocked_ioctl	= nom_mmio_fop_ioctl,
};

static struct nom_mmio *nom_mmio_by_name(const char *name)
{
	struct nom_mmio *m;

	list_for_each_entry(m, &nom_mmios, link)
		if (m->bound && !strcmp(dev_name(m->dev), name))
			return m;
	return NULL;
}

/**
 * nom_ioctl_mmio_open - ioctl(NOM_MMIO_OPEN)
 * @arg: struct nom_mmio_open
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mmio_open(void __user *arg)
{
	struct nom_mmio_open o;
	struct nom_mmio *m;
	struct file *file;
	size_t usize;
	int fd, ret;

	ret = nom_struct_in(&o, sizeof(o), sizeof(o), arg, &usize);
	if (ret)
		return ret;
	if (o.flags)
		return -EOPNOTSUPP;
	if (strnlen(o.name, sizeof(o.name)) == sizeof(o.name))
		return -EINVAL;
	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	mutex_lock(&nom_mmio_lock);
	m = nom_mmio_by_name(o.name);
	ret = !m ? -ENODEV : m->file ? -EBUSY : 0;
	if (ret)
		goto err_unlock;
	file = anon_inode_getfile("[nom-mmio]", &nom_mmio_fops, m, O_RDWR);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto err_unlock;
	}
	m->file = file;
	o.out_fd = fd;
	o.out_offset = offset_in_page(m->start);
	o.out_bytes = m->bytes;
	mutex_unlock(&nom_mmio_lock);
	ret = nom_struct_out(arg, usize, &o, sizeof(o));
	if (ret) {
		put_unused_fd(fd);
		fput(file);
		return ret;
	}
	fd_install(fd, file);
	return 0;

err_unlock:
	mutex_unlock(&nom_mmio_lock);
	put_unused_fd(fd);
	return ret;
}

/**
 * nom_mmio_get - the device behind a descriptor
 * @fd: of NOM_MMIO_OPEN
 *
 * Return: the device, with a reference, or NULL.
 */
struct device *nom_mmio_get(int fd)
{
	struct device *dev = NULL;
	struct file *file = fget(fd);

	if (!file)
		return NULL;
	if (file->f_op == &nom_mmio_fops)
		dev = get_device(((struct nom_mmio *)file->private_data)->dev);
	fput(file);
	return dev;
}

/**
 * nom_mmio_runs - can this device write to memory that it was told of?
 * @dev: held by the caller
 *
 * Not if it was reset when its last user closed it, has not been started, or is gone.
 */
bool nom_mmio_runs(struct device *dev)
{
	struct nom_mmio *m;
	u32 status = 0;

	mutex_lock(&nom_mmio_lock);
	m = nom_mmio_find(dev);
	if (m)
		status = readl(m->regs + VIRTIO_MMIO_STATUS);
	mutex_unlock(&nom_mmio_lock);
	return status != NOM_MMIO_GONE && status & VIRTIO_CONFIG_S_DRIVER_OK;
}

/* ------------------------------------------------------------ driver --- */

static void nom_mmio_free(struct nom_mmio *m)
{
	iounmap(m->regs);
	put_device(m->dev);
	kfree(m);
}

static int nom_mmio_probe(struct platform_device *pdev)
{
	struct resource *res = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	struct nom_mmio *m;
	u32 magic;

	if (!res || resource_size(res) < VIRTIO_MMIO_CONFIG)
		return -ENODEV;
	if (device_iommu_mapped(&pdev->dev)) {
		dev_err(&pdev->dev, "nom: behind an IOMMU, which would have to be told what it may reach\n");
		return -EOPNOTSUPP;
	}
	mutex_lock(&nom_mmio_lock);
	m = nom_mmio_find(&pdev->dev);
	if (m)		/* it left without finishing its reset */
		m->bound = true;
	mutex_unlock(&nom_mmio_lock);
	if (m)
		return 0;

	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	m->start = res->start;
	m->bytes = resource_size(res);
	m->irq = platform_get_irq_optional(pdev, 0);
	m->regs = ioremap(m->start, m->bytes);
	if (!m->regs) {
		kfree(m);
		return -ENOMEM;
	}
	m->dev = get_device(&pdev->dev);
	magic = readl(m->regs + VIRTIO_MMIO_MAGIC_VALUE);
	if (magic != NOM_MMIO_MAGIC) {
		dev_err(&pdev->dev, "nom: not a virtio device: magic %#x\n", magic);
		nom_mmio_free(m);
		return -ENODEV;
	}
	m->bound = true;
	mutex_lock(&nom_mmio_lock);
	list_add_tail(&m->link, &nom_mmios);
	mutex_unlock(&nom_mmio_lock);
	return 0;
}

/* As with VFIO, its removal waits for whoever has it. */
static void nom_mmio_remove(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct nom_mmio *m;
	bool clean;

	mutex_lock(&nom_mmio_lock);
	m = nom_mmio_find(dev);
	m->bound = false;	/* nobody opens it now */
	while (m->file) {
		mutex_unlock(&nom_mmio_lock);
		if (!wait_event_timeout(nom_mmio_closed, !READ_ONCE(m->file), 10 * HZ))
			dev_warn(dev, "nom: its removal waits for its user to close it\n");
		mutex_lock(&nom_mmio_lock);
	}
	/* its next driver is told nothing of what it may still write to */
	clean = nom_mmio_reset(m);
	if (clean)
		list_del(&m->link);
	mutex_unlock(&nom_mmio_lock);
	if (!clean)
		return;
	nom_quarantine_device_gone(dev);
	nom_mmio_free(m);
}

/* No table of ids: it has what it is told to have, by driver_override. */
static struct platform_driver nom_mmio_driver = {
	.probe	= nom_mmio_probe,
	.remove	= nom_mmio_remove,
	.driver	= {
		.name = NOM_MMIO_DRIVER,
	},
};

int __init nom_mmio_init(void)
{
	return platform_driver_register(&nom_mmio_driver);
}

void nom_mmio_exit(void)
{
	struct nom_mmio *m, *next;

	platform_driver_unregister(&nom_mmio_driver);
	list_for_each_entry_safe(m, next, &nom_mmios, link)
		nom_mmio_free(m);
}
