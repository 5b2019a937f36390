/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_VSOCK programs on this machine. They connect to guests, and accept connections from them,
 * through a drop-in directory. api/proto/local/dropin_msg.h describes the messages and the socket
 * names used there.
 *
 * Theory of operation
 * -------------------
 * A space is a drop-in directory in use: its sockets, the guests in it, the ports that programs
 * have bound (av_port.c), the programs that send requests (av_ask.c) and the connections being set
 * up (av_connect.c, av_call.c). It is created with the first guest that uses it and lives until a
 * reload removes it, because listening programs outlive guests. Its sockets and everything that its
 * programs cause belong to one lcore, the space's home [H]; the guest's end of a connection belongs
 * to the lcore of its queue [G]. If both are the same lcore, a CONNECT needs no switch of threads.
 *
 * A call is a connection that a program has requested, until it becomes a relay. Home finds it by
 * its label and knows what the program was told and whether its socket has arrived. [G] has a
 * struct av_conn, which later becomes the relay (av_conn.c). The two report events to each other by
 * functions that are called directly or posted to the other lcore. Each such message holds a
 * reference to the call, so either end may drop its own reference first.
 *
 *   [H] CONNECT: av_conn_begin ->        [G] zv_connect
 *                <- av_call_started      (its local port, or the error)
 *                <- av_call_decided      the guest has answered, or timed out
 *   [H] answers, and waits for the program's socket at DIR/TYPE
 *       av_conn_go ->                    takes the socket (and drains the filler data): relay
 *       or av_conn_stop ->               RST
 *
 * A guest's REQUEST to a bound port does not involve home: the lcore of its queue looks up the port
 * table, under the space's lock, and connects to the label of the listening program (av_serve.c).
 *
 * Applications (endpoint_app.h) belong to the space of [daemon]. Their devices are in the space
 * like those of guests, but are not found by CID, because applications have the CID of this
 * machine. An application's REQUEST to a port is served like a guest's, and a CONNECT to a port
 * that an application listens on becomes a call to its device. Their datagrams: av_dgram.h.
 *
 * Both kinds of connections are in a table by the token of their label (av_named.c), so that a
 * program can say that it receives no more: SHUTDOWN.
 *
 * Programs are not trusted. The requests in progress, bound ports and descriptors are limited, both
 * in total and for each user. A user who has reached a limit may have closed sockets of which home
 * has not read yet: before it refuses him anything, it asks the kernel about them
 * (av_programs_check, av_calls_check, av_ports_check), of so many and so often that a round stays
 * short. A program that sends garbage or descriptors, or that does not read answers, is
 * disconnected. A label proves nothing: home checks that it has given the label to that process.
 */
#ifndef ZVD_AV_H
#define ZVD_AV_H

#include "core/log.h"
#include "endpoint/endpoint.h"
#include "endpoint/sibling/sibling_dgram.h"
#include "proto/local/dropin_msg.h"
#include "relay/relay.h"

#include <pthread.h>

#define AV_BUCKETS   1024u
#define AV_LOW_PORTS 1024u

/* Limits for all users together; each user except root may have a quarter. */
#define AV_ASKS_MAX  4096u
#define AV_CALLS_MAX 4096u
#define AV_PORTS_MAX 16384u

/* Requests that are served, and socket names that are checked, in a round, and for how long:
 * looking for a name can be slow (av_look.c). One that has begun is finished. The time applies to
 * the datagrams of a round, too. */
#define AV_TURN_WORK 16
#define AV_TURN_NS   200000u

/* Why zvsockd looks at a name. The time that looks take is limited (base/stock.h) for each user, or
 * each guest, that causes them. */
enum av_look_why {
	AV_LOOK_SELF,	/* it checks ports now and then: by the user who has bound the port */
	AV_LOOK_USER,	/* programs and applications of a user ask */
	AV_LOOK_INBOX,	/* datagrams to programs of a user */
	AV_LOOK_LISTEN, /* applications of a user listen */
	AV_LOOK_USERS,	/* those before it are by user */
	AV_LOOK_GUEST = AV_LOOK_USERS /* connections of a guest to programs of a user */
};
/* Stocks for users, for each of the reasons: some users share one, which nobody can choose. */
#define AV_LOOK_STOCKS 256u
/* A guest's connections have so many, for the users who have bound the ports. */
#define AV_GUEST_STOCKS 16u

