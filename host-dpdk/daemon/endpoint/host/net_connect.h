/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connect(2) of a guest's connection to an address in the host's network, without waiting.
 *
 * It is not always cheap: when most local ports to an address are in use, the kernel goes through
 * them all to find a free one, which takes a millisecond for the usual 28,000. A guest can bring
 * that about, and then ask again and again. So the CPU time that such calls take beyond what is
 * usual is limited: a guest has a stock of CONNECT_STOCK_NS, which grows by a CONNECT_SHARE-th of
 * the time. When it is used up, connections are refused without a call.
 */
#ifndef ZVD_NET_CONNECT_H
#define ZVD_NET_CONNECT_H

#include "core/guest.h"

#include <sys/socket.h>

#define CONNECT_USUAL_NS 300000u  /* is free of charge, at least: many times what a call takes */
#define CONNECT_STOCK_NS 5000000u /* of all queues of the guest */
#define CONNECT_SHARE	 20u

/* On the lcore of @gq. 0, -EINPROGRESS, -errno; -EADDRNOTAVAIL also without a call, and logged. */
int net_connect(struct guest_queue *gq, int fd, const struct sockaddr *addr, socklen_t len);

#endif
