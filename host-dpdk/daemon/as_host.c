/* SPDX-License-Identifier: BSD-3-Clause */
#include "as_host.h"

#include "channel/reach.h"
#include "core/guest.h"
#include "core/log.h"

#include <zvsock_host.h>

/* ---- memory of guests for channels ---- */

static void drop(void *arg)
{
	zv_host_region_put(arg);
}

static bool gone(void *arg)
{
	struct zv_host_region_info i;

	zv_host_region_get_info(arg, &i);
	return i.state & (ZV_HOST_REGION_GONE | ZV_HOST_REGION_TRUNCATED);
}

static bool pending(void *arg)
{
	struct zv_host_region_info i;

	zv_host_region_get_info(arg, &i);
	return i.state & ZV_HOST_REGION_PENDING;
}

static bool orphaned(void *arg, uint64_t cid)
{
	return zv_host_region_orphaned(arg, cid);
}

static void serve(void *arg, uint64_t cid)
{
	zv_host_region_serve(arg, cid);
}

static unsigned lent(void *arg, uint64_t *cids, unsigned n)
{
	return zv_host_region_lent(arg, cids, n);
}

static int import(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
		  struct region_mem *out)
{
	struct zv_host_region_info i;
	struct zv_host_region *r;
	int ret = zv_host_region_import(dev, queue, gpa, size, &r);

	if (ret)
		return ret;
	zv_host_region_get_info(r, &i);
	*out = (struct region_mem){
		.at = {.addr = i.addr, .size = i.size, .fd = i.fd, .page_size = i.page_size},
		.dev = i.dev,
		.ino = i.ino,
		.offset = i.fd_offset,
		.drop = drop,
		.gone = gone,
		.pending = pending,
		.orphaned = orphaned,
		.serve = serve,
		.lent = lent,
		.reserved_tail = ZV_HOST_REGION_RESERVED,
		.arg = r};
	return 0;
}

bool as_host_check(const struct guest *g)
{
	bool lends, orphaned = reach_orphaned(g, &lends);

	if (orphaned) {
		log_line(ZV_LOG_INFO, g->name,
			 "the process of its driver has died: its connections are reset");
		(void)zv_host_driver_died(g->dev);
	}
	return lends;
}

/* ---- memory that lcores sleep on ---- */

void as_host_watch(struct guest_queue *gq, void (*fn)(void *lq, bool enters))
{
	zv_host_queue_watch(gq->guest->dev, gq->index, fn, &gq->lq);
}

void as_host_rest(struct guest_queue *gq, uint64_t ns)
{
	zv_host_queue_rest(gq->guest->dev, gq->index, ns);
}

/* ---- the process ---- */

int as_host_prepare(struct guest *g)
{
	int ret = zv_host_init();

	if (ret < 0) {
		guest_fails(g, "%s", zv_error_text());
		return ret;
	}
	ret = zv_catch_sigbus();
	reach_import_by(import);
	mem_others_by(zv_host_others_took);
	if (ret < 0)
		guest_fails(g, "SIGBUS cannot be caught: %s", zv_strerror(ret));
	return ret;
}
