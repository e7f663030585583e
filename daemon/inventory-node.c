/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-node.h"

#include <errno.h>
#include <string.h>

#include "kernfile.h"
#include "numlist.h"
#include "warnings.h"

#define NODE_DIR "sys/devices/system/node"
#define MEMORY_DIR "sys/devices/system/memory"
#define TIERING_DIR "sys/devices/virtual/memory_tiering"

/* Over this a number of ns or MB/s is no memory's: 1 s, 1 PB/s. */
#define LAT_NS_MAX UINT64_C(1000000000)
#define BW_MBS_MAX UINT64_C(1000000000)
/* SLIT entries are one byte. */
#define DISTANCE_MAX 255

static struct node_fact *node_fact_new(int id)
{
	struct node_fact *n = g_new0(struct node_fact, 1);

	n->id = id;
	n->ranges = g_array_new(FALSE, FALSE, sizeof(struct phys_range));
	n->distance = g_array_new(FALSE, TRUE, sizeof(unsigned int));
	for (unsigned int i = 0; i < G_N_ELEMENTS(n->access); i++)
		n->access[i].initiators = g_array_new(FALSE, FALSE, sizeof(int));
	n->memory_tier = -1;
	n->warnings = g_ptr_array_new_with_free_func(g_free);
	return n;
}

static void node_fact_free(void *data)
{
	struct node_fact *n = data;

	g_array_unref(n->ranges);
	g_array_unref(n->distance);
	for (unsigned int i = 0; i < G_N_ELEMENTS(n->access); i++)
		g_array_unref(n->access[i].initiators);
	g_ptr_array_unref(n->warnings);
	g_free(n);
}

struct node_facts *node_facts_free(struct node_facts *f)
{
	if (f == NULL)
		return NULL;
	g_ptr_array_unref(f->nodes);
	g_array_unref(f->possible);
	g_ptr_array_unref(f->warnings);
	g_free(f);
	return NULL;
}

static struct node_fact *find(const struct node_facts *f, int id)
{
	for (unsigned int i = 0; i < f->nodes->len; i++) {
		struct node_fact *n = f->nodes->pdata[i];

		if (n->id == id)
			return n;
	}
	return NULL;
}

const struct node_fact *node_facts_get(const struct node_facts *f, int id)
{
	return find(f, id);
}

/* "Node 0 MemTotal:        6645972 kB" */
static int meminfo_field(const char *text, const char *field, uint64_t *ret_bytes)
{
	const char *p = strstr(text, field);
	uint64_t kib;
	char *end;

	if (p == NULL)
		return -EBADMSG;
	p += strlen(field);
	while (*p == ' ' || *p == '\t')
		p++;
	if (!g_ascii_isdigit(*p))
		return -EBADMSG;
	errno = 0;
	kib = g_ascii_strtoull(p, &end, 10);
	if (errno != 0 || !g_str_has_prefix(end, " kB") || kib > UINT64_MAX / 1024)
		return -EBADMSG;
	*ret_bytes = kib * 1024;
	return 0;
}

int node_read_meminfo(int root_fd, int id, uint64_t *ret_total, uint64_t *ret_free)
{
	g_autofree char *text = NULL;
	uint64_t total, free_bytes;
	int r;

	r = kernfile_read_textf(root_fd, &text, NODE_DIR "/node%d/meminfo", id);
	if (r < 0)
		return r;
	r = meminfo_field(text, "MemTotal:", &total);
	if (r == 0)
		r = meminfo_field(text, "MemFree:", &free_bytes);
	if (r < 0)
		return r;
	if (free_bytes > total)
		return -EBADMSG;
	*ret_total = total;
	*ret_free = free_bytes;
	return 0;
}

