/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The messages between a client and a server of vsock-bench, over the connections that they
 * measure. They are the same for libzvsock and for kernel sockets.
 *
 * A control connection (to BENCH_PORT_STREAM) carries BEGIN, MARK and END. The answer to each is
 * struct side_stats: what the server has counted since BEGIN. A data connection (to the same port,
 * or to BENCH_PORT_SEQ) starts with ROLE, which the server answers by ACK; a source then waits for
 * GO. Connections to BENCH_PORT_CONN carry no messages.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "core/bench.h"
#include "core/far_end.h"

#define BENCH_WIRE_MAGIC   0x424e565au /* "ZVNB" */
#define BENCH_WIRE_VERSION 3u

enum wire_kind {
	W_BEGIN = 1,
	W_MARK,
	W_END,
	W_ROLE, /* be what .role says */
	W_GO,
	W_ACK,
};

#define W_ZERO_COPY  (1u << 0)
#define W_TOUCH	     (1u << 1)
#define W_COALESCE   (1u << 2)
#define W_REGISTERED (1u << 3)

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
	char role[24]; /* W_ROLE: a name, ends with zeros */
	uint8_t pad[8];
};
_Static_assert(sizeof(struct wire_msg) == 64, "the first message is 64 bytes");

/* What sets the payload of the connection on @queue apart. */
uint64_t wire_salt(unsigned queue);
void wire_init(struct wire_msg *m, enum wire_kind kind, const struct bench_opts *o,
	       const struct bench_cell *c, unsigned queue);
/* The message that asks the server for @role. */
void wire_role(struct wire_msg *m, const char *role, const struct bench_opts *o,
	       const struct bench_cell *c, unsigned queue);
/* It is one of ours, of this version. */
bool wire_known(const struct wire_msg *m);
/* A task that a server can have: sizes within bounds. */
bool wire_task_ok(const struct wire_msg *m);
/* The server speaks our language and agrees. */
bool wire_is_ack(const struct wire_msg *m);

/*
 * The run since BEGIN, as a server counts it. Threads that count connections do it without a lock,
 * word by word; all else is done under one.
 */
void run_reset(struct side_stats *run);
void run_copy(struct side_stats *dst, const struct side_stats *run);
/* A connection begins, or has ended. */
void run_count_conn(struct side_stats *run, unsigned qi, bool closed);
/* BEGIN, MARK, END: what the server answers; @cpu0: CPU time where the run begins. */
void run_answer(struct side_stats *run, uint64_t *cpu0, const struct wire_msg *m,
		struct side_stats *answer);

/* What the client has opened has reached the server, and its end too where that is counted. */
bool run_settled(const struct bench_cell *c, const struct side_stats *client,
		 const struct side_stats *server);
/*
 * The result of a cell of a client on side @role. A far end that counts nothing (@server NULL) is
 * taken to have had what the client saw.
 */
void run_result(struct bench_result *res, const struct bench_cell *c, enum bench_role role,
		const struct side_stats *client, const struct side_stats *server, unsigned queues);

#endif
