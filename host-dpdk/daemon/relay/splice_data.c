/* SPDX-License-Identifier: BSD-3-Clause */
/* Splices: payload, from one guest's buffers into the other's; theory in splice.h. */
#include "spin.h"
#include "splice_chan.h"

#include <errno.h>
#include <string.h>

#define OUT_MAX 16u
#define MSG_END (ZV_EOM | ZV_EOR)

/* ---- lending ---- */

void splice_take_back(struct splice_side *s, uint32_t tail)
{
	while (s->taken_back != tail) {
		uint32_t at = s->taken_back % SPLICE_SLOTS, n = tail - s->taken_back;

		if (n > SPLICE_SLOTS - at)
			n = SPLICE_SLOTS - at;
		zv_buf_release(s->f.owner.gq->q, &s->slot[at], n);
		s->taken_back += n;
	}
}

/* Enables only events that can be handled now, because they are level-triggered. */
static void want_events(struct splice_side *s)
{
	uint32_t ev = splice_chan_events(s->sp);

	if (!s->from_guest_done && s->head - s->taken_back < SPLICE_SLOTS)
		ev |= ZV_EV_IN;
	if (!s->to_guest_done)
		ev |= ZV_EV_OUT | ZV_EV_EPIPE;
	if (ev != s->events)
		flow_events(&s->f, s->events = ev);
}

/* Reads wake-ups, which are payload of the connection here; their number does not matter. Returns
 * as zv_buf_recv(). */
static int take_wakeups(struct splice_side *s)
{
	uint32_t work = 0, most = s->from_guest_done ? 0 : flow_may(&s->f);
	struct zv_buf bufs[OUT_MAX];
	int n = 1;

	while (n > 0 && work < most) {
		n = zv_buf_recv(s->f.conn, bufs, OUT_MAX);
		for (int i = 0; i < n; i++)
			work += flow_moved(&s->f, bufs[i].len);
		if (n > 0)
			zv_buf_release(s->f.owner.gq->q, bufs, (unsigned)n);
	}
	if (work)
		splice_chan_wake(s);
	return n;
}

/* True: the driver of @s must not be told yet that one direction has ended, because the other has
 * not (splice_chan_bytes()). */
static bool half_is_open(const struct splice_side *s)
{
	return splice_chan_bytes(s) &&
	       !((s->to_guest_done || __atomic_load_n(&s->other->eof, __ATOMIC_ACQUIRE)) &&
		 (s->from_guest_done || __atomic_load_n(&s->shut_rd, __ATOMIC_ACQUIRE)));
}

void splice_lend(struct splice_side *s)
{
	uint32_t head = s->head;
	uint32_t most = 0, bytes = 0;
	bool lent;
	int n = 1;

	splice_take_back(s, __atomic_load_n(&s->tail, __ATOMIC_ACQUIRE));
	if (!s->from_guest_done && __atomic_load_n(&s->shut_rd, __ATOMIC_ACQUIRE) &&
	    !half_is_open(s)) {
		(void)zv_shutdown(s->f.conn, 0);
		s->from_guest_done = true;
	}
	if (splice_chan_bytes(s))
		n = take_wakeups(s);
	else if (!s->from_guest_done && head - s->taken_back < SPLICE_SLOTS)
		most = flow_may(&s->f);
	while (n > 0 && bytes < most && head - s->taken_back < SPLICE_SLOTS) {
		uint32_t at = head % SPLICE_SLOTS, room = SPLICE_SLOTS - (head - s->taken_back);

		if (room > SPLICE_SLOTS - at)
			room = SPLICE_SLOTS - at;
		n = zv_buf_recv(s->f.conn, &s->slot[at], room);
		for (int i = 0; i < n; i++)
			bytes += flow_moved(&s->f, s->slot[head++ % SPLICE_SLOTS].len);
	}
	lent = head != s->head;
	/* Before eof, which says that head is final. */
	__atomic_store_n(&s->head, head, __ATOMIC_RELEASE);
	if (n == 0) {
		conn_log(&s->f.owner, s->f.conn, "half-closed by the peer");
		__atomic_store_n(&s->eof, 1, __ATOMIC_RELEASE);
		s->from_guest_done = true;
	}
	want_events(s);
	if ((lent || n == 0) && s->other != s)
		splice_kick(s);
}

/* ---- copying ---- */

