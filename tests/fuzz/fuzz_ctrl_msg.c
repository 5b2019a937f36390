/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages about channels: what a control connection can carry after HELLO.
 *
 * The input is a piece of a control stream. Every prefix of it is parsed from memory of just that
 * size. What must hold: a message is taken only whole, a verdict does not change when more arrives,
 * and what was parsed can be put and parsed again with the same result.
 */
#include "fuzz.h"
#include "proto/ctrl/ctrl_msg.h"

#include <errno.h>

#define PREFIXES 256u /* beyond that, only the length of the message matters */

static int parse(struct ctrl_msg *m, const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	int ret;

	if (n)
		memcpy(copy, data, n);
	ret = ctrl_msg_get(m, copy, n);
	free(copy);
	return ret;
}

static void check_taken(const struct ctrl_msg *m, int len, size_t size)
{
	uint8_t wire[CTRL_MSG_MAX], twice[CTRL_MSG_MAX];
	struct ctrl_msg again;
	uint32_t n = ctrl_msg_put(wire, m);

	FZ_CHECK(len >= (int)n && len <= (int)ZV_CTRL_MAX_LEN && (size_t)len <= size);
	FZ_CHECK(n > CTRL_FRAME_LEN && n <= CTRL_MSG_MAX);
	FZ_CHECK(parse(&again, wire, n) == (int)n);
	FZ_CHECK(parse(&again, wire, n - 1) == 0);
	FZ_CHECK(again.type == m->type && ctrl_msg_put(twice, &again) == n &&
		 memcmp(wire, twice, n) == 0);
	if (m->type == CTRL_OFFER)
		FZ_CHECK(m->offer.gpa + m->offer.size > m->offer.gpa);
	if (m->type == CTRL_REGION && !(m->region.flags & CTRL_REGION_GONE))
		FZ_CHECK(m->region.size && (m->region.gpa == CTRL_BY_FD ||
					    m->region.gpa + m->region.size > m->region.gpa));
	if (m->type == CTRL_REGION_ACK)
		FZ_CHECK(m->region_ack.result <= 0 && m->region_ack.result >= -(int)CTRL_ERRNO_MAX);
	if (m->type == CTRL_GRANT)
		FZ_CHECK(m->grant.role <= SHM_ROLE_B);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctrl_msg m, last;
	int ret, verdict;
	bool decided = false;

	verdict = parse(&last, data, size);
	if (verdict > 0)
		check_taken(&last, verdict, size);
	for (size_t n = 0; n <= size && n < PREFIXES; n++) {
		ret = parse(&m, data, n);
		FZ_CHECK(ret == 0 || ret == verdict);
		FZ_CHECK(!decided || ret == verdict);
		FZ_CHECK(ret <= 0 || n >= (size_t)ret);
		decided = ret != 0;
	}
	if (verdict > 0)
		FZ_CHECK(parse(&m, data, (size_t)verdict - 1) == 0);
	return 0;
}
