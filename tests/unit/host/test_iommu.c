/* SPDX-License-Identifier: BSD-3-Clause */
/* Queue pairs of a guest with an IOMMU: translations that are not there yet, or never. */
#include "iommu_fix.h"

/*
 * The next chain on the ring of packets waits for the page at @off: nothing is taken, nothing is
 * asked for twice, the owner may sleep; and the answer wakes it.
 */
static void expect_wait(struct fix *f, uint64_t off)
{
	unsigned asked;

	assert_int_equal(burst(f), 0);
	assert_int_equal(f->tq->up, 1);
	asked = t.asked;
	assert_true(asked > 0);
	assert_int_equal(burst(f), 0);
	assert_int_equal(t.asked, asked);
	f->tq->ops->publish(f->tq);
	assert_false(drv_used(&f->from, &(uint32_t){0}, &(uint32_t){0}));
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	f->tq->ops->disarm(f->tq, true);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	assert_false(readable(vhost_pair_fd(f->tq)));
	set_page(f, off, KNOWN);
	assert_true(readable(vhost_pair_fd(f->tq)));
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 1);
	f->tq->ops->disarm(f->tq, true);
}

/* ---- from the guest ---- */

static void a_missing_packet_holds_back_what_is_behind_it(void **state)
{
	struct fix *f = *state;

	for (uint16_t i = 0; i < 3; i++)
		offer_packet(f, i, BUF + i * PAGE, 100);
	t.page[(BUF + PAGE) / PAGE].state = MISSING;
	assert_int_equal(burst(f), 1);
	check_packet(f, 0, 100);
	f->tq->ops->publish(f->tq);
	assert_used(&f->from, 0, 0);
	expect_wait(f, BUF + PAGE);
	assert_int_equal(burst(f), 2);
	check_packet(f, 0, 100);
	check_packet(f, 1, 100);
	f->tq->ops->publish(f->tq);
	assert_used(&f->from, 1, 0);
	assert_used(&f->from, 2, 0);
	assert_int_equal(t.writes, 0);
	/* an answer to another question makes it look again, and wait again */
	offer_packet(f, 3, BUF, 5);
	set_page(f, BUF, MISSING);
	assert_int_equal(burst(f), 0);
	set_page(f, BUF + 5 * PAGE, KNOWN);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 1);
	f->tq->ops->disarm(f->tq, true);
	expect_wait(f, BUF);
	assert_int_equal(burst(f), 1);
	check_packet(f, 0, 5);
}

/* Each page of a chain in turn: header, a header that straddles two pages, payload, the last byte.
 */
static void any_part_of_a_packet_can_be_missing(void **state)
{
	static const struct {
		uint32_t cut[3]; /* lengths of descriptors; each is in a page of its own, ... */
		uint32_t before; /* ... and begins so many bytes before the page's end */
	} shape[] = {
		{{HDR, 100, 0}, PAGE},	       {{20, HDR - 20, 100}, PAGE},
		{{HDR + 100, 0, 0}, 30},       /* the header straddles */
		{{HDR + 100, 0, 0}, HDR},      /* the payload begins on the next page */
		{{HDR + 100, 0, 0}, HDR + 99}, /* its last byte is there */
		{{HDR, 99, 1}, PAGE},
	};
	struct fix *f = *state;

	for (size_t s = 0; s < sizeof(shape) / sizeof(shape[0]); s++)
		for (unsigned miss = 0; miss < 4; miss++) {
			const uint32_t *cut = shape[s].cut;
			uint64_t at = BUF + PAGE - shape[s].before, page = BUF + miss * PAGE;
			unsigned n = 1 + (cut[1] != 0) + (cut[2] != 0);
			uint32_t done = 0;
			bool used = false;

			restart(f);
			packet_at(f, G_DATA, 100);
			for (unsigned i = 0; i < n; i++, at += PAGE) {
				memcpy(f->g.mem + at, f->g.mem + G_DATA + done, cut[i]);
				drv_desc(&f->from, i, IO + at, cut[i], i + 1 < n ? NEXT : 0,
					 (uint16_t)(i + 1));
				done += cut[i];
				used |= at / PAGE == page / PAGE ||
					(at + cut[i] - 1) / PAGE == page / PAGE;
			}
			drv_offer(&f->from, 0);
			t.page[page / PAGE].state = MISSING;
			if (used)
				expect_wait(f, page);
			assert_int_equal(burst(f), 1);
			check_packet(f, 0, 100);
		}
}

