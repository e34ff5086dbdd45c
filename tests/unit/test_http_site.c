// SPDX-License-Identifier: MIT
/* The site: no way out of the root, limits, what is refused while loading. */
#include "../../apps/nhttpd/src/site.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nomux/log.h>

#include <cmocka.h>

static char root[64];
static char mem[1 << 16];
static char err[512];

static void path_of(char *out, const char *name)
{
	snprintf(out, 256, "%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	path_of(path, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void quiet(int level, const char *msg, void *arg)
{
}

static int setup(void **state)
{
	char path[256];

	nomux_set_log_fn(quiet, NULL);
	strcpy(root, "/tmp/test_http_site.XXXXXX");
	assert_non_null(mkdtemp(root));
	path_of(path, "d");
	mkdir(path, 0755);
	path_of(path, "d/e");
	mkdir(path, 0755);
	path_of(path, ".well-known");
	mkdir(path, 0755);
	put("index.html", "index");
	put("a.txt", "aaa");
	put("d/b.css", "b");
	put("d/e/index.html", "e");
	put(".hidden", "h");
	put(".well-known/x", "w");
	put("per%cent", "p");
	put("...", "dots");
	path_of(path, "out");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	path_of(path, "up");
	assert_int_equal(symlink("../../../../../etc/passwd", path), 0);
	path_of(path, "dangling");
	assert_int_equal(symlink("nowhere", path), 0);
	path_of(path, "loop");
	assert_int_equal(symlink("loop", path), 0);
	path_of(path, "dirlink");
	assert_int_equal(symlink("d", path), 0);
	path_of(path, "d/in");
	assert_int_equal(symlink("../a.txt", path), 0);
	path_of(path, "fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static struct site *load(void)
{
	struct site *site = NULL;

	assert_int_equal(site_load(root, mem, sizeof(mem), &site, err, sizeof(err)), 0);
	return site;
}

static const struct site_entry *find(const struct site *site, const char *target, int *status)
{
	char *copy = malloc(strlen(target));	/* ASan watches its end */
	const struct site_entry *e;

	memcpy(copy, target, strlen(target));
	e = site_find(site, copy, strlen(target), false, status);
	free(copy);
	return e;
}

static void test_http_site_finds_files(void **state)
{
	static const struct {
		const char *target, *body;
	} cases[] = {
		{ "/", "index" }, { "/index.html", "index" }, { "/a.txt", "aaa" }, { "/a%2Etxt?q", "aaa" },
		{ "/d/b.css", "b" }, { "/d//b.css", "b" }, { "/d/./b.css", "b" }, { "/x/../a.txt", "aaa" },
		{ "/d/e/", "e" }, { "/d/in", "aaa" }, { "/.well-known/x", "w" }, { "/per%25cent", "p" },
		{ "/...", "dots" }, { "/d/e/..//../a.txt", "aaa" }, { "/%64/b.css", "b" },
	};
	struct site *site = load();
	int status;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct site_entry *e = find(site, cases[i].target, &status);

		if (!strcmp(cases[i].target, "/...")) {
			assert_null(e);		/* begins with a dot */
			continue;
		}
		assert_non_null(e);
		assert_int_equal(e->kind, SITE_FILE);
		assert_int_equal(e->block->body_len, strlen(cases[i].body));
		assert_memory_equal(e->block->head + e->block->head_len, cases[i].body, strlen(cases[i].body));
		assert_memory_equal(e->block->head + e->block->head_len - 4, "\r\n\r\n", 4);
	}
	site_free(site);
}

static void test_http_site_refuses_ways_out(void **state)
{
	static const struct {
		const char *target;
		int status;		/* 0: an entry of kind SITE_FORBIDDEN */
	} cases[] = {
		{ "/..", 403 }, { "/../", 403 }, { "/../a.txt", 403 }, { "/d/../../a.txt", 403 },
		{ "/%2e%2e/a.txt", 403 }, { "/%2E./a.txt", 403 }, { "/d%2f..%2f..%2fa", 403 }, { "/./..", 403 },
		{ "/%2e%2e", 403 }, { "//..", 403 }, { "/%00", 400 }, { "/a.txt%00", 400 }, { "/%", 400 },
		{ "/%1", 400 }, { "/%g1", 400 }, { "/%1g", 400 }, { "/%252e%252e/a", 404 }, { "/..a", 404 },
		{ "/a..", 404 }, { "/.hidden", 404 }, { "/a.txt/", 404 }, { "/A.TXT", 404 }, { "/none", 404 },
		{ "/out", 0 }, { "/up", 0 }, { "/dangling", 0 }, { "/loop", 0 }, { "/dirlink", 0 },
		{ "/dirlink/b.css", 404 }, { "/fifo", 0 }, { "/d/", 0 }, { "/.well-known/", 0 },
	};
	struct site *site = load();
	int status;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct site_entry *e = find(site, cases[i].target, &status);

		if (cases[i].status) {
			assert_null(e);
			assert_int_equal(status, cases[i].status);
		} else {
			assert_non_null(e);
			assert_int_equal(e->kind, SITE_FORBIDDEN);
		}
	}
	assert_int_equal(site_nr_files(site), 7);
	assert_int_equal(site_nr_refused(site), 6);
	site_free(site);
}

static void test_http_site_moves_directories(void **state)
{
	struct site *site = load();
	int status;

	assert_int_equal(find(site, "/d", &status)->kind, SITE_MOVED);
	assert_int_equal(find(site, "/d/e", &status)->kind, SITE_MOVED);
	assert_int_equal(find(site, "/d/e/.", &status)->kind, SITE_FILE);
	assert_int_equal(find(site, "/d/e/x/..", &status)->kind, SITE_FILE);
	site_free(site);
}

static void test_http_site_long_paths(void **state)
{
	char target[3 * SITE_PATH_MAX + 16], out[SITE_PATH_MAX];
	struct site *site = load();
	int status;

	memset(target, 'x', sizeof(target));
	target[0] = '/';
	assert_int_equal(site_normalize(target, SITE_PATH_MAX, out), SITE_PATH_MAX);
	assert_int_equal(site_normalize(target, SITE_PATH_MAX + 1, out), -404);
	for (int i = 0; i < SITE_PATH_MAX; i++)
		memcpy(target + 1 + 3 * i, "%78", 3);
	assert_int_equal(site_normalize(target, 1 + 3 * (SITE_PATH_MAX - 1), out), SITE_PATH_MAX);
	assert_int_equal(site_normalize(target, 1 + 3 * SITE_PATH_MAX, out), -404);
	assert_null(site_find(site, target, 1 + 3 * SITE_PATH_MAX, false, &status));
	assert_int_equal(status, 404);
	site_free(site);
}

/* However it is spelt, what comes out is inside: never "..", "." or "//". */
static void test_http_site_normalize_mutations(void **state)
{
	static const char *const parts[] = { "/", "..", ".", "%2e", "%2F", "a", "//", "%2e%2E", "b.c", "?", "%", "%41" };
	uint64_t x = 88172645463325252ULL;
	char target[256], out[SITE_PATH_MAX + 1];

	for (int round = 0; round < 200000; round++) {
		int n;

		strcpy(target, "/");
		for (int i = 0; i < 2 + round % 9; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			strcat(target, parts[(x >> 20) % (sizeof(parts) / sizeof(*parts))]);
		}
		n = site_normalize(target, strlen(target), out);
		if (n < 0) {
			assert_true(n == -400 || n == -403 || n == -404);
			continue;
		}
		out[n] = '\0';
		assert_int_equal(out[0], '/');
		assert_null(strstr(out, "//"));
		assert_null(strstr(out, "/../"));
		assert_null(strstr(out, "/./"));
		assert_false(n >= 3 && !strcmp(out + n - 3, "/.."));
		assert_false(n >= 2 && !strcmp(out + n - 2, "/."));
	}
}

static void test_http_site_says_what_is_wrong(void **state)
{
	struct site *site = NULL;
	char path[256];

	assert_int_equal(site_load("/nonexistent", mem, sizeof(mem), &site, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent"));
	path_of(path, "a.txt");
	assert_int_equal(site_load(path, mem, sizeof(mem), &site, err, sizeof(err)), -ENOTDIR);
	assert_int_equal(site_load(root, mem, 2000, &site, err, sizeof(err)), -EFBIG);
	assert_non_null(strstr(err, "--site-bytes"));
	assert_null(site);
}

/* The size named in the message is one that works. */
static void test_http_site_need_is_enough(void **state)
{
	struct site *site = NULL;
	size_t need = 0;
	char *exact;

	assert_int_equal(site_load(root, mem, 1, &site, err, sizeof(err)), -EFBIG);
	assert_int_equal(sscanf(strstr(err, "up to "), "up to %zu", &need), 1);
	exact = malloc(need);
	assert_int_equal(site_load(root, exact, need, &site, err, sizeof(err)), 0);
	assert_true(site_bytes(site) <= need);
	site_free(site);
	free(exact);
}

static void test_http_site_generations(void **state)
{
	struct site *site = load();

	site_get(site);
	assert_false(site_put(site));
	assert_true(site_put(site));
	site_free(site);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_site_finds_files),
		cmocka_unit_test(test_http_site_refuses_ways_out),
		cmocka_unit_test(test_http_site_moves_directories),
		cmocka_unit_test(test_http_site_long_paths),
		cmocka_unit_test(test_http_site_normalize_mutations),
		cmocka_unit_test(test_http_site_says_what_is_wrong),
		cmocka_unit_test(test_http_site_need_is_enough),
		cmocka_unit_test(test_http_site_generations),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
