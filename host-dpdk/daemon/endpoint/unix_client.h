/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZVD_UNIX_CLIENT_H
#define ZVD_UNIX_CLIENT_H

#include "endpoint.h"

/* Takes the accepted client @fd, which counts against the guest's descriptors; its lcore only. */
void unix_client_begin(struct guest_queue *gq, int fd);

#endif
