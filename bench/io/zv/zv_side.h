/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side of the zvsock target: a device, its worker threads, their connections.
 *
 * Theory of operation
 * -------------------
 * The *client* drives the tests, the *server* does what it is told. The guest side is the client
 * unless the user says otherwise. Both use the public API only, as documented, and exchange all
 * messages over zvsock itself, so that forked processes, two terminals and a real guest run the
 * same code.
 *
 * For each test the client opens a control connection and sends BEGIN, MARK (in a test that opens
 * its connections before the clock runs, once they are open) and END; the answer to END holds what
 * the server counted. A data connection starts with one 64-byte message (wire.h) that names the
 * role of the server (struct zv_role): SINK receives and verifies, SOURCE sends, and so on. The
 * server answers with ACK, and a role that waits for GO starts on it. Then the data flows, until
 * the sender's zv_shutdown. A role may have a port of its own instead, on which there are no
 * messages. A far end that is not our server (core/far_end.h) gets none of these messages.
 *
 * The workloads define the roles. The code here only assigns connections to them.
 *
 * Each side has T threads; thread t owns the queues t, t + T, t + 2T, ... and all that is on them.
 */
#ifndef BENCH_ZV_SIDE_H
#define BENCH_ZV_SIDE_H

#include "core/workload.h"
#include "io/wire.h"

#include <pthread.h>
#include <zvsock.h>

#define BENCH_EVENTS	  64u
#define BENCH_SENDERS_MAX 1024u

/* Shared with the parent when it forked this side. */
struct side_ctl {
	uint32_t paused; /* futex: 1 while other targets are measured */
	uint32_t stop;
};

struct zv_side {
	const struct bench_opts *o;
	enum bench_role role;
	struct zv_dev *dev;
	struct proc_err *err;
	struct side_ctl *ctl; /* NULL: nobody pauses us */
	unsigned nqueues, nthreads;
	struct worker *workers;
	uint32_t failed; /* a worker gave up: the others stop */
	bool met;	 /* client: the server has accepted a connection */
	/* server: the run since BEGIN */
	pthread_mutex_t lock;
	struct side_stats run;
	uint64_t cpu0;
};

enum bc_state {
	BC_HELLO, /* server: waits for the first message */
	BC_GO,	  /* server: told what to do, not yet when */
	BC_CTRL,  /* server: control connection */
	/* From here on the server plays its role; the states below are those of zv_transfer.c. */
	BC_ROLE,
	BC_SINK,   /* receives and verifies */
	BC_SOURCE, /* sends */
	BC_DRAIN,  /* has sent everything, waits for the peer's close */
	BC_DONE,
};

struct bconn;
struct bmem; /* zv_mem.c */

/* What the server can be on a connection. */
struct zv_role {
	const char *name; /* in the first message of the connection; "" with a port */
	uint32_t port;	  /* every connection there has this role from the start; 0: none */
	/*
	 * Asked for, or accepted on the port. The state afterwards is BC_ROLE unless it sets
	 * another. 0 or -errno. NULL: nothing to do.
	 */
	int (*start)(struct worker *w, struct bconn *bc);
	/* The client said GO, after a start that left BC_GO. NULL: there is no GO. */
	void (*go)(struct worker *w, struct bconn *bc);
	/* Events, ZV_EV_DGRAM among them where w->dgram says so. 1: the connection has done its
	 * part, 0: not yet, -errno. */
	int (*event)(struct worker *w, struct bconn *bc, uint32_t events);
	/*
	 * The connection has ended, @rc as from event: adds what it did to the run by run_add() or
	 * run_count_conn(). NULL: nothing.
	 */
	void (*end)(struct worker *w, struct bconn *bc, int rc);
	/* Gives back what bc->own holds, however the connection ends. NULL: nothing. */
	void (*drop)(struct bconn *bc);
};

struct bconn {
	struct zv_conn *zc;
	struct bconn *next;	    /* free list */
	const struct zv_role *role; /* server */
	void *own;		    /* of the role */
	uint8_t state, qi;	    /* qi: index of the queue in the device */
	bool blocked, zero_copy, touch, coalesce, seqpacket;
	bool registered, has_slot, no_slot; /* zv_mem.h */
	unsigned slot;
	bool zeros;	    /* SINK: of a service, which sends zeros without end; until end_ticks */
	uint32_t size, off; /* of a message; position in the present one */
	uint32_t batch, hello_len;
	uint64_t salt, seq, bytes, errors;
	uint64_t first_ns, last_ns;
	uint64_t duration_ns, end_ticks;
	/*
	 * SOURCE: where the number of messages is told before the last one is sent, for a peer that
	 * is not told by zv_shutdown; the number, 0 while it is open.
	 */
	uint64_t *announce, final;
	struct wire_msg hello;
};

