/* SPDX-License-Identifier: BSD-3-Clause */
/* Information from an ELF file. The file is not trusted: offsets and lengths in it are checked, and
 * an inconsistent file counts as one without information. */
#ifndef ZV_DROPIN_ELF_FILE_H
#define ZV_DROPIN_ELF_FILE_H

#include <limits.h>
#include <stdbool.h>

struct elf_file {
	bool elf;	  /* it is an ELF file */
	bool own;	  /* same architecture and word size as this program: the rest is set */
	unsigned machine; /* EM_... */
	bool wide;	  /* 64 bits */
	bool go;
	char linker[PATH_MAX]; /* PT_INTERP; "": static */
};

/* Reads @fd. */
void elf_file_read(int fd, struct elf_file *e);

#endif
