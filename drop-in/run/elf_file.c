/* SPDX-License-Identifier: BSD-3-Clause */
#include "elf_file.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define HEADERS_MAX 4096u /* of either table */
#define NOTES_MAX   4096u /* bytes of notes that are checked */

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#elif defined(__riscv)
#define OWN_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define OWN_MACHINE EM_PPC64
#elif defined(__s390x__)
#define OWN_MACHINE EM_S390
#elif defined(__i386__)
#define OWN_MACHINE EM_386
#elif defined(__arm__)
#define OWN_MACHINE EM_ARM
#else
#define OWN_MACHINE EM_NONE
#endif
#define OWN_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)
#define OWN_DATA  (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB)

static bool read_at(int fd, void *to, size_t len, uint64_t at)
{
	return at <= INT64_MAX && pread(fd, to, len, (off_t)at) == (ssize_t)len;
}

/* A note named "Go": the linker's build ID, which survives strip(1). */
static bool has_go_note(const char *notes, size_t len)
{
	size_t at = 0;

	while (len - at >= sizeof(ElfW(Nhdr))) {
		ElfW(Nhdr) n;
		size_t name, all;

		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		name = ((size_t)n.n_namesz + 3) & ~(size_t)3;
		all = name + (((size_t)n.n_descsz + 3) & ~(size_t)3);
		if (all > len - at)
			return false;
		if (n.n_namesz == 4 && !memcmp(notes + at, "Go\0", 4))
			return true;
		at += all;
	}
	return false;
}

static void read_segment(int fd, const ElfW(Phdr) * p, struct elf_file *e)
{
	char notes[NOTES_MAX];

	if (p->p_type == PT_INTERP && p->p_filesz < sizeof(e->linker) &&
	    read_at(fd, e->linker, p->p_filesz, p->p_offset)) {
		e->linker[p->p_filesz] = '\0';
	} else if (p->p_type == PT_NOTE && p->p_filesz <= sizeof(notes) &&
		   read_at(fd, notes, p->p_filesz, p->p_offset)) {
		e->go |= has_go_note(notes, p->p_filesz);
	}
}

/* Go's linker always makes a section for what "go version FILE" prints. */
static bool has_go_section(int fd, const ElfW(Ehdr) * h)
{
	static const char go[] = ".go.buildinfo";
	ElfW(Shdr) names, s;
	char name[sizeof(go)];

	if (h->e_shentsize != sizeof(s) || h->e_shnum > HEADERS_MAX ||
	    h->e_shstrndx >= h->e_shnum ||
	    !read_at(fd, &names, sizeof(names), h->e_shoff + h->e_shstrndx * sizeof(s)))
		return false;
	for (unsigned i = 0; i < h->e_shnum; i++)
		if (read_at(fd, &s, sizeof(s), h->e_shoff + i * sizeof(s)) &&
		    read_at(fd, name, sizeof(name), names.sh_offset + s.sh_name) &&
		    !memcmp(name, go, sizeof(go)))
			return true;
	return false;
}

void elf_file_read(int fd, struct elf_file *e)
{
	ElfW(Ehdr) h;
	ElfW(Phdr) p;

	memset(e, 0, sizeof(*e));
	if (!read_at(fd, &h, sizeof(h), 0) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
		return;
	e->elf = true;
	e->wide = h.e_ident[EI_CLASS] == ELFCLASS64;
	/* e_machine has the same offset in both classes and the file's byte order */
	e->machine = h.e_ident[EI_DATA] == OWN_DATA ? h.e_machine
						    : (unsigned)__builtin_bswap16(h.e_machine);
	e->own = e->machine == OWN_MACHINE && h.e_ident[EI_CLASS] == OWN_CLASS &&
		 h.e_ident[EI_DATA] == OWN_DATA;
	if (!e->own || h.e_phentsize != sizeof(p) || h.e_phnum > HEADERS_MAX)
		return;
	for (unsigned i = 0; i < h.e_phnum; i++)
		if (read_at(fd, &p, sizeof(p), h.e_phoff + i * sizeof(p)))
			read_segment(fd, &p, e);
	e->go |= has_go_section(fd, &h);
}