/* Who is charged for a look. */
struct av_looker {
	enum av_look_why why;
	uint32_t number; /* user or CID */
	struct cpu_stock *stock;
};

/* From the answer to BIND to bind(2), of which nobody tells us. */
#define AV_NEW_NS 60000000000ull

/*
 * Shares of the descriptors that fds_max() allows: all programs together may have half of them.
 * Each user except root may have 1/AV_FDS_SHARE, and may hold half of that when a socket for a peer
 * of its datagrams is opened, because others choose the number of those peers.
 */
#define AV_FDS_SHARE	   8u
#define AV_FDS_PEERS_SHARE (2 * AV_FDS_SHARE)

enum av_socket { AV_ASK, AV_STREAM, AV_SEQPACKET, AV_DGRAM, AV_SOCKETS };
#define AV_LISTENING AV_DGRAM /* connections are accepted on the sockets before it */

struct av_space;

/* A listening socket of the directory. */
struct av_listener {
	struct io_op accept; /* first */
	struct lcore_timer pause;
	struct av_space *space;
	enum av_socket what;
	int fd, claim; /* -1: none */
};

/* Datagrams that home moves one after another, such as those in a socket: av_move.c. [H] */
struct av_move {
	bool (*run)(struct av_move *v); /* moves one. True: there are more */
	struct av_mover *mover;		/* whose turn it waits for; NULL: it does not wait */
	TAILQ_ENTRY(av_move) link;
};

/* A user, or a guest, whose turn comes while any of them waits. [H] */
struct av_mover {
	TAILQ_HEAD(, av_move) moves;
	TAILQ_ENTRY(av_mover) link;
};

/* Senders of datagrams have shares of what a user may have for them. In an array of this size some
 * share one, and nobody can choose with whom. */
#define AV_PEER_SENDERS 16u

/* What of a user may have gone, which is looked at when a limit of his is reached. */
enum av_check { AV_CHECK_PROGRAMS, AV_CHECK_CALLS, AV_CHECK_PORTS, AV_CHECKS };
#define AV_CHECK_AT_ONCE 64u /* sockets in one poll(2) */

/* A user whose programs have something here. [H] */
struct av_user {
	uid_t uid;
	unsigned asks, calls, failed, ports;
	unsigned refs; /* what else keeps it: asks that have ended, a check under way */
	unsigned fds;  /* for its requests and its datagrams */
	uint32_t peers[AV_PEER_SENDERS]; /* of those, sockets for peers, by sender */
	uint32_t waiting;		 /* bytes of datagrams that wait for its programs */
	struct av_mover mover;
	TAILQ_HEAD(, av_ask) programs; /* that have not ended; least recently checked first */
	TAILQ_HEAD(, av_port) bound;   /* likewise */
	uint64_t checked[AV_CHECKS];   /* the round of home in which that was done last */
	TAILQ_HEAD(, av_ask) turn;     /* its programs waiting for their turn */
	TAILQ_ENTRY(av_user) turner;   /* in the list of users with waiting programs */
};

/* A program that sends requests: one connection to DIR/ask. [H] */
struct av_ask {
	struct io_op poll;	/* first */
	struct lcore_work work; /* frees it */
	struct av_space *space;
	struct av_user *user;
	struct ucred cred;
	int fd;
	bool low; /* it may bind ports below 1024 */
	bool ended;
	bool unread;		       /* data was reported while busy: read it after the answer */
	struct av_call *busy;	       /* a CONNECT not answered yet */
	struct shutdown_msg *shutdown; /* a SHUTDOWN not answered yet */
	LIST_HEAD(av_assigned, av_port) assigned; /* ports assigned to it */
	bool waits;				  /* waits for its turn, in user->turn */
	TAILQ_ENTRY(av_ask) turn;
	TAILQ_ENTRY(av_ask) link;
	TAILQ_ENTRY(av_ask) own; /* in user->programs, until it has ended */
};

