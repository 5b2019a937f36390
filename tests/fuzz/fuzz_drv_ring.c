/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's rings and packet layer against a device that writes what it likes.
 *
 * One pair with small rings and buffers, each ring and each array of buffers allocated to the byte.
 * The device shares all of them: it completes buffers honestly, writes any used entry, index or
 * header, overwrites descriptors and avail rings, and does so between any two calls of the owner.
 * The control thread stops, resets and starts the pair and handles the event ring at any time.
 * What must hold, whatever the device has done:
 *   - a received packet lies inside the buffer that its token names, and no buffer is given to the
 *     owner a second time before it is released; the same for reserved buffers;
 *   - a fault ends the session and stays until the ring is reset;
 *   - no transmit buffer is ever lost or there twice: free + reserved + in flight = ring size; no
 *     receive buffer is posted while it is lent.
 */
#include "fuzz.h"
#include "vsock_drv.h"
#include "vsock_priv.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IOVA ((struct iova){0x40000000ull})
#define MAXN 64u

#ifdef RINGS_PACKED
#define RINGS vsock_rings_packed

/* A ring as the device sees it. */
struct dev_ring {
	struct vring_packed_desc *desc;
	uint32_t *driver_event, *device_event;
	uint32_t size, mask;
};
#else
#define RINGS vsock_rings_split

/* A ring as the device sees it. */
struct dev_ring {
	struct vring_avail *avail;
	struct vring_used *used;
	uint32_t size, mask;
};

#endif

struct testbed {
	struct vsock_pair *p;
	struct transport_queue *q;
	struct vsock_events ev;
	uint32_t n, payload;
	size_t stride;
	uint8_t *rx_mem, *tx_mem, *ev_mem;
	void *ring[3];
	struct dev_ring dev[3];
	uint16_t dev_avail[2], dev_used[2]; /* the honest device's positions */
	bool held_rx[MAXN], held_tx[MAXN];
	struct tx_slot slot[MAXN]; /* by token */
	bool event_idx;
	enum virtq_fault fault[2];
};

static int fds[5]; /* call, kick rx, kick tx, event call, event kick; made once */

