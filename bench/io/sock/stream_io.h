/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program does with one connected, blocking socket. The socket baselines, the host program
 * of a foreign backend and both sides of a kernel's AF_VSOCK share this code, so that all are
 * measured with the same calls.
 *
 * One send() per message; reads into 64 KiB (or one message, if that is more), which may return
 * several messages at once, as zv_recv may.
 */
#ifndef BENCH_STREAM_IO_H
#define BENCH_STREAM_IO_H

#include "core/bench.h"

struct stream_io {
	int fd;
	uint32_t size; /* of a message */
	bool touch;
	bool seqpacket; /* a message is what one call sends or receives */
	bool zeros;	/* receiver: zeros come without end, it stops after duration_ns */
	uint64_t salt, duration_ns;
	/*
	 * Receiver: where the sender says how many messages there are before it sends the last one;
	 * 0: not yet. NULL: end of file is the end. For paths that do not carry a half-close.
	 */
	const uint64_t *total;
	uint32_t off; /* receiver: position in the present message */
	/* results */
	uint64_t msgs, bytes, errors;
	uint64_t first_ns,
		last_ns; /* receiver: CLOCK_MONOTONIC of the first and the last payload */
};

/* A buffer for the functions below, of *@cap bytes; NULL: no memory. */
unsigned char *stream_buffer(uint32_t msg_size, size_t *cap);

/* False when the connection ended. */
bool stream_write_all(int fd, const void *buf, size_t len);
bool stream_read_all(int fd, void *buf, size_t len);

/*
 * Sends messages for duration_ns, ends the stream, waits until the receiver has closed: first_ns
 * and last_ns are then those of the sender.
 */
void stream_source(struct stream_io *s, unsigned char *buf, size_t cap);
/* Receives and verifies to the end. */
void stream_sink(struct stream_io *s, unsigned char *buf, size_t cap);
/* Sends back each message until the peer closes. */
void stream_echo(struct stream_io *s, unsigned char *buf, size_t cap);

/*
 * Sends for duration_ns and receives what a far end sends back until it has closed, in one thread:
 * as much as goes (SEQPACKET: up to 64 messages or 128 KiB under way), then as much as came, and
 * poll(2) where neither went. Verifies each message.
 */
void stream_there_and_back(struct stream_io *s, unsigned char *buf, size_t cap);

/* Verifies @len received bytes, whatever parts of messages they are, and counts them. */
void stream_check(struct stream_io *s, const unsigned char *p, size_t len);

/*
 * Accepts connections, each until its peer has closed, one after the other. The client says in
 * *@total how many there are in all before it opens the last one, which does not count and is
 * only there to wake the server. The number of connections that do.
 */
uint64_t stream_accept_all(int listen_fd, const uint64_t *total);

#endif
