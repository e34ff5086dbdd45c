# userdrivers: virtio in ring 3.  libnomdrv needs libnomux (for hosted mode
# only its log).

NOMDRV_SRCS := $(addprefix userdrivers/src/,dev.c vdma.c vring_split.c \
	vnet.c vnet_rx.c vnet_tx.c vnet_irq.c vnet_features.c \
	vtrans_pci_modern.c pci_fn_vfio.c vnet_open_vfio.c \
	vtrans_vhost_user.c vnet_open_vhost_user.c)

$(eval $(call nom_lib,nomdrv,$(NOMDRV_SRCS)))