/* Number of buffers of @cap bytes that hold the data between @tail and @head. */
static unsigned buffers_for(const struct splice_side *from, uint32_t tail, uint32_t head,
			    uint32_t cap)
{
	uint64_t bytes = 0;
	unsigned n = 0;

	for (uint32_t i = tail; i != head && n < OUT_MAX; i++) {
		const struct zv_buf *z = &from->slot[i % SPLICE_SLOTS];

		bytes += z->len - (i == tail ? from->off : 0);
		if ((z->flags & MSG_END) || i + 1 == head || bytes >= (uint64_t)OUT_MAX * cap) {
			n += (unsigned)(bytes ? (bytes + cap - 1) / cap : 1);
			bytes = 0;
		}
	}
	return n < OUT_MAX ? n : OUT_MAX;
}

#define LOOK_BYTES 4096u

/* From the memory of one peer, through ours, to that of another: each pays for its own. */
static void copy_looking(const struct splice_side *from, char *to, const char *at, uint32_t n)
{
	char bytes[LOOK_BYTES];

	for (uint32_t part; n; n -= part, to += part, at += part) {
		struct mem_account *was = mem_for(from->f.owner.gq->lq.mem);

		part = n < sizeof(bytes) ? n : sizeof(bytes);
		memcpy(bytes, at, part);
		(void)mem_for(was);
		memcpy(to, bytes, part);
	}
}

/* Fills @o with the next data, up to the end of a message. False: there is none. */
static bool fill(struct splice_side *from, uint32_t *tail, uint32_t head, struct zv_buf *o)
{
	bool any = false;

	o->len = o->flags = 0;
	while (*tail != head && !(o->flags & MSG_END)) {
		const struct zv_buf *z = &from->slot[*tail % SPLICE_SLOTS];
		uint32_t n = z->len - from->off;

		if (n && o->len == o->capacity) /* an end without payload needs no room */
			break;
		if (n > o->capacity - o->len)
			n = o->capacity - o->len;
		if (__builtin_expect(lcore_looks(from->other->lc), 0))
			copy_looking(from, (char *)o->data + o->len,
				     (const char *)z->data + from->off, n);
		else
			memcpy((char *)o->data + o->len, (const char *)z->data + from->off, n);
		o->len += n;
		from->off += n;
		any = true;
		if (from->off == z->len) {
			o->flags |= z->flags & MSG_END;
			from->off = 0;
			++*tail;
		}
	}
	return any;
}

/* The next message is empty. It is sent alone, because zv_buf_send() fails as a whole if the guest
 * does not support empty messages. */
static bool empty_next(const struct splice_side *s, const struct splice_side *from, uint32_t tail,
		       uint32_t head)
{
	const struct zv_buf *z = &from->slot[tail % SPLICE_SLOTS];

	return tail != head && !s->msg_bytes && !z->len && z->flags & MSG_END;
}

/* A message longer than the guest can ever accept would wait for credit forever. */
static bool message_fits(struct splice_side *s, const struct splice_side *from, uint32_t tail,
			 uint32_t head)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	uint64_t bytes = s->msg_bytes;

	if (s->sp->type != ZV_SEQPACKET || zv_conn_info(s->f.conn, &info) < 0)
		return true;
	for (uint32_t i = tail; i != head; i++) {
		bytes += from->slot[i % SPLICE_SLOTS].len - (i == tail ? from->off : 0);
		if (from->slot[i % SPLICE_SLOTS].flags & MSG_END)
			break;
	}
	return bytes <= info.peer_buf_alloc;
}

/* Sends what fits now. Returns the work done, or -errno as zv_buf_alloc(): -EAGAIN etc. */
static int64_t copy_some(struct splice_side *s, struct splice_side *from, uint32_t *tail,
			 uint32_t head)
{
	struct guest_queue *gq = s->f.owner.gq;
	uint32_t cap = flow_buffer(&s->f);
	struct zv_buf out[OUT_MAX];
	bool alone, cut = false;
	int64_t work = 0;
	unsigned used = 0;
	int n = flow_alloc(&s->f, out, buffers_for(from, *tail, head, cap), cap), ret;

	if (n < 0)
		return n;
	alone = empty_next(s, from, *tail, head);
	while (used < (unsigned)n && !(used && (alone || empty_next(s, from, *tail, head))) &&
	       fill(from, tail, head, &out[used])) {
		cut |= s->msg_bytes && !out[used].len;
		s->msg_bytes = out[used].flags & MSG_END ? 0 : s->msg_bytes + out[used].len;
		work += flow_moved(&s->f, out[used++].len);
	}
	zv_buf_cancel(s->f.conn, out + used, (unsigned)n - used);
	ret = zv_buf_send(s->f.conn, out, used);
	if (ret == -EINVAL && alone) { /* a stock guest: drop the empty message */
		GUEST_COUNT(gq, msg_empty);
		return work;
	}
	if (ret == -EINVAL && cut) /* a stock guest: no payload is left to end the message with */
		return -EMSGSIZE;
	return ret < 0 ? ret : work;
}

