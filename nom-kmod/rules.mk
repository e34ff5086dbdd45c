# SPDX-License-Identifier: MIT
# The module, built against the patched kernel's tree in a copy below build/ (kbuild
# writes beside its sources), and the tests of it that run in the guest.

KMOD_DIR := $(B)/nom-kmod
KMOD_SRC := $(wildcard nom-kmod/*.c nom-kmod/*.h nom-kmod/include/uapi/linux/*.h) nom-kmod/Kbuild
KMOD_LOG := $(KMOD_DIR)/build.log

.PHONY: module
module: kernel ## nom.ko, against the patched kernel
	$(Q)$(MAKE) --no-print-directory $(B)/nom.ko

# build/kernel/release is a link into the kernel's cache, and an older result may be linked
# again: go by which result it is, not by its age.
KMOD_AGAINST := $(KMOD_DIR)/against-$(notdir $(patsubst %/,%,$(dir $(realpath $(B)/kernel/release))))
$(KMOD_AGAINST):
	$(Q)mkdir -p $(@D) && rm -f $(@D)/against-* && touch $@

$(B)/nom.ko: $(KMOD_SRC) $(KMOD_AGAINST)
	$(say) MODULE $@
	$(Q)mkdir -p $(KMOD_DIR) && cp -Rpu nom-kmod/. $(KMOD_DIR)/
	$(Q)$(MAKE) --no-print-directory -C $(B)/kernel/tree M=$(CURDIR)/$(KMOD_DIR) W=1 modules \
		>$(KMOD_LOG) 2>&1 || \
		{ cat $(KMOD_LOG); echo "nom-kmod: the module does not build, the lines above are $(KMOD_LOG)"; exit 1; }
	$(Q)grep -n 'nom-kmod/.*warning:' $(KMOD_LOG) && { echo "nom-kmod: warnings are errors"; exit 1; } || true
	$(Q)cp -p $(KMOD_DIR)/nom.ko $@ && touch $@

# VM tests: static, so that any root file system will do.
KMOD_TESTS := $(patsubst tests/system/%.c,$(B)/bin/system/%,$(filter-out %/kmod_iommu.c,$(wildcard tests/system/kmod_*.c)))
KMOD_TEST_OBJS := $(patsubst %,$(B)/o/tests/system/lib/%.o,kmod kmod_nl kmod_pci kmod_upcall)
# This one wants a guest with an IOMMU: tests/scripts/kmod_iommu_guest boots it.
KMOD_IOMMU := $(B)/bin/reach/kmod_iommu
$(KMOD_TESTS): $(B)/bin/system/%: $(B)/o/tests/system/%.o $(KMOD_TEST_OBJS)
$(KMOD_IOMMU): $(B)/o/tests/system/kmod_iommu.o $(KMOD_TEST_OBJS)
$(KMOD_TESTS) $(KMOD_IOMMU):
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) -lpthread
# The accounting of nomctl doctor.
QUIET_OBJS := $(patsubst %,$(B)/o/apps/nomctl/src/%.o,quiet quiet_trace)
$(B)/bin/system/kmod_quiet: $(QUIET_OBJS)
DEPS += $(patsubst %.c,$(B)/o/%.o,$(wildcard tests/system/kmod_*.c)) $(KMOD_TEST_OBJS) $(QUIET_OBJS)
user: $(KMOD_TESTS) $(KMOD_IOMMU)

# What tests/reach/kmod_map runs in a guest that counts instructions.
KMOD_COSTS := $(B)/bin/reach/kmod_costs
$(KMOD_COSTS): $(B)/o/tests/reach/kmod_costs.o $(KMOD_TEST_OBJS)
	$(say) LD $@
	$(Q)mkdir -p $(@D) $(B)/reach && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) -lpthread
DEPS += $(B)/o/tests/reach/kmod_costs.o
user: $(KMOD_COSTS)
