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
 * datagrams). An inbox may hold INBOX_BYTES of waiting datagrams, all inboxes together MAIL_BYTES.
 * Datagrams for which there is no room, or whose port nobody has bound, are dropped and counted. A
 * guest may send from any number of ports: beyond INBOX_PEERS, the socket of the oldest peer
 * without waiting datagrams is closed.
 *
 * A datagram to a guest goes through the queue that its ports select (av_mail.c): directly if the
 * queue belongs to the home lcore, otherwise in a message posted to the other lcore. The opposite
 * direction works the same way. At most DGRAM_IN_TRANSIT_MAX are in transit per guest and
 * direction. So datagrams have memory and turns of their own and never use those of a connection.
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
#define INBOX_BYTES 262144u
#define MAIL_BYTES  16777216u
#define INBOX_COST  64u /* cost of a waiting datagram in addition to its bytes */

struct av_inbox;
struct av_mail;

/* A socket to which a connected program has written, until it is read in its turn. [H] */
struct av_reader {
	bool waits;
	TAILQ_ENTRY(av_reader) link;
};

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
bool av_inbox_put(struct av_inbox *b, uint32_t local_cid, const struct dropin_addr *from,
		  const void *data, uint32_t len);
/* Writes to @text the label of the socket to which the program must connect to exchange datagrams
 * with @to. */
int av_inbox_connect(struct av_inbox *b, uint32_t local_cid, const struct dropin_addr *to,
		     char text[static DROPIN_LABEL]);

/* Reads a datagram from @r and routes it. False: there is none left. */
bool av_inbox_read(struct av_reader *r);

/* ---- av_mail.c, [H] ---- */

/* Adds @r to those waiting to be read; removes it. */
void av_mail_wait(struct av_mail *m, struct av_reader *r);
void av_mail_leave(struct av_mail *m, struct av_reader *r);

/* The datagram state of a space. NULL: no memory. Main thread. */
struct av_mail *av_mail_new(struct av_space *s);
void av_mail_free(struct av_mail *m);
/* Starts to receive what programs send; stops, after all ports have gone. */
void av_mail_begin(struct av_space *s);
void av_mail_end(struct av_space *s);
/* Receives what is queued at DIR/dgram: its sender may have closed its socket since. */
void av_mail_take(struct av_space *s);
/* An inbox has been created (@there) or freed. */
void av_mail_count_inbox(struct av_mail *m, bool there);
/* Reserves @bytes of waiting datagrams; av_mail_unreserve() returns them. False: no room. */
bool av_mail_reserve(struct av_mail *m, uint32_t bytes);
void av_mail_unreserve(struct av_mail *m, uint32_t bytes);
/* Receives into @data from socket @fd without waiting. *from (may be NULL): the label of the
 * sender, or "", and its user. Returns bytes or -errno; -EPERM: descriptors came with it. */
struct av_sender {
	char text[DROPIN_LABEL];
	uid_t uid;
};
ssize_t av_receive(struct av_space *s, int fd, void *data, size_t len, struct av_sender *from);
/* Routes a datagram that the program of @p has sent to @to. */
void av_route(struct av_space *s, struct av_port *p, const struct dropin_addr *to, const void *data,
	      uint32_t len);

/* endpoint_ops.datagram, [G] */
bool av_datagram(struct guest_queue *gq, const struct zv_dgram_addr *from, const void *data,
		 uint32_t len);

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
