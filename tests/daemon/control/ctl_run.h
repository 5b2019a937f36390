/* SPDX-License-Identifier: BSD-3-Clause */
/* zvsockctl as a user runs it, against a daemon that is not there (fake_daemon.h). */
#ifndef CTL_RUN_H
#define CTL_RUN_H

#include "fake_daemon.h"

#include <sys/types.h>

/* A run of zvsockctl: what it printed, and how it ended. */
struct run {
	pid_t pid;
	int out_fd, err_fd;
	int code; /* exit code; 256 + signal */
	char out[65536], err[4096];
};

struct how {
	int out;     /* standard output; -1: into run.out */
	bool nobody; /* without root's rights */
};

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Which program it is: the only argument of the test. False, and a word, when it is not there. */
bool run_program(int argc, char **argv);

/* Starts it, in the background. */
void run_start(struct run *r, const char *const *args, struct how how);
/* Waits for its end. */
void run_finish(struct run *r);

/* From start to end, with the fake's socket. */
void run_ctl(const struct fake *f, struct run *r, const char *const *args);

/* It ended with @code, one line on standard error, with @part in it, and nothing else. */
void run_complains(const struct run *r, int code, const char *part);

/* A fake for each test. */
int run_setup(void **state);
int run_teardown(void **state);

#endif
