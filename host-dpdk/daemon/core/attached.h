/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VMM that is attached to a guest's socket, but starts no queue. A guest that boots looks the
 * same for as long as it takes, so this is a hint and no error: one line for each attachment, and
 * never once a queue has run.
 */
#ifndef ZVD_ATTACHED_H
#define ZVD_ATTACHED_H

#include "guest.h"

#include <zvsock.h>

#define ATTACHED_HINT_NS 30000000000ull

/* What may be wrong with the guest, and how to mend it; static. NULL: nothing is known to be. */
const char *attached_hint(const struct guest *g, const struct zv_dev_info *info, uint64_t now);
/* Writes it to the log, unless that has been done since the VMM attached. Main thread. */
void attached_check(struct guest *g, uint64_t now);

#endif
