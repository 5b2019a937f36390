/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side of the zvsock target: a device, its worker threads, their connections.
 *
 * Theory of operation
 * -------------------
 * The *client* drives the tests, the *server* does what it is told; the guest side is the client
 * unless the user says otherwise. Only the public API is used, in the ways that it documents, and
 * all agreement between the sides travels over zvsock itself, so that forked processes, two
 * terminals and a real guest run the same code.
 *
 * For each test the client opens a control connection and says BEGIN, MARK (idle only) and END; the
 * answer to END holds what the server counted. Data connections start with one 64-byte message
 * that says what the server shall be: SINK (receive and verify), SOURCE (send; it starts on GO), or
 * ECHO, or one of the hogs of the fairness test. The server answers each with an ACK; then the data
 * flows, and its end is the sender's zv_shutdown. Connect rate and idle connections use ports of
 * their own and no messages.
 *
 * Each side has T threads; thread t owns the queues t, t + T, t + 2T, ... and all that is on them.
 */
#ifndef BENCH_ZV_SIDE_H
#define BENCH_ZV_SIDE_H

#include "core/bench.h"
#include "measure/proc.h"

#include <pthread.h>
#include <zvsock.h>

#define BENCH_PORT_STREAM  5200u
#define BENCH_PORT_SEQ	   5201u
#define BENCH_PORT_CONN	   5202u /* accepted, and closed when the peer closes */
#define BENCH_PORT_HOLD	   5203u /* accepted and held */
#define BENCH_BATCH_MAX	   256u
#define BENCH_EVENTS	   64u
#define BENCH_SENDERS_MAX  1024u
#define BENCH_HOG_BUFS	   4096u
#define BENCH_FAIR_TIMES   4u	       /* a run of fairness lasts so many durations */
#define BENCH_WIRE_MAGIC   0x424e565au /* "ZVNB" */
#define BENCH_WIRE_VERSION 2u

enum wire_kind {
	W_BEGIN = 1,
	W_MARK,
	W_END,
	W_SINK,
	W_SOURCE,
	W_GO,
	W_ECHO,
	W_ACK,
	W_HOG_SINK,    /* receives and never releases */
	W_HOG_SOURCE,  /* sends without end to one that never releases; starts on GO */
	W_HOG_RESERVE, /* reserves buffers and never sends them */
};

#define W_ZERO_COPY (1u << 0)
#define W_TOUCH	    (1u << 1)
#define W_COALESCE  (1u << 2)

/* Everything that is said, little endian, 64 bytes. */
struct wire_msg {
	uint32_t magic;
	uint16_t version;
	uint8_t kind;
	uint8_t flags;
	uint32_t msg_size;
	uint32_t batch;
	uint64_t duration_ns;
	uint64_t salt;
	uint8_t pad[32];
};
_Static_assert(sizeof(struct wire_msg) == 64, "the first message is 64 bytes");

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
	/* server: the run since BEGIN */
	pthread_mutex_t lock;
	struct side_stats run;
	uint64_t cpu0;
};

enum bc_state {
	BC_HELLO,  /* server: waits for the first message */
	BC_GO,	   /* server: SOURCE told what to do, not yet when */
	BC_CTRL,   /* server: control connection */
	BC_SINK,   /* receives and verifies */
	BC_SOURCE, /* sends */
	BC_DRAIN,  /* has sent everything, waits for the peer's close */
	BC_ECHO,
	BC_CLOSER, /* server: connect rate */
	BC_HOLD,   /* idle */
	BC_HOG,	   /* takes buffers and keeps them */
	BC_DONE,
};

struct hog {
	bool reserves; /* else it receives */
	unsigned n;
	struct zv_buf b[BENCH_HOG_BUFS];
};

struct bconn {
	struct zv_conn *zc;
	struct hog *hog;    /* BC_HOG */
	struct bconn *next; /* free list */
	uint8_t state, qi;  /* qi: index of the queue in the device */
	bool blocked, zero_copy, touch, coalesce, seqpacket;
	bool endless;	    /* server: SOURCE for a hog */
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
	pthread_t tid;
	int rc;
};

/* ---- zv_side.c ---- */

/* Opens the device and allocates the workers. 0 or -errno, sentence in side->err. */
int side_open(struct zv_side *s, const struct bench_opts *o, const char *uri, struct proc_err *err);
void side_close(struct zv_side *s);
bool side_is_host_uri(const char *uri);

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

/* ---- workload/throughput.c ---- */

void bc_set_task(struct bconn *bc, const struct wire_msg *m, bool seqpacket);
void bc_start_source(struct worker *w, struct bconn *bc);
/* One batch from each sender that has room. 1: somebody sent, 0: all wait for room. */
int worker_run_senders(struct worker *w);
/* Events of a SINK, SOURCE or DRAIN. 1: the connection has done its part, 0 not yet, -errno. */
int bc_data_event(struct worker *w, struct bconn *bc, uint32_t events);
/*
 * Runs the connections @bcs, one for each queue of the worker, to their end unless @rc is a failure
 * already, closes them and adds up what they did. 0 or -errno.
 */
int client_transfer(struct worker *w, struct bconn *bcs, struct side_stats *st, int rc);
int client_throughput(struct worker *w, const struct bench_cell *c, struct side_stats *st);

/* ---- workload/rtt.c, workload/connrate.c, workload/idle.c ---- */

/* Server: sends back what has arrived. 1: end of stream, 0, -errno. */
int bc_echo(struct worker *w, struct bconn *bc);
/* The same for connections whose other end sends everything back. */
int client_pings(struct worker *w, struct bconn *bcs, struct side_stats *st, struct rtt_result *rtt,
		 int rc);
int client_rtt(struct worker *w, const struct bench_cell *c, struct side_stats *st,
	       struct rtt_result *rtt);
int client_connrate(struct worker *w, const struct bench_cell *c, struct side_stats *st);
/* Opens and closes @n connections, one after the other. */
int client_connect_warm(struct worker *w, unsigned n);
int client_idle_open(struct worker *w, struct zv_conn **zc, unsigned n);
int client_idle_wait(struct worker *w, uint64_t ns);

/* ---- workload/fairness.c ---- */

/* Turns the connection into a hog and takes what there is. 0 or -ENOMEM. */
int hog_start(struct worker *w, struct bconn *bc, bool reserves);
void hog_grab(struct bconn *bc);
/* Gives everything back; before the connection is closed. Nothing for one that is no hog. */
void hog_end(struct bconn *bc);
int client_fairness(struct worker *w, const struct bench_cell *c, struct side_stats *st,
		    struct bench_result *res);

/* ---- zv_server.c ---- */

/* Serves until side_stopping(). 0 or -errno. */
int server_run(struct zv_side *s);

/* ---- zv_client.c ---- */

/* Lets the sides find out about each other, so that the first cell runs as the last one does. */
int client_meet(struct zv_side *s, struct bench_facts *facts);
int client_run_cell(struct zv_side *s, const struct bench_cell *c, struct bench_result *res);
/* What sets the payload of the connection on @queue apart. */
uint64_t wire_salt(unsigned queue);
void wire_init(struct wire_msg *m, enum wire_kind kind, const struct bench_opts *o,
	       const struct bench_cell *c, unsigned queue);

#endif
