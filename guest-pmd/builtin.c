/* SPDX-License-Identifier: BSD-3-Clause */
/* The transports that libzvsock brings. */
#include "daemon/daemon_transport.h"
#include "pci/pci_transport.h"
#include "registry.h"
#include "vhost-kernel/vhost_kernel_transport.h"
#include "vhost-user/frontend_transport.h"
#include "vsock/vsock_transport.h"

#include <stddef.h>

const struct transport_ops *const zv_builtin_transports[] = {&frontend_transport_ops,
							     &daemon_transport_ops,
							     &vfio_transport_ops,
							     &uio_transport_ops,
							     &vhost_kernel_transport_ops,
							     &vsock_transport_ops,
							     NULL};
