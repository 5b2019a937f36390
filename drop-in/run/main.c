/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run: runs a program whose AF_VSOCK sockets reach the guests of zvsockd. It becomes the
 * program (execve), in either mode: docs/drop-in.md.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "common/di.h"
#include "guest.h"
#include "modes.h"
#include "seccomp/super.h"

/* As env(1), nice(1): our own failure, found but not run, not found. */
enum { EXIT_OURS = 125, EXIT_CANNOT_RUN = 126, EXIT_NO_PROGRAM = 127 };

#define TCP_PORT 1080 /* of SOCKS5 */

static const char usage[] =
	"usage: zvsock-run [OPTIONS] PROGRAM [ARGS]\n"
	"       zvsock-run [OPTIONS] --check [PROGRAM]\n"
	"\n"
	"Runs PROGRAM, whose AF_VSOCK sockets can then connect to the guests of zvsockd, and "
	"accept\n"
	"connections from them.\n"
	"\n"
	"  --dir DIR        the directory that af_vsock names in zvsockd's configuration; default\n"
	"                   $ZVSOCK_AF_VSOCK, else " DI_DIR "\n"
	"  --guest NAME     the directory of this guest: zvsockd is asked for it\n"
	"  --control PATH   zvsockd's control socket, for --guest and --check; default\n"
	"                   " GUEST_CONTROL "\n"
	"  --mode MODE      preload: by a library, for programs that use this machine's libc;\n"
	"                   seccomp: by a supervisor, for any; auto (default): whatever suits "
	"PROGRAM\n"
	"  --tcp[=PORT]     in a guest: TCP connections leave through this port of the host, "
	"which\n"
	"                   tcp_out names in zvsockd's configuration (1080)\n"
	"  --dgram          mode seccomp: datagrams as well, which slows down sendmsg and recvmsg\n"
	"                   of all sockets. Mode preload always has them\n"
	"  --verbose        print the mode, and a line on standard error for each refusal\n"
	"  --check          print what works on this machine, and why other things do not; run "
	"nothing\n"
	"  --help, --version\n";

struct options {
	const char *dir, *guest, *control;
	enum mode mode;
	bool verbose, check, dgrams;
	unsigned tcp; /* 0: not given */
};

__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("zvsock-run: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* --tcp: the port, or the default one. */
static unsigned read_port(const char *text)
{
	unsigned long port = TCP_PORT;
	char *end = "";

	errno = 0;
	if (text)
		port = strtoul(text, &end, 10);
	if (text && (*text < '0' || *text > '9' || *end || errno || !port || port >= UINT32_MAX)) {
		report("--tcp=%s: not a vsock port", text);
		exit(EXIT_OURS);
	}
	return (unsigned)port;
}

/* @c: what getopt says of @given, an option that is wrong. */
static void misused(int c, const char *given)
{
	report("%s %s; --help lists the options", given,
	       c == ':'					? "needs a value"
	       : optopt && strncmp(given, "--", 2) == 0 ? "takes no value"
							: "is no option");
	exit(EXIT_OURS);
}

static void read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"dir", required_argument, NULL, 'd'},
					      {"guest", required_argument, NULL, 'g'},
					      {"control", required_argument, NULL, 'c'},
					      {"mode", required_argument, NULL, 'm'},
					      {"tcp", optional_argument, NULL, 't'},
					      {"dgram", no_argument, NULL, 'D'},
					      {"verbose", no_argument, NULL, 'v'},
					      {"check", no_argument, NULL, 'k'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {0}};
	const char *given = argv[optind];
	int c;

	while ((c = getopt_long(argc, argv, "+:", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->dir = optarg;
			break;
		case 'g':
			o->guest = optarg;
			break;
		case 'c':
			o->control = optarg;
			break;
		case 't':
			o->tcp = read_port(optarg);
			break;
		case 'D':
			o->dgrams = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'k':
			o->check = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("zvsock-run " ZV_VERSION);
			exit(0);
		case 'm':
			if (mode_read(optarg, &o->mode))
				break;
			report("--mode %s: not a mode: preload, seccomp or auto", optarg);
			exit(EXIT_OURS);
		default:
			misused(c, given);
		}
		given = argv[optind];
	}
	if (!o->check && optind == argc) {
		fputs(usage, stderr);
		exit(EXIT_OURS);
	}
	if (o->dir && o->guest) {
		report("--dir and --guest both say where the guests are: give one");
		exit(EXIT_OURS);
	}
	if (o->control && !o->guest && !o->check) {
		report("--control says whom to ask for a guest's directory: give --guest as well");
		exit(EXIT_OURS);
	}
}

