// SPDX-License-Identifier: MIT
/*
 * Rules of users: what a process holds it keeps when it changes its user; who may
 * notify it, and whose the board says it is, goes by the user it had when it
 * entered the core.
 */
#include <sys/stat.h>
#include <sys/syscall.h>

#include <nomux/notify.h>

#include "rule.h"

#define SOMEBODY	1000
#define ANOTHER		1001

/* Of this thread only, as the kernel has it; the library's would do all. */
static int become(uid_t uid)
{
	return syscall(SYS_setresuid, uid, uid, uid) ? -errno : 0;
}

static int claims_as_root_then_enters_as_somebody(void)
{
	struct nomux_core *core = rule_claim(0);
	struct nomux_ctx *mine;

	rule->word[0] = rule_board().uid;
	if (become(SOMEBODY))
		return 1;
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	rule->word[1] = rule_board().uid;
	rule->phase = 1;
	while (!rule->stop)
		;
	/* the descriptor was opened by root, and is what counts */
	if (nomux_open(&mine) != -EACCES)
		return 2;
	return nomux_core_release(core) ? 3 : 0;
}

static int claims_as_root_then_becomes_somebody(void)
{
	struct nomux_core *core = rule_hold(0);

	if (become(SOMEBODY))
		return 1;
	rule->word[1] = rule_board().uid;
	rule->phase = 1;
	while (!rule->stop)
		;
	rule_post(1);
	return nomux_core_release(core) ? 3 : 0;
}

static uid_t notifier;

static int notifies(void)
{
	if (become(notifier))
		return 99;
	return -nomux_notify(nom, rule->handle, RULE_NOTIFY);
}

static int notify_as(uid_t uid)
{
	notifier = uid;
	return rule_reap(rule_child(notifies));
}

int main(void)
{
	struct stat st;
	pid_t pid;

	rule_begin(30);
	if (stat(NOM_DEVICE_PATH, &st) || st.st_mode & 7) {
		printf("1..0 # SKIP everybody may open /dev/nom here\n");
		return T_SKIP;
	}
	if (geteuid()) {
		printf("1..0 # SKIP needs root\n");
		return T_SKIP;
	}

	rule_reset();
	pid = rule_child(claims_as_root_then_enters_as_somebody);
	t_ok(rule_wait_phase(1), "claimed as root, entered as somebody else");
	t_is((long)rule->word[0], 0, "  the board says root first");
	t_is((long)rule->word[1], SOMEBODY, "  then who entered");
	t_is(notify_as(SOMEBODY), 0, "  who may notify it");
	t_is(notify_as(ANOTHER), EPERM, "  as others may not: EPERM");
	t_is(notify_as(0), 0, "  but for root");
	t_ok(rule_wait(&rule->notified, 2), "  two notifications arrive");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  rights once had are kept, new ones are not to be had");

	rule_reset();
	pid = rule_child(claims_as_root_then_becomes_somebody);
	t_ok(rule_wait_phase(1), "entered as root, became somebody else: the lease goes on");
	t_is((long)rule->word[1], 0, "  the board says root, as it did");
	t_is(notify_as(SOMEBODY), EPERM, "  the new user may not notify it: EPERM");
	t_is(notify_as(0), 0, "  root may");
	rule_storm(1000);
	t_ok(rule_wait(&rule->got, 1001), "  it handles its events");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  and gives the core back");
	t_ok(rule_core_free(), "  which is free");
	nomux_close(nom);
	return t_end();
}
