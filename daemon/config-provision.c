// SPDX-License-Identifier: GPL-2.0-or-later
#include "config-provision.h"

#include <errno.h>
#include <string.h>

#include "kernfile.h"
#include "parse-size.h"
#include "provision-parse.h"

#define NAME_MAX_LENGTH 64
#define SIZE_UNIT (UINT64_C(256) << 20)

void config_provision_free(gpointer data)
{
	struct config_provision *p = data;

	g_free(p->name);
	g_free(p->origin);
	g_free(p);
}

int config_provision_section(GPtrArray *provisions, const char *name, const char *file,
			     unsigned int line, struct config_provision **ret_provision,
			     char **ret_message)
{
	const char *base = strrchr(file, '/');
	struct config_provision *p;
	size_t n = strlen(name);

	if (n == 0 || n > NAME_MAX_LENGTH ||
	    name[strspn(name,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")]) {
		*ret_message = g_strdup(
			"[provision NAME] wants a name of 1 to 64 letters, digits, '-', '_' "
			"or '.'");
		return -EINVAL;
	}
	for (unsigned int i = 0; i < provisions->len; i++) {
		p = provisions->pdata[i];
		if (strcmp(p->name, name) == 0) {
			*ret_provision = p;
			return 0;
		}
	}
	p = g_new0(struct config_provision, 1);
	p->name = g_strdup(name);
	p->origin = g_strdup_printf("%s:%u", base ? base + 1 : file, line);
	p->wish.select = SELECT_SERIAL;
	g_ptr_array_add(provisions, p);
	*ret_provision = p;
	return 0;
}

static int refuse(char **ret_message, const char *text)
{
	*ret_message = g_strdup(text);
	return -EINVAL;
}

int config_provision_key(struct config_provision *p, const char *key, const char *value,
			 char **ret_message)
{
	struct provision_wish *w = &p->wish;

	if (strcmp(key, "Serial") == 0) {
		p->has_serial = kernfile_parse_u64(value, &w->serial) == 0;
		return p->has_serial ? 0
				     : refuse(ret_message,
					      "the serial number of a CXL device is wanted, as "
					      "\"cxl list -M\" shows it: decimal, or 0x…");
	}
	if (strcmp(key, "Mode") == 0)
		return provision_parse_mode(value, &w->mode) == 0
			       ? 0
			       : refuse(ret_message, "ram or pmem is wanted");
	if (strcmp(key, "As") == 0)
		return provision_parse_as(value, &w->as) == 0
			       ? 0
			       : refuse(ret_message, "devdax or system-ram is wanted");
	if (strcmp(key, "Zone") == 0) {
		p->has_zone = provision_parse_zone(value, &w->zone) == 0;
		return p->has_zone ? 0 : refuse(ret_message, "movable or kernel is wanted");
	}
	if (strcmp(key, "Size") == 0)
		return parse_size(value, &w->size) == 0 && w->size > 0 && w->size % SIZE_UNIT == 0
			       ? 0
			       : refuse(ret_message, "a multiple of 256M is wanted");
	return refuse(ret_message, "unknown key; this section has Serial, Mode, As, Zone, Size");
}

int config_provision_check(const GPtrArray *provisions, char **ret_message)
{
	for (unsigned int i = 0; i < provisions->len; i++) {
		const struct config_provision *p = provisions->pdata[i];

		if (!p->has_serial) {
			*ret_message =
				g_strdup_printf("%s: [provision %s] has no Serial=: which device "
						"it is about",
						p->origin, p->name);
			return -EINVAL;
		}
		if (p->has_zone && p->wish.as != AS_SYSTEM_RAM) {
			*ret_message = g_strdup_printf("%s: [provision %s] has Zone=: only "
						       "As=system-ram is in a zone",
						       p->origin, p->name);
			return -EINVAL;
		}
		for (unsigned int j = 0; j < i; j++) {
			const struct config_provision *o = provisions->pdata[j];

			if (o->wish.serial != p->wish.serial ||
			    (o->wish.mode != p->wish.mode && o->wish.mode != MODE_ANY &&
			     p->wish.mode != MODE_ANY))
				continue;
			*ret_message =
				g_strdup_printf("%s: [provision %s] is about the same memory as "
						"[provision %s] (%s)",
						p->origin, p->name, o->name, o->origin);
			return -EINVAL;
		}
	}
	return 0;
}
