/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of zvsockctl. */
#include "ctl.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/zvsock/control.sock"

enum { OPT_SNAPLEN = 0x100, OPT_COUNT, OPT_DURATION, OPT_HUGEPAGES, OPT_MEMORY, OPT_MQ, OPT_PASS };

const char *argp_program_version = "zvsockctl " ZV_VERSION_TEXT;

static const struct argp_option options[] = {
	{"socket", 's', "PATH", 0, "control socket of the daemon (" SOCKET_DEFAULT ")", 1},
	{"json", 'j', 0, 0, "print the answer as JSON", 1},
	{0, 0, 0, 0, "capture:", 2},
	{"snaplen", OPT_SNAPLEN, "BYTES", 0, "keep this much of each payload (all)", 2},
	{"count", OPT_COUNT, "N", 0, "end after N packets", 2},
	{"duration", OPT_DURATION, "SECONDS", 0, "end after this time", 2},
	{0, 0, 0, 0, "qemu-args:", 3},
	{"memory", OPT_MEMORY, "SIZE", 0, "memory of the guest in whole MiB, such as 2G (512M)", 3},
	{"hugepages", OPT_HUGEPAGES, 0, 0, "guest memory in hugepages of 2 MiB", 3},
	{"multi-queue", OPT_MQ, 0, 0, "a device that has all queue pairs (QEMU 10.2 and later)", 3},
	{0, 0, 0, 0, "connect:", 4},
	{"pass-fd", OPT_PASS, 0, 0, "pass the socket to ssh (ProxyUseFdpass)", 4},
	{0, 0, 0, 0, "", 5},
	{0},
};

static const struct command {
	const char *name, *args;
	const char *help; /* a line of --help */
	int (*run)(struct ctl *c);
	bool file, needs_guest, no_guest, port;
	char options; /* which group of options it has: 'c'apture, 'q'emu, 'j'oin */
} commands[] = {
	{"list", "[GUEST]", "connections, as \"ss --vsock\" shows them", .run = ctl_list},
	{"ss", "", "vsock sockets of programs here, as \"ss --vsock -ap\"", .run = ctl_ss,
	 .no_guest = true},
	{"guests", "[GUEST]", "guests and their sockets", .run = ctl_guests},
	{"stats", "[GUEST]", "counters of each guest and queue, errors by cause", .run = ctl_stats},
	{"regions", "", "memory for channels, and who holds how much of it", .run = ctl_regions,
	 .no_guest = true},
	{"capture", "FILE [GUEST]", "packets into a pcap file (\"-\": standard output)",
	 .run = ctl_capture, .file = true, .options = 'c'},
	{"connect", "GUEST PORT", "standard input and output to a port of the guest",
	 .run = ctl_join, .needs_guest = true, .port = true, .options = 'j'},
	{"qemu-args", "GUEST", "options for QEMU's command line", .run = ctl_qemu_args,
	 .needs_guest = true, .options = 'q'},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* What --help says above and below the options; argp frees it. */
static char *help_text(int key, const char *text, void *input)
{
	char *all = NULL, usage[64];
	size_t len;
	FILE *f;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)(uintptr_t)text;
	f = open_memstream(&all, &len);
	if (!f)
		return NULL;
	(void)fprintf(f, "Commands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++) {
		(void)snprintf(usage, sizeof(usage), "%s %s", commands[i].name, commands[i].args);
		(void)fprintf(f, "  %-21s %s\n", usage, commands[i].help);
	}
	(void)fprintf(f, "\nExit code: 0 done; 1 refused or failed; 2 wrong use; 3 the daemon "
			 "cannot be reached; 4 it speaks another version.");
	(void)fclose(f);
	return all;
}

struct line {
	struct ctl ctl;
	const struct command *cmd;
	const char *option; /* an option of some commands only */
	char option_of;
};

static uint64_t number_of(const char *what, const char *text, uint64_t min, uint64_t max)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < min || v > max)
		ctl_die(CTL_USAGE, "%s %s: a number from %llu to %llu", what, text,
			(unsigned long long)min, (unsigned long long)max);
	return v;
}

/* Parses seconds, with an optional fraction. Returns milliseconds. */
static uint64_t duration(const char *text)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end || !(s >= 0.001 && s <= 86400.0 * 365))
		ctl_die(CTL_USAGE, "--duration %s: seconds, from 0.001 to a year", text);
	return (uint64_t)(s * 1000 + 0.5);
}

