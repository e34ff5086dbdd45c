// SPDX-License-Identifier: MIT
/* priced's price file, watched: what counts as a change, and is told once. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../econd/src/priced.h"

static char dir[] = "/tmp/nom-source-XXXXXX";
static char path[64], other[64];

static void write_text(const char *where, const char *text)
{
	FILE *f = fopen(where, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static const char *prices_of(int usd)
{
	static char text[128];

	snprintf(text, sizeof(text), "{\"prices\":[{\"name\":\"a\",\"usd\":%d}]}", usd);
	return text;
}

/* Check until something happens, as the daemon's loop does; 0 after @tries. */
static int settle(struct priced_source *s, int tries, int *usd, char *err, size_t n)
{
	for (; tries; tries--) {
		struct econ_prices *p;
		int ret = priced_source_check(s, false, &p, err, n);

		if (ret == 1) {
			*usd = (int)(econ_prices_step(p, 0)->prices[0].ucr / 1000000);
			econ_prices_destroy(p);
		}
		if (ret)
			return ret;
		usleep(1000);
	}
	return 0;
}

static struct priced_source *open_source(void)
{
	struct priced_source *s;
	struct econ_prices *p;
	char err[256];

	write_text(path, prices_of(1));
	assert_int_equal(priced_source_create(path, &s), 0);
	assert_int_equal(priced_source_check(s, true, &p, err, sizeof(err)), 1);
	econ_prices_destroy(p);
	return s;
}

static void test_source_is_quiet_while_nothing_changes(void **state)
{
	struct priced_source *s = open_source();
	char err[256];
	int usd;

	assert_int_equal(settle(s, 50, &usd, err, sizeof(err)), 0);
	write_text(other, "another file of the directory");
	assert_int_equal(settle(s, 20, &usd, err, sizeof(err)), 0);
	priced_source_destroy(s);
}

static void test_source_sees_writes_and_renames(void **state)
{
	struct priced_source *s = open_source();
	char err[256];
	int usd = 0;

	write_text(path, prices_of(2));
	assert_int_equal(settle(s, 500, &usd, err, sizeof(err)), 1);
	assert_int_equal(usd, 2);
	write_text(other, prices_of(3));
	assert_int_equal(rename(other, path), 0);
	assert_int_equal(settle(s, 500, &usd, err, sizeof(err)), 1);
	assert_int_equal(usd, 3);
	assert_int_equal(settle(s, 50, &usd, err, sizeof(err)), 0);
	priced_source_destroy(s);
}

static void test_source_wakes_poll_at_once(void **state)
{
	struct priced_source *s = open_source();
	struct pollfd p = { priced_source_fd(s), POLLIN, 0 };
	char err[256];
	int usd;

	assert_true(p.fd >= 0);
	settle(s, 5, &usd, err, sizeof(err));
	assert_int_equal(poll(&p, 1, 0), 0);
	write_text(other, prices_of(3));
	assert_int_equal(rename(other, path), 0);
	assert_int_equal(poll(&p, 1, 1000), 1);
	assert_int_equal(settle(s, 1, &usd, err, sizeof(err)), 1);
	priced_source_destroy(s);
}

static void test_source_tells_each_trouble_once(void **state)
{
	struct priced_source *s = open_source();
	char err[256];
	int usd = 0;

	write_text(path, "{ \"prices\": [");
	assert_int_equal(settle(s, 500, &usd, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "line 1"));
	assert_int_equal(settle(s, 50, &usd, err, sizeof(err)), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(settle(s, 500, &usd, err, sizeof(err)), -ENOENT);
	assert_int_equal(settle(s, 50, &usd, err, sizeof(err)), 0);
	write_text(path, prices_of(4));
	assert_int_equal(settle(s, 500, &usd, err, sizeof(err)), 1);
	assert_int_equal(usd, 4);
	priced_source_destroy(s);
}

/* Through a symbolic link the directory's watch sees nothing: two looks agree. */
static void test_source_sees_changes_without_inotify(void **state)
{
	struct priced_source *s;
	struct econ_prices *p;
	char link[80], err[256];
	int usd = 0;

	snprintf(link, sizeof(link), "%s/sub", dir);
	assert_int_equal(mkdir(link, 0700), 0);
	snprintf(link, sizeof(link), "%s/sub/link.json", dir);
	assert_int_equal(symlink("../prices.json", link), 0);
	write_text(path, prices_of(5));
	assert_int_equal(priced_source_create(link, &s), 0);
	assert_int_equal(priced_source_check(s, true, &p, err, sizeof(err)), 1);
	econ_prices_destroy(p);
	write_text(path, prices_of(60));
	/* one look is not enough: the file might be half written */
	assert_int_equal(priced_source_check(s, false, &p, err, sizeof(err)), 0);
	assert_int_equal(settle(s, 1, &usd, err, sizeof(err)), 1);
	assert_int_equal(usd, 60);
	priced_source_destroy(s);
	unlink(link);
	*strrchr(link, '/') = '\0';
	rmdir(link);
}

static int make_directory(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/prices.json", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	return 0;
}

static int remove_directory(void **state)
{
	unlink(path);
	unlink(other);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_is_quiet_while_nothing_changes),
		cmocka_unit_test(test_source_sees_writes_and_renames),
		cmocka_unit_test(test_source_wakes_poll_at_once),
		cmocka_unit_test(test_source_tells_each_trouble_once),
		cmocka_unit_test(test_source_sees_changes_without_inotify),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
