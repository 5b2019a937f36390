/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_shared.h"

#include "fd_closer.h"
#include "host_alive.h"
#include "mem_look.h"
#include "proto/ctrl/alive.h"
#include "sigbus.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all tables, and who has been taken */
static struct guest_shared_list all = LIST_HEAD_INITIALIZER(all); /* of all guests */

/* ---- the table ---- */

/* The entry of @m that contains all of [@gpa, @gpa + @size); nregions: none. */
static uint32_t entry_of(const struct guest_mem *m, struct gpa gpa, uint64_t size)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		uint64_t off = gpa.v - m->r[i].gpa.v;

		if (off < m->r[i].size && size && size <= m->r[i].size - off)
			return i;
	}
	return m->nregions;
}

/* Where @gpa of entry @i is in the file. */
static uint64_t offset_of(const struct guest_mem *m, uint32_t i, struct gpa gpa)
{
	return m->map[i].offset + (gpa.v - m->r[i].gpa.v);
}

static bool same_file(const struct guest_mem *m, uint32_t i, uint32_t k)
{
	return m->map[i].dev == m->map[k].dev && m->map[i].ino == m->map[k].ino;
}

static bool still_there(const struct guest_shared *r, const struct guest_mem *m)
{
	uint32_t i = m ? entry_of(m, r->gpa, r->size) : 0;

	return m && i < m->nregions && m->map[i].dev == r->dev && m->map[i].ino == r->ino &&
	       offset_of(m, i, r->gpa) == r->offset;
}

void guest_shares_table(struct guest_shares *s, const struct guest_mem *mem,
			const struct guest_mem_src *src)
{
	struct guest_shared *r, *next;

	pthread_mutex_lock(&lock);
	s->mem = mem;
	s->rings = 0;
	for (uint32_t i = 0; mem && i < mem->nregions; i++)
		s->fd[i] = src[i].fd;
	for (r = LIST_FIRST(&s->taken); r; r = next) {
		next = LIST_NEXT(r, link);
		if (still_there(r, mem)) {
			__atomic_store_n(&r->in_table, 1, __ATOMIC_RELEASE);
			continue;
		}
		if (mem && guest_shared_pending(r))
			continue;
		LIST_REMOVE(r, link);
		__atomic_store_n(&r->gone, 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
}

void guest_shares_ring(struct guest_shares *s, const void *va)
{
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; s->mem && i < s->mem->nregions; i++)
		if ((uintptr_t)va - (uintptr_t)s->mem->map[i].addr < s->mem->map[i].len)
			s->rings |= 1u << i;
	pthread_mutex_unlock(&lock);
}

static bool is_file(const struct stat *st, const struct guest_mem *m, uint32_t i)
{
	return m->map[i].dev == st->st_dev && m->map[i].ino == st->st_ino;
}

bool guest_shares_has_host_shm(struct guest_shares *s)
{
	struct stat st;
	bool has = false;

	pthread_mutex_lock(&lock);
	if (s->mem && s->host_shm && fstat(s->host_shm->fd, &st) == 0)
		for (uint32_t i = 0; i < s->mem->nregions; i++)
			has = has || is_file(&st, s->mem, i);
	pthread_mutex_unlock(&lock);
	return has;
}

/* True: the file of entry @i has another entry, a ring, or address 0, so it is the guest's RAM. (A
 * driver can keep its rings out of it.) */
static bool is_ram(const struct guest_shares *s, uint32_t i)
{
	for (uint32_t k = 0; k < s->mem->nregions; k++)
		if (same_file(s->mem, i, k) &&
		    (k != i || (s->rings & 1u << k) || s->mem->r[k].gpa.v == 0))
			return true;
	return false;
}

/* ---- one region ---- */

const char *guest_shared_fault_text(enum guest_shared_fault f)
{
	static const char *const text[] = {
		[GUEST_SHARED_OK] = "no fault",
		[GUEST_SHARED_NOT_IN_TABLE] =
			"it is not in one piece of the memory that the VMM has shared",
		[GUEST_SHARED_RAM] = "it is guest RAM: it has a ring, another entry, or address 0",
		[GUEST_SHARED_NO_MEMORY] = "its file is neither a memfd nor on tmpfs or hugetlbfs",
		[GUEST_SHARED_TOO_SHORT] = "its file has been made shorter",
		[GUEST_SHARED_NOT_SEALED] =
			"its memfd can be made shorter: memory-backend-memfd,seal=on",
		[GUEST_SHARED_NOT_ALIGNED] = "it does not begin with a page of its file",
		[GUEST_SHARED_READ_ONLY] = "its file is open for reading only",
		[GUEST_SHARED_SYSTEM] = "it cannot be mapped",
	};

	return (unsigned)f < sizeof(text) / sizeof(text[0]) ? text[f] : "unknown fault";
}

/* What shm_region_open_at() has said of @fd. */
static enum guest_shared_fault map_fault(int err, int fd, uint64_t offset, uint64_t size)
{
	struct stat st;

	switch (err) {
	case -EPERM:
		return GUEST_SHARED_NOT_SEALED;
	case -EACCES:
		return GUEST_SHARED_READ_ONLY;
	case -EINVAL:
		if (offset % (uint64_t)sysconf(_SC_PAGESIZE))
			return GUEST_SHARED_NOT_ALIGNED;
		return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
				       offset + size > (uint64_t)st.st_size
			       ? GUEST_SHARED_TOO_SHORT
			       : GUEST_SHARED_NO_MEMORY;
	default:
		return GUEST_SHARED_SYSTEM;
	}
}

static struct fd_closer *closer; /* once there is one, it stays */

static void make_closer(void)
{
	closer = fd_closer_new(NULL);
}

/* Lcores call this too, for a VMM that may have ended: then closing the last descriptor frees the
 * whole file. */
static void unmap(struct guest_shared *r)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int fd = r->map.fd >= 0 ? fcntl(r->map.fd, F_DUPFD_CLOEXEC, 0) : -1;
	struct mem_account *was;

	(void)pthread_once(&once, make_closer);
	host_alive_end(r->alive, guest_shared_gone(r));
	sigbus_unwatch(r->watch);
	was = mem_unmap_begin(mem_payer());
	shm_region_destroy(&r->map);
	mem_map_end(was);
	guest_mem_space_give(r->size);
	free(r);
	if (fd >= 0 && closer)
		fd_closer_put(closer, fd);
	else if (fd >= 0)
		(void)close(fd);
}

