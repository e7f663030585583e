// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor.h"
#include "helper-client.h"
#include "ordinary-peers.h"
#include "storage-node-hugepage.h"
#include "storage-node-sys.h"

/* The kernels that the module is for (docs/uapi.md). */
#define MODULE_MAJOR 6
#define MODULE_MINOR 8
/* Fewer descriptors than this are a limit that somebody will meet: each morsel is one. */
#define DESCRIPTORS_ENOUGH 16384

const char *doctor_status_to_string(enum doctor_status s)
{
	static const char *const names[] = { "ok", "degraded", "missing" };

	return names[s];
}

static void capability_clear(gpointer p)
{
	struct capability *c = p;

	g_free(c->detail);
	g_free(c->instead);
	g_free(c->advice);
}

/* Takes over detail. */
static void add(GArray *list, const char *name, enum doctor_status status, char *detail,
		const char *instead, const char *advice)
{
	struct capability c = { name, status, detail, g_strdup(instead), g_strdup(advice) };

	g_array_append_val(list, c);
}

/* --- Files ---------------------------------------------------------------------------------- */

static bool exists(const struct doctor_facts *f, const char *path)
{
	return faccessat(f->root_fd, path, F_OK, 0) == 0;
}

/* The first line, without its end; "" where it cannot be read. Free with g_free. */
static char *read_line(const struct doctor_facts *f, const char *path)
{
	char buffer[512];
	ssize_t n = -1;
	int fd = openat(f->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0) {
		n = read(fd, buffer, sizeof(buffer) - 1);
		close(fd);
	}
	buffer[n > 0 ? n : 0] = '\0';
	buffer[strcspn(buffer, "\n")] = '\0';
	return g_utf8_make_valid(buffer, -1);
}

/* Entries of a directory that begin with prefix and a digit; -1: there is no such directory. */
static int count_entries(const struct doctor_facts *f, const char *path, const char *prefix)
{
	int fd = openat(f->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	int n = 0;
	DIR *d;

	if (fd < 0)
		return -1;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -1;
	}
	while ((e = readdir(d)))
		n += g_str_has_prefix(e->d_name, prefix) &&
		     g_ascii_isdigit(e->d_name[strlen(prefix)]);
	closedir(d);
	return n;
}

/* --- The machine ---------------------------------------------------------------------------- */

static void examine_kernel(GArray *list, const struct doctor_facts *f)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	if (major > MODULE_MAJOR || (major == MODULE_MAJOR && minor >= MODULE_MINOR))
		add(list, "kernel", DOCTOR_OK, g_strdup_printf("Linux %s", u.release), "", "");
	else
		add(list, "kernel", DOCTOR_DEGRADED,
		    g_strdup_printf("Linux %s; the module is for %d.%d and newer", u.release,
				    MODULE_MAJOR, MODULE_MINOR),
		    "node storage", "a newer kernel");
}

static void examine_numa(GArray *list, const struct doctor_facts *f)
{
	if (f->memory_nodes > 1)
		add(list, "numa", DOCTOR_OK,
		    g_strdup_printf("%u nodes with memory for tiers", f->memory_nodes), "", "");
	else
		add(list, "numa", DOCTOR_DEGRADED,
		    g_strdup_printf("%u node with memory", f->memory_nodes),
		    "everything lies on one tier; there is nowhere to move to",
		    "a machine with several kinds of memory, or the lab's guest: tools/lab shell");

	if (f->has_hmat)
		add(list, "hmat", DOCTOR_OK, g_strdup("the firmware tells latency and bandwidth"),
		    "", "");
	else
		add(list, "hmat", DOCTOR_MISSING,
		    g_strdup("the firmware tells no latency and bandwidth (ACPI HMAT)"),
		    "distances between nodes (ACPI SLIT) rank the tiers",
		    "Latency= and Bandwidth= of [tier NAME] in morseld.conf");
}

