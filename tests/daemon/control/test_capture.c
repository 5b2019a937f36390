/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures from the request to the last byte of the file: what is in it, what ends it, and that
 * neither a full disk nor a reader that does not read holds up anybody else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/capture_int.h"
#include "control/control_int.h"
#include "control/pcap_vsock.h"
#include "fake_daemon.h"
#include "raw_client.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 1, RW = 5 };

#define CAPTURE(more) "{\"v\":1,\"cmd\":\"capture\"" more "}\n"
#define STOP	      "{\"v\":1,\"cmd\":\"stop\"}\n"

static int setup(void **state)
{
	*state = fake_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	fake_free(*state);
	return 0;
}

static json_int_t num(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

static const char *text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

/* Asks for a capture into @file, which is closed; expects the answer @code ("": yes). */
static int begin(struct fake *f, int file, const char *request, const char *code)
{
	int fd = raw_connect(f->path);
	json_t *j;

	assert_true(raw_send(fd, request, strlen(request), &file, 1));
	(void)close(file);
	j = raw_line(fd);
	assert_string_equal(text(j, "code"), code);
	json_decref(j);
	return fd;
}

/* The last line of a capture, and its end. */
static json_t *ended(int fd, const char *end)
{
	json_t *j = raw_line(fd);

	while (j && !json_object_get(j, "event")) { /* the answer to "stop" */
		json_decref(j);
		j = raw_line(fd);
	}
	assert_string_equal(text(j, "event"), "captured");
	assert_string_equal(text(j, "end"), end);
	(void)close(fd);
	return j;
}

/* A file without a name, and a descriptor to pass. */
static int new_file(int *pass)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	fd = dup(fileno(f));
	*pass = dup(fd);
	(void)fclose(f);
	return fd;
}

static void packet(struct fake *f, unsigned guest, unsigned queue, const void *data, size_t len)
{
	const struct iovec iov = {(void *)(uintptr_t)data, len};

	assert_true(fake_packet(&f->queues[guest][queue], false, RW, &iov, 1));
}

struct reader {
	FILE *f;
	uint32_t caplen, len;
	uint64_t ns;
	uint8_t data[PCAP_VSOCKMON_BYTES + PCAP_VIRTIO_BYTES + (1 << 20)];
};

static struct reader *open_reader(int fd)
{
	struct reader *r = malloc(sizeof(*r));
	uint8_t head[PCAP_FILE_BYTES];

	assert_non_null(r);
	(void)lseek(fd, 0, SEEK_SET); /* -1: a pipe */
	r->f = fdopen(fd, "r");
	assert_non_null(r->f);
	assert_int_equal(fread(head, 1, sizeof(head), r->f), sizeof(head));
	assert_int_equal(head[20] | head[21] << 8, PCAP_LINKTYPE_VSOCK);
	return r;
}

/* The next packet; false at the end, which must be where a packet ends. */
static bool next(struct reader *r)
{
	uint32_t h[4];
	size_t n = fread(h, 1, sizeof(h), r->f);

	if (n == 0)
		return false;
	assert_int_equal(n, sizeof(h));
	r->ns = (uint64_t)le32toh(h[0]) * 1000000000u + le32toh(h[1]);
	r->caplen = le32toh(h[2]) - 76;
	r->len = le32toh(h[3]) - 76;
	assert_true(r->caplen <= 1 << 20);
	assert_int_equal(fread(r->data, 1, r->caplen + 76, r->f), r->caplen + 76);
	return true;
}

static void close_reader(struct reader *r)
{
	(void)fclose(r->f);
	free(r);
}

