/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockctl: asks zvsockd at its control socket, and shows the answers.
 *
 * A command makes a request, ctl_ask() brings the answer or ends the program with one line, and the
 * command prints: a table for people, or the answer itself with --json. The program knows nothing
 * of DPDK and needs no right but to write to the socket.
 */
#ifndef ZVCTL_H
#define ZVCTL_H

#include "control/protocol.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CTL_ANSWER_MS  15000 /* for the daemon to answer */
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
	int fd;	  /* of the control socket, -1 before ctl_connect */
	char *in; /* what the daemon has sent and nobody has read */
	size_t in_len, in_size;
};

/* One line to standard error, and the end. */
void ctl_die(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* A socket connected to the Unix socket @path. -1 and errno; dies when @path is too long: @what
 * says where it stands. */
int ctl_socket(const char *what, const char *path);

/* Connects to the daemon, or dies. */
void ctl_connect(struct ctl *c);

/* Sends @request, which is given away, and @pass (-1: none) with it. */
void ctl_send(struct ctl *c, json_t *request, int pass);

/* The next line of the daemon within @timeout_ms (-1: no limit); dies when there is none, or when
 * it refuses. */
json_t *ctl_answer(struct ctl *c, int timeout_ms);

/* {"cmd":@cmd} with the guest, if one is named: sent, and answered. */
json_t *ctl_ask(struct ctl *c, const char *cmd);

/* Prints the answer, which is given away, without what belongs to the protocol. */
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
