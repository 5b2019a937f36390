/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon_bells.h"

#include "bell_page.h"
#include "sigbus.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PEERS_CACHED 64u /* beyond that, unused ones are dropped */

/* The memory with all pages. */
struct bells_file {
	struct region_map map; /* first */
	struct shm_region mem;
	int watch;
};

enum { REQUESTED, REQUESTING, READY, FAILED };

/* A page, as somebody holds it. */
struct page_map {
	struct bell_map map; /* first */
	struct region_map *file;
};

struct peer_page {
	struct peer_page *next;
	uint32_t id;
	int state;
	int err;	       /* FAILED */
	struct page_map *page; /* THERE */
};

void daemon_bells_init(struct daemon_bells *b)
{
	pthread_mutex_init(&b->lock, NULL);
}

/* ---- maps ---- */

static void file_free(struct region_map *m)
{
	struct bells_file *f = (struct bells_file *)(void *)m;

	sigbus_unwatch(f->watch);
	shm_region_destroy(&f->mem);
	free(f);
}

static void page_free(struct bell_map *m)
{
	struct page_map *p = (struct page_map *)(void *)m;

	close(p->map.fd);
	region_map_put(p->file);
	free(p);
}

/*
 * Page @id at @offset of @file. Takes ownership of @fd, whatever is returned. NULL: no memory, or
 * the page is not in the file.
 */
static struct page_map *page_new(struct region_map *file, uint32_t id, uint64_t offset, int fd)
{
	struct page_map *p = NULL;

	if (id && offset % SHM_CACHE_LINE == 0 && offset <= file->size &&
	    file->size - offset >= sizeof(struct bell_page))
		p = calloc(1, sizeof(*p));
	if (!p) {
		close(fd);
		return NULL;
	}
	p->map = (struct bell_map){(uint8_t *)file->addr + offset, id, fd, 1, page_free};
	p->file = region_map_hold(file);
	return p;
}

/* ---- the control thread ---- */

static struct region_map *fetch_file(struct client_sock *s, int cancel_fd)
{
	struct bells_file *f = calloc(1, sizeof(*f));
	struct client_msg m;
	int fd = -1, ret;

	if (!f)
		return NULL;
	client_msg_init(&m, CLIENT_BELLS);
	ret = client_sock_ask(s, &m, &fd, cancel_fd);
	if (!ret) {
		ret = shm_region_open(&f->mem, fd, m.size);
		close(fd);
	}
	if (ret) {
		free(f);
		return NULL;
	}
	f->map = (struct region_map){
		.addr = f->mem.addr, .size = m.size, .refs = 1, .free = file_free};
	f->watch = sigbus_watch(f->mem.map, f->mem.map_size, &f->map.truncated);
	return &f->map;
}

static struct bell_map *fetch_own(struct client_sock *s, struct region_map *file, unsigned queue,
				  int cancel_fd)
{
	struct page_map *p = NULL;
	struct client_msg m;
	int fd;

	client_msg_init(&m, CLIENT_BELL);
	m.queues = (uint16_t)queue;
	if (!client_sock_ask(s, &m, &fd, cancel_fd))
		p = page_new(file, m.page, m.offset, fd);
	return p ? &p->map : NULL;
}

void daemon_bells_attach(struct daemon_bells *b, struct client_sock *s, unsigned n, int cancel_fd)
{
	struct region_map *file;

	if (b->file) /* this thread alone changes it */
		return;
	file = fetch_file(s, cancel_fd);
	if (!file) {
		zv_log(ZV_LOG_DEBUG, "daemon %s: no bells: peers are woken by zvsockd", s->path);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct bell_map *own = fetch_own(s, file, i, cancel_fd);

		pthread_mutex_lock(&b->lock);
		b->file = file;
		b->own[i] = own;
		pthread_mutex_unlock(&b->lock);
	}
}

static struct peer_page *next_requested(struct daemon_bells *b)
{
	struct peer_page *p;

