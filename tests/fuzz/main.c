/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target over files instead of under libFuzzer: usage: fuzz_NAME FILE|FOLDER...
 *
 * A violated invariant or a sanitizer's finding ends the program; the file it was working on is the
 * last one named. Prints cmocka's lines, so that each file counts as a test case.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>

static unsigned files;

static int run_file(const char *path, const char *name)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	long size;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
		goto fail;
	/* To the byte, so that a sanitizer sees a read behind the end of the input. */
	data = malloc(size ? (size_t)size : 1);
	if (!data || fread(data, 1, (size_t)size, f) != (size_t)size)
		goto fail;
	(void)fclose(f);
	printf("[ RUN      ] %s\n", name);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(data, (size_t)size);
	printf("[       OK ] %s\n", name);
	free(data);
	files++;
	return 0;
fail:
	(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
	if (f)
		(void)fclose(f);
	free(data);
	return 1;
}

static int run_folder(DIR *d, const char *folder)
{
	char path[PATH_MAX];
	struct dirent *e;
	int bad = 0;

	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		bad |= run_file(path, e->d_name);
	}
	return bad;
}

int main(int argc, char **argv)
{
	int bad = 0;

	for (int i = 1; i < argc; i++) {
		DIR *d = opendir(argv[i]);

		bad |= d ? run_folder(d, argv[i]) : run_file(argv[i], argv[i]);
		if (d)
			(void)closedir(d);
	}
	if (!files)
		(void)fprintf(stderr, "no file was run\n");
	return bad || !files;
}
