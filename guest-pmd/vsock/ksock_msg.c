/* SPDX-License-Identifier: BSD-3-Clause */
#include "ksock_msg.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_SIZE (256u << 10)

struct message {
	STAILQ_ENTRY(message) link;
	uint32_t len;
	bool eor;
	uint8_t *data;
};

struct ksock_sender {
	pthread_mutex_t lock;
	pthread_cond_t more;
	STAILQ_HEAD(, message) msgs; /* the first is being sent */
	unsigned want_shut;	     /* VSOCK_SHUTDOWN_* behind them */
	bool left;		     /* by the owner: end */
	int fd;
	struct ksock_dev *dev;
	struct ksock_queue *q;
	/* not yet seen by the owner; under q->events_lock */
	struct ksock_conn *c; /* NULL: left */
	LIST_ENTRY(ksock_sender) event_link;
	bool listed;
	uint32_t sent; /* bytes */
	unsigned shut;
	int err;
};

/* ---- the thread ---- */

static void wake_owner(struct ksock_queue *q)
{
	uint64_t one = 1;

	(void)!write(q->wake_fd, &one, sizeof(one));
}

/* Leaves news for the owner, which is woken once for all news that it has not fetched. */
static void post_event(struct ksock_sender *s, uint32_t sent, unsigned shut, int err)
{
	struct ksock_queue *q = s->q;

	pthread_mutex_lock(&q->events_lock);
	s->sent += sent;
	s->shut |= shut;
	s->err = s->err ? s->err : err;
	if (s->c && !s->listed) {
		bool first = LIST_EMPTY(&q->msg_events);

		s->listed = true;
		LIST_INSERT_HEAD(&q->msg_events, s, event_link);
		if (first) /* under the lock: afterwards the queue may be freed */
			wake_owner(q);
	}
	pthread_mutex_unlock(&q->events_lock);
}

/* 0 or -errno. The kernel waits for room for all of it. */
static int send_whole(int fd, const struct message *m)
{
	ssize_t n;

	do
		n = send(fd, m->data, m->len, MSG_NOSIGNAL | (m->eor ? MSG_EOR : 0));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == m->len ? 0 : -EIO;
}

static void message_free(struct message *m)
{
	free(m->data);
	free(m);
}

/* Sends the first message, with s->lock released meanwhile. */
static void send_first(struct ksock_sender *s)
{
	struct message *m = STAILQ_FIRST(&s->msgs);
	int err;

	pthread_mutex_unlock(&s->lock);
	err = send_whole(s->fd, m);
	post_event(s, m->len, 0, err);
	pthread_mutex_lock(&s->lock);
	STAILQ_REMOVE_HEAD(&s->msgs, link);
	message_free(m);
}

static void shut_down(struct ksock_sender *s, unsigned done)
{
	static const int how[] = {0, SHUT_RD, SHUT_WR, SHUT_RDWR};
	unsigned todo = s->want_shut & ~done & VSOCK_SHUTDOWN_BOTH;

	(void)shutdown(s->fd, how[todo]);
	post_event(s, 0, todo, 0);
}

static void sender_free(struct ksock_sender *s)
{
	struct ksock_dev *dev = s->dev;
	struct message *m;

	while ((m = STAILQ_FIRST(&s->msgs))) {
		STAILQ_REMOVE_HEAD(&s->msgs, link);
		message_free(m);
	}
	close(s->fd);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->more);
	free(s);
	pthread_mutex_lock(&dev->lock);
	if (--dev->senders == 0)
		pthread_cond_signal(&dev->ended);
	pthread_mutex_unlock(&dev->lock);
}

static void *sender_main(void *arg)
{
	struct ksock_sender *s = arg;
	unsigned done = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->left) {
		if (!STAILQ_EMPTY(&s->msgs)) {
			send_first(s);
		} else if (s->want_shut & ~done) {
			shut_down(s, done);
			done = s->want_shut;
		} else {
			pthread_cond_wait(&s->more, &s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	sender_free(s);
	return NULL;
}

/* ---- the owner ---- */

static int start_thread(struct ksock_sender *s)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int ret;

	(void)sigfillset(&all);
	pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&thread, &attr, sender_main, s);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -ret;
}