	pthread_mutex_lock(&b->lock);
	for (p = b->peers; p && p->state != REQUESTED; p = p->next)
		;
	if (p)
		p->state = REQUESTING; /* it stays in the list: peers_forget() */
	pthread_mutex_unlock(&b->lock);
	return p;
}

void daemon_bells_serve(struct daemon_bells *b, struct client_sock *s, int cancel_fd)
{
	struct peer_page *p;

	while ((p = next_requested(b))) {
		struct page_map *page = NULL;
		struct client_msg m;
		int ret, fd;

		client_msg_init(&m, CLIENT_RING);
		m.page = p->id;
		ret = client_sock_ask(s, &m, &fd, cancel_fd);
		if (!ret && !(page = page_new(b->file, p->id, m.offset, fd)))
			ret = -ENOMEM;
		pthread_mutex_lock(&b->lock);
		p->page = page;
		p->err = ret;
		p->state = ret ? FAILED : READY;
		pthread_mutex_unlock(&b->lock);
	}
}

static void peer_free(struct peer_page *p)
{
	if (p->page)
		bell_map_put(&p->page->map);
	free(p);
}

/* Called by the control thread while no request is under way. */
void daemon_bells_lost(struct daemon_bells *b)
{
	struct bell_map *own[ZV_QUEUES_MAX];
	struct peer_page *p, *peers;
	struct region_map *file;

	pthread_mutex_lock(&b->lock);
	memcpy((void *)own, (void *)b->own, sizeof(own));
	memset((void *)b->own, 0, sizeof(b->own));
	peers = b->peers;
	b->peers = NULL;
	b->n_peers = 0;
	file = b->file;
	b->file = NULL;
	pthread_mutex_unlock(&b->lock);
	for (unsigned i = 0; i < ZV_QUEUES_MAX; i++)
		if (own[i])
			bell_map_put(own[i]);
	while ((p = peers)) {
		peers = p->next;
		peer_free(p);
	}
	if (file)
		region_map_put(file);
}

void daemon_bells_fini(struct daemon_bells *b)
{
	daemon_bells_lost(b);
	pthread_mutex_destroy(&b->lock);
}

/* ---- a queue's owner ---- */

struct bell_map *daemon_bells_own(struct daemon_bells *b, unsigned queue)
{
	struct bell_map *m;

	pthread_mutex_lock(&b->lock);
	m = b->own[queue] ? bell_map_hold(b->own[queue]) : NULL;
	pthread_mutex_unlock(&b->lock);
	return m;
}

/* Under the lock: those that no queue uses, of applications that may be gone. */
static void peers_forget(struct daemon_bells *b)
{
	struct peer_page **at = &b->peers, *p;

	while ((p = *at)) {
		bool used = p->state == REQUESTED || p->state == REQUESTING ||
			    (p->page && __atomic_load_n(&p->page->map.refs, __ATOMIC_RELAXED) > 1);

		if (used) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		b->n_peers--;
		peer_free(p);
	}
}

static int ask(struct daemon_bells *b, uint32_t id, int wake_fd)
{
	struct peer_page *p;

	if (b->n_peers >= PEERS_CACHED)
		peers_forget(b);
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->id = id;
	p->next = b->peers;
	b->peers = p;
	b->n_peers++;
	return eventfd_write(wake_fd, 1) ? -errno : -EINPROGRESS;
}

int daemon_bells_ringer(struct daemon_bells *b, uint32_t id, int wake_fd, struct bell_map **out)
{
	struct peer_page *p;
	int ret = 0;

	pthread_mutex_lock(&b->lock);
	for (p = b->peers; p && p->id != id; p = p->next)
		;
	if (!b->file)
		ret = -ENOENT;
	else if (!p)
		ret = ask(b, id, wake_fd);
	else if (p->state == FAILED)
		ret = p->err;
	else if (p->state != READY)
		ret = -EINPROGRESS;
	else
		*out = bell_map_hold(&p->page->map);
	pthread_mutex_unlock(&b->lock);
	return ret;
}
