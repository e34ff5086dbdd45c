# SPDX-License-Identifier: MIT
# Valuations, controller, ledger, price files; the price daemon.
ECON_SRCS := $(addprefix econd/src/, \
	econ_money.c econ_valuation.c econ_terms.c econ_table.c econ_table_json.c \
	econ_controller.c econ_price.c econ_ledger.c econ_json.c \
	file.c ledger_file.c)

$(eval $(call nom_lib,econ,$(ECON_SRCS)))

# What priced and nomctl share: option tables, the netlink client.
$(eval $(call nom_lib,econtool,$(addprefix econd/src/,options.c nl.c),-isystem /usr/include/libnl3))

$(eval $(call nom_prog,priced,$(addprefix econd/src/,priced.c priced_source.c priced_publish.c), \
	econ econtool,-ljansson -lnl-genl-3 -lnl-3))

$(foreach t,money valuation axiom terms table controller price ledger, \
	$(eval $(call nom_unit,test_econ_$(t),tests/unit/test_econ_$(t).c,econ,-ljansson)))
$(eval $(call nom_unit,test_econ_options,tests/unit/test_econ_options.c,econtool,-lnl-genl-3 -lnl-3))
$(eval $(call nom_unit,test_econ_source,tests/unit/test_econ_source.c econd/src/priced_source.c,econ,-ljansson))
