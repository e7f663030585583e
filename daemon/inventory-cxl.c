/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-cxl.h"

#include <errno.h>
#include <string.h>

#include "cdat.h"
#include "kernfile.h"
#include "warnings.h"

#define CXL_DIR "sys/bus/cxl/devices"
/* CXL 3.1 interleaves over 16 devices at most; decoders of one endpoint: 32. */
#define WAYS_MAX 16u

static const char *const mode_names[CXL_MODE_MAX] = { [CXL_RAM] = "ram", [CXL_PMEM] = "pmem" };

const char *cxl_mode_to_string(enum cxl_mode m)
{
	return m < CXL_MODE_MAX ? mode_names[m] : "invalid";
}

static void memdev_free(void *data)
{
	struct cxl_memdev_fact *m = data;

	g_free(m->name);
	g_free(m->pci);
	g_ptr_array_unref(m->warnings);
	g_free(m);
}

static void region_free(void *data)
{
	struct cxl_region_fact *r = data;

	g_free(r->name);
	g_ptr_array_unref(r->memdevs);
	g_ptr_array_unref(r->warnings);
	g_free(r);
}

static void window_free(void *data)
{
	struct cxl_window_fact *w = data;

	g_free(w->name);
	g_free(w);
}

struct cxl_facts *cxl_facts_free(struct cxl_facts *f)
{
	if (f == NULL)
		return NULL;
	g_ptr_array_unref(f->regions);
	g_ptr_array_unref(f->memdevs);
	g_ptr_array_unref(f->windows);
	g_ptr_array_unref(f->warnings);
	g_free(f);
	return NULL;
}

/* A number that must be there; says so and gives 0 if it is not. */
static uint64_t number(int root_fd, GPtrArray *warnings, const char *device, const char *attr)
{
	uint64_t n = 0;
	int r = kernfile_read_u64f(root_fd, &n, CXL_DIR "/%s/%s", device, attr);

	if (r < 0 && r != -ENOENT)
		warnings_add(warnings, "%s of %s cannot be read: %s, taking it as 0", attr, device,
			     kernfile_strerror(r));
	return n;
}

static bool devtype_is(int root_fd, const char *device, const char *devtype)
{
	g_autofree char *text = NULL;

	return kernfile_read_textf(root_fd, &text, CXL_DIR "/%s/devtype", device) == 0 &&
	       strcmp(text, devtype) == 0;
}

static void read_memdev(int root_fd, struct cxl_facts *f, const char *name)
{
	struct cxl_memdev_fact *m = g_new0(struct cxl_memdev_fact, 1);
	g_autofree char *path = g_strdup_printf(CXL_DIR "/%s", name);
	g_autofree char *real = NULL;

	m->name = g_strdup(name);
	m->warnings = g_ptr_array_new_with_free_func(g_free);
	m->serial = number(root_fd, m->warnings, name, "serial");
	m->numa_node = -1;
	m->host_bridge = -1;
	kernfile_read_intf(root_fd, &m->numa_node, CXL_DIR "/%s/numa_node", name);
	m->part[CXL_RAM].size = number(root_fd, m->warnings, name, "ram/size");
	m->part[CXL_PMEM].size = number(root_fd, m->warnings, name, "pmem/size");
	/* …/0000:0d:00.0/mem0 */
	if (kernfile_realpath(root_fd, path, &real) == 0) {
		g_autofree char *dir = g_path_get_dirname(real);

		m->pci = g_path_get_basename(dir);
	}
	if (m->pci == NULL || strchr(m->pci, ':') == NULL) {
		g_free(m->pci);
		m->pci = g_strdup("");
	}
	g_ptr_array_add(f->memdevs, m);
}

