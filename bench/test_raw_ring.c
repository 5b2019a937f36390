/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the bare virtqueues: each side finds what the other has put into the ring, also after
 * the indices have wrapped.
 */
#include "io/raw/raw_ring.h"

#include "core/plan.h"
#include "core/target.h"
#include "target/targets.h"
#include "workload/workloads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEN  64u
#define STEP 128u

struct pair {
	struct raw_vq_mem *m;
	unsigned char *bufs;
	struct raw_vq drv, dev;
	unsigned sent, seen, back; /* messages */
};

static void begin(struct pair *p, uint32_t nbufs, bool packed)
{
	*p = (struct pair){.m = aligned_alloc(128, sizeof(*p->m)), .bufs = calloc(nbufs, STEP)};
	assert_non_null(p->m);
	assert_non_null(p->bufs);
	memset(p->m, 0, sizeof(*p->m));
	p->drv = p->dev = (struct raw_vq){.m = p->m,
					  .bufs = p->bufs,
					  .nbufs = nbufs,
					  .stride = STEP,
					  .len = RAW_HDR_LEN + LEN};
	raw_vq_init(&p->drv, packed);
}

static void end(struct pair *p)
{
	free(p->m);
	free(p->bufs);
}

static void send(struct pair *p, const bool packed)
{
	memcpy(raw_vq_buf(&p->drv, p->drv.made) + RAW_DATA_OFF, &p->sent, sizeof(p->sent));
	p->sent++;
	raw_vq_post(&p->drv, packed);
}

/* The device finds the next message, where its descriptor says, and puts it back. */
static void receive(struct pair *p, const bool packed)
{
	const unsigned char *hdr = raw_vq_next(&p->dev, packed);
	unsigned n;

	assert_non_null(hdr);
	assert_int_equal((hdr - p->bufs) % STEP, RAW_HDR_OFF);
	memcpy(&n, hdr + RAW_HDR_LEN, sizeof(n));
	assert_int_equal(n, p->seen);
	p->seen++;
	raw_vq_put(&p->dev, packed);
}

static void take_back(struct pair *p, const bool packed)
{
	const unsigned char *buf = raw_vq_back(&p->drv, packed);
	unsigned n;

	assert_non_null(buf);
	memcpy(&n, buf + RAW_DATA_OFF, sizeof(n));
	assert_int_equal(n, p->back);
	p->back++;
}

/* Batches of all sizes, up to all buffers, over many laps and past the wrap of the counters. */
static void run(const bool packed, uint32_t nbufs)
{
	struct pair p;

	begin(&p, nbufs, packed);
	srand(1);
	while (p.sent < 3 * 65536) {
		unsigned n = 1 + (unsigned)rand() % nbufs, i;

		for (i = 0; i < n; i++)
			send(&p, packed);
		assert_null(raw_vq_next(&p.dev, packed)); /* not published */
		raw_vq_offer(&p.drv, packed);
		for (i = 0; i < n; i++)
			receive(&p, packed);
		assert_null(raw_vq_next(&p.dev, packed));
		assert_null(raw_vq_back(&p.drv, packed));
		raw_vq_publish(&p.dev, packed);
		for (i = 0; i < n; i++)
			take_back(&p, packed);
		assert_null(raw_vq_back(&p.drv, packed));
	}
	end(&p);
}

static void split_in_order(void **state)
{
	(void)state;
	run(false, RAW_VQ_BUFS);
	run(false, RAW_VQ_SIZE);
}

static void packed_in_order(void **state)
{
	(void)state;
	run(true, RAW_VQ_BUFS);
	run(true, RAW_VQ_SIZE);
}

/* Of a split ring nothing but the indices changes once all buffers have been round. */
static void split_writes_indices_only(void **state)
{
	struct raw_vq_mem before;
	struct pair p;

	(void)state;
	begin(&p, RAW_VQ_BUFS, false);
	for (unsigned i = 0; i < 2 * RAW_VQ_SIZE; i++) {
		if (i == RAW_VQ_SIZE)
			before = *p.m;
		send(&p, false);
		raw_vq_offer(&p.drv, false);
		receive(&p, false);
		raw_vq_publish(&p.dev, false);
		take_back(&p, false);
	}
	assert_int_equal(p.m->avail_idx, 2 * RAW_VQ_SIZE);
	assert_int_equal(p.m->used_idx, 2 * RAW_VQ_SIZE);
	before.avail_idx = p.m->avail_idx;
	before.used_idx = p.m->used_idx;
	assert_memory_equal(&before, p.m, sizeof(before));
	end(&p);
}

static unsigned cells_of(const struct bench_plan *p, const struct target *t, enum bench_dir dir)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++)
		n += p->cells[i].target == t && p->cells[i].dir == dir;
	return n;
}

/* Each way is a cell, and what goes that way is compared with it; only small messages. */
static void cells_are_planned(void **state)
{
	struct bench_opts o = {.baselines = true,
			       .nsizes = 2,
			       .sizes = {64, 65536},
			       .dir = DIR_BOTH,
			       .repeat = 1,
			       .copy = true};
	const struct bench_cell h2g = {.workload = &workload_throughput,
				       .target = &target_zvsock,
				       .dir = DIR_H2G,
				       .msg_size = 64};
	const struct bench_cell *beside;
	struct bench_plan p = {0};

	(void)state;
	assert_int_equal(workload_throughput.plan(
				 &p, &o, (struct bench_cell){.workload = &workload_throughput}),
			 0);
	assert_int_equal(cells_of(&p, &target_raw_split, DIR_G2H), 1);
	assert_int_equal(cells_of(&p, &target_raw_split, DIR_H2G), 1);
	assert_int_equal(cells_of(&p, &target_raw_packed, DIR_H2G), 1);
	assert_int_equal(cells_of(&p, &target_raw, DIR_G2H), 2);
	beside = plan_beside(&p, &h2g, &target_raw_split);
	assert_non_null(beside);
	assert_int_equal(beside->dir, DIR_H2G);
	plan_free(&p);

	o.dir = DIR_G2H;
	assert_int_equal(workload_throughput.plan(
				 &p, &o, (struct bench_cell){.workload = &workload_throughput}),
			 0);
	assert_int_equal(cells_of(&p, &target_raw_split, DIR_H2G), 0);
	plan_free(&p);

	/* Nothing tells a bare ring to sleep. */
	o.sleep = true;
	assert_string_equal(target_absent(&target_raw_split, &o), "--sleep");
	o.targets = UINT64_MAX;
	assert_non_null(target_absent(&target_raw_packed, &o));
	assert_null(target_absent(&target_raw, &o));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_in_order),
		cmocka_unit_test(packed_in_order),
		cmocka_unit_test(split_writes_indices_only),
		cmocka_unit_test(cells_are_planned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