/* A bound port. Written by [H] under the lock, read under it by any lcore. */
struct av_port {
	LIST_ENTRY(av_port) link;
	struct dropin_label label; /* a P label */
	char text[DROPIN_LABEL];
	uid_t uid; /* of the program */
	pid_t pid;
	struct av_user *user;	      /* [H] */
	uint64_t since_ns;	      /* of the answer to BIND */
	TAILQ_ENTRY(av_port) checked; /* [H] */
	TAILQ_ENTRY(av_port) own;     /* [H] in user->bound */
	struct av_ask *asker; /* its socket is open; NULL: it has disconnected, with or without
				 binding it */
	bool seen;	      /* atomic: a socket with the label was found */
	LIST_ENTRY(av_port) assigned; /* [H] in asker->assigned */
	bool connected;		      /* [H] for NAMES: `from` and `to` are valid */
	struct dropin_addr from, to;
	/* [H] of a datagram port: av_dgram.h */
	struct av_inbox *inbox;
	bool may_app;	 /* its program may reach applications */
	uint32_t to_cid; /* CID of this machine to which it has sent last; 0: none */
};

enum av_state {
	AV_STARTING, /* local port not known yet */
	AV_WAITING,  /* waits for the guest's answer */
	AV_UP,	     /* waits for the program's socket */
	AV_FAILED    /* waits for the program to fetch the error: ERROR */
};

/* A connection that a program has requested. */
struct av_call {
	unsigned refs; /* atomic: one of home, one of [G], one of each message between them */
	struct lcore *home, *lc;
	/* [H] */
	LIST_ENTRY(av_call) link;     /* by token; valid while space is set */
	TAILQ_ENTRY(av_call) waiting; /* in space->failed */
	struct av_space *space;	      /* NULL: home is done with it */
	struct av_user *user;
	struct av_ask *ask; /* while it waits for the answer to CONNECT */
	struct ucred cred;
	enum av_state state;
	bool nonblock, filled;
	bool bound; /* label belongs to a bound port */
	int err;
	int fd;		/* the program's socket, once it has arrived; -1 */
	bool fd_counts; /* by itself (fds.h): it has no place of [G] any more */
	uint32_t timeout_ms;
	uint32_t local_cid, local_port; /* port ZV_PORT_ANY: any */
	uint32_t messages;
	uint64_t bytes;
	struct dropin_label label;
	char text[DROPIN_LABEL];
	struct lcore_timer timer;
	/* Its entry by label, which the relay takes over. Written by [G] once the call has
	 * begun. */
	struct av_named *named;
	/* [G] */
	struct av_conn *conn; /* NULL: not started, or over */
	struct guest_queue *gq;
};

/* State of a guest in a space. */
struct av_guest {
	uint64_t cid; /* search key */
	struct guest *guest;
	struct av_space *space;
	bool device;   /* zvsockd is the guest: CIDs that no guest has are reached here */
	bool app;      /* an application: no CID leads to it */
	bool gone;     /* under the lock */
	unsigned next; /* next queue to use; under the lock */
	struct cpu_stock looks[AV_GUEST_STOCKS]; /* av_look.c; under the lock */
	struct dgram_shared to;			 /* datagrams in transit to the guest */
	struct dgram_in_transit from;		 /* and from it */
	STAILQ_HEAD(, av_posted) came;		 /* [H] those from it that have arrived at home */
	struct av_move came_in;			 /* [H] */
	struct av_mover mover;			 /* [H] */
	uint64_t sender;			 /* of datagrams: av_dgram.h */
	struct av_guest *more;			 /* in space->devices */
};

