/* SPDX-License-Identifier: BSD-3-Clause */
#include "loop.h"

#include "pair/vhost_pair.h"
#include "shm_ring.h"
#include "sigbus.h"
#include "vsock_drv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define GPA_BASE 0x100000000ull

/* With RINGS_PACKED, for which the suite is compiled a second time, all rings are packed. */
#ifdef RINGS_PACKED
#define RINGS	 vsock_rings_packed
#define FEATURES (BOTH | VSOCK_FEATURE_RING_PACKED)
#else
#define RINGS	 vsock_rings_split
#define FEATURES BOTH
#endif
#define BOTH (VSOCK_FEATURE_EVENT_IDX | VSOCK_FEATURE_INDIRECT_DESC)

static struct testbed {
	struct transport_dev guest, host;
	unsigned n;
	struct shm_region mem;
	struct vsock_pair *pair;
	struct vhost_pair host_pair[ZV_QUEUES_MAX];
	struct vhost_ring_area area[ZV_QUEUES_MAX][2]; /* fresh rings, as the device is told */
	int kick[ZV_QUEUES_MAX];
	bool up;
} W;

bool loop_unsealed;
struct bell_map *loop_ring[2];

static int loop_ringer(struct transport_dev *d, uint32_t id, struct bell_map **out)
{
	(void)d;
	for (int i = 0; i < 2; i++) {
		if (!loop_ring[i] || loop_ring[i]->id != id)
			continue;
		*out = bell_map_hold(loop_ring[i]);
		return 0;
	}
	return -ENOENT;
}

/* No regions: tests attach channels themselves. */
static const struct transport_region_ops region_ops = {.ringer = loop_ringer};

static struct vhost_ring_area area_of(const struct vsock_pair *p, const struct virtq *vq)
{
	struct virtq_areas a;

	p->layout->areas(vq, &a);
	return (struct vhost_ring_area){{a.desc, a.driver, a.device}, a.size, {a.base}};
}

/* Of pair @i, whose owner may be using it. */
static struct vhost_pair_setup setup_of(unsigned i, struct guest_mem *mem)
{
	return (struct vhost_pair_setup){
		.ring = {[VHOST_TO_GUEST] = W.area[i][VHOST_TO_GUEST],
			 [VHOST_FROM_GUEST] = W.area[i][VHOST_FROM_GUEST]},
		.mem = mem,
		.features = FEATURES,
	};
}

static struct guest_mem *import(void)
{
	struct guest_mem_src src = {.gpa = {GPA_BASE},
				    .uva = uva_of_ptr(W.mem.addr),
				    .size = W.mem.size,
				    .fd = W.mem.fd};
	struct guest_mem *m = NULL;

	if (guest_mem_import(&m, &src, 1))
		abort();
	return m;
}

static void start(void)
{
	for (unsigned i = 0; i < W.n; i++) {
		struct guest_mem *m =
			import(); /* each pair has one of its own: it may be revoked */
		struct vhost_pair_setup s;

		quiesce_stop(&W.pair[i].tq.qs);
		vsock_pair_reset(&W.pair[i], &RINGS, true);
		W.area[i][VHOST_TO_GUEST] = area_of(&W.pair[i], &W.pair[i].rx);
		W.area[i][VHOST_FROM_GUEST] = area_of(&W.pair[i], &W.pair[i].tx);
		s = setup_of(i, m);
		if (vhost_pair_start(&W.host_pair[i], &s))
			abort();
		vsock_pair_start(&W.pair[i], NULL);
		quiesce_resume(&W.pair[i].tq.qs);
		vsock_pair_wake(&W.pair[i]);
		guest_mem_put(m);
	}
	W.up = true;
}

static void stop(void)
{
	struct vhost_pair_bases b;

	for (unsigned i = 0; i < W.n && W.up; i++) {
		vhost_pair_stop(&W.host_pair[i], &b);
		quiesce_stop(&W.pair[i].tq.qs);
		vsock_pair_stop(&W.pair[i]);
		quiesce_resume(&W.pair[i].tq.qs);
		vsock_pair_wake(&W.pair[i]);
	}
	W.up = false;
}

void loop_restart(void)
{
	stop();
	start();
}

void loop_switch_mem(void)
{
	for (unsigned i = 0; i < W.n; i++) {
		struct guest_mem *m = import();
		struct vhost_pair_setup s = setup_of(i, m);

		if (vhost_pair_switch_mem(&W.host_pair[i], &s))
			abort();
		guest_mem_put(m);
	}
}

/* As a frontend's that does not seal what it hands over. */
static int unsealed_memory(size_t size)
{
	int fd = memfd_create("loop", MFD_CLOEXEC);
	void *at;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	W.mem = (struct shm_region){.addr = at, .size = size, .fd = fd, .page_size = 4096};
	return at == MAP_FAILED ? -errno : 0;
}

static int make_memory(size_t size)
{
	return loop_unsealed ? unsealed_memory(size)
			     : shm_region_create(&W.mem, "loop", size, SHM_NO_HUGE);
}

int loop_cut_off(void)
{
	static uint32_t fault;

	if (sigbus_watch(W.mem.addr, W.mem.size, &fault) < 0 || ftruncate(W.mem.fd, 0) < 0)
		return -errno;
	return 0;
}

/* The device has returned as many buffers as it has taken: it stands at @base. */
static bool returned(const struct vsock_pair *p, const struct virtq *vq, struct vhost_ring_pos base)
{
#ifdef RINGS_PACKED
	const uint32_t wrap = 1u << VRING_PACKED_EVENT_F_WRAP_CTR;
	uint32_t n = (base.v & (wrap - 1)) + (base.v & wrap ? 0 : virtq_size(vq));
#else
	uint32_t n = base.v;
#endif
	return !p->layout->used_beyond(vq, (uint16_t)n);
}

