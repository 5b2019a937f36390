/* SPDX-License-Identifier: BSD-3-Clause */
/* See capture.h: the tap on the lcores, and what the main thread does. */
#include "capture_int.h"
#include "core/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zvsock.h>

#define OUT_MIN (256u << 10)

/* ---- the lcore's side ---- */

/* Copies to byte @at of the packet whose first entry is @idx: the entries are adjacent, in a
 * circular buffer. */
static void ring_put(const struct spsc_prod *p, uint32_t idx, size_t at, const void *data,
		     size_t len)
{
	uint8_t *base = spsc_prod_entry(p, 0);
	size_t pos = ((size_t)(idx & p->mask) * CAPTURE_ENTRY + at) % CAPTURE_RING_BYTES;
	size_t first = CAPTURE_RING_BYTES - pos < len ? CAPTURE_RING_BYTES - pos : len;

	memcpy(base + pos, data, first);
	memcpy(base, (const uint8_t *)data + first, len - first);
}

static void tap(void *ctx, bool sent, const void *hdr, const struct iovec *iov, int n)
{
	struct capture_source *s = ctx;
	struct capture_record r = {.ns = now_ns()};
	size_t at = sizeof(r);
	uint32_t idx, want;
	int got;

	(void)sent; /* the CIDs in the header show the direction */
	for (int i = 0; i < n; i++)
		r.len += (uint32_t)iov[i].iov_len;
	r.caplen = r.len < s->snaplen ? r.len : s->snaplen;
	want = capture_entries(r.caplen);
	got = spsc_reserve(&s->prod, want, &idx);
	if (got < (int)want) {
		if (got > 0)
			spsc_cancel(&s->prod, (unsigned)got);
		shm_store64(&s->dropped, s->dropped + 1);
		return;
	}
	memcpy(r.hdr, hdr, sizeof(r.hdr));
	ring_put(&s->prod, idx, 0, &r, sizeof(r));
	for (int i = 0; i < n && at < sizeof(r) + r.caplen; i++) {
		size_t left = sizeof(r) + r.caplen - at;
		size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;

		ring_put(&s->prod, idx, at, iov[i].iov_base, len);
		at += len;
	}
	spsc_submit(&s->prod, want);
}

struct tap_call {
	struct zv_queue *q;
	zv_tap_fn fn;
	void *ctx;
};

static void set_tap(struct lcore *lc, void *arg)
{
	const struct tap_call *t = arg;

	(void)lc;
	zv_set_tap(t->q, t->fn, t->ctx);
}

/* ---- the main thread's side ---- */

