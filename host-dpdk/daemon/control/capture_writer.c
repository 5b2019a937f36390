/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer thread of a capture: from the rings into the file; see capture.h. */
#include "capture_int.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void ring_get(const struct spsc_cons *c, uint32_t idx, size_t at, void *data, size_t len)
{
	const uint8_t *base = spsc_cons_entry(c, 0);
	size_t pos = ((size_t)(idx & c->mask) * CAPTURE_ENTRY + at) % CAPTURE_RING_BYTES;
	size_t first = CAPTURE_RING_BYTES - pos < len ? CAPTURE_RING_BYTES - pos : len;

	memcpy(data, base + pos, first);
	memcpy((uint8_t *)data + first, base, len - first);
}

/* Waits until a pipe or socket accepts PIPE_BUF bytes. -ECANCELED: the capture is to end, and its
 * reader does not read. */
static int wait_writable(struct capture *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLOUT};

	while (poll(&p, 1, CAPTURE_CHECK_MS * 5) <= 0) {
		uint64_t now = now_ns();

		if (!shm_load_acquire32(&c->stop))
			continue;
		if (!c->stop_seen)
			c->stop_seen = now;
		if (now - c->stop_seen > CAPTURE_GRACE_MS * UINT64_C(1000000))
			return -ECANCELED;
	}
	return 0;
}

/* The file accepted only @off bytes of out. Counts the complete packets in it and truncates the
 * incomplete last one where possible, so that readers of the file find no error. */
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
static struct capture_source *oldest(struct capture *c, uint64_t until)
{
	struct capture_source *s, *best = NULL;

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

static int write_packet(struct capture *c, struct capture_source *s)
{
	const struct capture_record *r = &s->head;
	unsigned more = capture_entries(r->caplen) - 1;
	uint32_t idx;
	int ret;

	if (c->out_size - c->out_len < PCAP_PACKET_BYTES + r->caplen) {
		ret = flush(c);
		if (ret < 0)
			return ret;
	}
	/* A packet is submitted as a whole, so its other entries are present. */
	if (more)
		(void)spsc_peek(&s->cons, more, &idx);
	pcap_packet_header(c->out + c->out_len, c->epoch + r->ns, r->hdr, r->caplen, r->len);
	c->out_len += PCAP_PACKET_BYTES;
	ring_get(&s->cons, s->idx, sizeof(*r), c->out + c->out_len, r->caplen);
	c->out_len += r->caplen;
	spsc_release(&s->cons, more + 1);
	s->have = false;
	c->buffered++;
	return 0;
}

/*
 * Writes packets with a time before @until. All packets in the rings have a time before now. An
 * older packet of another queue that is not submitted yet is rare, and is then only out of order in
 * the file.
 */
static int drain(struct capture *c, uint64_t until)
{
	struct capture_source *s;
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

/* Sleeps for a short time; -EPIPE: the reader of the pipe has gone meanwhile. */
static int check_later(const struct capture *c)
{
	struct pollfd p = {.fd = c->fd};

	if (poll(&p, c->pipe ? 1 : 0, CAPTURE_CHECK_MS) > 0 && (p.revents & (POLLERR | POLLHUP)))
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

		/* After a stop there are no taps, so nothing is added to the rings any more. */
		now = now_ns();
		ret = drain(c, stop ? UINT64_MAX : now < end ? now : end);
		if (ret < 0 || stop || c->res.end == CAPTURE_COUNT)
			return ret;
		if (now >= end) {
			c->res.end = CAPTURE_DURATION;
			return 0;
		}
		ret = check_later(c);
		if (ret < 0)
			return ret;
	}
}

void *capture_writer(void *arg)
{
	struct capture *c = arg;
	int ret = write_all(c);

	if (ret < 0 &&
	    ret != -ECANCELED) { /* -ECANCELED: stopped, and the reader does not read the rest */
		c->res.end = CAPTURE_FAILED;
		c->res.err = ret;
	}
	(void)close(c->fd); /* which may take as long as writing */
	__atomic_store_n(&c->over, 1, __ATOMIC_RELEASE);
	(void)eventfd_write(c->notify, 1);
	return NULL;
}

uint64_t capture_left_over(struct capture_source *s)
{
	uint64_t n = 0;
	uint32_t idx;

	for (; s->have || spsc_peek(&s->cons, 1, &s->idx) == 1; n++) {
		unsigned more;

		if (!s->have)
			ring_get(&s->cons, s->idx, 0, &s->head, sizeof(s->head));
		s->have = false;
		more = capture_entries(s->head.caplen) - 1;
		if (more)
			(void)spsc_peek(&s->cons, more, &idx);
		spsc_release(&s->cons, more + 1);
	}
	return n;
}
