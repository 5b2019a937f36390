/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture: opens the file with the user's own permissions, passes the descriptor to the daemon, and
 * waits for the end. The daemon writes the file, so packets do not pass through this program, and
 * killing it ends the capture.
 */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_MS 1000

static int open_file(const char *name)
{
	int fd;

	if (strcmp(name, "-") == 0) {
		if (isatty(STDOUT_FILENO))
			ctl_die(CTL_USAGE, "capture -: standard output is a terminal; pipe it, for "
					   "example into \"tshark -r -\"");
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	} else {
		/* Only the user may read the payload. */
		fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		ctl_die(CTL_FAILED, "%s: %s", name, strerror(errno));
	return fd;
}

static json_t *request_of(const struct ctl *c)
{
	json_t *r = json_pack("{ss}", "cmd", "capture");

	if (c->guest)
		(void)json_object_set_new(r, "guest", json_string(c->guest));
	if (c->snaplen != UINT64_MAX)
		(void)json_object_set_new(r, "snaplen", json_integer((json_int_t)c->snaplen));
	if (c->count != UINT64_MAX)
		(void)json_object_set_new(r, "count", json_integer((json_int_t)c->count));
	if (c->duration_ms != UINT64_MAX)
		(void)json_object_set_new(r, "duration_ms",
					  json_integer((json_int_t)c->duration_ms));
	return r;
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/*
 * Waits for the end of the capture. A signal requests it; a second one, at least a second later,
 * ends the wait. Signals within a second count once, because timeout(1) signals its child and its
 * group.
 */
static json_t *wait_end(struct ctl *c, int signals)
{
	struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	struct signalfd_siginfo si;
	int64_t stopped = 0;

	for (;;) {
		json_t *answer;

		if (!c->in_len && poll(p, 2, stopped ? CTL_ANSWER_MS : -1) < 0)
			continue;
		if (p[1].revents && read(signals, &si, sizeof(si)) == sizeof(si)) {
			if (stopped && now_ms() - stopped >= AGAIN_MS)
				ctl_die(CTL_FAILED, "interrupted again: not waiting for the end");
			if (!stopped)
				ctl_send(c, json_pack("{ss}", "cmd", "stop"), -1);
			stopped = stopped ? stopped : now_ms();
			continue;
		}
		answer = ctl_answer(c, CTL_ANSWER_MS);
		if (json_object_get(answer, "event"))
			return answer;
		json_decref(answer); /* to "stop" */
	}
}

static int report(const struct ctl *c, json_t *end)
{
	bool failed = !json_is_true(json_object_get(end, "ok"));
	json_int_t dropped = json_integer_value(json_object_get(end, "dropped"));
	const char *why = json_string_value(json_object_get(end, "end"));
	const char *error = json_string_value(json_object_get(end, "error"));

	if (c->json) {
		ctl_print_json(json_incref(end), strcmp(c->file, "-") == 0);
	} else {
		(void)fprintf(stderr,
			      "zvsockctl: %" JSON_INTEGER_FORMAT " packets, %" JSON_INTEGER_FORMAT
			      " bytes written, %" JSON_INTEGER_FORMAT " packets dropped\n",
			      json_integer_value(json_object_get(end, "packets")),
			      json_integer_value(json_object_get(end, "bytes")), dropped);
		if (dropped && !failed)
			(void)fprintf(stderr,
				      "zvsockctl: packets came faster than they were written; "
				      "--snaplen keeps less of each\n");
		if (why && strcmp(why, "guest-removed") == 0)
			(void)fprintf(stderr, "zvsockctl: the guest has been removed\n");
	}
	if (failed)
		ctl_die(CTL_FAILED, "%s: %s; the capture has ended",
			strcmp(c->file, "-") == 0 ? "standard output" : c->file,
			error ? error : "unknown error");
	json_decref(end);
	return CTL_OK;
}

int ctl_capture(struct ctl *c)
{
	json_t *answer, *end;
	json_int_t guests;
	sigset_t set;
	int file, signals;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		ctl_die(CTL_FAILED, "signalfd: %s", strerror(errno));
	/* Reports most errors before a file is created or truncated. */
	json_decref(ctl_ask(c, "guests"));
	file = open_file(c->file);
	ctl_send(c, request_of(c), file);
	(void)close(file);
	if (strcmp(c->file, "-") ==
	    0) /* so that the reader gets end of file when the daemon closes the file */
		(void)close(STDOUT_FILENO);
	answer = ctl_answer(c, CTL_ANSWER_MS);
	guests = json_integer_value(json_object_get(answer, "guests"));
	(void)fprintf(stderr,
		      "zvsockctl: capturing %" JSON_INTEGER_FORMAT " guest%s; Ctrl-C ends it\n",
		      guests, guests == 1 ? "" : "s");
	json_decref(answer);
	end = wait_end(c, signals);
	(void)close(signals);
	return report(c, end);
}
