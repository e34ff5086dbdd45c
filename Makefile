# SPDX-License-Identifier: MIT
# nom on Linux.  Two targets for people: `make demo` and `make check`.
# `make help` lists the rest.  Everything is built below build/; what takes
# long (kernel) is kept in a cache outside the clone, see scripts/.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SECONDEXPANSION:
.DEFAULT_GOAL := help

B        := build
CC       := gcc
AR       := ar
HDR      := $(B)/kernel/headers/include
CSTD     := -std=gnu11
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	    -Wpointer-arith -Wwrite-strings -Wno-unused-parameter
OPT      := -O2 -g -fno-strict-aliasing -fno-omit-frame-pointer -fvisibility=hidden -fPIC
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=undefined
INCLUDES := -Ilibnomux/include -Iuserdrivers/include -Istacks/include -Iecond/include \
	    -Iapps/lib/include \
	    -Inom-kmod/include/uapi -isystem $(HDR)
CPPFLAGS := -D_GNU_SOURCE $(INCLUDES)
CFLAGS   := $(CSTD) $(WARN) $(OPT)

LIBS :=
PROGS :=
EXAMPLES :=
UNITS :=

# Macros of the directories' rules.mk.
#   nom_lib NAME SRCS [CPPFLAGS]       libNAME.a, plain and sanitized
#   nom_prog NAME SRCS LIBS LDLIBS     build/bin/NAME
#   nom_example NAME SRCS LIBS LDLIBS  build/bin/examples/NAME
#   nom_unit NAME SRCS LIBS LDLIBS     build/asan/tests/NAME (cmocka), run by `make unit`
objs  = $(patsubst %,$(B)/o/%.o,$(basename $(1)))
aobjs = $(patsubst %,$(B)/asan/o/%.o,$(basename $(1)))
libs  = $(patsubst %,$(B)/lib/lib%.a,$(1))
alibs = $(patsubst %,$(B)/asan/lib/lib%.a,$(1))

define nom_lib
LIBS += $(B)/lib/lib$(1).a
$(call objs,$(2)) $(call aobjs,$(2)): private CPPFLAGS += $(3)
$(B)/lib/lib$(1).a: $(call objs,$(2))
$(B)/asan/lib/lib$(1).a: $(call aobjs,$(2))
DEPS += $(call objs,$(2)) $(call aobjs,$(2))
endef

define nom_prog
PROGS += $(B)/bin/$(1)
$(B)/bin/$(1): private LDLIBS := $(4)
$(B)/bin/$(1): $(call objs,$(2)) $(call libs,$(3))
DEPS += $(call objs,$(2))
endef

define nom_example
EXAMPLES += $(B)/bin/examples/$(1)
$(B)/bin/examples/$(1): private LDLIBS := $(4)
$(B)/bin/examples/$(1): $(call objs,$(2)) $(call libs,$(3))
DEPS += $(call objs,$(2))
endef

define nom_unit
UNITS += $(B)/asan/tests/$(1)
$(B)/asan/tests/$(1): private LDLIBS := $(4) -lcmocka
$(B)/asan/tests/$(1): $(call aobjs,$(2)) $(call alibs,$(3))
DEPS += $(call aobjs,$(2))
endef

include $(wildcard $(addsuffix /rules.mk,nom-kmod libnomux userdrivers stacks econd apps apps/* tests tests/* scripts Documentation))

# Say what is compiled, show the command only with V=1.
ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

$(B)/o/%.o: %.c | $(HDR)/asm/nom.h
	$(say) CC $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/o/%.o: %.S | $(HDR)/asm/nom.h
	$(say) AS $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/asan/o/%.o: %.c | $(HDR)/asm/nom.h
	$(say) CC-SAN $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) $(SAN) -MMD -MP -c -o $@ $<
$(B)/asan/o/%.o: %.S | $(HDR)/asm/nom.h
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
# Two rules: one pattern rule with two targets would claim to make both at once.
archive = $(Q)mkdir -p $(@D) && rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(B)/lib/lib%.a:
	$(say) AR $@
	$(archive)
$(B)/asan/lib/lib%.a:
	$(say) AR-SAN $@
	$(archive)
$(PROGS) $(EXAMPLES):
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) -lpthread -lm
$(UNITS):
	$(say) LD-SAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) $(SAN) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) -lpthread -lm

# Headers of the patched kernel: seconds, without building it.
$(HDR)/asm/nom.h:
	$(Q)scripts/kernel-build.sh headers

# For the two targets for people: all processors compile, unless -j says otherwise.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: help all deps kernel kselftest module user units unit check demo clean
all: kernel module user ## kernel, module and user space
user: $(LIBS) $(PROGS) $(EXAMPLES) ## libraries, applications, examples
units: $(UNITS)
unit: units ## build and run the hosted unit tests (ASan, UBSan)
	$(Q)tests/run --only unit

deps: ## install the Debian packages that are missing (root or sudo)
	$(Q)scripts/install-deps
kernel: ## the patched guest kernel, from the cache when nothing changed
	$(Q)scripts/kernel-build.sh all
kselftest: kernel
	$(Q)scripts/kernel-build.sh selftests
check: deps ## every test; ends with "N passed, N failed"
	$(Q)$(MAKE) --no-print-directory kernel module kselftest
	$(Q)$(MAKE) --no-print-directory $(JOBS) user units
	$(Q)tests/run
demo: deps ## get, build, boot, compare; table here, page in build/report
	$(Q)$(MAKE) --no-print-directory kernel module
	$(Q)$(MAKE) --no-print-directory $(JOBS) user
	$(Q)scripts/demo

help: ## this text
	@printf 'nom on Linux: make demo | make check, and:\n\n'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | sort -u | expand -t 14

clean: ## remove build/ (the cache stays)
	rm -rf $(B)

-include $(addsuffix .d,$(basename $(DEPS)))
