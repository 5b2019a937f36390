/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "elf_file.h"

#define SCRIPT_LINE  256 /* the kernel's BINPRM_BUF_SIZE */
#define SCRIPT_DEPTH 5	 /* scripts whose interpreters are scripts: the kernel's limit */

const char *program_kind_text(enum program_kind kind)
{
	static const char *const texts[] = {
		[PROGRAM_DYNAMIC] = "a dynamic program of this machine's libc",
		[PROGRAM_STATIC] = "a static program",
		[PROGRAM_FOREIGN_LIBC] = "a program of another libc",
		[PROGRAM_GO] = "a Go program",
		[PROGRAM_FOREIGN] = "a program of another architecture",
		[PROGRAM_UNKNOWN] = "no ELF program",
	};

	return texts[kind];
}

const char *program_machine(unsigned machine)
{
	switch (machine) {
	case EM_X86_64:
		return "x86-64";
	case EM_AARCH64:
		return "aarch64";
	case EM_386:
		return "i386";
	case EM_ARM:
		return "arm";
	case EM_RISCV:
		return "riscv";
	case EM_PPC64:
		return "ppc64";
	case EM_S390:
		return "s390";
	case EM_MIPS:
		return "mips";
	default:
		return NULL;
	}
}

bool program_own_linker(char linker[static PATH_MAX])
{
	struct elf_file e;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	elf_file_read(fd, &e);
	close(fd);
	if (!e.linker[0] || !realpath(e.linker, linker))
		return false;
	return true;
}

__attribute__((format(printf, 4, 5))) static int failed(int r, char *why, size_t size,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, size, format, args);
	va_end(args);
	return r;
}

/* As execvp(3): the first in $PATH that can be executed; if there is none, the error of one that
 * cannot. */
static int look_up(const char *name, char path[static PATH_MAX])
{
	const char *dirs = getenv("PATH");
	int worst = -ENOENT;

	if (!*name || strlen(name) >= PATH_MAX)
		return *name ? -ENAMETOOLONG : -ENOENT;
	if (strchr(name, '/')) {
		memcpy(path, name, strlen(name) + 1);
		return 0;
	}
	for (const char *d = dirs ? dirs : "/bin:/usr/bin", *end; d; d = *end ? end + 1 : NULL) {
		struct stat st;

		end = strchrnul(d, ':');
		if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)(end - d), d, end > d ? "/" : "",
			     name) >= PATH_MAX)
			continue;
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
				return 0;
			worst = -EACCES;
		} else if (errno == EACCES) {
			worst = -EACCES;
		}
	}
	return worst;
}

/* The interpreter in the first line of a script. False: not a script. */
static bool script(int fd, char interpreter[static SCRIPT_LINE])
{
	char line[SCRIPT_LINE + 1];
	ssize_t got = pread(fd, line, SCRIPT_LINE, 0);
	char *at;

	if (got < 3 || line[0] != '#' || line[1] != '!')
		return false;
	line[got] = '\0';
	at = line + 2 + strspn(line + 2, " \t");
	at[strcspn(at, " \t\n")] = '\0';
	memmove(interpreter, at, strlen(at) + 1);
	return *at != '\0';
}

static const char *privileges(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		return "set-user-ID";
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		return "set-group-ID";
	if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return "given capabilities";
	return NULL;
}

static void judge(struct program *p, int fd, const char *linker)
{
	struct elf_file e;
	char real[PATH_MAX];

	elf_file_read(fd, &e);
	p->privileged = privileges(fd);
	p->detail[0] = '\0';
	if (!e.elf) {
		p->kind = PROGRAM_UNKNOWN;
	} else if (!e.own) {
		const char *machine = program_machine(e.machine);

		p->kind = PROGRAM_FOREIGN;
		snprintf(p->detail, sizeof(p->detail), "%s%s", machine ? machine : "unknown",
			 e.wide ? "" : ", 32 bits");
	} else if (e.go) {
		p->kind = PROGRAM_GO;
	} else if (!e.linker[0]) {
		p->kind = PROGRAM_STATIC;
	} else {
		snprintf(p->detail, sizeof(p->detail), "%s", e.linker);
		p->kind = realpath(e.linker, real) && linker && !strcmp(real, linker)
				  ? PROGRAM_DYNAMIC
				  : PROGRAM_FOREIGN_LIBC;
	}
}

/* Sets p->loaded and the kind of that file. */
static int inspect(struct program *p, const char *linker, char *why, size_t size)
{
	for (int depth = 0; depth <= SCRIPT_DEPTH; depth++) {
		char interpreter[SCRIPT_LINE];
		struct stat st;
		int fd;

		if (faccessat(AT_FDCWD, p->loaded, X_OK, AT_EACCESS) < 0)
			return failed(-errno, why, size, "%s%s%s: %s", p->path,
				      depth ? ": its interpreter " : "", depth ? p->loaded : "",
				      strerror(errno));
		fd = open(p->loaded, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0) { /* executable, though not readable: nothing is known of it */
			p->kind = PROGRAM_UNKNOWN;
			return 0;
		}
		if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
			close(fd);
			return failed(-EACCES, why, size, "%s: not a file that can be executed",
				      p->loaded);
		}
		if (!script(fd, interpreter)) {
			judge(p, fd, linker);
			close(fd);
			return 0;
		}
		close(fd);
		memcpy(p->loaded, interpreter, sizeof(interpreter));
	}
	return failed(-ELOOP, why, size,
		      "%s: its interpreter is a script, whose interpreter is "
		      "one ...: more than %d",
		      p->path, SCRIPT_DEPTH);
}

int program_find(const char *name, const char *linker, struct program *p, char *why, size_t size)
{
	int r = look_up(name, p->path);

	if (r < 0)
		return failed(r, why, size, "%s: %s", name,
			      r == -ENOENT && !strchr(name, '/') ? "not found in $PATH"
								 : strerror(-r));
	memcpy(p->loaded, p->path, sizeof(p->loaded));
	return inspect(p, linker, why, size);
}