/* The library: next to this program in the build tree, otherwise where it is installed. */
static const char *find_library(char path[static PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
	static const char built[] = "/preload/libzvsock-preload.so";
	char *end;

	if (len > 0) {
		path[len] = '\0';
		for (int up = 0; up < 2 && (end = strrchr(path, '/')); up++)
			*end = '\0';
		len = (ssize_t)strlen(path);
		if ((size_t)len + sizeof(built) <= PATH_MAX) {
			memcpy(path + len, built, sizeof(built));
			if (access(path, R_OK) == 0)
				return path;
		}
	}
	snprintf(path, PATH_MAX, "%s", ZV_PRELOAD);
	return access(path, R_OK) == 0 ? path : NULL;
}

static void set_or_die(const char *name, const char *value)
{
	if (setenv(name, value, 1) == 0)
		return;
	report("the environment: %s", strerror(errno));
	exit(EXIT_OURS);
}

/* Puts the host port for TCP connections into the environment, for library and supervisor. */
static void set_port(const char *name, unsigned port)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", port);
	set_or_die(name, text);
}

static void preload(const char *library, unsigned tcp)
{
	const char *before = getenv("LD_PRELOAD");
	char *all;

	if (!before || !*before) {
		set_or_die("LD_PRELOAD", library);
	} else if (!strstr(before, library) && asprintf(&all, "%s:%s", library, before) > 0) {
		set_or_die("LD_PRELOAD", all);
		free(all);
	}
	if (tcp)
		set_port("ZVSOCK_TCP", tcp);
}

/*
 * zvsock-run inside another one: the outer supervisor handles this one too, with its own options.
 */
static bool is_served(const struct options *o, const char *dir)
{
	const char *outer = getenv("ZVSOCK_SUPERVISED"), *port = getenv("ZVSOCK_SUPERVISED_TCP");

	if (!outer || strcmp(outer, dir) != 0)
		return false;
	if (o->tcp && (!port || strtoul(port, NULL, 10) != o->tcp))
		report("--tcp=%u: the zvsock-run that this one runs under was started without it",
		       o->tcp);
	else if (o->dgrams && !getenv("ZVSOCK_SUPERVISED_DGRAM"))
		report("--dgram: the zvsock-run that this one runs under was started without it");
	else
		return true;
	exit(EXIT_OURS);
}

static void supervise(const struct options *o, const char *dir)
{
	const struct di_super_opts so = {.dir = dir,
					 .verbose = o->verbose,
					 .opens = !check_dev_vsock(),
					 .tcp = o->tcp,
					 .dgrams = o->dgrams};
	char why[512];
	int r = di_super_start(&so, why, sizeof(why));

	if (r == -EBUSY && is_served(o, dir))
		return;
	if (r < 0) {
		report("mode seccomp: %s", why);
		exit(EXIT_OURS);
	}
	set_or_die("ZVSOCK_SUPERVISED", dir);
	set_port("ZVSOCK_SUPERVISED_TCP", o->tcp);
	if (o->dgrams)
		set_or_die("ZVSOCK_SUPERVISED_DGRAM", "1");
	else
		unsetenv("ZVSOCK_SUPERVISED_DGRAM");
}

static void warn(const char *line)
{
	report("%s; the program finds no vsock", line);
}

/* Warns when there is no zvsockd. The program then behaves as without vsock. */
static void warn_without_zvsockd(const char *dir)
{
	uint32_t cid;
	struct di d;

	di_init(&d, dir);
	d.report = warn;
	(void)di_local_cid(&d, &cid);
}

