/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-nd.h"

#include <errno.h>
#include <string.h>

#include "kernfile.h"
#include "numlist.h"
#include "warnings.h"

#define ND_DIR "sys/bus/nd/devices"

static const char *const mode_names[ND_MODE_MAX] = {
	[ND_RAW] = "raw",
	[ND_SECTOR] = "sector",
	[ND_FSDAX] = "fsdax",
	[ND_DEVDAX] = "devdax",
};

const char *nd_mode_to_string(enum nd_mode m)
{
	return m < ND_MODE_MAX ? mode_names[m] : "invalid";
}

static void namespace_free(void *data)
{
	struct nd_namespace *n = data;

	g_free(n->name);
	g_free(n->block);
	g_free(n);
}

static void region_free(void *data)
{
	struct nd_region *r = data;

	g_free(r->name);
	g_free(r->provider);
	g_ptr_array_unref(r->namespaces);
	g_ptr_array_unref(r->warnings);
	g_free(r);
}

struct nd_facts *nd_facts_free(struct nd_facts *f)
{
	if (f == NULL)
		return NULL;
	g_ptr_array_unref(f->regions);
	g_ptr_array_unref(f->warnings);
	g_free(f);
	return NULL;
}

static uint64_t number(int root_fd, GPtrArray *warnings, const char *device, const char *attr)
{
	uint64_t n = 0;
	int r = kernfile_read_u64f(root_fd, &n, ND_DIR "/%s/%s", device, attr);

	/* resource is ENXIO where it is not known. */
	if (r < 0 && r != -ENOENT && r != -ENXIO)
		warnings_add(warnings, "%s of %s cannot be read: %s, taking it as 0", attr, device,
			     kernfile_strerror(r));
	return n;
}

static int node(int root_fd, const char *device, const char *attr)
{
	int n;

	if (kernfile_read_intf(root_fd, &n, ND_DIR "/%s/%s", device, attr) < 0 || n < 0 ||
	    n > NODE_MAX)
		return -1;
	return n;
}

/* The kernel's words are older than ndctl's. */
static enum nd_mode parse_mode(const char *text)
{
	if (strcmp(text, "memory") == 0)
		return ND_FSDAX;
	if (strcmp(text, "dax") == 0)
		return ND_DEVDAX;
	return strcmp(text, "safe") == 0 ? ND_SECTOR : ND_RAW;
}

/* The block device is the namespace's own, or its holder's (pfn0.0, btt0.0). */
static char *find_block(int root_fd, const char *device)
{
	g_autofree char *dir = g_strdup_printf(ND_DIR "/%s/block", device);
	g_autoptr(GPtrArray) names = NULL;

	if (kernfile_names(root_fd, dir, "pmem", &names) < 0 || names->len == 0)
		return NULL;
	return g_strdup(names->pdata[0]);
}

static void read_namespace(int root_fd, struct nd_region *region, const char *name)
{
	uint64_t size = number(root_fd, region->warnings, name, "size");
	g_autofree char *mode = NULL, *holder = NULL;
	struct nd_namespace *n;

	/* Each region has an empty one, the seed of the next. */
	if (size == 0)
		return;
	n = g_new0(struct nd_namespace, 1);
	n->name = g_strdup(name);
	n->size = size;
	n->start = number(root_fd, region->warnings, name, "resource");
	if (kernfile_read_textf(root_fd, &mode, ND_DIR "/%s/mode", name) == 0)
		n->mode = parse_mode(mode);
	if (kernfile_read_textf(root_fd, &holder, ND_DIR "/%s/holder", name) == 0 &&
	    holder[0] != 0 && strchr(holder, '/') == NULL)
		n->block = find_block(root_fd, holder);
	if (n->block == NULL)
		n->block = find_block(root_fd, name);
	g_ptr_array_add(region->namespaces, n);
}

/* …/ndbus0/region0 */
static char *read_provider(int root_fd, const char *name)
{
	g_autofree char *path = g_strdup_printf(ND_DIR "/%s", name);
	g_autofree char *real = NULL, *dir = NULL, *provider = NULL, *file = NULL;

	if (kernfile_realpath(root_fd, path, &real) < 0)
		return g_strdup("");
	dir = g_path_get_dirname(real);
	file = g_build_filename(dir, "provider", NULL);
	if (kernfile_read_text(root_fd, file, &provider) < 0)
		return g_strdup("");
	return g_steal_pointer(&provider);
}

static void read_region(int root_fd, struct nd_facts *f, const char *name, const GPtrArray *names)
{
	struct nd_region *r = g_new0(struct nd_region, 1);
	g_autofree char *prefix = g_strdup_printf("namespace%s.", name + strlen("region"));

	r->name = g_strdup(name);
	r->warnings = g_ptr_array_new_with_free_func(g_free);
	r->provider = read_provider(root_fd, name);
	r->size = number(root_fd, r->warnings, name, "size");
	r->available = MIN(number(root_fd, r->warnings, name, "available_size"), r->size);
	r->start = number(root_fd, r->warnings, name, "resource");
	r->target_node = node(root_fd, name, "target_node");
	r->numa_node = node(root_fd, name, "numa_node");
	r->namespaces = g_ptr_array_new_with_free_func(namespace_free);
	for (unsigned int i = 0; i < names->len; i++)
		if (g_str_has_prefix(names->pdata[i], prefix))
			read_namespace(root_fd, r, names->pdata[i]);
	g_ptr_array_add(f->regions, r);
}

struct nd_facts *nd_facts_read(int root_fd)
{
	struct nd_facts *f = g_new0(struct nd_facts, 1);
	g_autoptr(GPtrArray) names = NULL;
	int r;

	f->regions = g_ptr_array_new_with_free_func(region_free);
	f->warnings = g_ptr_array_new_with_free_func(g_free);
	r = kernfile_names(root_fd, ND_DIR, "", &names);
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		warnings_add(f->warnings, "/" ND_DIR " cannot be listed: %s", kernfile_strerror(r));
	for (unsigned int i = 0; r == 0 && i < names->len; i++) {
		const char *name = names->pdata[i];

		if (g_str_has_prefix(name, "region") && g_ascii_isdigit(name[6]))
			read_region(root_fd, f, name, names);
	}
	return f;
}
