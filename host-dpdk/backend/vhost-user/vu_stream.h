/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole vhost-user messages over a Unix stream socket that never blocks.
 *
 * A message arrives in any number of pieces, and its descriptors with any of them. The reader never
 * asks for bytes behind the message that it is at, so what the kernel hands over belongs to that
 * message. Descriptors are close-on-exec from the start, at most VU_MSG_FDS are taken, and the
 * reader owns them until they are taken out of it.
 */
#ifndef ZV_VU_STREAM_H
#define ZV_VU_STREAM_H

#include "proto/vhost_user.h"
#include "vu_limits.h"

#include <stdbool.h>
#include <stddef.h>

struct fd_bin;

struct vu_reader {
	struct fd_bin *bin; /* where descriptors go that nobody has taken; NULL: they are closed */
	struct vu_msg msg;
	size_t have; /* bytes of it, header included */
	int fd[VU_MSG_FDS];
	unsigned nfds;
};

struct vu_writer {
	struct vu_msg msg;
	size_t len, sent; /* sent == len: nothing waits */
};

/* No message and no descriptors. @bin: the caller's, or NULL. */
void vu_reader_init(struct vu_reader *r, struct fd_bin *bin);
/* Throws the descriptors away that nobody has taken, and begins with the next message. */
void vu_reader_next(struct vu_reader *r);
/* A message has begun and is not whole. */
static inline bool vu_reader_midway(const struct vu_reader *r)
{
	return r->have != 0;
}

/*
 * Reads what there is of the current message. @refused looks at its header before the payload is
 * read: NULL, which promises that the payload fits into struct vu_msg, or what is wrong with it.
 * 1: it is whole (until vu_reader_next()); 0: not yet; -ECONNRESET: the peer has closed; -EPROTO:
 * *why says what is wrong, otherwise *why is NULL; else -errno of recvmsg.
 */
int vu_read(struct vu_reader *r, int sock, const char *(*refused)(const struct vu_msg *),
	    const char **why);

/*
 * Sends @m, or as much as the socket takes. 1: all of it; 0: vu_write_rest() when the socket is
 * writable; -errno. Only while nothing waits.
 */
int vu_write(struct vu_writer *w, int sock, const struct vu_msg *m);
int vu_write_rest(struct vu_writer *w, int sock);

#endif