static struct cxl_memdev_fact *find_memdev(struct cxl_facts *f, const char *name)
{
	for (unsigned int i = 0; i < f->memdevs->len; i++) {
		struct cxl_memdev_fact *m = f->memdevs->pdata[i];

		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

/* The device of "endpoint2", or of the endpoint that "decoder2.0" belongs to. */
static struct cxl_memdev_fact *memdev_of_endpoint(int root_fd, struct cxl_facts *f,
						  const char *endpoint)
{
	g_autofree char *memdev = NULL;

	if (kernfile_link_basef(root_fd, &memdev, CXL_DIR "/%s/uport", endpoint) < 0)
		return NULL;
	return find_memdev(f, memdev);
}

static char *endpoint_of_decoder(int root_fd, const char *decoder)
{
	g_autofree char *path = g_strdup_printf(CXL_DIR "/%s", decoder);
	g_autofree char *real = NULL, *dir = NULL, *base = NULL;

	if (kernfile_realpath(root_fd, path, &real) < 0)
		return NULL;
	dir = g_path_get_dirname(real);
	base = g_path_get_basename(dir);
	return g_str_has_prefix(base, "endpoint") ? g_steal_pointer(&base) : NULL;
}

static void read_cdat(int root_fd, const char *endpoint, struct cxl_memdev_fact *m)
{
	g_autofree char *path = g_strdup_printf(CXL_DIR "/%s/CDAT", endpoint);
	g_autoptr(GArray) ranges = NULL;
	g_autofree char *data = NULL;
	size_t len;
	int r;

	r = kernfile_read(root_fd, path, 65536, &data, &len);
	/* Not every device has one; an empty one: the device did not answer. Root's only. */
	if (r < 0 || len == 0)
		return;
	if (cdat_parse((const uint8_t *)data, len, &ranges) < 0) {
		warnings_add(m->warnings, "CDAT of %s (%s) makes no sense, ignoring", endpoint,
			     m->name);
		return;
	}
	for (unsigned int i = 0; i < ranges->len; i++) {
		const struct cdat_range *c = &g_array_index(ranges, struct cdat_range, i);
		enum cxl_mode mode = c->nonvolatile ? CXL_PMEM : CXL_RAM;

		/* Several ranges of one sort: the kernel too takes one set for the partition. */
		perf_numbers_fill(&m->part[mode].cdat, &c->numbers);
	}
}

/*
 * endpoint2 lies below root0/port1: root0 names its ports by the UID of their host bridge (dport12),
 * and port1 links to the same thing as that dport does.
 */
static int host_bridge_of(int root_fd, const char *endpoint)
{
	g_autofree char *path = g_strdup_printf(CXL_DIR "/%s", endpoint);
	g_autofree char *real = NULL, *uport = NULL, *parent = NULL;
	g_autoptr(GArray) dports = NULL;
	g_autofree char *root_dir = NULL;
	g_auto(GStrv) parts = NULL;
	const char *root = NULL, *port = NULL;

	if (kernfile_realpath(root_fd, path, &real) < 0)
		return -1;
	parts = g_strsplit(real, "/", -1);
	for (unsigned int i = 0; parts[i] != NULL && parts[i + 1] != NULL && root == NULL; i++)
		if (g_str_has_prefix(parts[i], "root") && g_ascii_isdigit(parts[i][4])) {
			root = parts[i];
			port = parts[i + 1];
		}
	if (root == NULL)
		return -1;
	kernfile_link_basef(root_fd, &uport, CXL_DIR "/%s/uport", port);
	kernfile_link_basef(root_fd, &parent, CXL_DIR "/%s/parent_dport", port);
	root_dir = g_strdup_printf(CXL_DIR "/%s", root);
	if (kernfile_numbered(root_fd, root_dir, "dport", &dports) < 0)
		return -1;
	for (unsigned int i = 0; i < dports->len; i++) {
		int uid = g_array_index(dports, int, i);
		g_autofree char *base = NULL;

		if (kernfile_link_basef(root_fd, &base, CXL_DIR "/%s/dport%d", root, uid) == 0 &&
		    (g_strcmp0(base, uport) == 0 || g_strcmp0(base, parent) == 0))
			return uid;
	}
	return -1;
}

static void read_endpoint(int root_fd, struct cxl_facts *f, const char *endpoint)
{
	struct cxl_memdev_fact *m = memdev_of_endpoint(root_fd, f, endpoint);

	if (m == NULL)
		return;
	m->has_endpoint = true;
	m->host_bridge = host_bridge_of(root_fd, endpoint);
	read_cdat(root_fd, endpoint, m);
}

static int parse_mode(const char *text, enum cxl_mode *ret_mode)
{
	for (unsigned int i = 0; i < CXL_MODE_MAX; i++)
		if (strcmp(text, mode_names[i]) == 0) {
			*ret_mode = i;
			return 0;
		}
	return -EINVAL;
}

static void read_endpoint_decoder(int root_fd, struct cxl_facts *f, const char *decoder)
{
	g_autofree char *endpoint = endpoint_of_decoder(root_fd, decoder);
	g_autofree char *text = NULL;
	struct cxl_memdev_fact *m;
	enum cxl_mode mode;
	uint64_t used;

	m = endpoint ? memdev_of_endpoint(root_fd, f, endpoint) : NULL;
	if (m == NULL || kernfile_read_textf(root_fd, &text, CXL_DIR "/%s/mode", decoder) < 0 ||
	    parse_mode(text, &mode) < 0)
		return;
	used = number(root_fd, m->warnings, decoder, "dpa_size");
	if (used > m->part[mode].size - m->part[mode].used) {
		warnings_add(m->warnings,
			     "%s says it uses 0x%" G_GINT64_MODIFIER
			     "x bytes of %s, which has not that "
			     "many",
			     decoder, used, m->name);
		used = m->part[mode].size - m->part[mode].used;
	}
	m->part[mode].used += used;
}

static void read_window(int root_fd, struct cxl_facts *f, const char *decoder)
{
	struct cxl_window_fact *w = g_new0(struct cxl_window_fact, 1);

	w->name = g_strdup(decoder);
	w->start = number(root_fd, f->warnings, decoder, "start");
	w->size = number(root_fd, f->warnings, decoder, "size");
	w->ram = number(root_fd, f->warnings, decoder, "cap_ram") == 1;
	w->pmem = number(root_fd, f->warnings, decoder, "cap_pmem") == 1;
	g_ptr_array_add(f->windows, w);
}

static void read_targets(int root_fd, struct cxl_facts *f, struct cxl_region_fact *r)
{
	r->complete = r->ways > 0;
	for (unsigned int i = 0; i < r->ways; i++) {
		g_autofree char *decoder = NULL, *endpoint = NULL;
		struct cxl_memdev_fact *m = NULL;

		if (kernfile_read_textf(root_fd, &decoder, CXL_DIR "/%s/target%u", r->name, i) ==
			    0 &&
		    g_str_has_prefix(decoder, "decoder") && strchr(decoder, '/') == NULL)
			endpoint = endpoint_of_decoder(root_fd, decoder);
		if (endpoint != NULL)
			m = memdev_of_endpoint(root_fd, f, endpoint);
		if (m == NULL)
			r->complete = false;
		else if (!g_ptr_array_find(r->memdevs, m, NULL))
			g_ptr_array_add(r->memdevs, m);
	}
}

static void read_region_perf(int root_fd, struct cxl_region_fact *r)
{
	for (int class = 0; class < 2; class ++) {
		static const struct {
			const char *attr;
			size_t offset;
		} attrs[] = {
			{ "read_latency", offsetof(struct perf_numbers, read_lat_ns) },
			{ "write_latency", offsetof(struct perf_numbers, write_lat_ns) },
			{ "read_bandwidth", offsetof(struct perf_numbers, read_bw_mbs) },
			{ "write_bandwidth", offsetof(struct perf_numbers, write_bw_mbs) },
		};

		for (unsigned int i = 0; i < G_N_ELEMENTS(attrs); i++) {
			uint64_t n;

			/* Since Linux 6.9, and only when the kernel has computed them. */
			if (kernfile_read_u64f(root_fd, &n, CXL_DIR "/%s/access%d/%s", r->name,
					       class, attrs[i].attr) == 0 &&
			    n <= UINT32_MAX)
				memcpy((char *)&r->access[class] + attrs[i].offset,
				       &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
		}
	}
}

static void read_region(int root_fd, struct cxl_facts *f, const char *name)
{
	struct cxl_region_fact *r = g_new0(struct cxl_region_fact, 1);
	g_autofree char *mode = NULL;
	uint64_t ways;

	r->name = g_strdup(name);
	r->memdevs = g_ptr_array_new();
	r->warnings = g_ptr_array_new_with_free_func(g_free);
	r->size = number(root_fd, r->warnings, name, "size");
	if (r->size != 0)
		r->start = number(root_fd, r->warnings, name, "resource");
	if (r->start + r->size < r->start) {
		warnings_add(r->warnings, "%s ends before it begins: ignoring its address", name);
		r->start = r->size = 0;
	}
	ways = number(root_fd, r->warnings, name, "interleave_ways");
	if (ways > WAYS_MAX) {
		warnings_add(r->warnings,
			     "%s is interleaved over %" G_GUINT64_FORMAT " devices: ignoring", name,
			     ways);
		ways = 0;
	}
	r->ways = (unsigned int)ways;
	r->granularity = (unsigned int)MIN(
		number(root_fd, r->warnings, name, "interleave_granularity"), UINT64_C(1) << 20);
	r->committed = number(root_fd, r->warnings, name, "commit") == 1;
	/* Before Linux 6.3 there were only persistent ones, and no such file. */
	if (kernfile_read_textf(root_fd, &mode, CXL_DIR "/%s/mode", name) < 0 ||
	    parse_mode(mode, &r->mode) < 0)
		r->mode = CXL_PMEM;
	read_targets(root_fd, f, r);
	read_region_perf(root_fd, r);
	g_ptr_array_add(f->regions, r);
}

static int compare_memdevs(gconstpointer a, gconstpointer b)
{
	const struct cxl_memdev_fact *x = *(struct cxl_memdev_fact *const *)a;
	const struct cxl_memdev_fact *y = *(struct cxl_memdev_fact *const *)b;

	if (x->serial != y->serial)
		return x->serial < y->serial ? -1 : 1;
	if (strcmp(x->pci, y->pci) != 0)
		return kernfile_compare_names(x->pci, y->pci);
	return kernfile_compare_names(x->name, y->name);
}

static int compare_regions(gconstpointer a, gconstpointer b)
{
	const struct cxl_region_fact *x = *(struct cxl_region_fact *const *)a;
	const struct cxl_region_fact *y = *(struct cxl_region_fact *const *)b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return kernfile_compare_names(x->name, y->name);
}

struct cxl_facts *cxl_facts_read(int root_fd)
{
	struct cxl_facts *f = g_new0(struct cxl_facts, 1);
	g_autoptr(GPtrArray) names = NULL;
	int r;

	f->memdevs = g_ptr_array_new_with_free_func(memdev_free);
	f->regions = g_ptr_array_new_with_free_func(region_free);
	f->windows = g_ptr_array_new_with_free_func(window_free);
	f->warnings = g_ptr_array_new_with_free_func(g_free);

	r = kernfile_names(root_fd, CXL_DIR, "", &names);
	if (r < 0) {
		if (r != -ENOENT && r != -ENOTDIR)
			warnings_add(f->warnings, "/" CXL_DIR " cannot be listed: %s",
				     g_strerror(-r));
		return f;
	}
	f->present = true;

	/* Devices, then what refers to them. */
	for (unsigned int i = 0; i < names->len; i++)
		if (devtype_is(root_fd, names->pdata[i], "cxl_memdev") ||
		    (g_str_has_prefix(names->pdata[i], "mem") &&
		     g_ascii_isdigit(((const char *)names->pdata[i])[3])))
			read_memdev(root_fd, f, names->pdata[i]);
	g_ptr_array_sort(f->memdevs, compare_memdevs);
	for (unsigned int i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];

		if (g_str_has_prefix(name, "endpoint"))
			read_endpoint(root_fd, f, name);
		else if (!g_str_has_prefix(name, "decoder"))
			continue;
		else if (devtype_is(root_fd, name, "cxl_decoder_endpoint"))
			read_endpoint_decoder(root_fd, f, name);
		else if (devtype_is(root_fd, name, "cxl_decoder_root"))
			read_window(root_fd, f, name);
	}
	for (unsigned int i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];

		if (g_str_has_prefix(name, "region") && g_ascii_isdigit(name[6]))
			read_region(root_fd, f, name);
	}
	g_ptr_array_sort(f->regions, compare_regions);
	return f;
}
