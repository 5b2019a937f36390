/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's rings and packet layer (vhost_ring_split.c, or vhost_ring_packed.c with
 * RINGS_PACKED, vhost_pair.c, from_guest.c, to_guest.c) in the memory of a guest that writes what
 * it likes, when it likes.
 *
 * The guest's steps: descriptors (in the tables or in an indirect table), heads, the avail index,
 * headers, whole packets and receive buffers, and any bytes anywhere, rings and buffers that the
 * device holds included. Between them the owner receives, releases, reserves, commits, cancels,
 * arms; and the control thread stops, starts and replaces the memory table (guest_testbed.h).
 * What must hold:
 *   - no access outside the regions, nor after the last reference to a table has gone; payload that
 *     is handed out lies in a region and has the length that the header's copy says;
 *   - a fault is final until the ring is loaded again, and ends the session no later than the next
 *     receive;
 *   - every chain that was taken is in exactly one place: what is in flight on each ring is what
 *     the states of this session's chains say, and free ones plus others are all of them;
 *   - with an IOMMU the same, whatever it knows, cuts into pieces or forbids at any moment;
 *   - after a stop or in a pause nothing that is still reserved can be written to by us and be seen
 *     by the guest; a session that goes on does so where it was paused.
 */
#ifdef RINGS_PACKED
#include "dev_ring_packed.h"
#else
#include "dev_ring_split.h"
#endif

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int eventfds[2];

/* ---- the guest ---- */

static void guest_packet(struct state *s, struct fz *z)
{
	struct vsock_hdr h = {3, 2, 1, 2, 0, VSOCK_TYPE_STREAM, VSOCK_OP_RW, 0, 0, 0};
	uint32_t i = fz_below(z, s->w.ring_size);
	uint32_t off = fz_below(z, SIZE_A - VSOCK_HDR_LEN + 1), room = SIZE_A - off - VSOCK_HDR_LEN;
	struct vring_desc d = {.addr = GPA_A + off};

	h.len = fz_u8(z);
	d.len = VSOCK_HDR_LEN + (h.len < room ? h.len : room);
	vsock_hdr_put(s->w.view[DATA_A] + off, &h);
	give(s, VHOST_FROM_GUEST, i, &d);
}

static void guest_buffers(struct state *s, struct fz *z)
{
	uint32_t first = fz_u8(z), n = fz_below(z, 16), len = fz_u8(z);

	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = (first + k) % s->w.ring_size;
		struct vring_desc d = {
			.addr = s->w.gpa[DATA_B] + i * 16, .len = len, .flags = VRING_DESC_F_WRITE};

		give(s, VHOST_TO_GUEST, LAYOUT != 0 ? k : i, &d);
	}
}

static void scribble(struct state *s, struct fz *z)
{
	unsigned r = fz_below(z, REGIONS), len = fz_u8(z) % 64;
	uint32_t at = fz_below(z, s->w.size[r]);

	fz_bytes(z, s->w.view[r] + at, len < s->w.size[r] - at ? len : s->w.size[r] - at);
}

static void guest_op(struct state *s, struct fz *z, unsigned op)
{
	unsigned ring = fz_u8(z) & 1;

	switch (op) {
	case 0:
		put_desc(s, z, s->w.view[ring * 3] + 16 * fz_below(z, s->w.ring_size));
		break;
	case 1: /* an entry of what may be an indirect table */
		put_desc(s, z, s->w.view[DATA_A] + fz_below(z, SIZE_A - 15));
		break;
	case 2:
		offer(s, ring, (uint16_t)fz_below(z, s->w.ring_size));
		break;
	case 3:
		tell_wish(s, ring, fz_u8(z));
		break;
	case 4:
		scribble(s, z);
		break;
	case 5:
		guest_packet(s, z);
		break;
	default:
		guest_buffers(s, z);
	}
}

/* ---- the owner ---- */

static void touch(const struct pkt_seg *seg)
{
	static volatile uint8_t sink;

	for (uint32_t i = 0; i < seg->len; i++)
		sink = (uint8_t)(sink + seg->base[i]);
}