struct av_space {
	struct av_space *next; /* main thread, as is `begun` */
	bool begun;
	struct cfg_space cfg; /* [H] writes, under the lock */
	struct lcore *home;
	struct av_listener listener[AV_SOCKETS];
	int ports_fd;		 /* DIR/ports; -1: none */
	unsigned n_saved;	 /* lines in it */
	uint64_t ports_retry_ns; /* not 0: the last write failed, and none is tried before */
	uint64_t ports_rest_ns;	 /* until then no file takes its place: that has taken too long */
	struct closers *closers; /* what programs send; NULL: they cannot send any */
	/* [H] */
	bool ending;
	TAILQ_HEAD(av_asks, av_ask) asks;
	unsigned n_asks, n_calls, n_failed;
	unsigned n_ended; /* asks that have ended and are not freed yet */
	LIST_HEAD(av_calls, av_call) calls[AV_BUCKETS];
	TAILQ_HEAD(av_failed, av_call) failed; /* oldest first */
	void *users;			       /* tree */
	struct lcore_work serve;	       /* serves the programs that wait for their turn */
	TAILQ_HEAD(, av_user) turn;	       /* users of those programs */
	uint64_t round;			       /* round of home that `left` is for */
	int left;			       /* work left in that round: av_turn.c */
	uint64_t turn_ns;		       /* when the first of it began */
	uint32_t last_port;
	TAILQ_HEAD(av_order, av_port) checked; /* least recently checked first */
	uint64_t random[64];
	unsigned n_random;
	struct log_once refused, not_admitted, lost, slow_looks;
	struct av_mail *mail; /* datagrams: av_dgram.h */
	/* under the lock */
	pthread_mutex_t lock;
	void *guests; /* tree, by CID */
	struct av_guest *devices;
	bool of_device; /* there has been a device */
	LIST_HEAD(av_ports, av_port) ports[AV_BUCKETS];
	struct cpu_stock looks[AV_LOOK_USERS][AV_LOOK_STOCKS]; /* av_look.c */
	uint64_t seed;	  /* hash seed of ports[], looks[], those of guests */
	unsigned n_ports; /* [H] */
};

static inline struct av_guest *av_guest(const struct guest *g)
{
	return g->part[ENDPOINT_af_vsock];
}

/* ---- av_space.c ---- */

/* The space of @c, created if needed; @lc becomes its home then. NULL: guest_fails() was called.
 * Main thread. */
struct av_space *av_space_get(struct guest *g, const struct cfg_space *c, struct lcore *lc);

/* [H] */
uint64_t av_random(struct av_space *s);
/* NULL: no memory. */
struct av_user *av_user(struct av_space *s, uid_t uid);
/* Call after its counts have decreased. */
void av_user_put(struct av_space *s, struct av_user *u);
/* May @u, which has @n, have one more? There are @all in total, at most @most. */
bool av_user_may(const struct av_user *u, unsigned n, unsigned all, unsigned most);
/* The local CID that programs see. Any lcore, under the lock. */
uint32_t av_local_cid(const struct av_space *s);
/* The guest that @cid leads to; NULL: none. Under the lock. */
struct av_guest *av_guest_find(struct av_space *s, uint32_t cid);

/* ---- av_store.c, [H] ---- */

/* Reserves a descriptor for @u, whose limit is 1/@part of all. False: none left. av_fd_give()
 * returns it. */
bool av_fd_take(struct av_user *u, unsigned part);
void av_fd_give(struct av_user *u);
/* How many more that may be at this moment. */
uint32_t av_fd_left(const struct av_user *u, unsigned part);

/* ---- av_discard.c: what programs have sent, and what takes long to close ---- */

/* The kernel cannot refuse descriptors. False: no memory. */
bool av_expect_passed(struct av_space *s);
/* Closes @fd, taken by fds_get(), in which unread descriptors of @uid may be queued. */
void av_discard(struct av_space *s, int fd, bool stream, uid_t uid);
/* The same for a socket that reached [G] too late, when the space may be gone. */
void av_discard_late(struct lcore *lc, int fd, bool stream, uid_t uid);
/* The user at the other end of @fd, which is accepted: the kernel does not know that of datagram
 * sockets. CLOSERS_NOBODY: not known. */
uid_t av_peer_of(int fd);
/* Descriptors that @uid has sent and that take long to close leave it nothing here: those that wait
 * to be closed are its share of all. */
bool av_is_flooding(const struct av_space *s, uid_t uid);
/* The same of all users together. */
bool av_is_flooded(const struct av_space *s);

/* ---- av_ask.c ---- */

/* @fd: an accepted socket that counts (fds.h), for which there is room or not. */
void av_ask_begin(struct av_space *s, int fd, bool room);
void av_ask_end(struct av_ask *a);
/* The program has closed the socket, whether that was noticed here or not. [H], or of a port's
 * asker under the lock. */
