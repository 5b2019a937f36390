/* SPDX-License-Identifier: BSD-3-Clause */
#include "sock_client.h"

#include "core/target.h"
#include "io/wire.h"
#include "measure/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define DRAIN_NS 10000000000ull /* the server's last closes */

struct sock_client {
	const struct sock_far *far;
	const struct far_end *end;
	enum far_part part;
	struct stream_ctx s;
	int ctrl; /* the control connection; -1: none */
};

void sock_limit(int fd, const struct bench_opts *o)
{
	struct timeval tv = {.tv_sec = (time_t)((o->duration_ns + BENCH_GRACE_NS) / 1000000000u)};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int client_fail(struct sock_client *k, int rc, const char *what)
{
	struct proc_err *err = k->s.err;

	if (proc_interrupted)
		return -EINTR;
	if (!err->text[0])
		snprintf(err->text, sizeof(err->text), "%s", what);
	return rc;
}

/* What a user can do about a connect that failed with -@rc. */
static void client_advise(const struct sock_client *k, int rc, uint32_t port)
{
	char *text = k->s.err->text;
	size_t at = strlen(text), len = sizeof(k->s.err->text) - at;

	if (rc == -EAFNOSUPPORT)
		snprintf(text + at, len, ": this kernel has no such sockets: modprobe vsock");
	else if (rc == -ENODEV || rc == -ENETUNREACH)
		snprintf(text + at, len,
			 ": this kernel has no way to CID %u: a guest needs a vsock device and its "
			 "driver, CID 1 the module vsock_loopback",
			 k->far->cid);
	else
		snprintf(text + at, len, " (CID %u, port %u: is a %s there?)", k->far->cid, port,
			 k->end->controlled ? "vsock-bench --server" : "service");
}

/* A descriptor, or -errno with a sentence. */
static int client_connect(struct sock_client *k, uint32_t port, int type)
{
	int fd;

	k->s.addr_len = k->far->family->port(&k->s.addr, k->far->cid, port);
	k->s.type = type;
	fd = stream_connect(&k->s);
	if (fd < 0) {
		client_advise(k, fd, port);
		return proc_interrupted ? -EINTR : fd;
	}
	sock_limit(fd, k->s.o);
	return fd;
}

/* One exchange on the control connection; without one there is nothing to say. */
static int ctrl_send(struct sock_client *k, enum wire_kind kind, struct side_stats *answer)
{
	struct wire_msg m;

	if (k->ctrl < 0)
		return 0;
	wire_init(&m, kind, k->s.o, k->s.c, 0);
	if (!stream_write_all(k->ctrl, &m, sizeof(m)) ||
	    !stream_read_all(k->ctrl, answer, sizeof(*answer)))
		return client_fail(
			k, -EPROTO,
			"the control connection ended: is that a vsock-bench --server of "
			"this version?");
	return 0;
}

/* The connection for data, whose other end knows what it is for. A descriptor or -errno. */
static int client_open(struct sock_client *k)
{
	const struct bench_opts *o = k->s.o;
	struct wire_msg m;
	int fd = client_connect(k, k->end->port(o, k->part),
				o->type == TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM);
	bool ok = true;

	if (fd < 0 || !k->end->controlled)
		return fd;
	wire_role(&m, far_part_role(k->part), o, k->s.c, 0);
	ok = stream_write_all(fd, &m, sizeof(m)) && stream_read_all(fd, &m, sizeof(m)) &&
	     wire_is_ack(&m);
	if (ok && k->part == FAR_SOURCE) {
		wire_init(&m, W_GO, o, k->s.c, 0);
		ok = stream_write_all(fd, &m, sizeof(m));
	}
	if (ok)
		return fd;
	close(fd);
	return client_fail(k, -EPROTO, "the peer is not a vsock-bench server of this version");
}

/* What the workload does with it. */
static int client_work(struct sock_client *k, struct side_stats *st, struct rtt_result *rtt)
{
	const struct workload_socket *wl = &k->s.c->workload->socket;
	const struct bench_opts *o = k->s.o;
	struct stream_thread t = {.s = &k->s, .role = k->far->role};
	struct stream_io *io = &t.io;
	unsigned char *buf;
	uint64_t cpu0, first;
	size_t cap;

	*io = (struct stream_io){.fd = -1,
				 .size = k->s.c->msg_size,
				 .touch = o->touch || k->s.c->workload->touches,
				 .seqpacket = o->type == TYPE_SEQPACKET,
				 .zeros = k->end->dull && k->part == FAR_SOURCE,
				 .salt = wire_salt(0),
				 .duration_ns = o->duration_ns};
	buf = stream_buffer(io->size, &cap);
	if (!buf)
		return client_fail(k, -ENOMEM, "no memory for a message");
	if (wl->own_conns)
		k->s.addr_len =
			k->far->family->port(&k->s.addr, k->far->cid, k->end->port(o, k->part));
	else
		io->fd = client_open(k);
	if (!wl->own_conns && io->fd < 0) {
		free(buf);
		return io->fd;
	}
	cpu0 = cpu_used_ns();
	first = cpu_now_ns();
	wl->guest(&t, buf, cap);
	st->last_ns = io->last_ns ? io->last_ns : cpu_now_ns();
	st->first_ns = io->first_ns ? io->first_ns : first;
	st->cpu_ns = cpu_used_ns() - cpu0;
	if (io->fd >= 0)
		close(io->fd);
	free(buf);
	st->msgs[0] = io->msgs;
	st->bytes = io->bytes;
	st->errors = io->errors;
	*rtt = t.rtt;
	return proc_interrupted ? -EINTR : 0;
}

/* Asks for the server's counts until the last connections have reached it. */
static int client_end(struct sock_client *k, const struct side_stats *st, struct side_stats *server)
{
	uint64_t deadline = cpu_now_ns() + DRAIN_NS;
	int rc;

	while ((rc = ctrl_send(k, W_END, server)) == 0 && k->ctrl >= 0 &&
	       !run_settled(k->s.c, st, server) && cpu_now_ns() < deadline)
		usleep(1000);
	return rc;
}

static struct sock_client client_of(const struct sock_far *far, const struct bench_opts *o,
				    const struct bench_cell *c, struct proc_err *err)
{
	return (struct sock_client){.far = far,
				    .end = far_end_of(o),
				    .part = c ? far_part_of(c, far->role) : FAR_OWN,
				    .s = {.family = far->family,
					  .o = o,
					  .c = c,
					  .err = err,
					  .type = SOCK_STREAM,
					  .listen_fd = -1,
					  .nconns = 1},
				    .ctrl = -1};
}

int sock_client_meet(const struct sock_far *far, const struct bench_opts *o, struct proc_err *err)
{
	struct sock_client k = client_of(far, o, NULL, err);
	uint32_t port = BENCH_PORT_STREAM;
	int fd;

	for (unsigned i = 0; i < SERVICES_MAX && !k.end->controlled; i++)
		if (o->service[i])
			port = o->service[i];
	fd = client_connect(&k, port, SOCK_STREAM);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int sock_client_run(const struct sock_far *far, const struct bench_opts *o,
		    const struct bench_cell *c, struct bench_result *res, struct proc_err *err)
{
	struct sock_client k = client_of(far, o, c, err);
	struct side_stats st = {0}, server = {0};
	struct rtt_result rtt = {0};
	int rc = 0;

	cpu_pin(o->cpus, far->role, 0);
	if (k.end->controlled)
		rc = k.ctrl = client_connect(&k, BENCH_PORT_STREAM, SOCK_STREAM);
	if (rc >= 0)
		rc = ctrl_send(&k, W_BEGIN, &server);
	if (rc == 0)
		rc = client_work(&k, &st, &rtt);
	if (rc == 0)
		rc = client_end(&k, &st, &server);
	if (rc == 0) {
		run_result(res, c, far->role, &st, k.end->controlled ? &server : NULL, 1);
		res->rtt = rtt;
	}
	if (k.ctrl >= 0)
		close(k.ctrl);
	return rc;
}
