/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_int.h"

#include "base/clock.h"
#include "base/sparse.h"
#include "core/log.h"
#include "shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(2 * CHANNEL_MIN == 512u << 10, "region_new() says so");

struct regions regions = {.lock = PTHREAD_MUTEX_INITIALIZER,
			  .all = TAILQ_HEAD_INITIALIZER(regions.all),
			  .dead = TAILQ_HEAD_INITIALIZER(regions.dead),
			  .timer = -1};

struct region_user region_user(const struct guest *g)
{
	struct region_user u = {.serial = g->serial};

	memcpy(u.name, g->name, sizeof(u.name));
	return u;
}

/* ---- life cycle ---- */

/* With regions.lock. */
static bool id_used(uint64_t id)
{
	const struct region *r;

	TAILQ_FOREACH(r, &regions.all, link)
		if (r->id == id)
			return true;
	return false;
}

struct region *region_new(const struct region_mem *from, const char *origin, uint64_t wanted)
{
	const struct shm_region *mem = &from->at;
	struct region *r = calloc(1, sizeof(*r));

	if (!r) {
		struct region_mem none = *from;

		region_mem_drop(&none);
		return NULL;
	}
	TAILQ_INIT(&r->members);
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->file_lock, NULL);
	(void)snprintf(r->origin, sizeof(r->origin), "%s", origin);
	r->refs = 1;
	r->from = *from;
	r->settled = !from->drop;
	r->mem = *mem;
	r->channel_bytes = channel_bytes(mem->size, wanted);
	r->buddy = buddy_new(mem->size, CHANNEL_MIN);
	r->at = sparse_alloc(region_at_bytes(mem->size));
	if (!r->channel_bytes || !r->buddy || !r->at) {
		log_line(ZV_LOG_WARN, *origin ? origin : NULL,
			 "a region of %zu KiB is not used for channels: %s", mem->size >> 10,
			 r->channel_bytes ? "zvsockd has no memory left"
					  : "it is too small, make it 512K or larger");
		region_destroy(r);
		return NULL;
	}
	pthread_mutex_lock(&regions.lock);
	do {
		(void)!getrandom(&r->id, sizeof(r->id), 0);
	} while (!r->id || id_used(r->id));
	TAILQ_INSERT_TAIL(&regions.all, r, link);
	pthread_mutex_unlock(&regions.lock);
	return r;
}

struct region *region_get(struct region *r)
{
	pthread_mutex_lock(&regions.lock);
	r->refs++;
	pthread_mutex_unlock(&regions.lock);
	return r;
}

/* With the lock. */
static void retire(struct region *r)
{
	if (!r->retired)
		__atomic_store_n(&regions.some_retired, true, __ATOMIC_RELEASE);
	r->retired = true;
}

int region_same(const struct region_mem *mem, struct region **out)
{
	struct region_mem before;
	struct region *r;
	int ret;

	pthread_mutex_lock(&regions.lock);
	TAILQ_FOREACH(r, &regions.all, link)
		if (r->from.drop && r->from.dev == mem->dev && r->from.ino == mem->ino)
			break;
	ret = !r ? -ENOENT : 0;
	if (r && (r->mem.size != mem->at.size || r->from.offset != mem->offset))
		ret = -EBUSY;
	if (ret == 0)
		r->refs++;
	pthread_mutex_unlock(&regions.lock);
	if (ret)
		return ret;
	pthread_mutex_lock(&r->file_lock);
	pthread_mutex_lock(&r->lock);
	before = r->from;
	r->from = *mem;
	r->mem = mem->at;
	r->retired = false;
	pthread_mutex_unlock(&r->lock);
	pthread_mutex_unlock(&r->file_lock);
	region_mem_drop(&before);
	*out = r;
	return 0;
}

bool region_gone(struct region *r)
{
	bool gone;

	pthread_mutex_lock(&r->lock);
	gone = r->from.gone && r->from.gone(r->from.arg);
	if (gone)
		retire(r);
	pthread_mutex_unlock(&r->lock);
	return gone;
}

bool region_pending(struct region *r)
{
	bool pending;

	pthread_mutex_lock(&r->lock);
	pending = r->from.pending && r->from.pending(r->from.arg);
	pthread_mutex_unlock(&r->lock);
	return pending;
}

bool region_orphaned(struct region *r, uint64_t cid)
{
	struct region_touch t;
	bool orphaned;

	pthread_mutex_lock(&r->lock);
	t = region_touch(r);
	orphaned =
		r->from.orphaned && !region_rests(r, t.start) && r->from.orphaned(r->from.arg, cid);
	region_touched(r, &t);
	pthread_mutex_unlock(&r->lock);
	return orphaned;
}