/* Then --tcp needs no zvsockd in this guest. */
static bool kernel_has_vsock(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static enum mode choose(const struct options *o, const struct program *p, const char *library)
{
	const char *why;
	enum mode mode = mode_of(p, library != NULL, &why);

	if (p->kind == PROGRAM_FOREIGN && o->mode != MODE_SECCOMP) {
		report("%s is for %s, not for this machine; under an emulator: --mode seccomp",
		       p->loaded, p->detail);
		exit(EXIT_CANNOT_RUN);
	}
	if (o->mode == MODE_PRELOAD && !library) {
		report("--mode preload: there is no %s: install zvsock again, all of it",
		       ZV_PRELOAD);
		exit(EXIT_OURS);
	}
	if (p->privileged)
		report("%s is %s: %s; start it as root, or without that", p->loaded, p->privileged,
		       o->mode == MODE_PRELOAD ? "ld.so ignores the library, it finds no vsock"
					       : "in mode seccomp it does not gain these rights");
	else if (o->mode == MODE_PRELOAD && mode == MODE_SECCOMP)
		report("%s is %s: %s; --mode seccomp", p->loaded, program_kind_text(p->kind), why);
	if (o->verbose)
		report("mode %s: %s is %s", mode_name(o->mode == MODE_AUTO ? mode : o->mode),
		       p->loaded, program_kind_text(p->kind));
	return o->mode == MODE_AUTO ? mode : o->mode;
}

/* Absolute path: the program may change its directory, and the supervisor does. */
static const char *absolute(const char *given, char dir[static DI_DIR_MAX])
{
	char here[PATH_MAX];

	if (*given != '/' && getcwd(here, sizeof(here)))
		snprintf(here + strlen(here), sizeof(here) - strlen(here), "/%s", given);
	else
		snprintf(here, sizeof(here), "%s", given);
	if (strlen(here) >= DI_DIR_MAX) {
		report("%s: the path of a namespace has at most %d bytes", given, DI_DIR_MAX - 1);
		exit(EXIT_OURS);
	}
	return memcpy(dir, here, strlen(here) + 1);
}

static const char *find_dir(const struct options *o, char dir[static DI_DIR_MAX])
{
	const char *env = getenv("ZVSOCK_AF_VSOCK");
	char why[512];

	if (o->guest) {
		if (guest_dir(o->control ? o->control : GUEST_CONTROL, o->guest, dir, DI_DIR_MAX,
			      why, sizeof(why)) < 0) {
			report("%s", why);
			exit(EXIT_OURS);
		}
		return dir;
	}
	return absolute(o->dir ? o->dir : env && *env ? env : DI_DIR, dir);
}

static int check(const char *dir, const char *control, const char *name)
{
	char linker[PATH_MAX], path[PATH_MAX], why[PATH_MAX + 256];
	bool own = program_own_linker(linker);
	struct program p;

	if (name && program_find(name, own ? linker : NULL, &p, why, sizeof(why)) < 0) {
		report("%s", why);
		return EXIT_NO_PROGRAM;
	}
	return check_print(dir, control, find_library(path), ZV_PRELOAD, own ? linker : NULL,
			   name ? &p : NULL);
}

int main(int argc, char **argv)
{
	char dir_buf[DI_DIR_MAX], linker[PATH_MAX], library_path[PATH_MAX], why[PATH_MAX + 256];
	struct options o = {0};
	const char *dir, *library;
	struct program p;
	enum mode mode;
	int r;

	read_options(argc, argv, &o);
	dir = find_dir(&o, dir_buf);
	if (o.check)
		return check(dir, o.control ? o.control : GUEST_CONTROL, argv[optind]);
	r = program_find(argv[optind], program_own_linker(linker) ? linker : NULL, &p, why,
			 sizeof(why));
	if (r < 0) {
		report("%s", why);
		return r == -ENOENT ? EXIT_NO_PROGRAM : EXIT_CANNOT_RUN;
	}
	library = find_library(library_path);
	mode = choose(&o, &p, library);
	if (!o.tcp || !kernel_has_vsock())
		warn_without_zvsockd(dir);
	set_or_die("ZVSOCK_AF_VSOCK", dir);
	if (o.verbose)
		set_or_die("ZVSOCK_VERBOSE", "1");
	if (mode == MODE_PRELOAD)
		preload(library, o.tcp);
	else
		supervise(&o, dir);
	execvp(p.path, argv + optind);
	report("%s: %s", p.path, strerror(errno));
	return errno == ENOENT ? EXIT_NO_PROGRAM : EXIT_CANNOT_RUN;
}
