/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-dax.h"

#include <errno.h>
#include <string.h>

#include "kernfile.h"
#include "numlist.h"
#include "warnings.h"

#define DAX_DIR "sys/bus/dax/devices"

static void device_free(void *data)
{
	struct dax_device *d = data;

	g_free(d->name);
	g_free(d->cxl_region);
	g_free(d->nd_region);
	g_free(d->uuid);
	g_ptr_array_unref(d->warnings);
	g_free(d);
}

struct dax_facts *dax_facts_free(struct dax_facts *f)
{
	if (f == NULL)
		return NULL;
	g_ptr_array_unref(f->devices);
	g_ptr_array_unref(f->warnings);
	g_free(f);
	return NULL;
}

/* …/ndbus0/region0/dax0.0/dax0.0: the namespace's identity is in the directory above the device's. */
static void read_uuid(int root_fd, struct dax_device *d, const char *path)
{
	g_autofree char *dir = g_path_get_dirname(path), *text = NULL;

	if (kernfile_read_textf(root_fd, &text, "%s/uuid", dir) == 0 &&
	    g_uuid_string_is_valid(text))
		d->uuid = g_ascii_strdown(text, -1);
}

/* …/region1/dax_region1/dax1.0: CXL; …/ndbus0/region0/dax0.0/dax0.0: nd; …/hmem.0/dax2.0 */
static void find_origin(int root_fd, struct dax_device *d)
{
	g_autofree char *path = g_strdup_printf(DAX_DIR "/%s", d->name);
	g_autofree char *real = NULL;
	g_auto(GStrv) parts = NULL;

	if (kernfile_realpath(root_fd, path, &real) < 0)
		return;
	parts = g_strsplit(real, "/", -1);
	for (unsigned int i = 0; parts[i] != NULL && parts[i + 1] != NULL; i++) {
		if (g_str_has_prefix(parts[i], "hmem."))
			d->hmem = true;
		else if (g_str_has_prefix(parts[i], "ndbus") &&
			 g_str_has_prefix(parts[i + 1], "region")) {
			d->nd_region = g_strdup(parts[i + 1]);
			read_uuid(root_fd, d, real);
			return;
		} else if (g_str_has_prefix(parts[i], "region") &&
			   g_str_has_prefix(parts[i + 1], "dax_region")) {
			d->cxl_region = g_strdup(parts[i]);
			return;
		}
	}
}

static int read_node(int root_fd, GPtrArray *warnings, const char *name, const char *attr)
{
	int node = -1;
	int r = kernfile_read_intf(root_fd, &node, DAX_DIR "/%s/%s", name, attr);

	if (r == -ENOENT)
		return -1;
	if (r < 0 || node < -1 || node > NODE_MAX) {
		warnings_add(warnings, "%s of %s is no node, ignoring", attr, name);
		return -1;
	}
	return node;
}

static void read_device(int root_fd, struct dax_facts *f, const char *name)
{
	struct dax_device *d = g_new0(struct dax_device, 1);
	g_autofree char *driver = NULL;
	int r;

	d->name = g_strdup(name);
	d->warnings = g_ptr_array_new_with_free_func(g_free);
	r = kernfile_read_u64f(root_fd, &d->size, DAX_DIR "/%s/size", name);
	if (r < 0)
		warnings_add(d->warnings, "size of %s cannot be read: %s, taking it as 0", name,
			     kernfile_strerror(r));
	kernfile_read_u64f(root_fd, &d->start, DAX_DIR "/%s/resource", name);
	if (d->start + d->size < d->start)
		d->start = 0;
	d->target_node = read_node(root_fd, d->warnings, name, "target_node");
	d->numa_node = read_node(root_fd, d->warnings, name, "numa_node");
	if (kernfile_link_basef(root_fd, &driver, DAX_DIR "/%s/driver", name) < 0)
		d->mode = DAX_DISABLED;
	else
		d->mode = strcmp(driver, "kmem") == 0 ? DAX_SYSTEM_RAM : DAX_DEVDAX;
	find_origin(root_fd, d);
	g_ptr_array_add(f->devices, d);
}

struct dax_facts *dax_facts_read(int root_fd)
{
	struct dax_facts *f = g_new0(struct dax_facts, 1);
	g_autoptr(GPtrArray) names = NULL;
	int r;

	f->devices = g_ptr_array_new_with_free_func(device_free);
	f->warnings = g_ptr_array_new_with_free_func(g_free);
	r = kernfile_names(root_fd, DAX_DIR, "dax", &names);
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		warnings_add(f->warnings, "/" DAX_DIR " cannot be listed: %s",
			     kernfile_strerror(r));
	for (unsigned int i = 0; r == 0 && i < names->len; i++)
		read_device(root_fd, f, names->pdata[i]);
	return f;
}
