/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_UNIX in the place of AF_VSOCK under guest-pmd/vsock: every machine has it. One name space of
 * ports for all devices of the process, as on one machine; everybody has CID KSOCK_UNIX_CID.
 */
#ifndef ZV_KSOCK_UNIX_H
#define ZV_KSOCK_UNIX_H

#include "vsock/ksock_net.h"

#define KSOCK_UNIX_CID 7u

extern const struct ksock_net ksock_net_unix;
/* A socket that has @port, for somebody else on this machine. */
int ksock_unix_taken(uint32_t port);

#endif
