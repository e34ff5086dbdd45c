// SPDX-License-Identifier: MIT
/* Small files, links, clocks and places. */
#include "nomctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int nomctl_read(const char *path, char *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	while (len + 1 < n && (got = read(fd, buf + len, n - 1 - len)) > 0)
		len += (size_t)got;
	close(fd);
	while (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return (int)len;
}

int nomctl_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int nomctl_link(const char *path, char *buf, size_t n)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	if (len < 0)
		return -errno;
	target[len] = '\0';
	slash = strrchr(target, '/');
	snprintf(buf, n, "%s", slash ? slash + 1 : target);
	return 0;
}

/* build/bin/nomctl: the tree is two directories up, if there is one. */
char *nomctl_tree(const char *below)
{
	char self[PATH_MAX], *path = NULL;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return NULL;
	self[len] = '\0';
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(self, '/');

		if (!slash)
			return NULL;
		*slash = '\0';
	}
	if (asprintf(&path, "%s/nom-kmod", self) < 0)
		return NULL;
	if (access(path, F_OK)) {
		free(path);
		return NULL;
	}
	free(path);
	return asprintf(&path, "%s/%s", self, below) < 0 ? NULL : path;
}

uint64_t nomctl_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t nomctl_age_ns(uint64_t since_ns)
{
	uint64_t now = nomctl_now_ns();

	return now > since_ns ? now - since_ns : 0;
}

bool nomctl_in_path(const char *program)
{
	const char *path = getenv("PATH");

	for (path = path ? path : "/usr/bin:/bin"; *path;) {
		size_t len = strcspn(path, ":");
		char full[PATH_MAX];

		if (snprintf(full, sizeof(full), "%.*s/%s", (int)len, path, program) <
		    (int)sizeof(full) && !access(full, X_OK))
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}
