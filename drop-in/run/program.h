/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What kind of program a file is, as far as it decides in which mode its AF_VSOCK calls can be
 * seen: does this machine's ld.so load it, so that a library can be preloaded, and does it make its
 * system calls through libc at all?
 */
#ifndef ZV_DROPIN_PROGRAM_H
#define ZV_DROPIN_PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum program_kind {
	PROGRAM_DYNAMIC,      /* against this machine's libc: preload */
	PROGRAM_STATIC,	      /* static, static-pie */
	PROGRAM_FOREIGN_LIBC, /* another dynamic linker: musl's */
	PROGRAM_GO,	      /* whatever it is linked against: it calls the kernel itself */
	PROGRAM_FOREIGN,      /* of another architecture or word size */
	PROGRAM_UNKNOWN,      /* no ELF: binfmt_misc may know it */
};

struct program {
	enum program_kind kind;
	char path[PATH_MAX];	/* what is to be executed */
	char loaded[PATH_MAX];	/* the ELF file: a script's interpreter, or the same */
	char detail[PATH_MAX];	/* dynamic linker, or architecture; "": nothing to say */
	const char *privileged; /* "set-user-ID" ...: ld.so preloads nothing; NULL */
};

/*
 * Looks for @name in $PATH unless there is a '/' in it, and at what it finds. @linker: the dynamic
 * linker of this machine's libc. 0; -ENOENT: there is none; other: it cannot be executed. Then @why
 * says in one line what is wrong.
 */
int program_find(const char *name, const char *linker, struct program *p, char *why, size_t size);

/* The dynamic linker that this process was loaded by. False: none, it is static. */
bool program_own_linker(char linker[static PATH_MAX]);

/* "a static program", ... */
const char *program_kind_text(enum program_kind kind);

/* "x86-64"; NULL: a name for it is not known. */
const char *program_machine(unsigned machine);

#endif
