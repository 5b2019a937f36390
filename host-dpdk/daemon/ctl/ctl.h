/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockctl: sends requests to zvsockd's control socket, and shows the answers.
 *
 * A command builds a request, ctl_ask() returns the answer or ends the program with one line, and
 * the command prints it: as a table, or as it is with --json. The program does not use DPDK and
 * needs no rights except to write to the socket.
 */
#ifndef ZVCTL_H
#define ZVCTL_H

#include "control/protocol.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CTL_ANSWER_MS  15000 /* time for the daemon to answer */
#define CTL_ANSWER_MAX (512u << 20)

/* Exit codes; zvsockctl(1) lists them. */
enum { CTL_OK, CTL_FAILED, CTL_USAGE, CTL_NO_DAEMON, CTL_VERSION };

struct ctl {
	const char *socket;
	const char *guest; /* NULL: all */
	const char *file;  /* capture */
	bool json, hugepages, multi_queue, pass_fd;
	uint32_t port;			      /* connect; 0: not given */
	uint64_t snaplen, count, duration_ms; /* UINT64_MAX: not given */
	const char *memory;
	int fd;	  /* of the control socket, -1 before ctl_first */
	int got;  /* descriptor that has come with an answer; -1: none */
	char *in; /* data from the daemon not read yet */
	size_t in_len, in_size;
};

/* Writes one line to standard error and exits. */
void ctl_die(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* A socket connected to the Unix socket @path. -1 and errno; dies if @path is too long: @what says
 * where it was given. */
int ctl_socket(const char *what, const char *path);

/* Sends @request, which it frees, with the descriptor @pass (-1: none). */
void ctl_send(struct ctl *c, json_t *request, int pass);

/* The next line of the daemon within @timeout_ms (-1: no limit); dies if there is none, or if it is
 * a refusal. */
json_t *ctl_answer(struct ctl *c, int timeout_ms);

/* Connects to the daemon, sends the first request, which it frees, and returns the answer. Waits
 * for a place as long as the daemon has none for this user. */
json_t *ctl_first(struct ctl *c, json_t *request);

/* Sends {"cmd":@cmd} with the guest, if one is named, and returns the answer. */
json_t *ctl_ask(struct ctl *c, const char *cmd);

/* Prints the answer, which it frees, without the members that belong to the protocol. */
void ctl_print_json(json_t *answer, bool to_stderr);

/* Commands: each returns the exit code. */
int ctl_list(struct ctl *c);
int ctl_ss(struct ctl *c);
int ctl_guests(struct ctl *c);
int ctl_regions(struct ctl *c);
int ctl_stats(struct ctl *c);
int ctl_capture(struct ctl *c);
int ctl_qemu_args(struct ctl *c);
int ctl_join(struct ctl *c);

#endif