static void argument(struct line *l, const char *arg)
{
	if (!l->cmd) {
		for (size_t i = 0; i < N_COMMANDS; i++)
			if (strcmp(commands[i].name, arg) == 0)
				l->cmd = &commands[i];
		if (!l->cmd)
			ctl_die(CTL_USAGE, "%s: no such command; --help lists them", arg);
	} else if (l->cmd->file && !l->ctl.file) {
		l->ctl.file = arg;
	} else if (l->cmd->no_guest) {
		ctl_die(CTL_USAGE, "%s: takes no argument: %s", l->cmd->name, arg);
	} else if (!l->ctl.guest) {
		l->ctl.guest = arg;
	} else if (l->cmd->port && !l->ctl.port) {
		l->ctl.port = (uint32_t)number_of("port", arg, 1, UINT32_MAX - 1);
	} else {
		ctl_die(CTL_USAGE, "%s %s: one argument too many: %s", l->cmd->name, l->ctl.guest,
			arg);
	}
}

static void die_without_command(void)
{
	char names[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < N_COMMANDS && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
					i == 0		     ? ""
					: i + 1 < N_COMMANDS ? ", "
							     : " or ",
					commands[i].name);
	ctl_die(CTL_USAGE, "a command is needed: %s", names);
}

static void finish(const struct line *l)
{
	if (!l->cmd)
		die_without_command();
	else if (l->cmd->file && !l->ctl.file)
		ctl_die(CTL_USAGE, "%s: the name of a file is needed, \"-\" for standard output",
			l->cmd->name);
	else if (l->cmd->needs_guest && !l->ctl.guest)
		ctl_die(CTL_USAGE,
			"%s: the name of a guest is needed; \"zvsockctl guests\" lists them",
			l->cmd->name);
	else if (l->cmd->port && !l->ctl.port)
		ctl_die(CTL_USAGE, "%s %s: the port is needed", l->cmd->name, l->ctl.guest);
	else if (l->option && l->option_of != l->cmd->options)
		ctl_die(CTL_USAGE, "--%s is no option of %s", l->option, l->cmd->name);
}

static void belongs_to(struct line *l, const char *option, char command)
{
	if (!l->option || l->option_of != command) {
		l->option = option;
		l->option_of = command;
	}
}

static error_t parse(int key, char *arg, struct argp_state *st)
{
	struct line *l = st->input;
	struct ctl *c = &l->ctl;

	switch (key) {
	case 's':
		c->socket = arg;
		break;
	case 'j':
		c->json = true;
		break;
	case OPT_SNAPLEN:
		c->snaplen = number_of("--snaplen", arg, 0, 1u << 20);
		belongs_to(l, "snaplen", 'c');
		break;
	case OPT_COUNT:
		c->count = number_of("--count", arg, 1, INT64_MAX);
		belongs_to(l, "count", 'c');
		break;
	case OPT_DURATION:
		c->duration_ms = duration(arg);
		belongs_to(l, "duration", 'c');
		break;
	case OPT_MEMORY:
		c->memory = arg;
		belongs_to(l, "memory", 'q');
		break;
	case OPT_HUGEPAGES:
		c->hugepages = true;
		belongs_to(l, "hugepages", 'q');
		break;
	case OPT_MQ:
		c->multi_queue = true;
		belongs_to(l, "multi-queue", 'q');
		break;
	case OPT_PASS:
		c->pass_fd = true;
		belongs_to(l, "pass-fd", 'j');
		break;
	case ARGP_KEY_ARG:
		argument(l, arg);
		break;
	case ARGP_KEY_END:
		finish(l);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {.options = options,
					 .parser = parse,
					 .args_doc = "COMMAND [FILE] [GUEST] [PORT]",
					 .doc = "Queries a running zvsockd.",
					 .help_filter = help_text};
	struct line l = {.ctl = {.socket = SOCKET_DEFAULT,
				 .snaplen = UINT64_MAX,
				 .count = UINT64_MAX,
				 .duration_ms = UINT64_MAX,
				 .fd = -1,
				 .got = -1}};
	int rc;

	argp_err_exit_status = CTL_USAGE;
	argv[0] = program_invocation_short_name; /* in what getopt says of a wrong option */
	if (argp_parse(&argp, argc, argv, 0, NULL, &l))
		return CTL_USAGE;
	rc = l.cmd->run(&l.ctl);
	free(l.ctl.in);
	(void)close(l.ctl.fd);
	if (!(l.ctl.file && strcmp(l.ctl.file, "-") == 0) && (fflush(stdout) || ferror(stdout)))
		ctl_die(CTL_FAILED, "standard output: %s", strerror(errno));
	return rc;
}