static void packets_are_in_the_file_in_the_order_of_time(void **state)
{
	const struct iovec pieces[3] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
	struct fake *f = *state;
	int pass, file = new_file(&pass), fd = begin(f, pass, CAPTURE(), "");
	struct reader *r;
	uint64_t last = 0;
	json_t *j;

	assert_int_equal(fake_taps(f), FAKE_GUESTS * FAKE_QUEUES);
	for (unsigned i = 0; i < 60; i++)
		packet(f, i % 3, i % 2, &i, sizeof(i));
	assert_true(fake_packet(&f->queues[0][0], true, RW, pieces, 3));
	assert_true(fake_packet(&f->queues[2][1], true, REQUEST, NULL, 0));
	assert_true(raw_send_line(fd, STOP));
	j = ended(fd, "stopped");
	assert_int_equal(num(j, "packets"), 62);
	assert_int_equal(num(j, "dropped"), 0);
	assert_int_equal(fake_taps(f), 0);
	r = open_reader(file);
	for (unsigned i = 0; i < 60; i++) {
		assert_true(next(r));
		assert_int_equal(r->len, 4);
		assert_memory_equal(r->data + 76, &i, 4);
		assert_int_equal(r->data[0], 3 + i % 3); /* from the guest's CID */
		assert_true(r->ns >= last);
		last = r->ns;
	}
	assert_true(next(r));
	assert_int_equal(r->len, 8);
	assert_memory_equal(r->data + 76, "abcdefgh", 8);
	assert_int_equal(r->data[0], 2);
	assert_true(next(r));
	assert_int_equal(r->len, 0);
	assert_int_equal(r->data[24], 1); /* connect */
	assert_false(next(r));
	assert_int_equal(num(j, "bytes"), ftell(r->f));
	/* Nanoseconds since 1970, now. */
	assert_true(last / 1000000000u >= (uint64_t)time(NULL) - 600);
	close_reader(r);
	json_decref(j);
}

static void snaplen_cuts_payload_and_says_its_length(void **state)
{
	struct fake *f = *state;
	int pass, file = new_file(&pass);
	int fd = begin(f, pass, CAPTURE(",\"guest\":\"db\",\"snaplen\":5"), "");
	struct reader *r;

	assert_int_equal(fake_taps(f), FAKE_QUEUES);
	packet(f, 1, 0, "0123456789", 10);
	packet(f, 1, 1, "abc", 3);
	assert_true(raw_send_line(fd, STOP));
	json_decref(ended(fd, "stopped"));
	r = open_reader(file);
	assert_true(next(r));
	assert_int_equal(r->caplen, 5);
	assert_int_equal(r->len, 10);
	assert_memory_equal(r->data + 76, "01234", 5);
	assert_true(next(r));
	assert_int_equal(r->caplen, 3);
	close_reader(r);
}

struct size_wait {
	int fd;
	off_t size;
};

static bool size_reached(void *arg)
{
	const struct size_wait *w = arg;
	struct stat st;

	return fstat(w->fd, &st) == 0 && st.st_size >= w->size;
}

/* Several times round the ring, with all lengths around those that fill an entry. */
static void payload_survives_the_rings_end(void **state)
{
	struct fake *f = *state;
	int pass, file = new_file(&pass), fd = begin(f, pass, CAPTURE(), "");
	struct size_wait w = {.fd = file, .size = PCAP_FILE_BYTES};
	unsigned char *data = malloc(CAPTURE_SNAPLEN_MAX);
	const size_t fill = CAPTURE_RING_BYTES / 2;
	struct reader *r;
	json_t *j;
	size_t in_flight = 0, len;
	unsigned n = 0;

	for (size_t i = 0; i < CAPTURE_SNAPLEN_MAX; i++)
		data[i] = (unsigned char)(i * 7 + i / 251);
	for (; n < 1200; n++) {
		len = n % 100 == 99 ? CAPTURE_SNAPLEN_MAX - n : 170 + n;
		if (in_flight + len > fill) { /* nothing shall be dropped */
			assert_true(raw_wait(size_reached, &w));
			in_flight = 0;
		}
		data[0] = (unsigned char)n;
		packet(f, 0, 0, data, len);
		in_flight += len + 512;
		w.size += PCAP_PACKET_BYTES + (off_t)len;
	}
	assert_true(raw_send_line(fd, STOP));
	j = ended(fd, "stopped");
	assert_int_equal(num(j, "dropped"), 0);
	r = open_reader(file);
	for (unsigned i = 0; i < n; i++) {
		assert_true(next(r));
		len = i % 100 == 99 ? CAPTURE_SNAPLEN_MAX - i : 170 + i;
		data[0] = (unsigned char)i;
		assert_int_equal(r->caplen, len);
		assert_memory_equal(r->data + 76, data, len);
	}
	assert_false(next(r));
	close_reader(r);
	json_decref(j);
	free(data);
}

