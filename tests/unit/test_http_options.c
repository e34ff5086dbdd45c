// SPDX-License-Identifier: MIT
/* The command line: ranges, contradictions, and that the manual knows every option. */
#include "../../apps/nhttpd/src/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char err[512];

static int parse(struct options *opt, const char *line)
{
	static char text[512];
	char *argv[32] = { (char *)"nhttpd" }, *save, *word;
	int argc = 1;

	strcpy(text, line);
	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	err[0] = '\0';
	return options_parse(opt, argc, argv, err, sizeof(err));
}

static void test_http_options_defaults(void **state)
{
	struct options opt;

	assert_int_equal(parse(&opt, "--root /x"), OPTIONS_RUN);
	assert_string_equal(opt.root, "/x");
	assert_int_equal(opt.stack, STACK_LINUX);
	assert_int_equal(opt.port, 80);
	assert_int_equal(opt.w_us, -1);
	assert_int_equal(opt.cpu, -1);
	assert_int_equal(opt.idle, IDLE_AUTO);
	assert_string_equal(opt.name, "nhttpd");
	assert_int_equal(parse(&opt, "--root /y --stack nom --device 00:03.0 --ip6 fd00::2/64 --gateway6 fd00::1"), OPTIONS_RUN);
	assert_string_equal(opt.ip6, "fd00::2/64");
	assert_string_equal(opt.gateway6, "fd00::1");
	assert_null(opt.ip);
	assert_int_equal(parse(&opt, "--root=/y --port=8080 --stack nom --device 00:03.0 --ip dhcp --poll --pause off"), OPTIONS_RUN);
	assert_int_equal(opt.stack, STACK_NOM);
	assert_int_equal(opt.idle, IDLE_POLL);
	assert_int_equal(opt.pause, PAUSE_OFF);
	assert_int_equal(opt.port, 8080);
}

static void test_http_options_refused(void **state)
{
	static const struct {
		const char *line, *word;
	} cases[] = {
		{ "", "--root" }, { "--port 80", "--root" }, { "--root", "needs a value" }, { "--root=", "needs a value" },
		{ "--root /x --port 0", "1 to 65535" }, { "--root /x --port 65536", "65535" }, { "--root /x --port 8o", "number" },
		{ "--root /x --port", "needs a value" }, { "--root /x --nonsense", "unknown option" }, { "--root /x extra", "extra" },
		{ "--root /x --stack bsd", "linux|nom" }, { "--root /x --stack nom", "--device" }, { "--roo /x", "unknown" },
		{ "--root /x --stack nom --device 00:03.0 --ip6 off", "--ip6" }, { "--root /x --ip6 auto", "--stack linux" },
		{ "--root /x --gateway6 fd00::1", "--stack linux" },
		{ "--root /x --stack nom --device 00:03.0", "--ip" }, { "--root /x --device 00:03.0", "--stack linux" },
		{ "--root /x --stack nom --device 00:03.0 --ip 10.0.0.2/24 --cores 3", "1 to 2" },
		{ "--root /x --stack nom --device 00:03.0 --ip 10.0.0.2/24 --cores 2 --cpu 1", "--cpu names one" },
		{ "--root /x --stack nom --device unix:/s --ip 10.0.0.2/24 --cores 2", "hosted" },
		{ "--root /x --cores 2", "--stack linux" },
		{ "--root /x --w-us 5", "--stack linux" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --w-us 100001", "100000" },	/* the knob's range */ { "--root /x --poll", "--stack linux" }, { "--root /x --poll=1", "no value" },
		{ "--root /x --line-bytes 9000", "--header-bytes" }, { "--root /x --policy greed", "penalty" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --busy-poll-us 5", "--stack nom" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --w-us 5 --table t", "one of them" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --policy bonus", "--table" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --poll --irq", "contradict" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --irq --auto", "contradict" },
		{ "--root /x --stack nom --device 00:03.0 --ip dhcp --poll --idle-us 5", "--idle-us means nothing" },
		{ "--root /x --stack packet --device eth0 --ip dhcp --idle-us 5 --irq", "--idle-us means nothing" },
		{ "--root /x --max-connections 99999999999999999999", "number" }, { "-root /x", "unexpected" },
	};
	struct options opt;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(parse(&opt, cases[i].line), -EINVAL);
		if (!strstr(err, cases[i].word))
			fail_msg("\"%s\": \"%s\" does not mention \"%s\"", cases[i].line, err, cases[i].word);
		assert_null(strchr(err, '\n'));
	}
}

/* Documentation/man/nhttpd.1 names every option, and no other. */
static void test_http_options_manual(void **state)
{
	FILE *f = fopen("Documentation/man/nhttpd.1", "r");
	static char page[65536];
	char want[64];
	unsigned nr = 0, found = 0;

	if (!f)
		fail_msg("Documentation/man/nhttpd.1: %s (run from the top of the tree)", strerror(errno));
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	for (const char *name; (name = options_name(nr)); nr++) {
		snprintf(want, sizeof(want), "\n.It Fl Fl %s", name);
		if (!strstr(page, want))
			fail_msg("the manual lacks --%s", name);
	}
	for (const char *p = page; (p = strstr(p, "\n.It Fl Fl ")); p++)
		found++;
	assert_int_equal(found, nr + 2);	/* --version and --help */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_options_defaults),
		cmocka_unit_test(test_http_options_refused),
		cmocka_unit_test(test_http_options_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
