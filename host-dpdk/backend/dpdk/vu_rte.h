/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rte_vhost behind a private socket.
 *
 * Theory of operation
 * -------------------
 * rte_vhost keeps the state of feature negotiation: what is offered, what was accepted, whether a
 * change is allowed. It blocks when it reads its socket, maps any memory that a message names, and
 * reads rings there; so it gets neither a socket of a frontend nor any message about memory or
 * rings. For each frontend it is told to connect, as a vhost-user client, to a socket of ours, and
 * everything sent over that connection has been fully checked (vu_rules.h). So a frontend reaches
 * only the rte_vhost code for a handful of requests without descriptors, and nothing relies on
 * private layouts of DPDK.
 *
 * The socket has no name that anybody else could connect to: it is bound in a fresh directory,
 * opened with O_PATH, and both names are removed at once. rte_vhost connects to "/proc/self/fd/N",
 * which leads to the socket itself. It needs a different path for each device, so each device has
 * its own duplicate of N.
 */
#ifndef ZV_VU_RTE_H
#define ZV_VU_RTE_H

#include "vhost-user/vu_server.h"
#include "vu_limits.h"

/* Opens a link for each frontend of a device with the features of the VIRTIO vsock device. */
extern const struct vu_link_ops vu_rte_link;

#endif
