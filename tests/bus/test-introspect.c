// SPDX-License-Identifier: GPL-2.0-or-later
/* The running daemon's introspection is org.parperos.Morsel1.xml: nothing more, nothing less. */
#include <gio/gio.h>
#include <string.h>

#include "harness.h"

static const char *xml_path;

/* Each interface as sorted lines of text, so that what differs can be read. */
static void add_args(GString *s, GDBusArgInfo **args)
{
	for (; args && *args; args++)
		g_string_append_printf(s, " %s:%s", (*args)->name ? (*args)->name : "?",
				       (*args)->signature);
}

static void add_annotations(GString *s, GDBusAnnotationInfo **annotations)
{
	for (; annotations && *annotations; annotations++)
		g_string_append_printf(s, " [%s=%s]", (*annotations)->key, (*annotations)->value);
}

static char *describe(GDBusInterfaceInfo *i)
{
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
	GString *all = g_string_new(NULL);

	for (GDBusMethodInfo **m = i->methods; m && *m; m++) {
		GString *s = g_string_new(NULL);

		g_string_append_printf(s, "method %s in", (*m)->name);
		add_args(s, (*m)->in_args);
		g_string_append(s, " out");
		add_args(s, (*m)->out_args);
		add_annotations(s, (*m)->annotations);
		g_ptr_array_add(lines, g_string_free(s, FALSE));
	}
	for (GDBusSignalInfo **m = i->signals; m && *m; m++) {
		GString *s = g_string_new(NULL);

		g_string_append_printf(s, "signal %s", (*m)->name);
		add_args(s, (*m)->args);
		add_annotations(s, (*m)->annotations);
		g_ptr_array_add(lines, g_string_free(s, FALSE));
	}
	for (GDBusPropertyInfo **m = i->properties; m && *m; m++) {
		GString *s = g_string_new(NULL);

		g_string_append_printf(s, "property %s %s %d", (*m)->name, (*m)->signature,
				       (*m)->flags);
		add_annotations(s, (*m)->annotations);
		g_ptr_array_add(lines, g_string_free(s, FALSE));
	}
	for (unsigned int k = 0; k + 1 < lines->len; k++)
		for (unsigned int l = k + 1; l < lines->len; l++)
			if (strcmp(lines->pdata[k], lines->pdata[l]) > 0) {
				gpointer t = lines->pdata[k];

				lines->pdata[k] = lines->pdata[l];
				lines->pdata[l] = t;
			}
	for (unsigned int k = 0; k < lines->len; k++)
		g_string_append_printf(all, "%s\n", (char *)lines->pdata[k]);
	return g_string_free(all, FALSE);
}

static GDBusNodeInfo *introspect(sd_bus *bus, const char *path)
{
	const char *destination = sd_bus_is_bus_client(bus) ? "org.parperos.Morsel1" : NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	g_autoptr(GError) e = NULL;
	automessage *reply = NULL;
	GDBusNodeInfo *node;
	const char *xml;
	int r;

	r = sd_bus_call_method(bus, destination, path, "org.freedesktop.DBus.Introspectable",
			       "Introspect", &error, &reply, "");
	if (r < 0)
		g_error("Introspect %s: %s", path, error.message);
	g_assert_cmpint(sd_bus_message_read(reply, "s", &xml), >, 0);
	node = g_dbus_node_info_new_for_xml(xml, &e);
	g_assert_no_error(e);
	return node;
}

static void compare(GDBusNodeInfo *truth, GDBusNodeInfo *running, const char *interface)
{
	GDBusInterfaceInfo *a = g_dbus_node_info_lookup_interface(truth, interface);
	GDBusInterfaceInfo *b = g_dbus_node_info_lookup_interface(running, interface);
	g_autofree char *x = NULL, *y = NULL;

	g_assert_nonnull(a);
	g_assert_nonnull(b);
	x = describe(a);
	y = describe(b);
	g_assert_cmpstr(x, !=, "");
	g_assert_cmpstr(x, ==, y);
	/* Nothing else of ours on the same object. */
	for (GDBusInterfaceInfo **i = running->interfaces; *i; i++)
		if (strcmp((*i)->name, interface) != 0)
			g_assert_true(g_str_has_prefix((*i)->name, "org.freedesktop.DBus."));
}

static void check_all(sd_bus *bus)
{
	g_autofree char *xml = NULL;
	g_autoptr(GError) e = NULL;
	GDBusNodeInfo *truth, *manager, *tier, *job;
	automessage *tiers = NULL, *move = NULL;
	g_autoptr(GHashTable) first = NULL;
	g_autofree char *id = must_create(bus, "introspected", 4096);
	g_autofree char *tier_path = NULL;
	const char *job_path;

	g_assert_true(g_file_get_contents(xml_path, &xml, NULL, &e));
	truth = g_dbus_node_info_new_for_xml(xml, &e);
	g_assert_no_error(e);

	tiers = must_call(bus, "ListTiers", "");
	g_assert_cmpint(sd_bus_message_enter_container(tiers, 'a', "a{sv}"), >, 0);
	first = read_dict(tiers);
	tier_path = g_strdup_printf("%s/tier/%s", MANAGER_PATH,
				    (char *)g_hash_table_lookup(first, "name"));
	move = must_call(bus, "Move", "ssa{sv}", id, g_hash_table_lookup(first, "name"), 0);
	g_assert_cmpint(sd_bus_message_read(move, "o", &job_path), >, 0);

	manager = introspect(bus, MANAGER_PATH);
	tier = introspect(bus, tier_path);
	job = introspect(bus, job_path);
	compare(truth, manager, MANAGER);
	compare(truth, tier, TIER);
	compare(truth, job, JOB);
	g_dbus_node_info_unref(truth);
	g_dbus_node_info_unref(manager);
	g_dbus_node_info_unref(tier);
	g_dbus_node_info_unref(job);
}

static void test_private(void)
{
	struct harness *h = harness_new(NULL);

	{
		autobus *bus = harness_connect(h);

		check_all(bus);
	}
	harness_free(h);
}

static void test_bus(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .with_bus = true });

	harness_wait_log(h, "serving org.parperos.Morsel1 on");
	{
		autobus *bus = harness_connect_bus(h);

		check_all(bus);
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	xml_path = argv[1];
	g_assert_nonnull(xml_path);
	g_test_add_func("/introspect/private", test_private);
	g_test_add_func("/introspect/bus", test_bus);
	return g_test_run();
}
