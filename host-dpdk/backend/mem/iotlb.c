/* SPDX-License-Identifier: BSD-3-Clause */
#include "iotlb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct iotlb *iotlb_of(struct guest_iommu *io)
{
	return (struct iotlb *)io; /* io is the first member */
}

/* ---- the table ---- */

/* The first entry that ends at or after @a; t->n: there is none. */
static unsigned find(const struct iotlb *t, struct iova a)
{
	unsigned low = 0, high = t->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (t->entry[mid].iova.v + t->entry[mid].last < a.v)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Forgets the requests in the range. True: there were some. */
static bool drop_questions(struct iotlb *t, struct iova iova, uint64_t size)
{
	unsigned left = 0;
	bool any;

	(void)pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->nasked; i++) {
		uint64_t page = t->asked[i].page.v;

		if (page - iova.v >= size && iova.v - page >= IOTLB_PAGE)
			t->asked[left++] = t->asked[i];
	}
	any = left != t->nasked;
	t->nasked = left;
	(void)pthread_mutex_unlock(&t->lock);
	return any;
}

void iotlb_invalidate(struct iotlb *t, struct iova iova, uint64_t size)
{
	uint64_t last = size > UINT64_MAX - iova.v ? UINT64_MAX : iova.v + (size - 1);
	unsigned from = find(t, iova), to = from;

	while (to < t->n && t->entry[to].iova.v <= last)
		to++;
	if (to != from)
		memmove(&t->entry[from], &t->entry[to], (t->n - to) * sizeof(*t->entry));
	t->n -= to - from;
	if (drop_questions(t, iova, size) || to != from)
		t->io.changes++;
}

int iotlb_update(struct iotlb *t, struct iova iova, uint64_t size, struct uva uva, uint8_t perm)
{
	unsigned at;

	if (!t->entry) {
		t->entry = calloc(IOTLB_MAX, sizeof(*t->entry));
		if (!t->entry)
			return -ENOMEM;
	}
	iotlb_invalidate(t, iova, size);
	if (t->n == IOTLB_MAX)
		t->n = 0;
	at = find(t, iova);
	memmove(&t->entry[at + 1], &t->entry[at], (t->n - at) * sizeof(*t->entry));
	t->entry[at] = (struct iotlb_entry){iova, size - 1, uva, perm};
	t->n++;
	t->io.changes++;
	return 0;
}

void iotlb_flush(struct iotlb *t)
{
	t->n = 0;
	t->io.changes++;
	(void)pthread_mutex_lock(&t->lock);
	t->nasked = 0;
	(void)pthread_mutex_unlock(&t->lock);
}

bool iotlb_is_empty(struct iotlb *t)
{
	bool empty;

	(void)pthread_mutex_lock(&t->lock);
	empty = !t->n && !t->nasked;
	(void)pthread_mutex_unlock(&t->lock);
	return empty;
}

/* ---- questions ---- */

enum sent {
	SENT_NO, /* there is no room, or no channel */
	SENT,
	SENT_NEVER, /* the frontend has made this slow (wake_cost.h) */
};

static enum sent send_miss(struct iotlb *t, struct iova page, uint8_t perm)
{
	struct vu_msg m = {
		.request = VU_BACKEND_IOTLB_MSG,
		.flags = VU_VERSION,
		.size = sizeof(m.payload.iotlb),
		.payload.iotlb = {
			.iova = page.v, .size = IOTLB_PAGE, .perm = perm, .type = VU_IOTLB_MISS}};
	ssize_t n = (ssize_t)vu_msg_len(&m), sent;
	struct wake_start start;

	if (t->fd < 0)
		return SENT_NO;
	if (wake_limit_over(&t->wakes))
		return SENT_NEVER;
	start = wake_cost_begin(&t->cost, &t->wakes);
	sent = send(t->fd, &m, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)wake_cost_end(&t->cost, &t->wakes, start);
	return sent == n ? SENT : SENT_NO;
}

/* Under the lock. Not one after another into a channel that is full: each is a system call. */
static void send_questions(struct iotlb *t)
{
	for (unsigned i = 0; i < t->nasked; i++) {
		if (t->asked[i].sent)
			continue;
		t->asked[i].sent = send_miss(t, t->asked[i].page, t->asked[i].perm) == SENT;
		if (!t->asked[i].sent)
			return;
	}
}

/* Under the lock. */
static void drop_question(struct iotlb *t, unsigned i)
{
	t->nasked--;
	memmove(&t->asked[i], &t->asked[i + 1], (t->nasked - i) * sizeof(t->asked[0]));
}

