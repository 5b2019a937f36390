/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_device.h"

#include "fd_check.h"
#include "map_limit.h"
#include "vu_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

_Static_assert(GUEST_MEM_REGIONS == VU_REGIONS, "a memory table fits");

#define START_AGAIN_NS 100000000u /* until the next try to start a pair */

/* ---- memory ---- */

/* A map of the table, of which a lot may have been touched, or that is only large. */
static void drop_map(struct vu_dev *d, struct guest_mem *m)
{
	unmapper_drop(d->nqueues ? d->queues[0]->unmapper : NULL, m);
}

/* After the maps, so that this close frees the memory of a frontend that has ended. */
static void forget_sources(struct vu_dev *d, struct guest_mem_src *src, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vu_server_drop(d->socket, src[i].fd);
}

static bool translated(const struct vu_dev *d)
{
	return d->terms.features & VSOCK_FEATURE_ACCESS_PLATFORM;
}

/* An address in SET_VRING_ADDR: a frontend address or, with ACCESS_PLATFORM, a device address. */
static uint64_t part_addr(const struct vu_ring *r, enum vhost_ring_part part)
{
	switch (part) {
	case VHOST_DESC_AREA:
		return r->addr.desc;
	case VHOST_DRIVER_AREA:
		return r->addr.avail;
	default:
		return r->addr.used;
	}
}

/* Finds the address of ring @no in our map. 0; -EFAULT: not wholly in guest memory; -EAGAIN: not
 * known yet. */
static int ring_area(struct vu_dev *d, unsigned no, const struct guest_mem *old,
		     struct vhost_ring_area *a)
{
	struct vu_ring *r = &d->ring[no];

	*a = (struct vhost_ring_area){.size = r->num, .pos = r->base};
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++) {
		uint64_t len = vhost_ring_bytes(d->terms.layout, i, r->num);
		int ret = 0;

		if (translated(d))
			ret = vu_translate_area(d, (struct iova){part_addr(r, i)},
						i == VHOST_DEVICE_AREA, len, &a->part[i]);
		else
			a->part[i] = guest_mem_uva(d->rings, (struct uva){part_addr(r, i)}, len);
		if (ret == -EAGAIN && old) {
			ret = guest_mem_gone(old, d->rings, r->at[i], len) ? -EFAULT : 0;
			a->part[i] = guest_mem_same(old, d->rings, r->at[i], len);
		}
		if (ret < 0 || !a->part[i])
			return ret < 0 ? ret : -EFAULT;
		r->at[i] = a->part[i];
		guest_shares_ring(&d->shares, a->part[i]);
	}
	return 0;
}

/*
 * Collects everything that vhost_pair_start() needs; *s owns a reference to a new payload map. 0 or
 * -errno. @old: NULL, or the map in which the pair runs: its rings stay where they are, even if
 * their translations have been flushed since.
 */
static int pair_setup(struct vu_dev *d, unsigned pair, const struct guest_mem *old,
		      struct vhost_pair_setup *s)
{
	int ret;

	memset(s, 0, sizeof(*s));
	ret = ring_area(d, vu_vq(pair, VHOST_TO_GUEST), old, &s->ring[VHOST_TO_GUEST]);
	if (ret == 0)
		ret = ring_area(d, vu_vq(pair, VHOST_FROM_GUEST), old, &s->ring[VHOST_FROM_GUEST]);
	if (ret)
		return ret;
	s->features = d->terms.features;
	s->iommu = translated(d) ? d->iommu : NULL;
	return guest_mem_import(&s->mem, d->src, d->nsrc);
}

/* ---- pairs up and down ---- */

void vu_set_features(struct vu_dev *d, uint64_t features)
{
	const struct vhost_ring_layout *was = d->terms.layout;

	d->terms.features = features;
	d->terms.layout = vhost_ring_layout_of(features);
	/* A ring without a given position is a fresh one, of this layout. */
	for (unsigned i = 0; i < d->terms.nrings && d->terms.layout != was; i++)
		if (!d->ring[i].based)
			d->ring[i].base = d->terms.layout->fresh;
}

