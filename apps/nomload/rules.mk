# SPDX-License-Identifier: MIT
# nom-load: the open-loop load generator.
NOMLOAD_DIR := apps/nomload/src
NOMLOAD_CORE := $(addprefix $(NOMLOAD_DIR)/,answer.c arrivals.c hist.c load.c take.c)
NOMLOAD_SRCS := $(NOMLOAD_CORE) $(addprefix $(NOMLOAD_DIR)/,command.c main.c net.c)

$(eval $(call nom_prog,nom-load,$(NOMLOAD_SRCS),econtool,-ljansson -lnl-genl-3 -lnl-3))

# What tests/apps runs: the same under ASan and UBSan.
$(B)/asan/bin/nom-load: $(call aobjs,$(NOMLOAD_SRCS)) $(call alibs,econtool)
	$(say) LD-SAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) $(SAN) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group -ljansson -lnl-genl-3 -lnl-3 -lm
DEPS += $(call aobjs,$(NOMLOAD_SRCS))
units: $(B)/asan/bin/nom-load

$(eval $(call nom_unit,test_load_hist,tests/unit/test_load_hist.c $(NOMLOAD_CORE),,))
$(eval $(call nom_unit,test_load_answer,tests/unit/test_load_answer.c $(NOMLOAD_CORE),,))
$(eval $(call nom_unit,test_load_open,tests/unit/test_load_open.c $(NOMLOAD_CORE),,))
$(eval $(call nom_unit,test_load_closed,tests/unit/test_load_closed.c $(NOMLOAD_CORE),,))
