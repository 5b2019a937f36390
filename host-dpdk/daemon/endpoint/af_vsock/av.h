/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_VSOCK programs of this machine, which reach guests, and are reached by them, through a drop-in
 * directory: api/proto/dropin_msg.h has what is said there, and by what names sockets are known.
 *
 * Theory of operation
 * -------------------
 * A space is a drop-in directory at work: its sockets, the guests in it, the ports that programs
 * have bound (av_port.c), the programs that ask (av_ask.c), connections on their way (av_call.c).
 * It is made with the first guest that has it and lives until a reload takes it away, for listening
 * programs outlive guests. Its sockets and everything that its programs cause belong to one lcore,
 * the space's home [H]; the guest's end of a connection belongs to the lcore of its queue [G]. The
 * two may be one, and then a CONNECT costs no change of threads.
 *
 * A call is a connection that a program asks for, until it is a relay. Home knows it by its label:
 * what the program was told, and whether its socket has come; [G] has a struct av_conn, the
 * beginning of the relay (av_conn.c). They say to each other what happened, by functions called
 * directly or posted to the other lcore; each such message holds the call, so either end may let
 * go of it first.
 *
 *   [H] CONNECT: av_conn_begin ->        [G] zv_connect
 *                <- av_call_started      (its local port, or the error)
 *                <- av_call_decided      the guest has answered, or not in time
 *   [H] answers, and waits for the program's socket at DIR/TYPE
 *       av_conn_go ->                    takes the socket (and reads off what filled it): relay
 *       or av_conn_stop ->               RST
 *
 * A guest's REQUEST to a bound port needs no home: the lcore of its queue looks into the port
 * table, under the space's lock, and connects to the label of the listening program
 * (av_serve.c).
 *
 * Programs are not trusted. What a program may have under way, bound and open is limited, in all
 * and for each user; whoever sends nonsense, descriptors, or does not take answers is hung up on. A
 * label says nothing: home compares it with what it has given to that process.
 */
#ifndef ZVD_AV_H
#define ZVD_AV_H

#include "core/log.h"
#include "endpoint/endpoint.h"
#include "endpoint/sibling_dgram.h"
#include "proto/dropin_msg.h"
#include "relay/relay.h"

#include <pthread.h>

#define AV_BUCKETS   1024u
#define AV_LOW_PORTS 1024u

/* For each user but root a quarter of these. */
#define AV_ASKS_MAX  4096u
#define AV_CALLS_MAX 4096u
#define AV_PORTS_MAX 16384u

/* Questions, and looks at names, in a round; the last one ends what it began. */
#define AV_TURN_WORK 16

/*
 * Of the descriptors that connections of all guests and these programs share: all programs have
 * half at most, each user but root this part of all, and half of that for peers of its datagrams,
 * which others choose.
 */
#define AV_FDS_PART	  8u
#define AV_FDS_PEERS_PART (2 * AV_FDS_PART)

enum av_socket { AV_ASK, AV_STREAM, AV_SEQPACKET, AV_DGRAM, AV_SOCKETS };
#define AV_LISTENING AV_DGRAM /* those before it are accepted from */

struct av_space;

/* A socket of the directory. */
struct av_listener {
	struct io_op accept; /* first */
	struct lcore_timer pause;
	struct av_space *space;
	enum av_socket what;
	int fd, claim; /* -1: none */
};

/* A user whose programs have something. [H] */
struct av_user {
	uid_t uid;
	unsigned asks, calls, ports;
	unsigned fds;		     /* for its questions, and for its datagrams */
	TAILQ_HEAD(, av_ask) turn;   /* its programs that wait for their turn */
	TAILQ_ENTRY(av_user) turner; /* of users that have some */
};

/* A program that asks: one connection to DIR/ask. [H] */
struct av_ask {
	struct io_op poll;	/* first */
	struct lcore_work work; /* its end */
	struct av_space *space;
	struct av_user *user;
	struct ucred who;
	int fd;
	bool low; /* it may bind ports below 1024 */
	bool ended;
	bool unread; /* poll(2) has reported data while busy: look again when that is answered */
	struct av_call *busy;		    /* a CONNECT that is not answered yet */
	LIST_HEAD(av_given, av_port) given; /* ports that it was given */
	bool waits;			    /* for its turn: in user->turn, by */
	TAILQ_ENTRY(av_ask) turn;
	TAILQ_ENTRY(av_ask) link;
};

/* A bound port. Written by [H] under the lock, read under it by any lcore. */
struct av_port {
	LIST_ENTRY(av_port) link;
	struct dropin_label label; /* what it is known by; of a P label */
	char text[DROPIN_LABEL];
	uid_t uid; /* of the program */
	pid_t pid;
	struct av_user *user;	     /* [H] */
	uint64_t since_ns;	     /* [H] */
	TAILQ_ENTRY(av_port) looked; /* [H] */
	struct av_ask *asker;	   /* [H]; NULL: it has hung up, and bind(2) was made or never is */
	LIST_ENTRY(av_port) given; /* [H] of asker */
	bool connected;		   /* [H] for NAMES, as the next two */
	struct dropin_addr from, to;
	struct av_box *box; /* [H] of one for datagrams: av_dgram.h */
};

