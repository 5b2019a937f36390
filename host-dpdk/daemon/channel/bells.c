/* SPDX-License-Identifier: BSD-3-Clause */
#include "bells.h"

#include "core/closers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <shm_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#define PAGES	   1024u
#define PAGE_BYTES 1024u /* of which the page's owner uses 768: shm-ring/bell_page.h */
#define BELLS	   4096u /* per page; number 0 means no bell, so bit 0 is never used */

struct page {
	uint64_t serial; /* of the application that owns it */
	unsigned queue;
	uint32_t id;
	uid_t uid; /* of the application */
	int event;
	uint64_t taken[BELLS / 64]; /* a bit for each bell in use */
};

static struct {
	pthread_mutex_t lock;
	struct shm_region file;	  /* addr NULL: not created yet */
	struct page *page[PAGES]; /* NULL: free */
	unsigned used;		  /* entries of page[] up to here may be in use */
	uint32_t turn;		  /* of the last id: id = turn * PAGES + index in page[] */
	/* Applications have duplicates of the eventfds, and may have put them into very many epoll
	 * sets, out of which the last close takes them. It waits for whoever uses such a set, so
	 * each user has a thread. NULL: no page was made yet. */
	struct closers *closers;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .file = {.fd = -1}};

/* ---- descriptors ---- */

static int dup_of(int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return own < 0 ? -errno : own;
}

int bells_file(uint64_t *size)
{
	int ret = 0;

	pthread_mutex_lock(&all.lock);
	if (!all.file.addr)
		ret = shm_region_create(&all.file, "zvsockd bells", PAGES * PAGE_BYTES,
					SHM_NO_HUGE);
	if (!ret) {
		*size = all.file.size;
		ret = dup_of(all.file.fd);
	}
	pthread_mutex_unlock(&all.lock);
	return ret;
}

/* ---- pages; under the lock ---- */

static struct page *find(uint64_t serial, unsigned queue)
{
	for (unsigned i = 0; i < all.used; i++) {
		struct page *p = all.page[i];

		if (p && p->serial == serial && p->queue == queue)
			return p;
	}
	return NULL;
}

static struct page *find_id(uint32_t id)
{
	struct page *p = all.page[id % PAGES];

	return p && p->id == id ? p : NULL;
}

static uint32_t next_id(unsigned place)
{
	/* Each zvsockd begins at a random id, so that the ids of an earlier one are not valid
	 * here. */
	if (!all.turn)
		(void)!getrandom(&all.turn, sizeof(all.turn), 0);
	all.turn = (all.turn + 1) % (UINT32_MAX / PAGES);
	all.turn += !all.turn;
	return all.turn * PAGES + place;
}

static int make_page(uint64_t serial, unsigned queue, uid_t uid, struct page **out)
{
	unsigned i = 0;
	struct page *p;
	int err;

	while (i < PAGES && all.page[i])
		i++;
	if (i == PAGES)
		return -ENOSPC;
	if (!all.closers && !(all.closers = closers_new(NULL)))
		return -ENOMEM;
	/* So pages and what waits to be closed are never more than PAGES + BELLS_CLOSING_ALL. */
	if (closers_count(all.closers, uid) >= BELLS_CLOSING ||
	    closers_all(all.closers) >= BELLS_CLOSING_ALL)
		return -EBUSY;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct page){.serial = serial,
			   .queue = queue,
			   .id = next_id(i),
			   .uid = uid,
			   .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			   .taken = {1}};
	if (p->event < 0) {
		err = -errno;
		free(p);
		return err;
	}
	all.page[i] = p;
	all.used = i >= all.used ? i + 1 : all.used;
	*out = p;
	return 0;
}

static uint64_t place_of(const struct page *p)
{
	return (uint64_t)(p->id % PAGES) * PAGE_BYTES;
}

int bells_page(uint64_t serial, unsigned queue, uid_t uid, uint32_t *id, uint64_t *offset)
{
	struct page *p;
	int ret = 0;

	pthread_mutex_lock(&all.lock);
	p = find(serial, queue);
	if (!p)
		ret = make_page(serial, queue, uid, &p);
	if (p) {
		*id = p->id;
		*offset = place_of(p);
		ret = dup_of(p->event);
	}
	pthread_mutex_unlock(&all.lock);
	return ret;
}

int bells_ringer(uint32_t id, uid_t uid, uint64_t *offset)
{
	struct page *p;
	int ret = -ENOENT;

	pthread_mutex_lock(&all.lock);
	p = find_id(id);
	if (p && p->uid == uid) {
		*offset = place_of(p);
		ret = dup_of(p->event);
	}
	pthread_mutex_unlock(&all.lock);
	return ret;
}

void bells_gone(uint64_t serial)
{
	int event[PAGES];
	unsigned n = 0;
	uid_t uid = CLOSERS_NOBODY;

	pthread_mutex_lock(&all.lock);
	for (unsigned i = 0; i < all.used; i++) {
		struct page *p = all.page[i];

		if (!p || p->serial != serial)
			continue;
		all.page[i] = NULL;
		event[n++] = p->event;
		uid = p->uid;
		free(p);
	}
	while (all.used && !all.page[all.used - 1])
		all.used--;
	pthread_mutex_unlock(&all.lock);
	if (n)
		closers_put(all.closers, uid, event, n);
}

/* ---- bells ---- */

static bool alloc_bell(struct page *p, struct bell *b)
{
	for (uint32_t i = 0; i < BELLS / 64; i++) {
		uint32_t bit;

		if (p->taken[i] == UINT64_MAX)
			continue;
		bit = (uint32_t)__builtin_ctzll(~p->taken[i]);
		p->taken[i] |= UINT64_C(1) << bit;
		*b = (struct bell){p->id, i * 64 + bit};
		return true;
	}
	return false;
}

static void free_bell(const struct bell *b)
{
	struct page *p = find_id(b->page);

	if (p && b->nr)
		p->taken[b->nr / 64] &= ~(UINT64_C(1) << b->nr % 64);
}

bool bells_alloc(uint64_t serial_a, unsigned queue_a, struct bell *a, uint64_t serial_b,
		 unsigned queue_b, struct bell *b)
{
	struct page *pa, *pb;
	bool got = false;

	*a = *b = (struct bell){0};
	pthread_mutex_lock(&all.lock);
	pa = find(serial_a, queue_a);
	pb = pa ? find(serial_b, queue_b) : NULL;
	if (pb && pa->uid == pb->uid && alloc_bell(pa, a)) {
		got = alloc_bell(pb, b);
		if (!got) {
			free_bell(a);
			*a = (struct bell){0};
		}
	}
	pthread_mutex_unlock(&all.lock);
	return got;
}

void bell_free(const struct bell *b)
{
	if (!b->nr)
		return;
	pthread_mutex_lock(&all.lock);
	free_bell(b);
	pthread_mutex_unlock(&all.lock);
}
