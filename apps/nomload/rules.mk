# SPDX-License-Identifier: MIT
# nom-load: the load generator; nom-peer: the same at the other end of a guest's rings.
NOMLOAD_DIR := apps/nomload/src
NOMLOAD_CORE := $(addprefix $(NOMLOAD_DIR)/,answer.c arrivals.c hist.c load.c take.c)
NOMLOAD_SRCS := $(NOMLOAD_CORE) $(addprefix $(NOMLOAD_DIR)/,command.c main.c net.c net_udp.c net_wait.c)
NOMPEER_OWN := $(addprefix $(NOMLOAD_DIR)/,peer.c peer_main.c)
NOMPEER_SRCS := $(NOMLOAD_CORE) $(NOMLOAD_DIR)/command.c $(NOMPEER_OWN)
NOMPEER_LIBS := nomstack lwip vnetpeer vhostbe nomux econtool
NOMLOAD_LDLIBS := -ljansson -lnl-genl-3 -lnl-3

$(call objs,$(NOMPEER_OWN)) $(call aobjs,$(NOMPEER_OWN)): private CPPFLAGS += -Iuserdrivers/vhostbe
$(eval $(call nom_prog,nom-load,$(NOMLOAD_SRCS),econtool,$(NOMLOAD_LDLIBS)))
$(eval $(call nom_prog,nom-peer,$(NOMPEER_SRCS),$(NOMPEER_LIBS),$(NOMLOAD_LDLIBS)))

# What tests/apps runs: the same under ASan and UBSan.
NOMLOAD_SAN := $(B)/asan/bin/nom-load $(B)/asan/bin/nom-peer
$(B)/asan/bin/nom-load: $(call aobjs,$(NOMLOAD_SRCS)) $(call alibs,econtool)
$(B)/asan/bin/nom-peer: $(call aobjs,$(NOMPEER_SRCS)) $(call alibs,$(NOMPEER_LIBS))
$(NOMLOAD_SAN):
	$(say) LD-SAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) $(SAN) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group $(NOMLOAD_LDLIBS) -lpthread -lm
DEPS += $(call aobjs,$(NOMLOAD_SRCS) $(NOMPEER_SRCS))
units: $(NOMLOAD_SAN)

$(eval $(call nom_unit,test_load_hist,tests/unit/test_load_hist.c $(NOMLOAD_CORE),,))
$(eval $(call nom_unit,test_load_answer,tests/unit/test_load_answer.c $(NOMLOAD_CORE),,))
$(eval $(call nom_unit,test_load_open,tests/unit/test_load_open.c $(NOMLOAD_CORE),,))
$(eval $(call nom_unit,test_load_closed,tests/unit/test_load_closed.c $(NOMLOAD_CORE),,))