/* Maps what is in @fd, as *what has it but for the map. */
static int take(struct guest_shares *s, int fd, const struct guest_shared *what,
		struct guest_shared **out)
{
	struct guest_shared *r = malloc(sizeof(*r));
	struct mem_account *was;
	int ret;

	if (!r || !guest_mem_space_take(what->size)) {
		free(r);
		return -ENOMEM;
	}
	*r = *what;
	r->refs = 1;
	r->watch = -1;
	was = mem_map_begin(mem_payer());
	ret = shm_region_open_at(&r->map, fd, r->offset, r->size);
	mem_map_end(was);
	if (ret == 0)
		ret = r->watch = sigbus_watch(r->map.map, r->map.map_size, &r->fault);
	if (ret < 0) {
		unmap(r);
		return ret;
	}
	LIST_INSERT_HEAD(&s->taken, r, link);
	LIST_INSERT_HEAD(&all, r, next);
	*out = r;
	return 0;
}

/* Entry @i has the region. */
static int take_entry(struct guest_shares *s, uint32_t i, struct gpa gpa, uint64_t size,
		      struct guest_shared **out)
{
	const struct guest_shared what = {.gpa = gpa,
					  .size = size,
					  .dev = s->mem->map[i].dev,
					  .ino = s->mem->map[i].ino,
					  .offset = offset_of(s->mem, i, gpa),
					  .in_table = 1};

	return take(s, s->fd[i], &what, out);
}

/* No entry contains it: it is the given memory, and the VMM has not mapped it yet. */
static int take_host_shm(struct guest_shares *s, struct gpa gpa, uint64_t size,
			 struct guest_shared **out)
{
	struct guest_shared what = {.gpa = gpa, .size = size};
	struct stat st;

	if (!s->host_shm || size != s->host_shm->size || gpa.v % (uint64_t)sysconf(_SC_PAGESIZE) ||
	    !vm_range_ok(gpa.v, size))
		return -ENXIO;
	if (fstat(s->host_shm->fd, &st) < 0)
		return -errno;
	what.dev = st.st_dev;
	what.ino = st.st_ino;
	return take(s, s->host_shm->fd, &what, out);
}

static struct guest_shared *taken_already(const struct guest_shares *s, struct gpa gpa,
					  uint64_t size)
{
	struct guest_shared *r;

	LIST_FOREACH(r, &s->taken, link)
		if (r->gpa.v == gpa.v && r->size == size)
			break;
	return r;
}

static enum guest_shared_fault import(struct guest_shares *s, struct gpa gpa, uint64_t size,
				      struct guest_shared **out, int *err)
{
	uint32_t i;

