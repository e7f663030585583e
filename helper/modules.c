// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "machine-internal.h"

#define SYSTEMD "org.freedesktop.systemd1"

static bool is_there(const char *name)
{
	g_autofree char *path = g_strdup_printf("/sys/module/%s", name);

	return access(path, F_OK) == 0;
}

struct waiting {
	sd_bus *bus;
	const char *module, *job;
};

/* The module is there, or systemd has done what it could. */
static bool has_ended(void *userdata)
{
	struct waiting *w = userdata;
	__attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
	char *state = NULL;
	int r;

	if (is_there(w->module))
		return true;
	r = sd_bus_get_property_string(w->bus, SYSTEMD, w->job, SYSTEMD ".Job", "State", &error,
				       &state);
	free(state);
	return r < 0;
}

static int ask_systemd(const char *name)
{
	__attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	__attribute__((cleanup(sd_bus_flush_close_unrefp))) sd_bus *bus = NULL;
	g_autofree char *unit = g_strdup_printf("modprobe@%s.service", name);
	struct waiting w = { .module = name };
	int r;

	r = sd_bus_open_system(&bus);
	if (r < 0)
		return r;
	r = sd_bus_call_method(bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
			       "StartUnit", &error, &reply, "ss", unit, "replace");
	if (r < 0)
		return r;
	r = sd_bus_message_read(reply, "o", &w.job);
	if (r < 0)
		return r;
	w.bus = bus;
	return await(has_ended, &w);
}

int module_load(const char *name, char text[static HELPER_TEXT_MAX])
{
	int r;

	if (is_there(name))
		return 0;
	r = ask_systemd(name);
	if (is_there(name))
		return 0;
	if (r < 0)
		g_snprintf(
			text, HELPER_TEXT_MAX,
			"the kernel module %s is not loaded, and systemd cannot be asked for it (%s). "
			"\"modprobe %s\" loads it.",
			name, g_strerror(-r), name);
	else
		g_snprintf(
			text, HELPER_TEXT_MAX,
			"the kernel module %s is not loaded: it is not installed, or blacklisted (\"modprobe "
			"--showconfig | grep %s\"). \"modprobe %s\" loads it all the same; then try again.",
			name, name, name);
	return -EOPNOTSUPP;
}
