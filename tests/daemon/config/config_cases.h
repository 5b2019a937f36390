/* SPDX-License-Identifier: BSD-3-Clause */
/* Configurations that must be refused: each line of text, and each fault that must be told. */
#ifndef CONFIG_CASES_H
#define CONFIG_CASES_H

#include <stddef.h>

struct expected_fault {
	unsigned line;	  /* 0: of the file as a whole */
	const char *part; /* of the message */
};

struct config_case {
	const char *name;
	const char *text;
	size_t len;			 /* 0: strlen(text) */
	struct expected_fault faults[6]; /* all of them, in order; ends with part NULL */
};

extern const struct config_case config_cases[];
extern const size_t config_cases_n;

#endif
