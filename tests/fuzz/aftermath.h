/* SPDX-License-Identifier: MIT */
/* What must be true when nobody uses nom any more; prints TAP points. */
#ifndef NOM_AFTERMATH_H
#define NOM_AFTERMATH_H

void fz_aftermath(void);

#endif
