/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to the control socket: each is looked up by name and gets a JSON object back.
 */
#include "config/config_part.h"
#include "control_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock.h>

json_t *control_refuse(struct refusal *why, const char *code, const char *fmt, ...)
{
	va_list ap;

	why->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	/* It may quote the client, whose bytes need not be plain text. */
	for (char *p = why->text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return NULL;
}

bool control_append(json_t *array, json_t *value)
{
	return value && json_array_append_new(array, value) == 0;
}

json_t *control_text(const char *s)
{
	json_t *j = json_string(s);
	char *copy = j ? NULL : strdup(s);

	for (char *p = copy; p && *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	if (copy)
		j = json_string(copy);
	free(copy);
	return j;
}

json_t *control_wrap(const char *name, json_t *array, bool complete, struct refusal *why)
{
	json_t *answer = complete ? json_pack("{sO}", name, array) : NULL;

	json_decref(array);
	return answer ? answer
		      : control_refuse(why, "memory",
				       "the daemon is out of memory for this answer");
}

bool control_string(const json_t *request, const char *key, const char **value, struct refusal *why)
{
	const json_t *v = json_object_get(request, key);

	if (v && !json_is_string(v)) {
		(void)control_refuse(why, "request", "\"%s\" must be a string", key);
		return false;
	}
	if (v)
		*value = json_string_value(v);
	return true;
}

bool control_number(const json_t *request, const char *key, uint64_t max, uint64_t *value,
		    struct refusal *why)
{
	const json_t *v = json_object_get(request, key);

	if (v && (!json_is_integer(v) || json_integer_value(v) < 0 ||
		  (uint64_t)json_integer_value(v) > max)) {
		(void)control_refuse(why, "request", "\"%s\" must be a number from 0 to %llu", key,
				     (unsigned long long)max);
		return false;
	}
	if (v)
		*value = (uint64_t)json_integer_value(v);
	return true;
}

bool control_guest(struct control *ct, const json_t *request, struct guest **only,
		   struct refusal *why)
{
	char known[256] = "";
	const char *name = NULL;
	size_t len = 0;

	*only = NULL;
	if (!control_string(request, "guest", &name, why))
		return false;
	if (!name)
		return true;
	for (const struct guest_down *gd = ct->d->down; gd; gd = gd->next)
		if (strcmp(gd->cfg->name, name) == 0) {
			(void)control_refuse(why, "guest", "%s \"%.64s\" is not started: %.400s",
					     cfg_roles[gd->cfg->role].section, name, gd->why);
			return false;
		}
	for (struct guest *g = ct->d->guests; g; g = g->next) {
		if (strcmp(g->cfg->name, name) == 0) {
			*only = g;
			return true;
		}
		if (len < sizeof(known))
			len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
						len ? ", " : "", g->cfg->name);
	}
	(void)control_refuse(why, "guest", "no guest or device \"%.64s\" here; %s%s%s", name,
			     *known ? "there are: " : "there is none at all", known,
			     len >= sizeof(known) ? "..." : "");
	return false;
}

/* ---- requests ---- */

static const struct {
	const char *cmd;
	json_t *(*answer)(struct control *ct, struct client *cl, const json_t *request,
			  struct refusal *why);
} requests[] = {
	{"guests", control_guests},   {"list", control_list},	   {"stats", control_stats},
	{"capture", capture_begin},   {"stop", capture_end_early}, {"regions", control_regions},
	{"connect", control_connect},
};

#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static json_t *refuse_unknown(struct refusal *why)
{
	char names[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < N_REQUESTS && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
					i == 0		     ? ""
					: i + 1 < N_REQUESTS ? ", "
							     : " or ",
					requests[i].cmd);
	return control_refuse(why, "request", "\"cmd\" must be %s", names);
}

json_t *control_answer(struct control *ct, struct client *cl, const json_t *request,
		       struct refusal *why)
{
	const json_t *v = json_object_get(request, "v");
	const char *cmd = NULL;

	if (!json_is_object(request))
		return control_refuse(why, "request", "the request is not a JSON object");
	if (!json_is_integer(v) || json_integer_value(v) != CONTROL_PROTOCOL)
		return control_refuse(why, "version", "this daemon speaks version %d (\"v\":%d)",
				      CONTROL_PROTOCOL, CONTROL_PROTOCOL);
	if (!control_string(request, "cmd", &cmd, why))
		return NULL;
	for (unsigned i = 0; cmd && i < N_REQUESTS; i++)
		if (strcmp(requests[i].cmd, cmd) == 0)
			return requests[i].answer(ct, cl, request, why);
	return refuse_unknown(why);
}
