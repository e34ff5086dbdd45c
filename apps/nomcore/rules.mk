# SPDX-License-Identifier: MIT
# nomcore: core dumps with nom's memory.
$(eval $(call nom_prog,nomcore,apps/nomcore/src/nomcore.c,,))
