# SPDX-License-Identifier: MIT
# tcg-count and tcg-lines: QEMU plugins, once for each version of the plugin interface we know.

TCG_PLUGINS := $(foreach n,count lines,$(foreach v,1 2 3,$(B)/plugin/tcg-$(n)-$(v).so))

define tcg_plugin
$(filter $(B)/plugin/tcg-$(1)-%,$(TCG_PLUGINS)): $(B)/plugin/tcg-$(1)-%.so: scripts/tcg-$(1)/tcg-$(1).c scripts/tcg-$(1)/layout.h scripts/tcg-count/plugin-api.h
	$$(say) PLUGIN $$@
	$$(Q)mkdir -p $$(@D) && $(CC) $(CSTD) $(WARN) -D_GNU_SOURCE -DTCG_API=$$* -O2 -g -fPIC -fvisibility=hidden -shared -o $$@ $$<
endef
$(foreach n,count lines,$(eval $(call tcg_plugin,$(n))))

.PHONY: plugin
plugin: $(TCG_PLUGINS) ## QEMU plugins that count guest instructions and shared cache lines
user: plugin
