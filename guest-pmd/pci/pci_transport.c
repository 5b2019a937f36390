/* SPDX-License-Identifier: BSD-3-Clause */
/* The transports `vfio:` and `uio:`: the driver on virtio-vsock PCI devices of the VM it runs in.
 */
#include "pci_transport.h"

#include "pci_link.h"
#include "proto/vsock/vsock_device.h"
#include "transport/guest_bond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The device's rings may be smaller than what was asked for, but not larger. */
static int fit_rings(struct pci_link *l, struct zv_opts *o)
{
	unsigned pairs = o->queues ? o->queues : 1;

	for (unsigned vq = 0; vq < VSOCK_VQS(pairs); vq++) {
		unsigned max = virtio_pci_queue_max(&l->virtio, (uint16_t)vq);

		if (vq == VSOCK_VQ_EVENT && max >= VSOCK_EVENT_RING)
			continue;
		if (max & (max - 1) || max < 16)
			return zv_err(
				-ERANGE,
				"%s:%s: virtqueue %u of the device has %u entries; "
				"%s",
				l->pci.access->scheme, l->pci.info.bdf, vq, max,
				max ? "the driver needs a power of two, at least 16"
				    : "there is none, so it has fewer queue pairs than asked for");
		if (vq != VSOCK_VQ_EVENT && o->ring_size > max)
			o->ring_size = max;
	}
	return 0;
}

/* The shared memory of the first device that has some; NULL: none has. */
static const struct vm_region_own *shm_of(struct vm_region_own *shm, struct transport_dev *const *d,
					  unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int ret = pci_link_shm((struct pci_link *)(void *)d[i], shm);

		if (ret == 0)
			return shm;
		if (ret != -ENOENT)
			zv_log(ZV_LOG_WARN, "%s; it is not used", zv_error_text());
	}
	return NULL;
}

static int open_one(struct transport_dev **out, const char *bdf, const char *region,
		    const struct zv_opts *opts, const struct pci_access *access,
		    const struct transport_ops *ops)
{
	struct zv_opts fitted = *opts;
	struct pci_link *l = calloc(1, sizeof(*l));
	struct transport_dev *d = (struct transport_dev *)(void *)l;
	struct vm_region_own shm;
	int ret;

	if (!l)
		return zv_err(-ENOMEM, "no memory for the device %s:%s", access->scheme, bdf);
	l->g.d.ops = ops;
	l->g.link = &pci_link_ops;
	l->g.scheme = access->scheme;
	ret = pci_link_init(l, access, bdf);
	if (ret) {
		free(l);
		return ret;
	}
	l->g.name = l->pci.info.bdf;
	ret = fit_rings(l, &fitted);
	if (ret == 0)
		ret = own_region_find(&l->g.own, access->scheme, region, opts, shm_of(&shm, &d, 1));
	if (ret) {
		pci_link_fini(l);
		free(l);
		return ret;
	}
	ret = guest_dev_open(&l->g, &fitted);
	if (ret == 0)
		*out = &l->g.d;
	return ret;
}

static int open_several(struct transport_dev **out, const char *bdfs, const char *which,
			const struct zv_opts *opts, const struct pci_access *access,
			const struct transport_ops *ops)
{
	struct vm_region_own shm;
	struct own_region region;
	int ret = guest_bond_open(out, bdfs, opts, ops, "device");

	if (ret)
		return ret;
	ret = own_region_find(&region, access->scheme, which, opts,
			      shm_of(&shm, guest_bond_members(*out), (*out)->nqueues));
	if (ret)
		(*out)->ops->close(*out);
	else
		guest_bond_share_region(*out, &region);
	own_region_release(&region);
	return ret;
}

static int open_any(struct transport_dev **out, const char *rest, const struct zv_opts *opts,
		    const struct pci_access *access, const struct transport_ops *ops)
{
	const char *which;
	char *bdfs;
	int ret = own_region_option(access->scheme, rest, &bdfs, &which);

	if (ret)
		return ret;
	ret = strchr(bdfs, ',') ? open_several(out, bdfs, which, opts, access, ops)
				: open_one(out, bdfs, which, opts, access, ops);
	free(bdfs);
	return ret;
}

static int vfio_transport_open(struct transport_dev **out, const char *rest,
			       const struct zv_opts *opts)
{
	return open_any(out, rest, opts, &pci_vfio_access, &vfio_transport_ops);
}

static int uio_transport_open(struct transport_dev **out, const char *rest,
			      const struct zv_opts *opts)
{
	return open_any(out, rest, opts, &pci_uio_access, &uio_transport_ops);
}

const struct transport_ops vfio_transport_ops = {
	.scheme = "vfio",
	.role = ZV_ROLE_GUEST,
	.open = vfio_transport_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.fd = vsock_fd,
	.mem_map = pci_app_mem_map,
	.mem_unmap = pci_app_mem_unmap,
	.regions = &own_region_ops,
};

const struct transport_ops uio_transport_ops = {
	.scheme = "uio",
	.role = ZV_ROLE_GUEST,
	.open = uio_transport_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.fd = vsock_fd,
	.regions = &own_region_ops,
};
