# SPDX-License-Identifier: MIT
# nhttpd: the program, the same under sanitizers, its unit tests.

NHTTPD_DIR := apps/nhttpd/src
NHTTPD_CORE := $(addprefix $(NHTTPD_DIR)/,http_condition.c http_date.c http_parse.c http_reply.c mime.c site.c)
# What there is of for each leased core: the stack's state is globals, so a second core
# has a second stack, compiled with its global names renamed (one header of #defines,
# made from the first one's symbols).  The code is the same, instruction by instruction,
# and is optimised across libraries as the first one is.  lwIP neither defines nor
# declares what has a macro of its name (lwip_itoa() and the like): those are pure and
# keep their names, weak, so that the first copy's are linked.
NHTTPD_CORE_SRCS := $(addprefix $(NHTTPD_DIR)/,net_nom.c nom_idle.c nom_knobs.c nom_link.c nom_open_stack.c nom_share.c)
NHTTPD_SRCS := $(NHTTPD_CORE) $(NHTTPD_CORE_SRCS) $(addprefix $(NHTTPD_DIR)/,busy_poll.c conn.c conn_table.c cores.c house.c \
	main.c metrics.c net_linux.c net_linux_open.c net_linux_send.c nom_open.c options.c post.c price.c server.c)
NHTTPD_LIBS := nomapp nomstack lwip nomdrv nomux econ

NHTTPD_COPIED := $(NHTTPD_CORE_SRCS) $(LWIP_SRCS) $(NOMSTACK_SRCS) $(NOMDRV_SRCS)
NHTTPD_COPY := $(patsubst %.c,$(B)/core1/o/%.o,$(NHTTPD_COPIED))
NHTTPD_SAN_COPY := $(patsubst %.c,$(B)/asan/core1/o/%.o,$(NHTTPD_COPIED))
NHTTPD_NAMES := $(B)/core1/names.h
$(NHTTPD_NAMES): $(call objs,$(NHTTPD_COPIED)) apps/nhttpd/rules.mk
	$(Q)mkdir -p $(@D) && nm --defined-only -g $(filter %.o,$^) 2>/dev/null | \
		awk 'NF == 3 && $$2 ~ /[TDBRV]/ { print $$3 ~ /^lwip_(itoa|str|memcmp)/ ? "#pragma weak " $$3 : \
			"#define " $$3 " " $$3 "_core1" }' | sort -u >$@
NHTTPD_COPY_FLAGS = -include $(NHTTPD_NAMES) $(CPPFLAGS) $(NOMSTACK_CPPFLAGS) -I$(LWIP_TREE)/src $(CFLAGS) -w
$(filter-out %_packed.o $(B)/core1/o/apps/%,$(NHTTPD_COPY)): private HOT := $(HOT_CFLAGS)
$(NHTTPD_COPY): $(B)/core1/o/%.o: %.c $(NHTTPD_NAMES)
	$(say) CC-2 $<
	$(Q)mkdir -p $(@D) && $(CC) $(NHTTPD_COPY_FLAGS) $(HOT) -MMD -MP -c -o $@ $<
$(NHTTPD_SAN_COPY): $(B)/asan/core1/o/%.o: %.c $(NHTTPD_NAMES)
	$(say) CC-2-SAN $<
	$(Q)mkdir -p $(@D) && $(CC) $(NHTTPD_COPY_FLAGS) $(SAN) -MMD -MP -c -o $@ $<
DEPS += $(NHTTPD_COPY) $(NHTTPD_SAN_COPY)

$(eval $(call nom_prog,nhttpd,$(NHTTPD_SRCS),$(NHTTPD_LIBS),-ljansson))
$(B)/bin/nhttpd: $(NHTTPD_COPY)

# What the black-box suite runs natively: every answer under ASan and UBSan.
$(B)/asan/bin/nhttpd: $(call aobjs,$(NHTTPD_SRCS)) $(NHTTPD_SAN_COPY) $(call alibs,$(NHTTPD_LIBS))
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

# Makes a device say that it needs a reset: tests/scripts/nhttpd_cores.
$(eval $(call nom_prog,device-status,tests/tools/device_status.c,,))

$(eval $(call nom_unit,test_http_parse,tests/unit/test_http_parse.c $(NHTTPD_DIR)/http_parse.c,,))
$(eval $(call nom_unit,test_http_site,tests/unit/test_http_site.c $(NHTTPD_CORE),nomux,))
$(eval $(call nom_unit,test_http_reply,tests/unit/test_http_reply.c $(NHTTPD_CORE),nomux,))
$(eval $(call nom_unit,test_http_conn,tests/unit/test_http_conn.c $(NHTTPD_CORE) \
	$(addprefix $(NHTTPD_DIR)/,conn.c conn_table.c metrics.c options.c server.c),nomapp nomux,))
$(eval $(call nom_unit,test_http_options,tests/unit/test_http_options.c $(NHTTPD_DIR)/options.c,nomapp,))
