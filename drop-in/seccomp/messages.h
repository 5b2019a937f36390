/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that carry an address with data. Each returns what to do, as in syscalls.c.
 */
#ifndef ZV_DROPIN_MESSAGES_H
#define ZV_DROPIN_MESSAGES_H

#include "call.h"

long call_sendto(struct call *c);
long call_sendmsg(struct call *c);
long call_sendmmsg(struct call *c);
long call_recvfrom(struct call *c);
long call_recvmsg(struct call *c);
long call_recvmmsg(struct call *c);

#endif
