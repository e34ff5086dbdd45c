# SPDX-License-Identifier: MIT
# nhttpd: the program, the same under sanitizers, its unit tests.

NHTTPD_DIR := apps/nhttpd/src
NHTTPD_CORE := $(addprefix $(NHTTPD_DIR)/,http_date.c http_parse.c http_reply.c mime.c site.c)
NHTTPD_SRCS := $(NHTTPD_CORE) $(addprefix $(NHTTPD_DIR)/,busy_poll.c conn.c house.c main.c metrics.c net_linux.c net_nom.c \
	nom_idle.c nom_knobs.c nom_link.c nom_open.c options.c price.c server.c)
NHTTPD_LIBS := nomstack lwip nomdrv nomux econ

$(eval $(call nom_prog,nhttpd,$(NHTTPD_SRCS),$(NHTTPD_LIBS),-ljansson))

# What the black-box suite runs natively: every answer under ASan and UBSan.
$(B)/asan/bin/nhttpd: $(call aobjs,$(NHTTPD_SRCS)) $(call alibs,$(NHTTPD_LIBS))
	$(say) LD-SAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) $(SAN) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group -ljansson -lpthread -lm
DEPS += $(call aobjs,$(NHTTPD_SRCS))
units: $(B)/asan/bin/nhttpd

# The black-box suite: speaks TCP only, so it runs natively and in the guest.
NHTTPD_BLACKBOX := $(addprefix tests/tools/nhttpd_blackbox/,client.c hostile.c main.c refused.c suite.c)
$(eval $(call nom_prog,nhttpd-blackbox,$(NHTTPD_BLACKBOX),,))

# How long a server takes to acknowledge: tests/system/nhttpd_w.sh.
$(eval $(call nom_prog,ack-time,tests/tools/ack_time.c,,))

$(eval $(call nom_unit,test_http_parse,tests/unit/test_http_parse.c $(NHTTPD_DIR)/http_parse.c,,))
$(eval $(call nom_unit,test_http_site,tests/unit/test_http_site.c $(NHTTPD_CORE),nomux,))
$(eval $(call nom_unit,test_http_reply,tests/unit/test_http_reply.c $(NHTTPD_CORE),nomux,))
$(eval $(call nom_unit,test_http_conn,tests/unit/test_http_conn.c $(NHTTPD_CORE) \
	$(addprefix $(NHTTPD_DIR)/,conn.c metrics.c options.c server.c),nomux,))
$(eval $(call nom_unit,test_http_options,tests/unit/test_http_options.c $(NHTTPD_DIR)/options.c,,))
