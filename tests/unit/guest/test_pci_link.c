/* SPDX-License-Identifier: BSD-3-Clause */
/* A PCI device whose registers are memory and whose kernel driver is a table of this file. */
#include "pci/pci_link.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cmocka.h>

struct fake {
	struct pci_link l;
	struct virtio_pci_common_cfg common;
	uint16_t doorbells[8];
	uint8_t isr[1];
	struct vsock_pair *pair;
	int removal;
	unsigned vectors; /* that the kernel has left */
	int msix_error;
	unsigned msix_calls, unmapped;
	bool closed, unmapped_late;
	int intx_error;
	uint16_t command;
};

static struct fake f;

static int fake_config(struct pci_dev *d, bool write, unsigned offset, void *data, unsigned len)
{
	(void)d;
	assert_int_equal(offset, PCI_COMMAND);
	assert_int_equal(len, sizeof(f.command));
	memcpy(write ? (void *)&f.command : data, write ? data : &f.command, len);
	return 0;
}

static void fake_close(struct pci_dev *d)
{
	d->fd = -1;
	f.closed = true;
}

static int fake_msix_set(struct pci_dev *d, const int *eventfds, unsigned n)
{
	(void)d;
	f.msix_calls++;
	for (unsigned i = 0; i < n; i++)
		assert_true(eventfds[i] >= 0);
	return f.msix_error ? f.msix_error : n > f.vectors ? -ENOSPC : 0;
}

static int fake_intx_ack(struct pci_dev *d)
{
	(void)d;
	return f.intx_error;
}

static void fake_dma_unmap(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	(void)len;
	(void)at;
	assert_false(f.command & PCI_COMMAND_MASTER);
	f.unmapped++;
	f.unmapped_late = f.closed;
}

static const struct pci_access fake_access = {
	.scheme = "fake",
	.driver = "fake",
	.close = fake_close,
	.config = fake_config,
	.msix_set = fake_msix_set,
	.intx_ack = fake_intx_ack,
	.dma_unmap = fake_dma_unmap,
};

static int watch(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(f.l.epfd, EPOLL_CTL_ADD, fd, &ev);
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.pair = aligned_alloc(SHM_CACHE_LINE, sizeof(*f.pair));
	if (!f.pair)
		return -1;
	memset(f.pair, 0, sizeof(*f.pair));
	f.pair->call_fd = eventfd(0, EFD_NONBLOCK);
	f.l.g.ev.call_fd = eventfd(0, EFD_NONBLOCK);
	f.removal = eventfd(0, EFD_NONBLOCK);
	f.l.irq_fd = -1;
	f.l.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	f.l.epfd = epoll_create1(0);
	f.l.g.pair = f.pair;
	f.l.g.d.nqueues = 1;
	f.l.g.has.rings = vsock_rings_choose(vsock_rings, 0);
	f.l.pci.access = &fake_access;
	f.l.pci.fd = 1000; /* which nobody uses */
	f.l.pci.msix = 4;
	f.vectors = 4;
	f.l.virtio = (struct virtio_pci){
		.pci = &f.l.pci,
		.common = &f.common,
		.isr = f.isr,
		.notify = (uint8_t *)f.doorbells,
		.caps = {.notify = {.length = sizeof(f.doorbells)}, .notify_multiplier = 4},
	};
	return watch(f.removal) || watch(f.l.timer_fd);
}

static int teardown(void **state)
{
	(void)state;
	pci_link_fini(&f.l);
	close(f.removal);
	close(f.pair->call_fd);
	close(f.l.g.ev.call_fd);
	free(f.pair);
	return 0;
}

/* The first ring is refused, because it has no doorbell; interrupts come before that. */
static int start(void)
{
	int ret = pci_link_ops.start(&f.l.g);

	assert_true(ret < 0);
	return ret;
}

static void interrupts_are_set_once(void **state)
{
	(void)state;
	assert_int_equal(start(), -EPROTO);
	assert_int_equal(f.l.irq, PCI_IRQ_PER_PAIR);
	assert_int_equal(start(), -EPROTO);
	assert_int_equal(f.msix_calls, 1);
}

static void fewer_vectors_than_the_device_has(void **state)
{
	(void)state;
	f.vectors = 1;
	assert_int_equal(start(), -EPROTO);
	assert_int_equal(f.l.irq, PCI_IRQ_SHARED);
	assert_int_equal(f.msix_calls, 2);
	assert_true(f.l.irq_fd >= 0);
	assert_int_equal(start(), -EPROTO);
	assert_int_equal(f.l.irq, PCI_IRQ_SHARED);
}

static void interrupts_that_fail_say_why(void **state)
{
	(void)state;
	f.msix_error = -EIO;
	assert_int_equal(start(), -EIO);
	assert_non_null(strstr(zv_error_text(), zv_strerror(-EIO)));
}

