/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kind of a program file, which decides in which mode its AF_VSOCK calls can be intercepted:
 * does this machine's ld.so load it, so that a library can be preloaded, and does it make its
 * system calls through libc at all?
 */
#ifndef ZV_DROPIN_PROGRAM_H
#define ZV_DROPIN_PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum program_kind {
	PROGRAM_DYNAMIC,      /* linked against this machine's libc: preload */
	PROGRAM_STATIC,	      /* static, static-pie */
	PROGRAM_FOREIGN_LIBC, /* another dynamic linker: musl's */
	PROGRAM_GO,	      /* however it is linked: it calls the kernel itself */
	PROGRAM_FOREIGN,      /* of another architecture or word size */
	PROGRAM_UNKNOWN,      /* not ELF: binfmt_misc may know it */
};

struct program {
	enum program_kind kind;
	char path[PATH_MAX];	/* file to execute */
	char loaded[PATH_MAX];	/* the ELF file: a script's interpreter, or the same */
	char detail[PATH_MAX];	/* dynamic linker, or architecture; "": nothing */
	const char *privileged; /* "set-user-ID" ...: ld.so preloads nothing; NULL */
};

/*
 * Finds @name, in $PATH unless it contains a '/', and examines the file. @linker: the dynamic
 * linker of this machine's libc. 0; -ENOENT: not found; other: it cannot be executed. On error @why
 * says in one line what is wrong.
 */
int program_find(const char *name, const char *linker, struct program *p, char *why, size_t size);

/* The dynamic linker that has loaded this process. False: none, it is static. */
bool program_own_linker(char linker[static PATH_MAX]);

/* "a static program", ... */
const char *program_kind_text(enum program_kind kind);

/* "x86-64"; NULL: no name is known. */
const char *program_machine(unsigned machine);

#endif