/* One number for each online node in ascending order (not for each possible one). */
static void read_distance(int root_fd, struct node_fact *n, const GArray *online)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) fields = NULL;
	unsigned int count;
	int r;

	r = kernfile_read_textf(root_fd, &text, NODE_DIR "/node%d/distance", n->id);
	if (r == -ENOENT)
		return;
	if (r < 0) {
		warnings_add(n->warnings, "distance of node %d cannot be read: %s, ignoring", n->id,
			     kernfile_strerror(r));
		return;
	}
	fields = g_strsplit_set(text, " \t\n", -1);
	count = g_strv_length(fields);
	if (count != online->len) {
		warnings_add(n->warnings,
			     "distance of node %d has %u numbers for %u online nodes, ignoring",
			     n->id, count, online->len);
		return;
	}
	for (unsigned int i = 0; i < count; i++) {
		int id = g_array_index(online, int, i);
		unsigned int d;
		uint64_t v;

		if (kernfile_parse_u64(fields[i], &v) < 0 || v > DISTANCE_MAX) {
			g_autofree char *quoted = kernfile_quote(fields[i]);

			warnings_add(n->warnings, "distance of node %d to node %d is %s, ignoring",
				     n->id, id, quoted);
			continue;
		}
		if (n->distance->len <= (unsigned int)id)
			g_array_set_size(n->distance, (unsigned int)id + 1);
		d = (unsigned int)v;
		g_array_index(n->distance, unsigned int, id) = d;
	}
}

static uint32_t read_number(int root_fd, struct node_fact *n, int class, const char *attr,
			    uint64_t max)
{
	uint64_t v;
	int r;

	r = kernfile_read_u64f(root_fd, &v, NODE_DIR "/node%d/access%d/initiators/%s", n->id, class,
			       attr);
	/* The kernel leaves out what it does not know. */
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0) {
		warnings_add(n->warnings, "access%d %s of node %d cannot be read: %s, ignoring",
			     class, attr, n->id, kernfile_strerror(r));
		return 0;
	}
	if (v > max) {
		warnings_add(n->warnings,
			     "access%d %s of node %d is %" G_GUINT64_FORMAT
			     ", over %" G_GUINT64_FORMAT ": ignoring",
			     class, attr, n->id, v, max);
		return 0;
	}
	return (uint32_t)v;
}

static void read_access(int root_fd, struct node_fact *n, int class)
{
	struct node_access *a = &n->access[class];
	g_autofree char *dir =
		g_strdup_printf(NODE_DIR "/node%d/access%d/initiators", n->id, class);
	g_autoptr(GArray) initiators = NULL;
	int r;

	r = kernfile_numbered(root_fd, dir, "node", &initiators);
	if (r == -ENOENT || r == -ENOTDIR)
		return;
	if (r < 0) {
		warnings_add(n->warnings, "%s cannot be listed: %s, ignoring", dir,
			     kernfile_strerror(r));
		return;
	}
	for (unsigned int i = 0; i < initiators->len; i++) {
		int id = g_array_index(initiators, int, i);

		if (id > NODE_MAX)
			warnings_add(n->warnings, "%s has node%d, over %d: ignoring", dir, id,
				     NODE_MAX);
		else
			g_array_append_val(a->initiators, id);
	}
	a->numbers.read_lat_ns = read_number(root_fd, n, class, "read_latency", LAT_NS_MAX);
	a->numbers.write_lat_ns = read_number(root_fd, n, class, "write_latency", LAT_NS_MAX);
	a->numbers.read_bw_mbs = read_number(root_fd, n, class, "read_bandwidth", BW_MBS_MAX);
	a->numbers.write_bw_mbs = read_number(root_fd, n, class, "write_bandwidth", BW_MBS_MAX);
}

static void read_failures(int root_fd, struct node_fact *n)
{
	uint64_t total;

	/* Since Linux 6.3. */
	if (kernfile_read_u64f(root_fd, &total, NODE_DIR "/node%d/memory_failure/total", n->id) ==
	    0)
		n->failures = total;
}

