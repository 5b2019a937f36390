/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sockets from which zvsockd sends datagrams to a program, and those of a program that has
 * connected; theory in av_dgram.h.
 */
#include "av_inbox.h"

#include "base/clock.h"
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

/* ---- sockets, and which one has the label ---- */

/* Creates a socket, for which the user of the port has been charged. -errno. */
static int new_socket(const struct av_inbox *b)
{
	int fd;

	if (!fds_get())
		return -EMFILE;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		fd = -errno;
		fds_put();
	} else if (!b->space->closers) {
		(void)passed_refuse(fd);
	}
	return fd;
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

static int hold_socket(const struct av_inbox *b)
{
	int fd;

	if (!av_fd_take(b->port->user, AV_FDS_SHARE))
		return -EMFILE;
	fd = new_socket(b);
	if (fd < 0)
		av_fd_give(b->port->user);
	return fd;
}

static void hold_end(const struct av_inbox *b, int fd)
{
	av_discard(b->space, fd, false, b->port->uid);
	av_fd_give(b->port->user);
}

/* Creates the `hold` socket: puts the key into its queue and connects it. */
static int hold_first(struct av_inbox *b)
{
	int fd = hold_socket(b), ret;
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
		hold_end(b, fd);
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

void av_inbox_over(struct av_inbox *b)
{
	if (b->port || b->pollout.pending || b->n_peers)
		return;
	av_mail_count_inbox(b->space->mail, false);
	free(b);
}

void av_peer_over(struct av_peer *p)
{
	struct av_inbox *b = p->inbox;

	/* A poll under way holds the socket open, and who lets go of it last closes the
	 * descriptors that are queued in it. */
	if (p->in.pending || (b->pollout.pending && b->polled == p))
		return;
	av_discard_sent(b->space, p->fd, p->uid);
	TAILQ_REMOVE(&b->peers, p, link);
	b->n_peers--;
	free(p);
	av_inbox_over(b);
}

static void peer_socket_end(const struct av_inbox *b, int fd, uint64_t sender)
{
	av_discard_sent(b->space, fd, b->port->uid);
	av_peer_give(b->space, b->port->user, sender);
}

/* Closes the socket of @p. What waits is lost. */
static void peer_end(struct av_peer *p)
{
	struct av_inbox *b = p->inbox;

	if (p->ended)
		return;
	p->ended = true;
	if (b->with == p)
		b->with = NULL;
	av_deliver_drop(p);
	av_move_leave(b->space->mail, &p->read);
	io_cancel(av_inbox_io(b), &p->in);
	if (b->polled == p)
		io_cancel(av_inbox_io(b), &b->pollout);
	av_peer_give(b->space, b->port->user, p->opener);
	av_peer_over(p);
}

static bool peer_read(struct av_peer *p);

void av_inbox_end(struct av_inbox *b)
{
	struct av_peer *p, *next;

	if (!b)
		return;
	for (unsigned i = 0; b->with && i < FINAL_READS && peer_read(b->with); i++)
		;
	av_deliver_end(b);
	if (b->hold >= 0)
		hold_end(b, b->hold);
	b->hold = -1;
	/* The inbox is freed with its last peer, but not while `port` is set. */
	for (p = TAILQ_FIRST(&b->peers); p; p = next) {
		next = TAILQ_NEXT(p, link);
		peer_end(p);
	}
	b->port = NULL;
	av_inbox_over(b);
}

/* ---- whose sockets there are ---- */

/* How many of the sockets are of @sender's peers. */
static unsigned peers_of(const struct av_inbox *b, uint64_t sender)
{
	const struct av_peer *p;
	unsigned n = 0;

	TAILQ_FOREACH(p, &b->peers, link)
		n += !p->ended && p->opener == sender;
	return n;
}

/* The oldest peer of the sender that has the most, among those for whom something waits, or
 * nothing. NULL: no sender has @least. */
static struct av_peer *oldest_of_most(const struct av_inbox *b, bool waits, unsigned least)
{
	struct av_peer *p, *found = NULL;
	unsigned n, most = least ? least - 1 : 0;

	TAILQ_FOREACH(p, &b->peers, link) {
		if (p->ended || p == b->with || STAILQ_EMPTY(&p->waiting) == waits)
			continue;
		n = peers_of(b, p->opener);
		if (n > most) {
			most = n;
			found = p;
		}
	}
	return found;
}

/*
 * Closes the socket of a peer that is not the one that the program has connected to, to make room
 * for one of @sender's: of a sender who has as many as @sender if nothing waits, or else of one who
 * will not have fewer. False: there is none.
 */
static bool evict(struct av_inbox *b, uint64_t sender)
{
	const unsigned own = peers_of(b, sender);
	struct av_peer *p = oldest_of_most(b, false, own);

	if (!p)
		p = oldest_of_most(b, true, own + 2);
	if (!p)
		return false;
	/* What waits was counted as carried when it came; most often nothing does. */
	for (uint32_t n = p->n_waiting; n; n--)
		lcore_dgram_lost(b->space->home);
	peer_end(p);
	return true;
}

static int peer_socket_new(const struct av_inbox *b, uint64_t sender)
{
	int fd;

	if (!av_peer_take(b->space, b->port->user, sender))
		return -EMFILE;
	fd = new_socket(b);
	if (fd < 0)
		av_peer_give(b->space, b->port->user, sender);
	return fd;
}

/* Creates a socket for another peer; replaces one if there is no room. -errno. */
static int peer_socket(struct av_inbox *b, uint64_t sender)
{
	int fd;

	if (b->n_peers >= INBOX_PEERS && !evict(b, sender))
		return -ENOBUFS;
	fd = peer_socket_new(b, sender);
	return fd == -EMFILE && evict(b, sender) ? peer_socket_new(b, sender) : fd;
}

static struct av_peer *peer_new(struct av_inbox *b, uint32_t local_cid,
				const struct dropin_addr *remote, uint64_t sender,
				char text[static DROPIN_LABEL], int *err)
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
	fd = peer_socket(b, sender);
	*err = fd;
	/*
	 * The socket is connected before it gets a name, so that nobody else can send to it at any
	 * time. And it is connected before av_inbox_hold() checks the label: if the program's
	 * socket has the label after the connect, it had it during the connect.
	 */
	if (fd >= 0 && b->space->closers && sender != AV_SENDER_NONE)
		(void)shutdown(fd, SHUT_RD); /* the program sends nothing there */
	if (fd >= 0 && (*err = join(b, fd)) == 0 &&
	    (*err = bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0) == 0)
		*err = av_inbox_hold(b);
	if (*err < 0) {
		if (fd >= 0)
			peer_socket_end(b, fd, sender);
		free(p);
		return NULL;
	}
	p->inbox = b;
	p->fd = fd;
	p->remote = *remote;
	p->local_cid = local_cid;
	p->opener = sender;
	p->uid = b->port->uid;
	STAILQ_INIT(&p->waiting);
	TAILQ_INSERT_TAIL(&b->peers, p, link);
	b->n_peers++;
	return p;
}

