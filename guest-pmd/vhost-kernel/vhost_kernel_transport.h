/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_VHOST_KERNEL_TRANSPORT_H
#define ZV_VHOST_KERNEL_TRANSPORT_H

#include "transport.h"

/* `vhost-kernel:cid=N` */
extern const struct transport_ops vhost_kernel_transport_ops;

/* Parses @rest, the part after the scheme, into *cid. 0; or -EINVAL with zv_err() text. */
int vhost_kernel_parse(uint64_t *cid, const char *rest);

#endif
