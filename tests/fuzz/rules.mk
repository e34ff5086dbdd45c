# SPDX-License-Identifier: MIT
# nom-fuzz, static as all that tests the module by itself: tests/fuzz/run takes it
# into a guest of its own.

FUZZ := $(B)/bin/fuzz/nom-fuzz
FUZZ_OBJS := $(patsubst %,$(B)/o/tests/fuzz/%.o,nom-fuzz aftermath corpus cover exec grammar netlink ops upcall values)
$(FUZZ): $(FUZZ_OBJS) $(patsubst %,$(B)/o/tests/system/lib/%.o,kmod kmod_mmio kmod_nl kmod_pci kmod_upcall)
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) -lpthread
DEPS += $(FUZZ_OBJS)
user: $(FUZZ)
# The instructions of PROBE() use the stack.
$(B)/o/tests/fuzz/ops.o: private CFLAGS += -mno-red-zone

FAIL_NTH := $(B)/bin/fuzz/nom-fail-nth
FAIL_NTH_OBJS := $(patsubst %,$(B)/o/tests/fuzz/%.o,fail-nth fail-ops aftermath)
$(FAIL_NTH): $(FAIL_NTH_OBJS) $(patsubst %,$(B)/o/tests/system/lib/%.o,kmod kmod_mmio kmod_nl kmod_pci kmod_upcall)
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) -lpthread
DEPS += $(FAIL_NTH_OBJS)
user: $(FAIL_NTH)

include tests/fuzz/targets/rules.mk
