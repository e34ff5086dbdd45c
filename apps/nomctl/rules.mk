# SPDX-License-Identifier: MIT
# nomctl: status, prices, applications, comparison.
NOMCTL_SRCS := $(addprefix apps/nomctl/src/, main.c out.c sys.c apps.c doctor.c doctor_host.c \
	doctor_nom.c doctor_quiet.c status.c board.c memory.c price.c run.c tune.c stat.c stat_leases.c \
	stat_stack.c trace.c look.c merge.c pcap.c quiet.c quiet_trace.c compare.c \
	compare_run.c compare_stats.c bench.c bench_table.c)

$(eval $(call nom_prog,nomctl,$(NOMCTL_SRCS),econtool econ nomux,-ljansson -lnl-genl-3 -lnl-3))

$(eval $(call nom_unit,test_nomctl_compare,tests/unit/test_nomctl_compare.c apps/nomctl/src/compare_stats.c, \
	econ,-ljansson))
$(eval $(call nom_unit,test_nomctl_text,tests/unit/test_nomctl_text.c \
	$(addprefix apps/nomctl/src/,out.c sys.c),econtool,-ljansson))
$(eval $(call nom_unit,test_nomctl_quiet,tests/unit/test_nomctl_quiet.c \
	$(addprefix apps/nomctl/src/,quiet.c quiet_trace.c),,))
$(eval $(call nom_unit,test_nomctl_bench,tests/unit/test_nomctl_bench.c \
	$(addprefix apps/nomctl/src/,bench_table.c out.c sys.c),econtool,-ljansson -lnl-genl-3 -lnl-3))
$(eval $(call nom_unit,test_nomctl_look,tests/unit/test_nomctl_look.c \
	$(addprefix apps/nomctl/src/,look.c pcap.c),,))
$(eval $(call nom_unit,test_nomctl_merge,tests/unit/test_nomctl_merge.c apps/nomctl/src/merge.c,,))
