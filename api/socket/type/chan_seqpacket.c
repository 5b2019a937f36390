/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCK_SEQPACKET over a channel: a message is one ring message, or several slots of which the last
 * has SHM_EOM.
 */
#include "chan_calls.h"
#include "socket/rx/rx.h"

#include <errno.h>
#include <string.h>

/* ---- sending ---- */

/* Sends a message in slots, all of it or nothing. 1, 0: no room, -EPROTO. */
static int send_slots(struct chan *ch, const uint8_t *data, size_t len, uint8_t flags)
{
	struct shm_msg m[CHAN_PIECES];
	size_t room, done = 0;
	int n = chan_slots(ch, m, CHAN_PIECES, len, &room);

	if (n <= 0)
		return n;
	if (room < len || !chan_has_entries(ch, (uint32_t)n)) {
		(void)shm_channel_cancel(ch->ch, m, (unsigned)n);
		return shm_channel_error(ch->ch);
	}
	for (int i = 0; i < n; i++) {
		m[i].len = len - done < m[i].room ? (uint32_t)(len - done) : m[i].room;
		memcpy(m[i].data, data + done, m[i].len);
		done += m[i].len;
	}
	m[n - 1].flags = flags;
	ch->free_entries -= (uint32_t)n;
	return shm_channel_send(ch->ch, m, (unsigned)n) == n ? 1 : -EPROTO;
}

static int may_begin(const struct zv_conn *c, size_t len)
{
	int ret = tx_may_begin(c);

	if (ret)
		return ret;
	if (len > c->chan->max_msg)
		return zv_err(-EMSGSIZE,
			      "zv_send: message of %zu bytes, but the connection's channel takes "
			      "at most %llu",
			      len, (unsigned long long)c->chan->max_msg);
	return 0;
}

static ssize_t seqpacket_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags)
{
	struct chan *ch = c->chan;
	uint8_t end = (uint8_t)(SHM_EOM | (flags & ZV_EOR));
	int ret = tx_may_send(c);

	if (!ret)
		ret = may_begin(c, len);
	if (ret)
		return ret;
	if (len <= SHM_INLINE_MAX)
		ret = chan_send_line(ch, data, len, end);
	else
		ret = send_slots(ch, data, len, end);
	if (__builtin_expect(ret <= 0, 0))
		return ret ? chan_broken(ch, ret) : chan_no_room(c, len, 0);
	chan_sent(c, len);
	chan_send_done(c);
	return (ssize_t)len;
}

/* ---- receiving ---- */

static ssize_t seqpacket_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	bool peeks = flags && (*flags & ZV_PEEK);
	struct chan *ch = c->chan;
	size_t done = 0, total = 0;
	uint32_t i, end = 0;
	int ret = 0;

	if (flags)
		*flags = 0;
	if (!c->rx.seq.msgs) {
		/* Once this side reads no more, nothing is kept, and a peer could send for ever. */
		do
			ret = chan_pull(ch);
		while (ret > 0 && !c->rx.seq.msgs && !(c->shut.local & VSOCK_SHUTDOWN_RCV));
	}
	if (ret < 0)
		return chan_broken(ch, ret);
	if (!c->rx.seq.msgs)
		return rx_empty(c);
	for (i = ch->head; !(end & SHM_EOM); i++) {
		const struct shm_msg *m = &ch->fifo[i];
		size_t n = len - done < m->len ? len - done : m->len;

		if (n)
			memcpy((uint8_t *)data + done, m->data, n);
		done += n;
		total += m->len;
		end = m->flags;
	}
	if (!chan_copied(ch, data))
		return chan_broken(ch, -EPROTO);
	if (flags)
		*flags = end | (done < total ? ZV_TRUNC : 0);
	if (!peeks) {
		seq_rx_consumed(&c->rx.seq);
		chan_read(ch, i - ch->head, total);
		chan_was_read(ch);
	}
	return (ssize_t)done;
}

const struct sock_type chan_seqpacket = {
	.name = "SEQPACKET",
	.type = VSOCK_TYPE_SEQPACKET,
	.framed = true,
	.rx_cost = 0, /* nothing is promised: what is received lies in the region */
	.path = &chan_path,
	.send = seqpacket_send,
	.buf_alloc = chan_buf_alloc,
	.buf_send = chan_buf_send,
	.buf_cancel = chan_buf_cancel,
	.more_end = chan_more_end,
	.has_room = chan_has_room,
	.recv = seqpacket_recv,
	.buf_recv = chan_buf_recv,
	.rx_drop = chan_rx_drop,
	.frame = chan_no_packets,
	.unconnected = rx_unconnected,
};
