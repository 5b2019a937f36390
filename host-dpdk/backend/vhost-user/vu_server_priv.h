/* SPDX-License-Identifier: BSD-3-Clause */
/* Between vu_server.c (sockets, thread) and vu_conn.c (one connection). Control thread only. */
#ifndef ZV_VU_SERVER_PRIV_H
#define ZV_VU_SERVER_PRIV_H

#include "vu_server.h"

#include <sys/queue.h>

/* What an epoll event is about. */
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
	bool dead;	       /* closed; freed when the events at hand are done */
	uint64_t deadline;     /* UINT64_MAX: nothing is awaited of the frontend */
	struct vu_reader in;   /* from the frontend */
	struct vu_writer out;  /* to the frontend */
	struct vu_reader back; /* from the link */
	void *link_ctx;
	TAILQ_ENTRY(vu_conn) next; /* of vu_socket.conns, or of the dead ones */
};

TAILQ_HEAD(vu_conns, vu_conn);

struct vu_socket {
	struct vu_source listen; /* server */
	char *path;
	struct vu_socket_config c; /* path: the copy above */
	struct vu_conns conns;
	unsigned nconns;
	struct vu_conn *front; /* the one that speaks for the socket; NULL: none */
	struct vu_source life; /* the process of the last front; fd -1: nothing is known of it */
	bool dying;	       /* it has ended, and the front has hung up */
	uint64_t life_until;   /* no front: what becomes of it until then is believed */
	bool bound;	       /* the socket file is ours */
	int dial_error;	       /* client: of the last attempt */
	uint64_t retry;	       /* when to connect or accept again; UINT64_MAX: not at all */
	uint64_t again;	       /* when to call c.ops->again; UINT64_MAX: not at all */
	uint64_t rest;	       /* nothing of it is served before; UINT64_MAX: it is */
	uint64_t bin_ns;       /* the last wait for the bin */
	struct fd_bin *bin;    /* descriptors of its frontends that are being closed */
	TAILQ_ENTRY(vu_socket) next;
};

/* The moment in @ns, for a deadline or a retry: the thread looks at those when one has come. */
uint64_t vu_in(uint64_t ns);
/* Watches s->fd for @events (EPOLLIN, EPOLLOUT or 0). 0 or -errno. */
int vu_watch(struct vu_source *s, uint32_t events);
/* Changes what is watched for. */
void vu_rewatch(struct vu_source *s, uint32_t events);
/* No longer watched; closes the descriptor, which is one of ours. */
void vu_unwatch_close(struct vu_source *s);
/* The same for a socket in which messages of a frontend may wait. */
void vu_unwatch_drop(struct vu_source *s);
/* Frees @c after the events at hand. */
void vu_bury(struct vu_conn *c);

/* ---- vu_server_fair.c ---- */

static inline bool vu_rests(const struct vu_socket *sk)
{
	return sk->rest != UINT64_MAX;
}

/* Something has happened at @s; its socket has a rest afterwards if that took long. */
void vu_serve(struct vu_source *s, uint32_t events);
/* The end of a rest, or a longer one. */
void vu_rest_over(struct vu_socket *sk);

/* ---- vu_server_life.c ---- */

/* @fd is the socket of the front, which begins to speak. */
void vu_life_begin(struct vu_socket *sk, int fd);
/* The front has hung up: ops->died will be called if its process has ended, or does by and by. */
void vu_life_hung_up(struct vu_socket *sk);
/* It is not of interest any more. */
void vu_life_over(struct vu_socket *sk);

/* ---- vu_conn.c ---- */

/* The frontend has closed its end, though there may be messages left. */
bool vu_hung_up(const struct vu_conn *c);

/* Takes over @fd, a connected non-blocking socket. */
void vu_conn_new(struct vu_socket *sk, int fd);
/* Hangs up. */
void vu_conn_end(struct vu_conn *c);

#endif
