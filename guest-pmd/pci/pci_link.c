/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_link.h"

#include "proto/vsock/vsock_device.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define WANTED                                                                                     \
	(VSOCK_FEATURE_STREAM | VSOCK_FEATURE_SEQPACKET | VSOCK_FEATURE_EVENT_IDX |                \
	 VSOCK_FEATURE_INDIRECT_DESC | VSOCK_FEATURE_VERSION_1 | VSOCK_FEATURE_ACCESS_PLATFORM)

static struct pci_link *link_of(struct guest_dev *g)
{
	return (struct pci_link *)g; /* g is the first member */
}

static int link_err(const struct pci_link *l, int err, const char *what)
{
	return zv_err(err, "%s:%s: %s", l->pci.access->scheme, l->pci.info.bdf, what);
}

/* ---- features ---- */

static int negotiate(struct pci_link *l)
{
	const uint64_t want = WANTED | l->g.want_rings;
	uint64_t offered;
	int ret;

	if (l->pci.fd < 0)
		return link_err(l, -ENODEV, "the device has been unplugged");
	ret = virtio_pci_reset(&l->virtio);
	if (ret == 0)
		ret = pci_dev_start_dma(&l->pci);
	if (ret)
		return ret;
	offered = virtio_pci_features(&l->virtio);
	if (!(offered & VSOCK_FEATURE_VERSION_1))
		ret = link_err(l, -EPROTONOSUPPORT, "the device does not offer VERSION_1");
	else if (l->features && (l->features ^ offered) & VSOCK_FEATURE_ACCESS_PLATFORM)
		ret = link_err(l, -EPROTO, "the device has changed its mind about ACCESS_PLATFORM");
	else
		ret = virtio_pci_features_set(&l->virtio, offered & want);
	if (ret)
		virtio_pci_failed(&l->virtio);
	else
		l->features = offered & want;
	return ret;
}

static int link_connect(struct guest_dev *g)
{
	struct pci_link *l = link_of(g);
	unsigned have;
	uint64_t cid;
	int ret = negotiate(l);

	if (ret)
		return ret;
	have = virtio_pci_queues(&l->virtio);
	if (have < VSOCK_VQS(g->d.nqueues))
		return zv_err(
			-ERANGE,
			"%s:%s: the device has %u virtqueues, which is %u queue pairs, not %u; "
			"several devices of one CID make one with more: %s:BDF,BDF...",
			l->pci.access->scheme, l->pci.info.bdf, have,
			(unsigned)vsock_vq_pairs(have), g->d.nqueues, l->pci.access->scheme);
	ret = virtio_pci_cid(&l->virtio, &cid);
	if (ret)
		return ret;
	/* Backends without SEQPACKET: see frontend_may_return_unwritten(). */
	g->has = (struct guest_features){.rings = vsock_rings_choose(vsock_rings, l->features),
					 .event_idx = l->features & VSOCK_FEATURE_EVENT_IDX,
					 .events = true,
					 .tables = l->features & VSOCK_FEATURE_INDIRECT_DESC,
					 .returns_unwritten =
						 !(l->features & VSOCK_FEATURE_SEQPACKET)};
	guest_dev_set_cid(g, cid);
	return 0;
}

/* ---- interrupts ---- */

static int watch(struct pci_link *l, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (fd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) == 0 || errno == EEXIST)
		return 0;
	return -errno;
}

static int set_timer(struct pci_link *l, unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	return timerfd_settime(l->timer_fd, 0, &(struct itimerspec){t, t}, NULL) < 0 ? -errno : 0;
}

/* Which fd the kernel signals for which vector. */
static int set_msix(struct pci_link *l)
{
	int fds[ZV_QUEUES_MAX + 1];
	unsigned n = l->g.d.nqueues;

	for (unsigned i = 0; i < n; i++)
		fds[i] = l->g.pair[i].call_fd;
	fds[n] = l->g.ev.call_fd;
	if (l->irq == PCI_IRQ_PER_PAIR)
		return l->pci.access->msix_set(&l->pci, fds, n + 1);
	if (l->irq_fd < 0)
		l->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return l->irq_fd < 0 ? -errno : l->pci.access->msix_set(&l->pci, &l->irq_fd, 1);
}