static void examine_memory_tiers(GArray *list, const struct doctor_facts *f)
{
	int n = count_entries(f, "sys/devices/virtual/memory_tiering", "memory_tier");

	if (n > 0)
		add(list, "memory-tiers", DOCTOR_OK,
		    g_strdup_printf("the kernel knows %d memory tier%s", n, n == 1 ? "" : "s"), "",
		    "");
	else
		add(list, "memory-tiers", DOCTOR_MISSING,
		    g_strdup(n < 0 ? "this kernel does not tell memory tiers"
				   : "this kernel has made no memory tier"),
		    "tiers from nodes, firmware and devices",
		    "Linux 6.1 or newer with CONFIG_NUMA");
}

static void examine_cxl(GArray *list, const struct doctor_facts *f)
{
	int memdevs = count_entries(f, "sys/bus/cxl/devices", "mem");
	int regions = count_entries(f, "sys/bus/cxl/devices", "region");

	if (memdevs < 0)
		add(list, "cxl", DOCTOR_MISSING, g_strdup("this kernel has no CXL bus"),
		    "tiers of other memory", "CONFIG_CXL_BUS, or: modprobe cxl_acpi");
	else if (memdevs + regions == 0)
		add(list, "cxl", DOCTOR_MISSING, g_strdup("a CXL bus without memory devices"),
		    "tiers of other memory", "a CXL memory device");
	else if (regions == 0)
		add(list, "cxl", DOCTOR_DEGRADED,
		    g_strdup_printf("%d memory device%s, no region", memdevs,
				    memdevs == 1 ? "" : "s"),
		    "its tier is offline until there is a region", "morselctl tier provision TIER");
	else
		add(list, "cxl", DOCTOR_OK,
		    g_strdup_printf("%d memory device%s, %d region%s", memdevs,
				    memdevs == 1 ? "" : "s", regions, regions == 1 ? "" : "s"),
		    "", "");
}

static void examine_nvdimm(GArray *list, const struct doctor_facts *f)
{
	int regions = count_entries(f, "sys/bus/nd/devices", "region");
	int dax = count_entries(f, "sys/bus/dax/devices", "dax");

	if (regions > 0)
		add(list, "nvdimm", DOCTOR_OK,
		    g_strdup_printf("%d persistent region%s", regions, regions == 1 ? "" : "s"), "",
		    "");
	else
		add(list, "nvdimm", DOCTOR_MISSING,
		    g_strdup(regions < 0 ? "this kernel has no bus of NVDIMMs"
					 : "no persistent memory"),
		    "morsels are volatile", "persistent memory, or memmap=SIZE!START for a trial");
	if (dax > 0)
		add(list, "device-dax", DOCTOR_OK,
		    g_strdup_printf(
			    "%d device%s, %u of them given to morsel for pools of the module", dax,
			    dax == 1 ? "" : "s", f->pools),
		    "",
		    f->idle_devices > 0
			    ? "Volatile=yes in a [tier] of morseld.conf gives one, if what is "
			      "stored there is not wanted: morselctl tiers"
			    : "");
	else
		add(list, "device-dax", DOCTOR_MISSING, g_strdup("no device"),
		    "memory of nodes only", "");
}

/* --- The kernel's means --------------------------------------------------------------------- */

static void examine_damon(GArray *list, struct doctor_facts *f)
{
	f->damon = exists(f, "sys/kernel/mm/damon/admin/kdamonds");
	if (f->damon)
		add(list, "damon", DOCTOR_OK, g_strdup("its files are there"), "", "");
	else
		add(list, "damon", DOCTOR_MISSING, g_strdup("this kernel does not offer it"),
		    "heat of morsels of the module only",
		    "CONFIG_DAMON_SYSFS and CONFIG_DAMON_VADDR");
}

/* Make the smallest map and throw it away: the one sure way to know. */
static int try_bpf(void)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = sizeof(uint32_t);
	attr.value_size = sizeof(uint32_t);
	attr.max_entries = 1;
	fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void examine_bpf(GArray *list, const struct doctor_facts *f)
{
	bool btf = exists(f, "sys/kernel/btf/vmlinux");
	int r = try_bpf();

	if (r == 0 && btf)
		add(list, "bpf", DOCTOR_OK,
		    g_strdup("maps can be made, the kernel's types are there (BTF)"), "", "");
	else if (r == 0)
		add(list, "bpf", DOCTOR_DEGRADED,
		    g_strdup("maps can be made, the kernel's types are not there"),
		    "placement by the daemon's rules", "CONFIG_DEBUG_INFO_BTF");
	else
		add(list, "bpf", DOCTOR_MISSING, g_strdup_printf("bpf(): %s", g_strerror(-r)),
		    "placement by the daemon's rules",
		    r == -ENOSYS ? "CONFIG_BPF_SYSCALL" : "CAP_BPF for the daemon");
}