/* Packets that follow each other in device addresses and not in memory are in several pieces. */
static void a_buffer_can_be_in_pieces(void **state)
{
	struct fix *f = *state;
	static uint8_t bytes[3 * PAGE];

	packet_at(f, BUF, 2 * PAGE + 500);
	memcpy(bytes, f->g.mem + BUF, sizeof(bytes));
	memcpy(f->g.mem + BUF + 2 * PAGE, bytes, PAGE);
	memcpy(f->g.mem + BUF + PAGE, bytes + PAGE, PAGE);
	memcpy(f->g.mem + BUF, bytes + 2 * PAGE, PAGE);
	swap_pages(BUF, BUF + 2 * PAGE);
	drv_desc(&f->from, 0, IO + BUF, HDR + 2 * PAGE + 500, 0, 0);
	drv_offer(&f->from, 0);
	assert_int_equal(burst(f), 1);
	assert_int_equal(f->pkt[0].nseg, 3);
	check_packet(f, 0, 2 * PAGE + 500);
}

/* A table of two entries that lies across two pages, which are not neighbours in memory. */
static void offer_table(struct fix *f, struct drv *d, uint64_t table, uint64_t buf, uint16_t flags)
{
	uint8_t e[2 * sizeof(struct vring_desc)];

	drv_table(e, 0, IO + buf, HDR, flags | NEXT);
	drv_table(e, 1, IO + buf + HDR, 100, flags);
	swap_pages(table + PAGE, table + 3 * PAGE);
	/* 24 bytes on the first page: an entry straddles */
	memcpy(f->g.mem + table + PAGE - 24, e, 24);
	memcpy(f->g.mem + table + 3 * PAGE, e + 24, 8);
	drv_desc(d, 0, IO + table + PAGE - 24, sizeof(e), IND, 0);
	drv_offer(d, 0);
}

static void an_indirect_table_can_be_missing(void **state)
{
	const uint64_t table = BUF, buf = BUF + 8 * PAGE;
	const uint64_t miss[] = {table, table + PAGE, buf};
	struct fix *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		restart(f);
		packet_at(f, buf, 100);
		offer_table(f, &f->from, table, buf, 0);
		t.page[miss[i] / PAGE].state = MISSING;
		expect_wait(f, miss[i]);
		assert_int_equal(burst(f), 1);
		check_packet(f, 0, 100);
	}
}

/* ---- to the guest ---- */

/* There is no buffer, though the driver has offered one, until @off is known. */
static void expect_no_buffer(struct fix *f, uint64_t off)
{
	unsigned asked;

	assert_int_equal(reserve(f, 4), 0);
	asked = t.asked;
	assert_true(asked > 0);
	assert_int_equal(f->tq->up, 1);
	assert_int_equal(reserve(f, 4), 0);
	assert_int_equal(burst(f), 0);
	assert_int_equal(f->tq->ops->tx_ready(f->tq), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 0, TX_CTRL), 0);
	assert_int_equal(t.asked, asked);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	f->tq->ops->disarm(f->tq, true);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	assert_false(readable(vhost_pair_fd(f->tq)));
	set_page(f, off, KNOWN);
	assert_true(readable(vhost_pair_fd(f->tq)));
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 1);
	f->tq->ops->disarm(f->tq, true);
}

static void a_missing_buffer_is_no_buffer(void **state)
{
	struct fix *f = *state;

	for (uint16_t i = 0; i < 3; i++)
		offer_buffer(f, i, BUF + i * PAGE, 1000);
	t.page[(BUF + PAGE) / PAGE].state = MISSING;
	assert_int_equal(reserve(f, 4), 1);
	send_one(f, f->slot, 5);
	assert_used(&f->to, 0, HDR + 5);
	t.asked = 0;
	t.io.changes++;
	expect_no_buffer(f, BUF + PAGE);
	assert_int_equal(reserve(f, 4), 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(f->slot[i].capacity, 1000 - HDR);
		send_one(f, &f->slot[i], 5);
		assert_used(&f->to, i + 1, HDR + 5);
	}
	assert_int_equal(f->g.mem[BUF + PAGE + HDR], 1);
	assert_true(t.writes > 0);
}