bool av_ask_has_gone(const struct av_ask *a);
/* Ends programs of @u that have gone, except @asking (NULL: none). True: there were some. */
bool av_programs_check(struct av_space *s, struct av_user *u, const struct av_ask *asking);
/* True: @u is checked for the first time in this round. */
bool av_may_check(const struct av_space *s, struct av_user *u, enum av_check what);
/* The next requests of @a stay unread until the pending one is answered. */
static inline bool av_ask_waits(const struct av_ask *a)
{
	return a->busy || a->shutdown;
}
/* Sends the answer *m. False: it was not accepted, and @a has ended. */
bool av_answer(struct av_ask *a, const struct dropin_msg *m);
/* Turns the request in *m into the answer that refuses it. */
void av_refuse(struct dropin_msg *m, int err, const char *fmt, ...) ZV_PRINTF(3, 4);
/* What @a waits for (a blocking CONNECT, a SHUTDOWN) is decided: sends *m and continues with the
 * next request. */
void av_ask_decided(struct av_ask *a, struct dropin_msg *m);

/* Reads and answers requests of @a as far as allowed; defers the rest. */
void av_ask_serve(struct av_ask *a);

/* ---- av_turn.c: limits what programs may cost home in a round ---- */

void av_turn_init(struct av_space *s);
/* @a may have something to read: serves it now, or when its turn comes. */
void av_turn(struct av_ask *a);
/* Puts @a at the end of the queue to be served again. */
void av_turn_wait(struct av_ask *a);
/* @a no longer waits. */
void av_turn_leave(struct av_ask *a);
/* False: the limit for this round is reached. */
bool av_turn_may(struct av_space *s);
/* A request was served or a socket name checked: one of AV_TURN_WORK in a round. */
static inline void av_turn_done(struct av_space *s)
{
	s->left--;
}

/* ---- av_port.c ---- */

/* Handles the BIND in *m and writes the answer there. */
void av_bind(struct av_ask *a, struct dropin_msg *m);
/* Frees some of the ports of @u to whose labels no socket is bound any more. */
void av_ports_check(struct av_space *s, struct av_user *u, const struct av_ask *asking);
/* @a has disconnected: a port that was assigned to it is in use only as long as a socket has its
 * label. */
void av_ports_check_assigned(struct av_ask *a);
/* Chooses an unbound port for a socket that connects. */
uint32_t av_port_choose(struct av_ask *a, uint32_t cid);
/* NAMES. */
void av_names(struct av_ask *a, struct dropin_msg *m);
/* The port that the program of @a has bound with the label in *m, a socket of the type in *m; NULL:
 * none, and *m says why. */
struct av_port *av_port_of(struct av_ask *a, struct dropin_msg *m);
/* The owner of @port at @cid, for datagrams or for connections; under the lock or at home. NULL:
 * nobody. */
struct av_port *av_port_at(const struct av_space *s, int sock_type, uint32_t cid, uint32_t port);
/* The port with the label @text, no matter which program sent it; *l: the parsed label. At home.
 * NULL: none. */
struct av_port *av_port_named(const struct av_space *s, const char *text, struct dropin_label *l);
/* Restores a port bound before zvsockd was started, if it still is. Call before home serves. */
void av_port_restore(struct av_space *s, const struct dropin_label *l, uid_t uid, pid_t pid,
		     uint64_t key);
void av_ports_end(struct av_space *s);
/* Fills *addr with the abstract address named @text; returns its length. */
socklen_t av_address(struct sockaddr_un *addr, const char *text);

/* ---- av_look.c: the kernel is asked for sockets by their names; any thread, without the lock ----
 */

/* @why: one of those by user. */
struct av_looker av_looker(struct av_space *s, enum av_look_why why, uid_t uid);
/* For connections of @g to programs of @uid. */
struct av_looker av_looker_guest(struct av_guest *g, uid_t uid);
/* False: the time for looks that @l causes is used up, which is logged. */
bool av_look_may(struct av_space *s, const struct av_looker *l);
/* Such a look took @ns of CPU time. */
void av_look_took(struct av_space *s, const struct av_looker *l, uint64_t ns);
/* A socket of @sock_type has the label @text: 0; -ENOENT: none has; -EBUSY: not known, as in
 * av_look_may(). */