static void examine_cgroup(GArray *list, const struct doctor_facts *f)
{
	g_autofree char *controllers = read_line(f, "sys/fs/cgroup/cgroup.controllers");
	g_auto(GStrv) words = g_strsplit(controllers, " ", -1);

	if (!exists(f, "sys/fs/cgroup/cgroup.controllers"))
		add(list, "cgroup-v2", DOCTOR_MISSING,
		    g_strdup("no unified hierarchy at /sys/fs/cgroup"), "morsels carry no account",
		    "systemd.unified_cgroup_hierarchy=1");
	else if (!g_strv_contains((const char *const *)words, "memory"))
		add(list, "cgroup-v2", DOCTOR_DEGRADED,
		    g_strdup_printf("no memory controller (there are: %s)", controllers),
		    "accounts are named, their memory is not limited", "cgroup_enable=memory");
	else
		add(list, "cgroup-v2", DOCTOR_OK,
		    g_strdup("unified hierarchy with the memory controller"), "", "");
}

static void examine_module(GArray *list, const struct doctor_facts *f)
{
	struct module_advice advice;
	struct module_signs signs;
	struct utsname u;

	uname(&u);
	module_signs_read(f->root_fd, u.release, &signs);
	module_advise(&f->module, &signs, &advice);
	add(list, "module",
	    advice.chosen		    ? DOCTOR_OK
	    : advice.usable || signs.device ? DOCTOR_DEGRADED
					    : DOCTOR_MISSING,
	    g_steal_pointer(&advice.detail),
	    advice.chosen		       ? ""
	    : f->module.wish == STORAGE_MODULE ? "nothing: Create is refused (Storage=module)"
					       : "node storage",
	    advice.advice);
	module_advice_done(&advice);
}

static void examine_polkit(GArray *list, const struct doctor_facts *f)
{
	static const char only_root[] = "only root administers, and changes what is others'";
	bool there =
		exists(f, "usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service");

	if (!f->bus_connected)
		add(list, "polkit", DOCTOR_MISSING,
		    g_strdup("it is asked over the bus, and there is none"), only_root, "");
	else if (f->polkit && !g_str_equal(f->polkit, "answers"))
		add(list, "polkit", DOCTOR_MISSING, g_strdup(f->polkit), only_root,
		    there ? "systemctl status polkit" : "install polkitd");
	else if (!f->polkit && !there)
		add(list, "polkit", DOCTOR_MISSING, g_strdup("not installed"), only_root,
		    "install polkitd");
	else if (!exists(f, "usr/share/polkit-1/actions/org.parperos.morsel.policy"))
		add(list, "polkit", DOCTOR_DEGRADED,
		    g_strdup("installed, but does not know morsel's actions"), only_root,
		    "install org.parperos.morsel.policy in /usr/share/polkit-1/actions");
	else
		add(list, "polkit", DOCTOR_OK,
		    g_strdup(f->polkit ? f->polkit : "installed; not asked yet"), "", "");
}

