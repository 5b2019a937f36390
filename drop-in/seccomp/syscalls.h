/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done with a system call that the filter has shown. */
#ifndef ZV_DROPIN_SYSCALLS_H
#define ZV_DROPIN_SYSCALLS_H

#include <limits.h>
#include <linux/seccomp.h>

#include "super.h"

#define DI_CONTINUE LONG_MIN	   /* the kernel is to do it */
#define DI_DONE	    (LONG_MIN + 1) /* it has its answer already, or nobody waits for one */

/*
 * Returns the call's value, -errno or one of the above. @may_block: false: another thread must
 * remain for other calls and there is none.
 */
long di_call(struct di_super *s, const struct seccomp_notif *n, bool may_block);

/* Does the call @id still wait for an answer? */
bool di_call_waits(const struct di_super *s, uint64_t id);

#endif
