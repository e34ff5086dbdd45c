/* SPDX-License-Identifier: MIT */
/* fds.h - how many files this process has open, for tests that nothing is left */
#ifndef TESTS_FDS_H
#define TESTS_FDS_H

#include <dirent.h>

static inline unsigned int t_nr_fds(void)
{
	unsigned int n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