/* Accepts the descriptor if it is writable. */
static int check_fd(struct capture *c)
{
	int flags = fcntl(c->fd, F_GETFL);
	struct statx st;

	/* Without a request to a server, which may be slow (FUSE, NFS). */
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY ||
	    statx(c->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return -EBADF;
	c->pipe = S_ISFIFO(st.stx_mode) || S_ISSOCK(st.stx_mode) || S_ISCHR(st.stx_mode);
	return 0;
}

static int start_writer(struct capture *c)
{
	sigset_t all, before;
	int ret;

	/* A closed pipe or a file-size limit is an error of write(2) here, not a signal. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&c->thread, NULL, capture_writer, c);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

int capture_start(struct capture **out, int fd, const struct capture_opts *o, int notify)
{
	struct capture *c = calloc(1, sizeof(*c));
	int ret = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->opts = *o;
	c->fd = fd;
	c->start = now_ns();
	c->epoch = clock_ns(CLOCK_REALTIME) - c->start;
	c->out_size = PCAP_PACKET_BYTES + o->snaplen;
	c->out_size = c->out_size > OUT_MIN ? c->out_size : OUT_MIN;
	c->out = malloc(c->out_size);
	c->notify = fcntl(notify, F_DUPFD_CLOEXEC, 0);
	if (c->notify < 0)
		ret = -errno;
	else if (c->out)
		ret = check_fd(c);
	if (ret == 0)
		ret = start_writer(c);
	if (ret == 0) {
		*out = c;
		return 0;
	}
	if (c->notify >= 0)
		(void)close(c->notify);
	free(c->out);
	free(c);
	return ret;
}

static void source_untap(struct capture_source *s)
{
	struct tap_call t = {0};

	if (!s->gq)
		return;
	t.q = s->gq->q;
	lcore_call(s->gq->lc, set_tap, &t);
	s->gq = NULL;
}

static struct capture_source *source_new(const struct capture *c, struct guest_queue *gq)
{
	size_t bytes = spsc_bytes(CAPTURE_ENTRIES, CAPTURE_ENTRY);
	struct capture_source *s = aligned_alloc(SHM_CACHE_LINE, sizeof(*s));

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->gq = gq;
	s->snaplen = c->opts.snaplen;
	s->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->mem == MAP_FAILED) {
		free(s);
		return NULL;
	}
	(void)spsc_format(s->mem, CAPTURE_ENTRIES, CAPTURE_ENTRY);
	(void)spsc_prod_init(&s->prod, s->mem, bytes, CAPTURE_ENTRIES, CAPTURE_ENTRY);
	(void)spsc_cons_init(&s->cons, s->mem, bytes, CAPTURE_ENTRIES, CAPTURE_ENTRY);
	return s;
}

/* Nothing is written to the ring any more, and what was has been read. */
static bool source_is_free(struct capture_source *s)
{
	return !s->gq && !spsc_prod_refresh(&s->prod) && s->prod.cons == s->prod.submitted;
}

/* One for another queue. NULL, *err: none. */
static struct capture_source *source_get(struct capture *c, struct guest_queue *gq, int *err)
{
	struct capture_source *s;
	unsigned left = 0;

	for (s = c->sources; s; s = s->next) {
		if (source_is_free(s)) {
			s->gq = gq;
			return s;
		}
		left += !s->gq;
	}
	*err = -EAGAIN;
	if (left >= CAPTURE_LEFT_MAX)
		return NULL;
	*err = -ENOMEM;
	s = source_new(c, gq);
	if (!s)
		return NULL;
	s->next = c->sources;
	__atomic_store_n(&c->sources, s, __ATOMIC_RELEASE);
	return s;
}

int capture_add(struct capture *c, struct guest *g)
{
	for (unsigned i = 0; i < g->n_queues; i++) {
		struct guest_queue *gq = &g->queues[i];
		int err = 0;
		struct tap_call t = {gq->q, tap, source_get(c, gq, &err)};

		if (!t.ctx) {
			capture_remove(c, g);
			return err;
		}
		lcore_call(gq->lc, set_tap, &t);
	}
	return 0;
}

void capture_remove(struct capture *c, const struct guest *g)
{
	for (struct capture_source *s = c->sources; s; s = s->next)
		if (s->gq && s->gq->guest == g)
			source_untap(s);
}

bool capture_has(const struct capture *c, const struct guest *g)
{
	for (const struct capture_source *s = c->sources; s; s = s->next)
		if (s->gq && s->gq->guest == g)
			return true;
	return false;
}

void capture_stop(struct capture *c)
{
	for (struct capture_source *s = c->sources; s; s = s->next)
		source_untap(s);
	__atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
}

bool capture_over(const struct capture *c)
{
	return __atomic_load_n(&c->over, __ATOMIC_ACQUIRE);
}

void capture_free(struct capture *c, struct capture_result *r)
{
	struct capture_source *s, *next;

	for (s = c->sources; s; s = s->next)
		source_untap(s);
	if (!capture_over(c)) {
		*r = (struct capture_result){.end = CAPTURE_FAILED, .err = -ETIMEDOUT};
		(void)pthread_detach(c->thread);
		return;
	}
	(void)pthread_join(c->thread, NULL);
	*r = c->res;
	r->dropped = c->buffered;
	for (s = c->sources; s; s = next) {
		next = s->next;
		r->dropped += s->dropped;
		/* A capture that ends by count or time drops later packets. */
		if (r->end == CAPTURE_STOPPED || r->end == CAPTURE_FAILED)
			r->dropped += capture_left_over(s);
		(void)munmap(s->mem, spsc_bytes(CAPTURE_ENTRIES, CAPTURE_ENTRY));
		free(s);
	}
	(void)close(c->notify);
	free(c->out);
	free(c);
}
