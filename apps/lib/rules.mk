# SPDX-License-Identifier: MIT
# What nhttpd and nomudp have in common: <nomapp/...>.

$(eval $(call nom_lib,nomapp,$(addprefix apps/lib/src/,app.c counters.c idle.c link.c mend.c open.c)))
