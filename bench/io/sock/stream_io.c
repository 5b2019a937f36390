/* SPDX-License-Identifier: BSD-3-Clause */
#include "stream_io.h"

#include "core/live.h"
#include "measure/cpu.h"
#include "measure/pattern.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

unsigned char *stream_buffer(uint32_t msg_size, size_t *cap)
{
	unsigned char *buf;

	*cap = msg_size > BENCH_SOCK_RX_LEN ? msg_size : BENCH_SOCK_RX_LEN;
	*cap = (*cap + 63) & ~(size_t)63;
	buf = aligned_alloc(64, *cap);
	if (buf)
		memset(buf, 0, *cap); /* resident before the clock runs */
	return buf;
}

/* A signal that is not meant to end the program. */
static bool again(void)
{
	return errno == EINTR && !proc_interrupted;
}

bool stream_write_all(int fd, const void *buf, size_t len)
{
	const unsigned char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && again())
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool stream_read_all(int fd, void *buf, size_t len)
{
	unsigned char *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && again())
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* The end of the stream, and the receiver's close when it has everything. */
static void source_end(struct stream_io *s, unsigned char *buf)
{
	ssize_t n;

	shutdown(s->fd, SHUT_WR);
	do
		n = recv(s->fd, buf, s->size, 0);
	while (n < 0 && again());
	/* How it closes does not matter, but that it does. */
	s->errors += n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
	s->last_ns = cpu_now_ns();
}

void stream_source(struct stream_io *s, unsigned char *buf, size_t cap)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(s->duration_ns);

	(void)cap;
	s->first_ns = cpu_now_ns();
	while (cpu_ticks() < end) {
		if (s->touch)
			pattern_fill(buf, s->size, s->salt, s->msgs, 0);
		if (!stream_write_all(s->fd, buf, s->size)) {
			s->errors++;
			break;
		}
		s->msgs++;
		s->bytes += s->size;
		live_sent(s->size);
	}
	source_end(s, buf);
}

static bool payload_right(const struct stream_io *s, const unsigned char *p, size_t len)
{
	if (s->zeros)
		return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
	return pattern_check(p, len, s->salt, s->msgs, s->off);
}

void stream_check(struct stream_io *s, const unsigned char *p, size_t len)
{
	s->bytes += len;
	live_received(len);
	s->errors += s->seqpacket && !s->zeros && len != s->size;
	while (len > 0) {
		uint32_t n = bench_min32((uint32_t)len, s->size - s->off);

		if (s->touch && !payload_right(s, p, n))
			s->errors++;
		p += n;
		len -= n;
		s->off += n;
		if (s->off == s->size) {
			s->off = 0;
			s->msgs++;
		}
	}
}

/* The sender has said how many there are, and they are all here. */
static bool sink_complete(const struct stream_io *s)
{
	uint64_t total = s->total ? __atomic_load_n(s->total, __ATOMIC_ACQUIRE) : 0;

	return total && s->msgs >= total;
}

void stream_sink(struct stream_io *s, unsigned char *buf, size_t cap)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(s->duration_ns);
	bool over = false;

	while (!over && (s->off != 0 || !sink_complete(s))) {
		ssize_t n = recv(s->fd, buf, cap, 0);

		if (n < 0 && again())
			continue;
		if (n <= 0) {
			/* The end of zeros is ours to say; one that stalls has lost something. */
			s->errors += s->zeros || n < 0;
			break;
		}
		if (!s->first_ns)
			s->first_ns = cpu_now_ns();
		stream_check(s, buf, (size_t)n);
		over = s->zeros && cpu_ticks() >= end;
	}
	s->last_ns = cpu_now_ns();
	s->errors += s->off != 0 && !s->zeros;
}

void stream_echo(struct stream_io *s, unsigned char *buf, size_t cap)
{
	(void)cap;
	while (stream_read_all(s->fd, buf, s->size) && stream_write_all(s->fd, buf, s->size)) {
		s->msgs++;
		s->bytes += s->size;
	}
}