/* Under the lock: drops the oldest sent request to make room; an answer to it is still accepted. */
static void drop_oldest(struct iotlb *t)
{
	unsigned i = 0;

	while (i < t->nasked && !t->asked[i].sent)
		i++;
	if (i < t->nasked)
		drop_question(t, i);
}

/* -EAGAIN: requested. -EFAULT: it cannot be now; as there may be no answer that makes anybody try
 * again, nobody waits for it. */
static int ask(struct iotlb *t, struct iova a, uint8_t perm)
{
	struct iova page = {a.v & ~(uint64_t)(IOTLB_PAGE - 1)};
	bool others = true; /* another ring may wait for the same page */
	int ret = -EAGAIN;
	unsigned i = 0;

	(void)pthread_mutex_lock(&t->lock);
	while (i < t->nasked && (t->asked[i].page.v != page.v || t->asked[i].perm != perm))
		i++;
	if (i == t->nasked) {
		send_questions(t);
		if (t->nasked == IOTLB_ASKED)
			drop_oldest(t);
		if (t->nasked < IOTLB_ASKED) {
			others = false;
			i = t->nasked++;
			t->asked[i].page = page;
			t->asked[i].perm = perm;
			t->asked[i].sent = false;
		}
	}
	if (i < t->nasked && !t->asked[i].sent) {
		enum sent sent = send_miss(t, page, perm);

		t->asked[i].sent = sent == SENT;
		if (sent == SENT_NEVER) {
			if (!others)
				drop_question(t, i);
			ret = -EFAULT;
		}
	}
	(void)pthread_mutex_unlock(&t->lock);
	return ret;
}

void iotlb_ask_again(struct iotlb *t)
{
	(void)pthread_mutex_lock(&t->lock);
	send_questions(t);
	(void)pthread_mutex_unlock(&t->lock);
}

static int translate(struct guest_iommu *io, struct iova a, bool write, uint64_t *len,
		     struct uva *to)
{
	struct iotlb *t = iotlb_of(io);
	uint8_t perm = write ? VU_IOTLB_WRITE : VU_IOTLB_READ;
	unsigned i = find(t, a);
	const struct iotlb_entry *e;
	uint64_t off;

	if (i == t->n || a.v < t->entry[i].iova.v) {
		return ask(t, a, perm);
	}
	e = &t->entry[i];
	if (!(e->perm & perm))
		return -EFAULT;
	off = a.v - e->iova.v;
	if (*len - 1 > e->last - off)
		*len = e->last - off + 1;
	*to = uva_add(e->uva, off);
	return 0;
}

/* ---- making and freeing ---- */

void iotlb_set_channel(struct iotlb *t, int fd)
{
	(void)pthread_mutex_lock(&t->lock);
	t->fd = fd;
	t->cost = (struct wake_cost){0};
	for (unsigned i = 0; i < t->nasked; i++)
		t->asked[i].sent = false;
	(void)pthread_mutex_unlock(&t->lock);
	iotlb_ask_again(t);
}

static void op_set_channel(struct guest_iommu *io, int fd)
{
	iotlb_set_channel(iotlb_of(io), fd);
}

static void op_ask_again(struct guest_iommu *io)
{
	iotlb_ask_again(iotlb_of(io));
}

static int op_message(struct guest_iommu *io, const struct vu_iotlb *m)
{
	struct iotlb *t = iotlb_of(io);

	if (m->type == VU_IOTLB_UPDATE)
		return iotlb_update(t, (struct iova){m->iova}, m->size, (struct uva){m->uva},
				    m->perm);
	iotlb_invalidate(t, (struct iova){m->iova}, m->size);
	return 0;
}

static bool op_is_empty(struct guest_iommu *io)
{
	return iotlb_is_empty(iotlb_of(io));
}

static void op_flush(struct guest_iommu *io)
{
	iotlb_flush(iotlb_of(io));
}

static void op_free(struct guest_iommu *io)
{
	iotlb_fini(iotlb_of(io));
	free(iotlb_of(io));
}

static const struct guest_iommu_ops ops = {
	.set_channel = op_set_channel,
	.ask_again = op_ask_again,
	.message = op_message,
	.is_empty = op_is_empty,
	.flush = op_flush,
	.free = op_free,
};

struct guest_iommu *iotlb_new(void)
{
	struct iotlb *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	iotlb_init(t);
	return &t->io;
}

void iotlb_init(struct iotlb *t)
{
	memset(t, 0, sizeof(*t));
	t->io.translate = translate;
	t->io.ops = &ops;
	t->fd = -1;
	(void)pthread_mutex_init(&t->lock, NULL);
}

void iotlb_fini(struct iotlb *t)
{
	t->fd = -1;
	free(t->entry);
	t->entry = NULL;
	(void)pthread_mutex_destroy(&t->lock);
}
