/* SPDX-License-Identifier: BSD-3-Clause */
#include "reach.h"

#include "base/clock.h"
#include "core/log.h"

#include <errno.h>
#include <pthread.h>
#include <zvsock_broker.h>

#define REGIONS_PER_GUEST 8u /* per guest: in use, with payload on loan, or to be freed */
#define REACH_MAP_NS	  10000000000ull /* for a VMM to map the region that it was sent */

bool reach_is_app(const struct guest *g)
{
	return cfg_roles[guest_cfg(g)->role].attached;
}

static struct {
	pthread_mutex_t lock;  /* protects these, and each guest's region */
	struct region *region; /* zvsockd's own; NULL: none */
	uint64_t size;	       /* as configured */
	uint64_t channel;      /* bytes; atomic */
	/* Atomic: set again for each device. */
	int (*import)(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
		      struct region_mem *out);
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct region *reach_own(void)
{
	struct region *r;

	pthread_mutex_lock(&own.lock);
	r = own.region ? region_get(own.region) : NULL;
	pthread_mutex_unlock(&own.lock);
	return r;
}

int reach_address(const struct guest *g, struct region *r, uint64_t *gpa)
{
	uint64_t since;
	bool its_own;

	pthread_mutex_lock(&own.lock);
	its_own = g->region == r;
	*gpa = its_own ? g->region_gpa : ZV_REGION_BY_FD;
	since = g->region_ns;
	pthread_mutex_unlock(&own.lock);
	if (!its_own || !region_pending(r))
		return 0;
	if (now_ns() - since < REACH_MAP_NS)
		return -EAGAIN;
	log_line(ZV_LOG_WARN, g->name,
		 "its VMM has not mapped the region for channels (vhost-user SHMEM_MAP) at %#llx, "
		 "where the driver looks for it; the VMM's own log may say why: not used",
		 (unsigned long long)*gpa);
	return -ETIMEDOUT;
}

/* Makes @r the guest's region in place of its former one; takes over the caller's reference. NULL:
 * none. */
static void set_region(struct guest *g, struct region *r, uint64_t gpa, uint64_t nonce)
{
	struct region *old;

	pthread_mutex_lock(&own.lock);
	old = g->region;
	g->region = r;
	g->region_gpa = gpa;
	g->region_ns = now_ns();
	g->region_nonce = nonce;
	pthread_mutex_unlock(&own.lock);
	if (r && r != old)
		region_own(r);
	if (old && old != r)
		region_disown(old);
	region_put(old);
}

/* ---- zvsockd's own region ---- */

static struct region *make_own(uint64_t size, uint64_t channel)
{
	struct region_mem mem = {0};
	struct region *r;
	int ret = shm_region_create(&mem.at, "zvsockd channels", size, 0);
	size_t page = mem.at.page_size;

	if (ret) {
		log_line(
			ZV_LOG_ERR, NULL,
			"application_region: no memory for %llu bytes: %s; applications are joined "
			"by copying",
			(unsigned long long)size, zv_strerror(ret));
		return NULL;
	}
	r = region_new(&mem, "", channel);
	if (r)
		log_line(ZV_LOG_INFO, NULL,
			 "applications share a region of %llu MiB, in pages of %zu KiB%s",
			 (unsigned long long)region_size(r) >> 20, page >> 10,
			 page > 1u << 20 ? "" : ": there are not enough free hugepages for it");
	return r;
}

bool reach_own_size(uint64_t size, uint64_t channel)
{
	struct region *r, *old;

	__atomic_store_n(&own.channel, channel, __ATOMIC_RELAXED);
	if (size == own.size) {
		if (own.region)
			region_resize_channels(own.region, channel);
		return false;
	}
	r = size ? make_own(size, channel) : NULL;
	pthread_mutex_lock(&own.lock);
	old = own.region;
	own.region = r;
	own.size = size;
	pthread_mutex_unlock(&own.lock);
	if (old)
		region_retire(old);
	region_put(old);
	return true;
}

/* ---- a guest's memory ---- */

/* Returns the region in the memory that the driver offers. NULL: none; logged. */
static struct region *import(struct guest_queue *gq, uint64_t gpa, uint64_t size)
{
	int (*how)(struct zv_dev * dev, unsigned queue, uint64_t at, uint64_t bytes,
		   struct region_mem *out) = __atomic_load_n(&own.import, __ATOMIC_ACQUIRE);
	struct mem_account *was = mem_map_begin(gq->lq.mem);
	struct region_mem mem = {0};
	struct region *r;
	int ret = how ? how(gq->guest->dev, gq->index, gpa, size, &mem) : -EOPNOTSUPP;