static void any_part_of_a_buffer_can_be_missing(void **state)
{
	struct fix *f = *state;

	for (unsigned miss = 0; miss < 4; miss++) {
		const uint64_t table = BUF + 2 * PAGE;
		const uint64_t page[] = {BUF, BUF + PAGE, table, table + PAGE};

		restart(f);
		if (miss < 2) { /* header and payload apart */
			drv_desc(&f->to, 0, IO + BUF, HDR, WRITE | NEXT, 1);
			drv_desc(&f->to, 1, IO + BUF + PAGE, 100, WRITE, 0);
			drv_offer(&f->to, 0);
		} else {
			offer_table(f, &f->to, table, BUF + 8 * PAGE, WRITE);
		}
		t.page[page[miss] / PAGE].state = MISSING;
		expect_no_buffer(f, page[miss]);
		assert_int_equal(reserve(f, 4), 1);
		assert_int_equal(f->slot[0].capacity, 100);
		send_one(f, f->slot, 100);
		assert_used(&f->to, 0, HDR + 100);
	}
}

/* A header across pages that are apart, and the buffer's first piece of payload behind it. */
static void a_header_can_straddle_pieces(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(7);
	uint8_t wire[HDR], got[HDR];

	swap_pages(BUF + PAGE, BUF + 5 * PAGE);
	offer_buffer(f, 0, BUF + PAGE - 10, 1000);
	assert_int_equal(reserve(f, 1), 1);
	assert_int_equal(f->slot[0].capacity, 1000 - HDR);
	send_one(f, f->slot, 7);
	assert_used(&f->to, 0, HDR + 7);
	vsock_hdr_put(wire, &h);
	memcpy(got, f->g.mem + BUF + PAGE - 10, 10);
	memcpy(got + 10, f->g.mem + BUF + 5 * PAGE, HDR - 10);
	assert_memory_equal(got, wire, HDR);
	assert_int_equal(f->g.mem[BUF + 5 * PAGE + HDR - 10], 1);
}

/*
 * The place of its second half is forgotten between tx_reserve and tx_commit: the packet waits, and
 * none overtakes it.
 */
static void a_header_whose_place_is_forgotten_is_sent_later(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(3);
	struct tx_slot slot[2];
	unsigned asked;

	swap_pages(BUF + PAGE, BUF + 5 * PAGE);
	offer_buffer(f, 0, BUF + PAGE - 10, 1000);
	offer_buffer(f, 1, BUF + 8 * PAGE, 1000);
	offer_buffer(f, 2, BUF + 9 * PAGE, 1000);
	assert_int_equal(reserve(f, 2), 2);
	memcpy(slot, f->slot, sizeof(slot));
	set_page(f, BUF + PAGE, MISSING);
	for (unsigned i = 0; i < 2; i++)
		f->tq->ops->tx_commit(f->tq, slot[i].token, &h);
	asked = t.asked;
	f->tq->ops->publish(f->tq);
	f->tq->ops->disarm(f->tq, true);
	assert_false(drv_used(&f->to, &(uint32_t){0}, &(uint32_t){0}));
	assert_int_equal(reserve(f, 1), 0);
	assert_int_equal(t.asked, asked);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	f->tq->ops->disarm(f->tq, true);
	set_page(f, BUF + PAGE, KNOWN);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 1);
	f->tq->ops->publish(f->tq);
	assert_used(&f->to, 0, HDR + 3);
	assert_used(&f->to, 1, HDR + 3);
	assert_int_equal(f->q->ndeferred, 0);
	assert_int_equal(reserve(f, 1), 1);
	send_one(f, f->slot, 1);
	assert_used(&f->to, 2, HDR + 1);
}

/* The session ends meanwhile: the driver has the chain back, unused. */
static void a_waiting_packet_ends_with_its_session(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(3);
	struct vhost_pair_bases b;

	swap_pages(BUF + PAGE, BUF + 5 * PAGE);
	offer_buffer(f, 0, BUF + PAGE - 10, 1000);
	assert_int_equal(reserve(f, 1), 1);
	set_page(f, BUF + PAGE, MISSING);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	assert_int_equal(f->q->ndeferred, 1);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_used(&f->to, 0, 0);
	assert_int_equal(f->q->ndeferred, 0);
	assert_null(f->q->retired);
}

