/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls on a connection other than sending and receiving; arguments are checked. */
#ifndef ZV_CLOSE_H
#define ZV_CLOSE_H

#include "socket/core/state.h"

int conn_close(struct zv_conn *c);
int conn_reset(struct zv_conn *c);
/* @how: 0, 1 or 2, as zv_shutdown. */
int conn_shutdown(struct zv_conn *c, unsigned how);
int conn_answer(struct zv_conn *c, int err);

#endif
