/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user messages that no honest frontend sends: the columns of the tables. */
#ifndef ZV_HOSTILE_MSG_CASES_H
#define ZV_HOSTILE_MSG_CASES_H

#include "raw.h"
#include "testbed.h"

enum msg_verdict {
	GOES_ON = 0, /* answered, and this very session works afterwards */
	HANGS_UP,    /* the backend closes the connection */
	DOWN,	     /* connection and backend live; the queue does not run */
	UNKNOWN,     /* any of these */
};

/* Descriptors that are no eventfd, or one on which a write would block. */
enum fd_kind {
	PIPE,
	PIPE_CLOSED,
	SOCKET,	       /* nobody reads the other end */
	SOCKET_HUGE,   /* the same, with a huge buffer */
	SOCKET_CLOSED, /* the other end is closed */
	SOCKET_SHUT,
	SOCKET_LISTENING,
	SOCKET_DGRAM,
	SOCKET_TCP,
	FULL_EVENTFD,
	MEMFD,
	EPOLL,
	DEV_NULL,
	NO_FD,
};

/* Addresses of a ring's parts, in the frontend's address space. */
struct ring_parts {
	uint64_t desc, avail, used;
};

/* A memory table. */
struct table {
	uint32_t n; /* regions that the message says */
	unsigned nfd;
	struct raw_region r[2]; /* those that are all zero are good ones */
	bool other_fd;		/* not guest memory at all */
	uint64_t truncate;	/* size of the file; 0: as it is */
};

struct msg_case {
	const char *name;
	void (*act)(struct raw *r, const struct msg_case *c);
	enum msg_verdict want;
	unsigned from;	/* how far the session has come before: FROM_* */
	int64_t answer; /* to the message, where act checks it */
	uint32_t req;
	/* what the case is made of: arguments of act */
	unsigned nfd;	 /* descriptors with the message */
	uint32_t flags;	 /* of the header */
	uint32_t size;	 /* of the payload: what the header says, or what GET_CONFIG asks for */
	uint32_t sent;	 /* bytes that follow, where that is not size */
	uint32_t offset; /* into the config space */
	uint32_t ring, num;
	uint32_t low, high; /* of a 64-bit value */
	uint32_t type;	    /* of an IOTLB message */
	uint32_t times;
	uint32_t file_size;
	enum fd_kind kind;
	struct ring_parts parts;
	struct table table;
};

#define FROM_RUNNING 0 /* rings up, connection established */
#define FROM_MEMORY  1 /* memory table set, no rings */
#define FROM_DIAL    2 /* socket connected, nothing said */

#define REFUSED 1

extern const struct msg_case order_cases[], fd_cases[];
extern const unsigned n_order_cases, n_fd_cases;

/* What an honest frontend does after FROM_MEMORY, piece by piece. */
int64_t ring_num(struct raw *r, unsigned ring);
int64_t ring_call(struct raw *r, unsigned ring);
int64_t ring_kick(struct raw *r, unsigned ring);
int64_t ring_enable(struct raw *r, unsigned ring);

#endif