static void examine_huge_pages(GArray *list, const struct doctor_facts *f)
{
	g_autofree char *total =
		read_line(f, "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	g_autofree char *free_pages =
		read_line(f, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
	const char *how;

	if (g_ascii_strtoull(free_pages, NULL, 10) > 0)
		add(list, "hugetlb", DOCTOR_OK,
		    g_strdup_printf("%s of %s pages of 2 MiB are free", free_pages, total), "", "");
	else
		add(list, "hugetlb", total[0] ? DOCTOR_DEGRADED : DOCTOR_MISSING,
		    g_strdup(total[0] ? "no free page of 2 MiB"
				      : "this kernel has no pages of 2 MiB"),
		    "transparent huge pages; where those are off too, page size 2M is refused",
		    total[0] ? "sysctl vm.nr_hugepages=NUMBER" : "");

	if (hugepage_transparent(f->root_fd, &how))
		add(list, "shmem-thp", DOCTOR_OK, g_strdup_printf("memfds: %s", how), "", "");
	else
		add(list, "shmem-thp",
		    g_str_equal(how, "absent") ? DOCTOR_MISSING : DOCTOR_DEGRADED,
		    g_str_equal(how, "absent")
			    ? g_strdup("this kernel has no transparent huge pages for memfds")
			    : g_strdup_printf("memfds: %s", how),
		    "page size 2M needs hugetlb",
		    g_str_equal(how, "absent")
			    ? ""
			    : "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled");
}

/* --- This process --------------------------------------------------------------------------- */

static bool has_capability(unsigned int number)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};

	return syscall(SYS_capget, &header, data) == 0 &&
	       data[number / 32].effective & (1u << number % 32);
}

/* Who the daemon is decides what it can do by itself; what it cannot, morsel-helper does. */
static void examine_privilege(GArray *list)
{
	int r = helper_client_check();
	bool root = geteuid() == 0;
	const char *without =
		root ? "the daemon is root and reads by itself; tier provision is refused"
		     : "the firmware's tables and physical addresses stay unread; tier provision is "
		       "refused";

	if (r == 0)
		add(list, "helper", DOCTOR_OK,
		    g_strdup_printf("morsel-helper answers; the daemon runs as uid %u", geteuid()),
		    "", "");
	else
		add(list, "helper", DOCTOR_MISSING,
		    r == -ENOENT
			    ? g_strdup_printf("no morsel-helper; the daemon runs as uid %u",
					      geteuid())
			    : g_strdup_printf("morsel-helper cannot be reached: %s; the daemon "
					      "runs as uid %u",
					      g_strerror(-r), geteuid()),
		    without, "systemctl enable --now morsel-helper.socket");
}

/* A call that a seccomp filter or the kernel forbids makes part of the node storage refuse its work. */
static void examine_calls(GArray *list)
{
	struct node_caps caps;

	node_caps_probe(&node_sys_real, &caps);
	if (caps.mbind < 0)
		add(list, "numa-policy", DOCTOR_MISSING,
		    g_strdup_printf("mbind: %s", g_strerror(-caps.mbind)),
		    "prefer, allow and spread are refused, unless there is only one node",
		    "a seccomp filter of the service or the container that lets mbind through");
	else if (!caps.preferred_many || !caps.home_node)
		add(list, "numa-policy", DOCTOR_DEGRADED,
		    g_strdup("this kernel takes one preferred node only"),
		    "of several tiers in prefer the first one counts", "Linux 5.17 or newer");
	else
		add(list, "numa-policy", DOCTOR_OK, g_strdup("mbind, with a home node"), "", "");

	if (caps.move_pages < 0)
		add(list, "move-pages", DOCTOR_MISSING,
		    g_strdup_printf("move_pages: %s", g_strerror(-caps.move_pages)),
		    "nothing moves, and nobody knows where pages are",
		    "a seccomp filter of the service or the container that lets move_pages through");
	else
		add(list, "move-pages", DOCTOR_OK,
		    g_strdup(caps.numa_maps
				     ? "move_pages, and counting by numa_maps"
				     : "move_pages; without numa_maps each page is asked for"),
		    "", "");
}

static void examine_process(GArray *list, struct doctor_facts *f)
{
	f->cap_sys_nice = has_capability(CAP_SYS_NICE);
	if (f->cap_sys_nice)
		add(list, "cap-sys-nice", DOCTOR_OK,
		    g_strdup("pages that several processes map can be moved"), "", "");
	else
		add(list, "cap-sys-nice", DOCTOR_MISSING, g_strdup("the daemon lacks CAP_SYS_NICE"),
		    "pages that more than one process maps stay where they are",
		    "run morseld as its service (AmbientCapabilities=CAP_SYS_NICE), or as root");

	if (!f->address)
		add(list, "bus", DOCTOR_MISSING,
		    g_strdup("morseld was started without one (--address none)"),
		    "the private socket serves everything", "--address system");
	else
		add(list, "bus", f->bus_connected ? DOCTOR_OK : DOCTOR_MISSING,
		    g_strdup_printf(f->bus_connected ? "connected to %s" : "not connected to %s",
				    f->address),
		    f->bus_connected ? "" : "the private socket serves everything",
		    f->bus_connected ? "" : "the journal says why; morseld tries again by itself");

	if (f->descriptors >= DESCRIPTORS_ENOUGH)
		add(list, "descriptors", DOCTOR_OK,
		    g_strdup_printf("%u of %u are in use", f->descriptors_used, f->descriptors), "",
		    "");
	else
		add(list, "descriptors", DOCTOR_DEGRADED,
		    g_strdup_printf("%u of %u are in use; each morsel is one", f->descriptors_used,
				    f->descriptors),
		    "Create fails with NoDescriptors beyond that",
		    "LimitNOFILE= of morseld.service");
}