static void count_and_duration_end_it(void **state)
{
	struct fake *f = *state;
	int pass, file = new_file(&pass), fd = begin(f, pass, CAPTURE(",\"count\":3"), "");
	json_t *j;

	for (unsigned i = 0; i < 10; i++)
		(void)fake_packet(&f->queues[0][0], true, RW, NULL, 0);
	j = ended(fd, "count");
	assert_int_equal(num(j, "packets"), 3);
	assert_int_equal(num(j, "dropped"), 0);
	assert_int_equal(num(j, "bytes"), lseek(file, 0, SEEK_END));
	assert_int_equal(fake_taps(f), 0);
	json_decref(j);
	(void)close(file);

	file = new_file(&pass);
	fd = begin(f, pass, CAPTURE(",\"duration_ms\":1"), "");
	json_decref(ended(fd, "duration"));
	assert_int_equal(fake_taps(f), 0);
	(void)close(file);
}

static bool no_taps(void *f)
{
	return fake_taps(f) == 0;
}

static void a_client_that_leaves_ends_it(void **state)
{
	struct fake *f = *state;
	int pass, file = new_file(&pass), fd = begin(f, pass, CAPTURE(), "");

	packet(f, 0, 0, "x", 1);
	(void)close(fd);
	assert_true(raw_wait(no_taps, f));
	/* Its guests are free for the next one. */
	fd = begin(f, file, CAPTURE(), "");
	assert_true(raw_send_line(fd, STOP));
	json_decref(ended(fd, "stopped"));
}

static void a_full_disk_ends_it_with_a_word(void **state)
{
	struct fake *f = *state;
	int other_file, pass, file = new_file(&pass), full = open("/dev/full", O_WRONLY), fd, other;
	json_t *j;

	other_file = file;
	other = begin(f, pass, CAPTURE(",\"guest\":\"db\""), "");
	fd = begin(f, full, CAPTURE(",\"guest\":\"web\""), "");
	j = ended(fd, "failed");
	assert_false(json_is_true(json_object_get(j, "ok")));
	assert_string_equal(text(j, "error"), strerror(ENOSPC));
	assert_int_equal(num(j, "bytes"), 0);
	json_decref(j);
	/* The other capture does not notice. */
	assert_int_equal(fake_taps(f), FAKE_QUEUES);
	packet(f, 1, 0, "x", 1);
	assert_true(raw_send_line(other, STOP));
	j = ended(other, "stopped");
	assert_int_equal(num(j, "packets"), 1);
	json_decref(j);
	(void)close(other_file);
}

/* A file that may not grow any more ends where a packet ends, and what did not fit is counted. */
static void a_file_that_fills_up_ends_with_a_whole_packet(void **state)
{
	const struct rlimit small = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
	struct fake *f = *state;
	int pass, file = new_file(&pass), fd = begin(f, pass, CAPTURE(), "");
	struct rlimit before;
	struct reader *r;
	json_t *j;
	unsigned n = 0;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_IGN); /* of others: standard error may be a file */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	pthread_mutex_lock(&f->main); /* keeps the taps in place until all are sent */
	for (unsigned i = 0; i < 20; i++)
		packet(f, 0, 0, "0123456789", 10);
	pthread_mutex_unlock(&f->main);
	j = ended(fd, "failed");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_string_equal(text(j, "error"), strerror(EFBIG));
	r = open_reader(file);
	while (next(r))
		n++;
	assert_int_equal(n, (1000 - PCAP_FILE_BYTES) / (PCAP_PACKET_BYTES + 10));
	assert_int_equal(num(j, "packets"), n);
	assert_int_equal(num(j, "dropped"), 20 - n);
	assert_int_equal(num(j, "bytes"), ftell(r->f));
	close_reader(r);
	json_decref(j);
}

