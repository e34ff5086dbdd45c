# userdrivers: virtio in ring 3.  libnomdrv needs libnomux (for hosted mode
# only its log).

NOMDRV_SRCS := $(addprefix userdrivers/src/,dev.c vdma.c vring.c \
	vnet.c vnet_negotiate.c vnet_mem.c vnet_mq.c vnet_rx.c vnet_rx_mrg.c vnet_tx.c vnet_turn.c vnet_irq.c vnet_auto.c \
	vnet_ctl.c vnet_packed.c vnet_features.c \
	vtrans_pci_modern.c vpci_caps.c pci_fn_vfio.c irq_upcall.c vnet_open_vfio.c \
	vtrans_mmio.c mmio_fn_nom.c vnet_open_mmio.c \
	vtrans_vhost_user.c vhost_user_sock.c vnet_open_vhost_user.c \
	kif.c vtrans_packet.c vnet_packet.c vtrans_xdp.c vnet_xdp.c xdp_prog.c)

$(eval $(call nom_lib,nomdrv,$(NOMDRV_SRCS)))

# The other end of the rings: a library for tests and load generators, and a program.
VHOSTBE_DIR := userdrivers/vhostbe
VHOSTBE_TOOL := tests/tools/vhost_backend/main.c
VHOSTBE_SRCS := $(addprefix $(VHOSTBE_DIR)/,be_ctl.c be_ring.c be_packed.c be_net.c be_port.c be_tso.c be_cmd.c)

$(eval $(call nom_lib,vhostbe,$(VHOSTBE_SRCS),-Iuserdrivers/src))
# Instead of nomdrv, for a stack at that end.
$(eval $(call nom_lib,vnetpeer,$(VHOSTBE_DIR)/vnet_peer.c userdrivers/src/vnet_features.c,-Iuserdrivers/src))
$(eval $(call nom_prog,nom-vhost-backend,$(VHOSTBE_TOOL),vhostbe,))

# A device that unit tests play; not for anything else.
$(eval $(call nom_lib,nomdrvfake,userdrivers/src/vtrans_fake.c))

$(eval $(call nom_unit,test_vring_split,tests/unit/test_vring_split.c,nomdrv nomux,))
$(eval $(call nom_unit,test_vring_packed,tests/unit/test_vring_packed.c,nomdrv nomux,))
# Each allocation can be made to fail.  A variable, for a comma would end the argument.
NOMDRV_WRAP := -Wl,--wrap=calloc -Wl,--wrap=aligned_alloc
$(eval $(call nom_unit,test_vnet_lies,tests/unit/test_vnet_lies.c,nomdrvfake nomdrv nomux,$(NOMDRV_WRAP)))
$(eval $(call nom_unit,test_vnet_fuzz,tests/unit/test_vnet_fuzz.c,nomdrvfake nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_hosted,tests/unit/test_vnet_hosted.c tests/unit/vnet_pair.c,vhostbe nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_merge,tests/unit/test_vnet_merge.c tests/unit/vnet_pair.c,vhostbe nomdrvfake nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_turn,tests/unit/test_vnet_turn.c,vhostbe nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_table,tests/unit/test_vnet_table.c,vhostbe nomdrvfake nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_ctrl,tests/unit/test_vnet_ctrl.c tests/unit/vnet_pair.c,vhostbe nomdrvfake nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_mq,tests/unit/test_vnet_mq.c,nomdrvfake nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_auto,tests/unit/test_vnet_auto.c,vhostbe nomdrv nomux,))
$(eval $(call nom_unit,test_vring_race,tests/unit/test_vring_race.c,nomdrv nomux,))
VETH_RIG := tests/unit/veth_rig.c
$(eval $(call nom_unit,test_vnet_packet,tests/unit/test_vnet_packet.c $(VETH_RIG),nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_xdp,tests/unit/test_vnet_xdp.c $(VETH_RIG),nomdrv nomux,))
VHU_RIG := tests/unit/vhu_rig.c
$(eval $(call nom_unit,test_vnet_front,tests/unit/test_vnet_front.c $(VHU_RIG),vhostbe nomdrv nomux,))
$(eval $(call nom_unit,test_vhostbe,tests/unit/test_vhostbe.c,vhostbe,))
$(eval $(call nom_unit,test_vnet_peer,tests/unit/test_vnet_peer.c,vnetpeer vhostbe,))
# A device behind registers, which these two play.
VNET_RIG := $(addprefix tests/unit/,vnet_rig.c vnet_rig_pci.c vnet_rig_mmio.c)
$(eval $(call nom_unit,test_vnet_pci,tests/unit/test_vnet_pci.c $(VNET_RIG),nomdrv nomux,))
$(eval $(call nom_unit,test_vnet_mmio,tests/unit/test_vnet_mmio.c $(VNET_RIG),nomdrv nomux,))

# Inside the guest.
$(eval $(call nom_prog,system/vnet_vfio,tests/system/vnet_vfio.c,nomdrv nomux,))
$(eval $(call nom_prog,tests/vnet_mq,tests/system/vnet_mq.c,nomdrv nomux,))
$(eval $(call nom_prog,system/vnet_modes,tests/system/vnet_modes.c,nomdrv nomux,))

# Across a TAP, by tests/scripts/vnet_tap; the hosted half sanitized.
$(eval $(call nom_prog,tests/vnet_offload,tests/tools/vnet_offload.c,nomdrv nomux,))
$(B)/asan/tests/vnet_offload: $(call aobjs,tests/tools/vnet_offload.c) $(call alibs,nomdrv nomux)
$(B)/asan/tests/nom-vhost-backend: $(call aobjs,$(VHOSTBE_TOOL)) $(call alibs,vhostbe)
DEPS += $(call aobjs,tests/tools/vnet_offload.c $(VHOSTBE_TOOL))
NOMDRV_SAN := $(B)/asan/tests/vnet_offload $(B)/asan/tests/nom-vhost-backend
$(NOMDRV_SAN):
	$(say) LD-SAN $@
	$(Q)mkdir -p $(@D) && $(CC) $(OPT) $(SAN) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lpthread -lm
units: $(NOMDRV_SAN)

# What a frame costs, for tests/perf/vnet-cost.
$(eval $(call nom_prog,tests/vnet_cost,tests/perf/vnet_cost.c,vhostbe nomdrv nomux,))

# The feature matrix in Documentation/userdrivers.rst.
$(eval $(call nom_prog,tests/vnet_features,tests/tools/vnet_features.c,nomdrv,))
$(eval $(call nom_unit,test_vnet_features,tests/unit/test_vnet_features.c,nomdrv,))

$(eval $(call nom_example,vnet-ping,userdrivers/examples/vnet-ping.c,nomdrv nomux,))
