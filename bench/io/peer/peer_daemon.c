/* SPDX-License-Identifier: BSD-3-Clause */
/* The process of a foreign backend: its CPU time, and the CPU that its threads are pinned to. */
#include "peer.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void peer_daemon_init(struct peer_daemon *d, pid_t pid)
{
	*d = (struct peer_daemon){.pid = pid};
	/* Of the whole process, threads that have ended included, and exact; /proc counts in ticks.
	 */
	d->has_clock = pid > 0 && clock_getcpuclockid(pid, &d->clock) == 0;
}

uint64_t peer_daemon_cpu_ns(const struct peer_daemon *d)
{
	struct timespec ts;

	if (!d->has_clock || clock_gettime(d->clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Threads that are not known yet: 0, or -errno when one cannot be put on @set. */
static int pin_new_tasks(struct peer_daemon *d, DIR *dir, const cpu_set_t *set, unsigned *found)
{
	struct dirent *e;

	*found = 0;
	rewinddir(dir);
	while ((e = readdir(dir))) {
		pid_t tid = atoi(e->d_name);
		unsigned i = 0;

		while (i < d->ntasks && d->task[i].tid != tid)
			i++;
		if (tid <= 0 || i < d->ntasks)
			continue;
		if (d->ntasks == PEER_TASKS_MAX)
			return -E2BIG;
		if (sched_getaffinity(tid, sizeof(cpu_set_t), &d->task[i].cpus) < 0 ||
		    sched_setaffinity(tid, sizeof(cpu_set_t), set) < 0) {
			if (errno == ESRCH)
				continue; /* it has just ended */
			return -errno;
		}
		d->task[i].tid = tid;
		d->ntasks++;
		++*found;
	}
	return 0;
}

int peer_daemon_pin(struct peer_daemon *d, int cpu)
{
	unsigned found = 1;
	char path[48];
	cpu_set_t set;
	DIR *dir;
	int rc = 0;

	if (d->pid <= 1) /* unknown, or the socket was made by init for whoever serves it */
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Until nothing is new: a thread may have been started by one that was not pinned yet. */
	while (rc == 0 && found)
		rc = pin_new_tasks(d, dir, &set, &found);
	closedir(dir);
	if (rc < 0)
		peer_daemon_unpin(d);
	return rc;
}

void peer_daemon_unpin(struct peer_daemon *d)
{
	/* Threads started meanwhile inherited their starter's place: they get the main thread's. */
	if (d->ntasks) {
		cpu_set_t first = d->task[0].cpus;
		char path[48];
		struct dirent *e;
		DIR *dir;

		snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
		dir = opendir(path);
		while (dir && (e = readdir(dir)))
			if (atoi(e->d_name) > 0)
				sched_setaffinity(atoi(e->d_name), sizeof(first), &first);
		if (dir)
			closedir(dir);
	}
	for (unsigned i = 0; i < d->ntasks; i++)
		sched_setaffinity(d->task[i].tid, sizeof(cpu_set_t), &d->task[i].cpus);
	d->ntasks = 0;
}