static void event_stop(struct vu_dev *d)
{
	if (d->evt_loaded)
		d->ring[VSOCK_VQ_EVENT].base = vhost_ring_position(&d->evt);
	d->evt_loaded = false;
}

static void pair_stop(struct vu_dev *d, unsigned pair)
{
	struct vhost_pair_bases b;

	if (!vhost_pair_stop(d->queues[pair], &b))
		return;
	for (unsigned i = 0; i < 2; i++)
		d->ring[vu_vq(pair, i)].base = b.base[i];
	zv_log_limited(&d->log, ZV_LOG_INFO, "%s: queue %u is down", d->path, pair);
}

static void pair_pause(struct vu_dev *d, unsigned pair)
{
	if (!vhost_pair_pause(d->queues[pair], d->rings, &d->paused_base[pair]))
		return;
	for (unsigned i = 0; i < 2; i++) {
		struct vu_ring *r = &d->ring[vu_vq(pair, i)];

		r->base = d->paused_base[pair].base[i];
		r->stopped = r->based = false;
	}
	zv_log_limited(&d->log, ZV_LOG_INFO, "%s: queue %u is stopped", d->path, pair);
}

static bool ring_ready(const struct vu_dev *d, unsigned no)
{
	const struct vu_ring *r = &d->ring[no];

	return d->rings && r->num && r->have_addr && r->kicked && r->enabled;
}

/* A fault of the event ring is counted for queue 0: the rings that a stock driver has. */
static void event_refused(struct vu_dev *d, uint8_t broken_before)
{
	struct transport_queue *q = &d->queues[0]->tq;

	if (!d->evt.broken) {
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: no room for TRANSPORT_RESET on the event ring", d->path);
		return;
	}
	if (broken_before)
		return;
	vhost_owner_stop(&q->qs); /* the counters are the owner's */
	stats_add(&q->stats.ring_broken, 1);
	stats_add(&q->stats.rx_bad_chain, 1);
	quiesce_resume(&q->qs);
	zv_log_limited(&d->log, ZV_LOG_ERR,
		       "%s: the guest's event ring is broken: %s; no TRANSPORT_RESET until the "
		       "driver restarts it",
		       d->path, vhost_ring_fault_text(d->evt.broken));
}

/* Finds the next buffer on the event ring. 0; -EAGAIN: its translation is missing; -EPROTO: there
 * is none, or it is unusable. */
static int event_buffer(struct vhost_ring *r, uint16_t *id, struct pkt_seg *seg)
{
	struct vhost_desc d;
	uint32_t ndesc;
	int n;

	if (!vhost_ring_refresh(r) || !vhost_ring_peek(r, 0, id, &d))
		return -EPROTO;
	n = vhost_ring_walk(r, *id, seg, 1, &ndesc);
	if (n == -EAGAIN)
		return n;
	return n == 1 && seg->len >= sizeof(struct virtio_vsock_event) ? 0 : -EPROTO;
}

/* Tells the driver on the event ring that its connections are gone. */
static void send_reset(struct vu_dev *d)
{
	struct vhost_ring_area a;
	struct pkt_seg seg;
	uint16_t id;
	uint8_t broken;
	int ret;

	if (!d->reset_due || !ring_ready(d, VSOCK_VQ_EVENT))
		return;
	d->reset_due = false;
	if (!d->evt_loaded) {
		ret = ring_area(d, VSOCK_VQ_EVENT, NULL, &a);
		d->reset_due = ret == -EAGAIN;
		if (ret < 0 ||
		    vhost_ring_load(&d->evt, &a, d->rings, translated(d) ? d->iommu : NULL,
				    d->terms.features, true) < 0)
			return;
		d->evt_loaded = true;
	}
	broken = d->evt.broken;
	ret = event_buffer(&d->evt, &id, &seg);
	d->reset_due = ret == -EAGAIN;
	if (ret == -EAGAIN)
		return;
	if (ret < 0) {
		event_refused(d, broken);
		return;
	}
	memset(seg.base, 0,
	       sizeof(struct virtio_vsock_event)); /* VIRTIO_VSOCK_EVENT_TRANSPORT_RESET */
	vhost_ring_take(&d->evt);
	vhost_ring_put(&d->evt, id, sizeof(struct virtio_vsock_event));
	if (vhost_ring_publish(&d->evt)) /* told in any case, once */
		(void)vhost_ring_want_call(&d->evt);
	if (!vhost_call_send_now(&d->evt_call))
		vu_note_blocked(d);
	zv_log_limited(&d->log, ZV_LOG_INFO, "%s: TRANSPORT_RESET sent", d->path);
}

