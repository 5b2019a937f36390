/* SPDX-License-Identifier: BSD-3-Clause */
/* What zvsock-run sees in a program, and the mode that follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/modes.h"
#include "run/program.h"

static char dir[64], linker[PATH_MAX];

static const char *in_dir(const char *name)
{
	static char path[4][160];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static const char *put(const char *name, const void *data, size_t len, mode_t mode)
{
	const char *path = in_dir(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static const char *put_text(const char *name, const char *text, mode_t mode)
{
	return put(name, text, strlen(text), mode);
}

/* An ELF file with what is given: a dynamic linker, a note, a section. */
struct image {
	ElfW(Ehdr) h;
	ElfW(Phdr) p[2];
	ElfW(Shdr) s[2];
	struct {
		ElfW(Nhdr) n;
		char name[4];
	} note;
	char names[32];
	char interp[128];
};

static struct image image(const char *interp, const char *note, const char *section)
{
	struct image i = {.h = {.e_type = ET_EXEC,
				.e_version = EV_CURRENT,
				.e_ehsize = sizeof(i.h),
				.e_phentsize = sizeof(i.p[0]),
				.e_shentsize = sizeof(i.s[0]),
				.e_phoff = offsetof(struct image, p),
				.e_shoff = offsetof(struct image, s),
				.e_shnum = 2,
				.e_shstrndx = 0},
			  .p = {{.p_type = PT_NOTE,
				 .p_offset = offsetof(struct image, note),
				 .p_filesz = sizeof(i.note)},
				{.p_type = PT_INTERP, .p_offset = offsetof(struct image, interp)}},
			  .s = {{.sh_offset = offsetof(struct image, names)}, {.sh_name = 1}},
			  .note = {.n = {.n_namesz = 4, .n_type = 4}}};
	struct {
		ElfW(Ehdr) h;
	} own;
	int fd = open("/proc/self/exe", O_RDONLY);

	assert_int_equal(read(fd, &own, sizeof(own)), (ssize_t)sizeof(own));
	close(fd);
	memcpy(i.h.e_ident, own.h.e_ident, EI_NIDENT);
	i.h.e_machine = own.h.e_machine;
	i.h.e_phnum = interp ? 2 : 1;
	memcpy(i.note.name, note, 4);
	snprintf(i.names + 1, sizeof(i.names) - 1, "%s", section);
	if (interp) {
		snprintf(i.interp, sizeof(i.interp), "%s", interp);
		i.p[1].p_filesz = strlen(interp) + 1;
	}
	return i;
}

static struct program look(const char *name)
{
	struct program p = {0};
	char why[512] = "";

	assert_int_equal(program_find(name, linker, &p, why, sizeof(why)), 0);
	assert_string_equal(why, "");
	return p;
}

static enum program_kind kind(const struct image *i)
{
	return look(put("elf", i, sizeof(*i), 0755)).kind;
}

static void kinds_are_told_apart(void **state)
{
	struct image i = image(linker, "GNU", ".text");

	(void)state;
	assert_int_equal(kind(&i), PROGRAM_DYNAMIC);
	i = image(NULL, "GNU", ".text");
	assert_int_equal(kind(&i), PROGRAM_STATIC);
	i = image("/lib/ld-musl-x86_64.so.1", "GNU", ".text");
	assert_int_equal(kind(&i), PROGRAM_FOREIGN_LIBC);
	i = image(NULL, "Go\0", ".text");
	assert_int_equal(kind(&i), PROGRAM_GO);
	i = image(linker, "GNU", ".go.buildinfo");
	assert_int_equal(kind(&i), PROGRAM_GO);
	i.h.e_machine = EM_ARM;
	assert_int_equal(kind(&i), PROGRAM_FOREIGN);
	i = image(linker, "GNU", ".text");
	i.h.e_ident[EI_CLASS] = sizeof(void *) == 8 ? ELFCLASS32 : ELFCLASS64;
	assert_int_equal(kind(&i), PROGRAM_FOREIGN);
	assert_int_equal(look(put_text("text", "echo hello\n", 0755)).kind, PROGRAM_UNKNOWN);
	assert_int_equal(look("/proc/self/exe").kind, PROGRAM_DYNAMIC);
}

/* What a file says of itself can be anything. */
static void lies_are_survived(void **state)
{
	const struct image good = image(linker, "GNU", ".go.buildinfo");
	char bad[sizeof(good)];

	(void)state;
	for (size_t at = EI_NIDENT; at < offsetof(struct image, names); at++)
		for (unsigned to = 0; to < 3; to++) {
			memcpy(bad, &good, sizeof(bad));
			bad[at] = (char[]){'\xff', '\x7f', '\0'}[to];
			(void)look(put("bad", bad, sizeof(bad), 0755));
		}
	for (size_t len = 0; len < sizeof(good); len++)
		(void)look(put("bad", &good, len, 0755));
}

