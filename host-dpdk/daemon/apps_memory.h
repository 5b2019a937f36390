/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests of an application about memory that it may share, refusals, and answers (apps.h).
 */
#ifndef ZVD_APPS_MEMORY_H
#define ZVD_APPS_MEMORY_H

#include "core/guest.h"
#include "proto/local/client_msg.h"

#include <stdbool.h>
#include <sys/types.h>

/* Turns the request in *m into the answer that refuses it. */
void app_refuse(struct client_msg *m, int err, const char *fmt, ...) ZV_PRINTF(3, 4);

/* Sends the answer @m on @to, with @fd (-1: none). False: not sent; errno. */
bool app_answer(int to, const struct client_msg *m, int fd);

/* True: the peer of @to keeps asking and reads no answers. Descriptors in unread answers count
 * against what the user of zvsockd may have in transit in all (RLIMIT_NOFILE). */
bool app_reads_nothing(int to);

/* @app: its device; NULL: it is not attached. These return a descriptor for the answer in *m; or
 * -1, with a refusal in *m. */

/* CLIENT_REGION: a region that the application has been told of. */
int app_region(const struct guest *app, struct client_msg *m);
/* CLIENT_BELLS, CLIENT_BELL, CLIENT_RING: for applications that may use zvsockd's own region, those
 * of @uid among themselves. *logged: that it gets none for its queues is in the log. */
int app_bells(const struct guest *app, uid_t uid, bool *logged, struct client_msg *m);

#endif