/* The owner of a queue rings where the doorbell was when the device was opened. */
static void doorbells_stay_where_they_were(void **state)
{
	struct virtio_pci_queue q = {.index = 0, .size = 16, .vector = VIRTIO_PCI_NO_VECTOR};
	struct virtio_pci *v = &f.l.virtio;

	(void)state;
	f.common.queue_size = 16;
	f.common.queue_notify_off = 1;
	q.doorbell = virtio_pci_doorbell(v, 0);
	assert_ptr_equal(q.doorbell, &f.doorbells[2]);
	assert_int_equal(virtio_pci_queue_start(v, &q), 0);
	assert_int_equal(f.common.queue_enable, 1);
	f.common.queue_enable = 0;
	f.common.queue_notify_off = 2;
	assert_int_equal(virtio_pci_queue_start(v, &q), -EPROTO);
	f.common.queue_notify_off = 4; /* beyond the last */
	q.doorbell = virtio_pci_doorbell(v, 0);
	assert_null(q.doorbell);
	f.common.queue_notify_off = 1;
	assert_int_equal(virtio_pci_queue_start(v, &q), -EPROTO);
	assert_int_equal(f.common.queue_enable, 0);
}

/* Other devices of the IOMMU group go on; what they share must not keep our memory. */
static void memory_is_unmapped_before_the_device_goes(void **state)
{
	struct dma_mem *m = &f.l.dma;

	(void)state;
	m->dev = &f.l.pci;
	m->run = calloc(2, sizeof(*m->run));
	assert_non_null(m->run);
	m->nruns = 2;
	m->run[1].mapped = true;
	f.command = PCI_COMMAND_MASTER;
	eventfd_signal(f.removal);
	assert_non_null(strstr(pci_link_ops.lost(&f.l.g), "unplugged"));
	assert_true(f.closed);
	assert_int_equal(f.unmapped, 1);
	assert_false(f.unmapped_late);
	assert_int_equal(pci_link_ops.connect(&f.l.g), -ENODEV);
	pci_link_fini(&f.l);
	assert_int_equal(f.unmapped, 1);
}

/* QEMU's rings are smaller than what is asked for by default; what cannot be is not made to fit. */
static void options_are_checked_before_they_are_fitted(void **state)
{
	const struct zv_opts o = {
		.size = sizeof(o), .ring_size = 1000, .rx_buf = 4096, .tx_buf = 4096};
	static const char *const uri[] = {"vfio:ffff:ff:1f.7", "uio:ffff:ff:1f.7"};
	struct zv_dev *d;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(zv_open(&d, uri[i], &o), -EINVAL);
		assert_non_null(strstr(zv_error_text(), "ring_size is 1000"));
	}
}

/* With uio an unplug shows in the interrupt's descriptor, which then stays readable. */
static void line_of_a_device_that_has_gone(void **state)
{
	(void)state;
	f.l.irq = PCI_IRQ_INTX;
	f.l.irq_fd = eventfd(1, EFD_NONBLOCK);
	assert_int_equal(watch(f.l.irq_fd), 0);
	assert_null(pci_link_ops.lost(&f.l.g));
	assert_false(f.closed);
	f.intx_error = -EIO;
	assert_non_null(strstr(pci_link_ops.lost(&f.l.g), "unplugged"));
	assert_true(f.closed);
	close(f.l.irq_fd);
}

static const char *tick(void)
{
	const struct itimerspec soon = {.it_value = {.tv_nsec = 1}};
	struct epoll_event ev;

	assert_int_equal(timerfd_settime(f.l.timer_fd, 0, &soon, NULL), 0);
	assert_int_equal(epoll_wait(f.l.epfd, &ev, 1, 10000), 1);
	return pci_link_ops.lost(&f.l.g);
}

static void status_is_looked_at(void **state)
{
	(void)state;
	f.common.device_status = VIRTIO_CONFIG_S_DRIVER_OK;
	assert_null(tick());
	f.common.device_status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	assert_non_null(strstr(tick(), "reset"));
	f.common.device_status = 0; /* by somebody else */
	assert_non_null(strstr(tick(), "reset"));
	assert_false(f.closed);
	f.common.device_status = 0xff;
	assert_non_null(strstr(tick(), "unplugged"));
	assert_true(f.closed);
}

/* With uio nothing but bus mastering stands between the device and memory that is freed. */
static void device_cannot_reach_what_is_freed(void **state)
{
	struct dma_mem *m = &f.l.dma;

	(void)state;
	assert_int_equal(pci_dev_start_dma(&f.l.pci), 0);
	assert_true(f.command & PCI_COMMAND_MASTER);
	m->dev = &f.l.pci;
	m->run = calloc(1, sizeof(*m->run));
	assert_non_null(m->run);
	m->nruns = 1;
	m->run[0].mapped = true;
	pci_link_fini(&f.l); /* without a reset before */
	assert_int_equal(f.unmapped, 1);
	assert_true(f.closed);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(interrupts_are_set_once),
		T(fewer_vectors_than_the_device_has),
		T(interrupts_that_fail_say_why),
		T(doorbells_stay_where_they_were),
		T(line_of_a_device_that_has_gone),
		T(status_is_looked_at),
		T(device_cannot_reach_what_is_freed),
		T(memory_is_unmapped_before_the_device_goes),
		cmocka_unit_test(options_are_checked_before_they_are_fitted),
	};

	return cmocka_run_group_tests_name("pci_link", tests, NULL, NULL);
}
