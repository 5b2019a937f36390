/* SPDX-License-Identifier: BSD-3-Clause */
/* The server of sock_client.h, with a thread for each connection. */
#include "io/wire.h"
#include "measure/cpu.h"
#include "sock_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_CHECK_MS 100 /* between two looks at the stop flag */
#define STACK_BYTES   131072u

struct sock_server {
	const struct bench_opts *o;
	pthread_mutex_t lock;
	struct side_stats run; /* since BEGIN */
	uint64_t cpu0;
};

struct sock_conn {
	struct sock_server *s;
	uint32_t port;
	int fd;
};

static const struct {
	enum far_part part;
	void (*play)(struct stream_io *io, unsigned char *buf, size_t cap);
} parts[] = {{FAR_SINK, stream_sink}, {FAR_SOURCE, stream_source}, {FAR_ECHO, stream_echo}};

static void add_to_run(struct sock_server *s, const struct stream_io *io)
{
	struct side_stats *r = &s->run;

	pthread_mutex_lock(&s->lock);
	__atomic_fetch_add(&r->msgs[0], io->msgs, __ATOMIC_RELAXED);
	r->bytes += io->bytes;
	r->errors += io->errors;
	if (io->first_ns && (!r->first_ns || io->first_ns < r->first_ns))
		r->first_ns = io->first_ns;
	if (io->last_ns > r->last_ns)
		r->last_ns = io->last_ns;
	pthread_mutex_unlock(&s->lock);
}

/* The role that @m asks for, to the end of the connection. */
static void conn_play(struct sock_conn *c, struct wire_msg *m)
{
	struct stream_io io = {.fd = c->fd,
			       .size = m->msg_size,
			       .touch = m->flags & W_TOUCH,
			       .seqpacket = c->port == BENCH_PORT_SEQ,
			       .salt = m->salt,
			       .duration_ns = m->duration_ns};
	unsigned char *buf = NULL;
	unsigned i = 0;
	size_t cap;

	while (i < sizeof(parts) / sizeof(parts[0]) &&
	       strncmp(far_part_role(parts[i].part), m->role, sizeof(m->role)) != 0)
		i++;
	if (i < sizeof(parts) / sizeof(parts[0]) && wire_task_ok(m))
		buf = stream_buffer(m->msg_size, &cap);
	if (!buf) /* the client sees that the connection ends, instead of an ACK */
		return;
	m->kind = W_ACK;
	if (stream_write_all(c->fd, m, sizeof(*m)) &&
	    (parts[i].part != FAR_SOURCE ||
	     (stream_read_all(c->fd, m, sizeof(*m)) && wire_known(m)))) {
		parts[i].play(&io, buf, cap);
		add_to_run(c->s, &io);
	}
	free(buf);
}

/* First messages and control, or the role that one of them asks for. */
static void conn_talk(struct sock_conn *c)
{
	struct sock_server *s = c->s;
	struct side_stats answer;
	struct wire_msg m;

	while (stream_read_all(c->fd, &m, sizeof(m)) && wire_known(&m)) {
		if (m.kind == W_ROLE) {
			conn_play(c, &m);
			return;
		}
		if (m.kind != W_BEGIN && m.kind != W_MARK && m.kind != W_END)
			return;
		pthread_mutex_lock(&s->lock);
		run_answer(&s->run, &s->cpu0, &m, &answer);
		pthread_mutex_unlock(&s->lock);
		if (!stream_write_all(c->fd, &answer, sizeof(answer)))
			return;
	}
}

static void *conn_thread(void *arg)
{
	struct sock_conn *c = arg;
	char byte;

	cpu_pin(c->s->o->cpus, ROLE_HOST, 0);
	if (c->port == BENCH_PORT_CONN) {
		run_count_conn(&c->s->run, 0, false);
		while (recv(c->fd, &byte, 1, 0) < 0 && errno == EINTR && !proc_interrupted)
			;
	} else {
		conn_talk(c);
	}
	close(c->fd);
	if (c->port == BENCH_PORT_CONN)
		run_count_conn(&c->s->run, 0, true);
	free(c);
	return NULL;
}

static void accept_one(struct sock_server *s, int listen_fd, uint32_t port)
{
	struct sock_conn *c = malloc(sizeof(*c));
	pthread_attr_t attr;
	pthread_t tid;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || !c) {
		free(c);
		if (fd >= 0)
			close(fd);
		return;
	}
	*c = (struct sock_conn){.s = s, .port = port, .fd = fd};
	sock_limit(fd, s->o);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (pthread_create(&tid, &attr, conn_thread, c) != 0) { /* refused: the client sees it */
		close(fd);
		free(c);
	}
	pthread_attr_destroy(&attr);
}

static int listen_at(const struct socket_family *family, const struct bench_opts *o, uint32_t port,
		     int type, struct proc_err *err)
{
	struct stream_ctx s = {.family = family, .o = o, .err = err, .type = type, .listen_fd = -1};
	int rc;

	s.addr_len = family->port(&s.addr, UINT32_MAX, port);
	rc = stream_listen(&s);
	if (rc < 0 && s.listen_fd >= 0)
		close(s.listen_fd);
	return rc < 0 ? rc : s.listen_fd;
}

int sock_server_run(const struct socket_family *family, const struct bench_opts *o, int fd,
		    struct proc_err *err)
{
	/* Threads may outlive this function by a moment, until the process ends. */
	static struct sock_server s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	static const uint32_t ports[] = {BENCH_PORT_STREAM, BENCH_PORT_SEQ, BENCH_PORT_CONN};
	struct pollfd p[4];
	int rc = 0;

	s.o = o;
	p[3] = (struct pollfd){.fd = fd, .events = POLLIN};
	for (unsigned i = 0; i < 3; i++) {
		bool seq = ports[i] == BENCH_PORT_SEQ;

		/* A kernel without SEQPACKET serves streams. */
		p[i] = (struct pollfd){.events = POLLIN};
		p[i].fd = rc < 0 ? -1
				 : listen_at(family, o, ports[i],
					     seq ? SOCK_SEQPACKET : SOCK_STREAM, err);
		if (p[i].fd < 0 && !seq && rc == 0)
			rc = p[i].fd;
	}
	if (rc == 0 && fd >= 0)
		rc = proc_child_send(fd, 'r');
	else if (rc == 0)
		fprintf(stderr, "vsock-bench: serving on %s; Ctrl-C ends it\n", o->server_uri);
	while (rc == 0 && !proc_interrupted && !p[3].revents) {
		if (poll(p, 4, STOP_CHECK_MS) < 0 && errno != EINTR)
			rc = -errno;
		for (unsigned i = 0; i < 3 && rc == 0 && !proc_interrupted; i++)
			if (p[i].revents & POLLIN)
				accept_one(&s, p[i].fd, ports[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		if (p[i].fd >= 0)
			close(p[i].fd);
	return rc;
}
