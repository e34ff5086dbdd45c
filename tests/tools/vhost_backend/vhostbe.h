/* SPDX-License-Identifier: MIT */
/* The device that tests step by hand, where they look for it; it is userdrivers' other end. */
#include "../../../userdrivers/vhostbe/vhostbe.h"