/* What would be left if this process ended now. */
static void examine_lasting(GArray *list, const struct doctor_facts *f)
{
	g_autofree char *lost =
		f->lost > 0
			? g_strdup_printf("; %" PRIu64
					  " morsels were lost before the last start, see %s/lost",
					  f->lost, f->state_dir)
			: g_strdup("");

	if (!f->registry)
		add(list, "registry", DOCTOR_MISSING,
		    g_strdup("morseld was started without --state-dir, or for a dry run"),
		    "morsels have names as long as morseld runs", "--state-dir");
	else if (f->registry_trouble[0])
		add(list, "registry", DOCTOR_DEGRADED,
		    g_strdup_printf("%s cannot be written: %s%s", f->state_dir, f->registry_trouble,
				    lost),
		    "nothing is created or moved; all else is written when it can be",
		    "room on that file system");
	else
		add(list, "registry", f->lost > 0 ? DOCTOR_DEGRADED : DOCTOR_OK,
		    g_strdup_printf("%u morsels in %s%s", f->morsels, f->state_dir, lost), "", "");

	switch (f->keeper) {
	case KEEPER_NONE:
		add(list, "keeper", DOCTOR_MISSING,
		    g_strdup("morseld was started without --keeper and --state-dir"),
		    "morsels that no program maps end with morseld", "--keeper");
		break;
	case KEEPER_COMPLETE:
		add(list, "keeper", DOCTOR_OK,
		    g_strdup_printf("%s holds %u of %u morsels", f->keeper_path, f->kept,
				    f->morsels),
		    "", "");
		break;
	case KEEPER_AWAY:
	case KEEPER_FILLING:
	case KEEPER_FULL:
		add(list, "keeper", DOCTOR_DEGRADED,
		    g_strdup_printf("%s holds %u of %u morsels%s%s", f->keeper_path, f->kept,
				    f->morsels, f->keeper_trouble[0] ? ": " : "",
				    f->keeper_trouble),
		    "the others end with morseld if no program maps them",
		    "systemctl status morsel-keeper; morseld hands them over by itself");
	}
}

/* Policies are read and followed everywhere; Max is kept only where frames are counted. */
static void examine_policy(GArray *list, const struct doctor_facts *f)
{
	bool enforced = module_is_chosen(&f->module);
	g_autoptr(GString) detail = g_string_new(NULL);

	g_string_append_printf(detail, "%u cgroups have a policy", f->policies);
	if (f->policy_warnings > 0)
		g_string_append_printf(detail, "; %u of what they say cannot be: %s%s",
				       f->policy_warnings, f->policy_warning,
				       f->policy_warnings > 1 ? ", …" : "");
	if (!enforced && f->policies > 0)
		add(list, "policy", DOCTOR_DEGRADED, g_string_free(g_steal_pointer(&detail), FALSE),
		    "Max is advisory: nothing holds a cgroup to it",
		    "the kernel module keeps Max exactly: see module");
	else
		add(list, "policy", f->policy_warnings > 0 ? DOCTOR_DEGRADED : DOCTOR_OK,
		    g_string_free(g_steal_pointer(&detail), FALSE), "",
		    f->policy_warnings > 0 ? "morselctl stats and the journal have all of them"
					   : "");
}

