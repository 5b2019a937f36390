/* SPDX-License-Identifier: BSD-3-Clause */
#include "thread_time.h"

#include "clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The beginning of /proc/self/task/@tid/@name. */
static bool read_some(pid_t tid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

uint64_t thread_waits(void)
{
	struct rusage u = {0};

	(void)getrusage(RUSAGE_THREAD, &u);
	return (uint64_t)u.ru_nvcsw;
}

struct thread_time thread_time_now(pid_t tid)
{
	struct thread_time t = {.at_ns = now_ns()};
	char text[512];
	const char *end;

	if (!read_some(tid, "schedstat", text, sizeof(text)) ||
	    sscanf(text, "%" SCNu64 " %" SCNu64, &t.ran_ns, &t.wait_ns) != 2 || !t.ran_ns)
		return t;
	if (!read_some(tid, "stat", text, sizeof(text)))
		return t;
	end = strrchr(text, ')'); /* of the name, in which anything may be */
	t.known = end && sscanf(end + 1, " %c", &t.state) == 1;
	return t;
}

/* In which of the three the thread was most of the time. */
static const char *advice(uint64_t ran, uint64_t wait, uint64_t slept, char state)
{
	if (wait >= ran && wait >= slept)
		return "other programs have its CPU";
	if (ran >= slept)
		return "it has too much to do";
	if (state == 'D')
		return "it waits for a disk, or for memory";
	return "it was stopped, or waits for another process";
}

void thread_time_text(const struct thread_time *from, const struct thread_time *to, char *text,
		      size_t size)
{
	uint64_t all = to->at_ns - from->at_ns, ran = to->ran_ns - from->ran_ns;
	uint64_t wait = to->wait_ns - from->wait_ns, rest;

	if (!from->known || !to->known) {
		(void)snprintf(text, size, "does another program have its CPU?");
		return;
	}
	rest = all > ran + wait ? all - ran - wait : 0;
	if (to->state == 'R') { /* it waits for a CPU since then */
		wait += rest;
		rest = 0;
	}
	(void)snprintf(text, size,
		       "of the last %" PRIu64 " ms it ran for %" PRIu64
		       ", waited for a CPU for %" PRIu64 " and slept for %" PRIu64
		       " (state %c): %s",
		       all / 1000000, ran / 1000000, wait / 1000000, rest / 1000000, to->state,
		       advice(ran, wait, rest, to->state));
}
