# SPDX-License-Identifier: MIT
# libnomux: static and shared library, pkg-config file, examples, unit tests.

NOMUX_VERSION := 0.1
NOMUX_SONAME  := libnomux.so.0
NOMUX_SRCS := $(addprefix libnomux/src/,abi.c board.c bus_bind.c clock.c colour.c core.c ctx.c event.c \
	ipc.c ipc_call.c ipc_hello.c ipc_wait.c log.c mem.c mmio.c \
	page.c pci_bind.c peek.c stub.S sysfs.c upcall.c vfio.c vfio_dma.c wait.c)
NOMUX_THREAD_SRCS := $(addprefix libnomux/src/,chan.c cond.c deadlock.c group.c guard.c heap.c \
	kthread.c mutex.c offload.c preempt.c preempt_entry.S rwlock.c sched.c sem.c stack.c stall.c \
	switch.S thread.c timer.c tls.c tls_own.c waitq.c)
NOMUX_SRCS += $(NOMUX_THREAD_SRCS)

$(eval $(call nom_lib,nomux,$(NOMUX_SRCS)))

# What runs inside an upcall must leave the FPU and SSE registers alone.
NOMUX_UPCALL_OBJS := $(call objs,$(addprefix libnomux/src/,upcall.c event.c mem.c board.c ipc_wait.c) \
	$(NOMUX_THREAD_SRCS))
$(NOMUX_UPCALL_OBJS) $(patsubst $(B)/o/%,$(B)/asan/o/%,$(NOMUX_UPCALL_OBJS)): \
	private CFLAGS += -mgeneral-regs-only

# The library is position independent as it is: the shared one is the same objects.
$(B)/lib/$(NOMUX_SONAME): $(call objs,$(NOMUX_SRCS)) libnomux/libnomux.map
	$(say) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) -shared -Wl,-soname,$(NOMUX_SONAME) \
		-Wl,--version-script=libnomux/libnomux.map -Wl,-z,defs -Wl,-z,relro -Wl,-z,now \
		-o $@ $(filter %.o,$^) -lpthread
	$(Q)ln -sf $(NOMUX_SONAME) $(B)/lib/libnomux.so
	$(Q)libnomux/check-symbols $@ libnomux/libnomux.map libnomux/include/nomux
LIBS += $(B)/lib/$(NOMUX_SONAME)

# Examples: each a file that reads from top to bottom.
$(eval $(call nom_example,hello-upcall,libnomux/examples/hello-upcall.c,nomux,))
$(eval $(call nom_example,price-watch,libnomux/examples/price-watch.c,nomux,))
$(eval $(call nom_example,self-paging,libnomux/examples/self-paging.c,nomux,))
$(eval $(call nom_example,snapshot,libnomux/examples/snapshot.c,nomux,))
$(eval $(call nom_example,word-count,libnomux/examples/word-count.c,nomux,))
$(eval $(call nom_example,work-stealing,libnomux/examples/work-stealing.c,nomux,))
$(call objs,$(patsubst %,libnomux/examples/%.c,hello-upcall price-watch self-paging snapshot)): \
	private CFLAGS += -mgeneral-regs-only

