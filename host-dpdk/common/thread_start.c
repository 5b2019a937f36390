/* SPDX-License-Identifier: BSD-3-Clause */
#include "thread_start.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct start {
	const char *name;
	void *(*run)(void *);
	void *arg;
	bool apart;
};

static void *begin(void *arg)
{
	const struct start s = *(struct start *)arg;
	cpu_set_t cpus;

	free(arg);
	(void)pthread_setname_np(pthread_self(), s.name);
	if (s.apart && sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0)
		(void)sched_setaffinity(0, sizeof(cpus), &cpus);
	return s.run(s.arg);
}

static int create(struct start *s)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t t;
	int err = pthread_attr_init(&attr);

	if (err)
		return err;
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (!err && s->apart)
		err = pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	if (!err)
		err = pthread_create(&t, &attr, begin, s);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	return err;
}

static int start(const char *name, void *(*run)(void *), void *arg, bool apart)
{
	struct start *s = malloc(sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	*s = (struct start){name, run, arg, apart};
	err = create(s);
	if (err)
		free(s);
	return -err;
}

int thread_start(const char *name, void *(*run)(void *), void *arg)
{
	return start(name, run, arg, false);
}

int thread_start_apart(const char *name, void *(*run)(void *), void *arg)
{
	return start(name, run, arg, true);
}
