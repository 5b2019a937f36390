/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "regions" of the control socket: memory for channels, and which devices hold parts of it.
 */
#include "channel/region.h"
#include "control_int.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *member_json(const struct region_member_info *m)
{
	return json_pack("{ss sb sI sI}", "name", m->name, "mapped", m->admitted, "bytes",
			 (json_int_t)m->bytes, "ends", (json_int_t)m->ends);
}

static json_t *region_json(const struct region_info *r)
{
	json_t *members = json_array();
	char id[17];

	for (unsigned i = 0; i < r->n_members; i++)
		if (!control_append(members, member_json(&r->members[i]))) {
			json_decref(members);
			return NULL;
		}
	(void)snprintf(id, sizeof(id), "%016" PRIx64, r->id);
	return json_pack("{ss ss sI sI sI sI sI sI sb so}", "id", id, "origin",
			 *r->origin ? r->origin : "zvsockd", "size", (json_int_t)r->size,
			 "page_size", (json_int_t)r->page_size, "free", (json_int_t)r->free_bytes,
			 "largest_free", (json_int_t)r->largest_free, "channels",
			 (json_int_t)r->channels, "channel_size", (json_int_t)r->channel_bytes,
			 "retired", r->retired, "members", members);
}

json_t *control_regions(struct control *ct, struct client *cl, const json_t *request,
			struct refusal *why)
{
	json_t *regions = json_array();
	struct region_info *infos = NULL;
	int n = region_infos(&infos);
	bool ok = n >= 0;

	(void)ct;
	(void)cl;
	(void)request;
	for (int i = 0; i < n && ok; i++)
		ok = control_append(regions, region_json(&infos[i]));
	region_infos_free(infos, n);
	return control_wrap("regions", regions, ok, why);
}