enum av_state {
	AV_STARTING, /* [G] has not said its local port yet */
	AV_WAITING,  /* for the guest's answer */
	AV_UP,	     /* for the program's socket */
	AV_FAILED    /* for the program to learn it: ERROR */
};

/* A connection that a program has asked for. */
struct av_call {
	unsigned refs; /* atomic: home's, [G]'s, and one of each message between them */
	struct lcore *home, *lc;
	/* [H] */
	LIST_ENTRY(av_call) link;     /* by token; while space is set */
	TAILQ_ENTRY(av_call) waiting; /* of failed ones */
	struct av_space *space;	      /* NULL: home has done with it */
	struct av_user *user;
	struct av_ask *ask; /* while it waits for the answer to CONNECT */
	struct ucred who;
	enum av_state state;
	bool nonblock, filled;
	bool bound; /* label is that of a port */
	int err;
	int fd; /* the program's socket, when it has come; -1 */
	uint32_t timeout_ms;
	uint32_t local_cid, local_port; /* the port: ZV_PORT_ANY: any */
	uint32_t messages;
	uint64_t bytes;
	struct dropin_label label;
	char text[DROPIN_LABEL];
	struct lcore_timer timer;
	/* [G] */
	struct av_conn *conn; /* NULL: not begun, or over */
	struct guest_queue *gq;
};

/* What is kept of a guest that is in a space. */
struct av_guest {
	uint64_t cid; /* by which it is found */
	struct guest *guest;
	struct av_space *space;
	bool device;		       /* zvsockd is the guest: what no guest has goes there */
	bool gone;		       /* under the lock */
	unsigned next;		       /* queue; under the lock */
	struct dgram_parcels to, from; /* datagrams on their way to the guest, and from it */
	struct av_guest *more;	       /* of the space's devices */
};

struct av_space {
	struct av_space *next; /* the main thread's, as the next */
	bool begun;
	struct cfg_space cfg; /* [H] */
	struct lcore *home;
	struct av_listener listener[AV_SOCKETS];
	int keep;	    /* DIR/ports; -1: none */
	unsigned n_kept;    /* lines in it */
	struct fd_bin *bin; /* what programs have sent; NULL: they cannot */
	/* [H] */
	bool ending;
	TAILQ_HEAD(, av_ask) asks;
	unsigned n_asks, n_calls, n_failed;
	LIST_HEAD(av_calls, av_call) calls[AV_BUCKETS];
	TAILQ_HEAD(av_failed, av_call) failed; /* oldest first */
	void *users;			       /* tree */
	struct lcore_work serve;	       /* those that wait for their turn */
	TAILQ_HEAD(, av_user) turn;	       /* their users */
	uint64_t round;			       /* of home, in which */
	int left;			       /* may be done; av_turn.c */
	uint32_t last_port;
	TAILQ_HEAD(av_order, av_port) looked; /* longest ago first */
	uint64_t random[64];
	unsigned n_random;
	struct log_once refused, strangers, lost;
	struct av_mail *mail; /* datagrams: av_dgram.h */
	/* under the lock */
	pthread_mutex_t lock;
	void *guests; /* tree, by CID */
	struct av_guest *devices;
	bool of_device; /* there was one */
	LIST_HEAD(av_ports, av_port) ports[AV_BUCKETS];
	uint64_t seed;	  /* of their buckets */
	unsigned n_ports; /* [H] */
};

static inline struct av_guest *av_guest(const struct guest *g)
{
	return g->part[ENDPOINT_af_vsock];
}

/* ---- av_space.c ---- */

/* The space of @c, made if there is none; @lc becomes its home then. NULL: guest_fails(). Main
 * thread. */
struct av_space *av_space_get(struct guest *g, const struct cfg_space *c, struct lcore *lc);

/* [H] */
uint64_t av_random(struct av_space *s);
/* NULL: no memory. */
struct av_user *av_user(struct av_space *s, uid_t uid);
/* After its numbers have become less. */
void av_user_put(struct av_space *s, struct av_user *u);
/* May @u have one more, of @n that it has, of @all that there are? */
bool av_user_may(const struct av_user *u, unsigned n, unsigned all, unsigned most);
/* One descriptor more for @u, which may have a @part of all. False: no. av_fd_give() gives it back.
 */
