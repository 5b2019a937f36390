/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL for a process that only needs rte_vhost.
 *
 * Theory of operation
 * -------------------
 * EAL memory is not used on the data path, so hugepages and devices are left alone, and --no-shconf
 * keeps EAL from creating shared files. It still creates a directory of its own below the runtime
 * directory (/run/dpdk, or $XDG_RUNTIME_DIR/dpdk when unprivileged), which is removed again here;
 * the parent "dpdk" directory stays. EAL binds the calling thread to its main lcore; its affinity
 * is restored. The main lcore is given all CPUs that the process may use, because EAL places its
 * control threads on CPUs that the lcores leave free or, if there are none, on the main lcore's
 * CPUs.
 *
 * EAL and rte_vhost log to a stdio stream. Ours passes each line to zv_log(), prefixed by the name
 * of the frontend that it is about, since a frontend can cause any number of lines. Messages below
 * "notice" (rte_vhost has several for every protocol message) are not even formatted. What EAL says
 * while it starts is held back until it is known whether it did: an error about its directory means
 * nothing here, as no file is to be put there.
 */
#include "eal.h"

#include "fd_cloexec.h"

#include "transport.h"

#include <errno.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- log ---- */

static enum zv_log_level level_of(int rte)
{
	if (rte >= 0 && rte <= (int)RTE_LOG_ERR)
		return ZV_LOG_ERR;
	if (rte == (int)RTE_LOG_WARNING)
		return ZV_LOG_WARN;
	return rte == (int)RTE_LOG_DEBUG ? ZV_LOG_DEBUG : ZV_LOG_INFO;
}

static struct {
	pthread_mutex_t lock;
	TAILQ_HEAD(, eal_device) all;
} devices = {.lock = PTHREAD_MUTEX_INITIALIZER, .all = TAILQ_HEAD_INITIALIZER(devices.all)};

void eal_device_add(struct eal_device *d)
{
	pthread_mutex_lock(&devices.lock);
	TAILQ_INSERT_TAIL(&devices.all, d, link);
	pthread_mutex_unlock(&devices.lock);
}

void eal_device_remove(struct eal_device *d)
{
	pthread_mutex_lock(&devices.lock);
	TAILQ_REMOVE(&devices.all, d, link);
	pthread_mutex_unlock(&devices.lock);
}

/* "NAME: " of the device that @line has in brackets, or "". */
static void about(const char *line, size_t len, char *name, size_t size)
{
	const char *from = memchr(line, '(', len), *to;
	const struct eal_device *d;

	name[0] = 0;
	to = from ? memchr(from, ')', len - (size_t)(from - line)) : NULL;
	if (!to)
		return;
	from++;
	len = (size_t)(to - from);
	pthread_mutex_lock(&devices.lock);
	TAILQ_FOREACH(d, &devices.all, link)
		if (strlen(d->path) == len && memcmp(d->path, from, len) == 0)
			break;
	if (d)
		(void)snprintf(name, size, "%s: ", d->name);
	pthread_mutex_unlock(&devices.lock);
}

static void log_one(enum zv_log_level level, const char *line, size_t len)
{
	char name[256];

	about(line, len, name, sizeof(name));
	zv_log(level, "%sdpdk: %.*s", name, (int)len, line);
}

/* Lines from EAL's start. */
static struct {
	pthread_mutex_t lock;
	bool on;
	unsigned n;
	struct {
		enum zv_log_level level;
		char text[240];
	} line[16];
} held = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* False: it is to be logged now. What finds no room is. */
static bool hold(enum zv_log_level level, const char *line, size_t len)
{
	bool room;

	pthread_mutex_lock(&held.lock);
	room = held.on && held.n < sizeof(held.line) / sizeof(held.line[0]);
	if (room) {
		held.line[held.n].level = level;
		(void)snprintf(held.line[held.n].text, sizeof(held.line[0].text), "%.*s", (int)len,
			       line);
		held.n++;
	}
	pthread_mutex_unlock(&held.lock);
	return room;
}

static void hold_begin(void)
{
	pthread_mutex_lock(&held.lock);
	held.on = true;
	held.n = 0;
	pthread_mutex_unlock(&held.lock);
}

