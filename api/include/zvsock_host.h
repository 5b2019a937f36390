/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host side in your own process: registers the `host:` device URI (libzvsock-host).
 */
#ifndef ZVSOCK_HOST_H
#define ZVSOCK_HOST_H

#include <zvsock.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Registers the `host:` transport and, unless the application has initialised EAL itself, runs
 * rte_eal_init with "--no-huge --no-pci" (EAL memory is off the data path). Idempotent. Call it
 * before threads are pinned: EAL binds the calling thread to a CPU, which is undone before return.
 * 0, -ENOMEM, -EIO (EAL refused; zv_error_text says why).
 *
 * Every descriptor of this library is closed on exec: neither guest memory nor sockets reach a
 * program that the process executes. DPDK's own are marked right after it has opened them (whatever
 * else is opened during zv_host_init is as well), so do not execute programs during this call.
 */
ZV_API int zv_host_init(void);

/*
 * Installs a SIGBUS handler, for the whole process: when a frontend cuts off the file behind its
 * guest's memory, that guest's queues break (ring_broken) instead of the process. Other addresses
 * are passed on to the handler that was there before. Not installed unless you ask: signal handlers
 * are the application's. Idempotent. 0 or -errno.
 */
ZV_API int zv_host_catch_sigbus(void);

#ifdef __cplusplus
}
#endif

#endif
