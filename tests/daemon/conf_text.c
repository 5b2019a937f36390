/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf_text.h"

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
#include <sys/mman.h>
#include <unistd.h>

/* A file that needs no clean-up: an anonymous one, by its name under /proc. */
struct text_file {
	int fd;
	char path[32];
};

static struct text_file text_file(const char *text, size_t len)
{
	struct text_file f = {.fd = memfd_create("conf", MFD_CLOEXEC)};

	assert_true(f.fd >= 0);
	assert_int_equal(write(f.fd, text, len), (ssize_t)len);
	(void)snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

int conf_load(struct cfg **c, const char *text, size_t len, char *const *extra, char **faults)
{
	struct text_file f = text_file(text, len);
	size_t size;
	FILE *err = open_memstream(faults, &size);
	int ret;

	assert_non_null(err);
	*c = NULL;
	ret = cfg_load(c, endpoint_parts, f.path, extra, err);
	assert_int_equal(fclose(err), 0);
	assert_int_equal(close(f.fd), 0);
	return ret;
}

struct cfg *conf_good_with(const char *text, char *const *extra)
{
	char *faults = NULL;
	struct cfg *c;
	int ret = conf_load(&c, text, strlen(text), extra, &faults);

	if (ret < 0)
		fail_msg("refused: %s", faults);
	assert_string_equal(faults, "");
	free(faults);
	return c;
}

struct cfg *conf_good(const char *text)
{
	return conf_good_with(text, NULL);
}

char *conf_refused_words(char *const *extra)
{
	char *faults = NULL;
	size_t size;
	FILE *err = open_memstream(&faults, &size);
	struct cfg *c = NULL;

	assert_int_equal(cfg_load(&c, endpoint_parts, NULL, extra, err), -EINVAL);
	assert_null(c);
	assert_int_equal(fclose(err), 0);
	return faults;
}

char *conf_printed(const struct cfg *c)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	cfg_print(c, to);
	assert_int_equal(fclose(to), 0);
	return text;
}
