/* SPDX-License-Identifier: BSD-3-Clause */
/* "guests" of the control socket: each guest or device, its sockets, and why it is not started. */
#include "base/clock.h"
#include "config/config_part.h"
#include "control_int.h"
#include "core/attached.h"

#include <string.h>
#include <zvsock.h>

static json_t *devices(const struct cfg_guest *cfg)
{
	json_t *array = json_array();
	char name[CFG_DEVICE_NAME_MAX];

	for (unsigned i = 0; i < cfg->n_devices; i++) {
		cfg_device_name(cfg, i, name, sizeof(name));
		if (!control_append(array, control_text(name))) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Adds the list of names in a part of the guest's configuration. False: no memory. */
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

/* Properties that are known whether the guest runs or not. */
static json_t *described(const struct cfg *c, const struct cfg_guest *cfg, uint64_t cid,
			 const char *state, unsigned queues, unsigned up)
{
	const char *kind = cfg_roles[cfg->role].section;
	bool ours = cfg_roles[cfg->role].scheme;
	json_t *j = json_pack("{ss ss sI ss so ss sI sI sI}", "name", cfg->name, "kind", kind,
			      "cid", (json_int_t)cid, "state", state, ours ? "sockets" : "devices",
			      devices(cfg), "mode",
			      !ours || cfg_roles[cfg->role].attached ? kind
			      : cfg->client			     ? "client"
								     : "server",
			      "queues", (json_int_t)queues, "queues_up", (json_int_t)up,
			      "ring_size", (json_int_t)cfg->ring_size);

	if (j && cfg->region)
		(void)json_object_set_new(j, "region",
					  json_pack("{sI so ss}", "size", (json_int_t)cfg->region,
						    "path", control_text(cfg->region_path), "kind",
						    cfg_region_kinds[cfg->region_kind]));
	if (j && *cfg->space.dir)
		(void)json_object_set_new(j, "af_vsock", control_text(cfg->space.dir));
	for (unsigned i = 0; j && c->parts[i]; i++)
		if (c->parts[i]->names && cfg_has_part(cfg, c->parts[i]) &&
		    !add_names(j, c->parts[i], cfg->part[i])) {
			json_decref(j);
			j = NULL;
		}
	return j;
}

#define PORTS_SHOWN 32u /* of an application, which may have many more */

/* What an application has taken, the last first. NULL: no memory. */
static json_t *ports(const struct daemon *d, const struct guest *app)
{
	json_t *array = json_array();
	const char *type;
	uint32_t port;

	for (unsigned i = 0; i < PORTS_SHOWN && (type = d->app_port(app, i, &port)); i++) {
		if (!control_append(array,
				    json_pack("{sI ss}", "port", (json_int_t)port, "type", type))) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *guest_json(const struct daemon *d, const struct guest *g)
{
	static const char *const peers[] = {"unknown", "plain", "zvsock"};
	struct zv_dev_info info = {.size = sizeof(info)};
	uint64_t now = now_ns();
	const char *hint;
	json_t *j;

	(void)zv_dev_info(g->dev, &info);
	j = described(d->cfg, g->cfg, info.guest_cid,
		      info.queues_up	 ? "up"
		      : info.attached_ns ? "attached"
					 : "down",
		      g->n_queues, info.queues_up);
	hint = attached_hint(g, &info, now);
	if (info.attached_ns)
		(void)json_object_set_new(j, "attached_ns",
					  json_integer((json_int_t)(now - info.attached_ns)));
	if (hint)
		(void)json_object_set_new(j, "hint", json_string(hint));
	(void)json_object_set_new(
		j, "peer", json_string((unsigned)info.peer < 3 ? peers[info.peer] : "unknown"));
	(void)json_object_set_new(j, "connections", json_integer((json_int_t)control_count(g)));
	if (cfg_roles[g->cfg->role].attached)
		(void)json_object_set_new(j, "ports", ports(d, g));
	return j;
}

static json_t *down_json(const struct cfg *c, const struct guest_down *gd)
{
	json_t *j = described(c, gd->cfg, gd->cfg->cid, "failed", gd->cfg->queues, 0);

	(void)json_object_set_new(j, "peer", json_string("unknown"));
	(void)json_object_set_new(j, "connections", json_integer(0));
	(void)json_object_set_new(j, "error", control_text(gd->why));
	return j;
}

/* True if @request names no guest, or this one. */
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
			ok = control_append(guests, guest_json(ct->d, g));
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
