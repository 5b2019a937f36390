/* SPDX-License-Identifier: BSD-3-Clause */
#include "command.h"

#include "cost.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the programs in Python are: in the build tree, and as installed. */
static const char *const dirs[] = {"compare/", "../libexec/zvsock/compare/"};

/* A program of its own, which calls us for each part. */
static int python(int argc, char **argv, const char *name)
{
	char self[512], script[600];
	char **args = calloc((size_t)argc + 4, sizeof(*args));
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (!args || n <= 0) {
		fprintf(stderr, "vsock-bench: cannot find myself: %s\n", strerror(errno));
		return 1;
	}
	self[n] = '\0';
	for (unsigned i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		int dir = (int)(strrchr(self, '/') + 1 - self);

		snprintf(script, sizeof(script), "%.*s%s%s.py", dir, self, dirs[i], name);
		if (access(script, R_OK) == 0)
			break;
	}
	args[0] = "python3";
	args[1] = script;
	args[2] = "--bench";
	args[3] = self;
	memcpy(args + 4, argv + 2, (size_t)(argc - 2) * sizeof(*args));
	if (access(script, R_OK) != 0) {
		fprintf(stderr,
			"vsock-bench: compare is not installed: %s is not there; in the source "
			"tree, "
			"./run compare\n",
			script);
		return 1;
	}
	execvp(args[0], args);
	fprintf(stderr, "vsock-bench: %s needs python3: %s; apt-get install python3\n", name,
		strerror(errno));
	return 1;
}

static int compare(int argc, char **argv)
{
	return python(argc, argv, "compare");
}

static int cost(int argc, char **argv)
{
	return python(argc, argv, "cost");
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"compare", compare},
	{"cost", cost},
	{"cost-cell", cost_cell},
};

void command_run(int argc, char **argv)
{
	for (unsigned i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			exit(commands[i].run(argc, argv));
}
