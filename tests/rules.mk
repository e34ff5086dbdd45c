# SPDX-License-Identifier: MIT
# Tests of Documentation/rules.rst, in the guest: build/bin/system/, run by tests/run.

RULE_TESTS := $(notdir $(basename $(wildcard tests/system/rule_*.c)))
$(foreach t,$(RULE_TESTS),$(eval $(call nom_prog,system/$(t), \
	tests/system/$(t).c tests/system/nomux_upcall_canary.S,nomux,)))
$(call objs,$(patsubst %,tests/system/%.c,$(RULE_TESTS))): \
	private CFLAGS += -mgeneral-regs-only

# For a guest of its own: tests/scripts/rule_gdb takes it there.
$(eval $(call nom_prog,tests/rule_gdb_target,tests/tools/rule_gdb_target.c,nomux,))
$(call objs,tests/tools/rule_gdb_target.c): private CFLAGS += -mgeneral-regs-only

# What ordinary things cost on a kernel, for tests/perf/off-on.
$(eval $(call nom_prog,kernel-cost,tests/perf/kernel_cost.c,,))
