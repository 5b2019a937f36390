/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: what a line looks like, what is left out of a flood, and that it is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"

static int kept, file; /* standard error as it was; where it goes now */

static int begin(void **state)
{
	(void)state;
	(void)unsetenv("JOURNAL_STREAM");
	kept = dup(STDERR_FILENO);
	file = memfd_create("log", MFD_CLOEXEC);
	/* The kernel guards the position of a file on disk against several writers, not a memfd's.
	 */
	if (kept < 0 || file < 0 || fcntl(file, F_SETFL, O_APPEND) < 0 ||
	    dup2(file, STDERR_FILENO) < 0)
		return -1;
	log_init();
	log_set_level(ZV_LOG_INFO);
	return 0;
}

static int end(void **state)
{
	(void)state;
	zv_set_log(NULL, NULL);
	return dup2(kept, STDERR_FILENO) < 0 || close(kept) < 0 || close(file) < 0 ? -1 : 0;
}

/* All that has been written; for the caller to free. */
static char *written(void)
{
	off_t size = lseek(file, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);

	assert_non_null(text);
	assert_int_equal(pread(file, text, (size_t)size, 0), size);
	return text;
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	while ((text = strstr(text, part))) {
		text += strlen(part);
		n++;
	}
	return n;
}

/* Until the second of the monotonic clock changes, so that what follows is within one. */
static void new_second(void)
{
	struct timespec now, pause = {.tv_nsec = 1000000};
	time_t second;

	clock_gettime(CLOCK_MONOTONIC, &now);
	second = now.tv_sec;
	while (now.tv_sec == second) {
		(void)nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
}

/* @n lines of @guest, all within one second: a loaded machine may need several tries. */
static void flood(const char *guest, unsigned n)
{
	struct timespec before, after;

	do {
		new_second();
		(void)log_tick(); /* of the try before */
		assert_int_equal(ftruncate(file, 0), 0);
		assert_int_equal(lseek(file, 0, SEEK_SET), 0);
		clock_gettime(CLOCK_MONOTONIC, &before);
		for (unsigned i = 0; i < n; i++)
			log_line(ZV_LOG_WARN, guest, "line %u", i);
		clock_gettime(CLOCK_MONOTONIC, &after);
	} while (before.tv_sec != after.tv_sec);
}

static void fields(void **state)
{
	char *text;

	(void)state;
	log_guest("guest", "web", 3);
	log_line(ZV_LOG_WARN, "web", "%s", "a");
	log_line(ZV_LOG_ERR, "new", "b");
	log_line(ZV_LOG_INFO, NULL, "c");
	text = written();
	assert_int_equal(count(text, "\n"), 3);
	assert_int_equal(count(text, "ts=2"), 3);
	assert_int_equal(count(text, "Z level=warn guest=web cid=3 msg=\"a\"\n"), 1);
	assert_int_equal(count(text, "Z level=err guest=new msg=\"b\"\n"), 1);
	assert_int_equal(count(text, "Z level=info msg=\"c\"\n"), 1);
	free(text);
	log_guest("device", "vm", 0);
	log_line(ZV_LOG_INFO, "vm", "d");
	log_guest("device", "vm", 7); /* it has said which CID it has */
	log_guest("device", "vm", 0); /* a reload does not know */
	log_line(ZV_LOG_INFO, "vm", "e");
	text = written();
	assert_int_equal(count(text, "Z level=info device=vm msg=\"d\"\n"), 1);
	assert_int_equal(count(text, "Z level=info device=vm cid=7 msg=\"e\"\n"), 1);
	free(text);
}

/* A guest or a host program may have a say in the text: one line, and nothing for the terminal. */
static void quoting(void **state)
{
	char *text, *huge = malloc(100001);

	(void)state;
	assert_non_null(huge);
	memset(huge, '\x1b', 100000);
	huge[100000] = 0;
	log_line(ZV_LOG_INFO, NULL, "%s", "say \"hi\"\nlevel=err \x1b[2J\t\\ \xc3\xa9 \x9b");
	log_line(ZV_LOG_INFO, NULL, "%s", huge);
	text = written();
	assert_int_equal(count(text, "\n"), 2);
	assert_int_equal(count(text,
			       "msg=\"say \\\"hi\\\"\\x0alevel=err \\x1b[2J\\x09\\\\ \\xc3\\xa9 "
			       "\\x9b\"\n"),
			 1);
	assert_int_equal(text[strlen(text) - 2], '"'); /* what is cut is the text, not the line */
	assert_in_range(count(text, "\\x1b"), 900, 1100);
	free(text);
	free(huge);
}

static void levels(void **state)
{
	char *text;

	(void)state;
	log_line(ZV_LOG_DEBUG, NULL, "not this");
	log_set_level(ZV_LOG_DEBUG);
	log_line(ZV_LOG_DEBUG, NULL, "this");
	log_set_level(ZV_LOG_ERR);
	log_line(ZV_LOG_WARN, NULL, "not this");
	log_line(ZV_LOG_ERR, NULL, "this");
	text = written();
	assert_int_equal(count(text, "msg=\"this\""), 2);
	assert_int_equal(count(text, "\n"), 2);
	free(text);
}

static void floods_are_cut(void **state)
{
	char *text;

	(void)state;
	flood("noisy", LOG_BURST + 25);
	log_line(ZV_LOG_INFO, "quiet", "heard"); /* another guest has its own share */
	log_line(ZV_LOG_INFO, "noisy", "lower"); /* and so has another level */
	text = written();
	assert_int_equal(count(text, "msg=\"lower\""), 1);
	assert_int_equal(count(text, "level=warn guest=noisy"), LOG_BURST);
	assert_int_equal(count(text, "guest=quiet"), 1);
	free(text);
	new_second();
	assert_false(log_tick()); /* now it is said, and that is all */
	text = written();
	assert_int_equal(count(text, "level=warn guest=noisy msg=\"25 more lines were left out"),
			 1);
	assert_int_equal(count(text, "left out"), 1);
	free(text);
	log_line(ZV_LOG_INFO, "noisy", "again"); /* a new second, a new share */
	text = written();
	assert_int_equal(count(text, "msg=\"again\""), 1);
	free(text);
}

/* The next line says it as well, whoever comes first. */
static void next_line_tells_too(void **state)
{
	char *text;

	(void)state;
	flood("loud", LOG_BURST + 1);
	new_second();
	log_line(ZV_LOG_INFO, "loud", "next");
	text = written();
	assert_int_equal(count(text, "guest=loud msg=\"1 more lines were left out"), 1);
	assert_true(strstr(text, "left out") < strstr(text, "msg=\"next\""));
	free(text);
	assert_false(log_tick());
}

static void ticks_go_on_while_there_is_more(void **state)
{
	(void)state;
	flood("late", LOG_BURST + 1);
	if (!log_tick()) { /* then the second was over already, and it has been said */
		char *text = written();

		assert_int_equal(count(text, "left out"), 1);
		free(text);
	}
	new_second();
	assert_false(log_tick());
}

static void journal(void **state)
{
	char stream[64], *text;
	struct stat st;

	(void)state;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		       (uintmax_t)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init();
	log_line(ZV_LOG_ERR, NULL, "e");
	log_line(ZV_LOG_WARN, NULL, "w");
	log_line(ZV_LOG_INFO, NULL, "i");
	text = written();
	assert_string_equal(text, "<3>level=err msg=\"e\"\n<4>level=warn msg=\"w\"\n"
				  "<6>level=info msg=\"i\"\n");
	free(text);
	/* It names another file: standard error has been redirected since. */
	assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
	log_init();
	log_line(ZV_LOG_INFO, NULL, "x");
	text = written();
	assert_int_equal(count(text, "ts=2"), 1);
	free(text);
}

static void *many_lines(void *arg)
{
	for (unsigned i = 0; i < 40; i++)
		log_line(ZV_LOG_INFO, NULL, "%s", (const char *)arg);
	return NULL;
}

/* Lines of several threads do not mix. */
static void threads(void **state)
{
	static char as[] = "aaaaaaaaaaaaaaaaaaaaaaaa", bs[] = "bbbbbbbbbbbbbbbbbbbbbbbb";
	pthread_t a, b;
	char *text;

	(void)state;
	new_second();
	assert_int_equal(pthread_create(&a, NULL, many_lines, as), 0);
	assert_int_equal(pthread_create(&b, NULL, many_lines, bs), 0);
	assert_int_equal(pthread_join(a, NULL), 0);
	assert_int_equal(pthread_join(b, NULL), 0);
	text = written();
	assert_int_equal(count(text, "msg=\"aaaaaaaaaaaaaaaaaaaaaaaa\"\n"), 40);
	assert_int_equal(count(text, "msg=\"bbbbbbbbbbbbbbbbbbbbbbbb\"\n"), 40);
	free(text);
}

/* Logs until @fd, standard error's other end, which nobody reads, is full; then reads it. */
static void reader_that_stands_still(int fd, int err)
{
	static char got[1u << 20];
	char text[1001], lost[64];
	size_t n = 0;
	ssize_t more;

	memset(text, 'x', 1000);
	text[1000] = 0;
	assert_true(dup2(err, STDERR_FILENO) >= 0);
	log_init();
	new_second();
	(void)alarm(60); /* who waits here waits for ever */
	for (unsigned i = 0; i < 100; i++)
		log_line(ZV_LOG_INFO, NULL, "%s", text);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while ((more = read(fd, got + n, sizeof(got) - 1 - n)) > 0)
		n += (size_t)more;
	assert_in_range(count(got, "x\"\n"), 1, 99);
	/* It takes lines again, and is told of those that it did not take. */
	(void)snprintf(lost, sizeof(lost), "msg=\"%u lines were lost", 100 - count(got, "x\"\n"));
	memset(got, 0, n);
	n = 0;
	(void)log_tick();
	while ((more = read(fd, got + n, sizeof(got) - 1 - n)) > 0)
		n += (size_t)more;
	(void)alarm(0);
	assert_int_equal(count(got, lost), 1);
	memset(got, 0, n);
	assert_true(dup2(file, STDERR_FILENO) >= 0);
	log_init();
}

static void a_pipe_that_is_not_read_stops_nobody(void **state)
{
	int fds[2], flags;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_true(fcntl(fds[1], F_SETPIPE_SZ, 16384) > 0);
	reader_that_stands_still(fds[0], fds[1]);
	/* Whoever shares the pipe finds it as it was. */
	flags = fcntl(fds[1], F_GETFL);
	assert_int_equal(flags & O_NONBLOCK, 0);
	close(fds[0]);
	close(fds[1]);
}

static void a_socket_that_is_not_read_stops_nobody(void **state)
{
	int fds[2], room = 8192;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	reader_that_stands_still(fds[0], fds[1]);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(fields, begin, end),
		cmocka_unit_test_setup_teardown(quoting, begin, end),
		cmocka_unit_test_setup_teardown(levels, begin, end),
		cmocka_unit_test_setup_teardown(floods_are_cut, begin, end),
		cmocka_unit_test_setup_teardown(next_line_tells_too, begin, end),
		cmocka_unit_test_setup_teardown(ticks_go_on_while_there_is_more, begin, end),
		cmocka_unit_test_setup_teardown(journal, begin, end),
		cmocka_unit_test_setup_teardown(threads, begin, end),
		cmocka_unit_test_setup_teardown(a_pipe_that_is_not_read_stops_nobody, begin, end),
		cmocka_unit_test_setup_teardown(a_socket_that_is_not_read_stops_nobody, begin, end),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
