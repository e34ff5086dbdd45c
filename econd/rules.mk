# SPDX-License-Identifier: MIT
# Valuations, controller, ledger, price files; the price daemon.
ECON_SRCS := $(addprefix econd/src/, \
	econ_money.c econ_valuation.c econ_terms.c econ_table.c econ_table_json.c \
	econ_controller.c econ_price.c econ_ledger.c econ_json.c \
	file.c ledger_file.c)

$(eval $(call nom_lib,econ,$(ECON_SRCS)))

$(foreach t,money valuation axiom terms table controller price ledger, \
	$(eval $(call nom_unit,test_econ_$(t),tests/unit/test_econ_$(t).c,econ,-ljansson)))