/* The program that the module asks where a frame comes from (docs/ebpf.md). */
static void examine_placement(GArray *list, const struct doctor_facts *f)
{
	static const char name[] = "placement-program";
	static const char without[] = "policies of cgroups count when a morsel is created";

	if (!f->placer) {
		add(list, name, DOCTOR_MISSING,
		    g_strdup("no module that asks a BPF program, or no morsel-helper to load one"),
		    without, "see module; it wants a kernel with BTF of modules");
		return;
	}
	switch (f->placement.state) {
	case PLACER_IDLE:
		add(list, name, DOCTOR_OK,
		    g_strdup("not needed: no policy of a cgroup with morsels names tiers"), "", "");
		break;
	case PLACER_ATTACHED:
		add(list, name, DOCTOR_OK,
		    g_strdup_printf("%s is asked; policies of %u cgroups%s", f->placement.text,
				    f->placement.policies,
				    f->placement.sent ? "" : ", some on their way"),
		    "", "");
		break;
	case PLACER_OTHER:
		add(list, name, DOCTOR_DEGRADED,
		    g_strdup("another program is registered with the module, and left there"),
		    "frames come from where that program says", "");
		break;
	case PLACER_TRYING:
		add(list, name, DOCTOR_DEGRADED, g_strdup("it is being registered"), without, "");
		break;
	case PLACER_ABSENT:
		add(list, name, DOCTOR_MISSING, g_strdup(f->placement.text), without,
		    "systemctl enable --now morsel-bpf.socket");
		break;
	case PLACER_FAILED:
		add(list, name, DOCTOR_MISSING, g_strdup(f->placement.text), without,
		    "journalctl -t morsel-helper");
		break;
	}
}

/* Memory of programs that know nothing of morsel. */
static void examine_ordinary(GArray *list, const struct doctor_facts *f)
{
	static const char alone[] = "the memory of ordinary programs is left alone";
	const struct ordinary_status *o = &f->ordinary;
	g_autofree char *peer = ordinary_peers(f->root_fd, true);
	g_autoptr(GString) detail = NULL;

	if (!o->wanted) {
		detail = g_string_new("no cgroup has ManageOrdinary=yes");
		if (peer)
			g_string_append_printf(detail, "; it would do nothing while %s", peer);
		add(list, "ordinary", DOCTOR_OK, g_string_free(g_steal_pointer(&detail), FALSE), "",
		    "");
	} else if (peer || o->trouble) {
		add(list, "ordinary", DOCTOR_DEGRADED, g_strdup(peer ? peer : o->trouble), alone,
		    peer || o->peer
			    ? "let one of the two manage memory: see morsel.policy(5)"
			    : "morsel-helper, and CONFIG_DAMON_SYSFS: the journal has more");
	} else {
		detail = g_string_new(NULL);
		g_string_append_printf(detail,
				       "%u processes of %u cgroups; %" PRIu64
				       " MiB moved to nearer memory, %" PRIu64 " MiB away from it",
				       o->processes, o->cgroups, o->up >> 20, o->down >> 20);
		if (o->more > 0)
			g_string_append_printf(detail, "; %u smaller processes are not looked at",
					       o->more);
		if (o->left_out > 0)
			g_string_append_printf(detail, "; %u ranges of theirs neither",
					       o->left_out);
		add(list, "ordinary", DOCTOR_OK, g_string_free(g_steal_pointer(&detail), FALSE), "",
		    "");
	}
}

GArray *doctor_examine(struct doctor_facts *facts)
{
	GArray *list = g_array_new(FALSE, FALSE, sizeof(struct capability));

	g_array_set_clear_func(list, capability_clear);
	examine_kernel(list, facts);
	examine_numa(list, facts);
	examine_memory_tiers(list, facts);
	examine_cxl(list, facts);
	examine_nvdimm(list, facts);
	examine_damon(list, facts);
	examine_bpf(list, facts);
	examine_cgroup(list, facts);
	examine_module(list, facts);
	examine_policy(list, facts);
	examine_placement(list, facts);
	examine_ordinary(list, facts);
	examine_polkit(list, facts);
	examine_huge_pages(list, facts);
	examine_calls(list);
	examine_privilege(list);
	examine_process(list, facts);
	examine_lasting(list, facts);
	return list;
}