/* Its chain goes back to the driver, and the packet into one that the driver offers afterwards. */
static void a_waiting_packet_lives_through_a_pause(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(3);
	struct guest_mem *gm = own_map(f);
	struct vhost_pair_setup s;
	struct vhost_pair_bases b;

	swap_pages(BUF + PAGE, BUF + 5 * PAGE);
	offer_buffer(f, 0, BUF + PAGE - 10, 1000);
	assert_int_equal(reserve(f, 1), 1);
	memcpy(f->slot[0].data, "abc", 3);
	set_page(f, BUF + PAGE, MISSING);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	assert_true(vhost_pair_pause(f->q, f->g.gm, &b));
	assert_used(&f->to, 0, 0);
	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_resume(f->q, &s, f->g.gm), 0);
	guest_mem_put(gm);
	assert_int_equal(f->q->ndeferred, 1);
	offer_buffer(f, 1, BUF + 8 * PAGE, 1000);
	f->tq->ops->publish(f->tq);
	assert_used(&f->to, 1, HDR + 3);
	assert_memory_equal(f->g.mem + BUF + 8 * PAGE + HDR, "abc", 3);
	assert_int_equal(f->q->ndeferred, 0);
	assert_null(f->q->retired);
}

/* ---- ends ---- */

static void broken(struct fix *f, enum vhost_ring_fault why)
{
	assert_int_equal(burst(f), 0);
	assert_int_equal(f->tq->up, 0);
	assert_int_equal(f->q->from_guest.broken ? f->q->from_guest.broken : f->q->to_guest.broken,
			 why);
}

/* What the guest's IOMMU does not permit is as outside its memory. */
static void what_is_denied_breaks_the_ring(void **state)
{
	struct fix *f = *state;

	offer_packet(f, 0, BUF, 100);
	t.page[BUF / PAGE].state = DENIED;
	broken(f, VHOST_RING_BAD_ADDR);
	/* first unknown, then denied */
	restart(f);
	offer_packet(f, 0, BUF, 100);
	t.page[BUF / PAGE].state = MISSING;
	assert_int_equal(burst(f), 0);
	assert_int_equal(f->tq->up, 1);
	set_page(f, BUF, DENIED);
	broken(f, VHOST_RING_BAD_ADDR);
	restart(f);
	offer_table(f, &f->from, BUF, BUF + 8 * PAGE, 0);
	t.page[(BUF + PAGE) / PAGE].state = DENIED;
	broken(f, VHOST_RING_IND_ADDR);
	restart(f);
	offer_buffer(f, 0, BUF, 1000);
	t.page[BUF / PAGE].state = DENIED;
	assert_int_equal(reserve(f, 1), 0);
	broken(f, VHOST_RING_BAD_ADDR);
	/* a translation to where the frontend has no memory */
	restart(f);
	offer_packet(f, 0, BUF, 100);
	t.page[BUF / PAGE].to = PAGES;
	broken(f, VHOST_RING_BAD_ADDR);
}

/* Each of a thousand descriptors in two places: more than any packet has, and never enough room. */
static void a_chain_in_too_many_pieces_breaks_the_ring(void **state)
{
	struct fix *f = *state;
	void *e = f->g.mem + G_DATA;
	const unsigned n = 1000;

	for (unsigned i = 0; i < n; i++)
		drv_table(e, i, IO + BUF + PAGE - 1, 2, i + 1 < n ? NEXT : 0);
	swap_pages(BUF + PAGE, BUF + 5 * PAGE);
	drv_desc(&f->from, 0, IO + G_DATA, n * 16, IND, 0);
	drv_offer(&f->from, 0);
	broken(f, VHOST_RING_PIECES);
}

/* Look-ups are work as well: a burst takes a few such packets, and the next one goes on. */
static void work_of_translations_is_bounded(void **state)
{
	const uint32_t len = 1000, work = len * VHOST_RING_LOOKUP;
	struct fix *f = *state;
	unsigned bursts = 0;
	int all = 0, got;

	packet_at(f, BUF, 0);
	for (uint16_t i = 0; i < 32; i++) {
		drv_desc(&f->from, i, IO + BUF, len, 0, 0);
		drv_offer(&f->from, i);
	}
	t.bytewise = true;
	for (; all < 32; bursts++) {
		got = burst(f);
		assert_true(got >= 1);
		assert_in_range(f->q->from_guest.walked, work, VHOST_WORK + work + 1);
		all += got;
	}
	assert_true(bursts >= 32 * work / (VHOST_WORK + work + 1));
	assert_int_equal(f->q->from_guest.broken, 0);
}

