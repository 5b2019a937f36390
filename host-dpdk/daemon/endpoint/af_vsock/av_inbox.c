/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams to a program, and from one that has connected; theory in av_dgram.h.
 */
#include "av_dgram.h"

#include "core/clock.h"
#include "core/fds.h"
#include "passed.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FINAL_READS 16u /* final reads of a socket, before its port or its connection ends */

/* A socket of zvsockd for the datagrams of one peer. */
struct av_peer {
	struct io_op in; /* first: polls for data if the program has connected to this one */
	struct av_reader reader;
	struct av_inbox *inbox;
	struct dropin_addr remote;
	uint32_t local_cid;
	unsigned n_waiting;
	int fd;
	bool ended;
	TAILQ_ENTRY(av_peer) link;
};

/* A datagram that waits because the program's socket is full. */
struct waiting {
	TAILQ_ENTRY(waiting) link;
	struct av_peer *peer;
	uint32_t len;
	uint8_t data[];
};

struct av_inbox {
	struct io_op pollout; /* first: polls for space for the oldest waiting datagram */
	struct av_space *space;
	struct av_port *port; /* NULL: the port no longer exists */
	uint64_t key;
	int hold; /* socket that recognizes the program's socket: av_dgram.h; -1: none yet */
	bool assigned;
	unsigned n_peers;
	TAILQ_HEAD(, av_peer) peers;   /* oldest first */
	struct av_peer *with;	       /* the peer that the program's socket is connected to */
	TAILQ_HEAD(, waiting) waiting; /* oldest first */
	uint32_t bytes;
};

static struct io *io_of(const struct av_inbox *b)
{
	return lcore_io(b->space->home);
}

/* ---- sockets, and which one has the label ---- */

/* Creates a socket, charged to the port's user, whose limit is 1/@part of all descriptors.
 * -errno. */
static int new_socket(const struct av_inbox *b, unsigned part)
{
	struct av_user *u = b->port->user;
	int fd;

	if (!av_fd_take(u, part))
		return -EMFILE;
	if (!fds_get()) {
		av_fd_give(u);
		return -EMFILE;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		fd = -errno;
		fds_put();
		av_fd_give(u);
	} else if (!b->space->closer) {
		(void)passed_refuse(fd);
	}
	return fd;
}

static void end_socket(const struct av_inbox *b, int fd)
{
	av_discard(b->space, fd, false);
	av_fd_give(b->port->user);
}