void region_serve(struct region *r, uint64_t cid)
{
	struct region_touch t;

	pthread_mutex_lock(&r->lock);
	t = region_touch(r);
	if (r->from.serve && !region_rests(r, t.start))
		r->from.serve(r->from.arg, cid);
	region_touched(r, &t);
	pthread_mutex_unlock(&r->lock);
}

void region_own(struct region *r)
{
	pthread_mutex_lock(&r->lock);
	r->owners++;
	pthread_mutex_unlock(&r->lock);
}

void region_disown(struct region *r)
{
	pthread_mutex_lock(&r->lock);
	if (--r->owners == 0)
		retire(r);
	pthread_mutex_unlock(&r->lock);
}

uint64_t region_id(const struct region *r)
{
	return r->id;
}

uint64_t region_size(const struct region *r)
{
	return r->mem.size;
}

void region_resize_channels(struct region *r, uint64_t wanted)
{
	__atomic_store_n(&r->channel_bytes, channel_bytes(r->mem.size, wanted), __ATOMIC_RELAXED);
}

void region_retire(struct region *r)
{
	pthread_mutex_lock(&r->lock);
	retire(r);
	pthread_mutex_unlock(&r->lock);
}

bool region_retired(struct region *r)
{
	bool retired;

	pthread_mutex_lock(&r->lock);
	retired = r->retired;
	pthread_mutex_unlock(&r->lock);
	return retired;
}

/* ---- members; with the region's lock ---- */

static struct member *member_find(const struct region *r, uint64_t serial)
{
	struct member *m;

	TAILQ_FOREACH(m, &r->members, link)
		if (m->user.serial == serial)
			return m;
	return NULL;
}

static struct member *member_need(struct region *r, const struct region_user *u)
{
	struct member *m = member_find(r, u->serial);

	if (m)
		return m;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->user = *u;
	TAILQ_INSERT_TAIL(&r->members, m, link);
	r->n_members++;
	return m;
}

static void member_drop(struct region *r, struct member *m)
{
	if (!m || m->admitted || m->ends)
		return;
	TAILQ_REMOVE(&r->members, m, link);
	r->n_members--;
	free(m);
}

int region_admit(struct region *r, const struct region_user *u)
{
	struct member *m;

	pthread_mutex_lock(&r->lock);
	m = member_need(r, u);
	if (m)
		m->admitted = true;
	pthread_mutex_unlock(&r->lock);
	return m ? 0 : -ENOMEM;
}

void region_expel(struct region *r, const struct region_user *u)
{
	struct member *m;

	pthread_mutex_lock(&r->lock);
	m = member_find(r, u->serial);
	if (m)
		m->admitted = false;
	member_drop(r, m);
	pthread_mutex_unlock(&r->lock);
}

int region_fetch(uint64_t id, const struct region_user *u, uint64_t *size, uint64_t *offset)
{
	const struct member *m;
	struct region *r;
	bool admitted;
	int ret;

	pthread_mutex_lock(&regions.lock);
	TAILQ_FOREACH(r, &regions.all, link)
		if (r->id == id)
			break;
	if (r)
		r->refs++;
	pthread_mutex_unlock(&regions.lock);
	if (!r)
		return -ENOENT;
	pthread_mutex_lock(&r->lock);
	m = member_find(r, u->serial);
	admitted = m && m->admitted;
	*size = r->mem.size;
	*offset = r->from.offset;
	pthread_mutex_unlock(&r->lock);
	ret = admitted ? region_file(r) : -ENOENT;
	region_put(r);
	return ret;
}

/* ---- parts ---- */

/* True: @m may have an end of another part of @bytes. The guest that owns the memory takes nothing
 * from other members, so it has no share: one of its peers could use that up, at the cost of its
 * connections with all others. */
static bool has_share(const struct region *r, const struct member *m, uint64_t bytes)
{
	if (m->ends >= REGION_ENDS_MAX)
		return false;
	if (r->owners <= 1 && *r->origin && strcmp(r->origin, m->user.name) == 0)
		return bytes <= buddy_free_bytes(r->buddy);
	return m->bytes + bytes <= (m->bytes + buddy_free_bytes(r->buddy)) / 2;
}

static void charge(struct member *m, uint64_t bytes)
{
	m->bytes += bytes;
	m->ends++;
}

