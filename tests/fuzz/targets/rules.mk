# SPDX-License-Identifier: MIT
# libFuzzer targets, with clang: build/fuzz/bin/NAME.  tests/fuzz/run-targets runs them.
# Without clang and its libFuzzer none is built, and their test is skipped and says so.

FZ_DIR := tests/fuzz/targets
FZ_SAN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
# gcc looks for warnings; here the sources are compiled as gcc's sanitized build sees
# them, which clang does not tell by the name that they ask for.
FZ_CFLAGS := $(CSTD) -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing -w -D__SANITIZE_ADDRESS__=1
CLANG := $(shell d=$$(clang -print-resource-dir 2>/dev/null) && ls $$d/lib/*/libclang_rt.fuzzer* >/dev/null 2>&1 && echo clang)

# fuzz_target NAME SRCS PLAIN_LIBS LDLIBS [CPPFLAGS]: objects are of each target's own
define fuzz_target
FZ_BINS += $(B)/fuzz/bin/$(1)
FZ_OBJS_$(1) := $(patsubst %.c,$(B)/fuzz/o/$(1)/%.o,$(FZ_DIR)/$(1).c $(2))
$$(FZ_OBJS_$(1)): private CPPFLAGS += $(5)
$$(FZ_OBJS_$(1)): $(B)/fuzz/o/$(1)/%.o: %.c | $(HDR)/asm/nom.h
	$$(say) CLANG $$<
	$$(Q)mkdir -p $$(@D) && $(CLANG) $$(CPPFLAGS) $(FZ_CFLAGS) $(FZ_SAN) -MMD -MP -c -o $$@ $$<
$(B)/fuzz/bin/$(1): $$(FZ_OBJS_$(1)) $(call libs,$(3))
	$$(say) LD-FUZZ $$@
	$$(Q)mkdir -p $$(@D) && $(CLANG) -g -fsanitize=fuzzer,address,undefined -o $$@ $$(FZ_OBJS_$(1)) $(call libs,$(3)) $(4) -lpthread -lm
DEPS += $$(FZ_OBJS_$(1))
endef

FZ_STACK := $(addprefix $(FZ_DIR)/,device.c app.c) $(filter-out %_raw.c %_run.c,$(NOMSTACK_SRCS)) $(LWIP_SRCS)
# Time is the target's.
FZ_TIME := -I$(FZ_DIR) -Dclock_gettime=turns_clock_gettime -Dusleep=turns_usleep
FZ_STACK_CPP := $(NOMSTACK_CPPFLAGS) -I$(LWIP_TREE)/src -I$(FZ_DIR)
ifneq ($(CLANG),)
$(eval $(call fuzz_target,frames,$(FZ_STACK),,,$(FZ_STACK_CPP)))
$(eval $(call fuzz_target,tcp,$(FZ_STACK),,,$(FZ_STACK_CPP)))
$(eval $(call fuzz_target,raw,stacks/src/nomstack_frame.c stacks/src/nomstack_chksum.c $(addprefix apps/nomudp/src/,answer.c peers.c),,,$(FZ_STACK_CPP)))
$(eval $(call fuzz_target,http,$(NHTTPD_CORE) $(addprefix $(NHTTPD_DIR)/,conn.c conn_table.c metrics.c options.c server.c),nomapp nomux,,))
$(eval $(call fuzz_target,price,$(addprefix econd/src/econ_,price.c json.c money.c),,-ljansson,))
$(eval $(call fuzz_target,netlink,econd/src/nl.c,,-lnl-genl-3 -lnl-3,-isystem /usr/include/libnl3))
$(eval $(call fuzz_target,vring,$(NOMDRV_SRCS) userdrivers/src/vtrans_fake.c,nomux,-lcmocka,))
$(eval $(call fuzz_target,transport,$(FZ_DIR)/turns.c $(VNET_RIG) $(NOMDRV_SRCS) userdrivers/src/vtrans_fake.c,nomux,-lcmocka,$(FZ_TIME)))
$(eval $(call fuzz_target,vhost,$(FZ_DIR)/turns.c $(VHU_RIG) $(NOMDRV_SRCS) userdrivers/src/vtrans_fake.c,nomux,-lcmocka,$(FZ_TIME)))
$(FZ_OBJS_frames) $(FZ_OBJS_tcp) $(FZ_OBJS_raw): $(LWIP_TREE)/.stamp $(NOMSTACK_OPTIONS)
units: $(FZ_BINS)
endif
.PHONY: fuzz-targets
fuzz-targets: $(FZ_BINS)