static void receive(struct state *s, struct fz *z)
{
	struct rx_pkt pkt[VHOST_BURST];
	unsigned max = fz_below(z, VHOST_BURST + 1);
	bool was_up = s->q->ep != NULL;
	int n = s->tq->ops->rx_burst(s->tq, pkt, max);

	FZ_CHECK(n >= 0 && (unsigned)n <= max && (was_up || !n));
	FZ_CHECK(!s->q->ep || (!s->q->from_guest.broken && !s->q->to_guest.broken));
	for (int i = 0; i < n; i++) {
		const struct rx_pkt *p = &pkt[i];
		struct held *h = &s->rx[s->nrx];
		uint64_t sum = 0;

		FZ_CHECK(p->ndesc >= 1 && p->ndesc <= s->w.ring_size);
		FZ_CHECK(!p->nseg == !p->hdr.len);
		if (!p->nseg)
			continue;
		*h = (struct held){.token = p->token};
		for (uint32_t k = 0; k < p->nseg; k++) {
			FZ_CHECK(testbed_has(&s->w, p->seg[k].base, p->seg[k].len));
			sum += p->seg[k].len;
			if (h->nseg < SEGS)
				h->seg[h->nseg++] = p->seg[k];
		}
		FZ_CHECK(sum == p->hdr.len);
		for (unsigned k = 0; k < s->nrx; k++)
			FZ_CHECK(s->rx[k].token != p->token);
		s->nrx++;
		if (s->nrx == HELD)
			s->tq->ops->rx_release(s->tq, s->rx[--s->nrx].token);
	}
}

static void release(struct state *s, unsigned k)
{
	if (k >= s->nrx)
		return;
	for (uint32_t i = 0; i < s->rx[k].nseg; i++)
		touch(&s->rx[k].seg[i]);
	s->tq->ops->rx_release(s->tq, s->rx[k].token);
	s->rx[k] = s->rx[--s->nrx];
}

static void reserve(struct state *s, struct fz *z)
{
	struct tx_slot slot[32];
	uint8_t how = fz_u8(z);
	unsigned want = how % 33, n;

	if (s->ntx + want > HELD)
		return;
	n = s->tq->ops->tx_reserve(s->tq, slot, want, 64, how & 0x40 ? TX_CTRL : 0);
	FZ_CHECK(n <= want);
	FZ_CHECK(s->q->ep || n == 0 || s->q->to_guest.broken);
	for (unsigned i = 0; i < n; i++) {
		FZ_CHECK(!slot[i].capacity || testbed_has(&s->w, slot[i].data, slot[i].capacity));
		FZ_CHECK(slot[i].capacity || (how & 0x40));
		for (unsigned k = 0; k < s->ntx; k++)
			FZ_CHECK(s->tx[k].token != slot[i].token);
		s->tx[s->ntx++] = (struct held){.token = slot[i].token,
						.seg = {{slot[i].data, slot[i].capacity}},
						.nseg = 1};
	}
}

static void fill(const struct held *h, uint8_t byte)
{
	if (h->seg[0].len)
		memset(h->seg[0].base, byte, h->seg[0].len);
}

static void send_or_cancel(struct state *s, struct fz *z, bool send)
{
	struct vsock_hdr h = {2, 3, 2, 1, 0, VSOCK_TYPE_STREAM, VSOCK_OP_RW, 0, 0, 0};
	unsigned k = fz_u8(z);

	if (k >= s->ntx)
		return;
	fill(&s->tx[k], 0);
	h.len = s->tx[k].seg[0].len;
	if (send)
		s->tq->ops->tx_commit(s->tq, s->tx[k].token, &h);
	else
		s->tq->ops->tx_cancel(s->tq, s->tx[k].token);
	s->tx[k] = s->tx[--s->ntx];
}

static void notify(struct state *s, struct fz *z)
{
	uint8_t how = fz_u8(z);

	switch (how & 3) {
	case 0:
		FZ_CHECK(s->tq->ops->arm(s->tq, how & 4 ? 1u + (how >> 5) * 9 : 0) <= 1);
		break;
	case 1:
		s->tq->ops->disarm(s->tq, true);
		break;
	case 2:
		FZ_CHECK(vhost_pair_set_call(s->q, how >> 2 & 1, how & 8 ? eventfds[0] : -1) == 0);
		break;
	default:
		FZ_CHECK(vhost_pair_set_kick(s->q, how >> 2 & 1, how & 8 ? eventfds[1] : -1) == 0);
	}
	FZ_CHECK(!s->tq->ops->tx_ready(s->tq) || s->q->ep);
	FZ_CHECK(s->tq->ops->tx_max(s->tq) <= s->w.ring_size);
}