/* Connects @fd to the socket that has the label now. -EBUSY: looking for it takes too long. */
static int join(const struct av_inbox *b, int fd)
{
	const struct av_looker l = av_looker(b->space, AV_LOOK_INBOX, b->port->uid);
	struct sockaddr_un sa;
	socklen_t len = av_address(&sa, b->port->text);
	uint64_t start;
	int ret;

	if (!av_look_may(b->space, &l))
		return -EBUSY;
	start = cpu_ns();
	ret = connect(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
	av_look_took(b->space, &l, cpu_ns() - start);
	return ret;
}

/* Creates the `hold` socket: puts the key into its queue and connects it. */
static int hold_first(struct av_inbox *b)
{
	int fd = new_socket(b, AV_FDS_SHARE), ret;
	char text[DROPIN_LABEL];
	struct sockaddr_un sa;
	socklen_t len;

	if (fd < 0)
		return fd;
	/* Until it is connected, any process that guesses its name could send to it: the name is
	 * random. */
	(void)snprintf(text, sizeof(text), "zvsock:H:%016" PRIx64 "%016" PRIx64,
		       av_random(b->space), av_random(b->space));
	len = av_address(&sa, text);
	if (bind(fd, (const struct sockaddr *)&sa, len) < 0 ||
	    sendto(fd, &b->key, sizeof(b->key), 0, (struct sockaddr *)&sa, len) < 0 ||
	    shutdown(fd, SHUT_RD) < 0) /* nobody else puts anything there, as descriptors */
		ret = -errno;
	else
		ret = join(b, fd);
	if (ret < 0)
		end_socket(b, fd);
	else
		b->hold = fd;
	return ret;
}

int av_inbox_hold(struct av_inbox *b)
{
	uint64_t key = 0;
	int ret;

	if (b->hold < 0)
		return hold_first(b);
	ret = join(b, b->hold);
	if (ret < 0)
		return ret;
	if (recv(b->hold, &key, sizeof(key), MSG_PEEK | MSG_DONTWAIT) != sizeof(key) ||
	    key != b->key)
		return -ECONNREFUSED;
	return 0;
}

void av_inbox_label_assigned(struct av_inbox *b)
{
	b->assigned = true;
}

bool av_inbox_is_new(const struct av_inbox *b)
{
	return b->assigned && b->hold < 0;
}

uint64_t av_inbox_key(const struct av_inbox *b)
{
	return b->key;
}

/* ---- the end ---- */

static void inbox_over(struct av_inbox *b)
{
	if (b->port || b->pollout.pending || b->n_peers)
		return;
	av_mail_count_inbox(b->space->mail, false);
	free(b);
}

/* @p has no pending io_uring request any more. */
static void peer_free(struct av_peer *p)
{
	struct av_inbox *b = p->inbox;

	TAILQ_REMOVE(&b->peers, p, link);
	b->n_peers--;
	free(p);
	inbox_over(b);
}

/* Closes the socket of @p, for which no datagram waits. */
static void peer_end(struct av_peer *p)
{
	struct av_inbox *b = p->inbox;

	if (p->ended)
		return;
	p->ended = true;
	if (b->with == p)
		b->with = NULL;
	av_mail_leave(b->space->mail, &p->reader);
	io_cancel(io_of(b), &p->in);
	end_socket(b, p->fd);
	if (!p->in.pending)
		peer_free(p);
}

static void drop_first(struct av_inbox *b)
{
	struct waiting *w = TAILQ_FIRST(&b->waiting);

	TAILQ_REMOVE(&b->waiting, w, link);
	w->peer->n_waiting--;
	b->bytes -= w->len + INBOX_COST;
	av_mail_unreserve(b->space->mail, w->len + INBOX_COST);
	free(w);
}

static bool peer_read(struct av_peer *p);

void av_inbox_end(struct av_inbox *b)
{
	struct av_peer *p, *next;

	if (!b)
		return;
	for (unsigned i = 0; b->with && i < FINAL_READS && peer_read(b->with); i++)
		;
	while (!TAILQ_EMPTY(&b->waiting))
		drop_first(b);
	io_cancel(io_of(b), &b->pollout);
	if (b->hold >= 0)
		end_socket(b, b->hold);
	b->hold = -1;
	/* The inbox is freed with its last peer, but not while `port` is set. */
	for (p = TAILQ_FIRST(&b->peers); p; p = next) {
		next = TAILQ_NEXT(p, link);
		peer_end(p);
	}
	b->port = NULL;
	inbox_over(b);
}

/* ---- to the program ---- */

/* 0; -EAGAIN: full; -errno. A program that dissolves its connection leaves ECONNRESET on the
 * socket, which the next system call returns once. */
static int put_now(const struct av_peer *p, const void *data, uint32_t len)
{
	struct iovec iov[] = {{(void *)data, len}, {(void *)&p->inbox->key, sizeof(p->inbox->key)}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	if (sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == ECONNRESET && sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return -errno;
}

static void await_pollout(struct av_inbox *b)
{
	const struct waiting *w = TAILQ_FIRST(&b->waiting);

	if (w && !b->pollout.pending)
		io_poll(io_of(b), &b->pollout, w->peer->fd, POLLOUT);
}

static void on_pollout(struct io_op *op, int res, uint32_t flags)
{
	struct av_inbox *b = (struct av_inbox *)(void *)op; /* first */
	struct waiting *w;

	(void)res;
	(void)flags;
	if (!b->port) {
		inbox_over(b);
		return;
	}
	/* drop_first() takes it off the list; NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	while ((w = TAILQ_FIRST(&b->waiting)) && put_now(w->peer, w->data, w->len) != -EAGAIN)
		drop_first(b);
	await_pollout(b);
}

static bool keep(struct av_inbox *b, struct av_peer *p, const void *data, uint32_t len)
{
	struct waiting *w;

	if (len + INBOX_COST > INBOX_BYTES - b->bytes ||
	    !av_mail_reserve(b->space->mail, len + INBOX_COST))
		return false;
	w = malloc(sizeof(*w) + len);
	if (!w) {
		av_mail_unreserve(b->space->mail, len + INBOX_COST);
		return false;
	}
	w->peer = p;
	w->len = len;
	memcpy(w->data, data, len);
	p->n_waiting++;
	b->bytes += len + INBOX_COST;
	TAILQ_INSERT_TAIL(&b->waiting, w, link);
	await_pollout(b);
	return true;
}

/* Closes the socket of the oldest peer that has no waiting datagrams and is not the one that the
 * program has connected to. False: there is none. */
static bool evict(struct av_inbox *b)
{
	struct av_peer *p;

	TAILQ_FOREACH(p, &b->peers, link)
		if (!p->ended && !p->n_waiting && p != b->with) {
			peer_end(p);
			return true;
		}
	return false;
}

/* Creates a socket for another peer; replaces one if there is no room. -errno. */
static int peer_socket(struct av_inbox *b)
{
	int fd;

	if (b->n_peers >= INBOX_PEERS && !evict(b))
		return -ENOBUFS;
	fd = new_socket(b, AV_FDS_PEERS_SHARE);
	return fd == -EMFILE && evict(b) ? new_socket(b, AV_FDS_PEERS_SHARE) : fd;
}

static struct av_peer *peer_new(struct av_inbox *b, uint32_t local_cid,
				const struct dropin_addr *remote, char text[static DROPIN_LABEL],
				int *err)
{
	struct dropin_label l = {.view = 'Z',
				 .connected = true,
				 .sock_type = SOCK_DGRAM,
				 .local = {local_cid, b->port->label.local.port},
				 .remote = *remote,
				 .token = {av_random(b->space), av_random(b->space)}};
	struct av_peer *p = calloc(1, sizeof(*p));
	struct sockaddr_un sa;
	socklen_t len;
	int fd;

	*err = -ENOBUFS;
	if (!p)
		return NULL;
	dropin_label_write(&l, text);
	len = av_address(&sa, text);
	fd = peer_socket(b);
	*err = fd;
	/*
	 * The socket is connected before it gets a name, so that nobody else can send to it at any
	 * time. And it is connected before av_inbox_hold() checks the label: if the program's
	 * socket has the label after the connect, it had it during the connect.
	 */
	if (fd >= 0 && (*err = join(b, fd)) == 0 &&
	    (*err = bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0) == 0)
		*err = av_inbox_hold(b);
	if (*err < 0) {
		if (fd >= 0)
			end_socket(b, fd);
		free(p);
		return NULL;
	}
	p->inbox = b;
	p->fd = fd;
	p->remote = *remote;
	p->local_cid = local_cid;
	TAILQ_INSERT_TAIL(&b->peers, p, link);
	b->n_peers++;
	return p;
}

static bool is_of(const struct av_peer *p, uint32_t local_cid, const struct dropin_addr *remote)
{
	return !p->ended && p->remote.cid == remote->cid && p->remote.port == remote->port &&
	       p->local_cid == local_cid;
}

static struct av_peer *peer_for(struct av_inbox *b, uint32_t local_cid,
				const struct dropin_addr *remote)
{
	char text[DROPIN_LABEL];
	struct av_peer *p;
	int err;

	if (b->with && is_of(b->with, local_cid, remote))
		return b->with;
	TAILQ_FOREACH(p, &b->peers, link)
		if (is_of(p, local_cid, remote))
			return p;
	return peer_new(b, local_cid, remote, text, &err);
}

bool av_inbox_put(struct av_inbox *b, uint32_t local_cid, const struct dropin_addr *from,
		  const void *data, uint32_t len)
{
	struct av_peer *p;
	int ret = -EAGAIN;

	/* An empty message cannot be passed on: the socket filter of the program, which removes the
	 * key, cannot truncate a message to nothing. */
	if (!len || len > DROPIN_DGRAM_MAX)
		return false;
	p = peer_for(b, local_cid, from);
	if (!p)
		return false;
	if (TAILQ_EMPTY(&b->waiting))
		ret = put_now(p, data, len);
	return ret == -EAGAIN ? keep(b, p, data, len) : ret == 0;
}

/* ---- from a program that has connected ---- */

static bool peer_read(struct av_peer *p)
{
	static _Thread_local uint8_t data[DROPIN_DGRAM_MAX + 1];
	struct av_inbox *b = p->inbox;
	ssize_t n = av_receive(b->space, p->fd, data, sizeof(data), NULL);

	/* av_route() counts datagrams that are too long. */
	if (n >= 0)
		av_route(b->space, b->port, &p->remote, data, (uint32_t)n);
	return n >= 0 || n == -EPERM || n == -ECONNRESET;
}

bool av_inbox_read(struct av_reader *r)
{
	return peer_read((struct av_peer *)(void *)((char *)r - offsetof(struct av_peer, reader)));
}

static void peer_polled(struct io_op *op, int res, uint32_t flags)
{
	struct av_peer *p = (struct av_peer *)(void *)op; /* first */

	(void)res;
	(void)flags;
	if (p->ended) {
		if (!op->pending)
			peer_free(p);
		return;
	}
	if (!op->pending)
		io_poll_on(io_of(p->inbox), op, p->fd, POLLIN);
	av_mail_wait(p->inbox->space->mail, &p->reader);
}

int av_inbox_connect(struct av_inbox *b, uint32_t local_cid, const struct dropin_addr *to,
		     char text[static DROPIN_LABEL])
{
	struct av_peer *p;
	int err;

	if (b->with) { /* connected again, to another address */
		for (unsigned i = 0; i < FINAL_READS && peer_read(b->with); i++)
			;
		while (b->with->n_waiting)
			drop_first(b);
		io_cancel(io_of(b), &b->pollout); /* it may poll the socket that is closed next */
		peer_end(b->with);
	}
	p = peer_new(b, local_cid, to, text, &err);
	if (!p)
		return err;
	b->with = p;
	p->in.done = peer_polled;
	io_poll_on(io_of(b), &p->in, p->fd, POLLIN);
	return 0;
}

/* ---- the beginning ---- */

struct av_inbox *av_inbox_new(struct av_space *s, struct av_port *p, uint64_t key)
{
	struct av_inbox *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->space = s;
	b->port = p;
	b->key = key;
	b->hold = -1;
	b->pollout.done = on_pollout;
	TAILQ_INIT(&b->peers);
	TAILQ_INIT(&b->waiting);
	av_mail_count_inbox(s->mail, true);
	return b;
}
