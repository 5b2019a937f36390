/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands of the VM tests' programs: one conversation, many at once, or many in a row. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES 16u

static const struct {
	const char *name;
	enum flow_kind kind;
	int args; /* after the port */
} verbs[] = {
	{"echo", ECHO_CLIENT, 1}, {"xfer", XFER_CLIENT, 2}, {"seq", SEQ_CLIENT, 1},
	{"msg", SEQ_CLIENT, 1},	  {"row", ECHO_CLIENT, 1},  {"parallel", ECHO_CLIENT, 2},
};

static bool number(const char *text, uint64_t max, uint64_t *v)
{
	char *end;

	if (strcmp(text, "forever") == 0) {
		*v = PEER_FOREVER;
		return max == PEER_FOREVER;
	}
	errno = 0;
	*v = strtoull(text, &end, 10);
	return !errno && end != text && !*end && *v <= max;
}

static int job_parse(struct job *job, int argc, char **argv)
{
	uint64_t port, args[2] = {0, 0};
	bool many;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (argc != verbs[i].args + 3 || strcmp(argv[0], verbs[i].name) != 0)
			continue;
		if (strlen(argv[1]) >= sizeof(job->where) || !number(argv[2], UINT32_MAX, &port) ||
		    !number(argv[3], PEER_FOREVER, &args[0]) ||
		    (argc > 4 && !number(argv[4], PEER_FOREVER, &args[1])))
			return -EINVAL;
		snprintf(job->verb, sizeof(job->verb), "%s", argv[0]);
		snprintf(job->where, sizeof(job->where), "%s", argv[1]);
		job->kind = verbs[i].kind;
		job->eor = strcmp(argv[0], "seq") == 0;
		job->port = (uint32_t)port;
		many = strcmp(argv[0], "row") == 0 || strcmp(argv[0], "parallel") == 0;
		job->n = many ? args[0] : 1;
		job->bytes = !many ? args[0] : argc > 4 ? args[1] : ROW_BYTES;
		job->reply = args[1];
		return job->n && job->n < 100000 ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static bool all_at_once(const struct job *job)
{
	return job->verb[0] == 'p';
}

static void say(struct job *job, const char *failure)
{
	char text[384];

	if (job->over || (!failure && job->done < job->n))
		return;
	if (failure)
		snprintf(text, sizeof(text), "%s: %llu of %llu done, %llu connected: %s", job->verb,
			 (unsigned long long)job->done, (unsigned long long)job->n,
			 (unsigned long long)job->connected, failure);
	else
		snprintf(text, sizeof(text), "%s: %llu connections", job->verb,
			 (unsigned long long)job->n);
	job->over = true;
	job_said(job->user, text, !failure);
}

static void job_put(struct job *job)
{
	if (--job->refs)
		return;
	free(job->flows);
	free(job);
}

static void start_flow(struct job *job)
{
	struct flow *f = flow_new(job->kind, job);
	uint64_t i = job->started++;
	int err;

	if (!f) {
		say(job, "no memory");
		return;
	}
	job->refs++;
	if (job->flows)
		job->flows[i] = f;
	f->tx.seed = f->rx.seed = job->bytes + 77 * i;
	err = peer_ops.connect(f, job->where, job->port);
	if (err)
		flow_connected(f, err);
}

int job_start(int argc, char **argv, void *user)
{
	struct job *job = calloc(1, sizeof(*job));
	int err = job ? job_parse(job, argc, argv) : -ENOMEM;

	if (!err && all_at_once(job) && !(job->flows = calloc(job->n, sizeof(struct flow *))))
		err = -ENOMEM;
	if (err) {
		free(job);
		return err;
	}
	job->user = user;
	job->refs = 1;
	do
		start_flow(job);
	while (all_at_once(job) && !job->over && job->started < job->n);
	job_put(job);
	return 0;
}

void job_connected(struct job *job, struct flow *f)
{
	job->connected++;
	if (!all_at_once(job)) {
		flow_run(f);
		return;
	}
	peer_ops.want(f, 0);
	if (job->connected < job->n)
		return;
	job->refs++;
	for (uint64_t i = 0; i < job->n; i++)
		if (job->flows[i])
			flow_run(job->flows[i]);
	job_put(job);
}

void job_flow_over(struct job *job, struct flow *f, const char *failure)
{
	for (uint64_t i = 0; job->flows && i < job->n; i++)
		if (job->flows[i] == f)
			job->flows[i] = NULL;
	flow_free(f);
	job->done += !failure;
	say(job, failure);
	if (!job->over && !all_at_once(job) && job->started < job->n)
		start_flow(job);
	job_put(job);
}
