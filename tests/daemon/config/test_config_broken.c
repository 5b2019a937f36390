/* SPDX-License-Identifier: BSD-3-Clause */
/* Configurations that are refused, as a table (config_cases.c), and command lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_text.h"
#include "config_cases.h"

static void check_fault(const char *line, const struct expected_fault *want)
{
	unsigned number = 0;
	const char *what = strstr(line, ": ");
	int fd, end = 0;

	if (!want->part)
		fail_msg("one fault too many: %s", line);
	if (want->line && (sscanf(line, "/proc/self/fd/%d:%u:%n", &fd, &number, &end) != 2 || !end))
		fail_msg("no FILE:LINE: %s", line);
	if (!what || number != want->line || !strstr(what, want->part))
		fail_msg("said: %s\nexpected in line %u: %s", line, want->line, want->part);
	if (!strstr(what, "; ") && line[strlen(line) - 1] != '?')
		fail_msg("does not say how to mend it: %s", line);
}

static void broken(void **state)
{
	const struct config_case *t = *state;
	char *faults = NULL, *rest, *line;
	unsigned n = 0;
	struct cfg *c;

	assert_int_equal(conf_load(&c, t->text, t->len ? t->len : strlen(t->text), NULL, &faults),
			 -EINVAL);
	assert_null(c);
	rest = faults;
	while ((line = strsep(&rest, "\n")) && rest)
		check_fault(line, &t->faults[n++]);
	if (t->faults[n].part)
		fail_msg("not told: line %u: %s", t->faults[n].line, t->faults[n].part);
	free(faults);
}

static int run_broken(void)
{
	struct CMUnitTest *tests = calloc(config_cases_n, sizeof(*tests));
	int failed;

	if (!tests)
		return 1;
	for (size_t i = 0; i < config_cases_n; i++) {
		tests[i].name = config_cases[i].name;
		tests[i].test_func = broken;
		tests[i].initial_state = (void *)(uintptr_t)&config_cases[i];
	}
	failed =
		_cmocka_run_group_tests("broken configurations", tests, config_cases_n, NULL, NULL);
	free(tests);
	return failed;
}

/* Among them what never ends, or waits for a writer that does not come. */
static void unreadable(void **state)
{
	char fifo[] = "/tmp/zvsock-fifo-XXXXXX";
	const struct {
		const char *path;
		int ret;
		const char *said;
	} t[] = {
		{"/nonexistent/zvsock.conf", -ENOENT,
		 "/nonexistent/zvsock.conf: cannot be read: No such file or directory; check "
		 "the path"},
		{"/", -EISDIR, "/: cannot be read: Is a directory; name a file in it"},
		{"/dev/null/x", -ENOTDIR,
		 "/dev/null/x: cannot be read: Not a directory; see to it"},
		{"/dev/zero", -EINVAL, "/dev/zero: cannot be read: it is no regular file; write"},
		{fifo, -EINVAL, "/"},
	};

	(void)state;
	assert_non_null(mkdtemp(fifo));
	assert_int_equal(rmdir(fifo), 0); /* a name that is free */
	assert_int_equal(mkfifo(fifo, 0600), 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cfg *c = NULL;
		char *faults = NULL;
		size_t size;
		FILE *err = open_memstream(&faults, &size);

		assert_int_equal(cfg_load(&c, endpoint_parts, t[i].path, NULL, err), t[i].ret);
		assert_null(c);
		assert_int_equal(fclose(err), 0);
		assert_memory_equal(faults, t[i].said, strlen(t[i].said));
		assert_ptr_equal(strchr(faults, '\n'), faults + strlen(faults) - 1);
		free(faults);
	}
	assert_int_equal(unlink(fifo), 0);
}

static void broken_words(void **state)
{
	static const struct {
		const char *word, *said;
	} t[] = {
		{"--guest=cid=3,socket=/s/a",
		 "--guest=cid=3,socket=/s/a: a guest without a name; "},
		{"--guest=", "--guest=: a guest without a name; "},
		{"--guest=name=a,cid=2,socket=/s/a",
		 "--guest=name=a,cid=2,socket=/s/a: CID 2 is reserved; "},
		{"--guest=name=a,sockets=/s/a,cid=3", "--guest=name=a,sockets=/s/a,cid=3: sockets "
						      "is an unknown key; did you mean socket?"},
		{"--guest=name=a,cid=3,cid=4,socket=/s/a",
		 "--guest=name=a,cid=3,cid=4,socket=/s/a: cid is given twice; keep one"},
		{"--guest=name=a,x", "--guest=name=a,x: \"x\" has no \"=\"; "},
		{"--set=spin_us", "--set=spin_us: no \"=\"; "},
		{"--set=spin=3", "--set=spin=3: spin is an unknown key; "},
		{"--set=nobody.cid=3",
		 "--set=nobody.cid=3: there is no guest and no device \"nobody\"; "},
		{"--set=daemon.cid=3", "--set=daemon.cid=3: cid is not a key of [daemon]; "},
		{"--device=uri=vfio:x", "--device=uri=vfio:x: a device without a name; write "
					"[device NAME] or --device=name=NAME,..."},
		{"--device=name=a,uri=host:/s/a",
		 "--device=name=a,uri=host:/s/a: uri = host:/s/a is the host's end; write [guest "
		 "NAME]"},
		{"--set=spin_us=x", "--set=spin_us=x: spin_us = x is no number; "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char *words[] = {(char *)(uintptr_t)t[i].word, NULL};
		char *faults = conf_refused_words(words);

		if (!strstr(faults, t[i].said))
			fail_msg("%s: said %s", t[i].word, faults);
		free(faults);
	}
}

static void twin_words(void **state)
{
	char *words[] = {"--guest=name=a,cid=3,socket=/s/a", "--guest=name=a,cid=4,socket=/s/b",
			 NULL};
	char *faults = conf_refused_words(words);

	(void)state;
	assert_string_equal(faults,
			    "--guest=name=a,cid=4,socket=/s/b: guest a is there already, on the "
			    "command line; choose another name\n");
	free(faults);
}

static void nothing_at_all(void **state)
{
	char *faults = conf_refused_words(NULL);

	(void)state;
	assert_memory_equal(faults, "command line: no guest and no device; ", 38);
	free(faults);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unreadable),
		cmocka_unit_test(broken_words),
		cmocka_unit_test(twin_words),
		cmocka_unit_test(nothing_at_all),
	};

	return run_broken() +
	       cmocka_run_group_tests_name("broken configurations, otherwise", tests, NULL, NULL);
}