static int start_irqs(struct pci_link *l)
{
	struct pci_dev *pci = &l->pci;
	int ret = 0;

	if (l->irqs_set) /* a reset of the device does not concern the kernel */
		return 0;
	l->irq = pci->msix > l->g.d.nqueues ? PCI_IRQ_PER_PAIR
		 : pci->msix		    ? PCI_IRQ_SHARED
		 : pci->intx		    ? PCI_IRQ_INTX
					    : PCI_IRQ_NONE;
	if (l->irq <= PCI_IRQ_SHARED)
		ret = set_msix(l);
	if (l->irq == PCI_IRQ_PER_PAIR && ret == -ENOSPC) {
		l->irq = PCI_IRQ_SHARED;
		ret = set_msix(l);
	}
	if (l->irq == PCI_IRQ_INTX && l->irq_fd < 0)
		ret = pci->access->intx_set(pci, &l->irq_fd);
	if (ret == 0)
		ret = watch(l, l->irq_fd);
	if (ret == 0)
		ret = set_timer(l, l->irq == PCI_IRQ_NONE ? PCI_NAP_MS : PCI_HEARTBEAT_MS);
	if (ret)
		return zv_err(ret, "%s:%s: cannot set its interrupts up: %s", pci->access->scheme,
			      pci->info.bdf, zv_strerror(ret));
	l->irqs_set = true;
	if (l->irq == PCI_IRQ_NONE)
		zv_log(ZV_LOG_WARN,
		       "%s:%s: the device has no interrupt; a queue that sleeps looks every %d ms",
		       pci->access->scheme, pci->info.bdf, PCI_NAP_MS);
	return 0;
}

/* The MSI-X vector of a pair; of configuration and events, when @pair is the number of pairs. */
static uint16_t vector_of(const struct pci_link *l, unsigned pair)
{
	return l->irq == PCI_IRQ_PER_PAIR ? (uint16_t)pair
	       : l->irq == PCI_IRQ_SHARED ? 0
					  : VIRTIO_PCI_NO_VECTOR;
}

/* ---- virtqueues ---- */

static struct virtq_notify link_kick(struct guest_dev *g, unsigned vq)
{
	return virtq_notify_reg16(virtio_pci_doorbell(&link_of(g)->virtio, (uint16_t)vq),
				  (uint16_t)vq);
}

static int start_ring(struct pci_link *l, unsigned index, const struct virtq *vq,
		      const struct virtq_notify *kick, unsigned pair)
{
	struct virtio_pci_queue q = {
		.index = (uint16_t)index, .vector = vector_of(l, pair), .doorbell = kick->reg};
	struct virtq_areas areas;

	l->g.has.rings->layout->areas(vq, &areas);
	q.size = (uint16_t)areas.size;
	q.desc = dma_mem_iova(&l->dma, areas.desc);
	q.driver = dma_mem_iova(&l->dma, areas.driver);
	q.device = dma_mem_iova(&l->dma, areas.device);
	return virtio_pci_queue_start(&l->virtio, &q);
}

static int link_start(struct guest_dev *g)
{
	struct pci_link *l = link_of(g);
	unsigned n = g->d.nqueues;
	int ret = start_irqs(l);

	for (unsigned i = 0; i < n && ret == 0; i++) {
		struct vsock_pair *p = &g->pair[i];

		ret = start_ring(l, vsock_vq(i, VSOCK_VQ_RX), &p->rx, &p->kick_rx, i);
		if (ret == 0)
			ret = start_ring(l, vsock_vq(i, VSOCK_VQ_TX), &p->tx, &p->kick_tx, i);
	}
	if (ret == 0)
		ret = start_ring(l, VSOCK_VQ_EVENT, &g->ev.vq, &g->ev.kick, n);
	if (ret)
		return ret;
	if (l->irq <= PCI_IRQ_SHARED && virtio_pci_config_vector(&l->virtio, vector_of(l, n)))
		return link_err(l, -ENOSPC,
				"the device has no interrupt vector for its configuration");
	virtio_pci_driver_ok(&l->virtio);
	l->connected = true;
	return 0;
}

static void link_disconnect(struct guest_dev *g)
{
	struct pci_link *l = link_of(g);

	l->connected = false;
	g->gone = l->pci.fd < 0;
	if (g->gone)
		return;
	/*
	 * A device that does not finish its reset loses its access to memory at close. The text of
	 * that failure would hide the cause.
	 */
	g->gone = virtio_pci_stop(&l->virtio) == 0;
}

static int link_read_cid(struct guest_dev *g)
{
	struct pci_link *l = link_of(g);
	uint64_t cid;
	int ret = virtio_pci_cid(&l->virtio, &cid);

	if (ret == 0)
		guest_dev_set_cid(g, cid);
	return ret;
}

/* ---- what happens to a device that runs ---- */

static void wake_all(struct pci_link *l)
{
	for (unsigned i = 0; i < l->g.d.nqueues; i++)
		vsock_pair_wake(&l->g.pair[i]);
	eventfd_signal(l->g.ev.call_fd);
}

/* Gives the device back to the kernel; it cannot be opened again. */
static const char *return_device(struct pci_link *l, const char *why)
{
	l->connected = false;
	/* Another device of its IOMMU group may keep the mappings of this memory alive. */
	(void)virtio_pci_stop(&l->virtio);
	pci_dev_stop_dma(&l->pci);
	dma_mem_unmap(&l->dma);
	pci_app_mems_end(l);
	pci_dev_detach(&l->pci);
	return why;
}

