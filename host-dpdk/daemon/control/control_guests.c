/* SPDX-License-Identifier: BSD-3-Clause */
/* "guests" of the control socket: each guest, its sockets, and why it is not started. */
#include "config/config_part.h"
#include "control_int.h"

#include <string.h>
#include <zvsock.h>

static json_t *strings(const char *first, size_t stride, unsigned n)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < n; i++)
		if (!control_append(array, control_text(first + i * stride))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

/* Adds the list of names that a part of the configuration has for the guest. False: no memory. */
static bool add_names(json_t *j, const struct cfg_part *part, const void *values)
{
	json_t *array = json_array();
	const char *name;

	for (unsigned i = 0; (name = part->name(values, i)); i++)
		if (!control_append(array, control_text(name))) {
			json_decref(array);
			return false;
		}
	return json_object_set_new(j, part->names, array) == 0;
}

/* What is known whether the guest runs or not. */
static json_t *described(const struct cfg *c, const struct cfg_guest *cfg, const char *state,
			 unsigned queues, unsigned up)
{
	json_t *j =
		json_pack("{ss sI ss so ss sI sI sI}", "name", cfg->name, "cid",
			  (json_int_t)cfg->cid, "state", state, "sockets",
			  strings(cfg->sockets[0], sizeof(cfg->sockets[0]), cfg->n_sockets), "mode",
			  cfg->client ? "client" : "server", "queues", (json_int_t)queues,
			  "queues_up", (json_int_t)up, "ring_size", (json_int_t)cfg->ring_size);

	for (unsigned i = 0; j && c->parts[i]; i++)
		if (c->parts[i]->names && !add_names(j, c->parts[i], cfg->part[i])) {
			json_decref(j);
			j = NULL;
		}
	return j;
}

static json_t *guest_json(const struct cfg *c, const struct guest *g)
{
	static const char *const peers[] = {"unknown", "plain", "zvsock"};
	struct zv_dev_info info = {.size = sizeof(info)};
	json_t *j;

	(void)zv_dev_info(g->dev, &info);
	j = described(c, g->cfg, info.queues_up ? "up" : "down", g->n_queues, info.queues_up);
	(void)json_object_set_new(
		j, "peer", json_string((unsigned)info.peer < 3 ? peers[info.peer] : "unknown"));
	(void)json_object_set_new(j, "connections", json_integer((json_int_t)control_count(g)));
	return j;
}

static json_t *down_json(const struct cfg *c, const struct guest_down *gd)
{
	json_t *j = described(c, gd->cfg, "failed", gd->cfg->queues, 0);

	(void)json_object_set_new(j, "peer", json_string("unknown"));
	(void)json_object_set_new(j, "connections", json_integer(0));
	(void)json_object_set_new(j, "error", control_text(gd->why));
	return j;
}

/* True if @request is about no guest in particular, or about this one. */
static bool asked_for(const json_t *request, const char *name)
{
	const char *only = json_string_value(json_object_get(request, "guest"));

	return !only || strcmp(only, name) == 0;
}

json_t *control_guests(struct control *ct, struct client *cl, const json_t *request,
		       struct refusal *why)
{
	json_t *guests = json_array(), *answer;
	struct guest *only;
	bool ok = true;

	(void)cl;
	for (const struct guest *g = ct->d->guests; g && ok; g = g->next)
		if (asked_for(request, g->cfg->name))
			ok = control_append(guests, guest_json(ct->d->cfg, g));
	for (const struct guest_down *gd = ct->d->down; gd && ok; gd = gd->next)
		if (asked_for(request, gd->cfg->name))
			ok = control_append(guests, down_json(ct->d->cfg, gd));
	if (ok && !json_array_size(guests) && !control_guest(ct, request, &only, why)) {
		json_decref(guests);
		return NULL;
	}
	answer = control_wrap("guests", guests, ok, why);
	if (answer)
		(void)json_object_set_new(answer, "failed", json_integer(ct->d->n_down));
	return answer;
}
