// SPDX-License-Identifier: MIT
/*
 * Rules of user shadow stacks: not together with a lease.  Upcalls push no shadow
 * stack frame, so each refuses the other, and nothing else changes.
 */
#include <sys/syscall.h>

#include "rule.h"

/* <asm/prctl.h> of this C library may be older than these */
#define T_ARCH_SHSTK_ENABLE	0x5001
#define T_ARCH_SHSTK_DISABLE	0x5002
#define T_ARCH_SHSTK_SHSTK	1UL

/*
 * By hand, since no function may return to a caller that the new shadow stack
 * does not know.
 */
#define SHSTK(what) ({								\
	long shstk_ret;								\
	__asm__ volatile("syscall" : "=a" (shstk_ret)				\
			 : "a" (SYS_arch_prctl), "D" (what), "S" (T_ARCH_SHSTK_SHSTK)	\
			 : "rcx", "r11", "memory");				\
	shstk_ret; })

static int has_shstk(void)
{
	long err = SHSTK(T_ARCH_SHSTK_ENABLE);

	if (!err)
		SHSTK(T_ARCH_SHSTK_DISABLE);
	return (int)-err;
}

static int enable_while_leased(void)
{
	struct nomux_core *core = rule_hold(0);
	long err = SHSTK(T_ARCH_SHSTK_ENABLE);

	if (!err)
		SHSTK(T_ARCH_SHSTK_DISABLE);
	rule_post(3);
	if (rule->got != 3 || nomux_core_release(core))
		return 100;
	return (int)-err;
}

static int enter_with_shstk(void)
{
	struct nomux_core *core = rule_claim(0);
	long err = SHSTK(T_ARCH_SHSTK_ENABLE);
	int ret;

	if (err)
		return 100;
	ret = nomux_core_enter(core);
	SHSTK(T_ARCH_SHSTK_DISABLE);
	return -ret;
}

int main(void)
{
	int err;

	rule_begin(20);
	err = rule_reap(rule_child(has_shstk));
	if (err) {
		printf("1..0 # SKIP no user shadow stacks on this CPU: %s\n", strerror(err));
		return T_SKIP;
	}
	t_is(rule_reap(rule_child(enable_while_leased)), EOPNOTSUPP,
	     "a holder asks for a shadow stack: EOPNOTSUPP, and goes on");
	t_is(rule_reap(rule_child(enter_with_shstk)), EOPNOTSUPP,
	     "a thread with a shadow stack enters a core: EOPNOTSUPP");
	t_ok(rule_core_free(), "the core is free");
	nomux_close(nom);
	return t_end();
}