static int compare_ranges(gconstpointer a, gconstpointer b)
{
	const struct phys_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void merge_ranges(GArray *ranges)
{
	unsigned int kept = 0;

	if (ranges->len == 0)
		return;
	g_array_sort(ranges, compare_ranges);
	for (unsigned int i = 1; i < ranges->len; i++) {
		struct phys_range *last = &g_array_index(ranges, struct phys_range, kept);
		struct phys_range *r = &g_array_index(ranges, struct phys_range, i);

		if (r->start <= last->end)
			last->end = MAX(last->end, r->end);
		else
			g_array_index(ranges, struct phys_range, ++kept) = *r;
	}
	g_array_set_size(ranges, kept + 1);
}

/* nodeN/memoryM are links to the node's blocks, online or not. */
static void read_blocks(int root_fd, struct node_fact *n, uint64_t block_size)
{
	g_autofree char *dir = g_strdup_printf(NODE_DIR "/node%d", n->id);
	g_autoptr(GArray) blocks = NULL;

	if (block_size == 0 || kernfile_numbered(root_fd, dir, "memory", &blocks) < 0)
		return;
	for (unsigned int i = 0; i < blocks->len; i++) {
		int id = g_array_index(blocks, int, i);
		g_autofree char *state = NULL;
		struct phys_range range;
		int r;

		r = kernfile_read_textf(root_fd, &state, MEMORY_DIR "/memory%d/state", id);
		/* "going-offline" is on its way and still holds pages. */
		if (r == 0 &&
		    (strcmp(state, "online") == 0 || strcmp(state, "going-offline") == 0)) {
			n->blocks_online++;
		} else if (r == 0 && strcmp(state, "offline") == 0) {
			n->blocks_offline++;
		} else {
			g_autofree char *quoted = r == 0 ? kernfile_quote(state) : NULL;

			warnings_add(n->warnings,
				     "state of memory block %d of node %d %s%s, ignoring it", id,
				     n->id, r == 0 ? "is " : "cannot be read: ",
				     r == 0 ? quoted : kernfile_strerror(r));
			continue;
		}
		/* The block's number is its address in blocks: Documentation/ABI/testing/
		 * sysfs-devices-memory, phys_index. */
		if (__builtin_mul_overflow((uint64_t)id, block_size, &range.start) ||
		    __builtin_add_overflow(range.start, block_size, &range.end))
			continue;
		g_array_append_val(n->ranges, range);
	}
	merge_ranges(n->ranges);
	/* The number of blocks is bounded by their names' (int): no overflow. */
	if (blocks->len > 0 && n->total > blocks->len * block_size) {
		warnings_add(n->warnings,
			     "meminfo of node %d says %" G_GUINT64_FORMAT
			     " MiB, more than its %u memory "
			     "blocks hold",
			     n->id, n->total >> 20, blocks->len);
		n->total = blocks->len * block_size;
		n->free = MIN(n->free, n->total);
	}
}

static void take_memory_tier(struct node_facts *f, int id, const GArray *nodes)
{
	unsigned int absent = 0;

	for (unsigned int i = 0; i < nodes->len; i++) {
		struct node_fact *n = find(f, g_array_index(nodes, int, i));

		if (n == NULL)
			absent++;
		else if (n->memory_tier >= 0)
			warnings_add(
				n->warnings,
				"node %d is in memory_tier%d and in memory_tier%d: ignoring the second",
				n->id, n->memory_tier, id);
		else
			n->memory_tier = id;
	}
	if (absent > 0)
		warnings_add(f->warnings,
			     "memory_tier%d lists %u nodes that are not online, ignoring them", id,
			     absent);
}

static void read_memory_tiers(int root_fd, struct node_facts *f)
{
	g_autoptr(GArray) tiers = NULL;

	/* Since Linux 6.1. */
	if (kernfile_numbered(root_fd, TIERING_DIR, "memory_tier", &tiers) < 0)
		return;
	for (unsigned int i = 0; i < tiers->len; i++) {
		int id = g_array_index(tiers, int, i);
		g_autoptr(GArray) nodes = NULL;
		int r;

		/* The first kernels, and the ABI's text still, call it nodes. */
		r = kernfile_read_listf(root_fd, NODE_MAX, &nodes,
					TIERING_DIR "/memory_tier%d/nodelist", id);
		if (r == -ENOENT)
			r = kernfile_read_listf(root_fd, NODE_MAX, &nodes,
						TIERING_DIR "/memory_tier%d/nodes", id);
		if (r < 0) {
			warnings_add(f->warnings,
				     "nodelist of memory_tier%d cannot be read: %s, ignoring", id,
				     kernfile_strerror(r));
			continue;
		}
		take_memory_tier(f, id, nodes);
	}
}

/* online, or where it cannot be read, the directories there are. */
static GArray *read_online(int root_fd, struct node_facts *f)
{
	GArray *online = NULL, *dirs = NULL;
	int r;

	r = kernfile_read_listf(root_fd, NODE_MAX, &online, NODE_DIR "/online");
	if (r == 0)
		return online;
	warnings_add(f->warnings,
		     "the list of online nodes cannot be read: %s, using the directories",
		     kernfile_strerror(r));
	online = g_array_new(FALSE, FALSE, sizeof(int));
	r = kernfile_numbered(root_fd, NODE_DIR, "node", &dirs);
	if (r < 0) {
		warnings_add(f->warnings, NODE_DIR " cannot be listed: %s: no nodes are known",
			     kernfile_strerror(r));
		return online;
	}
	for (unsigned int i = 0; i < dirs->len; i++)
		if (g_array_index(dirs, int, i) <= NODE_MAX)
			g_array_append_val(online, g_array_index(dirs, int, i));
	g_array_unref(dirs);
	return online;
}

static void read_node(int root_fd, struct node_fact *n, const GArray *online, uint64_t block_size)
{
	g_autoptr(GArray) cpus = NULL;
	int r;

	r = kernfile_read_listf(root_fd, CPU_MAX, &cpus, NODE_DIR "/node%d/cpulist", n->id);
	if (r < 0)
		warnings_add(n->warnings,
			     "cpulist of node %d cannot be read: %s, taking it as without CPUs",
			     n->id, kernfile_strerror(r));
	n->has_cpu = r == 0 && cpus->len > 0;

	r = node_read_meminfo(root_fd, n->id, &n->total, &n->free);
	if (r < 0)
		warnings_add(n->warnings,
			     "meminfo of node %d cannot be read: %s, taking it as without memory",
			     n->id, kernfile_strerror(r));

	read_distance(root_fd, n, online);
	read_access(root_fd, n, 0);
	read_access(root_fd, n, 1);
	read_failures(root_fd, n);
	read_blocks(root_fd, n, block_size);
}

struct node_facts *node_facts_read(int root_fd)
{
	struct node_facts *f = g_new0(struct node_facts, 1);
	g_autofree char *block_size = NULL, *hex = NULL;
	g_autoptr(GArray) online = NULL;

	f->nodes = g_ptr_array_new_with_free_func(node_fact_free);
	f->warnings = g_ptr_array_new_with_free_func(g_free);

	/* Hexadecimal without a prefix. */
	if (kernfile_read_text(root_fd, MEMORY_DIR "/block_size_bytes", &block_size) == 0) {
		hex = g_strconcat("0x", block_size, NULL);
		if (kernfile_parse_u64(hex, &f->block_size) < 0 || f->block_size == 0 ||
		    (f->block_size & (f->block_size - 1)) != 0) {
			g_autofree char *quoted = kernfile_quote(block_size);

			warnings_add(f->warnings,
				     "block_size_bytes is %s: ignoring the memory blocks", quoted);
			f->block_size = 0;
		}
	}
	if (kernfile_read_listf(root_fd, NODE_MAX, &f->possible, NODE_DIR "/possible") < 0)
		f->possible = g_array_new(FALSE, FALSE, sizeof(int));
	online = read_online(root_fd, f);
	for (unsigned int i = 0; i < online->len; i++) {
		struct node_fact *n = node_fact_new(g_array_index(online, int, i));

		g_ptr_array_add(f->nodes, n);
		read_node(root_fd, n, online, f->block_size);
	}
	read_memory_tiers(root_fd, f);
	return f;
}
