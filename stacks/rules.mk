# SPDX-License-Identifier: MIT
# stacks: lwIP (patched source in build/lwip) and the default stack above it.

LWIP_TREE := $(B)/lwip
LWIP_SRCS := stacks/src/lwip_all.c
NOMSTACK_PROFILE ?= default
ifeq ($(wildcard stacks/profiles/$(NOMSTACK_PROFILE)/lwipopts.h),)
$(error NOMSTACK_PROFILE=$(NOMSTACK_PROFILE): no such profile; there are: \
	$(notdir $(patsubst %/,%,$(dir $(wildcard stacks/profiles/*/lwipopts.h)))))
endif
NOMSTACK_CPPFLAGS := -isystem $(LWIP_TREE)/src/include -Istacks/src -Istacks/profiles/$(NOMSTACK_PROFILE)
NOMSTACK_SRCS := $(addprefix stacks/src/nomstack_, \
	addr.c announce.c batch.c chksum.c frag.c frame.c heap.c ip6.c knob.c look.c look_conns.c look_facts.c raw.c reass.c \
	reass_piece.c restart.c run.c rx.c segment.c share.c stack.c sys.c tap.c tcp.c tcp_listen.c tcp_send.c tso.c tx.c udp.c uso.c)

$(eval $(call nom_lib,lwip,$(LWIP_SRCS),$(NOMSTACK_CPPFLAGS) -I$(LWIP_TREE)/src -w))
$(eval $(call nom_lib,nomstack,$(NOMSTACK_SRCS),$(NOMSTACK_CPPFLAGS)))

# A packet passes through lwIP, the stack and the driver in some thirty short
# functions of two dozen files.  -flto lets the compiler inline them across
# libraries, in programs that link them (also without -flto; ordinary code is in
# the archives as well).  Vectorizing a handful of header words costs more than it saves.
HOT_CFLAGS := -flto=auto -ffat-lto-objects -O3 -fomit-frame-pointer -fno-tree-slp-vectorize
# The driver's rare cases stay calls: inlined, they would make its usual ones longer.
HOT_SRCS := $(LWIP_SRCS) $(NOMSTACK_SRCS) $(filter-out %_packed.c %_packet.c,$(NOMDRV_SRCS))
$(call objs,$(HOT_SRCS)): private CFLAGS += $(HOT_CFLAGS)
$(call objs,$(HOT_SRCS)): stacks/rules.mk

# The tree is fetched and patched once per content of the queue; every object
# that sees its headers waits for it.
$(LWIP_TREE)/.stamp: scripts/lwip-fetch.sh stacks/patches/lwip/series $(wildcard stacks/patches/lwip/*.patch)
	$(say) LWIP $(LWIP_TREE)
	$(Q)scripts/lwip-fetch.sh $(LWIP_TREE)
NOMSTACK_OPTIONS := $(B)/.profile stacks/profiles/$(NOMSTACK_PROFILE)/lwipopts.h stacks/profiles/default/lwipopts.h \
	stacks/profiles/contradictions.h
$(foreach v,o asan/o,$(patsubst %.c,$(B)/$(v)/%.o,$(LWIP_SRCS) $(NOMSTACK_SRCS))): $(LWIP_TREE)/.stamp \
	$(NOMSTACK_OPTIONS) stacks/src/arch/cc.h stacks/src/lwip_hooks.h

# The profile of the last build: written anew when it is another one, whereupon all
# that knows its sizes is compiled again.
.PHONY: profile-wanted
$(B)/.profile: profile-wanted
	$(Q)mkdir -p $(@D) && echo $(NOMSTACK_PROFILE) | cmp -s - $@ || echo $(NOMSTACK_PROFILE) >$@

.PHONY: lwip
lwip: $(LWIP_TREE)/.stamp ## fetch lwIP and apply our patches

# Unit tests: the stack with a clock and a peer of the tests' own, on a device of
# the tests' own or (test_stack_vhost) on the real driver.
STACK_TESTS := share reass frag tcp ip6 ip6_strangers profile timers short window cc limits hash udp batch csum malformed loss rack conform churn look
STACK_RIG := tests/unit/stack_rig.c
STACK_TEST_OBJS := $(patsubst %,$(B)/asan/o/tests/unit/%.o,stack_rig stack_rig_device stack_rig_vhost \
	$(STACK_TESTS:%=test_stack_%) test_stack_vhost test_stack_tso test_stack_long test_stack_large \
	test_stack_pmtu test_stack_jumbo test_stack_alloc test_stack_uso)
$(STACK_TEST_OBJS): private CPPFLAGS += $(NOMSTACK_CPPFLAGS)
$(STACK_TEST_OBJS): $(LWIP_TREE)/.stamp $(NOMSTACK_OPTIONS)
$(foreach t,$(STACK_TESTS),$(eval $(call nom_unit,test_stack_$(t),tests/unit/test_stack_$(t).c \
	$(STACK_RIG) tests/unit/stack_rig_device.c,nomstack lwip,)))
$(foreach t,vhost tso long large pmtu jumbo alloc uso,$(eval $(call nom_unit,test_stack_$(t),tests/unit/test_stack_$(t).c \
	$(STACK_RIG) tests/unit/stack_rig_vhost.c,nomstack lwip vhostbe nomdrv nomux,)))

# The raw tier needs nothing of lwIP; its device is the real driver's.
$(eval $(call nom_unit,test_raw_frame,tests/unit/test_raw_frame.c,nomstack nomux,))
$(eval $(call nom_unit,test_raw,tests/unit/test_raw.c,nomstack vhostbe nomdrv nomux,))

# Instructions per request: tests/perf/stack-cost.sh
$(eval $(call nom_prog,stack-cost,tests/perf/stack_cost.c tests/perf/cost_peer.c,nomstack lwip,))
$(eval $(call nom_prog,path-cost,tests/perf/path_cost.c tests/perf/cost_peer.c,nomstack lwip vhostbe nomdrv nomux,))
$(eval $(call nom_prog,bulk-cost,tests/perf/bulk_cost.c tests/perf/cost_peer.c,nomstack lwip vhostbe nomdrv nomux,))