static void make_fds(void)
{
	for (unsigned i = 0; i < 5 && !fds[i]; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static size_t ring_bytes(uint32_t size)
{
	return RINGS.layout->bytes(size);
}

static struct virtq *ring_of(struct testbed *w, unsigned i)
{
	return i == 0 ? &w->p->rx : i == 1 ? &w->p->tx : &w->ev.vq;
}

static void check(struct testbed *w)
{
	struct vsock_pair *p = w->p;
	uint32_t rx_out = 0, tx_busy = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct virtq *vq = ring_of(w, i);

		FZ_CHECK(!w->fault[i] || virtq_fault(vq) == w->fault[i]);
		w->fault[i] = virtq_fault(vq);
		FZ_CHECK(virtq_in_flight(vq) <= w->n);
	}
	for (uint32_t i = 0; i < w->n; i++) {
		rx_out += w->held_rx[i];
		FZ_CHECK(w->held_rx[i] == (p->rx_state[i] == RX_LENT));
		FZ_CHECK(w->held_tx[i] == (p->tx_state[i] != TX_FREE));
		FZ_CHECK(!(w->held_rx[i] && virtq_has(&p->rx, (uint16_t)i)));
		FZ_CHECK(!(w->held_tx[i] && virtq_has(&p->tx, (uint16_t)i)));
		tx_busy += w->held_tx[i] + virtq_has(&p->tx, (uint16_t)i);
	}
	FZ_CHECK(p->hot_rx.lent == rx_out);
	FZ_CHECK(hot_tx_free(&p->hot_tx) + tx_busy == w->n);
	if (w->q->up)
		FZ_CHECK(virtq_in_flight(&p->rx) + rx_out + p->hot_rx.nspare + p->rest_n == w->n);
}

/* ---- the device ---- */

/* The header of a packet in receive buffer @id; the bytes that are written there. */
static uint32_t packet(struct testbed *w, struct fz *z, uint16_t id)
{
	struct vsock_hdr h = {.src_cid = 2, .dst_cid = 3, .op = VSOCK_OP_RW, .type = 1};

	h.len = fz_below(z, w->payload + 2); /* one byte too much is possible */
	vsock_hdr_put(w->rx_mem + id * w->stride + VSOCK_HDR_OFF, &h);
	return VSOCK_HDR_LEN + h.len;
}

#ifdef RINGS_PACKED

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

static struct dev_ring dev_ring_of(const struct virtq_areas *a)
{
	return (struct dev_ring){a->desc, a->driver, a->device, a->size, a->size - 1};
}

static uint16_t used_marks(const struct dev_ring *r, uint16_t n)
{
	return n & r->size ? 0 : AVAIL | USED;
}

/* Completes the next available buffer of ring @i. */
static void complete(struct testbed *w, struct fz *z, unsigned i)
{
	struct dev_ring *r = &w->dev[i];
	uint16_t n = w->dev_used[i];
	struct vring_packed_desc *d = &r->desc[n & r->mask];
	uint16_t id = (uint16_t)(d->id & r->mask);

	if ((d->flags & (AVAIL | USED)) != (n & r->size ? USED : AVAIL))
		return;
	d->id = id;
	d->len = i == 0 ? packet(w, z, id) : 0;
	d->flags = used_marks(r, n);
	w->dev_used[i]++;
}

static void dev_entry(struct testbed *w, struct fz *z)
{
	struct dev_ring *r = &w->dev[fz_below(z, 3)];
	struct vring_packed_desc *d = &r->desc[fz_u8(z) & r->mask];
	uint8_t how = fz_u8(z);

	d->id = (uint16_t)(how & 1 ? fz_u16(z) : fz_below(z, r->size));
	d->len = how & 2 ? fz_u32(z) : fz_u8(z);
	d->flags = (uint16_t)((how & 4 ? AVAIL : 0) | (how & 8 ? USED : 0));
}

/* What the driver looks at next is used, whatever it is; or another wish. */
static void dev_index(struct testbed *w, struct fz *z)
{
	unsigned i = fz_below(z, 3);
	uint16_t n = virtq_taken(ring_of(w, i)), v = fz_u16(z);

	if (v & 0x8000)
		*w->dev[i].device_event = fz_u32(z);
	else
		w->dev[i].desc[(n + (v & 3)) & w->dev[i].mask].flags =
			used_marks(&w->dev[i], (uint16_t)(n + (v & 3)));
}

#else

static struct dev_ring dev_ring_of(const struct virtq_areas *a)
{
	return (struct dev_ring){a->driver, a->device, a->size, a->size - 1};
}

/* Completes the next available buffer of ring @i, with the header of a packet when it receives. */
static void complete(struct testbed *w, struct fz *z, unsigned i)
{
	struct dev_ring *r = &w->dev[i];
	struct vring_used_elem *e = &r->used->ring[w->dev_used[i] & r->mask];
	uint16_t id;

	if (w->dev_avail[i] == r->avail->idx)
		return;
	id = (uint16_t)(r->avail->ring[w->dev_avail[i]++ & r->mask] & r->mask);
	e->id = id;
	e->len = 0;
	if (i == 0)
		e->len = packet(w, z, id);
	w->dev_used[i]++;
	r->used->idx = w->dev_used[i];
}

static void dev_entry(struct testbed *w, struct fz *z)
{
	struct dev_ring *r = &w->dev[fz_below(z, 3)];
	struct vring_used_elem *e = &r->used->ring[fz_u8(z) & r->mask];
	uint8_t how = fz_u8(z);

	e->id = how & 1 ? fz_u32(z) : fz_below(z, r->size);
	e->len = how & 2 ? fz_u32(z) : fz_u8(z);
}

static void dev_index(struct testbed *w, struct fz *z)
{
	unsigned i = fz_below(z, 3);
	struct dev_ring *r = &w->dev[i];
	uint16_t v = fz_u16(z);

	r->used->idx = v & 0x8000 ? v : (uint16_t)(r->used->idx + (v & 0x7f));
	if (i < 2)
		w->dev_used[i] = r->used->idx;
}

#endif

/* Overwrites up to 32 bytes of what the device can write to. */
static void scribble(struct testbed *w, struct fz *z)
{
	uint8_t what = fz_u8(z) % 6, len = fz_u8(z) % 33;
	uint8_t *base = what < 3    ? w->ring[what]
			: what == 3 ? w->rx_mem
			: what == 4 ? w->tx_mem
				    : w->ev_mem;
	size_t size = what < 2	  ? ring_bytes(w->n)
		      : what == 2 ? ring_bytes(VSOCK_EVENT_RING)
		      : what == 5 ? VSOCK_EVENTS * SHM_CACHE_LINE
				  : w->n * w->stride;
	size_t at = fz_below(z, (uint32_t)size);

	fz_bytes(z, base + at, len < size - at ? len : size - at);
}

/* ---- the owner ---- */

static int receive(struct testbed *w, unsigned max)
{
	struct rx_pkt pkt[VSOCK_BURST + 1];
	bool was_up = w->q->up, rest = w->p->rest_n;
	/* What a session has left comes first. */
	int n = rest ? w->q->ops->rx_rest(w->q, pkt, max) : w->q->ops->rx_burst(w->q, pkt, max);

	FZ_CHECK(n >= 0 && (unsigned)n <= max && (was_up || rest || n == 0));
	for (int i = 0; i < n; i++) {
		const struct rx_pkt *p = &pkt[i];
		const uint8_t *want;

		FZ_CHECK(p->ndesc == 1 && p->nseg == (p->hdr.len != 0));
		if (!p->nseg)
			continue;
		FZ_CHECK(p->token < w->n && !w->held_rx[p->token]);
		want = w->rx_mem + p->token * w->stride + VSOCK_PAYLOAD_OFF;
		FZ_CHECK(p->seg[0].base == want && p->seg[0].len == p->hdr.len);
		FZ_CHECK(p->hdr.len <= w->payload);
		w->held_rx[p->token] = true;
	}
	return n;
}

static void reserve(struct testbed *w, struct fz *z)
{
	struct tx_slot s[MAXN];
	uint8_t how = fz_u8(z);
	unsigned want = fz_below(z, MAXN + 1);
	uint32_t len = how & 2 ? HOT_SMALL + 1 : fz_u16(z);
	unsigned n = w->q->ops->tx_reserve(w->q, s, want, len, how & 1 ? TX_CTRL : 0);

	FZ_CHECK(n <= want && (w->q->up || n == 0));
	for (unsigned i = 0; i < n; i++) {
		FZ_CHECK(s[i].token < w->n && !w->held_tx[s[i].token]);
		FZ_CHECK(s[i].capacity == w->payload);
		FZ_CHECK(s[i].data == w->tx_mem + s[i].token * w->stride + VSOCK_PAYLOAD_OFF);
		w->held_tx[s[i].token] = true;
		w->slot[s[i].token] = s[i];
	}
}

static void commit(struct testbed *w, struct fz *z)
{
	struct vsock_hdr h = {.src_cid = 3, .dst_cid = 2, .op = VSOCK_OP_RW, .type = 1};
	uint32_t token = fz_below(z, w->n);

	h.len = fz_below(z, w->payload + 2);
	/* Only what is reserved may be committed; its data may be written until then. */
	if (!w->held_tx[token])
		return;
	memset(w->slot[token].data, 0x5a, w->slot[token].capacity);
	w->q->ops->tx_commit(w->q, token, &h);
	w->held_tx[token] = false;
}

static void give_back(struct testbed *w, struct fz *z, bool rx)
{
	uint32_t token = fz_u8(z);

	token = token == 255 ? UINT32_MAX : token; /* nonsense must do no harm */
	if (rx)
		w->q->ops->rx_release(w->q, token);
	else
		vsock_tx_cancel(w->q, token);
	if (token < w->n)
		*(rx ? &w->held_rx[token] : &w->held_tx[token]) = false;
}

/* ---- the control thread ---- */

static void restart(struct testbed *w, bool event_idx)
{
	if (w->q->up)
		vsock_pair_stop(w->p);
	check(w);
	vsock_pair_reset(w->p, &RINGS, event_idx);
	vsock_events_reset(&w->ev, &RINGS, event_idx);
	for (unsigned i = 0; i < 3; i++) {
		struct virtq_areas a;

		RINGS.layout->areas(ring_of(w, i), &a);
		w->dev[i] = dev_ring_of(&a);
	}
	memset(w->dev_avail, 0, sizeof(w->dev_avail));
	memset(w->dev_used, 0, sizeof(w->dev_used));
	memset(w->fault, 0, sizeof(w->fault));
	vsock_events_start(&w->ev);
	vsock_pair_start(w->p, &w->ev);
}

static void events(struct testbed *w)
{
	int n = vsock_events_take(&w->ev);

	FZ_CHECK(n == -EPROTO || (n >= 0 && n <= (int)VSOCK_EVENTS));
	if (n < 0) {
		w->p->ev = NULL; /* what the control thread does */
		return;
	}
	if (n > 0)
		vsock_pair_renew(w->p);
	vsock_events_done(&w->ev);
}

static void setup(struct testbed *w, struct fz *z)
{
	struct vsock_pair_conf c = {.call_fd = fds[0],
				    .kick_rx = virtq_notify_eventfd(fds[1]),
				    .kick_tx = virtq_notify_eventfd(fds[2])};
	uint8_t shape = fz_u8(z);

	memset(w, 0, sizeof(*w));
	w->n = 16u << (shape & 3) > MAXN ? MAXN : 16u << (shape & 3);
	w->payload = shape & 4 ? 100 : 64;
	w->stride = vsock_stride(w->payload);
	w->event_idx = shape & 8;
	w->p = aligned_alloc(SHM_CACHE_LINE, sizeof(*w->p));
	w->rx_mem = aligned_alloc(SHM_CACHE_LINE, w->n * w->stride);
	w->tx_mem = aligned_alloc(SHM_CACHE_LINE, w->n * w->stride);
	w->ev_mem = aligned_alloc(SHM_CACHE_LINE, VSOCK_EVENTS * SHM_CACHE_LINE);
	for (unsigned i = 0; i < 3; i++)
		w->ring[i] =
			aligned_alloc(VIRTQ_ALIGN, ring_bytes(i < 2 ? w->n : VSOCK_EVENT_RING));
	memset(w->rx_mem, 0, w->n * w->stride);
	memset(w->ev_mem, 0, VSOCK_EVENTS * SHM_CACHE_LINE);
	c.ring_size = w->n;
	c.rx_ring = w->ring[0];
	c.tx_ring = w->ring[1];
	c.rx_bufs = (struct vsock_bufs){w->rx_mem, IOVA, w->stride, w->payload};
	c.tx_bufs = (struct vsock_bufs){w->tx_mem, iova_add(IOVA, 1u << 24), w->stride, w->payload};
	FZ_CHECK(vsock_pair_init(w->p, &c) == 0);
	FZ_CHECK(vsock_events_init(&w->ev, w->ring[2], w->ev_mem, (struct iova){0x1000}, fds[3],
				   virtq_notify_eventfd(fds[4])) == 0);
	w->q = &w->p->tq;
	restart(w, w->event_idx);
}

static void teardown(struct testbed *w)
{
	if (w->q->up)
		vsock_pair_stop(w->p);
	while (w->p->rest_n)
		receive(w, VSOCK_BURST);
	for (uint32_t i = 0; i < w->n; i++) {
		w->q->ops->rx_release(w->q, i);
		vsock_tx_cancel(w->q, i);
		w->held_rx[i] = w->held_tx[i] = false;
	}
	restart(w, false);
	check(w);
	FZ_CHECK(virtq_in_flight(&w->p->rx) == w->n); /* nothing is lost */
	vsock_pair_fini(w->p);
	vsock_events_fini(&w->ev);
	for (unsigned i = 0; i < 3; i++)
		free(w->ring[i]);
	free(w->rx_mem);
	free(w->tx_mem);
	free(w->ev_mem);
	free(w->p);
}

static void owner_op(struct testbed *w, struct fz *z, unsigned op)
{
	switch (op) {
	case 0:
		receive(w, fz_below(z, VSOCK_BURST + 2));
		FZ_CHECK(!virtq_fault(&w->p->rx) || !w->q->up);
		break;
	case 1:
		reserve(w, z);
		break;
	case 2:
		commit(w, z);
		break;
	case 3:
		give_back(w, z, true);
		break;
	case 4:
		give_back(w, z, false);
		break;
	case 5:
		w->q->ops->publish(w->q);
		break;
	case 6:
		FZ_CHECK(w->q->ops->arm(w->q, fz_u8(z)) <= 1);
		break;
	case 7:
		w->q->ops->disarm(w->q, true);
		break;
	default:
		FZ_CHECK(!w->q->ops->tx_ready(w->q) || w->q->up);
		FZ_CHECK(vsock_tx_max(w->q) < w->n);
		FZ_CHECK(vsock_pair_unsent(w->p) <= w->n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct testbed w;
	struct fz z = {data, size};

	make_fds();
	setup(&w, &z);
	while (z.left) {
		uint8_t op = fz_u8(&z);

		switch (op % 20) {
		case 9:
		case 10:
			complete(&w, &z, 0);
			break;
		case 11:
			complete(&w, &z, 1);
			break;
		case 12:
			scribble(&w, &z);
			break;
		case 13:
			dev_entry(&w, &z);
			break;
		case 14:
			dev_index(&w, &z);
			break;
		case 15:
			restart(&w, w.event_idx);
			break;
		case 16:
			vsock_pair_stop(w.p);
			break;
		case 17:
			events(&w);
			break;
		case 18:
			vsock_pair_renew(w.p);
			break;
		case 19: /* everything at once, many times: hot_rx_learn(), parking of used_event */
			for (unsigned i = 0; i < 64; i++)
				complete(&w, &z, i & 1);
			break;
		default:
			owner_op(&w, &z, op % 20);
		}
		check(&w);
	}
	teardown(&w);
	return 0;
}
