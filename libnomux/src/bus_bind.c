// SPDX-License-Identifier: MIT
/*
 * Who drives a device of a bus: take it to another driver and give it back, by
 * sysfs.
 *
 * Taking sets driver_override and lets the kernel probe; giving back clears it
 * and does the same, after which the kernel chooses the driver it would have
 * chosen at boot.  So nothing need be remembered for a process that was killed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>

#include "internal.h"

static void device_path(char *path, size_t n, const char *bus, const char *dev, const char *file)
{
	snprintf(path, n, "/sys/bus/%s/devices/%s/%s", bus, dev, file);
}

int nomux__bus_driver(const char *bus, const char *dev, char *name, size_t n)
{
	char path[160];
	int err;

	device_path(path, sizeof(path), bus, dev, "");
	if (access(path, F_OK))
		return -ENODEV;
	device_path(path, sizeof(path), bus, dev, "driver");
	err = nomux__sysfs_link(path, name, n);
	if (err == -ENOENT) {
		name[0] = '\0';
		return 0;
	}
	return err;
}

static int unbind(const char *bus, const char *dev)
{
	char path[160];
	int err;

	device_path(path, sizeof(path), bus, dev, "driver/unbind");
	err = nomux__sysfs_write(path, dev);
	return err == -ENOENT ? 0 : err;
}

static int override(const char *bus, const char *dev, const char *driver)
{
	char path[160];

	device_path(path, sizeof(path), bus, dev, "driver_override");
	return nomux__sysfs_write(path, driver);
}

static int probe(const char *bus, const char *dev)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/%s/drivers_probe", bus);
	return nomux__sysfs_write(path, dev);
}

int nomux__bus_take(const char *bus, const char *dev, const char *driver, const char *old_driver)
{
	const char *from = old_driver[0] ? old_driver : "nobody";
	char now[64];
	int err;

	err = override(bus, dev, driver);
	if (err) {
		nomux_log(LOG_ERR, "%s: bound to %s and may not be rebound, device=%s: %s; "
			  "run as root, or bind it to %s before", driver, from, dev, strerror(-err), driver);
		return old_driver[0] ? -EBUSY : err;
	}
	err = unbind(bus, dev);
	if (!err)
		err = probe(bus, dev);
	if (!err && (nomux__bus_driver(bus, dev, now, sizeof(now)) || strcmp(now, driver)))
		err = -EBUSY;
	if (err) {
		nomux_log(LOG_ERR, "%s: cannot take it from %s, device=%s: %s", driver, from, dev,
			  strerror(-err));
		nomux__bus_give_back(bus, dev, driver);
		return err;
	}
	nomux_log(LOG_INFO, "%s: taken from %s, device=%s", driver, from, dev);
	return 0;
}

int nomux__bus_give_back(const char *bus, const char *dev, const char *driver)
{
	char now[64];
	int err;

	err = nomux__bus_driver(bus, dev, now, sizeof(now));
	if (err)
		return err;
	err = override(bus, dev, "\n");
	if (err)
		return err;
	if (!strcmp(now, driver)) {
		err = unbind(bus, dev);
		if (err)
			return err;
	}
	/* Finding no driver is not an error: it may have had none at boot. */
	return probe(bus, dev);
}