/* With the lock, because it writes to the memory, and region_same() may replace the mapping. */
static int make(struct region *r, struct chan_part *p, uint64_t bytes)
{
	struct buddy_block at;
	struct region_touch t;
	int ret = buddy_alloc(r->buddy, bytes, &at);

	if (ret)
		return ret;
	channel_shape(&p->desc,
		      at.length - (at.offset + at.length > r->mem.size - r->from.reserved_tail
					   ? r->from.reserved_tail
					   : 0));
	p->desc.offset = at.offset;
	p->desc.generation = at.generation;
	t = region_touch(r);
	ret = shm_channel_format(r->mem.addr, r->mem.size, &p->desc);
	region_touched(r, &t);
	if (!ret)
		return 0;
	/* The pages have been removed from the file, and there is no memory for new ones. That may
	 * change, unless the file belongs to a guest and was truncated; such a region is
	 * retired. */
	(void)buddy_free(r->buddy, at.offset);
	if (r->from.gone)
		retire(r);
	return -ENOMEM;
}

/* With the lock. */
static int take(struct region *r, const struct region_user *a, const struct region_user *b,
		struct chan_part *p, uint64_t bytes)
{
	struct member *ma = member_need(r, a), *mb = member_need(r, b);
	int ret = 0;

	if (!ma || !mb)
		ret = -ENOMEM;
	else if (r->retired)
		ret = -ESTALE;
	else if (region_rests(r, now_ns()))
		ret = -EAGAIN;
	else if (!bytes || !has_share(r, ma, bytes) || !has_share(r, mb, bytes))
		ret = -ENOSPC;
	else
		ret = make(r, p, bytes);
	if (ret) {
		member_drop(r, ma);
		if (mb != ma)
			member_drop(r, mb);
		return ret;
	}
	charge(ma, p->desc.length);
	if (mb != ma)
		charge(mb, p->desc.length);
	r->at[p->desc.offset / CHANNEL_MIN] = p;
	r->n_parts++;
	return 0;
}

int chan_part_new(struct region *r, const struct region_user *a, const struct region_user *b,
		  struct chan_part **out)
{
	uint64_t bytes = __atomic_load_n(&r->channel_bytes, __ATOMIC_RELAXED);
	struct chan_part *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++)
		p->end[i] =
			(struct chan_end){.part = p, .serial = (i ? b : a)->serial, .held = true};
	pthread_mutex_lock(&r->lock);
	ret = take(r, a, b, p, bytes);
	pthread_mutex_unlock(&r->lock);
	if (ret) {
		free(p);
		return ret;
	}
	p->region = region_get(r);
	*out = p;
	return 0;
}

void end_granted(struct chan_end *e, const void *holder)
{
	struct region *r = e->part->region;

	pthread_mutex_lock(&r->lock);
	e->holder = holder;
	pthread_mutex_unlock(&r->lock);
}

/* With the lock. A member that has both ends is charged once. */
static void discharge(struct region *r, const struct chan_part *p, const struct chan_end *e)
{
	const struct chan_end *other = &p->end[e == &p->end[0]];
	struct member *m = member_find(r, e->serial);

	if (!m || (other->held && other->serial == e->serial))
		return;
	m->bytes -= p->desc.length;
	m->ends--;
	member_drop(r, m);
}

void end_release(struct chan_end *e)
{
	struct chan_part *p = e->part;
	struct region *r = p->region;
	bool last;

	pthread_mutex_lock(&r->lock);
	e->held = false;
	e->holder = NULL;
	bell_free(&e->bell);
	discharge(r, p, e);
	last = !p->end[0].held && !p->end[1].held;
	if (last) {
		r->at[p->desc.offset / CHANNEL_MIN] = NULL;
		r->n_parts--;
		(void)buddy_free(r->buddy, p->desc.offset);
	}
	pthread_mutex_unlock(&r->lock);
	if (last) {
		free(p);
		region_put(r);
	}
}

struct chan_end *end_find(struct region *r, const void *holder, uint64_t offset,
			  uint32_t generation)
{
	struct chan_end *found = NULL;
	struct chan_part *p = NULL;

	pthread_mutex_lock(&r->lock);
	if (offset < r->mem.size)
		p = r->at[offset / CHANNEL_MIN];
	if (p && p->desc.offset == offset && p->desc.generation == generation)
		for (unsigned i = 0; i < 2 && !found; i++)
			if (p->end[i].held && p->end[i].holder == holder)
				found = &p->end[i];
	pthread_mutex_unlock(&r->lock);
	return found;
}
