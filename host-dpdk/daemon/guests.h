/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest, or a device that zvsockd drives as one, from its configuration to its end. Main thread.
 */
#ifndef ZVD_GUESTS_H
#define ZVD_GUESTS_H

#include "core/daemon.h"

/*
 * Starts the guest that @cfg describes; it is not in d->guests yet. NULL: it cannot be started, and
 * @why, of GUEST_WHY_MAX bytes, has a sentence that says what is wrong and how to mend it. Nothing
 * is left behind then.
 */
struct guest *guest_start(struct daemon *d, const struct cfg_guest *cfg, char *why);

/* Says so when its device has another CID than before, as after TRANSPORT_RESET. */
void guest_look(struct guest *g);

/* Ends @g, which is not in d->guests any more; its connections are reset. */
void guest_stop(struct daemon *d, struct guest *g);

#endif
