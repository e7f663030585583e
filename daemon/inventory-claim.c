// SPDX-License-Identifier: GPL-2.0-or-later
#include "inventory-claim.h"

#include <string.h>

#include "warnings.h"

const struct config_tier *claim_find(const struct config *config, const struct dax_device *d,
				     const struct config_tier **ret_refused)
{
	if (ret_refused)
		*ret_refused = NULL;
	for (unsigned int i = 0; config && i < config->tiers->len; i++) {
		const struct config_tier *ct = config->tiers->pdata[i];
		const char *slash = ct->device ? strrchr(ct->device, '/') : NULL;

		if (!ct->is_volatile)
			continue;
		if (ct->uuid && g_strcmp0(ct->uuid, d->uuid) == 0)
			return ct;
		if (!slash || strcmp(slash + 1, d->name) != 0)
			continue;
		if (!d->nd_region)
			return ct;
		if (ret_refused)
			*ret_refused = ct;
	}
	return NULL;
}

static struct draft *find_draft(GPtrArray *drafts, const char *device)
{
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		if (d->tier->backing == BACKING_DAX && d->tier->device &&
		    g_str_has_prefix(d->tier->device, "/dev/") &&
		    strcmp(d->tier->device + strlen("/dev/"), device) == 0)
			return d;
	}
	return NULL;
}

static void claim(const struct dax_device *dax, const struct config_tier *ct, bool module,
		  struct draft *d)
{
	if (dax->mode != DAX_DEVDAX)
		return; /* the state says how to get there */
	if (dax->start == 0) {
		draft_set_state(
			d, TIER_OFFLINE,
			"%s is morsel's by %s, but where its memory begins is root's to know: "
			"systemctl enable --now morsel-helper.socket",
			dax->name, ct->origin);
		return;
	}
	d->tier->pool = true;
	if (module)
		draft_set_state(d, TIER_ONLINE, "%s", "");
	else
		draft_set_state(
			d, TIER_OFFLINE,
			"%s is morsel's by %s, for pools of the module, which is not in use: "
			"morselctl doctor",
			dax->name, ct->origin);
}

void claim_devices(const struct dax_facts *facts, const struct config *config, bool module,
		   GPtrArray *drafts)
{
	for (unsigned int i = 0; i < facts->devices->len; i++) {
		const struct dax_device *dax = facts->devices->pdata[i];
		const struct config_tier *refused, *ct = claim_find(config, dax, &refused);
		struct draft *d = find_draft(drafts, dax->name);

		if (d && ct)
			claim(dax, ct, module, d);
		else if (d && refused)
			warnings_add(
				d->tier->warnings,
				"%s says Volatile= of %s, which keeps its content: a name may be "
				"another device's after a boot, Uuid=%s must say which is meant",
				refused->origin, dax->name, dax->uuid ? dax->uuid : "UUID");
	}
}