int av_look(struct av_space *s, const struct av_looker *l, const char *text, int sock_type);
/* The same for the label of @p; datagrams to its user are charged for that of an inbox. [H] */
int av_has_label(struct av_space *s, const struct av_looker *l, struct av_port *p);
/* True: a socket is bound to the label of the port that guests reach as @port of their host, or
 * applications as @port of this machine. @uid: of the application that wants to listen. */
bool av_port_bound(struct av_space *s, uint32_t port, bool dgram, uid_t uid);

/* ---- av_ports_file.c: DIR/ports, which keeps ports across a restart of zvsockd ---- */

/* Reads DIR/ports, before home serves. If the file cannot be trusted or opened, that is logged. */
void av_ports_load(struct av_space *s);
/* Records @p in it. [H] */
void av_ports_save(struct av_space *s, const struct av_port *p);
void av_ports_close(struct av_space *s);

/* ---- av_connect.c, [H] ---- */

/* True: @cid is this machine's. */
bool av_is_local(struct av_space *s, uint32_t cid);
/* CONNECT. True: *m is the answer; false: it comes later. */
bool av_connect(struct av_ask *a, struct dropin_msg *m);
/* The guest has no descriptor left for @c. True: connections of its user have been withdrawn of
 * which nothing was read yet: the CONNECT is served again, and @c is gone. */
bool av_connect_again(struct av_call *c);

/* ---- av_call.c, [H] ---- */

/* A call for the CONNECT in *m. NULL: no memory. */
struct av_call *av_call_new(struct av_ask *a, const struct dropin_msg *m,
			    const struct av_port *bound);
/* Chooses a queue of @g, for a bound port always the same per peer port, so that an address in use
 * is noticed, otherwise by @turn; and has av_conn_begin() called there, unless that is home: then
 * the caller does. The caller keeps @g from being removed meanwhile. False: no memory. */
bool av_call_begin(struct av_call *c, struct guest *g, unsigned turn, uint32_t local_cid);
/* Home drops the call. */
void av_call_forget(struct av_call *c);
void av_filled(struct av_ask *a, struct dropin_msg *m);
void av_error(struct av_ask *a, struct dropin_msg *m);
/* A socket that counts (fds.h) has been accepted at DIR/TYPE. */
void av_socket_arrived(struct av_space *s, int fd, enum av_socket what);
/* Ends the call for whose CONNECT @a waits for an answer, if there is one. */
void av_call_withdraw(struct av_ask *a);
/* Ends calls of @u whose programs have closed their sockets, which nobody polls yet. */
void av_calls_check(struct av_space *s, struct av_user *u);
void av_calls_end(struct av_space *s);
/* Reports of [G], processed at home. */
void av_call_started(struct av_call *c, int err, uint32_t local_port);
void av_call_decided(struct av_call *c, int err);
void av_call_put(struct av_call *c);
/* [G] has counted one for the program's socket (fds.h) and leaves it to home. */
void av_call_takes(struct av_call *c);

/* ---- av_conn.c, [G] ---- */

void av_conn_begin(struct av_call *c);
void av_conn_go(struct av_call *c, int fd, uint64_t bytes, uint32_t messages);
/* @unclaimed: the program did not connect to take it. */
void av_conn_stop(struct av_call *c, bool unclaimed);

/* ---- av_named.c: connections by their label ---- */

/* Adds the connection with the label *l, on @lc. NULL: no memory. */
struct av_named *av_named_new(const struct av_space *s, const struct dropin_label *l,
			      struct lcore *lc);
/* Removes @n, which may be NULL: its connection did not become a relay. */
void av_named_end(struct av_named *n);
/* @n belongs to @r from now on, and ends with it. [G] */
void av_named_give(struct av_named *n, struct relay *r);
/* After relay_start(). [G] */
void av_named_started(struct relay *r);
/* SHUTDOWN. True: *m is the answer; false: it comes later. [H] */
bool av_shutdown(struct av_ask *a, struct dropin_msg *m);
/* @a no longer waits for the answer to its SHUTDOWN. [H] */
void av_shutdown_forget(struct av_ask *a);

/* ---- av_serve.c ---- */

/* endpoint_ops.serve */
int av_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);

#endif
