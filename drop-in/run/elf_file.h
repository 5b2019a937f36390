/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an ELF file says of itself. The file is somebody's: what it says of offsets and lengths is
 * checked, and a file that is not what it says is as one that says nothing.
 */
#ifndef ZV_DROPIN_ELF_FILE_H
#define ZV_DROPIN_ELF_FILE_H

#include <limits.h>
#include <stdbool.h>

struct elf_file {
	bool elf;	  /* it is one at all */
	bool own;	  /* of this program's architecture and word size: the rest is known */
	unsigned machine; /* EM_... */
	bool wide;	  /* 64 bits */
	bool go;
	char linker[PATH_MAX]; /* PT_INTERP; "": static */
};

/* Reads @fd. */
void elf_file_read(int fd, struct elf_file *e);

#endif