static void a_pipe_nobody_reads_any_more_ends_it(void **state)
{
	struct fake *f = *state;
	char head[PCAP_FILE_BYTES];
	int p[2], fd;
	json_t *j;

	assert_int_equal(pipe(p), 0);
	fd = begin(f, p[1], CAPTURE(), "");
	assert_int_equal(read(p[0], head, sizeof(head)), sizeof(head));
	(void)close(p[0]); /* noticed without any packet */
	j = ended(fd, "failed");
	assert_string_equal(text(j, "error"), strerror(EPIPE));
	json_decref(j);
	assert_int_equal(fake_taps(f), 0);
}

/* The pipe is full, then the ring: the lcore goes on, and every packet is accounted for. */
static void a_reader_that_pauses_costs_packets_which_are_counted(void **state)
{
	static char data[60000];
	struct fake *f = *state;
	struct reader *r;
	unsigned got = 0;
	int p[2], fd;
	json_t *j;

	assert_int_equal(pipe(p), 0);
	fd = begin(f, p[1], CAPTURE(), "");
	for (unsigned i = 0; i < 200; i++)
		packet(f, 0, 0, data, sizeof(data));
	assert_true(raw_send_line(fd, STOP));
	j = ended(fd, "stopped");
	got = (unsigned)num(j, "packets");
	assert_true(num(j, "dropped") > 100);
	assert_int_equal(got + num(j, "dropped"), 200);
	json_decref(j);
	r = open_reader(p[0]);
	for (unsigned i = 0; i < got; i++)
		assert_true(next(r));
	close_reader(r);
}

static void what_cannot_be_is_refused(void **state)
{
	struct fake *f = *state;
	int pass, file = new_file(&pass), fd, other;
	json_t *j;

	fd = begin(f, open("/dev/null", O_RDONLY), CAPTURE(), "request");
	(void)close(fd);
	fd = begin(f, open("/tmp", O_PATH), CAPTURE(), "request");
	(void)close(fd);
	fd = begin(f, dup(pass), CAPTURE(",\"guest\":\"nobody\""), "guest");
	(void)close(fd);
	fd = begin(f, pass, CAPTURE(",\"guest\":\"db\""), "");
	/* A guest is in one capture at a time, and so is a client. */
	other = begin(f, dup(file), CAPTURE(), "busy");
	(void)close(other);
	assert_true(raw_send(fd, CAPTURE(",\"guest\":\"web\""),
			     strlen(CAPTURE(",\"guest\":\"web\"")), &file, 1));
	j = raw_line(fd);
	assert_string_equal(text(j, "code"), "busy");
	json_decref(j);
	assert_int_equal(fake_taps(f), FAKE_QUEUES);
	assert_true(raw_send_line(fd, STOP));
	json_decref(ended(fd, "stopped"));
	(void)close(file);
}

