/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams of AF_VSOCK programs. api/proto/local/dropin_msg.h describes how a program sends and
 * receives them.
 *
 * Theory of operation
 * -------------------
 * Everything that concerns programs is done at home [H]. A bound port has an *inbox* (av_inbox.c):
 * the sockets from which zvsockd sends to the program, one for each peer that has sent recently,
 * and the datagrams that wait because the program's socket is full (net.unix.max_dgram_qlen
 * datagrams). Datagrams for which there is no room, or whose port nobody has bound, are dropped and
 * counted.
 *
 * A *sender* is a guest, or a user with its programs and applications, whatever the number of ports
 * that it sends from. Senders get turns at an inbox in rotation, and each has no more of it than it
 * leaves for others: of INBOX_BYTES of waiting datagrams, and of MAIL_BYTES in all inboxes together
 * (av_store.c). Of INBOX_PEERS sockets the one that makes room for another is of a sender that has
 * most (av_inbox.c).
 *
 * A datagram to a guest goes through the queue that its ports select (av_mail.c): directly if the
 * queue belongs to the home lcore, otherwise in a message posted to the other lcore. The opposite
 * direction works the same way. At most DGRAM_IN_TRANSIT_MAX of a guest are in transit, and
 * DGRAM_SHARED_MAX to it, of which no sender has more than it leaves for others. So datagrams have
 * memory and turns of their own and never use those of a connection.
 *
 * An application of the host (endpoint_app.h) is like a guest here, but shares the ports and the
 * CIDs of this machine with programs: a program's datagram to a CID of this machine goes to the
 * application that has bound the port, otherwise to the program that has. Whether a program may
 * reach applications is decided when it binds its port or connects, and again when it asks whether
 * somebody accepts datagrams (REACH), which it does once a second while it sends. The application
 * knows all programs by CID 2.
 *
 * A label is not secret, and it is free again once its socket is closed. The next program that uses
 * it must neither receive the port's datagrams nor send as the port. So an inbox has a socket that
 * recognizes the program's socket (`hold`): it contains one message in its receive queue, and is
 * connected to the program's socket as soon as that is bound. To check the label, it is connected
 * again to whichever socket has the label now. If that is a different socket, the message is lost,
 * because the kernel empties the queue of a datagram socket that changes its peer. Datagrams that a
 * program sends must contain the key of the port, which only the owner of its socket knows.
 */
#ifndef ZVD_AV_DGRAM_H
#define ZVD_AV_DGRAM_H

#include "av.h"

#define INBOX_PEERS 16u
#define INBOX_BYTES 524288u
#define MAIL_BYTES  16777216u
#define INBOX_COST  64u	 /* cost of a waiting datagram in addition to its bytes */
#define AV_SENDERS  256u /* as AV_PEER_SENDERS, for MAIL_BYTES */

struct av_inbox;

/* A datagram that waits because the program's socket is full. */
struct av_waiting {
	STAILQ_ENTRY(av_waiting) link;
	uint32_t len;
	uint8_t data[];
};
STAILQ_HEAD(av_waiting_list, av_waiting);

/* Where a datagram comes from. */
struct av_from {
	struct dropin_addr addr;
	uint64_t sender;	   /* av_sender_...() */
	struct guest_queue *queue; /* of the guest that has sent it; NULL: a program has */
};

/* The datagram state of a space. [H] */
struct av_mail {
	struct io_op poll; /* first: polls DIR/dgram */
	struct lcore_work turn;
	bool unread;		       /* there may be more at DIR/dgram */
	uint8_t final_reads;	       /* reads that av_mail_take() may still do */
	TAILQ_HEAD(, av_mover) movers; /* who has something to move, in the order of their turns */
	struct lcore_timer sweep;
	struct av_space *space;
	unsigned n_inboxes;
	bool begun, ended;
	/* av_receive.c */
	bool passed; /* descriptors have come, and may not all be closed yet */
	struct lcore_timer pause;
	struct log_once paused;
	/* av_store.c */
	uint32_t bytes; /* of waiting datagrams in all inboxes, and of those not freed yet */
	uint32_t of_sender[AV_SENDERS];
	struct av_waiting_list dropped; /* to be freed */
	struct av_move drop;
	struct av_mover dropper;
};

/* ---- senders ---- */

#define AV_SENDER_NONE 0u

static inline uint64_t av_sender_user(uid_t uid)
{
	return uid | 1ull << 63;
}

static inline uint64_t av_sender_guest(const struct guest *g)
{
	const struct cfg_guest *c = guest_cfg(g);

	return cfg_roles[c->role].attached ? av_sender_user(c->app_uid) : g->serial;
}

/* One of @n limits for senders. Seeded: nobody can choose with whom it shares one. */
unsigned av_sender_group(const struct av_space *s, uint64_t sender, unsigned n);

/* ---- av_move.c, [H] ---- */

void av_mover_init(struct av_mover *o);
/* @v has something to move, in a turn of @o. */
void av_move_wait(struct av_mail *m, struct av_mover *o, struct av_move *v);
/* @v no longer waits. */
void av_move_leave(struct av_mail *m, struct av_move *v);
/* Moves the next one. False: nothing waits. */
bool av_move_next(struct av_mail *m);

