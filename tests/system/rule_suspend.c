// SPDX-License-Identifier: MIT
/*
 * Rules of suspend: the freezer of a suspend holds a holder as SIGSTOP does; a
 * suspend that would take the reserved core away is refused, and all goes on.
 * Uses the kernel's own test levels (/sys/power/pm_test): nothing sleeps for real.
 */
#include <nomux/timer.h>

#include "rule.h"

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static bool has(const char *path, const char *what)
{
	char text[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, what);
}

static int timed_holder(void)
{
	struct nomux_core *core = rule_hold(0);
	unsigned long rounds = 0, bad;

	T_NEED(nomux_timer_arm(core, RULE_EVENT, 500000000, 0));
	rule->phase = 1;
	bad = canary_spin(&rule->stop, &rounds);
	T_NEED(nomux_core_release(core));
	return (int)bad;
}

static void test_freezer(void)
{
	pid_t pid;

	rule_reset();
	pid = rule_child(timed_holder);
	rule_wait_phase(1);
	rule_storm(500);
	T_NEED(put("/sys/power/pm_test", "freezer"));
	t_is(put("/sys/power/state", "freeze"), 0, "a suspend freezes all, a holder that spins among them");
	t_is(rule_board().state, NOM_CORE_RUNNING, "  and thaws it: the core is leased still");
	rule_storm(500);
	t_ok(rule_wait(&rule->got, 1001), "  it handles its events, and the timer's of meanwhile");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  with registers as they were");
	t_is((long)rule->got, 1001, "  none twice");
}

static void test_unplug(void)
{
	pid_t pid;

	rule_reset();
	pid = rule_child(rule_spinning_holder);
	rule_wait_phase(1);
	T_NEED(put("/sys/power/pm_test", "processors"));
	t_is(put("/sys/power/state", "mem"), -EBUSY, "a suspend that unplugs the core: EBUSY");
	rule_storm(500);
	t_ok(rule_wait(&rule->got, 500), "  the holder goes on");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  with registers as they were");
}

int main(void)
{
	rule_begin(60);
	if (!has("/sys/power/state", "freeze") || access("/sys/power/pm_test", W_OK)) {
		printf("1..0 # SKIP this kernel does not suspend, or has no pm_test\n");
		return T_SKIP;
	}
	put("/sys/module/suspend/parameters/pm_test_delay", "1");
	test_freezer();
	if (!put("/sys/power/mem_sleep", "deep"))
		test_unplug();
	T_NEED(put("/sys/power/pm_test", "none"));
	nomux_close(nom);
	return t_end();
}
