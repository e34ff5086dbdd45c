/* SPDX-License-Identifier: MIT */
/* Sizes of user threads' stacks. */
#ifndef NOMUX_STACK_H
#define NOMUX_STACK_H

#include "internal.h"

#define STACK_DEFAULT	(64UL << 10)
#define STACK_MIN	(16UL << 10)
#define STACK_MAX	(1UL << 30)
#define GUARD_BYTES	NOMUX_PAGE_BYTES

#endif /* NOMUX_STACK_H */
