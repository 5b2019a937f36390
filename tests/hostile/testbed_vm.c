/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The testbed of a hostile guest in a VM. The host is zvsockd, the bystander a stock guest; both
 * are in the hands of the harness (tests/vm/testbed_hostile.py), at the other end of a
 * virtio-serial port: a line with a question, a line with the answer.
 */
#include "suite.h"
#include "testbed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BY_BYTES  4096u
#define UP_AGE_NS 20000000u /* how old an answer to "up" may be */

char testbed_victim[64], testbed_bystander[64];
const char *testbed_program;
const unsigned testbed_asks = MAX_CONNS;

static FILE *to, *from;

/* The answer to @question, valid until the next. The end when nobody answers: nothing can be judged
 * any more. */
static const char *ask(const char *question)
{
	static char answer[4096];

	if (fprintf(to, "%s\n", question) < 0 || fflush(to) < 0 ||
	    !fgets(answer, sizeof(answer), from)) {
		fprintf(stderr, "the harness does not answer \"%s\"\n", question);
		exit(99);
	}
	answer[strcspn(answer, "\n")] = '\0';
	return answer;
}

static uint64_t ask_number(const char *question)
{
	return strtoull(ask(question), NULL, 10);
}

int testbed_start(bool with_bystander)
{
	const char *path = getenv("HOSTILE_PORT");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1, copy = fd < 0 ? -1 : dup(fd);

	to = fd < 0 ? NULL : fdopen(fd, "w");
	from = copy < 0 ? NULL : fdopen(copy, "r");
	if (!to || !from || !with_bystander) {
		fprintf(stderr, "HOSTILE_PORT: cannot open %s: %s\n", path ? path : "(not set)",
			strerror(errno));
		return 99;
	}
	return testbed_bystander_fault() ? 99 : 0;
}

bool testbed_stop(void)
{
	fclose(to);
	fclose(from);
	return true;
}

int testbed_group_end(void **state)
{
	(void)state;
	return testbed_stop() ? 0 : -1;
}

const char *testbed_lacks(unsigned needs)
{
	return needs & NEEDS_MEMORY_AT_THE_TOP ? "no VM has memory at the end of 64 bits"
	       : needs & NEEDS_4_GIB	       ? "takes a buffer of 4 GiB, more than the VM has"
	       : needs & NEEDS_NOTHING_AT_0    ? "a PC has memory at address 0"
	       : needs & NEEDS_LOANS	       ? "zvsockd keeps no loans"
	       : needs & NEEDS_EXACT_CREDIT    ? "zvsockd empties a connection's buffer at once"
	       : needs & NEEDS_EVENT_RING && !getenv("HOSTILE_WHOLE")
		       ? "QEMU's vsock device keeps the event virtqueue"
	       : needs & NEEDS_PACKED && !getenv("HOSTILE_PACKED")
		       ? "QEMU's device has split rings only"
	       : needs & NEEDS_DGRAM   ? "zvsockd binds no port of datagrams"
	       : needs & NEEDS_BACKLOG ? "zvsockd asks its endpoint before it accepts"
				       : NULL;
}

/* ---- looking at it ---- */

/* "name value" pairs; those of struct zv_queue_stats that cases look at. */
struct zv_queue_stats testbed_stats(void)
{
	static const struct {
		const char *name;
		size_t off;
	} more[] = {{"rst_sent", CNT(rst_sent)},
		    {"rst_dropped", CNT(rst_dropped)},
		    {"conns_accepted", CNT(conns_accepted)},
		    {"conns_refused", CNT(conns_refused)}};
	struct zv_queue_stats st = {0};
	char line[4096], *word, *rest = line;

	(void)snprintf(line, sizeof(line), "%s", ask("stats"));
	while ((word = strtok_r(rest, " ", &rest))) {
		const char *number = strtok_r(rest, " ", &rest);
		uint64_t v = number ? strtoull(number, NULL, 10) : 0;

		for (unsigned i = 0; i < n_faults; i++)
			if (strcmp(word, faults[i].name) == 0)
				memcpy((char *)&st + faults[i].off, &v, sizeof(v));
		for (unsigned i = 0; i < sizeof(more) / sizeof(more[0]); i++)
			if (strcmp(word, more[i].name) == 0)
				memcpy((char *)&st + more[i].off, &v, sizeof(v));
	}
	return st;
}

uint64_t testbed_counter(size_t offset)
{
	struct zv_queue_stats st = testbed_stats();

	return counter_at(&st, offset);
}

static uint64_t asked_up;

/* Pollers ask all the time. */
bool testbed_victim_up(void)
{
	static bool up;

	if (!asked_up || testbed_now() - asked_up > UP_AGE_NS) {
		up = ask_number("up");
		asked_up = testbed_now();
	}
	return up;
}

static bool is_up(void *arg)
{
	asked_up = 0;
	return testbed_victim_up() == *(bool *)arg;
}

bool testbed_wait_up(bool up)
{
	return testbed_until(is_up, &up);
}

/* Of zvsockd. */
uint64_t testbed_heap(void)
{
	return ask_number("heap");
}

static bool went_on(void *arg)
{
	return ask_number("bystander") >= *(uint64_t *)arg + BY_BYTES;
}

const char *testbed_bystander_fault(void)
{
	static uint64_t last;

	if (!testbed_until(went_on, &last))
		return "bystander: makes no progress, or has failed";
	last = ask_number("bystander");
	return NULL;
}

/* ---- what the host does ---- */

void testbed_connect(uint32_t port)
{
	char question[32];

	(void)snprintf(question, sizeof(question), "connect %u", port);
	(void)ask(question);
}

int testbed_connect_result(void)
{
	return (int)strtol(ask("result"), NULL, 10);
}

/* A hybrid socket is closed, whatever the guest has answered. */
bool testbed_connect_failed(int err)
{
	return err < 0 && testbed_connect_result() < 0;
}

/* Cases with NEEDS_LOANS do not run here. */
unsigned testbed_loans(void)
{
	return 0;
}

void testbed_release(void)
{
}