static const char *on_irq(struct pci_link *l)
{
	uint64_t count;

	if (l->irq == PCI_IRQ_INTX) {
		/* Lowers the line, before it is unmasked. */
		(void)virtio_pci_isr(&l->virtio);
		if (l->pci.access->intx_ack(&l->pci))
			return return_device(l, "the device has been unplugged");
	} else if (read(l->irq_fd, &count, sizeof(count)) < 0) {
		return NULL;
	}
	wake_all(l);
	return NULL;
}

static const char *on_timer(struct pci_link *l)
{
	uint64_t count;

	if (read(l->timer_fd, &count, sizeof(count)) < 0)
		return NULL;
	if (l->irq == PCI_IRQ_NONE)
		wake_all(l);
	switch (virtio_pci_check(&l->virtio)) {
	case 0:
		return NULL;
	case -EIO:
		return "the device asks for a reset, or has been reset";
	default:
		return return_device(l, "the device has been unplugged");
	}
}

static int link_fd(struct guest_dev *g)
{
	return link_of(g)->connected ? link_of(g)->epfd : -1;
}

static const char *link_lost(struct guest_dev *g)
{
	struct pci_link *l = link_of(g);
	struct epoll_event ev[3];
	const char *why = NULL;
	int n = epoll_wait(l->epfd, ev, 3, 0);

	for (int i = 0; i < n && !why; i++) {
		if (ev[i].data.fd == l->timer_fd)
			why = on_timer(l);
		else if (ev[i].data.fd == l->irq_fd)
			why = on_irq(l);
		else
			why = return_device(
				l, "the kernel wants the device back (it is being unplugged)");
	}
	return why;
}

/* ---- memory ---- */

static int link_alloc(struct guest_dev *g, struct guest_part *parts, unsigned n)
{
	struct pci_link *l = link_of(g);
	bool physical = !l->pci.access->confined || !(l->features & VSOCK_FEATURE_ACCESS_PLATFORM);
	int ret = dma_mem_create(&l->dma, &l->pci, parts, n, physical);

	g->page_size = l->dma.page_size;
	return ret;
}

static void link_destroy(struct guest_dev *g)
{
	struct pci_link *l = link_of(g);

	pci_link_fini(l);
	free(l);
}

const struct guest_link_ops pci_link_ops = {
	.alloc = link_alloc,
	.kick = link_kick,
	.connect = link_connect,
	.start = link_start,
	.disconnect = link_disconnect,
	.read_cid = link_read_cid,
	.fd = link_fd,
	.lost = link_lost,
	.destroy = link_destroy,
	.silent = true, /* the VMM keeps the device when its backend goes */
};

int pci_link_init(struct pci_link *l, const struct pci_access *access, const char *bdf)
{
	int ret;

	l->irq_fd = l->timer_fd = l->epfd = -1;
	pci_app_mems_init(&l->app);
	ret = pci_dev_open(&l->pci, access, bdf);
	if (ret)
		return ret;
	ret = virtio_pci_init(&l->virtio, &l->pci);
	if (ret == 0)
		ret = negotiate(l);
	if (ret == 0) {
		l->epfd = epoll_create1(EPOLL_CLOEXEC);
		l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (l->epfd < 0 || l->timer_fd < 0 || watch(l, l->timer_fd) ||
		    watch(l, access->removal_fd(&l->pci)))
			ret = link_err(l, -errno, zv_strerror(errno));
	}
	if (ret)
		pci_link_fini(l);
	return ret;
}

int pci_link_shm(struct pci_link *l, struct vm_region_own *out)
{
	const struct virtio_pci_shm *s = &l->virtio.caps.shm;
	uint64_t start, size;
	int ret;

	if (!s->length)
		return -ENOENT;
	ret = pci_bar_range(PCI_SYSFS, l->pci.info.bdf, s->bar, &start, &size);
	if (ret)
		return link_err(l, ret, "sysfs does not say where its shared memory is");
	ret = pci_dev_bar(&l->pci, s->bar);
	if (ret)
		return ret;
	*out = (struct vm_region_own){.addr = l->pci.bar[s->bar].addr + s->offset,
				      .size = s->length,
				      .gpa = {start + s->offset}};
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

void pci_link_fini(struct pci_link *l)
{
	pci_dev_stop_dma(&l->pci);
	dma_mem_destroy(&l->dma);
	pci_app_mems_end(l);
	if (l->irq == PCI_IRQ_SHARED)
		close_fd(l->irq_fd);
	close_fd(l->timer_fd);
	close_fd(l->epfd);
	pci_dev_close(&l->pci);
	l->irq_fd = l->timer_fd = l->epfd = -1;
}
