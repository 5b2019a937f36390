/* SPDX-License-Identifier: BSD-3-Clause */
/* The address family AF_VSOCK, for the three targets that use it. */
#ifndef BENCH_VSOCK_FAMILY_H
#define BENCH_VSOCK_FAMILY_H

#include "io/sock/kernel_socket.h"

#include <linux/vm_sockets.h>

/* VM_SOCKETS names it since Linux 5.6. */
#define VSOCK_CID_LOCAL 1u

extern const struct socket_family vsock_family;

#endif
