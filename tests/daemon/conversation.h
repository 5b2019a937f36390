/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is sent over a connection between two devices of zvd_fixture.h, and checked at the other
 * end. Failures are cmocka's.
 */
#ifndef CONVERSATION_H
#define CONVERSATION_H

#include "zvd_fixture.h"

/* Sends @text, and receives it at the other end; @flags: 0 (a stream), or ZV_EOM (a message). */
void conv_say(struct zf_conn *from, struct zf_conn *to, const char *text, uint32_t flags);
/* Texts in both directions, before and after @a is half closed. Closes both ends. */
void conv_whole(struct zf_conn *a, struct zf_conn *b, enum zv_type type);
/* Sends @size bytes of a stream, each of which is compared at the other end. */
void conv_bulk(struct zf_conn *from, struct zf_conn *to, size_t size);

#endif
