/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test-tree.h"

static int load(struct tree *t, struct config **ret_config, char **ret_message)
{
	g_autofree char *path = g_build_filename(t->path, "morseld.conf", NULL);

	return config_load(path, ret_config, ret_message);
}

static void must_be(struct config_limit l, bool percent, uint64_t value)
{
	g_assert_true(l.set);
	g_assert_cmpint(l.percent, ==, percent);
	g_assert_cmpuint(l.value, ==, value);
}

static void same_limits(const struct config_limits *a, const struct config_limits *b)
{
	for (unsigned int k = 0; k < QUOTA_KINDS; k++) {
		g_assert_cmpint(a->of[k].set, ==, b->of[k].set);
		g_assert_cmpint(a->of[k].percent, ==, b->of[k].percent);
		g_assert_cmpuint(a->of[k].value, ==, b->of[k].value);
	}
}

static void test_defaults(void)
{
	struct tree t = tree_new();
	struct config *c = NULL;
	char *message = NULL;

	g_assert_cmpint(load(&t, &c, &message), ==, 0);
	g_assert_null(message);
	g_assert_cmpuint(c->move_bandwidth, ==, 0);
	g_assert_cmpuint(c->sampling_cpu, ==, 1);
	g_assert_cmpuint(c->job_threads, ==, 1);
	must_be(c->user_limits.of[QUOTA_BYTES], true, 50);
	must_be(c->user_limits.of[QUOTA_MORSELS], false, 16384);
	must_be(c->user_limits.of[QUOTA_CONNECTIONS], false, 512);
	g_assert_cmpuint(c->quotas->len, ==, 2);
	g_assert_cmpuint(c->default_page_size, ==, 4096);
	g_assert_cmpuint(c->default_prefer->len, ==, 0);
	g_assert_cmpuint(c->tiers->len, ==, 0);
	config_free(c);
	tree_done(&t);
}

static void test_values(void)
{
	struct tree t = tree_new();
	struct config *c = NULL;
	struct config_tier *fast, *slow;
	char *message = NULL;

	tree_write(
		&t, "morseld.conf",
		"\xef\xbb\xbf# comment\n; another\n\n[daemon]\r\nMoveBandwidth = 2G\nSamplingCPU=3\nJobThreads=2\nStorage=node\n"
		"[quota]\nBytesPerUser=40%\nMorselsPerUser=10\n"
		"[default]\nPrefer=hbm0  dram0\nPageSize=2M\n"
		"[ tier fast ]\nNode=2 3\nKind=hbm\nLatency=90\nLatency.0=70\nBandwidth.1=9\n"
		"[tier slow]\nDevice=/dev/dax0.0\nEnabled=no");
	g_assert_cmpint(load(&t, &c, &message), ==, 0);
	g_assert_cmpuint(c->move_bandwidth, ==, UINT64_C(2) << 30);
	g_assert_cmpuint(c->sampling_cpu, ==, 3);
	g_assert_cmpuint(c->job_threads, ==, 2);
	g_assert_cmpint(c->storage, ==, STORAGE_NODE);
	must_be(c->user_limits.of[QUOTA_BYTES], true, 40);
	must_be(c->user_limits.of[QUOTA_MORSELS], false, 10);
	g_assert_cmpuint(c->default_prefer->len, ==, 2);
	g_assert_cmpstr(c->default_prefer->pdata[1], ==, "dram0");
	g_assert_cmpuint(c->default_page_size, ==, 2097152);
	g_assert_cmpuint(c->tiers->len, ==, 2);
	fast = c->tiers->pdata[0];
	slow = c->tiers->pdata[1];
	g_assert_cmpstr(fast->name, ==, "fast");
	g_assert_cmpstr(fast->origin, ==, "morseld.conf:15");
	g_assert_cmpuint(fast->nodes->len, ==, 2);
	g_assert_cmpint(g_array_index(fast->nodes, int, 1), ==, 3);
	g_assert_true(fast->has_kind);
	g_assert_cmpint(fast->kind, ==, TIER_HBM);
	g_assert_true(fast->enabled);
	g_assert_cmpuint(fast->perf->len, ==, 3);
	g_assert_cmpint(g_array_index(fast->perf, struct config_perf, 1).initiator, ==, 0);
	g_assert_cmpuint(g_array_index(fast->perf, struct config_perf, 1).lat_ns, ==, 70);
	g_assert_cmpuint(g_array_index(fast->perf, struct config_perf, 2).bw_mbs, ==, 9);
	g_assert_cmpstr(slow->device, ==, "/dev/dax0.0");
	g_assert_false(slow->enabled);
	g_assert_false(slow->has_kind);
	config_free(c);
	tree_done(&t);
}

