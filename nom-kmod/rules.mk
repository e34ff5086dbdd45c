# SPDX-License-Identifier: MIT
# The module, built against the patched kernel's tree in a copy below build/ (kbuild
# writes beside its sources), and the tests of it that run in the guest.

# Of another flavour of kernel (kconfig/): NOM_KCONFIG="base nom debug" make module
# makes build/nom-debug.ko.
KMOD_SPACE := $() $()
KMOD_FLAVOUR := $(addprefix -,$(subst $(KMOD_SPACE),-,$(filter-out base nom,$(NOM_KCONFIG))))
KMOD_KERNEL := $(B)/kernel$(KMOD_FLAVOUR)
KMOD := $(B)/nom$(KMOD_FLAVOUR).ko

KMOD_DIR := $(B)/nom-kmod$(KMOD_FLAVOUR)
KMOD_SRC := $(wildcard nom-kmod/*.c nom-kmod/*.h nom-kmod/include/uapi/linux/*.h) nom-kmod/Kbuild
KMOD_LOG := $(KMOD_DIR)/build.log

.PHONY: module
module: kernel ## nom.ko, against the patched kernel
	$(Q)$(MAKE) --no-print-directory $(KMOD)

# build/kernel/release is a link into the kernel's cache, and an older result may be linked
# again: go by which result it is, not by its age.
KMOD_AGAINST := $(KMOD_DIR)/against-$(notdir $(patsubst %/,%,$(dir $(realpath $(KMOD_KERNEL)/release))))
$(KMOD_AGAINST):
	$(Q)mkdir -p $(@D) && rm -f $(@D)/against-* && touch $@

$(KMOD): $(KMOD_SRC) $(KMOD_AGAINST)
	$(say) MODULE $@
	$(Q)mkdir -p $(KMOD_DIR) && cp -Rpu nom-kmod/. $(KMOD_DIR)/
	$(Q)$(MAKE) --no-print-directory -C $(KMOD_KERNEL)/tree M=$(CURDIR)/$(KMOD_DIR) W=1 modules \
		>$(KMOD_LOG) 2>&1 || \
		{ cat $(KMOD_LOG); echo "nom-kmod: the module does not build, the lines above are $(KMOD_LOG)"; exit 1; }
	$(Q)grep -n 'nom-kmod[^:]*:.*warning:' $(KMOD_LOG) && { echo "nom-kmod: warnings are errors"; exit 1; } || true
	$(Q)cp -p $(KMOD_DIR)/nom.ko $@ && touch $@

# VM tests: static, so that any root file system will do.
KMOD_TESTS := $(patsubst tests/system/%.c,$(B)/bin/system/%,$(filter-out %/kmod_dma.c %/kmod_iommu.c %/kmod_numa.c,$(wildcard tests/system/kmod_*.c)))
KMOD_TEST_OBJS := $(patsubst %,$(B)/o/tests/system/lib/%.o,kmod kmod_nl kmod_pci kmod_upcall)
# These want guests of their own: tests/scripts/kmod_*_guest boot them.
KMOD_GUESTS := $(patsubst %,$(B)/bin/reach/%,kmod_dma kmod_iommu kmod_numa)
$(KMOD_TESTS): $(B)/bin/system/%: $(B)/o/tests/system/%.o $(KMOD_TEST_OBJS)
$(KMOD_GUESTS): $(B)/bin/reach/%: $(B)/o/tests/system/%.o $(KMOD_TEST_OBJS)
$(KMOD_TESTS) $(KMOD_GUESTS):
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) -lpthread
# The accounting of nomctl doctor.
QUIET_OBJS := $(patsubst %,$(B)/o/apps/nomctl/src/%.o,quiet quiet_trace)
$(B)/bin/system/kmod_quiet: $(QUIET_OBJS)
DEPS += $(patsubst %.c,$(B)/o/%.o,$(wildcard tests/system/kmod_*.c)) $(KMOD_TEST_OBJS) $(QUIET_OBJS)
user: $(KMOD_TESTS) $(KMOD_GUESTS)

# What tests/reach/kmod_map runs in a guest that counts instructions.
KMOD_COSTS := $(B)/bin/reach/kmod_costs
$(KMOD_COSTS): $(B)/o/tests/reach/kmod_costs.o $(KMOD_TEST_OBJS)
	$(say) LD $@
	$(Q)mkdir -p $(@D) $(B)/reach && $(CC) $(OPT) -static -o $@ $(filter %.o,$^) -lpthread
DEPS += $(B)/o/tests/reach/kmod_costs.o
user: $(KMOD_COSTS)
