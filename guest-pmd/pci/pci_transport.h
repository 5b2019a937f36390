/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_PCI_TRANSPORT_H
#define ZV_PCI_TRANSPORT_H

#include "transport.h"

/* `vfio:BDF[,BDF...]` and `uio:BDF[,BDF...]` */
extern const struct transport_ops vfio_transport_ops, uio_transport_ops;

#endif
