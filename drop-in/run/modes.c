/* SPDX-License-Identifier: BSD-3-Clause */
#include "modes.h"

#include <string.h>

static const char *const names[] = {
	[MODE_AUTO] = "auto", [MODE_PRELOAD] = "preload", [MODE_SECCOMP] = "seccomp"};

const char *mode_name(enum mode mode)
{
	return names[mode];
}

bool mode_read(const char *text, enum mode *mode)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(text, names[i])) {
			*mode = (enum mode)i;
			return true;
		}
	return false;
}

enum mode mode_of(const struct program *p, bool library, const char **why)
{
	const char *unused;

	if (!why)
		why = &unused;
	if (p->privileged) {
		*why = "ld.so preloads nothing into a program that gains privileges";
		return MODE_SECCOMP;
	}
	switch (p->kind) {
	case PROGRAM_DYNAMIC:
	case PROGRAM_UNKNOWN: /* execvp(3) gives it to sh */
		*why = library ? "its system calls go through libc"
			       : "the library to preload is not there";
		return library ? MODE_PRELOAD : MODE_SECCOMP;
	case PROGRAM_STATIC:
		*why = "no library can be preloaded into it";
		break;
	case PROGRAM_FOREIGN_LIBC:
		*why = "its dynamic linker is not that of our library";
		break;
	case PROGRAM_GO:
		*why = "it makes its system calls itself";
		break;
	case PROGRAM_FOREIGN:
		*why = "it is not for this machine";
		break;
	}
	return MODE_SECCOMP;
}
