/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol between zvsockd and AF_VSOCK programs that run under zvsock-run: questions and
 * answers on the drop-in socket, and the names of the programs' sockets. docs/drop-in.md.
 *
 * Theory of operation
 * -------------------
 * A program's AF_VSOCK socket is an AF_UNIX socket of the same type (the preloaded library or the
 * supervisor creates it in socket(2)). It stays the same open file for its whole life, so
 * descriptors that were duplicated, registered with epoll or passed on stay valid; bind, listen,
 * accept and connect are the kernel's own. Only addresses are translated, and zvsockd is asked for
 * that. A *drop-in directory* DIR contains the sockets of zvsockd:
 *
 *   DIR/ask               SOCK_SEQPACKET: a struct dropin_msg for each question and each answer, in
 *                         the byte order of the machine. Its mode and owner say who may use it.
 *   DIR/stream, DIR/seqpacket
 *                         what a program's socket is connected to (connect(2)); all bytes on it
 *                         are payload.
 *   DIR/dgram             where datagrams are sent to: see below.
 *
 * Guests with the same directory form one namespace: programs that use it can connect to these
 * guests and accept connections from them, and host ports that they listen on exist for these
 * guests only.
 *
 * A socket is identified by its AF_UNIX name, a *label* in the abstract namespace, which contains
 * the local address, the remote address, and a random token. So forked and exec'ed programs, and
 * those that are passed a descriptor, find the addresses by getsockname(2) and getpeername(2),
 * without asking anybody. There are two kinds:
 *
 *   P  names the program's own socket: it was bound, or it connected.
 *   Z  names zvsockd's end of a connection that a guest made to a listening program. Its addresses
 *      are those that the program sees: local is the program's.
 *
 * connect(2), blocking: the program sends CONNECT; zvsockd connects to the guest, and answers when
 * the result is known. With result 0 and a label, the program's socket is bound to the label
 * (unless it was bound before) and connected to DIR/TYPE. There zvsockd finds the connection by the
 * label that getpeername(2) returns, checks that the same process asked for it, and carries
 * payload. With DROPIN_LOCAL, `where` is the label of a listening program on this machine, and the
 * socket, bound to `label`, is connected to that, without zvsockd in between; `bytes` is the user
 * who owns it, since anybody could take the label once it is closed.
 *
 * connect(2), non-blocking: CONNECT with DROPIN_NONBLOCK is answered at once. The socket is bound
 * and connected to DIR/TYPE, then filled with zeroes until it takes no more (so that poll does not
 * report it writable), and FILLED says how many bytes and messages that were; connect(2) fails with
 * EINPROGRESS. Once the guest has accepted, zvsockd reads as much, and the socket becomes writable.
 * If the guest refuses, zvsockd closes its end with these unread: POLLERR and POLLHUP, and ERROR
 * supplies the value for SO_ERROR.
 *
 * bind(2): the answer to BIND has a free port, or the requested one, and the label to bind the
 * socket to. The port is taken while the connection to DIR/ask is open, which the program closes
 * after bind(2), and as long as a socket has that label: the kernel frees the label with the last
 * descriptor, and zvsockd checks when it matters. listen(2) is the kernel's.
 *
 * accept(2) is the kernel's. When a guest asks for a connection, zvsockd connects to the label of
 * the port, from a socket with a Z label, and answers the guest when that has succeeded.
 *
 * shutdown(2) with SHUT_RD: the kernel lets the other end of an AF_UNIX connection know only when
 * that writes. So the program, after the kernel's call, sends SHUTDOWN with the label of the
 * connection: the Z label of one from a guest, its own otherwise. That is a hint and no more:
 * zvsockd then checks its own end, where the kernel says whether the program still receives, and
 * answers when the guest has been told. So it does not matter who sends it.
 *
 * Datagrams: the program's socket is an AF_UNIX SOCK_DGRAM socket that BIND gives a label. All
 * datagrams go through zvsockd, including those between two programs. To the program, zvsockd sends
 * from a socket with a Z label, one for each peer, by which recvfrom(2) learns who has sent. So
 * that nobody else can send to the program, each datagram ends with a key, `bytes` of the answer to
 * BIND, which a filter of the program's socket (SO_ATTACH_FILTER), set before bind, checks and
 * removes. BOUND reports that the socket is bound: zvsockd connects a socket of its own to it, and
 * can tell by that which socket the label refers to if another one takes it later. From the
 * program, sendto(2) sends to DIR/dgram, with a struct dropin_dgram before the payload, which
 * contains the key as well: a name proves nothing, since a program in another network namespace can
 * give its socket the same name. REACH asks beforehand whether somebody accepts datagrams.
 * connect(2) sends CONNECT, and connects to the label `where`, a socket of zvsockd's for that peer
 * alone, which is connected to the program's: what is written there is payload, and the kernel
 * accepts it from nobody else.
 *
 * Answers come in the order of questions, except that of a blocking CONNECT, which comes when its
 * result is known: one question is processed on a socket at a time, further ones wait unread.
 * Closing the socket withdraws a pending CONNECT. A message that is not understood, or that has a
 * descriptor with it, ends the connection.
 *
 * Pure logic: nothing here makes a system call.
 */
