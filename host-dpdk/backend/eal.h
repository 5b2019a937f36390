/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_EAL_H
#define ZV_EAL_H

/*
 * Initialises EAL, unless that has been done; its log lines go to zv_log(). 0, -ENOMEM or -EIO
 * with zv_err() text. Idempotent; any thread.
 */
int eal_start(void);

#endif
