/* SPDX-License-Identifier: BSD-3-Clause */
/* Questions of an application about memory that it may share, refusals, and answers (apps.h). */
#ifndef ZVD_APPS_MEMORY_H
#define ZVD_APPS_MEMORY_H

#include "core/guest.h"
#include "proto/client_msg.h"

#include <stdbool.h>
#include <sys/types.h>

/* The question in *m is refused. Its answer is written there. */
void app_refuse(struct client_msg *m, int err, const char *fmt, ...) ZV_PRINTF(3, 4);

/* Sends the answer @m on @to, and @fd (-1: none) with it. False: it is not taken; errno. */
bool app_answer(int to, const struct client_msg *m, int fd);

/*
 * Who is at the other end of @to asks on and on, and reads no answer. Descriptors in answers that
 * nobody reads count against what the user of zvsockd may send (RLIMIT_NOFILE) to all together.
 */
bool app_reads_nothing(int to);

/* @app: its device; NULL: it is not attached. A descriptor for the answer, which is in *m; or -1,
 * and a refusal is. */

/* CLIENT_REGION: one that the application has been told of. */
int app_region(const struct guest *app, struct client_msg *m);
/* CLIENT_BELLS, CLIENT_BELL, CLIENT_RING: for those that zvsockd's own region is for, @uid's among
 * themselves. */
int app_bells(const struct guest *app, uid_t uid, struct client_msg *m);

#endif
