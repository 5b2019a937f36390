/* SPDX-License-Identifier: BSD-3-Clause */
/* SOCK_STREAM over a channel: boundaries of ring messages have no meaning. */
#include "chan_calls.h"
#include "socket/rx/rx.h"
#include "socket/tx/tx_data.h"

#include <errno.h>
#include <string.h>

/* ---- sending ---- */

/*
 * Appends to the slot that ZV_MORE keeps open, opening one if there is none. Returns how many
 * bytes.
 */
static size_t more_append(struct zv_conn *c, const uint8_t *data, size_t len)
{
	struct chan *ch = c->chan;
	size_t n;

	if (!(c->flags & CF_MORE)) {
		if (!ch->classes || !chan_has_entries(ch, 1) ||
		    shm_channel_alloc(ch->ch, &ch->more, 1, SHM_INLINE_MAX + 1) != 1)
			return 0;
		ch->promised++;
		c->more.len = 0;
		c->more.max = ch->more.room;
		c->flags |= CF_MORE;
		TAILQ_INSERT_TAIL(&c->q->more, c, more.link);
	}
	n = c->more.max - c->more.len;
	n = len < n ? len : n;
	memcpy((uint8_t *)ch->more.data + c->more.len, data, n);
	c->more.len += (uint32_t)n;
	if (c->more.len == c->more.max)
		chan_more_end(c);
	return n;
}

/* Sends the beginning of @data, in the ring or in a slot. 1: *n bytes; 0: no room; -EPROTO. */
static int send_some(struct chan *ch, const uint8_t *data, size_t len, size_t *n)
{
	struct shm_msg m;
	int ret;

	if (len <= SHM_INLINE_MAX || !ch->classes) {
		*n = len < SHM_INLINE_MAX ? len : SHM_INLINE_MAX;
		return chan_send_line(ch, data, *n, 0);
	}
	if (!chan_has_entries(ch, 1))
		return shm_channel_error(ch->ch);
	ret = chan_slots(ch, &m, 1, len, n);
	if (ret <= 0)
		return ret;
	*n = *n < len ? *n : len;
	memcpy(m.data, data, *n);
	m.len = (uint32_t)*n;
	ret = shm_channel_send(ch->ch, &m, 1);
	ch->free_entries -= ret > 0;
	return ret;
}

static ssize_t send_bytes(struct zv_conn *c, const uint8_t *data, size_t len, uint32_t flags)
{
	struct chan *ch = c->chan;
	size_t done = 0, n = 0;
	int ret = 1;

	while (done < len && ret > 0) {
		if ((c->flags & CF_MORE) || (flags & ZV_MORE)) {
			n = more_append(c, data + done, len - done);
			done += n;
			if (n)
				continue;
		}
		ret = send_some(ch, data + done, len - done, &n);
		if (ret > 0) {
			done += n;
			chan_sent(c, n);
		}
	}
	if (!(flags & ZV_MORE))
		tx_more_end(c);
	if (ret > 0) {
		chan_send_done(c);
		return (ssize_t)done;
	}
	chan_notify(ch);
	if (ret < 0)
		ret = chan_broken(ch, ret);
	else
		ret = chan_no_room(c, len - done, 1);
	return done ? (ssize_t)done : ret;
}

static ssize_t stream_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags)
{
	struct chan *ch = c->chan;
	int ret = tx_may_send(c);

	if (ret)
		return ret;
	if (__builtin_expect(len - 1 >= SHM_INLINE_MAX || (c->flags & CF_MORE) || flags & ZV_MORE,
			     0)) {
		if (len)
			return send_bytes(c, data, len, flags);
		if (!(flags & ZV_MORE))
			tx_more_end(c);
		return 0;
	}
	ret = chan_send_line(ch, data, len, 0);
	if (__builtin_expect(ret <= 0, 0))
		return ret ? chan_broken(ch, ret) : chan_no_room(c, len, 1);
	chan_sent(c, len);
	chan_send_done(c);
	return (ssize_t)len;
}

/* ---- receiving ---- */

/* Copies up to @len bytes and leaves them in the fifo. */
static size_t peek(struct chan *ch, uint8_t *data, size_t len)
{
	size_t done = 0;
	uint32_t i = 0; /* from the head: what is pulled may move the fifo */

	while (done < len) {
		const struct shm_msg *m;
		size_t n;

		/* A failure here is found again by the next reader. */
		if (ch->head + i == ch->tail && (chan_pull(ch) <= 0 || ch->head + i == ch->tail))
			break;
		m = &ch->fifo[ch->head + i++];
		n = len - done < m->len ? len - done : m->len;
		memcpy(data + done, m->data, n);
		done += n;
	}
	return done;
}

/* Copies up to @len bytes of what waits. */
static size_t take(struct chan *ch, uint8_t *data, size_t len)
{
	unsigned whole = 0;
	size_t done = 0;

	while (done < len && ch->head + whole < ch->tail) {
		struct shm_msg *m = &ch->fifo[ch->head + whole];
		uint32_t n = len - done < m->len ? (uint32_t)(len - done) : m->len;

		memcpy(data + done, m->data, n);
		done += n;
		if (n == m->len) {
			whole++;
			continue;
		}
		m->data = (uint8_t *)m->data + n;
		m->len -= n;
	}
	if (whole)
		chan_read(ch, whole, done);
	else
		ch->unread -= done;
	return done;
}

static ssize_t stream_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	bool peeks = flags && (*flags & ZV_PEEK);
	struct chan *ch = c->chan;
	size_t done = 0;
	int ret;

	if (flags)
		*flags = 0;
	if (chan_fifo_empty(ch)) {
		ret = chan_pull(ch);
		if (ret < 0)
			return chan_broken(ch, ret);
		if (chan_fifo_empty(ch))
			return rx_empty(c);
	}
	if (peeks) {
		done = peek(ch, data, len);
		return chan_copied(ch, data) ? (ssize_t)done : chan_broken(ch, -EPROTO);
	}
	/* Messages that are dropped also end the loop: a peer could send such for ever. */
	while (done < len && !chan_fifo_empty(ch)) {
		done += take(ch, (uint8_t *)data + done, len - done);
		if (done < len && chan_pull(ch) <= 0)
			break; /* what fails is found again by the next call */
	}
	if (!chan_copied(ch, data))
		return chan_broken(ch, -EPROTO);
	chan_was_read(ch);
	return (ssize_t)done;
}

const struct sock_type chan_stream = {
	.name = "STREAM",
	.type = VSOCK_TYPE_STREAM,
	.rx_cost = 0, /* nothing is promised: what is received lies in the region */
	.path = &chan_path,
	.send = stream_send,
	.buf_alloc = chan_buf_alloc,
	.buf_send = chan_buf_send,
	.buf_cancel = chan_buf_cancel,
	.more_end = chan_more_end,
	.has_room = chan_has_room,
	.recv = stream_recv,
	.buf_recv = chan_buf_recv,
	.rx_drop = chan_rx_drop,
	.frame = chan_no_packets,
	.unconnected = rx_unconnected,
};
