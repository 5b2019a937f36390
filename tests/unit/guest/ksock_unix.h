/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_UNIX in the place of AF_VSOCK under guest-pmd/vsock: every machine has it. One name space of
 * ports for all devices of the process, as on one machine (and its
 * children's); everybody has CID KSOCK_UNIX_CID.
 */
#ifndef ZV_KSOCK_UNIX_H
#define ZV_KSOCK_UNIX_H

#include "vsock/ksock_net.h"

#define KSOCK_UNIX_CID 7u

extern const struct ksock_net ksock_net_unix;
extern bool ksock_unix_unprivileged; /* ports below 1024 are for others */
/* Called before each connect(); or NULL. */
extern void (*ksock_unix_connecting)(uint32_t port);
/* A socket that has @port, for somebody else on this machine. */
int ksock_unix_taken(uint32_t port);

#endif