static int sender_new(struct ksock_conn *c)
{
	struct ksock_dev *dev = c->q->dev;
	struct ksock_sender *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	STAILQ_INIT(&s->msgs);
	s->fd = c->fd;
	s->dev = dev;
	s->q = c->q;
	s->c = c;
	/* The thread blocks in send(); all others use MSG_DONTWAIT. */
	(void)fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK);
	pthread_mutex_lock(&dev->lock);
	dev->senders++;
	pthread_mutex_unlock(&dev->lock);
	ret = start_thread(s);
	if (ret == 0) {
		c->sender = s;
		return 0;
	}
	pthread_mutex_lock(&dev->lock);
	dev->senders--;
	pthread_mutex_unlock(&dev->lock);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->more);
	free(s);
	return ret;
}

static int append(struct ksock_bytes *b, const uint8_t *data, uint32_t len)
{
	if (b->len + len > b->size || !b->data) {
		uint32_t size = b->len ? 2 * (b->len + len) : len;
		uint8_t *p = realloc(b->data, size ? size : 1);

		if (!p)
			return -ENOMEM;
		b->data = p;
		b->size = size;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int ksock_msg_add(struct ksock_conn *c, const uint8_t *data, uint32_t len, bool last, bool eor)
{
	struct ksock_sender *s;
	struct message *m;
	int ret = append(&c->msg, data, len);

	if (ret || !last)
		return ret;
	if (!c->sender && (ret = sender_new(c)))
		return ret;
	m = malloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct message){.len = c->msg.len, .eor = eor, .data = c->msg.data};
	c->msg = (struct ksock_bytes){0};
	s = c->sender;
	pthread_mutex_lock(&s->lock);
	STAILQ_INSERT_TAIL(&s->msgs, m, link);
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void ksock_msg_shutdown(struct ksock_conn *c, unsigned shut)
{
	struct ksock_sender *s = c->sender;

	pthread_mutex_lock(&s->lock);
	s->want_shut |= shut;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
}

bool ksock_msg_busy(struct ksock_conn *c)
{
	bool busy;

	if (!c->sender)
		return false;
	pthread_mutex_lock(&c->sender->lock);
	busy = !STAILQ_EMPTY(&c->sender->msgs);
	pthread_mutex_unlock(&c->sender->lock);
	return busy;
}

void ksock_msg_leave(struct ksock_conn *c)
{
	struct ksock_sender *s = c->sender;
	struct ksock_queue *q = c->q;

	pthread_mutex_lock(&q->events_lock);
	if (s->listed)
		LIST_REMOVE(s, event_link);
	s->listed = false;
	s->c = NULL;
	pthread_mutex_unlock(&q->events_lock);
	(void)shutdown(s->fd, SHUT_RDWR); /* ends a send() that waits */
	pthread_mutex_lock(&s->lock);
	s->left = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
}

static void take_event(struct ksock_sender *s)
{
	struct ksock_conn *c = s->c;

	if (s->err == -EPIPE || s->err == -ENOTCONN) {
		ksock_peer_shut(c, VSOCK_SHUTDOWN_RCV);
	} else if (s->err) {
		zv_log_limited(&c->q->tq.log, ZV_LOG_WARN,
			       "vsock: a message to port %u of CID %llu cannot be sent: %s: "
			       "connection reset",
			       c->node.key.peer_port, (unsigned long long)c->node.key.cid,
			       s->err == -EMSGSIZE ? "it is longer than the peer can take"
						   : strerror(-s->err));
		ksock_fail(c);
		return;
	}
	ksock_taken(c, s->sent);
	s->sent = 0;
	if (s->shut & ~c->done_shut)
		ksock_shut_done(c, s->shut);
}

void ksock_msg_events(struct ksock_queue *q)
{
	struct ksock_sender *s;
	uint64_t n;

	pthread_mutex_lock(&q->events_lock);
	(void)!read(q->wake_fd, &n, sizeof(n));
	while ((s = LIST_FIRST(&q->msg_events))) {
		LIST_REMOVE(s, event_link);
		s->listed = false;
		take_event(s);
	}
	pthread_mutex_unlock(&q->events_lock);
}

void ksock_msg_wait(struct ksock_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	while (dev->senders)
		pthread_cond_wait(&dev->ended, &dev->lock);
	pthread_mutex_unlock(&dev->lock);
}
