/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to the service manager (sd_notify(3)). Without libsystemd, or when started by hand,
 * these functions do nothing.
 */
#ifndef ZVD_NOTIFY_H
#define ZVD_NOTIFY_H

#include <zvsock.h>

/* "up": start or reload is complete; @fmt is shown by "systemctl status". */
void notify_ready(const char *fmt, ...) ZV_PRINTF(1, 2);
void notify_reloading(void);
void notify_stopping(unsigned patience_ms);

#endif
