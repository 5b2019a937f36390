/* SPDX-License-Identifier: BSD-3-Clause */
#include "stream_io.h"

#include "measure/cpu.h"
#include "measure/pattern.h"

#include <errno.h>
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

bool stream_write_all(int fd, const void *buf, size_t len)
{
	const unsigned char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
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

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

void stream_source(struct stream_io *s, unsigned char *buf, size_t cap)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(s->duration_ns);

	(void)cap;
	while (cpu_ticks() < end) {
		if (s->touch)
			pattern_fill(buf, s->size, s->salt, s->msgs, 0);
		if (!stream_write_all(s->fd, buf, s->size)) {
			s->errors++;
			break;
		}
		s->msgs++;
	}
	shutdown(s->fd, SHUT_WR);
	/* The receiver closes when it has everything. */
	while (recv(s->fd, buf, s->size, 0) < 0 && errno == EINTR)
		;
}

/* Verifies @len bytes, whatever parts of messages they are; @off: position in the present one. */
static void sink_check(struct stream_io *s, const unsigned char *p, size_t len, uint32_t *off)
{
	while (len > 0) {
		uint32_t n = bench_min32((uint32_t)len, s->size - *off);

		if (s->touch && !pattern_check(p, n, s->salt, s->msgs, *off))
			s->errors++;
		p += n;
		len -= n;
		*off += n;
		if (*off == s->size) {
			*off = 0;
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
	uint32_t off = 0;

	while (off != 0 || !sink_complete(s)) {
		ssize_t n = recv(s->fd, buf, cap, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (!s->first_ns)
			s->first_ns = cpu_now_ns();
		s->bytes += (uint64_t)n;
		sink_check(s, buf, (size_t)n, &off);
	}
	s->last_ns = cpu_now_ns();
	s->errors += off != 0;
}

void stream_echo(struct stream_io *s, unsigned char *buf, size_t cap)
{
	(void)cap;
	while (stream_read_all(s->fd, buf, s->size) && stream_write_all(s->fd, buf, s->size))
		s->msgs++;
}

uint64_t stream_accept_all(int listen_fd, const uint64_t *total)
{
	uint64_t all = 0, n = 0;
	char c;

	while (!all || n < all) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return n;
		while (recv(fd, &c, 1, 0) < 0 && errno == EINTR)
			;
		close(fd);
		n++;
		all = __atomic_load_n(total, __ATOMIC_ACQUIRE);
	}
	return n - 1;
}
