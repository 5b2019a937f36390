/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest, or a device that zvsockd drives as one, from its configuration to its end. Main thread.
 */
#ifndef ZVD_GUESTS_H
#define ZVD_GUESTS_H

#include "core/daemon.h"

/*
 * Starts the guest described by @cfg; it is not in d->guests yet. NULL: it cannot be started; @why,
 * of GUEST_WHY_MAX bytes, says in one sentence what is wrong and how to fix it, and nothing is left
 * behind.
 */
struct guest *guest_start(struct daemon *d, const struct cfg_guest *cfg, char *why);

/* Logs when the CID of its device has changed, as after TRANSPORT_RESET. */
void guest_check(struct guest *g);

/* Ends @g, which is no longer in d->guests; its connections are reset. Returns the flags of its
 * device (ZV_DEV_*) at the end. */
uint32_t guest_stop(struct daemon *d, struct guest *g);

#endif
