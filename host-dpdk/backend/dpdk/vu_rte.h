/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rte_vhost behind a private socket.
 *
 * Theory of operation
 * -------------------
 * rte_vhost keeps the state of feature negotiation: what is offered, what was accepted, whether a
 * change is allowed. It reads its socket blocking, maps whatever memory a message names, and reads
 * rings there; so it is given no socket of a frontend and no message about memory or rings. For
 * each frontend it is asked to connect, as a vhost-user client, to a socket of ours, and what
 * passes over that connection has been checked whole (vu_rules.h). So a frontend reaches no code of
 * rte_vhost but that of a handful of requests without descriptors, and nothing of DPDK's private
 * layouts is relied on.
 *
 * The socket has no name that anybody else could connect to: it is bound in a fresh directory,
 * opened by O_PATH, and both names are removed at once. rte_vhost connects to "/proc/self/fd/N",
 * which leads to the socket itself. It wants another path for each device, so each has its own
 * duplicate of N.
 */
#ifndef ZV_VU_RTE_H
#define ZV_VU_RTE_H

#include "vhost-user/vu_server.h"
#include "vu_limits.h"

/* A link for each frontend of a device that offers the features of VIRTIO's vsock device. */
extern const struct vu_link_ops vu_rte_link;

#endif
