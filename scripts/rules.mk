# SPDX-License-Identifier: MIT
# tcg-count: QEMU plugin, once for each version of the plugin interface we know.

TCG_COUNT := $(foreach v,1 2 3,$(B)/plugin/tcg-count-$(v).so)

$(TCG_COUNT): $(B)/plugin/tcg-count-%.so: scripts/tcg-count/tcg-count.c scripts/tcg-count/layout.h scripts/tcg-count/plugin-api.h
	$(say) PLUGIN $@
	$(Q)mkdir -p $(@D) && $(CC) $(CSTD) $(WARN) -D_GNU_SOURCE -DTCG_API=$* -O2 -g -fPIC -fvisibility=hidden -shared -o $@ $<

.PHONY: plugin
plugin: $(TCG_COUNT) ## QEMU plugin that counts guest instructions
user: plugin