bool av_fd_take(struct av_user *u, unsigned part);
void av_fd_give(struct av_user *u);
/* Closes @fd, in which descriptors may wait; it was taken by fds_get(). */
void av_discard(struct av_space *s, int fd, bool stream);
/* The same for one that came to [G] too late, when the space may be gone. */
void av_discard_late(struct lcore *lc, int fd, bool stream);
/* The local CID that programs see. Any lcore, under the lock. */
uint32_t av_local_cid(const struct av_space *s);
/* The guest that @cid leads to; NULL: none. Under the lock. */
struct av_guest *av_guest_find(struct av_space *s, uint32_t cid);

/* ---- av_ask.c ---- */

/* An accepted socket, taken by fds_get(). */
void av_ask_begin(struct av_space *s, int fd);
void av_ask_end(struct av_ask *a);
/* Sends the answer *m. False: it was not taken, and @a has ended. */
bool av_answer(struct av_ask *a, const struct dropin_msg *m);
/* The question in *m is refused: writes the answer there. */
void av_refuse(struct dropin_msg *m, int err, const char *fmt, ...) ZV_PRINTF(3, 4);
/* The blocking CONNECT of @a is over: answers *m, goes on with the next question. */
void av_ask_decided(struct av_ask *a, struct dropin_msg *m);

/* Reads and answers questions of @a while it may; puts off the rest. */
void av_ask_serve(struct av_ask *a);

/* ---- av_turn.c: what programs may cost home in a round ---- */

void av_turn_init(struct av_space *s);
/* @a may have something to read: serves it now, or when it is its turn. */
void av_turn(struct av_ask *a);
/* It is to be served again, behind others. */
void av_turn_wait(struct av_ask *a);
/* It waits no more. */
void av_turn_leave(struct av_ask *a);
/* False: nothing more in this round. */
bool av_turn_may(struct av_space *s);
/* A question, or a look at a socket's name: one of AV_TURN_WORK in a round. */
static inline void av_turn_done(struct av_space *s)
{
	s->left--;
}

/* ---- av_port.c ---- */

/* BIND, in *m, and its answer there. */
void av_bind(struct av_ask *a, struct dropin_msg *m);
/* @a has hung up: ports that it was given and has not bound are free. */
void av_ports_given(struct av_ask *a);
/* A port that nobody has bound, for a socket that connects. */
uint32_t av_port_choose(struct av_ask *a, uint32_t cid);
/* NAMES. */
void av_names(struct av_ask *a, struct dropin_msg *m);
/* The port that the program of @a has bound by the label @text; NULL: none, and *m says why. */
struct av_port *av_port_of(struct av_ask *a, struct dropin_msg *m);
/* Who has @port at @cid, for datagrams or for connections; under the lock or at home. NULL: nobody.
 */
struct av_port *av_port_at(const struct av_space *s, int sock_type, uint32_t cid, uint32_t port);
/* The port of that label, whoever says so; *l is what the label says. At home. NULL: none. */
struct av_port *av_port_named(const struct av_space *s, const char *text, struct dropin_label *l);
/* A socket has the label of the port that guests reach as @port of their host. */
bool av_port_bound(struct av_space *s, uint32_t port);
/* One that was bound before zvsockd was started, if it is still. Before home serves. */
void av_port_restore(struct av_space *s, const struct dropin_label *l, uid_t uid, pid_t pid,
		     uint64_t key);
void av_ports_end(struct av_space *s);
/* Fills *addr with the abstract name of @text; returns its length. */
socklen_t av_address(struct sockaddr_un *addr, const char *text);

/* ---- av_keep.c: DIR/ports, by which ports survive zvsockd ---- */

/* Reads it, before home serves. A file that is not to be trusted, or cannot be had, is logged. */
void av_keep_begin(struct av_space *s);
/* Notes @p. [H] */
void av_keep(struct av_space *s, const struct av_port *p);
void av_keep_end(struct av_space *s);

/* ---- av_call.c, [H] ---- */

/* CONNECT. True: *m is the answer; false: it comes later. */
bool av_connect(struct av_ask *a, struct dropin_msg *m);
void av_filled(struct av_ask *a, struct dropin_msg *m);
void av_error(struct av_ask *a, struct dropin_msg *m);
/* A socket has come to DIR/TYPE, taken by fds_get(). */
void av_came(struct av_space *s, int fd, enum av_socket what);
/* Nobody waits for the answer to the CONNECT of @a any more. */
void av_call_withdraw(struct av_ask *a);
void av_calls_end(struct av_space *s);
/* From [G]. */
void av_call_started(struct av_call *c, int err, uint32_t local_port);
void av_call_decided(struct av_call *c, int err);
void av_call_put(struct av_call *c);

/* ---- av_conn.c, [G] ---- */

void av_conn_begin(struct av_call *c);
void av_conn_go(struct av_call *c, int fd, uint64_t bytes, uint32_t messages);
/* @unclaimed: the program did not come for it. */
void av_conn_stop(struct av_call *c, bool unclaimed);

/* ---- av_serve.c ---- */

/* endpoint_ops.serve */
int av_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);

#endif
