// SPDX-License-Identifier: MIT
/*
 * Rules of seccomp: a filter sees nom's ioctls as any others; upcalls are no
 * system calls and work under every filter, strict mode included; a filter that
 * kills frees the core.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "rule.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP	1	/* si_code, of <asm/siginfo.h> */
#endif

/* ioctl(2) with this command: that action; all else is allowed. */
static int filter_ioctl(unsigned long cmd, uint32_t action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)cmd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) ? -errno : 0;
}

static int no_claim(void)
{
	struct nomux_core *core = NULL;

	T_NEED(filter_ioctl(NOM_CORE_CLAIM, SECCOMP_RET_ERRNO | ENOLINK));
	return nomux_core_claim(nom, NULL, &core) == -ENOLINK && !core ? 0 : 1;
}

static int no_enter(void)
{
	struct nomux_core *core = rule_claim(0);

	T_NEED(filter_ioctl(NOM_CORE_ENTER, SECCOMP_RET_ERRNO | ENOLINK));
	if (nomux_core_enter(core) != -ENOLINK || nomux_core_current())
		return 1;
	return nomux_core_release(core) ? 2 : 0;
}

static volatile sig_atomic_t sys_signals;
static struct nomux_core *held;

static void on_sys(int sig, siginfo_t *info, void *context)
{
	sys_signals += info->si_syscall == SYS_ioctl && info->si_code == SYS_SECCOMP;
}

static int trapped(void)
{
	struct sigaction action = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };
	struct nom_core_stats stats = { .size = sizeof(stats) };

	sigaction(SIGSYS, &action, NULL);
	held = rule_hold(0);
	T_NEED(filter_ioctl(NOM_CORE_STATS, SECCOMP_RET_TRAP));
	nomux_core_stats(held, &stats);
	if (sys_signals != 1 || nomux_core_current() != held)
		return 1;
	rule_post(10);
	return rule->got == 10 ? 0 : 2;
}

static int killed(void)
{
	struct nom_core_stats stats;

	held = rule_hold(0);
	T_NEED(filter_ioctl(NOM_CORE_STATS, SECCOMP_RET_KILL_PROCESS));
	nomux_core_stats(held, &stats);
	return 1;
}

static int strict(void)
{
	unsigned long rounds = 0, bad;

	held = rule_hold(0);
	alarm(0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 1;
	rule->phase = 1;
	bad = canary_spin(&rule->stop, &rounds);
	syscall(SYS_exit, (int)bad);	/* _exit() would be exit_group(2) */
	return 2;
}

int main(void)
{
	pid_t pid;

	rule_begin(30);
	t_is(rule_reap(rule_child(no_claim)), 0, "a filter denies NOM_CORE_CLAIM, with its errno");
	t_is(rule_reap(rule_child(no_enter)), 0,
	     "a filter denies NOM_CORE_ENTER: the lease is what it was");
	rule_reset();
	t_is(rule_reap(rule_child(trapped)), 0, "SECCOMP_RET_TRAP is SIGSYS, and the lease goes on");
	t_ok(rule_core_free(), "  until the holder ends");
	t_is(rule_reap(rule_child(killed)), 1000 + SIGSYS, "SECCOMP_RET_KILL_PROCESS kills the holder");
	t_ok(rule_core_free(), "  and the core is free");
	rule_reset();
	pid = rule_child(strict);
	rule_wait_phase(1);
	rule_storm(20000);
	t_ok(rule_wait(&rule->got, 20000), "in strict mode, 20,000 events are handled");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  without a system call");
	t_is((long)rule->got, 20000, "  none twice");
	t_ok(rule_core_free(), "  and the end frees the core");
	nomux_close(nom);
	return t_end();
}
