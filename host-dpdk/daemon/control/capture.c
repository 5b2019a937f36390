/* SPDX-License-Identifier: BSD-3-Clause */
/* See capture.h. Both ends of the rings are here: the tap on the lcores, the writer's thread. */
#include "capture.h"

#include "core/daemon.h"
#include "pcap_vsock.h"
#include "spsc_ring.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <zvsock.h>

/* A packet takes a record and its payload, rounded up to entries. */
#define ENTRY	256u
#define ENTRIES (CAPTURE_RING_BYTES / ENTRY)
#define OUT_MIN (256u << 10)

struct record {
	uint64_t ns; /* CLOCK_MONOTONIC */
	uint32_t len;
	uint32_t kept;
	uint8_t hdr[PCAP_VIRTIO_BYTES];
	uint32_t pad;
};
_Static_assert(sizeof(struct record) <= ENTRY, "a record fits into one entry");
_Static_assert((CAPTURE_SNAPLEN_MAX + sizeof(struct record)) * 2 < CAPTURE_RING_BYTES,
	       "the largest packet fits with room to spare");

/* A queue that is captured. */
struct source {
	struct source *next;
	struct guest_queue *gq; /* the main thread's; NULL: let go of */
	uint32_t snaplen;
	void *mem;

	/* the lcore's */
	struct spsc_prod prod SHM_CACHE_ALIGNED;
	uint64_t dropped; /* any thread may read it */

	/* the writer's */
	struct spsc_cons cons SHM_CACHE_ALIGNED;
	bool have; /* head is the oldest packet that is not written */
	uint32_t idx;
	struct record head;
};

struct capture {
	struct capture_opts opts;
	int fd, notify;
	bool pipe;	/* poll(2) tells whether a write would wait */
	uint64_t epoch; /* CLOCK_REALTIME - CLOCK_MONOTONIC at the start */
	uint64_t start;
	struct source *sources;
	pthread_t thread;
	uint32_t stop, over; /* flags between the threads */

