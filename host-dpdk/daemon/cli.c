/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zvsock.h>

enum { OPT_CHECK = 256, OPT_FOREGROUND };

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0,
	 "Read FILE. Without --guest and --device the default is " ZVD_CONFIG_FILE
	 ", which need not exist if \"-s applications=PATH\" is given",
	 0},
	{"check", OPT_CHECK, NULL, 0, "Check the configuration, print what it means, and exit", 0},
	{"guest", 'g', "name=NAME,KEY=VALUE,...", 0,
	 "Add a guest, with the keys of [guest NAME]; commas also separate the values of a list",
	 0},
	{"device", 'd', "name=NAME,uri=URI,KEY=VALUE,...", 0,
	 "Add a device of which zvsockd is the guest, with the keys of [device NAME]", 0},
	{"set", 's', "[SECTION.]KEY=VALUE", 0,
	 "Set a key of [daemon] or, with its name as SECTION, of a guest or device; adds to "
	 "lists, replaces other values",
	 0},
	{"foreground", OPT_FOREGROUND, NULL, 0, "Stay in the foreground, as zvsockd always does",
	 0},
	{0},
};

static const char doc[] =
	"Serves vsock to virtual machines over vhost-user, or inside a virtual machine to its "
	"programs."
	"\v"
	"Signals: HUP reads the configuration again and adds, removes and replaces guests without "
	"affecting the others. TERM and INT refuse new connections, wait up to drain_ms for the "
	"open ones, and exit; a second signal ends zvsockd at once.\n\n"
	"Exit status: 0 after a signal, or when the checked configuration is good; 1 when it "
	"cannot run, or, with --check, a guest could not be started now; 2 when the command line "
	"or the configuration is wrong.\n\n"
	"Examples:\n"
	"  zvsockd --check /etc/zvsock/zvsock.conf\n"
	"  zvsockd -g name=web,cid=3,socket=/run/zvsock/web.sock,unix=/run/zvsock/web.vsock\n"
	"  zvsockd -c zvsock.conf -s log_level=debug -s web.builtin=echo:7\n"
	"  zvsockd -d name=vm,uri=vfio:0000:00:02.0,unix=/run/zvsock/host.vsock\n\n"
	"zvsockd(8), zvsock.conf(5), zvsockctl(1)";

static int add_word(struct cli *c, const char *option, const char *arg)
{
	char **words = reallocarray(c->words, c->n_words + 2, sizeof(*words));

	if (!words)
		return -1;
	c->words = words;
	if (asprintf(&words[c->n_words], "--%s=%s", option, arg) < 0) {
		words[c->n_words] = NULL;
		return -1;
	}
	words[++c->n_words] = NULL;
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct cli *c = state->input;
	int ret = 0;

	switch (key) {
	case 'c':
	case ARGP_KEY_ARG:
		if (c->file)
			argp_error(state, "%s and %s: one configuration file only", c->file, arg);
		c->file = arg;
		break;
	case OPT_CHECK:
		c->check = true;
		break;
	case 'g':
		ret = add_word(c, "guest", arg);
		break;
	case 'd':
		ret = add_word(c, "device", arg);
		break;
	case 's':
		ret = add_word(c, "set", arg);
		break;
	case OPT_FOREGROUND:
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (ret < 0)
		argp_failure(state, 1, 0, "out of memory");
	return 0;
}

static void print_version(FILE *to, struct argp_state *state)
{
	(void)state;
	(void)fprintf(to, "zvsockd %s\n", zv_version());
}

/* --set alone is about a file; but that of a client socket is enough where there is no such file.
 */
static bool says_what_to_serve(const char *word)
{
	static const char *const client_socket[] = {"--set=applications=",
						    "--set=daemon.applications="};

	if (word[2] != 's')
		return true;
	for (unsigned i = 0; i < 2; i++)
		if (strncmp(word, client_socket[i], strlen(client_socket[i])) == 0)
			return access(ZVD_CONFIG_FILE, F_OK) < 0 && errno == ENOENT;
	return false;
}

void cli_parse(struct cli *c, int argc, char **argv)
{
	static const struct argp argp = {options, parse, "[FILE]", doc, NULL, NULL, NULL};
	bool given = false;

	argp_program_version_hook = print_version;
	argp_err_exit_status = 2;
	*c = (struct cli){0};
	argv[0] = program_invocation_short_name; /* in what getopt says of a wrong option */
	(void)argp_parse(&argp, argc, argv, 0, NULL, c);
	for (unsigned i = 0; i < c->n_words; i++)
		given |= says_what_to_serve(c->words[i]);
	if (!c->file && !given)
		c->file = ZVD_CONFIG_FILE;
}

void cli_free(struct cli *c)
{
	for (unsigned i = 0; i < c->n_words; i++)
		free(c->words[i]);
	free(c->words);
}