	*err = -ENXIO;
	if (!s->mem)
		return GUEST_SHARED_NOT_IN_TABLE;
	i = entry_of(s->mem, gpa, size);
	*err = -EPERM;
	if (i < s->mem->nregions && is_ram(s, i))
		return GUEST_SHARED_RAM;
	*err = 0;
	*out = taken_already(s, gpa, size);
	if (*out) {
		(*out)->refs++;
		return GUEST_SHARED_OK;
	}
	if (i == s->mem->nregions) {
		*err = take_host_shm(s, gpa, size, out);
		return *err == -ENXIO ? GUEST_SHARED_NOT_IN_TABLE
		       : *err	      ? GUEST_SHARED_SYSTEM
				      : GUEST_SHARED_OK;
	}
	*err = take_entry(s, i, gpa, size, out);
	return *err ? map_fault(*err, s->fd[i], offset_of(s->mem, i, gpa), size) : GUEST_SHARED_OK;
}

enum guest_shared_fault guest_shared_import(struct guest_shares *s, struct gpa gpa, uint64_t size,
					    struct guest_shared **out, int *err)
{
	enum guest_shared_fault f;

	pthread_mutex_lock(&lock);
	f = import(s, gpa, size, out, err);
	pthread_mutex_unlock(&lock);
	return f;
}

/* ---- life and death ---- */

/* NULL: there are none. */
static struct alive_slot *slots_of(const struct guest_shared *r)
{
	if (r->size < 2 * ALIVE_BYTES || r->size % SHM_CACHE_LINE || guest_shared_gone(r) ||
	    guest_shared_pending(r))
		return NULL;
	return alive_slots(r->map.addr, r->size);
}

static struct alive_slot *slot_of(const struct guest_shared *r, uint64_t cid)
{
	struct alive_slot *slots = slots_of(r);

	return slots ? alive_find(slots, cid, 0) : NULL;
}

unsigned guest_shared_lent(const struct guest_shared *r, uint64_t *cids, unsigned n)
{
	const struct alive_slot *slots = slots_of(r);
	unsigned found = 0;

	for (uint32_t i = 0; slots && i < ALIVE_SLOTS && found < n; i++) {
		uint64_t tag = shm_load64(&slots[i].tag);
		uint32_t owner = shm_load32(&slots[i].owner);

		if (tag >> 32 == ALIVE_MAGIC && owner && owner != ALIVE_DIED &&
		    shm_load32(&slots[i].host) == ALIVE_DIED)
			cids[found++] = (uint32_t)tag;
	}
	return found;
}

bool guest_shared_orphaned(const struct guest_shared *r, uint64_t cid)
{
	struct alive_slot *s = slot_of(r, cid);

	return s && shm_load32(&s->owner) == ALIVE_DIED && shm_swap32(&s->owner, ALIVE_DIED, 0);
}

/* With the lock. NULL: no words can be kept. */
static struct host_alive *alive_of(struct guest_shared *r)
{
	if (!r->alive && !r->mute) {
		r->alive = host_alive_new(alive_slots(r->map.addr, r->size));
		r->mute = !r->alive;
		if (r->mute)
			zv_log(ZV_LOG_WARN, "no memory or no thread to let guests see the death of "
					    "this process: they see it later");
	}
	return r->alive;
}

void guest_shared_serve(struct guest_shared *r, uint64_t cid)
{
	struct alive_slot *s = slot_of(r, cid);

	if (!s)
		return;
	pthread_mutex_lock(&lock);
	if (alive_of(r))
		host_alive_maintain(r->alive, s);
	pthread_mutex_unlock(&lock);
}

/*
 * With the lock. @r ends, but another guest has had the same memory imported: its drivers still
 * have a host.
 */
static void pass_words_on(const struct guest_shared *r)
{
	struct guest_shared *o;

	LIST_FOREACH(o, &all, next)
		if (o != r && o->dev == r->dev && o->ino == r->ino && o->offset == r->offset &&
		    o->size == r->size && slots_of(o))
			break;
	if (o && alive_of(o))
		host_alive_take_over(o->alive, r->alive);
}

void guest_shared_put(struct guest_shared *r)
{
	bool last;

	if (!r)
		return;
	pthread_mutex_lock(&lock);
	last = --r->refs == 0;
	if (last) {
		LIST_REMOVE(r, next);
		if (!guest_shared_gone(r))
			LIST_REMOVE(r, link);
		if (r->alive && !guest_shared_gone(r))
			pass_words_on(r);
	}
	pthread_mutex_unlock(&lock);
	if (last)
		unmap(r);
}
