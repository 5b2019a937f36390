/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handling of a system call reported by the filter.
 */
#ifndef ZV_DROPIN_SYSCALLS_H
#define ZV_DROPIN_SYSCALLS_H

#include <limits.h>
#include <linux/seccomp.h>

#include "super.h"

#define DI_CONTINUE LONG_MIN	   /* the kernel executes it */
#define DI_DONE	    (LONG_MIN + 1) /* it is answered already, or nobody waits for an answer */

/* Returns the value of the call, -errno or one of the above. @may_block: false: another thread must
 * remain free for other calls, and there is none. */
long di_call(struct di_super *s, const struct seccomp_notif *n, bool may_block);

/* Does the call @id still wait for an answer? */
bool di_call_waits(const struct di_super *s, uint64_t id);

#endif
