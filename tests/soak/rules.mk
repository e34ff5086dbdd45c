# SPDX-License-Identifier: MIT
# nom-soak: tests/soak/run takes it into a guest of its own.

SOAK_OBJS := $(patsubst %,$(B)/o/tests/soak/%.o,soak holders memory change world)
SOAK := $(B)/bin/fuzz/nom-soak
$(SOAK): $(SOAK_OBJS) $(B)/o/tests/fuzz/aftermath.o $(B)/o/tests/system/nomux_upcall_canary.o \
	$(patsubst %,$(B)/o/tests/system/lib/%.o,kmod kmod_nl kmod_pci kmod_upcall) $(B)/lib/libnomux.a
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) $(filter %.a,$^) -lpthread
# Handlers of upcalls leave the FPU alone.
$(B)/o/tests/soak/holders.o: private CFLAGS += -mgeneral-regs-only
DEPS += $(SOAK_OBJS)
user: $(SOAK)
