// SPDX-License-Identifier: MIT
/* A virtio device without PCI; see kmod_mmio.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "kmod_mmio.h"

#define DEVICES	"/sys/bus/platform/devices"

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static bool bind(const char *name)
{
	char path[512], target[256];
	ssize_t n;

	snprintf(path, sizeof(path), DEVICES "/%s/driver_override", name);
	if (!put(path, "nom-mmio"))
		return false;
	snprintf(path, sizeof(path), DEVICES "/%s/driver", name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		put("/sys/bus/platform/drivers_probe", name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = 0;
	return strstr(target, "/nom-mmio");
}

bool k_mmio_find(char name[NOM_MMIO_NAME_MAX])
{
	DIR *d = opendir(DEVICES);
	bool found = false;
	struct dirent *e;

	while (d && !found && (e = readdir(d))) {
		if (strncmp(e->d_name, "LNRO0005:", 9))	/* how ACPI calls them */
			continue;
		snprintf(name, NOM_MMIO_NAME_MAX, "%.40s", e->d_name);
		found = bind(name);
	}
	if (d)
		closedir(d);
	return found;
}

int k_mmio_open(int nom, const char *name, struct nom_mmio_open *how)
{
	*how = (struct nom_mmio_open){ .size = sizeof(*how) };
	strncpy(how->name, name, sizeof(how->name) - 1);
	return ioctl(nom, NOM_MMIO_OPEN, how) ? -errno : how->out_fd;
}

int k_mmio_irq(int fd, int rx, int config)
{
	struct nom_mmio_irq irq = { .size = sizeof(irq), .rx_fd = rx, .config_fd = config };

	return ioctl(fd, NOM_MMIO_IRQ, &irq) ? -errno : 0;
}