/* ---- the control thread ---- */

/* Device addresses are those of the frontend, which are the guest's. */
static int translate(struct guest_iommu *io, struct iova a, bool write, uint64_t *len,
		     struct uva *to)
{
	struct state *s = (struct state *)(void *)((uint8_t *)io - offsetof(struct state, io));
	unsigned granule = a.v >> 8 & 63;

	(void)write;
	FZ_CHECK(*len >= 1);
	if (s->denied >> granule & 1)
		return -EFAULT;
	if (s->missing >> granule & 1)
		return -EAGAIN;
	if (*len > 256 - (a.v & 255))
		*len = 256 - (a.v & 255);
	to->v = a.v;
	return 0;
}

static void iotlb_change(struct state *s, struct fz *z)
{
	s->missing = fz_u64(z);
	s->denied = fz_u64(z);
	s->io.changes++;
	vhost_pair_wake(s->q);
}

static struct vhost_pair_setup setup_of(struct state *s)
{
	struct guest_mem *gm = testbed_now(&s->w)->gm;
	struct vhost_pair_setup hs = {
		.mem = gm, .iommu = s->with_io ? &s->io : NULL, .features = s->features};

	for (unsigned i = 0; i < 2; i++)
		hs.ring[i] = (struct vhost_ring_area){
			.part = {gm->r[3 * i].va, gm->r[3 * i + 1].va, gm->r[3 * i + 2].va},
			.size = s->w.ring_size,
			.pos = s->q->paused ? vhost_ring_position(i == VHOST_TO_GUEST
									  ? &s->q->to_guest
									  : &s->q->from_guest)
					    : vhost_ring_layout_of(LAYOUT)->fresh};
	return hs;
}

/* What is still on loan must not be the guest's any more. */
static void late_writes(struct state *s)
{
	static uint8_t before[TESTBED_FILE];

	if (!s->w.file)
		return;
	memcpy(before, testbed_file(), TESTBED_FILE);
	for (unsigned k = 0; k < s->ntx; k++)
		fill(&s->tx[k], 0xee);
	FZ_CHECK(memcmp(before, testbed_file(), TESTBED_FILE) == 0);
}

static void resume_or_pause(struct state *s)
{
	struct guest_mem *rings = testbed_now(&s->w)->gm;
	uint32_t session = s->tq->session;
	struct vhost_pair_bases b, left;
	struct vhost_pair_setup hs;
	int ret;

	if (!s->q->paused) {
		(void)vhost_pair_pause(s->q, rings, &b);
		late_writes(s);
		return;
	}
	left = (struct vhost_pair_bases){
		{vhost_ring_position(&s->q->to_guest), vhost_ring_position(&s->q->from_guest)}};
	if (!testbed_next(&s->w))
		return;
	hs = setup_of(s);
	ret = vhost_pair_resume(s->q, &hs, testbed_now(&s->w)->gm);
	if (ret == 0) {
		FZ_CHECK(s->tq->session == session && s->tq->up);
		FZ_CHECK(vhost_ring_pos_same(vhost_ring_position(&s->q->to_guest), left.base[0]) &&
			 vhost_ring_pos_same(vhost_ring_position(&s->q->from_guest), left.base[1]));
	} else {
		(void)vhost_pair_stop(s->q, &b);
	}
	s->broken[0] = s->broken[1] = 0;
}

static void control_op(struct state *s, unsigned op)
{
	struct vhost_pair_bases b;
	struct vhost_pair_setup hs;

	if (op == 0) {
		bool was = s->q->loaded;

		FZ_CHECK(vhost_pair_stop(s->q, &b) == was);
		FZ_CHECK(!s->tq->up);
		if (was)
			late_writes(s);
		return;
	}
	if (op == 3) { /* paused, or on */
		resume_or_pause(s);
		return;
	}
	if ((op == 1) == s->q->loaded || !testbed_next(&s->w))
		return; /* only what is down can be started, only what is up moves */
	hs = setup_of(s);
	if (op == 1) {
		FZ_CHECK(vhost_pair_start(s->q, &hs) == 0);
		s->broken[0] = s->broken[1] = 0;
	} else {
		FZ_CHECK(vhost_pair_switch_mem(s->q, &hs) == 0);
	}
}

/* ---- what must hold after every step ---- */