static void snapshot(const struct vu_dev *d, unsigned pair, struct vu_loaded *l)
{
	memset(l, 0, sizeof(*l));
	l->features = d->terms.features;
	for (unsigned i = 0; i < 2; i++) {
		const struct vu_ring *r = &d->ring[vu_vq(pair, i)];

		l->num[i] = r->num;
		for (unsigned k = 0; k < VHOST_RING_PARTS; k++)
			l->vring_addr[i][k] = part_addr(r, k);
	}
}

static const char *start_error(int err)
{
	switch (err) {
	case -EFAULT:
		return "a ring is not in guest memory, or not in one piece";
	case -EAGAIN:
		return "the frontend has not told where the guest's IOMMU has its rings";
	case -EBUSY:
		return "the application holds buffers of too many former sessions, or their memory "
		       "is just being unmapped";
	case -EMLINK:
		return "its regions are more than twice as large as the parts of files that they "
		       "map";
	case -ENOMEM:
		return guest_mem_maps() + GUEST_MEM_REGIONS < map_limit_peers()
			       ? zv_strerror(err)
			       : "the memory of all peers has as many mappings as it may have; "
				 "raise sysctl vm.max_map_count";
	default:
		return zv_strerror(err);
	}
}

/* What prevented a pair from starting may pass: loans come back, memory is freed. The frontend has
 * sent everything, so the retry must come from us. */
static void start_failed(struct vu_dev *d, unsigned pair, bool waited, int err)
{
	bool final = err == -EFAULT || err == -EINVAL; /* a further try would not help */

	if (!waited && err == -EAGAIN && d->backend_fd < 0)
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: queue %u waits: %s, and gives no channel to ask for it "
			       "(SET_BACKEND_REQ_FD)",
			       d->path, pair, start_error(err));
	else if (!waited || final)
		zv_log_limited(&d->log, err == -EAGAIN ? ZV_LOG_INFO : ZV_LOG_ERR,
			       "%s: queue %u %s: %s", d->path, pair,
			       err == -EAGAIN ? "waits" : "cannot start", start_error(err));
	if (final)
		return;
	d->waiting |= 1u << pair;
	vu_server_again(d->socket, START_AGAIN_NS);
}

static void pair_start(struct vu_dev *d, unsigned pair)
{
	struct vhost_pair *q = d->queues[pair];
	bool waited = d->waiting >> pair & 1;
	struct vhost_pair_setup s;
	int ret = pair_setup(d, pair, NULL, &s);

	if (ret == 0)
		ret = vhost_pair_start(q, &s);
	drop_map(d, s.mem);
	d->waiting &= ~(1u << pair);
	if (ret < 0) {
		start_failed(d, pair, waited, ret);
		return;
	}
	snapshot(d, pair, &d->loaded[pair]);
	__atomic_store_n(&d->ran, true, __ATOMIC_RELAXED);
	/* From here on the rings belong to the owner; what it takes from now on is no sign of a
	 * former session. */
	if (pair == 0 && q->tq.inherited)
		d->reset_due = true;
	zv_log_limited(&d->log, ZV_LOG_INFO, "%s: queue %u is up, %s rings of %u and %u", d->path,
		       pair, d->terms.layout->name, s.ring[VHOST_TO_GUEST].size,
		       s.ring[VHOST_FROM_GUEST].size);
}

/*
 * True: the frontend starts a ring of a paused pair where it was stopped. A ring that was only
 * disabled need not set a base; after GET_VRING_BASE the driver may have been replaced meanwhile.
 */
static bool base_unchanged(const struct vu_ring *r, struct vhost_ring_pos base)
{
	return vhost_ring_pos_same(r->base, base) && (r->based || !r->stopped);
}

