// SPDX-License-Identifier: MIT
/*
 * device-status - write the status register of a virtio device behind PCI
 *
 * usage: device-status BDF VALUE
 *
 * Beside whoever drives the device, through sysfs.  QEMU keeps what is written, so
 * with DEVICE_NEEDS_RESET (64) in it the driver reads what a device in trouble would
 * say (virtio 1.2, 2.1).  The register's place is QEMU's: BAR 4, at its beginning.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STATUS_AT 0x14		/* in struct virtio_pci_common_cfg */

int main(int argc, char **argv)
{
	volatile uint8_t *common;
	char path[128];
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: device-status BDF VALUE\n");
		return 2;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource4", argv[1]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	common = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (common == MAP_FAILED) {
		fprintf(stderr, "device-status: %s: %s\n", path, strerror(errno));
		return 1;
	}
	common[STATUS_AT] = (uint8_t)strtoul(argv[2], NULL, 0);
	return 0;
}