bool loop_pause(void (*meanwhile)(void *arg), void *arg)
{
	struct guest_mem *rings = import();
	bool good = true;
	struct vhost_pair_bases b;

	for (unsigned i = 0; i < W.n; i++) {
		quiesce_stop(&W.pair[i].tq.qs);
		good &= vhost_pair_pause(&W.host_pair[i], rings, &b);
		/* all that was taken has been returned */
		good &= returned(&W.pair[i], &W.pair[i].rx, b.base[VHOST_TO_GUEST]);
		good &= returned(&W.pair[i], &W.pair[i].tx, b.base[VHOST_FROM_GUEST]);
	}
	meanwhile(arg);
	for (unsigned i = 0; i < W.n; i++) {
		struct guest_mem *m = import();
		struct vhost_pair_setup s = setup_of(i, m);

		good &= vhost_pair_resume(&W.host_pair[i], &s, rings) == 0;
		guest_mem_put(m);
		quiesce_resume(&W.pair[i].tq.qs);
		vsock_pair_wake(&W.pair[i]);
	}
	guest_mem_put(rings);
	return good;
}

static int host_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	(void)rest;
	memset(&W, 0, sizeof(W));
	W.n = opts->queues;
	W.host = (struct transport_dev){.ops = &loop_host_ops, .nqueues = W.n};
	for (unsigned i = 0; i < W.n; i++)
		if (vhost_pair_init(&W.host_pair[i], i, "loop"))
			return -ENOMEM;
	*out = &W.host;
	return 0;
}

static void host_close(struct transport_dev *d)
{
	(void)d;
	stop();
	for (unsigned i = 0; i < W.n; i++)
		vhost_pair_fini(&W.host_pair[i]);
}

static int guest_open(struct transport_dev **out, const char *rest, const struct zv_opts *o)
{
	size_t ring = vsock_rings_bytes(vsock_rings, o->ring_size),
	       rx = vsock_stride(o->rx_buf) * o->ring_size;
	size_t tx = vsock_stride(o->tx_buf) * o->ring_size, one = 2 * ring + rx + tx;

	(void)rest;
	one = (one + 4095) & ~(size_t)4095;
	if (make_memory(one * W.n))
		return -ENOMEM;
	W.pair = aligned_alloc(SHM_CACHE_LINE, W.n * sizeof(*W.pair));
	if (!W.pair)
		return -ENOMEM;
	for (unsigned i = 0; i < W.n; i++) {
		uint8_t *at = (uint8_t *)W.mem.addr + one * i;
		struct iova iova = {GPA_BASE + one * i + 2 * ring};
		int call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		struct vsock_pair_conf c = {
			.ring_size = o->ring_size,
			.rx_ring = at,
			.tx_ring = at + ring,
			.rx_bufs = {at + 2 * ring, iova, vsock_stride(o->rx_buf), o->rx_buf},
			.tx_bufs = {at + 2 * ring + rx, iova_add(iova, rx), vsock_stride(o->tx_buf),
				    o->tx_buf},
			.call_fd = call,
		};

		W.kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		c.kick_rx = c.kick_tx = virtq_notify_eventfd(W.kick[i]);
		if (vsock_pair_init(&W.pair[i], &c))
			return -ENOMEM;
		if (vhost_pair_set_call(&W.host_pair[i], VHOST_TO_GUEST, call) ||
		    vhost_pair_set_call(&W.host_pair[i], VHOST_FROM_GUEST, call) ||
		    vhost_pair_set_kick(&W.host_pair[i], VHOST_FROM_GUEST, W.kick[i]))
			return -ENOMEM;
	}
	W.guest = (struct transport_dev){.ops = &loop_guest_ops, .nqueues = W.n};
	start();
	*out = &W.guest;
	return 0;
}

static void guest_close(struct transport_dev *d)
{
	(void)d;
	stop();
	for (unsigned i = 0; i < W.n; i++) {
		close(W.pair[i].call_fd);
		close(W.kick[i]);
		vsock_pair_fini(&W.pair[i]);
	}
	free(W.pair);
	shm_region_destroy(&W.mem);
}

static uint64_t loop_cid(struct transport_dev *d)
{
	(void)d;
	return LOOP_CID;
}

static uint64_t loop_page_size(struct transport_dev *d)
{
	(void)d;
	return 4096;
}

static struct transport_queue *guest_q(struct transport_dev *d, unsigned i)
{
	(void)d;
	return &W.pair[i].tq;
}

static struct transport_queue *host_q(struct transport_dev *d, unsigned i)
{
	(void)d;
	return &W.host_pair[i].tq;
}

const struct transport_ops loop_guest_ops = {
	.scheme = "loopguest",
	.role = ZV_ROLE_GUEST,
	.open = guest_open,
	.close = guest_close,
	.guest_cid = loop_cid,
	.page_size = loop_page_size,
	.queue = guest_q,
	.fd = vsock_fd,
	.regions = &region_ops,
};

const struct transport_ops loop_host_ops = {
	.scheme = "loophost",
	.role = ZV_ROLE_HOST,
	.open = host_open,
	.close = host_close,
	.guest_cid = loop_cid,
	.page_size = loop_page_size,
	.queue = host_q,
	.fd = vhost_pair_fd,
	.regions = &region_ops,
};

const struct transport_ops *const zv_builtin_transports[] = {&loop_guest_ops, &loop_host_ops, NULL};
