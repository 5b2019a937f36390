/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An option of the command line is one row: its help, where its value goes, which values are
 * allowed. Options of a single workload or target are in its file, all others in opts.c.
 */
#ifndef BENCH_OPTION_H
#define BENCH_OPTION_H

#include "bench.h"

enum option_kind {
	OPTION_CALL,   /* @call does it */
	OPTION_ON,     /* bool: true */
	OPTION_OFF,    /* bool: false */
	OPTION_NUMBER, /* uint32_t from min to max; K, M and G are understood */
	OPTION_TEXT,   /* const char * */
	OPTION_CHOICE, /* unsigned: the value of one of @names */
};

/* Groups of --help. */
enum option_group { OPTIONS_DEVICE = 1, OPTIONS_TEST, OPTIONS_RUN };

struct bench_option {
	const char *name;
	int key;	 /* letter; 0: none */
	const char *arg; /* what --help calls the value; NULL: there is none */
	enum option_group group;
	const char *help;
	enum option_kind kind;
	void *value; /* where it goes */
	uint32_t min, max;
	const struct bench_names *names;
	void (*call)(char *arg);
};

struct bench_options {
	const struct bench_option *row;
	unsigned n;
};
#define BENCH_OPTIONS(rows)                                                                        \
	{                                                                                          \
		(rows), sizeof(rows) / sizeof((rows)[0])                                           \
	}

/* What the user wants. Written by option_set() only, before the first process is forked. */
extern struct bench_opts bench_given;

/* Gives the option its value. A mistake ends the program, see option_bad(). */
void option_set(const struct bench_option *opt, char *arg);

/* One line that says what is wrong with an option; ends the program with code 2. */
__attribute__((format(printf, 1, 2), noreturn)) void option_bad(const char *fmt, ...);

/* The number @s for option @name, within [min, max]. */
uint32_t option_number(const char *name, const char *s, uint32_t min, uint32_t max);

/* Joins words as a sentence does: "a", "a or b", "a, b or c". */
void option_join(char *buf, size_t len, const char *const *word, unsigned n);

#endif