/* The guest no longer receives: drops what the other side has lent. */
static void nobody_receives(struct splice_side *s, struct splice_side *from)
{
	from->off = 0;
	__atomic_store_n(&from->tail, __atomic_load_n(&from->head, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	__atomic_store_n(&from->shut_rd, 1, __ATOMIC_RELEASE);
	s->to_guest_done = true;
}

void splice_guest_shut_rd(struct splice_side *s)
{
	struct splice_side *from = s->other;

	if (s->to_guest_done)
		return;
	__atomic_store_n(&from->shut_rd, 1, __ATOMIC_RELEASE);
	s->to_guest_done = true;
	want_events(s);
	splice_kick(s);
}

/* True: what @from has lent is in memory that this lcore, or another one, has slept on. It is
 * copied when its guest's rest is over. */
static bool lender_rests(struct splice_side *s, const struct splice_side *from)
{
	const struct mem_account *mem = from->f.owner.gq->lq.mem;
	uint64_t ns;

	if (from == s || !mem || __builtin_expect(!mem_sleep_charged(&mem->sleep), 1))
		return false;
	ns = mem_sleep_rest(&mem->sleep, idle_clock());
	if (ns)
		lcore_timer_start(s->lc, &s->again, ns);
	return ns;
}

/* The body of splice_copy(); `busy` keeps the slots of @from valid meanwhile. */
static int64_t copy_all(struct splice_side *s, struct splice_side *from)
{
	uint32_t eof = __atomic_load_n(&from->eof, __ATOMIC_ACQUIRE);
	uint32_t head = __atomic_load_n(&from->head, __ATOMIC_ACQUIRE), tail = from->tail;
	int64_t most = tail != head && !lender_rests(s, from) ? flow_may(&s->f) : 0;
	int64_t left = most, ret = 0;

	while (tail != head && left > 0 && ret >= 0) {
		ret = copy_some(s, from, &tail, head);
		left -= ret > 0 ? ret : WORK_UNIT;
	}
	if (ret == -EAGAIN && !message_fits(s, from, tail, head))
		ret = -EMSGSIZE;
	if (tail != from->tail)
		__atomic_store_n(&from->tail, tail, __ATOMIC_RELEASE);
	if (ret == -EPIPE) {
		nobody_receives(s, from);
	} else if (eof && tail == head && !half_is_open(s)) {
		(void)zv_shutdown(s->f.conn, 1);
		s->to_guest_done = true;
	}
	return most && left <= 0 && tail != head ? -ENOBUFS : ret;
}

bool splice_copy(struct splice_side *s)
{
	struct splice_side *from = s->other;
	uint32_t before;
	int64_t ret = 0;

	before = from->tail;
	if (s->to_guest_done) { /* what still arrives is dropped */
		nobody_receives(s, from);
		if (from->tail != before)
			splice_kick(s);
		return true;
	}
	if (from != s)
		__atomic_store_n(&from->busy, 1, __ATOMIC_SEQ_CST); /* barrier pair [E] */
	if (splice_state(from) < SPLICE_DEAD)
		ret = copy_all(s, from);
	if (from != s)
		__atomic_store_n(&from->busy, 0, __ATOMIC_RELEASE);
	if (ret == -EMSGSIZE) {
		GUEST_COUNT(s->f.owner.gq, msg_too_long);
		splice_fail(s);
		return false;
	}
	if (ret == -ENOBUFS) /* quota used up, or others hold buffers until the end of the round */
		flow_defer(&s->f);
	want_events(s);
	if (from->tail != before || s->to_guest_done)
		splice_kick(s);
	return true;
}
