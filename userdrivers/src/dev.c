// SPDX-License-Identifier: MIT
/*
 * Life cycle of a virtio device, the same for every transport.
 *
 * The states are asserted here, in one place: calling out of order is a bug
 * of the driver, never something a device or a user can provoke.
 */
#include "nomdrv/dev.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <syslog.h>

#include "nomux/log.h"

#include "internal.h"

#define MUST_BE(dev, cond)						\
	do {								\
		if (!(cond))						\
			nomdrv__bug(__func__, #cond, (long)(dev)->state);	\
	} while (0)

void nomdrv__bug(const char *where, const char *what, long value)
{
	nomux_log(LOG_CRIT, "userdrivers: bug in %s: not %s, value=%ld", where, what, value);
	abort();
}

void nomdrv_dev_init(struct nomdrv_dev *dev, const struct nomdrv_trans_ops *ops)
{
	dev->ops = ops;
	dev->state = NOMDRV_CONSTRUCTED;
	dev->offered = dev->features = 0;
	MUST_BE(dev, ops->name && ops->probe && ops->set_features && ops->config_read);
	MUST_BE(dev, ops->queue_size && ops->queue_setup && ops->start && ops->reset);
	MUST_BE(dev, !ops->irq_bind == !ops->irq_unbind);
	MUST_BE(dev, ops->status && ops->kick && ops->dma_alloc && ops->dma_free && ops->destroy);
}

int nomdrv_dev_probe(struct nomdrv_dev *dev)
{
	uint64_t offered = 0;
	int err;

	MUST_BE(dev, dev->state == NOMDRV_CONSTRUCTED || dev->state == NOMDRV_STOPPED);
	err = dev->ops->probe(dev, &offered);
	if (err)
		return err;
	dev->offered = offered;
	dev->features = 0;
	dev->state = NOMDRV_RESET;
	return 0;
}

int nomdrv_dev_negotiate(struct nomdrv_dev *dev, uint64_t wanted, uint64_t required)
{
	uint64_t missing = required & ~dev->offered;
	int err;

	MUST_BE(dev, dev->state == NOMDRV_RESET);
	if (missing) {
		nomux_log(LOG_ERR, "userdrivers: %s device lacks required features 0x%" PRIx64
			  " of 0x%" PRIx64, dev->ops->name, missing, dev->offered);
		return -EOPNOTSUPP;
	}
	err = dev->ops->set_features(dev, dev->offered & wanted);
	if (err)
		return err;
	dev->features = dev->offered & wanted;
	return 0;
}

int nomdrv_dev_start(struct nomdrv_dev *dev)
{
	int err;

	MUST_BE(dev, dev->state == NOMDRV_RESET);
	err = dev->ops->start(dev);
	if (err)
		return err;
	dev->state = NOMDRV_STARTED;
	return 0;
}

int nomdrv_dev_reset(struct nomdrv_dev *dev)
{
	int err;

	MUST_BE(dev, dev->state != NOMDRV_CONSTRUCTED);
	if (dev->state == NOMDRV_STOPPED)
		return 0;
	err = dev->ops->reset(dev);
	dev->state = NOMDRV_STOPPED;
	return err;
}

void nomdrv_dev_destroy(struct nomdrv_dev *dev)
{
	if (!dev)
		return;
	if (dev->state != NOMDRV_CONSTRUCTED)
		nomdrv_dev_reset(dev);
	dev->ops->destroy(dev);
}
