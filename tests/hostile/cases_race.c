/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between check and use: a second thread of the guest changes what the host has been offered, all
 * the time. What the host makes of it may be either value, but never a mixture: a packet is taken,
 * or dropped and counted, or the ring is broken and counted.
 */
#include "host_cases.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 200u

struct flip {
	uint32_t *word; /* NULL: none for now */
	uint32_t a, b;
	uint32_t turns;
	int stop;
};

static void *flipper(void *arg)
{
	struct flip *f = arg;

	for (uint32_t *word; !__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE);) {
		word = __atomic_load_n(&f->word, __ATOMIC_ACQUIRE);
		for (int i = 0; word && i < 64; i++) {
			__atomic_store_n(word, f->a, __ATOMIC_RELAXED);
			shm_relax();
			__atomic_store_n(word, f->b, __ATOMIC_RELAXED);
			shm_relax();
		}
		__atomic_fetch_add(&f->turns, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void flip_start(struct flip *f, pthread_t *t)
{
	assert_int_equal(pthread_create(t, NULL, flipper, f), 0);
}

static void flip_end(struct flip *f, pthread_t t)
{
	__atomic_store_n(&f->stop, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
}

/* From now on it writes to no word. */
static void flip_pause(struct flip *f)
{
	uint32_t turns;

	__atomic_store_n(&f->word, NULL, __ATOMIC_RELEASE);
	turns = __atomic_load_n(&f->turns, __ATOMIC_ACQUIRE);
	while (__atomic_load_n(&f->turns, __ATOMIC_ACQUIRE) - turns < 2)
		testbed_idle();
}

/* All chains of the transmit ring have come back. False: in vain. */
static bool all_back(struct raw *r)
{
	const struct raw_ring *g = &r->ring[RAW_TX];
	uint64_t end = raw_now_ms() + RAW_PATIENCE_MS;

	for (;;) {
		raw_pump(r);
		if (g->used_seen == g->avail_idx)
			return true;
		if (!testbed_victim_up() || raw_now_ms() > end)
			return false;
		testbed_idle(); /* to the other thread, where there is one CPU */
	}
}

/* Offers chain D0 again and again while *@word flips. Returns how often it was taken back. */
static unsigned offer_flipping(struct raw *r, uint32_t *word, uint32_t a, uint32_t b)
{
	struct flip f = {.word = word, .a = a, .b = b};
	unsigned done = 0;
	pthread_t t;

	flip_start(&f, &t);
	for (; done < ROUNDS; done++) {
		offer(r, D0);
		if (!all_back(r))
			break;
	}
	flip_end(&f, t);
	return done;
}

/*
 * The same in a packed ring for word @word of the descriptor, which is at another place each time,
 * and which the device writes too: the flipping thread may hide that it is used. So two good ones
 * follow, because one may be taken as the end of the list that a flag NEXT begins; when the second
 * has been used, the first of all has been.
 */
static void offer_flipping_place(struct raw *r, unsigned word, uint32_t a, uint32_t b)
{
	struct raw_ring *g = &r->ring[RAW_TX];
	struct flip f = {.a = a, .b = b};
	pthread_t t;

	flip_start(&f, &t);
	for (unsigned i = 0; i < ROUNDS && testbed_victim_up(); i++) {
		const uint16_t at = g->at;
		const bool last_wrap = g->wrap ^ (at + 2u >= RAW_N);
		const uint32_t *last = (uint32_t *)(void *)&raw_place(g, at + 2)->len;
		uint64_t end = raw_now_ms() + RAW_PATIENCE_MS;

		if (word == 3) { /* there are the id and the marks of this lap too */
			f.a = a ^ ((uint32_t)raw_avail_marks(g) << 16 | D0);
			f.b = b ^ ((uint32_t)raw_avail_marks(g) << 16 | D0);
		}
		for (unsigned k = 0; k < 3; k++)
			raw_offer(r, RAW_TX, (uint16_t)(D0 + k));
		__atomic_store_n(&f.word, r->layout->words(g, at) + word, __ATOMIC_RELEASE);
		do {
			raw_publish(r, RAW_TX);
			raw_pump_rx(r);
			testbed_idle();
		} while ((shm_load_acquire32(last + 1) >> 16 & RAW_MARKS) !=
				 raw_used_marks(last_wrap) &&
			 testbed_victim_up() && raw_now_ms() < end);
		flip_pause(&f);
		g->used_at = g->at;
		g->used_wrap = g->wrap;
		g->used_seen = g->avail_idx;
	}
	flip_end(&f, t);
}

static void good_chain(struct raw *r)
{
	put_good_packet(r);
	for (unsigned i = 0; i < 3; i++)
		raw_desc(r, RAW_TX, D0 + i, PKT, PKT_LEN, 0, 0);
}

/* A value of word @word of a descriptor; of an address it is the lower half. */
static uint32_t flipped(const struct raw *r, uint64_t v, unsigned word)
{
	return (uint32_t)(word == 0 ? raw_gpa(r, v) : v);
}

static void word_of_desc(struct raw *r, const struct host_case *c, unsigned word)
{
	const unsigned flags = r->layout == &raw_packed && word == 3 ? 16 : 0; /* their shift */
	const uint32_t from = flipped(r, c->from, word) << flags;
	const uint32_t to = flipped(r, c->to, word) << flags;

	good_chain(r);
	if (c->ind[0].gpa) { /* the flipping word is in an indirect table */
		put_entry(r, 0, &(struct desc){PKT, PKT_LEN, 0, 0});
		raw_desc(r, RAW_TX, D0, T0, sizeof(struct vring_desc), IND, 0);
		(void)offer_flipping(r, (uint32_t *)raw_at(r, RAW_SCRATCH) + word, from, to);
	} else if (r->layout == &raw_packed) {
		offer_flipping_place(r, word, from, to);
	} else {
		(void)offer_flipping(r, r->layout->words(&r->ring[RAW_TX], D0) + word, from, to);
	}
}

static uint32_t data_bytes(struct raw *r, uint32_t mark)
{
	uint32_t n = 0;

	for (; mark != r->npkts; mark++) {
		const struct raw_pkt *p = &r->log[mark % RAW_LOG];

		if (p->h.op != VSOCK_OP_RW)
			continue;
		n += p->h.len;
		for (uint32_t i = 0; i < p->h.len && i < RAW_DATA; i++)
			if (!memchr("evil", p->data[i], 4))
				r->bad_used++;
	}
	return n;
}

struct sum {
	struct raw *r;
	uint32_t mark, want;
};

static bool have_all(void *arg)
{
	struct sum *s = arg;

	raw_pump(s->r);
	return data_bytes(s->r, s->mark) >= s->want;
}

static void len_of_header(struct raw *r, const struct host_case *c)
{
	uint64_t bad = testbed_counter(CNT(rx_bad_hdr));
	struct sum s = {r, raw_mark(r), 0};

	good_chain(r);
	assert_int_equal(offer_flipping(r, raw_at(r, PKT_OFF + 24), 4, (uint32_t)c->to), ROUNDS);
	assert_true(raw_sync(r));
	s.want = 4 * (ROUNDS - (uint32_t)(testbed_counter(CNT(rx_bad_hdr)) - bad));
	assert_true(testbed_until(have_all, &s));
	assert_int_equal(data_bytes(r, s.mark), s.want);
}

struct refusals {
	struct raw *r;
	uint32_t mark, port;
	unsigned want;
};

/* RSTs from the one port or the other, for each REQUEST. */
static bool refused(void *arg)
{
	const struct refusals *f = arg;

	raw_pump(f->r);
	return raw_count(f->r, f->mark, VSOCK_OP_RST, f->port, 1000) +
		       raw_count(f->r, f->mark, VSOCK_OP_RST, f->port, 1001) >=
	       f->want;
}

/*
 * A REQUEST to one of two ports where nobody listens: each gets an RST from the one or the other.
 * It is waited for, because zvsockd may have to look for the port's endpoint first, and a second
 * REQUEST between the same ports meanwhile would share its RST.
 */
static void port_of_header(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_REQUEST, 0);
	struct refusals f = {r, raw_mark(r), r->next_port++, 0};
	struct flip flip = {.word = raw_at(r, PKT_OFF + 20), .a = 1000, .b = 1001};
	bool going = true;
	pthread_t t;

	(void)c;
	good_chain(r);
	h.src_port = f.port;
	h.dst_port = 1000;
	vsock_hdr_put(raw_at(r, PKT_OFF), &h);
	flip_start(&flip, &t);
	for (; going && f.want < ROUNDS; going = all_back(r) && testbed_until(refused, &f)) {
		offer(r, D0);
		f.want++;
	}
	flip_end(&flip, t);
	assert_true(going);
	assert_true(raw_sync(r));
	assert_int_equal(raw_count(r, f.mark, VSOCK_OP_RST, f.port, 1000) +
				 raw_count(r, f.mark, VSOCK_OP_RST, f.port, 1001),
			 ROUNDS);
}

/* Forged at the last moment: every packet is either the victim's own or counted. */
static void src_of_header(struct raw *r, const struct host_case *c)
{
	uint64_t bad = testbed_counter(CNT(rx_bad_cid));
	struct sum s = {r, raw_mark(r), 0};

	(void)c;
	good_chain(r);
	assert_int_equal(offer_flipping(r, raw_at(r, PKT_OFF), VICTIM_CID, BYSTANDER_CID), ROUNDS);
	assert_true(raw_sync(r));
	s.want = 4 * (ROUNDS - (uint32_t)(testbed_counter(CNT(rx_bad_cid)) - bad));
	assert_true(testbed_until(have_all, &s));
	assert_int_equal(data_bytes(r, s.mark), s.want);
}

/* Descriptors of the receive ring, while the host fills them. */
static void rx_desc(struct raw *r, const struct host_case *c, unsigned word)
{
	struct flip f = {.word = r->layout->words(&r->ring[RAW_RX], 5) + word,
			 .a = flipped(r, c->from, word),
			 .b = flipped(r, c->to, word)};
	pthread_t t;

	flip_start(&f, &t);
	for (unsigned i = 0; i < 4 * ROUNDS && testbed_victim_up(); i++)
		if (!raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0))
			break;
	flip_end(&f, t);
	r->bad_used = 0; /* a header may have gone to the other address */
	raw_desc(r, RAW_RX, 5, RAW_A + RAW_RX_AT + 5 * RAW_RX_SIZE, RAW_RX_SIZE, WR, 0);
}

/* Packed: id, or marks. */
static void rest_of_desc(struct raw *r, const struct host_case *c)
{
	good_chain(r);
	offer_flipping_place(r, 3, (uint32_t)c->from, (uint32_t)c->to);
}

static void avail_entry(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	(void)c;
	good_chain(r);
	/* the word holds the entry that is offered next and its neighbour */
	(void)offer_flipping(r, (uint32_t *)(void *)&g->avail->ring[(g->avail_idx & ~1u) % RAW_N],
			     D0 | D0 << 16, 0xffffffffu);
}

/* Words of a descriptor: 0 and 1 the address, 2 the length, 3 flags and next. */
static void desc_addr(struct raw *r, const struct host_case *c)
{
	word_of_desc(r, c, 0);
}
static void desc_len(struct raw *r, const struct host_case *c)
{
	word_of_desc(r, c, 2);
}
static void desc_flags(struct raw *r, const struct host_case *c)
{
	word_of_desc(r, c, 3);
}
static void rx_desc_addr(struct raw *r, const struct host_case *c)
{
	rx_desc(r, c, 0);
}
static void rx_desc_len(struct raw *r, const struct host_case *c)
{
	rx_desc(r, c, 2);
}

#define RACE .ring = EITHER, .conn = WHATEVER, .count = ANY, .rst = ANY, .rw = ANY
#define SAME .count = ANY, .rst = ANY, .rw = ANY

const struct host_case race_cases[] = {
	{"header changed after it was made available: port", port_of_header, SAME},
	{"header changed after it was made available: source CID", src_of_header, SAME},
	{"length changed between check and use: 4 and 8 of 4", len_of_header, SAME, .to = 8},
	{"length changed between check and use: 4 and 2^32 - 16", len_of_header, SAME,
	 .to = 0xfffffff0u},
	{"length changed between check and use: descriptor", desc_len, RACE, .from = PKT_LEN,
	 .to = UINT32_MAX},
	{"length changed between check and use: descriptor shrinks", desc_len, RACE,
	 .from = PKT_LEN, .to = 0},
	{"address changed after it was made available", desc_addr, RACE, .from = PKT,
	 .to = RAW_HOLE},
	{"flags changed after they were made available", desc_flags, RACE, .from = 0, .to = IND},
	{"link changed after it was made available", desc_flags, RACE, .from = 0,
	 .to = NX | D0 << 16},
	{"length in an indirect table changed", desc_len, RACE, .from = PKT_LEN, .to = UINT32_MAX,
	 .ind = {{.gpa = 1}}},
	{"address in an indirect table changed", desc_addr, RACE, .from = PKT, .to = RAW_HOLE,
	 .ind = {{.gpa = 1}}},
	{"link in an indirect table changed", desc_flags, RACE, .from = 0, .to = NX,
	 .ind = {{.gpa = 1}}},
	{"receive buffer's length changed", rx_desc_len, RACE, .from = RAW_RX_SIZE, .to = 45},
	{"receive buffer's length changed to nothing", rx_desc_len, RACE, .from = RAW_RX_SIZE,
	 .to = 0},
	{"receive buffer's address changed", rx_desc_addr, RACE,
	 .from = RAW_A + RAW_RX_AT + 5 * RAW_RX_SIZE, .to = RAW_HOLE},
};
const unsigned n_race_cases = sizeof(race_cases) / sizeof(race_cases[0]);

const struct host_case split_race_cases[] = {
	{"avail entry changed after it was made available", avail_entry, RACE},
};
const unsigned n_split_race_cases = sizeof(split_race_cases) / sizeof(split_race_cases[0]);

/* What changes in the id and, 16 bits further up, in the flags. */
const struct host_case packed_race_cases[] = {
	{"marks changed after it was made available: of the next lap", rest_of_desc, RACE,
	 .to = (uint32_t)RAW_MARKS << 16},
	{"marks changed after it was made available: used", rest_of_desc, RACE,
	 .to = (uint32_t)RAW_USED_MARK << 16},
	{"id changed after it was made available", rest_of_desc, RACE, .to = 0xffff},
};
const unsigned n_packed_race_cases = sizeof(packed_race_cases) / sizeof(packed_race_cases[0]);
