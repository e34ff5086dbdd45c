// SPDX-License-Identifier: MIT
/* Small files of sysfs and procfs. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

int nomux__sysfs_read(const char *path, char *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;
	int err;

	if (fd < 0)
		return -errno;
	len = read(fd, buf, n - 1);
	err = len < 0 ? -errno : 0;
	close(fd);
	if (err)
		return err;
	while (len > 0 && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return (int)len;
}

int nomux__sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len;
	int err;

	if (fd < 0)
		return -errno;
	len = write(fd, text, strlen(text));
	err = len < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* Last component of what a symbolic link points to. */
int nomux__sysfs_link(const char *path, char *name, size_t n)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	const char *base;

	if (len < 0)
		return -errno;
	target[len] = '\0';
	base = strrchr(target, '/');
	base = base ? base + 1 : target;
	if (strlen(base) >= n)
		return -ENAMETOOLONG;
	memcpy(name, base, strlen(base) + 1);
	return 0;
}

/* Field 22 of /proc/<pid>/stat: with the pid it names a process for good. */
int nomux__start_time(pid_t pid, uint64_t *start_out)
{
	char path[32], buf[1024], *p;
	int field, len;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	len = nomux__sysfs_read(path, buf, sizeof(buf));
	if (len < 0)
		return len == -ENOENT ? -ESRCH : len;
	p = strrchr(buf, ')');		/* the name before it may hold anything */
	for (field = 2; p && field < 22; field++) {
		p = strchr(p + 1, ' ');
	}
	if (!p)
		return -EPROTO;
	*start_out = strtoull(p + 1, NULL, 10);
	return 0;
}