static bool is_of(const struct av_peer *p, uint32_t local_cid, const struct dropin_addr *remote)
{
	return !p->ended && p->remote.cid == remote->cid && p->remote.port == remote->port &&
	       p->local_cid == local_cid;
}

struct av_peer *av_peer_for(struct av_inbox *b, uint32_t local_cid, const struct av_from *from)
{
	char text[DROPIN_LABEL];
	struct av_peer *p;
	int err;

	if (b->with && is_of(b->with, local_cid, &from->addr))
		return b->with;
	TAILQ_FOREACH(p, &b->peers, link)
		if (is_of(p, local_cid, &from->addr))
			return p;
	if (from->queue && from->queue->lc == b->space->home)
		lcore_charge(&from->queue->lq);
	return peer_new(b, local_cid, &from->addr, from->sender, text, &err);
}

/* ---- from a program that has connected ---- */

static bool peer_read(struct av_peer *p)
{
	static _Thread_local uint8_t data[DROPIN_DGRAM_MAX + 1];
	struct av_inbox *b = p->inbox;
	struct av_sender from = {.uid = b->port->uid};
	ssize_t n;

	if (av_passed_too_many(b->space, p->fd, &from.uid)) {
		peer_end(p);
		return false;
	}
	n = av_receive(b->space, p->fd, data, sizeof(data), &from);
	/* av_route() counts datagrams that are too long. */
	if (n >= 0)
		av_route(b->space, b->port, &p->remote, data, (uint32_t)n);
	return n >= 0 || n == -EPERM || n == -ECONNRESET;
}

static bool read_one(struct av_move *v)
{
	return peer_read((struct av_peer *)(void *)((char *)v - offsetof(struct av_peer, read)));
}

static void peer_polled(struct io_op *op, int res, uint32_t flags)
{
	struct av_peer *p = (struct av_peer *)(void *)op; /* first */

	(void)res;
	(void)flags;
	if (p->ended) {
		av_peer_over(p);
		return;
	}
	if (!op->pending)
		io_poll_on(av_inbox_io(p->inbox), op, p->fd, POLLIN);
	av_move_wait(p->inbox->space->mail, &p->inbox->port->user->mover, &p->read);
}

int av_inbox_connect(struct av_inbox *b, uint32_t local_cid, const struct dropin_addr *to,
		     char text[static DROPIN_LABEL])
{
	struct av_peer *p;
	int err;

	if (b->with) { /* connected again, to another address */
		for (unsigned i = 0; i < FINAL_READS && peer_read(b->with); i++)
			;
		if (b->with)		   /* reading may have ended it */
			peer_end(b->with); /* NOLINT(clang-analyzer-unix.Malloc) */
	}
	if (av_passed_full(b->space, b->port->uid))
		return -ENOBUFS;
	p = peer_new(b, local_cid, to, AV_SENDER_NONE, text, &err);
	if (!p)
		return err;
	b->with = p;
	p->in.done = peer_polled;
	p->read.run = read_one;
	io_poll_on(av_inbox_io(b), &p->in, p->fd, POLLIN);
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
	av_deliver_init(b);
	TAILQ_INIT(&b->peers);
	av_mail_count_inbox(s->mail, true);
	return b;
}