/* ---- there and back ---- */

/*
 * What may be under way on a SEQPACKET socket; one message always. Linux does not take back what
 * it has sent of a message when MSG_DONTWAIT makes it give up in the middle for want of credit. So
 * the call has to wait, and must not wait for a far end that waits for us: this much has room in
 * the buffers of any family.
 */
#define SEQ_WINDOW_BYTES 131072u
#define SEQ_WINDOW_MSGS	 64u

struct round_trip {
	uint64_t sent, end_ticks;
	uint32_t off; /* of the message that is being sent */
	bool shut;    /* everything is sent, and the end of the stream too */
	bool failed;
};

/* No more may be under way. */
static bool window_full(const struct stream_io *s, const struct round_trip *t)
{
	uint64_t away = t->sent - s->msgs;

	return s->seqpacket && away &&
	       (away == SEQ_WINDOW_MSGS || (away + 1) * s->size > SEQ_WINDOW_BYTES);
}

/* Sends what goes without waiting. True when something went. */
static bool send_some(struct stream_io *s, struct round_trip *t, unsigned char *buf)
{
	int flags = MSG_NOSIGNAL | (s->seqpacket ? 0 : MSG_DONTWAIT);
	bool any = false;

	while (!t->shut && !window_full(s, t)) {
		ssize_t n;

		if (t->off == 0 && cpu_ticks() >= t->end_ticks) {
			shutdown(s->fd, SHUT_WR);
			t->shut = true;
			return true;
		}
		if (t->off == 0 && s->touch)
			pattern_fill(buf, s->size, s->salt, t->sent, 0);
		n = send(s->fd, buf + t->off, s->size - t->off, flags);
		if (n < 0 && again())
			continue;
		if (n <= 0) {
			t->failed = n == 0 || s->seqpacket || errno != EAGAIN;
			break;
		}
		any = true;
		t->off += (uint32_t)n;
		if (t->off == s->size) {
			t->off = 0;
			t->sent++;
		}
	}
	return any;
}

/* Receives what there is. 1: something, 0: nothing, -1: the end. */
static int take_some(struct stream_io *s, unsigned char *buf, size_t cap)
{
	int any = 0;

	for (;;) {
		ssize_t n = recv(s->fd, buf, cap, MSG_DONTWAIT);

		if (n < 0 && again())
			continue;
		if (n < 0 && errno == EAGAIN)
			return any;
		if (n <= 0)
			return -1;
		stream_check(s, buf, (size_t)n);
		any = 1;
	}
}

void stream_there_and_back(struct stream_io *s, unsigned char *buf, size_t cap)
{
	struct round_trip t = {.end_ticks = cpu_ticks() + cpu_ns_to_ticks(s->duration_ns)};
	size_t out_cap;
	unsigned char *out = stream_buffer(s->size, &out_cap);
	int got = 0;

	s->first_ns = cpu_now_ns();
	while (out && got >= 0 && !t.failed && !proc_interrupted) {
		bool sent = send_some(s, &t, out);

		got = take_some(s, buf, cap);
		if (!sent && got == 0) {
			struct pollfd p = {.fd = s->fd, .events = POLLIN};

			p.events |= t.shut || window_full(s, &t) ? 0 : POLLOUT;
			if (poll(&p, 1, (int)(BENCH_GRACE_NS / 1000000u)) == 0)
				break;
		}
	}
	s->last_ns = cpu_now_ns();
	/* What did not come back is lost; so is all of it when the end has not come. */
	s->errors += !out || got >= 0 || !t.shut || t.sent != s->msgs || s->off != 0;
	free(out);
}

uint64_t stream_accept_all(int listen_fd, const uint64_t *total)
{
	uint64_t all = 0, n = 0;
	char c;

	while (!all || n < all) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && again())
			continue;
		if (fd < 0)
			return n;
		while (recv(fd, &c, 1, 0) < 0 && again())
			;
		close(fd);
		n++;
		all = __atomic_load_n(total, __ATOMIC_ACQUIRE);
	}
	return n - 1;
}