#ifndef ZV_DROPIN_MSG_H
#define ZV_DROPIN_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DROPIN_MAGIC   0x4944565au /* "ZVDI" in memory of a little-endian machine */
#define DROPIN_VERSION 1u
#define DROPIN_LABEL   100u /* bytes at most, the leading 0 byte and a final one counted */
#define DROPIN_TEXT    96u

/* An entry a question: name, number, what it is called in messages. */
#define DROPIN_TYPES(X)                                                                            \
	X(HELLO, 1, "hello")	 /* -> local.cid. SCM_CREDENTIALS say who may have a Z label */    \
	X(CONNECT, 2, "connect") /* sock_type, local (port ANY: choose), remote, timeout_ms,       \
				  * flags; label when bound -> local, remote, label, [where, and   \
				  * bytes: the user who must be there] */                          \
	X(FILLED, 3, "filled")	 /* label, bytes, messages -> */                                   \
	X(ERROR, 4, "error")	 /* label -> error: how connect(2) went: 0: the guest has          \
				  * accepted, EINPROGRESS: not decided yet, else what SO_ERROR     \
				  * should say */                                                  \
	X(BIND, 5, "bind")	 /* sock_type, local (port ANY: choose) -> local, label */         \
	X(NAMES, 6, "names") /* label of a socket that was bound, then connected -> local, remote, \
			      * bytes: the user who has bound it, also with ENOTCONN */            \
	X(BOUND, 7, "bound") /* label of a datagram socket, which has it by now -> */              \
	X(REACH, 8, "reach") /* remote; label when bound -> datagrams to it can be sent;           \
			      * EAGAIN: not known yet */                                           \
	X(SHUTDOWN, 9, "shutdown") /* label of a connection whose program receives no more -> */

enum dropin_type {
#define X(name, number, text) DROPIN_##name = (number),
	DROPIN_TYPES(X)
#undef X
};

/* flags */
#define DROPIN_NONBLOCK (1u << 0) /* of CONNECT: see above */
#define DROPIN_LOCAL	(1u << 1) /* of its answer: see above */

struct dropin_addr {
	uint32_t cid, port;
};

struct dropin_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t type;	/* enum dropin_type */
	int32_t result; /* of an answer: 0 or -errno, as the kernel's vsock gives it; of a question
			   0 */
	uint32_t flags;
	struct dropin_addr local, remote;
	uint32_t timeout_ms; /* of CONNECT: 0 is zvsockd's own */
	uint16_t sock_type;  /* SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM */
	uint16_t reserved;   /* 0 */
	int32_t error;
	uint32_t messages;
	uint64_t bytes;
	char label[DROPIN_LABEL]; /* without the leading 0 byte; "": none; ends with a 0 */
	char where[DROPIN_LABEL];
	char text[DROPIN_TEXT]; /* of an answer with a result: what is wrong; ends with a 0 */
};
_Static_assert(sizeof(struct dropin_msg) == 56 + 2 * DROPIN_LABEL + DROPIN_TEXT,
	       "the wire form has no holes");

/* What a datagram that is sent to DIR/dgram begins with. */
struct dropin_dgram {
	uint32_t magic;
	uint16_t version;
	uint16_t reserved;     /* 0 */
	struct dropin_addr to; /* whom it is for */
	uint64_t key;	       /* of the socket that sends it */
};
_Static_assert(sizeof(struct dropin_dgram) == 24, "the wire form has no holes");

#define DROPIN_DGRAM_MAX 65536u /* bytes of payload, at most */

/* Begins a message: everything that is not set is 0. */
void dropin_msg_init(struct dropin_msg *m, enum dropin_type type);

/* Copies as much of @text as fits; what is not printable ASCII becomes '?'. */
void dropin_msg_text(struct dropin_msg *m, const char *text);

/*
 * NULL: the @len bytes at @m (private memory, aligned) are a message of this version whose strings
 * end. Otherwise what is wrong with it.
 */
const char *dropin_msg_refused(const struct dropin_msg *m, size_t len);

/* The @len bytes at @d (private memory, aligned) begin a datagram of this version. */
bool dropin_dgram_ok(const struct dropin_dgram *d, size_t len);

/* "connect"...; NULL: there is no such type. */
const char *dropin_type_name(unsigned type);

/* ---- labels -------------------------------------------------------------------------------- */

struct dropin_label {
	char view;	/* 'P' or 'Z' */
	bool connected; /* remote is known */
	uint16_t sock_type;
	struct dropin_addr local, remote; /* the program's view */
	uint64_t token[2];		  /* random */
};

/* Writes the label as text without the leading 0 byte: "zvsock:P:1:2:1234:3:5678:TOKEN". */
void dropin_label_write(const struct dropin_label *l, char text[static DROPIN_LABEL]);

/* Reads @len bytes of a name as the kernel has it behind the leading 0 byte. False: no label. */
bool dropin_label_read(struct dropin_label *l, const char *text, size_t len);

/*
 * Who a socket is whose own name is @own and whose peer's is @peer (NULL: none, or no label): fills
 * *out with its local and remote address. False: neither is a label.
 */
bool dropin_names(struct dropin_label *out, const struct dropin_label *own,
		  const struct dropin_label *peer);

#endif