static void test_drop_ins(void)
{
	struct tree t = tree_new();
	struct config *c = NULL;
	char *message = NULL;

	tree_write(&t, "morseld.conf",
		   "[daemon]\nJobThreads=2\nMoveBandwidth=1M\n[tier a]\nNode=1\n");
	tree_write(&t, "morseld.conf.d/20-b.conf", "[daemon]\nJobThreads=4\n[tier a]\nNode=5\n");
	tree_write(&t, "morseld.conf.d/10-a.conf", "[daemon]\nJobThreads=3\n[tier b]\nNode=2\n");
	tree_write(&t, "morseld.conf.d/30-c.conf.disabled", "rubbish");
	tree_write(&t, "morseld.conf.d/.40.conf", "rubbish");
	tree_link(&t, "morseld.conf.d/50-masked.conf", "/dev/null");
	g_assert_cmpint(load(&t, &c, &message), ==, 0);
	g_assert_cmpuint(c->job_threads, ==, 4);
	g_assert_cmpuint(c->move_bandwidth, ==, 1 << 20);
	g_assert_cmpuint(c->tiers->len, ==, 2);
	g_assert_cmpint(g_array_index(((struct config_tier *)c->tiers->pdata[0])->nodes, int, 0),
			==, 5);
	g_assert_cmpstr(((struct config_tier *)c->tiers->pdata[1])->origin, ==, "10-a.conf:3");
	config_free(c);

	/* A bad drop-in is named with its own line. */
	tree_write(&t, "morseld.conf.d/60.conf", "\n[quota]\n\nMorselsPerUser=0\n");
	c = NULL;
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_null(c);
	g_assert_true(g_str_has_suffix(message,
				       "morseld.conf.d/60.conf:4: MorselsPerUser=0: a whole "
				       "number from 1 to 1000000, or 'none', is wanted"));
	g_free(message);
	tree_done(&t);
}