/* A table that is looked up byte by byte. */
static void a_chain_of_too_many_translations_breaks_the_ring(void **state)
{
	struct fix *f = *state;
	void *e = f->g.mem + G_DATA;
	const unsigned n = 1000;

	for (unsigned i = 0; i < n; i++)
		drv_table(e, i, 0, 0, i + 1 < n ? NEXT : 0);
	drv_desc(&f->from, 0, IO + G_DATA, n * 16, IND, 0);
	drv_offer(&f->from, 0);
	t.bytewise = true;
	broken(f, VHOST_RING_PIECES);
	assert_in_range(f->q->from_guest.lookups, 1, VHOST_RING_LOOKUPS_MAX + 1);
}

/* Behind a packet that cannot be read nothing is kept: a stream does not end there by itself. */
static void what_is_kept_ends_where_a_translation_is_missing(void **state)
{
	struct fix *f = *state;
	struct vhost_pair_bases b;

	for (uint16_t i = 0; i < 3; i++)
		offer_packet(f, i, BUF + i * PAGE, 100);
	t.page[(BUF + PAGE) / PAGE].state = MISSING;
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(b.base[VHOST_FROM_GUEST].v, drv_base(&f->from, 1));
	assert_int_equal(f->tq->ops->rx_rest(f->tq, f->pkt, 64), 1);
	check_packet(f, 0, 100);
	assert_int_equal(f->tq->ops->rx_rest(f->tq, f->pkt, 64), 0);
}

/* What was lent in pieces cannot be found again: that is counted, not passed over. */
static void a_loan_that_cannot_be_found_again_is_counted(void **state)
{
	struct fix *f = *state;
	struct vhost_pair_bases b;

	packet_at(f, BUF, 100);
	drv_desc(&f->from, 0, IO + BUF, HDR + 50, NEXT, 1);
	drv_desc(&f->from, 1, IO + BUF + HDR + 50, 50, 0, 0);
	drv_offer(&f->from, 0);
	assert_int_equal(burst(f), 1);
	assert_int_equal(f->pkt[0].nseg, 2);
	set_page(f, BUF, MISSING);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->tq->lost, 1);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
}

/* The functions of a session are those of its rings. */
static void sessions_with_and_without_follow_each_other(void **state)
{
	struct fix *f = *state;

	f->iommu = NULL;
	fresh(f, N);
	packet_at(f, BUF, 10);
	drv_desc(&f->from, 0, G_GPA + BUF, HDR + 10, 0, 0);
	drv_offer(&f->from, 0);
	assert_int_equal(burst(f), 1);
	check_packet(f, 0, 10);
	f->iommu = &t.io;
	fresh(f, N);
	offer_packet(f, 0, BUF, 10);
	assert_int_equal(burst(f), 1);
	check_packet(f, 0, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IO_T(a_missing_packet_holds_back_what_is_behind_it),
		IO_T(any_part_of_a_packet_can_be_missing),
		IO_T(a_buffer_can_be_in_pieces),
		IO_T(an_indirect_table_can_be_missing),
		IO_T(a_missing_buffer_is_no_buffer),
		IO_T(any_part_of_a_buffer_can_be_missing),
		IO_T(a_header_can_straddle_pieces),
		IO_T(a_header_whose_place_is_forgotten_is_sent_later),
		IO_T(a_waiting_packet_ends_with_its_session),
		IO_T(a_waiting_packet_lives_through_a_pause),
		IO_T(what_is_denied_breaks_the_ring),
		IO_T(a_chain_in_too_many_pieces_breaks_the_ring),
		IO_T(work_of_translations_is_bounded),
		IO_T(a_chain_of_too_many_translations_breaks_the_ring),
		IO_T(what_is_kept_ends_where_a_translation_is_missing),
		IO_T(a_loan_that_cannot_be_found_again_is_counted),
		IO_T(sessions_with_and_without_follow_each_other),
	};

	return cmocka_run_group_tests_name("a guest with an IOMMU", tests, NULL, NULL);
}
