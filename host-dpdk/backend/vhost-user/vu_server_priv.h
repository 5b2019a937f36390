/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by vu_server.c (sockets, thread) and vu_conn.c (one connection). Control thread only.
 */
#ifndef ZV_VU_SERVER_PRIV_H
#define ZV_VU_SERVER_PRIV_H

#include "mem_sleep.h"
#include "vu_server.h"

#include <sys/queue.h>

/* The source of an epoll event. */
struct vu_source {
	void (*ready)(struct vu_source *s, uint32_t events);
	int fd; /* -1: not watched */
	struct vu_socket *sk;
};

enum vu_conn_state { VU_READING, VU_LINKED, VU_ANSWERING };

struct vu_conn {
	struct vu_source sock, link;
	struct vu_socket *sk;
	enum vu_conn_state state;
	bool dead;	       /* closed; freed after the current events */
	uint64_t deadline;     /* UINT64_MAX: the frontend owes nothing */
	struct vu_reader in;   /* from the frontend */
	struct vu_writer out;  /* to the frontend */
	struct vu_reader back; /* from the link */
	void *link_ctx;
	TAILQ_ENTRY(vu_conn) next; /* in vu_socket.conns, or in the dead ones */
};

TAILQ_HEAD(vu_conns, vu_conn);

struct vu_socket {
	struct vu_source listen; /* server */
	char *path;
	struct vu_socket_config c; /* its path is the copy above */
	struct vu_conns conns;
	unsigned nconns;
	struct vu_conn *front;	  /* the frontend; NULL: none */
	struct vu_source life;	  /* process of the last front; fd -1: unknown */
	bool dying;		  /* the process has ended, and the front has hung up */
	uint64_t life_until;	  /* no front: until then the end of the process counts */
	bool bound;		  /* the socket file was created here */
	struct vu_dial *dial;	  /* client: an attempt to connect; NULL: none */
	int dial_told;		  /* ... and what was logged last about that; 0: nothing */
	uint64_t retry;		  /* time of the next connect or accept; UINT64_MAX: none */
	uint64_t again;		  /* time to call c.ops->again; UINT64_MAX: none */
	uint64_t rest;		  /* not served before then; UINT64_MAX: no limit */
	uint64_t closer_ns;	  /* duration of the last wait: vu_waits() */
	struct fd_closer *closer; /* descriptors of its frontends being closed */
	struct mem_account *mem;  /* what the thread has slept because of their memory */
	TAILQ_ENTRY(vu_socket) next;
};

/* The time in @ns from now, for a deadline or a retry; the thread wakes up for it. */
uint64_t vu_in(uint64_t ns);
/* Watches s->fd for @events (EPOLLIN, EPOLLOUT or 0). 0 or -errno. */
int vu_watch(struct vu_source *s, uint32_t events);
/* Changes the watched events. */
void vu_rewatch(struct vu_source *s, uint32_t events);
/* Stops watching and closes the descriptor, which is one of ours. */
void vu_unwatch_close(struct vu_source *s);
/* The same for a socket in which messages of a frontend may be queued. */
void vu_unwatch_drop(struct vu_source *s);
/* Frees @c after the current events. */
void vu_conn_discard(struct vu_conn *c);

/* The thread calls vu_dial_results(). From any thread, while there is a socket. */
void vu_wake(void);

/* ---- vu_dial.c ---- */

/* Begins an attempt to connect, and has the next one made after VU_RETRY_NS. */
void vu_dial(struct vu_socket *sk);
/* Takes over the connections that have been made. */
void vu_dial_results(void);
/* What is in progress is not waited for. */
void vu_dial_stop(struct vu_socket *sk);
/* The deadline of @c has passed. True: we have connected to somebody who has said nothing yet,
 * which has been logged. */
bool vu_dial_silent(struct vu_conn *c);
/* The other end of @c has hung up. Logs it if that is somebody who has not said anything. */
void vu_dial_hung_up(const struct vu_conn *c);
/* The VMM speaks. */
void vu_dial_heard(struct vu_socket *sk);

/* ---- vu_server_fair.c ---- */

static inline bool vu_rests(const struct vu_socket *sk)
{
	return sk->rest != UINT64_MAX;
}

/* The next message of @sk has to wait for what others have left to do. */
bool vu_waits(const struct vu_socket *sk);
/* Handles an event of @s; if that took long, its socket rests afterwards. */
void vu_serve(struct vu_source *s, uint32_t events);
/* @sk rests for as long as is left of what was charged to sk->mem. */
void vu_rest_charged(struct vu_socket *sk);
/* Ends a rest, or extends it. */
void vu_rest_over(struct vu_socket *sk);

/* ---- vu_server_life.c ---- */

/* @fd is the socket of the front, which has begun to speak. */
void vu_life_begin(struct vu_socket *sk, int fd);
/* The front has hung up: calls ops->died if its process has ended, or when it does. */
void vu_life_hung_up(struct vu_socket *sk);
/* Stops watching that process. */
void vu_life_over(struct vu_socket *sk);

/* ---- vu_conn.c ---- */

/* The frontend has closed its end, though there may be messages left. */
bool vu_hung_up(const struct vu_conn *c);

/* Takes over @fd, a connected non-blocking socket. */
void vu_conn_new(struct vu_socket *sk, int fd);
/* Hangs up. */
void vu_conn_end(struct vu_conn *c);

#endif
