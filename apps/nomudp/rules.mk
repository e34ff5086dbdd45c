# SPDX-License-Identifier: MIT
# nomudp: the program, the same under sanitizers, its unit tests.

NOMUDP_DIR := apps/nomudp/src
NOMUDP_SRCS := $(addprefix $(NOMUDP_DIR)/,answer.c main.c metrics.c net_linux.c net_nom.c peers.c tier_native.c tier_raw.c)
NOMUDP_LIBS := nomapp nomstack lwip nomdrv nomux econtool

$(eval $(call nom_prog,nomudp,$(NOMUDP_SRCS),$(NOMUDP_LIBS),))

# A frame's way leads from the raw tier to here and back: inlined with it.
$(call objs,$(addprefix $(NOMUDP_DIR)/,answer.c tier_raw.c)): private CFLAGS += $(HOT_CFLAGS)

# What tests/apps runs natively, under ASan and UBSan.
$(B)/asan/bin/nomudp: $(call aobjs,$(NOMUDP_SRCS)) $(call alibs,$(NOMUDP_LIBS))
	$(say) LD-SAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) $(SAN) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group -lpthread -lm
DEPS += $(call aobjs,$(NOMUDP_SRCS))
units: $(B)/asan/bin/nomudp

$(eval $(call nom_unit,test_udp_answer,tests/unit/test_udp_answer.c $(addprefix $(NOMUDP_DIR)/,answer.c peers.c),nomstack nomux,))

# Instructions per request: tests/reach/stack
$(eval $(call nom_prog,raw-cost,tests/perf/raw_cost.c $(NOMUDP_DIR)/answer.c,nomstack lwip vhostbe nomdrv nomux,))
