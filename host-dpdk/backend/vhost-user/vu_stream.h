/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole vhost-user messages over a non-blocking Unix stream socket.
 *
 * A message arrives in any number of pieces, and its descriptors with any of them. The reader never
 * asks for bytes beyond the current message, so what the kernel delivers belongs to that message.
 * Descriptors are close-on-exec from the start, at most VU_MSG_FDS are accepted, and the reader
 * owns them until they are taken out of it.
 */
#ifndef ZV_VU_STREAM_H
#define ZV_VU_STREAM_H

#include "proto/vhost_user.h"
#include "vu_limits.h"

#include <stdbool.h>
#include <stddef.h>

struct fd_closer;

struct vu_reader {
	struct fd_closer *closer; /* closes descriptors that nobody has taken; NULL: close() */
	struct vu_msg msg;
	size_t have; /* bytes received, header included */
	int fd[VU_MSG_FDS];
	unsigned nfds;
};

struct vu_writer {
	struct vu_msg msg;
	size_t len, sent; /* sent == len: nothing is pending */
};

/* Starts empty. @closer: owned by the caller, or NULL. */
void vu_reader_init(struct vu_reader *r, struct fd_closer *closer);
/* Discards descriptors that nobody has taken, and starts with the next message. */
void vu_reader_next(struct vu_reader *r);
/* True: a message has begun and is not complete. */
static inline bool vu_reader_midway(const struct vu_reader *r)
{
	return r->have != 0;
}

/*
 * Reads what has arrived of the current message. @refused checks its header before the payload is
 * read: NULL, which guarantees that the payload fits into struct vu_msg, or the reason to refuse
 * it. 1: complete (until vu_reader_next()); 0: not yet; -ECONNRESET: the peer has closed; -EPROTO:
 * *why is the reason, otherwise *why is NULL; else -errno of recvmsg.
 */
int vu_read(struct vu_reader *r, int sock, const char *(*refused)(const struct vu_msg *),
	    const char **why);

/* Sends @m, or as much as the socket takes. 1: all of it; 0: call vu_write_rest() when the socket
 * is writable; -errno. Only while nothing is pending. */
int vu_write(struct vu_writer *w, int sock, const struct vu_msg *m);
int vu_write_rest(struct vu_writer *w, int sock);

#endif