/* The session of a paused pair goes on, or is over. */
static void pair_resume(struct vu_dev *d, unsigned pair, const struct vu_loaded *now)
{
	struct vhost_pair_setup s = {.mem = NULL};
	const struct vhost_pair_bases *paused_base = &d->paused_base[pair];
	struct vhost_pair_bases bases;
	bool same = memcmp(now, &d->loaded[pair], sizeof(*now)) == 0;
	int ret = -ESTALE;

	for (unsigned i = 0; i < 2; i++)
		same = same && base_unchanged(&d->ring[vu_vq(pair, i)], paused_base->base[i]);
	if (same)
		ret = pair_setup(d, pair, NULL, &s);
	if (ret == 0)
		ret = vhost_pair_resume(d->queues[pair], &s, d->rings);
	drop_map(d, s.mem);
	if (ret == 0) {
		zv_log_limited(&d->log, ZV_LOG_INFO, "%s: queue %u goes on", d->path, pair);
		return;
	}
	if (ret == -EAGAIN) {
		d->waiting |= 1u << pair;
		return;
	}
	zv_log_limited(&d->log, ZV_LOG_INFO, "%s: queue %u starts a new session: %s", d->path, pair,
		       ret == -ESTALE ? "its rings are not as they were when it was stopped"
				      : start_error(ret));
	for (unsigned i = 0; i < 2; i++)
		bases.base[i] = d->ring[vu_vq(pair, i)].base;
	pair_stop(d, pair);
	for (unsigned i = 0; i < 2; i++) /* where it was stopped is of no use any more */
		d->ring[vu_vq(pair, i)].base = bases.base[i];
	if (ret == -ESTALE)
		d->restarted(d->ctx);
}

void vu_drop_paused(struct vu_dev *d)
{
	for (unsigned i = 0; i < d->nqueues; i++)
		if (d->queues[i]->loaded && d->queues[i]->paused)
			pair_stop(d, i);
}

/* Brings the pair to the state that the frontend has asked for. */
static void pair_update(struct vu_dev *d, unsigned pair)
{
	struct vhost_pair *q = d->queues[pair];
	struct vu_loaded now;
	bool ready = ring_ready(d, vu_vq(pair, VHOST_TO_GUEST)) &&
		     ring_ready(d, vu_vq(pair, VHOST_FROM_GUEST));

	snapshot(d, pair, &now);
	if (!ready || memcmp(&now, &d->loaded[pair], sizeof(now)) != 0)
		pair_pause(d, pair);
	if (ready && q->loaded && q->paused)
		pair_resume(d, pair, &now);
	if (ready && !q->loaded)
		pair_start(d, pair);
}

void vu_start_again(struct vu_dev *d)
{
	for (unsigned i = 0; i < d->nqueues; i++)
		if (d->waiting >> i & 1)
			pair_update(d, i);
	send_reset(d);
	vu_shmem_check(d);
}

void vu_ring_update(struct vu_dev *d, unsigned no)
{
	enum vhost_direction ring;
	unsigned pair;

	if (vu_vq_pair(no, &pair, &ring))
		pair_update(d, pair);
	else if (!ring_ready(d, no))
		event_stop(d);
	send_reset(d);
	vu_shmem_check(d);
}

/* @ret of the taking of a descriptor, with a line in the log when it failed. */
struct vhost_ring_pos vu_ring_stop(struct vu_dev *d, unsigned vq)
{
	struct vu_ring *r = &d->ring[vq];

	vu_shmem_stop(d);
	r->kicked = r->have_addr = false;
	vu_ring_update(d, vq);
	r->stopped = true;
	r->based = false;
	vu_forget_translations(d); /* no INVALIDATE comes when the driver's process was killed */
	(void)vu_set_call(d, vq, -1);
	(void)vu_set_kick(d, vq, -1);
	return r->base;
}

void vu_forget_driver(struct vu_dev *d)
{
	for (unsigned i = 0; i < d->nqueues; i++) {
		pair_stop(d, i);
		vhost_pair_driver_gone(d->queues[i]);
	}
}

