/* SPDX-License-Identifier: BSD-3-Clause */
#include "bells.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <shm_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define PAGES	   1024u
#define PAGE_BYTES 1024u /* of which an owner uses 768: shm-ring/bell_page.h */
#define BELLS	   4096u /* of a page; the first one stays unused, 0 is none */
#define PIPE_BYTES 4096	 /* a page of memory: how many bytes are in it means nothing */

struct page {
	uint64_t serial; /* whose */
	unsigned queue;
	uint32_t id;
	int pipe;		    /* for reading and writing */
	uint64_t taken[BELLS / 64]; /* bits */
};

static struct {
	pthread_mutex_t lock;
	struct shm_region file;	  /* addr NULL: not made yet */
	struct page *page[PAGES]; /* NULL: free */
	unsigned used;		  /* places up to here */
	uint32_t turn;		  /* of the last id: id = turn * PAGES + place */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .file = {.fd = -1}};

/* ---- descriptors ---- */

/* The pipe once more, as nobody else has it. */
static int open_again(int pipe, int how)
{
	char path[32];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe);
	fd = open(path, how | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int make_pipe(void)
{
	int both[2], fd;

	if (pipe2(both, O_NONBLOCK | O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(both[1], F_SETPIPE_SZ, PIPE_BYTES); /* else it is larger, which does no harm */
	fd = open_again(both[0], O_RDWR);
	(void)close(both[0]);
	(void)close(both[1]);
	return fd;
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
		ret = fcntl(all.file.fd, F_DUPFD_CLOEXEC, 0);
		ret = ret < 0 ? -errno : ret;
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
	/* A zvsockd begins anywhere, so that ids of the one before mean nothing. */
	if (!all.turn)
		(void)!getrandom(&all.turn, sizeof(all.turn), 0);
	all.turn = (all.turn + 1) % (UINT32_MAX / PAGES);
	all.turn += !all.turn;
	return all.turn * PAGES + place;
}

static int make_page(uint64_t serial, unsigned queue, struct page **out)
{
	unsigned i = 0;
	struct page *p;
	int fd;

	while (i < PAGES && all.page[i])
		i++;
	if (i == PAGES)
		return -ENOSPC;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	fd = make_pipe();
	if (fd < 0) {
		free(p);
		return fd;
	}
	*p = (struct page){
		.serial = serial, .queue = queue, .id = next_id(i), .pipe = fd, .taken = {1}};
	all.page[i] = p;
	all.used = i >= all.used ? i + 1 : all.used;
	*out = p;
	return 0;
}

static uint64_t place_of(const struct page *p)
{
	return (uint64_t)(p->id % PAGES) * PAGE_BYTES;
}

int bells_page(uint64_t serial, unsigned queue, uint32_t *id, uint64_t *offset)
{
	struct page *p;
	int ret = 0;

	pthread_mutex_lock(&all.lock);
	p = find(serial, queue);
	if (!p)
		ret = make_page(serial, queue, &p);
	if (!ret) {
		*id = p->id;
		*offset = place_of(p);
		ret = open_again(p->pipe, O_RDONLY);
	}
	pthread_mutex_unlock(&all.lock);
	return ret;
}

int bells_ringer(uint32_t id, uint64_t *offset)
{
	struct page *p;
	int ret = -ENOENT;

	pthread_mutex_lock(&all.lock);
	p = find_id(id);
	if (p) {
		*offset = place_of(p);
		ret = open_again(p->pipe, O_RDWR);
	}
	pthread_mutex_unlock(&all.lock);
	return ret;
}

void bells_gone(uint64_t serial)
{
	pthread_mutex_lock(&all.lock);
	for (unsigned i = 0; i < all.used; i++) {
		struct page *p = all.page[i];

		if (!p || p->serial != serial)
			continue;
		all.page[i] = NULL;
		(void)close(p->pipe);
		free(p);
	}
	while (all.used && !all.page[all.used - 1])
		all.used--;
	pthread_mutex_unlock(&all.lock);
}

/* ---- bells ---- */

static bool take(struct page *p, struct bell *b)
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

static void give(const struct bell *b)
{
	struct page *p = find_id(b->page);

	if (p && b->nr)
		p->taken[b->nr / 64] &= ~(UINT64_C(1) << b->nr % 64);
}

bool bells_take(uint64_t serial_a, unsigned queue_a, struct bell *a, uint64_t serial_b,
		unsigned queue_b, struct bell *b)
{
	struct page *pa, *pb;
	bool got = false;

	*a = *b = (struct bell){0};
	pthread_mutex_lock(&all.lock);
	pa = find(serial_a, queue_a);
	pb = pa ? find(serial_b, queue_b) : NULL;
	if (pb && take(pa, a)) {
		got = take(pb, b);
		if (!got) {
			give(a);
			*a = (struct bell){0};
		}
	}
	pthread_mutex_unlock(&all.lock);
	return got;
}

void bell_give(const struct bell *b)
{
	if (!b->nr)
		return;
	pthread_mutex_lock(&all.lock);
	give(b);
	pthread_mutex_unlock(&all.lock);
}