# make install-libnomux [DESTDIR=] [prefix=/usr/local] [libdir=]
prefix     ?= /usr/local
includedir ?= $(prefix)/include
libdir     ?= $(prefix)/lib
mandir     ?= $(prefix)/share/man
NOMUX_HDRS := $(wildcard libnomux/include/nomux/*.h)

.PHONY: install-libnomux
install-libnomux: $(B)/lib/libnomux.a $(B)/lib/$(NOMUX_SONAME) ## headers, libraries, pkg-config file, manual pages
	$(Q)install -d $(DESTDIR)$(includedir)/nomux $(DESTDIR)$(includedir)/linux \
		$(DESTDIR)$(includedir)/asm $(DESTDIR)$(libdir)/pkgconfig \
		$(DESTDIR)$(mandir)/man3 $(DESTDIR)$(mandir)/man7
	$(Q)install -m 644 $(NOMUX_HDRS) $(DESTDIR)$(includedir)/nomux
	$(Q)install -m 644 nom-kmod/include/uapi/linux/nom.h $(DESTDIR)$(includedir)/linux
	$(Q)install -m 644 $(HDR)/asm/nom.h $(DESTDIR)$(includedir)/asm
	$(Q)install -m 644 $(B)/lib/libnomux.a $(DESTDIR)$(libdir)
	$(Q)install -m 755 $(B)/lib/$(NOMUX_SONAME) $(DESTDIR)$(libdir)
	$(Q)ln -sf $(NOMUX_SONAME) $(DESTDIR)$(libdir)/libnomux.so
	$(Q)sed -e 's|@prefix@|$(prefix)|; s|@includedir@|$(includedir)|' \
		-e 's|@libdir@|$(libdir)|; s|@version@|$(NOMUX_VERSION)|' \
		libnomux/libnomux.pc.in > $(DESTDIR)$(libdir)/pkgconfig/libnomux.pc
	$(Q)install -m 644 Documentation/man/nomux*.3 $(DESTDIR)$(mandir)/man3
	$(Q)install -m 644 Documentation/man/nomux.7 $(DESTDIR)$(mandir)/man7
	$(Q)cd $(DESTDIR)$(mandir)/man3 && for page in nomux*.3; do \
		sed -n 's/^\.Nm \(nomux_[a-z0-9_]*\) ,$$/\1/p; s/^\.Nm \(nomux_[a-z0-9_]*\)$$/\1/p' $$page | \
		sort -u | while read -r name; do [ -e $$name.3 ] || ln -s $$page $$name.3; done; done

# Tests in the guest: build/bin/system/, run by tests/run.  They have handlers, too.
NOMUX_GUEST_TESTS := event grant ipc memory preempt thread timer upcall vfio wait
$(foreach t,$(NOMUX_GUEST_TESTS),$(eval $(call nom_prog,system/nomux_$(t), \
	tests/system/nomux_$(t).c $(wildcard tests/system/nomux_$(t)_*.S),nomux,)))
# For guests of their own: tests/scripts/nomux_two_cores, nomux_many and nomux_sweep.
$(foreach t,pair group many hostile irq,$(eval $(call nom_prog,tests/nomux_$(t),tests/system/nomux_$(t).c,nomux,)))
$(eval $(call nom_prog,tests/nomux_sweep,tests/system/nomux_sweep.c tests/system/nomux_sweep_shot.S,nomux,))
$(call objs,$(patsubst %,tests/system/nomux_%.c,$(NOMUX_GUEST_TESTS) pair group many hostile irq sweep)): \
	private CFLAGS += -mgeneral-regs-only

# The program behind `nomctl bench micro`.
$(eval $(call nom_prog,nom-micro,$(addprefix tests/perf/,micro.c micro_nom.c \
	micro_ipc.c micro_linux.c micro_linux_events.c),nomux,))
$(call objs,tests/perf/micro_nom.c): private CFLAGS += -mgeneral-regs-only

# How fast a core changes hands; prints lines like nom-micro's.
$(eval $(call nom_prog,nom-handover,tests/perf/handover.c,nomux,))
# The same for user threads, on any kernel.
$(eval $(call nom_prog,nom-threads-cost,tests/perf/thread_cost.c tests/perf/thread_cost_ops.c,nomux,))

comma := ,

# Hosted unit tests.
$(foreach t,abi args board clock group page sync thread timer, \
	$(eval $(call nom_unit,test_nomux_$(t),tests/unit/test_nomux_$(t).c,nomux,)))
$(eval $(call nom_unit,test_nomux_ipc,tests/unit/test_nomux_ipc.c,nomux,-Wl$(comma)--wrap=nomux_notify))
$(eval $(call nom_unit,test_nomux_faults,tests/unit/test_nomux_faults.c,nomux, \
	$(foreach f,calloc malloc aligned_alloc mmap mprotect pthread_create link posix_fallocate mkostemp pread,-Wl$(comma)--wrap=$(f))))

# User threads under ThreadSanitizer, run by tests/scripts/nomux_threads_tsan.
NOMUX_TSAN := $(foreach t,thread sync group,$(B)/tsan/test_nomux_$(t))
units: $(NOMUX_TSAN)
$(NOMUX_TSAN): $(B)/tsan/%: tests/unit/%.c tests/unit/nomux_threads.h $(NOMUX_SRCS) \
		$(wildcard libnomux/src/*.h libnomux/include/nomux/*.h) | $(HDR)/asm/nom.h
	$(say) LD-TSAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CSTD) -O1 -g -fno-omit-frame-pointer -fsanitize=thread \
		-Wno-tsan -o $@ $(filter %.c %.S,$^) -lcmocka -lpthread
