/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interface between guest_dev.c, which builds and frees a device, and guest_control.c, which runs
 * it.
 */
#ifndef ZV_GUEST_CONTROL_H
#define ZV_GUEST_CONTROL_H

#include "guest_dev.h"

/*
 * Connects and starts all pairs with reset rings. 0, or -errno with zv_err() text; then there is no
 * connection and the pairs are down.
 */
int guest_bring_up(struct guest_dev *dev);

/* Starts the control thread of a device that is up. 0 or -errno with zv_err() text. */
int guest_control_start(struct guest_dev *dev);
/* Stops it and waits until it has ended: at most for one step of a connect. */
void guest_control_stop(struct guest_dev *dev);

#endif
