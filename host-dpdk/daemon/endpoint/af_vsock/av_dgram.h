/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams of AF_VSOCK programs; api/proto/dropin_msg.h says how a program sends and receives
 * them.
 *
 * Theory of operation
 * -------------------
 * All that concerns programs is done at home [H]. A bound port has a *box* (av_box.c): the sockets
 * that zvsockd sends to the program from, one for each peer that has lately sent, and what waits
 * because the program's socket is full (net.unix.max_dgram_qlen datagrams); a box has BOX_BYTES for
 * that, all together MAIL_BYTES. What finds no room is lost and counted, as is what is for a port
 * that nobody has. A guest may send from as many ports as it likes: beyond BOX_PEERS the socket of
 * the peer that came first goes.
 *
 * To a guest a datagram goes by the queue that its ports choose (av_mail.c): at once where that is
 * of the home lcore, else in a parcel that is posted; the other way round likewise. No more than
 * DGRAM_PARCELS are on their way in each direction of a guest. So datagrams take memory and turns
 * of their own, and never those of a connection.
 *
 * A label is no secret, and free when its socket is closed: whoever has it next must neither get
 * the port's datagrams nor send as it. A box *holds* the program's socket: a socket of the box is
 * connected to it as soon as it is bound, and has a message in its queue. Connected once more to
 * whoever has the label now, it loses that message (the kernel empties the queue of a datagram
 * socket that changes its peer) if that is another socket. What is sent must have the key of the
 * port, which only who has its socket knows.
 */
#ifndef ZVD_AV_DGRAM_H
#define ZVD_AV_DGRAM_H

#include "av.h"

#define BOX_PEERS  16u
#define BOX_BYTES  262144u
#define MAIL_BYTES 16777216u
#define BOX_COST   64u /* of a datagram that waits, beside its bytes */

struct av_box;
struct av_mail;

/* A socket that a connected program has written to, until its turn to be read comes. [H] */
struct av_reader {
	bool waits;
	TAILQ_ENTRY(av_reader) link;
};

/* ---- av_box.c, [H] ---- */

/* The box of @p, whose datagrams end with @key. NULL: no memory. */
struct av_box *av_box_new(struct av_space *s, struct av_port *p, uint64_t key);
/* The port is no more; what the program has written to a connected socket is still taken. NULL is
 * allowed. */
void av_box_end(struct av_box *b);
uint64_t av_box_key(const struct av_box *b);
/* Connects the box's own socket to the program's, if it is not yet. 0: the socket that has the
 * label is the program's; -EPERM: or would be, but takes from its own peer only; -errno. */
int av_box_hold(struct av_box *b);
/* The label is given to a program, which has to bind its socket to it. */
void av_box_given(struct av_box *b);
/* It was, and no socket has been seen with it. */
bool av_box_is_new(const struct av_box *b);
/* The program's socket is still there, as far as can be told. */
bool av_box_has_socket(struct av_box *b);
/* A datagram for the program, from @from to its @local_cid. False: it is lost. */
bool av_box_put(struct av_box *b, uint32_t local_cid, const struct dropin_addr *from,
		const void *data, uint32_t len);
/* The socket that the program is to connect to for datagrams with @to: its label in @text. */
int av_box_connect(struct av_box *b, uint32_t local_cid, const struct dropin_addr *to,
		   char text[static DROPIN_LABEL]);

/* Takes a datagram from @r. False: there is none left. */
bool av_box_read(struct av_reader *r);

/* ---- av_mail.c, [H] ---- */

/* @r is to be read; is not to be read any more. */
void av_mail_wait(struct av_mail *m, struct av_reader *r);
void av_mail_leave(struct av_mail *m, struct av_reader *r);

/* What a space has for datagrams. NULL: no memory. Main thread. */
struct av_mail *av_mail_new(struct av_space *s);
void av_mail_free(struct av_mail *m);
/* Begins to take what programs send; ends it, after all ports have gone. */
void av_mail_begin(struct av_space *s);
void av_mail_end(struct av_space *s);
/* Takes what waits at DIR/dgram, as it may have been sent by a program that has closed since. */
void av_mail_take(struct av_space *s);
/* A box is there; is gone. */
void av_mail_box(struct av_mail *m, bool there);
/* @bytes more may wait; false: there is no room. */
bool av_mail_room(struct av_mail *m, uint32_t bytes);
void av_mail_gone(struct av_mail *m, uint32_t bytes);
/*
 * Receives into @data without waiting, from socket @fd; *from (may be NULL): the label of who has
 * sent, or "", and his user. Bytes, or -errno; -EPERM: descriptors came with it.
 */
struct av_sender {
	char text[DROPIN_LABEL];
	uid_t uid;
};
ssize_t av_receive(struct av_space *s, int fd, void *data, size_t len, struct av_sender *from);
/* A datagram that the program of @p has sent to @to. */
void av_route(struct av_space *s, const struct av_port *p, const struct dropin_addr *to,
	      const void *data, uint32_t len);

/* BOUND, REACH, CONNECT of a datagram socket: in *m, and the answer there. */
void av_bound(struct av_ask *a, struct dropin_msg *m);
void av_reach(struct av_ask *a, struct dropin_msg *m);
void av_dgram_connect(struct av_ask *a, struct dropin_msg *m);

/* endpoint_ops.datagram, [G] */
bool av_datagram(struct guest_queue *gq, const struct zv_dgram_addr *from, const void *data,
		 uint32_t len);

/* ---- av_port.c ---- */

/* Looks at some ports: those for datagrams whose sockets are closed are freed. [H] */
void av_port_sweep_boxes(struct av_space *s);

#endif
