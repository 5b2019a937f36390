/* SPDX-License-Identifier: BSD-3-Clause */
/* zvsockd's command line. */
#ifndef ZVD_CLI_H
#define ZVD_CLI_H

#include <stdbool.h>

struct cli {
	const char *file; /* NULL: no file */
	bool check;
	char **words; /* for cfg_load; ends with NULL */
	unsigned n_words;
};

/* Reads argv into @c; on an error, --help and --version it ends the process, as argp does. */
void cli_parse(struct cli *c, int argc, char **argv);
void cli_free(struct cli *c);

#endif
