/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_hog.h"

#include "zv_transfer.h"

#include <errno.h>
#include <stdlib.h>

#define HOG_BUFS 4096u

struct hog {
	bool reserves; /* else it receives */
	unsigned n;
	struct zv_buf b[HOG_BUFS];
};

void hog_grab(struct bconn *bc)
{
	struct hog *h = bc->own;
	int n = 1;

	while (n > 0 && h->n < HOG_BUFS) {
		n = h->reserves ? zv_buf_alloc(bc->zc, h->b + h->n, HOG_BUFS - h->n, bc->size)
				: zv_buf_recv(bc->zc, h->b + h->n, HOG_BUFS - h->n);
		h->n += n > 0 ? (unsigned)n : 0;
	}
	if (h->n == HOG_BUFS)
		zv_set_events(bc->zc, ZV_EV_HUP);
}

int hog_start(struct worker *w, struct bconn *bc, bool reserves)
{
	struct hog *h = calloc(1, sizeof(*h));

	if (!h)
		return side_fail_own(w->side, -ENOMEM, "buffers to hold");
	h->reserves = reserves;
	bc->own = h;
	bc->state = BC_ROLE;
	hog_grab(bc);
	return 0;
}

void hog_drop(struct bconn *bc)
{
	struct hog *h = bc->own;

	if (h && h->reserves)
		zv_buf_cancel(bc->zc, h->b, h->n);
	else if (h)
		zv_buf_release(zv_conn_queue(bc->zc), h->b, h->n);
	free(h);
	bc->own = NULL;
}

/* ---- server ---- */

static int holds_start(struct worker *w, struct bconn *bc)
{
	return hog_start(w, bc, false);
}

static int reserves_start(struct worker *w, struct bconn *bc)
{
	return hog_start(w, bc, true);
}

static int hog_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	(void)w;
	hog_grab(bc);
	return (events & (ZV_EV_HUP | ZV_EV_ERR)) != 0;
}

static int feeds_start(struct worker *w, struct bconn *bc)
{
	(void)w;
	bc->state = BC_GO;
	return 0;
}

static void feeds_go(struct worker *w, struct bconn *bc)
{
	bc_start_source(w, bc);
	bc->end_ticks = UINT64_MAX;
}

static int feeds_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	/* The other end of this one leaves when it likes. */
	if (events & (ZV_EV_HUP | ZV_EV_ERR))
		return -ECONNRESET;
	return bc_data_event(w, bc, events);
}

const struct zv_role role_holds = {
	.name = "holds", .start = holds_start, .event = hog_event, .drop = hog_drop};
const struct zv_role role_reserves = {
	.name = "reserves", .start = reserves_start, .event = hog_event, .drop = hog_drop};
const struct zv_role role_feeds = {
	.name = "feeds", .start = feeds_start, .go = feeds_go, .event = feeds_event};
