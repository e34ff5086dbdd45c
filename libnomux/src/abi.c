// SPDX-License-Identifier: MIT
/*
 * The ABI's sizes, checked when the library is built and when it is loaded.
 *
 * A change below breaks programs that are not rebuilt: then NOMUX_ABI_VERSION and,
 * after 1.0, the soname must change with it.
 */
#include <nomux/abi.h>

#include <errno.h>
#include <syslog.h>

#include <nomux/log.h>

#include "internal.h"

_Static_assert(NOMUX_ABI_VERSION == 1, "look at the sizes below");
_Static_assert(sizeof(struct nomux_mutex) == 40, "ABI: struct nomux_mutex");
_Static_assert(sizeof(struct nomux_rwlock) == 48, "ABI: struct nomux_rwlock");
_Static_assert(sizeof(struct nomux_cond) == 32, "ABI: struct nomux_cond");
_Static_assert(sizeof(struct nomux_sem) == 72, "ABI: struct nomux_sem");
_Static_assert(sizeof(struct nomux_clock) == 40, "ABI: struct nomux_clock");
_Static_assert(NOMUX_CORE_SHARED_OFFSET == 4096, "ABI: the shared page's place");

int nomux__abi_check(const struct nomux_abi *abi)
{
	static const struct nomux_abi here = NOMUX_ABI_HERE;
	const uint32_t *a = &abi->version, *b = &here.version;
	static const char *const what[] = {
		"version", "place of the shared page", "size of struct nomux_mutex",
		"size of struct nomux_rwlock", "size of struct nomux_cond",
		"size of struct nomux_sem", "size of struct nomux_clock",
		"size of struct nom_frame", "size of struct nom_shared",
	};
	size_t known = (abi->sz - offsetof(struct nomux_abi, version)) / sizeof(*a), i;

	if (abi->sz < offsetof(struct nomux_abi, shared_offset))
		return -EPROTO;
	for (i = 0; i < ARRAY_SIZE(what) && i < known; i++) {
		if (a[i] == b[i])
			continue;
		nomux_log(LOG_ERR, "nomux: the library does not fit the program, %s: %u here, %u there; "
			  "rebuild the program", what[i], b[i], a[i]);
		return -EPROTO;
	}
	return 0;
}