static void check(struct state *s)
{
	const struct vhost_ring *r[2] = {&s->q->to_guest, &s->q->from_guest};
	uint32_t lent = 0, given = 0, used = 0, nfree = 0;

	for (unsigned i = 0; i < 2; i++) {
		FZ_CHECK(!s->broken[i] || r[i]->broken == s->broken[i]);
		s->broken[i] = r[i]->broken;
		FZ_CHECK(vhost_ring_fault_text(r[i]->broken) != NULL);
	}
	for (uint32_t i = 0; i < s->q->nchains; i++) {
		const struct vhost_chain *c = &s->q->chains[i];

		used += c->state != CHAIN_FREE;
		if (c->state == CHAIN_FREE || !vhost_chain_ours(s->q, c))
			continue;
		lent += c->state == CHAIN_LENT;
		given += c->state != CHAIN_LENT;
	}
	for (uint32_t t = s->q->free; t; t = s->q->chains[t - 1].next)
		FZ_CHECK(++nfree <= s->q->nchains);
	FZ_CHECK(nfree + used == s->q->nchains);
	FZ_CHECK(used == s->nrx + s->ntx + s->q->nstack + s->q->nctrl + s->q->ndeferred);
	if (s->q->ep) {
		FZ_CHECK(ring_in_flight(&s->q->from_guest) == lent && lent <= s->w.ring_size);
		FZ_CHECK(ring_in_flight(&s->q->to_guest) == given && given <= s->w.ring_size);
	}
	testbed_reap(&s->w);
}

static void teardown(struct state *s)
{
	struct vhost_pair_bases b;

	(void)vhost_pair_stop(s->q, &b);
	while (s->nrx)
		release(s, 0);
	while (s->ntx) {
		fill(&s->tx[0], 0);
		s->tq->ops->tx_cancel(s->tq, s->tx[0].token);
		s->tx[0] = s->tx[--s->ntx];
	}
	check(s);
	FZ_CHECK(s->q->retired == NULL);
	vhost_pair_fini(s->q);
	free(s->q);
	testbed_fini(&s->w);
}

static void ring_address(struct state *s, struct fz *z)
{
	uint64_t uva = address(s, z), len = fz_u8(z);
	uint8_t *p;

	len = len & 1 ? fz_u64(z) : len;
	p = guest_mem_uva(testbed_now(&s->w)->gm, (struct uva){uva}, len);
	FZ_CHECK(!p || testbed_has(&s->w, p, len));
}

static void step(struct state *s, struct fz *z)
{
	unsigned op = fz_u8(z) % 22;

	if (op < 8) {
		guest_op(s, z, op);
		return;
	}
	switch (op) {
	case 8:
	case 9:
		receive(s, z);
		break;
	case 10:
		release(s, fz_u8(z));
		break;
	case 11:
		reserve(s, z);
		break;
	case 12:
	case 13:
		send_or_cancel(s, z, op == 12);
		break;
	case 14:
		s->tq->ops->publish(s->tq);
		break;
	case 15:
		notify(s, z);
		break;
	case 16: /* tokens that nobody has, ring addresses as a frontend would send them */
		s->tq->ops->rx_release(s->tq, s->q->nchains + fz_u8(z));
		s->tq->ops->tx_cancel(s->tq, UINT32_MAX - fz_u8(z));
		ring_address(s, z);
		break;
	case 21:
		iotlb_change(s, z);
		break;
	default:
		control_op(s, op - 17);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state s;
	struct fz z = {data, size};
	uint8_t shape = fz_u8(&z);

	for (unsigned i = 0; i < 2 && !eventfds[i]; i++)
		eventfds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	memset(&s, 0, sizeof(s));
	testbed_init(&s.w, (shape & 0x30) == 0x30,
		     1u << (shape & 7) > RING_MAX ? RING_MAX : 1u << (shape & 7));
	s.features = (shape & 0x40 ? VSOCK_FEATURE_EVENT_IDX : 0) |
		     (shape & 0x80 ? VSOCK_FEATURE_INDIRECT_DESC : 0) | LAYOUT;
	s.io.translate = translate;
	s.with_io = shape & 8;
	s.q = aligned_alloc(SHM_CACHE_LINE, sizeof(*s.q));
	FZ_CHECK(s.q && vhost_pair_init(s.q, 0, "fuzz") == 0);
	s.tq = &s.q->tq;
	control_op(&s, 1);
	while (z.left) {
		step(&s, &z);
		check(&s);
	}
	teardown(&s);
	return 0;
}