/* @started: EAL did, so its lines are details. */
static void hold_end(bool started)
{
	const char *first = "";

	pthread_mutex_lock(&held.lock);
	held.on = false;
	pthread_mutex_unlock(&held.lock);
	/* From here on they are only ours. */
	for (unsigned i = 0; i < held.n; i++) {
		if (!*first && held.line[i].level == ZV_LOG_ERR)
			first = held.line[i].text;
		log_one(started ? ZV_LOG_DEBUG : held.line[i].level, held.line[i].text,
			strlen(held.line[i].text));
	}
	if (started && !*rte_eal_get_runtime_dir())
		zv_log(ZV_LOG_INFO,
		       "DPDK has no directory of its own, and needs none here (%s); "
		       "XDG_RUNTIME_DIR, or RUNTIME_DIRECTORY, names another place for it",
		       first);
}

/* EAL flushes after each message, so what arrives is one message, perhaps of several lines. */
static ssize_t log_write(void *cookie, const char *buf, size_t size)
{
	enum zv_log_level level = level_of(rte_log_cur_msg_loglevel());

	(void)cookie;
	for (size_t i = 0, start = 0; i <= size; i++) {
		if (i < size && buf[i] != '\n')
			continue;
		if (i > start && !hold(level, buf + start, i - start))
			log_one(level, buf + start, i - start);
		start = i + 1;
	}
	return (ssize_t)size;
}

static int redirect_log(void)
{
	static const cookie_io_functions_t io = {.write = log_write};
	FILE *f = fopencookie(NULL, "w", io);

	return f && rte_openlog_stream(f) == 0 ? 0 : -ENOMEM;
}

/* ---- start ---- */

/* "0@(0,2,3)": lcore 0 on all CPUs of @set. False: they do not fit into @size bytes. */
static bool lcore_arg(char *arg, size_t size, const cpu_set_t *set)
{
	size_t at = (size_t)snprintf(arg, size, "--lcores=0@(");
	char sep = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, set))
			continue;
		if (at + 8 > size)
			return false;
		at += (size_t)snprintf(arg + at, size - at, sep ? ",%d" : "%d", cpu);
		sep = ',';
	}
	(void)snprintf(arg + at, size - at, ")");
	return true;
}

static int init(void)
{
	char lcores[4096], prefix[64];
	char *argv[] = {(char[]){"zvsock"},
			(char[]){"--no-huge"},
			(char[]){"--no-pci"},
			(char[]){"--no-shconf"},
			(char[]){"--no-telemetry"},
			(char[]){"--log-level=*:notice"},
			(char[]){"-m"},
			(char[]){"64"},
			prefix,
			lcores,
			NULL};
	int ret, argc = (int)(sizeof(argv) / sizeof(argv[0])) - 1;
	struct fd_list fds;
	cpu_set_t before;
	sigset_t all, mask;

	if (pthread_getaffinity_np(pthread_self(), sizeof(before), &before) != 0)
		return zv_err(-EIO, "zv_host_init: cannot read the CPU affinity of this thread");
	if (!lcore_arg(lcores, sizeof(lcores), &before))
		argc--; /* EAL then chooses itself */
	(void)snprintf(prefix, sizeof(prefix), "--file-prefix=zvsock-%ld", (long)getpid());
	if (redirect_log() < 0)
		return zv_err(-ENOMEM, "zv_host_init: out of memory");
	fd_list_take(&fds);
	(void)sigfillset(&all); /* EAL's threads inherit it: signals are the application's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &mask);
	hold_begin();
	ret = rte_eal_init(argc, argv);
	hold_end(ret >= 0);
	(void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
	fd_list_mark_new(&fds, NULL);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	if (ret < 0)
		return zv_err(
			rte_errno == ENOMEM ? -ENOMEM : -EIO,
			"zv_host_init: DPDK's EAL refused to start: %s; set a log callback to "
			"see its own words",
			rte_strerror(rte_errno));
	(void)rmdir(rte_eal_get_runtime_dir()); /* empty with --no-shconf */
	return 0;
}

int eal_start(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static int state = 1; /* 0: running; < 0: failed, which EAL does not let one repeat */
	int ret;

	pthread_mutex_lock(&lock);
	if (state < 0)
		zv_err(state,
		       "zv_host_init: DPDK's EAL has refused to start in this process before, "
		       "and can be asked once");
	if (state > 0) /* EAL counts its lcores first of all: none before rte_eal_init */
		state = rte_lcore_count() > 0 ? 0 : init();
	ret = state;
	pthread_mutex_unlock(&lock);
	return ret;
}