/* ---- av_store.c, [H] ---- */

void av_store_init(struct av_mail *m);
void av_store_end(struct av_mail *m);
/* @bytes, from @sender, may wait for a program of @u, and count from now on. False: no room. */
bool av_store_add(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes);
/* They no longer wait. */
void av_store_remove(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes);
/* The same for all of @list, which is emptied: it may be long, and is freed little by little. */
void av_store_drop(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes,
		   struct av_waiting_list *list);
/* Reserves a descriptor of @u for a peer that is @sender's. av_peer_give() returns it. */
bool av_peer_take(const struct av_space *s, struct av_user *u, uint64_t sender);
void av_peer_give(const struct av_space *s, struct av_user *u, uint64_t sender);

/* ---- av_inbox.c, [H] ---- */

/* Creates the inbox of @p, whose datagrams end with @key. NULL: no memory. */
struct av_inbox *av_inbox_new(struct av_space *s, struct av_port *p, uint64_t key);
/* The port no longer exists; what the program has written to a connected socket is still read. NULL
 * is allowed. */
void av_inbox_end(struct av_inbox *b);
uint64_t av_inbox_key(const struct av_inbox *b);
/*
 * Connects the `hold` socket to the program's, or checks it if it is connected already. 0: the
 * socket with the label is the program's; -EPERM: it cannot be checked, because the socket with the
 * label accepts datagrams only from the peer that it is connected to; -ECONNREFUSED: there is no
 * such socket, or it is not the program's; -EBUSY: not looked, as in av_look_may(); other -errno.
 */
int av_inbox_hold(struct av_inbox *b);
/* The label has been assigned to a program, which must bind its socket to it. */
void av_inbox_label_assigned(struct av_inbox *b);
/* The label has been assigned, and no socket with it has been seen yet. */
bool av_inbox_is_new(const struct av_inbox *b);
/* Delivers a datagram from @from to the program at @local_cid. False: it is lost. */
bool av_inbox_put(struct av_inbox *b, uint32_t local_cid, const struct av_from *from,
		  const void *data, uint32_t len);
/* Writes to @text the label of the socket to which the program must connect to exchange datagrams
 * with @to. */
int av_inbox_connect(struct av_inbox *b, uint32_t local_cid, const struct dropin_addr *to,
		     char text[static DROPIN_LABEL]);

/* ---- av_mail.c, [H] ---- */

/* The datagram state of a space. NULL: no memory. Main thread. */
struct av_mail *av_mail_new(struct av_space *s);
void av_mail_free(struct av_mail *m);
/* Starts to receive what programs send; stops, after all ports have gone. */
void av_mail_begin(struct av_space *s);
void av_mail_end(struct av_space *s);
/* Receives what is queued at DIR/dgram: its sender may have closed its socket since. */
void av_mail_take(struct av_space *s);
/* @g is about to send. Main thread. */
void av_mail_from(struct av_guest *g);
/* An inbox has been created (@there) or freed. */
void av_mail_count_inbox(struct av_mail *m, bool there);
/* Routes a datagram that the program of @p has sent to @to. */
void av_route(struct av_space *s, struct av_port *p, const struct dropin_addr *to, const void *data,
	      uint32_t len);

/* endpoint_ops.datagram, [G] */
bool av_datagram(struct guest_queue *gq, const struct zv_dgram_addr *from, const void *data,
		 uint32_t len);

/* ---- av_receive.c, [H] ---- */

struct av_sender {
	char text[DROPIN_LABEL];
	uid_t uid;
};

/* Receives into @data from socket @fd without waiting. *from: the label of the sender, or "", and
 * its user, unless the socket does not say that. Returns bytes or -errno; -EPERM: descriptors came
 * with it. */
ssize_t av_receive(struct av_space *s, int fd, void *data, size_t len, struct av_sender *from);
/* True: descriptors of *uid come with the next message at @fd, and it has as many as it may
 * already. *uid is changed if the socket says who has sent it. */
bool av_passed_too_many(struct av_space *s, int fd, uid_t *uid);
/* True: so many that @uid gets no further socket. */
bool av_passed_full(struct av_space *s, uid_t uid);
/* As av_discard(), for a datagram socket to which only programs of @uid have sent. */
void av_discard_sent(struct av_space *s, int fd, uid_t uid);
/* May something be received from DIR/dgram now? If not, m->pause runs. */
bool av_receive_may(struct av_mail *m);

/* ---- av_dgram_ask.c, [H] ---- */

/* Decides whether the program of @p, which is that of @a, may send to applications. */
void av_dgram_admit(struct av_ask *a, struct av_port *p);
/* BOUND, REACH and CONNECT of a datagram socket: the request is in *m and the answer goes there. */
void av_bound(struct av_ask *a, struct dropin_msg *m);
void av_reach(struct av_ask *a, struct dropin_msg *m);
void av_dgram_connect(struct av_ask *a, struct dropin_msg *m);

/* ---- av_port.c ---- */

/* Checks some datagram ports and frees those whose sockets are closed. [H] */
void av_port_sweep_inboxes(struct av_space *s);

#endif