/* One thread's part in a cell, or all of it (core/workload.h). */
struct zv_run {
	struct worker *w;
	const struct bench_cell *c;
	struct side_stats st, server; /* what this thread has counted; the server, at the end */
	struct bench_result *res;     /* for figures beyond the counts; NULL with .threads */
	void *own;		      /* of the workload, from warm to close */
};

struct worker {
	struct zv_side *side;
	unsigned index;
	unsigned nq;
	struct zv_queue *q[BENCH_QUEUES_MAX];
	uint8_t qi[BENCH_QUEUES_MAX];
	struct bconn *senders[BENCH_SENDERS_MAX];
	unsigned nsenders;
	struct bconn *free;
	/* copying calls: one message as it is sent, and room to receive */
	unsigned char *txbuf, *rxbuf;
	size_t buf_len;
	const struct bconn *tx_owner; /* whose message txbuf holds, and which */
	uint64_t tx_seq;
	struct bmem *mem; /* NULL: nothing has been sent from registered memory */
	/* Server: whose role hears of datagrams on a queue of the device (workload/dgram.c). */
	struct bconn *dgram[BENCH_QUEUES_MAX];
	pthread_t tid;
	int rc;
};

/* ---- zv_side.c ---- */

/* Opens the device and allocates the workers. 0 or -errno, sentence in side->err. */
int side_open(struct zv_side *s, const struct bench_opts *o, const char *uri, struct proc_err *err);
/* The same for a side that serves: an application of the host is the host's side then. */
int side_open_server(struct zv_side *s, const struct bench_opts *o, const char *uri,
		     struct proc_err *err);
void side_close(struct zv_side *s);
bool side_is_host_uri(const char *uri);
/* The CID that connections of this side lead to. */
uint64_t side_peer_cid(const struct zv_side *s);

/* Stores the sentence, unless there is one already, and returns @rc. @what may be NULL. */
int side_fail(struct zv_side *s, int rc, const char *what);
/* The same where no library call has failed: zv_error_text() would tell of an older failure. */
int side_fail_own(struct zv_side *s, int rc, const char *what);
/* Forgets the sentence, unless this side has failed for good. */
void side_forgive(struct zv_side *s);

/* True when the parent or the user wants an end. */
bool side_stopping(const struct zv_side *s);
void side_wait_while_paused(struct zv_side *s);

/* Queues index, index + nthreads, ... of the device; buffers for messages of @max_msg bytes. */
int worker_init(struct worker *w, struct zv_side *s, unsigned index, unsigned nthreads,
		uint32_t max_msg);
/* Grows the buffers; contents are lost. */
int worker_buffers(struct worker *w, uint32_t max_msg);
void worker_free(struct worker *w);

/* zv_wait over all queues of the worker; zv_event.queue is the index in its q and qi. */
int worker_wait(struct worker *w, struct zv_event *ev, unsigned max, uint64_t timeout_ns);

/* How long a side waits before it looks at its stop flag again. */
uint64_t side_tick_ns(const struct zv_side *s);

/* Blocking helpers; events of other connections are level-triggered and come again. */
int conn_open(struct worker *w, struct zv_queue *q, uint32_t port, enum zv_type type,
	      struct zv_conn **zc);
int conn_send_all(struct worker *w, struct zv_conn *zc, const void *data, size_t len);
int conn_recv_all(struct worker *w, struct zv_conn *zc, void *data, size_t len);

/* ---- zv_server.c ---- */

/* Serves until side_stopping(). 0 or -errno. */
int server_run(struct zv_side *s);
/* Opens the device o->server_uri, says so, serves until a signal. 0 or -errno. */
int server_main(const struct bench_opts *o, struct proc_err *err);
/* Adds what a data connection did to the run. */
void run_add(struct zv_side *s, const struct bconn *bc);

/* ---- zv_client.c ---- */

/* Lets the sides find out about each other, so that the first cell runs as the last one does. */
int client_meet(struct zv_side *s, struct bench_facts *facts);
int client_run_cell(struct zv_side *s, const struct bench_cell *c, struct bench_result *res);
/* The longest that client_run_cell() may take on a machine that works. */
uint64_t client_limit_ns(const struct bench_opts *o, const struct bench_cell *c);
/* Opens a connection for the data of @c on queue w->q[@i]; its user is @bc. */
int client_open(struct worker *w, struct bconn *bc, const struct bench_cell *c, unsigned i);
/* Where the far end's part in @c is played. */
uint32_t client_port(const struct worker *w, const struct bench_cell *c);
/* Opens and closes @n connections, one after the other. */
int client_connect_warm(struct worker *w, unsigned n);
/* Sends @m, which asks for a role, and waits for the ACK; a service is not asked. 0 or -errno. */
int client_ask(struct worker *w, struct bconn *bc, const struct wire_msg *m);
/* Lets the server's part begin, where it waits for that. 0 or -errno. */
int client_go(struct worker *w, struct bconn *bc, const struct bench_cell *c);

#endif