static void guests_come_and_go(void **state)
{
	struct fake *f = *state;
	int all, one, pass;
	json_t *j;

	(void)close(new_file(&pass));
	one = begin(f, pass, CAPTURE(",\"guest\":\"db\""), "");
	pthread_mutex_lock(&f->main);
	control_guest_down(&f->d, &f->guests[1]);
	pthread_mutex_unlock(&f->main);
	json_decref(ended(one, "guest-removed"));

	(void)close(new_file(&pass));
	all = begin(f, pass, CAPTURE(), "");
	packet(f, 1, 0, "x", 1);
	pthread_mutex_lock(&f->main);
	control_guest_down(&f->d, &f->guests[1]);
	assert_int_equal(fake_taps(f), FAKE_QUEUES * (FAKE_GUESTS - 1));
	control_guest_up(&f->d, &f->guests[1]);
	pthread_mutex_unlock(&f->main);
	assert_int_equal(fake_taps(f), FAKE_QUEUES * FAKE_GUESTS);
	packet(f, 1, 1, "x", 1);
	packet(f, 0, 1, "x", 1);
	assert_true(raw_send_line(all, STOP));
	j = ended(all, "stopped");
	assert_int_equal(num(j, "packets"), 3);
	json_decref(j);
}

static int piped[2];

/* Reads the pipe. Guest 1 leaves and comes back. */
static bool captured_again(void *arg)
{
	static char data[65536];
	struct fake *f = arg;

	while (read(piped[0], data, sizeof(data)) > 0)
		;
	pthread_mutex_lock(&f->main);
	control_guest_down(&f->d, &f->guests[1]);
	control_guest_up(&f->d, &f->guests[1]);
	pthread_mutex_unlock(&f->main);
	return fake_taps(f) == FAKE_QUEUES * FAKE_GUESTS;
}

/* The file is not written, and a guest comes and goes: the number of rings has a limit. When they
 * have been written they are used again. */
static void rings_of_those_that_have_gone(void **state)
{
	struct fake *f = *state;
	static char data[CAPTURE_SNAPLEN_MAX];
	unsigned n = 0, gone = 0;

	assert_int_equal(pipe2(piped, O_NONBLOCK | O_CLOEXEC), 0);
	(void)begin(f, piped[1], CAPTURE(), "");
	for (; captured_again(f) && gone < 1000; gone++)
		packet(f, 1, 0, data, sizeof(data));
	for (const struct capture_source *s = f->d.control->captures[0].c->sources; s; s = s->next)
		n++;
	assert_in_range(n, CAPTURE_LEFT_MAX, CAPTURE_LEFT_MAX + FAKE_QUEUES * FAKE_GUESTS);
	assert_true(raw_wait(captured_again, f));
	(void)close(piped[0]);
}

static void the_daemons_end_is_the_captures(void **state)
{
	int p[2], pass, file = new_file(&pass), fd, stuck;
	struct fake *f = fake_new();
	unsigned before;

	(void)state;
	assert_non_null(f);
	assert_int_equal(pipe(p), 0);
	before = raw_count_fds();
	fd = begin(f, pass, CAPTURE(",\"guest\":\"db\""), "");
	stuck = begin(f, p[1], CAPTURE(",\"guest\":\"web\""), "");
	packet(f, 1, 0, "x", 1);
	fake_free(f);
	json_decref(ended(fd, "stopped"));
	json_decref(ended(stuck, "stopped"));
	(void)close(p[0]);
	(void)close(file);
	/* The fake, a pipe of its own too, has gone, and so have both captures. */
	assert_true(raw_fds_at_most(before - 1));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(packets_are_in_the_file_in_the_order_of_time),
		CASE(snaplen_cuts_payload_and_says_its_length),
		CASE(payload_survives_the_rings_end),
		CASE(count_and_duration_end_it),
		CASE(a_client_that_leaves_ends_it),
		CASE(a_full_disk_ends_it_with_a_word),
		CASE(a_file_that_fills_up_ends_with_a_whole_packet),
		CASE(a_pipe_nobody_reads_any_more_ends_it),
		CASE(a_reader_that_pauses_costs_packets_which_are_counted),
		CASE(what_cannot_be_is_refused),
		CASE(guests_come_and_go),
		CASE(rings_of_those_that_have_gone),
		cmocka_unit_test(the_daemons_end_is_the_captures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