	/* the writer's until it is over */
	struct capture_result res;
	uint64_t stop_seen; /* when the writer saw stop; 0: not yet */
	uint64_t buffered;  /* packets in out */
	uint8_t *out;
	size_t out_len, out_size;
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t entries_of(uint32_t kept)
{
	return (uint32_t)((sizeof(struct record) + kept + ENTRY - 1) / ENTRY);
}

/* ---- the lcore's side ---- */

/* Copies to byte @at of the packet whose first entry is @idx: entries lie side by side, in a
 * circle. */
static void ring_put(const struct spsc_prod *p, uint32_t idx, size_t at, const void *data,
		     size_t len)
{
	uint8_t *base = spsc_prod_entry(p, 0);
	size_t pos = ((size_t)(idx & p->mask) * ENTRY + at) % CAPTURE_RING_BYTES;
	size_t first = CAPTURE_RING_BYTES - pos < len ? CAPTURE_RING_BYTES - pos : len;

	memcpy(base + pos, data, first);
	memcpy(base, (const uint8_t *)data + first, len - first);
}

static void tap(void *ctx, bool sent, const void *hdr, const struct iovec *iov, int n)
{
	struct source *s = ctx;
	struct record r = {.ns = clock_ns(CLOCK_MONOTONIC)};
	size_t at = sizeof(r);
	uint32_t idx, want;
	int got;

	(void)sent; /* the header's CIDs say as much */
	for (int i = 0; i < n; i++)
		r.len += (uint32_t)iov[i].iov_len;
	r.kept = r.len < s->snaplen ? r.len : s->snaplen;
	want = entries_of(r.kept);
	got = spsc_reserve(&s->prod, want, &idx);
	if (got < (int)want) {
		if (got > 0)
			spsc_cancel(&s->prod, (unsigned)got);
		shm_store64(&s->dropped, s->dropped + 1);
		return;
	}
	memcpy(r.hdr, hdr, sizeof(r.hdr));
	ring_put(&s->prod, idx, 0, &r, sizeof(r));
	for (int i = 0; i < n && at < sizeof(r) + r.kept; i++) {
		size_t left = sizeof(r) + r.kept - at;
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

/* ---- the writer's side ---- */

static void ring_get(const struct spsc_cons *c, uint32_t idx, size_t at, void *data, size_t len)
{
	const uint8_t *base = spsc_cons_entry(c, 0);
	size_t pos = ((size_t)(idx & c->mask) * ENTRY + at) % CAPTURE_RING_BYTES;
	size_t first = CAPTURE_RING_BYTES - pos < len ? CAPTURE_RING_BYTES - pos : len;

	memcpy(data, base + pos, first);
	memcpy((uint8_t *)data + first, base, len - first);
}

/*
 * Waits until a pipe or socket takes PIPE_BUF bytes. -ECANCELED when the capture is to end and its
 * reader does not read on.
 */
static int wait_writable(struct capture *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLOUT};

	while (poll(&p, 1, CAPTURE_LOOK_MS * 5) <= 0) {
		uint64_t now = clock_ns(CLOCK_MONOTONIC);

		if (!shm_load_acquire32(&c->stop))
			continue;
		if (!c->stop_seen)
			c->stop_seen = now;
		if (now - c->stop_seen > CAPTURE_GRACE_MS * UINT64_C(1000000))
			return -ECANCELED;
	}
	return 0;
}

/*
 * The file took only @off bytes of out. Counts the packets that are whole in it, and cuts the last
 * one off where that can be done, so that the file can be read to its end without complaint.
 */
static void settle(struct capture *c, size_t off)
{
	size_t at = c->res.bytes == off ? PCAP_FILE_BYTES : 0;
	off_t end;

	while (c->buffered && at + PCAP_RECORD_BYTES <= off) {
		size_t next = at + pcap_record_bytes(c->out + at);

		if (next > off)
			break;
		at = next;
		c->buffered--;
		c->res.packets++;
	}
	end = c->pipe || at >= off ? -1 : lseek(c->fd, 0, SEEK_CUR) - (off_t)(off - at);
	if (end >= 0 && ftruncate(c->fd, end) == 0)
		c->res.bytes -= off - at;
}

static int flush(struct capture *c)
{
	size_t off = 0;

	while (off < c->out_len) {
		size_t len = c->out_len - off;
		ssize_t n = 0;
		int ret = c->pipe ? wait_writable(c) : 0;

		if (c->pipe && len > PIPE_BUF)
			len = PIPE_BUF;
		if (ret == 0)
			n = write(c->fd, c->out + off, len);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			ret = -errno;
		if (ret < 0) {
			settle(c, off);
			return ret;
		}
		if (n > 0) {
			off += (size_t)n;
			c->res.bytes += (uint64_t)n;
		}
	}
	c->out_len = 0;
	c->res.packets += c->buffered;
	c->buffered = 0;
	return 0;
}

/* The source with the oldest packet taken before @until, or NULL. */
static struct source *oldest(struct capture *c, uint64_t until)
{
	struct source *s, *best = NULL;

	for (s = __atomic_load_n(&c->sources, __ATOMIC_ACQUIRE); s; s = s->next) {
		if (!s->have && spsc_peek(&s->cons, 1, &s->idx) == 1) {
			ring_get(&s->cons, s->idx, 0, &s->head, sizeof(s->head));
			s->have = true;
		}
		if (s->have && s->head.ns < until) {
			until = s->head.ns;
			best = s;
		}
	}
	return best;
}

static int write_packet(struct capture *c, struct source *s)
{
	const struct record *r = &s->head;
	unsigned more = entries_of(r->kept) - 1;
	uint32_t idx;
	int ret;

	if (c->out_size - c->out_len < PCAP_PACKET_BYTES + r->kept) {
		ret = flush(c);
		if (ret < 0)
			return ret;
	}
	/* A packet is submitted as a whole, so its other entries are there. */
	if (more)
		(void)spsc_peek(&s->cons, more, &idx);
	pcap_packet_header(c->out + c->out_len, c->epoch + r->ns, r->hdr, r->kept, r->len);
	c->out_len += PCAP_PACKET_BYTES;
	ring_get(&s->cons, s->idx, sizeof(*r), c->out + c->out_len, r->kept);
	c->out_len += r->kept;
	spsc_release(&s->cons, more + 1);
	s->have = false;
	c->buffered++;
	return 0;
}

/*
 * Writes what was taken before @until. What the rings show now was stamped before now; a packet of
 * another queue that is older, but not yet submitted, is rare, and only out of place in the file.
 */
static int drain(struct capture *c, uint64_t until)
{
	struct source *s;
	int ret;

	while ((s = oldest(c, until))) {
		ret = write_packet(c, s);
		if (ret < 0)
			return ret;
		if (c->opts.count && c->res.packets + c->buffered >= c->opts.count) {
			c->res.end = CAPTURE_COUNT;
			break;
		}
	}
	return flush(c);
}

/* Sleeps a little; -EPIPE when the reader of the pipe has gone meanwhile. */
static int look_later(const struct capture *c)
{
	struct pollfd p = {.fd = c->fd};

	if (poll(&p, c->pipe ? 1 : 0, CAPTURE_LOOK_MS) > 0 && (p.revents & (POLLERR | POLLHUP)))
		return -EPIPE;
	return 0;
}

static int write_all(struct capture *c)
{
	uint64_t now, end = c->opts.duration_ns ? c->start + c->opts.duration_ns : UINT64_MAX;
	int ret;

	pcap_file_header(c->out, c->opts.snaplen);
	c->out_len = PCAP_FILE_BYTES;
	for (;;) {
		bool stop = shm_load_acquire32(&c->stop);

		/* After a stop there are no taps: what is in the rings is all there will be. */
		now = clock_ns(CLOCK_MONOTONIC);
		ret = drain(c, stop ? UINT64_MAX : now < end ? now : end);
		if (ret < 0 || stop || c->res.end == CAPTURE_COUNT)
			return ret;
		if (now >= end) {
			c->res.end = CAPTURE_DURATION;
			return 0;
		}
		ret = look_later(c);
		if (ret < 0)
			return ret;
	}
}

static void *writer(void *arg)
{
	struct capture *c = arg;
	int ret = write_all(c);

	if (ret < 0 && ret != -ECANCELED) { /* that: stopped, and nobody wants the rest */
		c->res.end = CAPTURE_FAILED;
		c->res.err = ret;
	}
	__atomic_store_n(&c->over, 1, __ATOMIC_RELEASE);
	(void)eventfd_write(c->notify, 1);
	return NULL;
}

/* ---- the main thread's side ---- */

/* Takes the descriptor if it can be written to. */
static int look_at_fd(struct capture *c)
{
	int flags = fcntl(c->fd, F_GETFL);
	struct stat st;

	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat(c->fd, &st) < 0)
		return -EBADF;
	c->pipe = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode);
	return 0;
}