void vu_forget_frontend(struct vu_dev *d)
{
	event_stop(d);
	vu_shmem_stop(d);
	d->iommu->ops->set_channel(d->iommu, -1);
	vu_drop_fd(d, d->backend_fd);
	d->backend_fd = -1;
	vu_forget_translations(d);
	for (unsigned i = 0; i < d->nqueues; i++)
		pair_stop(d, i);
	vu_drop_events(d);
	guest_shares_table(&d->shares, NULL, NULL);
	drop_map(d, d->rings);
	d->rings = NULL;
	forget_sources(d, d->src, d->nsrc);
	d->nsrc = 0;
	vu_set_features(d, 0);
	d->reset_due = false;
	d->waiting = 0;
	memset(d->ring, 0, sizeof(d->ring));
	__atomic_store_n(&d->page_size, 0, __ATOMIC_RELAXED);
}

/* ---- the memory table ---- */

/* The table of a message, with duplicates of its descriptors. 0 or -errno. */
static int copy_table(struct vu_dev *d, const struct vu_exchange *x, struct guest_mem_src *src,
		      unsigned *n)
{
	const struct vu_mem_table *t = &x->msg->payload.mem;

	for (*n = 0; *n < t->nregions; (*n)++) {
		const char *why = fd_no_memory(x->fd[*n], d->disk);
		struct guest_mem_src *s = &src[*n];

		*s = (struct guest_mem_src){.gpa = {t->region[*n].gpa},
					    .uva = {t->region[*n].uva},
					    .size = t->region[*n].size,
					    .offset = t->region[*n].offset};
		s->fd = why ? -1 : fcntl(x->fd[*n], F_DUPFD_CLOEXEC, 0);
		if (s->fd >= 0)
			continue;
		zv_log_limited(
			&d->log, ZV_LOG_ERR,
			"%s: memory region %u cannot be shared: %s; use memory-backend-memfd "
			"or memory-backend-file on /dev/shm or hugetlbfs, with share=on",
			d->path, *n, why ? why : zv_strerror(errno));
		forget_sources(d, src, *n);
		return -EINVAL;
	}
	return 0;
}

int vu_take_table(struct vu_dev *d, struct vu_exchange *x)
{
	struct guest_mem_src src[GUEST_MEM_REGIONS] = {0}, was[GUEST_MEM_REGIONS];
	struct guest_mem *old = d->rings, *rings;
	unsigned n, nwas;
	int ret = copy_table(d, x, src, &n);

	if (ret < 0)
		return ret;
	ret = guest_mem_import(&rings, src, n);
	if (ret < 0) {
		zv_log_limited(&d->log, ZV_LOG_ERR, "%s: cannot map the guest's memory: %s",
			       d->path, start_error(ret));
		forget_sources(d, src, n);
		return ret;
	}
	event_stop(d);
	guest_shares_table(&d->shares, rings, src);
	memcpy(was, d->src, d->nsrc * sizeof(was[0]));
	nwas = d->nsrc;
	memcpy(d->src, src, n * sizeof(src[0]));
	d->nsrc = n;
	d->rings = rings;
	__atomic_store_n(&d->page_size, rings->page_size, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < d->nqueues; i++) {
		struct vhost_pair_setup s = {.mem = NULL};

		bool runs = d->queues[i]->loaded && !d->queues[i]->paused;

		if (runs)
			ret = pair_setup(d, i, old, &s);
		if (runs && ret == 0)
			ret = vhost_pair_switch_mem(d->queues[i], &s);
		if (ret < 0) {
			zv_log_limited(&d->log, ZV_LOG_ERR,
				       "%s: queue %u cannot go on in the new memory table: %s",
				       d->path, i,
				       ret != -EBUSY	    ? start_error(ret)
				       : d->queues[i]->full ? "buffers in use keep too many "
							      "former memory tables mapped"
							    : "buffers in use are not in it");
			pair_stop(d, i);
			ret = 0;
		}
		drop_map(d, s.mem);
		pair_update(d, i);
	}
	drop_map(d, old);
	forget_sources(d, was, nwas);
	send_reset(d);
	vu_shmem_table(d);
	return 0;
}
