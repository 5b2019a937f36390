/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of channels share: a real zvsockd, two applications in the test's process, what
 * zvsockctl says of regions and connections. Failures are cmocka's.
 */
#ifndef CHAN_SIDE_H
#define CHAN_SIDE_H

#include "conversation.h"
#include "zvd_fixture.h"

#define PORT	    5000u /* of streams; PORT + 1: of SEQPACKET sockets */
#define MIB	    (1u << 20)
#define STREAM_SIZE (16u * MIB)

/* Whoever is late on a busy machine has a channel all the same. */
#define CONF "applications = @apps\nchannel_timeout_ms = 600000\n"

/* `other` has two queues and listens. */
extern struct zv_dev *cs_app, *cs_other;

/* For cmocka: zvsockd with @conf, and both applications. */
int cs_start(const char *program, const char *conf);
int cs_stop(void **state);

extern char cs_answer[65536]; /* to the last one */
void cs_ask(const char *cmd);
/* How often @text is in it. */
unsigned cs_times(const char *text);
/* The number @key of the first region. */
uint64_t cs_region(const char *key);
/* For zf_until: no part is taken; there is no region. */
bool cs_all_free(void *arg);
bool cs_no_region(void *arg);
/* Connections that go by a channel, each of them seen from both devices. */
unsigned cs_channels(void);
/* A counter of the two. */
long cs_counted(const char *name);

struct cs_pair {
	struct zf_conn *a, *b; /* of cs_app, of cs_other */
};
struct cs_pair cs_joined(enum zv_type type);
/* conv_whole() with both. */
void cs_converse(struct cs_pair p, enum zv_type type);

#endif
