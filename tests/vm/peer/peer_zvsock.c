/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM tests' conversations over the public API: vm_host_app in a host application whose process
 * is the backend of one guest, vm_pmd_app (static, without the host's library) in a guest whose
 * device it drives.
 *
 *	vm_host_app host:SOCKET,cid=N [OPTION=VALUE...]
 *	vm_pmd_app vfio:BDF[,BDF...] [OPTION=VALUE...]
 *	vm_pmd_app vsock: [OPTION=VALUE...]
 *
 * Options: queues, ring_size, rx_buf, tx_buf, buf_alloc, tx_timeout_ms; shift is added to the ports
 * of its servers. Connections are dealt out to the queues in turn.
 *
 * Serves echo, seq and xfer. Reads commands from standard input, one a line, and answers each with
 * "ID ok ..." or "ID FAILED ...". Ends with its input.
 *
 *	ID VERB ARGS	peer.h
 *	ID borrow, loan, return	loan.h
 *	ID stats
 *	ID break	vm_pmd_app: as if something had written over the driver's ring, which the
 *			device must find out
 *	ID quit
 */
#include "loan.h"
#include "peer.h"

#include <zvsock.h>
#ifdef WITH_HOST
#include <zvsock_host.h>
#else
#include "socket/core/state.h"
#include "vsock_drv.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct zv_dev *dev;
static unsigned queues;
static uint32_t shift;
static bool quit;

static const struct {
	unsigned port;
	enum zv_type type;
	enum flow_kind kind;
} services[] = {
	{PORT_ECHO, ZV_STREAM, ECHO_SERVER},
	{PORT_SEQ, ZV_SEQPACKET, SEQ_SERVER},
	{PORT_XFER, ZV_STREAM, XFER_SERVER},
};
#define SERVICES (sizeof(services) / sizeof(services[0]))

static int zvsock_connect(struct flow *f, const char *where, uint32_t port)
{
	static unsigned turn;
	struct zv_conn *conn;
	int err = zv_connect(zv_queue(dev, turn++ % queues), strtoull(where, NULL, 10), port,
			     f->kind == SEQ_CLIENT ? ZV_SEQPACKET : ZV_STREAM, &conn);

	if (err < 0)
		return err;
	f->conn = conn;
	zv_set_user(conn, f);
	return 0;
}

static ssize_t zvsock_recv(struct flow *f, void *buf, size_t len, bool *eor)
{
	uint32_t flags = 0;
	ssize_t n = zv_recv(f->conn, buf, len, &flags);

	if (eor)
		*eor = flags & ZV_EOR;
	return n >= 0 && (flags & ZV_TRUNC) ? -EMSGSIZE : n;
}

static ssize_t zvsock_send(struct flow *f, const void *buf, size_t len, bool eor)
{
	return zv_send(f->conn, buf, len, eor ? ZV_EOR : 0);
}

static int zvsock_shutdown(struct flow *f)
{
	return zv_shutdown(f->conn, 1);
}

static void zvsock_close(struct flow *f)
{
	zv_set_user(f->conn, NULL);
	zv_conn_close(f->conn);
}

static void zvsock_want(struct flow *f, unsigned what)
{
	zv_set_events(f->conn,
		      (what & WANT_IN ? ZV_EV_IN : 0u) | (what & WANT_OUT ? ZV_EV_OUT : 0u));
}

const struct peer_ops peer_ops = {zvsock_connect,  zvsock_recv,	 zvsock_send,
				  zvsock_shutdown, zvsock_close, zvsock_want};

/* @user: the command's ID, from malloc. */
void job_said(void *user, const char *result, bool ok)
{
	printf("%s %s %s\n", (char *)user, ok ? "ok" : "FAILED", result);
	free(user);
}

void server_broke(const struct flow *f, const char *why)
{
	printf("server kind %d: %s\n", (int)f->kind, why);
}

static void say_stats(const char *id)
{
	struct zv_dev_info info = {.size = sizeof(info)};
	struct zv_queue_stats s = {0};

	zv_dev_info(dev, &info);
	for (unsigned i = 0; i < queues; i++) {
		struct zv_queue_stats one;

		zv_queue_stats(zv_queue(dev, i), &one, sizeof(one));
		s.sessions += one.sessions;
		s.ring_broken += one.ring_broken;
		s.rx_bad_hdr += one.rx_bad_hdr + one.rx_bad_cid + one.rx_bad_type +
				one.rx_bad_chain + one.rx_bad_credit;
		s.rx_overrun += one.rx_overrun;
		s.conns_accepted += one.conns_accepted;
		s.conns_reset += one.conns_reset;
	}
	printf("%s ok {\"servers\": %u, \"up\": %u, \"sessions\": %llu, \"ring_broken\": %llu, "
	       "\"rx_bad\": %llu, \"rx_overrun\": %llu, \"accepted\": %llu, \"reset\": %llu}\n",
	       id, server_flows, info.queues_up, (unsigned long long)s.sessions,
	       (unsigned long long)s.ring_broken, (unsigned long long)s.rx_bad_hdr,
	       (unsigned long long)s.rx_overrun, (unsigned long long)s.conns_accepted,
	       (unsigned long long)s.conns_reset);
}

#ifdef WITH_HOST
static bool break_ring(void)
{
	return false;
}
#else
/* The avail index of queue 0's transmit ring runs away, and the device is told to look; the queue
 * does nothing until it has. False: not within a minute. */
static bool break_ring(void)
{
	struct vsock_pair *p = (struct vsock_pair *)(void *)zv_queue(dev, 0)->tq;
	struct virtq_areas a;
	uint16_t *idx;

	p->layout->areas(&p->tx, &a);
	idx = (uint16_t *)a.driver + 1;
	__atomic_store_n(idx, (uint16_t)(*idx + 0x4000), __ATOMIC_RELEASE);
	virtq_notify(&p->kick_tx);
	for (unsigned ms = 0; ms < 60000; ms++) {
		if (!__atomic_load_n(&p->tq.up, __ATOMIC_RELAXED))
			return true;
		(void)usleep(1000);
	}
	return false;
}
#endif

static void command(char *line)
{
	char *argv[8], *id = strtok(line, " "), *word, *kept, said[128];
	int argc = 0;

	if (!id)
		return;
	while (argc < 8 && (word = strtok(NULL, " ")))
		argv[argc++] = word;
	if (argc && loan_command(zv_queue(dev, 0), argc, argv, said, sizeof(said)))
		printf("%s %s\n", id, said);
	else if (argc == 1 && strcmp(argv[0], "stats") == 0)
		say_stats(id);
	else if (argc == 1 && strcmp(argv[0], "break") == 0 && break_ring())
		printf("%s ok done\n", id);
	else if (argc == 1 && strcmp(argv[0], "quit") == 0)
		quit = true;
	else if (!(kept = strdup(id)) || job_start(argc, argv, kept) < 0) {
		printf("%s FAILED no such command\n", id);
		free(kept);
	}
}

/* Commands may come in pieces or several at once. */
static void read_commands(void)
{
	static char buf[4096];
	static size_t have;
	ssize_t n = read(STDIN_FILENO, buf + have, sizeof(buf) - 1 - have);
	char *end;

	if (n <= 0) {
		quit = true;
		return;
	}
	have += (size_t)n;
	buf[have] = '\0';
	while ((end = strchr(buf, '\n'))) {
		*end++ = '\0';
		command(buf);
		have -= (size_t)(end - buf);
		memmove(buf, end, have + 1);
	}
}

static void accept_all(struct zv_queue *queue, uint32_t port)
{
	struct zv_conn *conn;

	while (zv_accept(queue, port, &conn) == 0) {
		struct flow *f = NULL;

		for (unsigned i = 0; i < SERVICES; i++)
			if (services[i].port + shift == port)
				f = flow_new(services[i].kind, NULL);
		if (!f) {
			zv_conn_close(conn);
			continue;
		}
		f->conn = conn;
		zv_set_user(conn, f);
		zvsock_want(f, WANT_IN);
	}
}

static void handle(struct zv_queue *queue, const struct zv_event *ev)
{
	if (ev->events & ZV_EV_ACCEPT)
		accept_all(queue, ev->port);
	else if (ev->events & ZV_EV_CONNECT)
		flow_connected(ev->user, ev->err);
	else if (ev->user && !loan_event(ev->user))
		flow_run(ev->user);
}

/* True: it has nothing to do and is armed. */
static bool run_queue(struct zv_queue *queue)
{
	struct zv_event ev;
	int n = 0;

	/* One at a time: what follows from an event may close the next one's connection. */
	for (unsigned i = 0; i < 64 && (n = zv_poll(queue, &ev, 1)) > 0; i++)
		handle(queue, &ev);
	return n == 0 && zv_arm(queue) == 0;
}

static void loop(void)
{
	struct pollfd fds[ZV_QUEUES_MAX + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};

	for (unsigned q = 0; q < queues; q++)
		fds[q + 1] = (struct pollfd){.fd = zv_fd(zv_queue(dev, q)), .events = POLLIN};
	while (!quit) {
		int timeout = -1;

		for (unsigned q = 0; q < queues; q++)
			if (!run_queue(zv_queue(dev, q)))
				timeout = 0;
		if (poll(fds, queues + 1, timeout) > 0 && fds[0].revents)
			read_commands();
	}
}

static void on_log(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	if (level <= ZV_LOG_INFO)
		fprintf(stderr, "%s\n", line);
}

static uint32_t tx_timeout_ms; /* 0: as the library has it */

/* "name=number" into @o. */
static bool take_option(struct zv_opts *o, const char *text)
{
	const char *value = strchr(text, '=');
	const struct {
		const char *name;
		uint32_t *to;
	} known[] = {
		{"queues=", &o->queues}, {"ring_size=", &o->ring_size},	    {"rx_buf=", &o->rx_buf},
		{"tx_buf=", &o->tx_buf}, {"buf_alloc=", &o->buf_alloc},	    {"flags=", &o->flags},
		{"shift=", &shift},	 {"tx_timeout_ms=", &tx_timeout_ms}};

	for (size_t i = 0; value && i < sizeof(known) / sizeof(known[0]); i++)
		if (strncmp(text, known[i].name, strlen(known[i].name)) == 0) {
			*known[i].to = (uint32_t)strtoul(value + 1, NULL, 10);
			return true;
		}
	return false;
}

static int open_device(const char *uri, const struct zv_opts *opts)
{
#ifdef WITH_HOST
	if (zv_host_init() < 0)
		return -1;
#endif
	return zv_open(&dev, uri, opts);
}

int main(int argc, char **argv)
{
	/* A guest whose CPU is emulated on a busy machine may be held up for seconds. */
	struct zv_opts opts = {.size = sizeof(opts), .connect_timeout_ns = 120000000000u};
	bool good = argc >= 2;

	for (int i = 2; i < argc; i++)
		good = good && take_option(&opts, argv[i]);
	if (!good) {
		fprintf(stderr, "usage: %s URI [OPTION=VALUE...]\n", argv[0]);
		return 2;
	}
	opts.tx_timeout_ns = tx_timeout_ms * 1000000ull;
	setvbuf(stdout, NULL, _IOLBF, 0);
	zv_set_log(on_log, NULL);
	if (open_device(argv[1], &opts) < 0) {
		fprintf(stderr, "%s: %s\n", argv[0], zv_error_text());
		return 1;
	}
	queues = zv_nqueues(dev);
	for (unsigned i = 0; i < SERVICES; i++) {
		if (zv_listen(dev, services[i].port + shift, services[i].type, 256) < 0) {
			fprintf(stderr, "%s: %s\n", argv[0], zv_error_text());
			return 1;
		}
	}
	puts("serving");
	loop();
	zv_close(dev);
	return 0;
}