static int start_writer(struct capture *c)
{
	sigset_t all, before;
	int ret;

	/* A closed pipe or a file-size limit is an error of write(2) here, not a signal. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&c->thread, NULL, writer, c);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

int capture_start(struct capture **out, int fd, const struct capture_opts *o, int notify)
{
	struct capture *c = calloc(1, sizeof(*c));
	int ret = -ENOMEM;

	if (!c) {
		(void)close(fd);
		return -ENOMEM;
	}
	c->opts = *o;
	c->fd = fd;
	c->start = clock_ns(CLOCK_MONOTONIC);
	c->epoch = clock_ns(CLOCK_REALTIME) - c->start;
	c->out_size = PCAP_PACKET_BYTES + o->snaplen;
	c->out_size = c->out_size > OUT_MIN ? c->out_size : OUT_MIN;
	c->out = malloc(c->out_size);
	c->notify = fcntl(notify, F_DUPFD_CLOEXEC, 0);
	if (c->notify < 0)
		ret = -errno;
	else if (c->out)
		ret = look_at_fd(c);
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
	(void)close(fd);
	return ret;
}

static void source_untap(struct source *s)
{
	struct tap_call t = {0};

	if (!s->gq)
		return;
	t.q = s->gq->q;
	lcore_call(s->gq->lc, set_tap, &t);
	s->gq = NULL;
}

static struct source *source_new(const struct capture *c, struct guest_queue *gq)
{
	size_t bytes = spsc_bytes(ENTRIES, ENTRY);
	struct source *s = aligned_alloc(SHM_CACHE_LINE, sizeof(*s));

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
	(void)spsc_format(s->mem, ENTRIES, ENTRY);
	(void)spsc_prod_init(&s->prod, s->mem, bytes, ENTRIES, ENTRY);
	(void)spsc_cons_init(&s->cons, s->mem, bytes, ENTRIES, ENTRY);
	return s;
}

int capture_add(struct capture *c, struct guest *g)
{
	for (unsigned i = 0; i < g->n_queues; i++) {
		struct guest_queue *gq = &g->queues[i];
		struct source *s = source_new(c, gq);
		struct tap_call t = {gq->q, tap, s};

		if (!s) {
			capture_remove(c, g);
			return -ENOMEM;
		}
		s->next = c->sources;
		__atomic_store_n(&c->sources, s, __ATOMIC_RELEASE);
		lcore_call(gq->lc, set_tap, &t);
	}
	return 0;
}

void capture_remove(struct capture *c, const struct guest *g)
{
	for (struct source *s = c->sources; s; s = s->next)
		if (s->gq && s->gq->guest == g)
			source_untap(s);
}

bool capture_has(const struct capture *c, const struct guest *g)
{
	for (const struct source *s = c->sources; s; s = s->next)
		if (s->gq && s->gq->guest == g)
			return true;
	return false;
}

void capture_stop(struct capture *c)
{
	for (struct source *s = c->sources; s; s = s->next)
		source_untap(s);
	__atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
}

bool capture_over(const struct capture *c)
{
	return __atomic_load_n(&c->over, __ATOMIC_ACQUIRE);
}

/* Packets in the ring that nobody will write. */
static uint64_t left_over(struct source *s)
{
	uint64_t n = 0;
	uint32_t idx;

	for (; s->have || spsc_peek(&s->cons, 1, &s->idx) == 1; n++) {
		unsigned more;

		if (!s->have)
			ring_get(&s->cons, s->idx, 0, &s->head, sizeof(s->head));
		s->have = false;
		more = entries_of(s->head.kept) - 1;
		if (more)
			(void)spsc_peek(&s->cons, more, &idx);
		spsc_release(&s->cons, more + 1);
	}
	return n;
}

void capture_free(struct capture *c, struct capture_result *r)
{
	struct source *s, *next;

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
		/* At its end by count or time the capture leaves what came after it. */
		if (r->end == CAPTURE_STOPPED || r->end == CAPTURE_FAILED)
			r->dropped += left_over(s);
		(void)munmap(s->mem, spsc_bytes(ENTRIES, ENTRY));
		free(s);
	}
	(void)close(c->notify);
	(void)close(c->fd);
	free(c->out);
	free(c);
}