static void scripts_are_their_interpreters(void **state)
{
	const struct image i = image(NULL, "GNU", ".text");
	char text[200], name[8];
	struct program p;
	char why[512];

	(void)state;
	put("elf", &i, sizeof(i), 0755);
	snprintf(text, sizeof(text), "#! %s -x\n", in_dir("elf"));
	put_text("s0", text, 0755);
	p = look(in_dir("s0"));
	assert_int_equal(p.kind, PROGRAM_STATIC);
	assert_string_equal(p.path, in_dir("s0"));
	assert_string_equal(p.loaded, in_dir("elf"));
	for (unsigned n = 1; n < 7; n++) {
		snprintf(name, sizeof(name), "s%u", n - 1);
		snprintf(text, sizeof(text), "#!%s\n", in_dir(name));
		snprintf(name, sizeof(name), "s%u", n);
		put_text(name, text, 0755);
	}
	assert_int_equal(look(in_dir("s4")).kind, PROGRAM_STATIC);
	assert_int_equal(program_find(in_dir("s6"), linker, &p, why, sizeof(why)), -ELOOP);
	put_text("lost", "#!/nowhere/sh\n", 0755);
	assert_int_equal(program_find(in_dir("lost"), linker, &p, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "its interpreter /nowhere/sh"));
}

static void missing_ones_are_said(void **state)
{
	struct program p;
	char why[512];

	(void)state;
	assert_int_equal(program_find("no-such-program", linker, &p, why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "no-such-program: not found in $PATH");
	assert_int_equal(program_find("", linker, &p, why, sizeof(why)), -ENOENT);
	assert_int_equal(program_find(in_dir("none"), linker, &p, why, sizeof(why)), -ENOENT);
	put_text("data", "x", 0644);
	assert_int_equal(program_find(in_dir("data"), linker, &p, why, sizeof(why)), -EACCES);
	assert_int_equal(program_find(dir, linker, &p, why, sizeof(why)), -EACCES);
}

static void path_is_searched(void **state)
{
	const struct image i = image(NULL, "GNU", ".text");
	char *before = strdup(getenv("PATH")), path[256];
	struct program p;
	char why[512];

	(void)state;
	put("found", &i, sizeof(i), 0755);
	snprintf(path, sizeof(path), "/nowhere:%s:/bin", dir);
	setenv("PATH", path, 1);
	p = look("found");
	assert_string_equal(p.path, in_dir("found"));
	put_text("data", "x", 0644);
	assert_int_equal(program_find("data", linker, &p, why, sizeof(why)), -EACCES);
	setenv("PATH", before, 1);
	free(before);
}

static void privileged_ones_are_known(void **state)
{
	const struct image i = image(linker, "GNU", ".text");

	(void)state;
	assert_null(look(put("elf", &i, sizeof(i), 04755)).privileged); /* our own */
	if (getuid() != 0) {
		print_message("not root: a file cannot be given to another user\n");
		skip();
	}
	assert_int_equal(chown(in_dir("elf"), 65534, 0), 0);
	assert_int_equal(chmod(in_dir("elf"), 04755), 0);
	assert_string_equal(look(in_dir("elf")).privileged, "set-user-ID");
	assert_int_equal(chown(in_dir("elf"), 0, 65534), 0);
	assert_int_equal(chmod(in_dir("elf"), 02755), 0);
	assert_string_equal(look(in_dir("elf")).privileged, "set-group-ID");
}

static void auto_chooses_what_works(void **state)
{
	static const struct {
		enum program_kind kind;
		bool library;
		const char *privileged;
		enum mode mode;
	} cases[] = {
		{PROGRAM_DYNAMIC, true, NULL, MODE_PRELOAD},
		{PROGRAM_UNKNOWN, true, NULL, MODE_PRELOAD},
		{PROGRAM_DYNAMIC, false, NULL, MODE_SECCOMP},
		{PROGRAM_DYNAMIC, true, "set-user-ID", MODE_SECCOMP},
		{PROGRAM_STATIC, true, NULL, MODE_SECCOMP},
		{PROGRAM_FOREIGN_LIBC, true, NULL, MODE_SECCOMP},
		{PROGRAM_GO, true, NULL, MODE_SECCOMP},
		{PROGRAM_FOREIGN, true, NULL, MODE_SECCOMP},
	};
	enum mode mode;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct program p = {.kind = cases[i].kind, .privileged = cases[i].privileged};
		const char *why = NULL;

		assert_int_equal(mode_of(&p, cases[i].library, &why), cases[i].mode);
		assert_non_null(why);
	}
	assert_true(mode_read("auto", &mode) && mode == MODE_AUTO);
	assert_true(mode_read(mode_name(MODE_SECCOMP), &mode) && mode == MODE_SECCOMP);
	assert_false(mode_read("ptrace", &mode));
}

static int begin(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/zvprogXXXXXX");
	return mkdtemp(dir) && program_own_linker(linker) ? 0 : -1;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf -- '%s'", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_are_told_apart),
		cmocka_unit_test(lies_are_survived),
		cmocka_unit_test(scripts_are_their_interpreters),
		cmocka_unit_test(missing_ones_are_said),
		cmocka_unit_test(path_is_searched),
		cmocka_unit_test(privileged_ones_are_known),
		cmocka_unit_test(auto_chooses_what_works),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
