/* SPDX-License-Identifier: BSD-3-Clause */
/* What libzvsock brings: transports, and kinds of regions that a VM may have. */
#include "daemon/daemon_transport.h"
#include "pci/pci_transport.h"
#include "pci/region_ivshmem.h"
#include "region/region_dax.h"
#include "region/region_virtio.h"
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

const struct vm_region_kind *const vm_region_kinds[] = {&vm_region_dax, &vm_region_virtio,
							&vm_region_ivshmem, NULL};
