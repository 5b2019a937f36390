/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_app_mem.h"

#include "pci_link.h"
#include "proto/vsock/vsock_device.h"

#include <errno.h>

static struct pci_link *link_of(struct transport_dev *d)
{
	return (struct pci_link *)(void *)d; /* g.d is the first member */
}

void pci_app_mems_init(struct pci_app_mems *m)
{
	(void)pthread_mutex_init(&m->lock, NULL);
}

/* Under the lock. */
static void unmap(struct pci_dev *pci, struct pci_app_mem *p)
{
	pci->access->dma_unmap(pci, p->len, p->at);
	pci->access->iova_put(pci, p->len, p->at);
	p->len = 0;
}

void pci_app_mems_end(struct pci_link *l)
{
	(void)pthread_mutex_lock(&l->app.lock);
	for (unsigned i = 0; i < ZV_MEM_MAX && !l->app.over; i++)
		if (l->app.mem[i].len)
			unmap(&l->pci, &l->app.mem[i]);
	l->app.over = true;
	(void)pthread_mutex_unlock(&l->app.lock);
}

/* Under the lock. */
static int map(struct pci_link *l, const struct transport_mem *m, struct iova *at)
{
	struct pci_dev *pci = &l->pci;
	struct pci_app_mem *p = l->app.mem;
	int ret;

	if (l->app.over)
		return zv_err(-ENODEV,
			      "zv_mem_register: %s:%s has been unplugged: payload is copied",
			      pci->access->scheme, pci->info.bdf);
	while (p < l->app.mem + ZV_MEM_MAX && p->len)
		p++;
	if (p == l->app.mem + ZV_MEM_MAX)
		return zv_err(-ENOSPC,
			      "zv_mem_register: %u pieces of memory are registered, as many as "
			      "there can be: payload of this one is copied",
			      ZV_MEM_MAX);
	do { /* another device of the IOMMU group may have something there */
		ret = pci->access->iova(pci, m->len, at);
		if (ret)
			break;
		ret = pci->access->dma_map(pci, m->addr, m->len, *at);
		if (ret && ret != -EEXIST)
			pci->access->iova_put(pci, m->len, *at);
	} while (ret == -EEXIST);
	if (ret)
		return zv_err(ret,
			      "zv_mem_register: %s:%s: the IOMMU does not map %zu KiB: %s%s: "
			      "payload is copied",
			      pci->access->scheme, pci->info.bdf, m->len >> 10, zv_strerror(ret),
			      ret == -ENOMEM ? " (see RLIMIT_MEMLOCK)" : "");
	*p = (struct pci_app_mem){m->len, *at};
	return 0;
}

int pci_app_mem_map(struct transport_dev *d, const struct transport_mem *m, struct iova *at)
{
	struct pci_link *l = link_of(d);
	int ret;

	if (!l->pci.access->confined || !(l->features & VSOCK_FEATURE_ACCESS_PLATFORM))
		return zv_err(
			-EOPNOTSUPP,
			"zv_mem_register: %s:%s has physical addresses, not those of an IOMMU "
			"(QEMU: iommu_platform=on): payload is copied",
			l->pci.access->scheme, l->pci.info.bdf);
	(void)pthread_mutex_lock(&l->app.lock);
	ret = map(l, m, at);
	(void)pthread_mutex_unlock(&l->app.lock);
	return ret;
}

void pci_app_mem_unmap(struct transport_dev *d, struct iova at)
{
	struct pci_link *l = link_of(d);

	(void)pthread_mutex_lock(&l->app.lock);
	for (unsigned i = 0; i < ZV_MEM_MAX; i++)
		if (l->app.mem[i].len && l->app.mem[i].at.v == at.v)
			unmap(&l->pci, &l->app.mem[i]);
	(void)pthread_mutex_unlock(&l->app.lock);
}