	mem_map_end(was);
	if (ret) {
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "the memory at %#llx that its driver offers for channels is not used: %s",
			 (unsigned long long)gpa, zv_error_text());
		return NULL;
	}
	ret = region_same(&mem, &r);
	if (ret == 0)
		return r;
	if (ret == -EBUSY) {
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "the region that its driver offers had another size before, and payload "
			 "in it is still in use: it is not used for channels");
		mem.drop(mem.arg);
		return NULL;
	}
	if (regions_of(gq->guest->name) >= REGIONS_PER_GUEST) {
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "%u regions of this guest are still in use, most likely by applications "
			 "that have not given back what they have on loan there: the memory that "
			 "its driver offers for channels is not used",
			 REGIONS_PER_GUEST);
		mem.drop(mem.arg);
		return NULL;
	}
	r = region_new(&mem, gq->guest->name, __atomic_load_n(&own.channel, __ATOMIC_RELAXED));
	if (r)
		log_line(ZV_LOG_INFO, gq->guest->name,
			 "its memory at %#llx is a region for channels: %llu MiB, pages of %zu KiB",
			 (unsigned long long)gpa, (unsigned long long)size >> 20,
			 mem.at.page_size >> 10);
	return r;
}

static bool is_other(uint64_t cid, void *arg)
{
	return cid != *(const uint64_t *)arg;
}

struct region *reach_offered(struct guest_queue *gq, uint64_t nonce, uint64_t gpa, uint64_t size)
{
	struct region *r = import(gq, gpa, size);
	uint64_t cid = guest_cid(gq->guest);

	if (!r)
		return NULL;
	if (nonce)
		region_serve(r, cid);
	region_look_lent(r, is_other, &cid);
	set_region(gq->guest, region_get(r), gpa, nonce);
	return r;
}

struct region *reach_offered_by_program(struct guest_queue *gq, uint64_t gpa, uint64_t size)
{
	struct region *r;
	uint64_t at;

	pthread_mutex_lock(&own.lock);
	r = gq->guest->region ? region_get(gq->guest->region) : NULL;
	at = gq->guest->region_gpa;
	pthread_mutex_unlock(&own.lock);
	if (r && !region_gone(r) && at == gpa && region_size(r) == size)
		return r;
	if (r && !region_gone(r)) {
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "a program offers memory at %#llx for channels, but the guest's region is "
			 "at %#llx: not used",
			 (unsigned long long)gpa, (unsigned long long)at);
		region_put(r);
		return NULL;
	}
	region_put(r);
	return reach_offered(gq, 0, gpa, size);
}

void reach_driver(struct guest *g, uint64_t nonce)
{
	bool others;

	pthread_mutex_lock(&own.lock);
	others = g->region && g->region_nonce != nonce;
	pthread_mutex_unlock(&own.lock);
	if (others)
		set_region(g, NULL, 0, 0);
}

void reach_driver_gone(struct guest *g, uint64_t nonce)
{
	bool its;

	pthread_mutex_lock(&own.lock);
	its = g->region && g->region_nonce == nonce;
	pthread_mutex_unlock(&own.lock);
	if (its)
		set_region(g, NULL, 0, 0);
}

bool reach_orphaned(const struct guest *g, bool *lent)
{
	struct region *r;
	bool orphaned;

	pthread_mutex_lock(&own.lock);
	r = g->region && g->region_nonce ? region_get(g->region) : NULL; /* 0: by programs */
	pthread_mutex_unlock(&own.lock);
	*lent = r;
	orphaned = r && region_orphaned(r, guest_cid(g));
	if (r)
		region_serve(r, guest_cid(g));
	region_put(r);
	return orphaned;
}

void reach_look_lent(const struct guest *g, bool (*counts)(uint64_t cid, void *arg), void *arg)
{
	struct region *r;

	pthread_mutex_lock(&own.lock);
	r = g->region ? region_get(g->region) : NULL;
	pthread_mutex_unlock(&own.lock);
	if (r)
		region_look_lent(r, counts, arg);
	region_put(r);
}

void reach_guest_end(struct guest *g)
{
	set_region(g, NULL, 0, 0);
}

/* ---- regions of both kinds ---- */

struct region *reach_region(const struct guest *a, const struct guest *b)
{
	bool app_a = reach_is_app(a), app_b = reach_is_app(b);
	struct region *r = NULL;

	pthread_mutex_lock(&own.lock);
	if (app_a && app_b)
		r = own.region;
	else if (a->region && (app_b || a->region == b->region))
		r = a->region;
	else if (app_a)
		r = b->region;
	if (r)
		(void)region_get(r);
	pthread_mutex_unlock(&own.lock);
	if (r && (region_gone(r) || !region_settled(r))) {
		region_put(r);
		r = NULL;
	}
	return r;
}

void reach_import_by(int (*how)(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
				struct region_mem *out))
{
	__atomic_store_n(&own.import, how, __ATOMIC_RELEASE);
}