/* Every message begins with the file and the line, shows the line, and says what is wanted. */
static void test_errors(void)
{
	static const struct {
		const char *text, *line, *says;
	} cases[] = {
		{ "JobThreads=1\n", "1: JobThreads=1: ", "no [section]" },
		{ "[daemon]\n\nJobThreads=9\n", "3: JobThreads=9: ", "from 1 to 8" },
		{ "[daemon]\nJobThreads=-1\n", "2: JobThreads=-1: ", "from 1 to 8" },
		{ "[daemon]\nJobThreads=1 # one\n", "2: JobThreads=1 # one: ", "from 1 to 8" },
		{ "[daemon]\nJobThreads=\n", "2: JobThreads=: ", "a value is wanted" },
		{ "[daemon]\nJobThread=1\n",
		  "2: JobThread=1: ", "unknown key; this section has MoveB" },
		{ "[daemon]\nStorage=disk\n", "2: Storage=disk: ", "auto, module or node" },
		{ "[daemon]\nMoveBandwidth=fast\n", "2: MoveBandwidth=fast: ", "a size such as" },
		{ "[daemon]\nMoveBandwidth=99999999T\n",
		  "2: MoveBandwidth=99999999T: ", "64 bits" },
		{ "[daemon]\nSamplingCPU=0\n", "2: SamplingCPU=0: ", "from 1 to 100" },
		{ "[daemon]\nSamplingCPU=1%\n", "2: SamplingCPU=1%: ", "from 1 to 100" },
		{ "[daemon]\nMoveBandwidth\n", "2: MoveBandwidth: ", "Key=value" },
		{ "[daemon]\n=1\n", "2: =1: ", "Key=value" },
		{ "[daemons]\n", "1: [daemons]: ", "unknown section" },
		{ "[]\n", "1: []: ", "unknown section" },
		{ "[daemon\nJobThreads=1", "1: [daemon: ", "']' is missing" },
		{ "[daemon] JobThreads=1", "1: [daemon] JobThreads=1: ", "nothing may follow" },
		{ "[quota]\nBytesPerUser=101%\n", "2: BytesPerUser=101%: ", "1% to 100%" },
		{ "[quota]\nBytesPerUser=0\n", "2: BytesPerUser=0: ", "may not be 0" },
		{ "[quota]\nBytes=1G\n", "2: Bytes=1G: ", "BytesPerUser, MorselsPerUser, Jobs" },
		{ "[quota]\nCallsPerUser=0\n", "2: CallsPerUser=0: ", "1 to 65536, or 'none'" },
		{ "[user nosuchuser]\n", "1: [user nosuchuser]: ", "a user of /etc/passwd" },
		{ "[user 0]\nBytesPerUser=1G\n", "2: BytesPerUser=1G: ", "Bytes, Morsels" },
		{ "[cgroup /a]\nMax.hbm0=lots\n", "2: Max.hbm0=lots: ", "a size such as 64M" },
		{ "[cgroup /a]\nMax.=1G\n", "2: Max.=1G: ", "a letter" },
		{ "[user 1]\nMax.hbm0=1G\n", "2: Max.hbm0=1G: ", "unknown key" },
		{ "[cgroup user.slice]\n", "1: [cgroup user.slice]: ", "such as /user.slice" },
		{ "[cgroup /a//b]\n", "1: [cgroup /a//b]: ", "such as /user.slice" },
		{ "[cgroup /a/]\n", "1: [cgroup /a/]: ", "such as /user.slice" },
		{ "[cgroup /a]\nBytes=much\n", "2: Bytes=much: ", "or 'none'" },
		{ "[cgroup /a]\nMorsels=50%\n", "2: Morsels=50%: ", "1 to 1000000" },
		{ "[default]\nPageSize=4096\n", "2: PageSize=4096: ", "4K or 2M" },
		{ "[default]\nPrefer=a/b\n", "2: Prefer=a/b: ", "names of tiers" },
		{ "[default]\nPrefer=a b a\n", "2: Prefer=a b a: ", "a stands there twice" },
		{ "[tier ]\n", "1: [tier ]: ", "unknown section" },
		{ "[tier a b]\n", "1: [tier a b]: ", "a tier's name is" },
		{ "[tier a]\nNode=x\n", "2: Node=x: ", "numbers of nodes" },
		{ "[tier a]\nNode=1024\n", "2: Node=1024: ", "0 to 1023" },
		{ "[tier a]\nNode=1 1\n", "2: Node=1 1: ", "twice" },
		{ "[tier a]\nNode= ,\n", "2: Node= ,: ", "a node is wanted" },
		{ "[tier a]\nKind=fast\n", "2: Kind=fast: ", "dram, hbm" },
		{ "[tier a]\nEnabled=maybe\n", "2: Enabled=maybe: ", "yes or no" },
		{ "[tier a]\nLatency=0\n", "2: Latency=0: ", "in ns" },
		{ "[tier a]\nLatency.x=1\n", "2: Latency.x=1: ", "number of a node" },
		{ "[tier a]\nBandwidth=1G\n", "2: Bandwidth=1G: ", "in MB/s" },
		{ "[tier a]\nDevice=dax0.0\n", "2: Device=dax0.0: ", "a path" },
		{ "[tier a]\nUuid=dax0.0\n", "2: Uuid=dax0.0: ", "a UUID" },
		{ "[tier a]\nVolatile=perhaps\n", "2: Volatile=perhaps: ", "yes or no" },
		{ "[daemon]\nJobThreads=\x01\n", "2: JobThreads=?: ", "from 1 to 8" },
		{ "[daemon]\n\xff\n", "2: ", "not UTF-8" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct tree t = tree_new();
		g_autofree char *message = NULL, *start = NULL;
		struct config *c = NULL;

		tree_write(&t, "morseld.conf", cases[i].text);
		start = g_strdup_printf("%s/morseld.conf:%s", t.path, cases[i].line);
		g_test_message("case %u", i);
		g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
		g_assert_null(c);
		if (!g_str_has_prefix(message, start) || strstr(message, cases[i].says) == NULL)
			g_error("message %s, expected %s…%s", message, start, cases[i].says);
		tree_done(&t);
	}
}

static void test_between_sections(void)
{
	struct tree t = tree_new();
	struct config *c = NULL;
	char *message = NULL;

	tree_write(&t, "morseld.conf", "[tier a]\nNode=1 2\n[tier b]\nNode=2\n");
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_cmpstr(message, ==,
			"morseld.conf:3: [tier b] Node=2: is already in tier a (morseld.conf:1)");
	g_clear_pointer(&message, g_free);
	tree_write(&t, "morseld.conf", "[tier a]\nNode=1\nDevice=/dev/dax0.0\n");
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_nonnull(strstr(message, "Node= and Device="));
	g_clear_pointer(&message, g_free);
	tree_write(&t, "morseld.conf", "[tier a]\nNode=1\nVolatile=yes\n");
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_nonnull(strstr(message, "which Uuid= or Device= must name"));
	g_clear_pointer(&message, g_free);
	tree_write(&t, "morseld.conf", "[tier a]\nDevice=/dev/d\n[tier b]\nDevice=/dev/d\n");
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_nonnull(strstr(message, "already tier a's"));
	g_clear_pointer(&message, g_free);
	tree_done(&t);
}

static void test_files(void)
{
	struct tree t = tree_new();
	g_autofree char *path = g_build_filename(t.path, "morseld.conf", NULL);
	g_autoptr(GString) big = g_string_new("[daemon]\n#");
	struct config *c = NULL;
	char *message = NULL;

	/* A line that is too long, a NUL, a file that is too long. */
	for (int i = 0; i < 5000; i++)
		g_string_append_c(big, 'x');
	tree_write(&t, "morseld.conf", big->str);
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_true(
		g_str_has_suffix(message, "morseld.conf:2: the line is longer than 4096 bytes"));
	g_clear_pointer(&message, g_free);
	tree_write_bytes(&t, "morseld.conf", "[daemon]\nJobThreads=1\0002\n", 24);
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_true(g_str_has_suffix(message, "morseld.conf:2: the line holds a NUL byte"));
	g_clear_pointer(&message, g_free);
	g_string_truncate(big, 0);
	for (int i = 0; i < 120000; i++)
		g_string_append(big, "# comment\n");
	tree_write(&t, "morseld.conf", big->str);
	g_assert_cmpint(load(&t, &c, &message), ==, -EFBIG);
	g_clear_pointer(&message, g_free);

	/* Rights, and things that are no files. */
	tree_write(&t, "morseld.conf", "");
	g_assert_cmpint(chmod(path, 0666), ==, 0);
	g_assert_cmpint(load(&t, &c, &message), ==, -EPERM);
	g_assert_nonnull(strstr(message, "chmod o-w"));
	g_clear_pointer(&message, g_free);
	tree_remove(&t, "morseld.conf");
	tree_write(&t, "morseld.conf/file", "");
	g_assert_cmpint(load(&t, &c, &message), ==, -EISDIR);
	g_assert_nonnull(strstr(message, "is a directory"));
	g_clear_pointer(&message, g_free);
	tree_remove(&t, "morseld.conf");
	g_assert_cmpint(mkfifo(path, 0600), ==, 0);
	g_assert_cmpint(load(&t, &c, &message), ==, -EINVAL);
	g_assert_nonnull(strstr(message, "no regular file"));
	g_clear_pointer(&message, g_free);
	tree_remove(&t, "morseld.conf");
	tree_write(&t, "morseld.conf.d", "");
	g_assert_cmpint(load(&t, &c, &message), ==, -ENOTDIR);
	g_clear_pointer(&message, g_free);
	g_assert_null(c);
	tree_done(&t);
}

/* The example in packaging/ shows the defaults, and every line that it has in a comment can be used. */
static void test_example(void)
{
	const char *path = g_getenv("MORSEL_EXAMPLE_CONF");
	struct tree t = tree_new();
	g_autoptr(GString) opened = g_string_new(NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	struct config *c = NULL, *defaults = NULL;
	char *message = NULL;
	unsigned int keys = 0;

	if (path == NULL) {
		g_test_skip("MORSEL_EXAMPLE_CONF does not say where the example is");
		tree_done(&t);
		return;
	}
	g_assert_cmpint(load(&t, &defaults, &message), ==, 0);
	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		bool is_key = (*line)[0] == '#' && g_ascii_isupper((*line)[1]) &&
			      strchr(*line, '=');
		bool is_section = g_str_has_prefix(*line, "#[");

		keys += is_key;
		/* An empty Prefer= is the default; tiers are examples. */
		g_string_append_printf(opened, "%s\n", is_key || is_section ? *line + 1 : *line);
	}
	tree_write(&t, "morseld.conf", opened->str);
	if (load(&t, &c, &message) < 0)
		g_error("%s", message);
	g_assert_cmpuint(keys, ==, 33);
	g_assert_cmpuint(c->move_bandwidth, ==, defaults->move_bandwidth);
	g_assert_cmpuint(c->job_threads, ==, defaults->job_threads);
	same_limits(&c->user_limits, &defaults->user_limits);
	/* The two sections that are there without a line, as shown; then the examples. */
	g_assert_cmpuint(c->quotas->len, ==, 4);
	for (unsigned int i = 0; i < 2; i++) {
		const struct config_quota *a = c->quotas->pdata[i], *b = defaults->quotas->pdata[i];

		g_assert_cmpstr(a->path, ==, b->path);
		same_limits(&a->limits, &b->limits);
	}
	g_assert_cmpuint(c->default_prefer->len, ==, 0);
	g_assert_cmpuint(c->default_page_size, ==, defaults->default_page_size);
	g_assert_cmpuint(c->tiers->len, ==, 3);
	config_free(c);
	config_free(defaults);
	tree_done(&t);
}

static void test_size(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0, 0 },
		{ "4096", 0, 4096 },
		{ "4K", 0, 4096 },
		{ "4KiB", 0, 4096 },
		{ "4KB", 0, 4096 },
		{ "10B", 0, 10 },
		{ "512M", 0, UINT64_C(512) << 20 },
		{ "2T", 0, UINT64_C(2) << 40 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "16777215T", 0, UINT64_C(16777215) << 40 },
		{ "16777216T", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "K", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 },
		{ "1k", -EINVAL, 0 },
		{ "1P", -EINVAL, 0 },
		{ "1iB", -EINVAL, 0 },
		{ "1Ki", -EINVAL, 0 },
		{ "1KBB", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 K", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "99999999999999999999X", -EINVAL, 0 },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint64_t n = 77;

		g_test_message("%s", cases[i].text);
		g_assert_cmpint(parse_size(cases[i].text, &n), ==, cases[i].r);
		g_assert_cmpuint(n, ==, cases[i].r == 0 ? cases[i].bytes : 77);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/config/defaults", test_defaults);
	g_test_add_func("/config/values", test_values);
	g_test_add_func("/config/drop-ins", test_drop_ins);
	g_test_add_func("/config/errors", test_errors);
	g_test_add_func("/config/between-sections", test_between_sections);
	g_test_add_func("/config/files", test_files);
	g_test_add_func("/config/example", test_example);
	g_test_add_func("/config/size", test_size);
	return g_test_run();
}
