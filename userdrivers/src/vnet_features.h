/* SPDX-License-Identifier: MIT */
/*
 * Which virtio features vnet uses: the one table behind negotiation and behind
 * the feature matrix in Documentation/ (nom-vnet-features prints it).
 */
#ifndef NOMDRV_VNET_FEATURES_H
#define NOMDRV_VNET_FEATURES_H

enum vnet_feature_use {
	VNET_FEATURE_USED,	/* accepted when offered */
	VNET_FEATURE_ASKED,	/* accepted when offered and named in vnet_opts.features_on */
	VNET_FEATURE_NO,	/* no use for it here */
};

/**
 * struct vnet_feature - a row
 * @bit: feature bit number
 * @name: as in the specification
 * @use: whether it is negotiated
 * @why: what for, or why not
 */
struct vnet_feature {
	unsigned int bit;
	const char *name;
	enum vnet_feature_use use;
	const char *why;
};

/* The column "used" of the matrix. */
static inline const char *vnet_feature_mark(enum vnet_feature_use use)
{
	static const char *const mark[] = {
		[VNET_FEATURE_USED] = "Y", [VNET_FEATURE_ASKED] = "R", [VNET_FEATURE_NO] = "--",
	};

	return mark[use];
}

extern const struct vnet_feature vnet_features_table[];
extern const unsigned int vnet_nr_features;

#endif /* NOMDRV_VNET_FEATURES_H */
