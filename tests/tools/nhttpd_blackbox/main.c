// SPDX-License-Identifier: MIT
/*
 * nhttpd-blackbox - what nhttpd promises, checked from outside
 *
 * Speaks TCP to a server and nothing else, so the same suite judges both stacks:
 * natively, hosted, in a guest.  TAP on standard output; exit 0, 1, 2 (usage).
 *
 *	nhttpd-blackbox --make-root DIR
 *	nhttpd --root DIR --idle-timeout-s 2 --max-connections 1100 ...
 *	nhttpd-blackbox --host 127.0.0.1 --port 8080 --idle-s 2 --max-connections 1100
 *
 * The server's limits are told to the suite, which then goes beyond them.
 */
#include "client.h"
#include "suite.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
	const struct test *const parts[] = { suite_basic, suite_refused, suite_hostile };
	const char *match = "";
	struct rlimit lim;
	int failed = 0, nr = 0;

	target = (struct target){ "127.0.0.1", 8080, 2, 1100, 8192, 4096 };
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *v = argv[i + 1];

		if (!strcmp(argv[i], "--make-root"))
			return make_root(v);
		else if (!strcmp(argv[i], "--host"))
			target.host = v;
		else if (!strcmp(argv[i], "--port"))
			target.port = atoi(v);
		else if (!strcmp(argv[i], "--idle-s"))
			target.idle_s = atoi(v);
		else if (!strcmp(argv[i], "--max-connections"))
			target.max_connections = atoi(v);
		else if (!strcmp(argv[i], "--match"))
			match = v;
		else
			argc = 0;
	}
	if (argc % 2 == 0) {
		fprintf(stderr, "usage: nhttpd-blackbox --make-root DIR\n"
			"       nhttpd-blackbox [--host IP] [--port N] [--idle-s N] [--max-connections N] [--match TEXT]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < 3; i++)
		for (const struct test *t = parts[i]; t->name; t++) {
			const char *bad;

			if (!strstr(t->name, match))
				continue;
			bad = t->run();
			nr++;
			failed += bad != NULL;
			printf("%sok %d - %s\n", bad ? "not " : "", nr, t->name);
			if (bad)
				printf("# %s\n", bad);
		}
	printf("1..%d\n", nr);
	return failed != 0;
}
