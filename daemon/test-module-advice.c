// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "module-advice.h"
#include "test-tree.h"

#define SECURE_BOOT "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static void must_say(const char *text, const char *want)
{
	if (!strstr(text, want))
		g_error("'%s' does not contain '%s'", text, want);
}

static void check(struct module_facts facts, struct module_signs signs, bool chosen, bool usable,
		  const char *detail, const char *advice)
{
	struct module_advice a;

	module_advise(&facts, &signs, &a);
	g_assert_cmpint(a.chosen, ==, chosen);
	g_assert_cmpint(a.usable, ==, usable);
	must_say(a.detail, detail);
	must_say(a.advice, advice);
	module_advice_done(&a);
}

/* Which storage is chosen, and the command that would change it. */
static void test_choice(void)
{
	const struct module_facts ready = { .probe = { .state = MODULE_READY, .version = 1 } };
	const struct module_facts absent = { .probe = { MODULE_ABSENT, -ENOENT, 0, false } };
	struct module_facts f = ready;

	check(f, (struct module_signs){}, true, true, "speaks version 1; new morsels are", "");
	f.wish = STORAGE_MODULE;
	check(f, (struct module_signs){}, true, true, "speaks version 1", "");
	f.probe.test_build = true;
	check(f, (struct module_signs){}, true, true, "test build, not for use", "");
	f.wish = STORAGE_NODE;
	check(f, (struct module_signs){}, false, true, "Storage=node", "Storage=auto");

	check(absent, (struct module_signs){ .installed = 0 }, false, false,
	      "no morsel.ko is installed for this kernel", "install morsel-dkms");
	check(absent, (struct module_signs){ .installed = 1 }, false, false,
	      "installed, and not loaded", "modprobe morsel && systemctl restart morseld");
	check(absent, (struct module_signs){ .installed = -1 }, false, false, "no /dev/morsel",
	      "install morsel-dkms if it is not, then: modprobe morsel");
	check(absent, (struct module_signs){ .installed = 1, .secure_boot = true }, false, false,
	      "Secure Boot: the kernel loads signed modules only", "mokutil --import");
	check(absent, (struct module_signs){ .installed = -1, .lockdown = true }, false, false,
	      "lockdown: the kernel loads signed modules only", "mokutil --import");
	check(absent, (struct module_signs){ .installed = 0, .secure_boot = true }, false, false,
	      "Secure Boot", "install morsel-dkms");
	check(absent, (struct module_signs){ .loaded = true }, false, false,
	      "though morsel.ko is loaded", "");
	check(absent, (struct module_signs){ .loaded = true, .device = true }, false, false,
	      "as morseld was started", "systemctl restart morseld");

	f = (struct module_facts){ .probe = { MODULE_CLOSED, -EACCES, 0, false } };
	check(f, (struct module_signs){ .device = true }, false, false, "Permission denied",
	      "morsel-helper.socket");
	f.probe.error = -ENODEV;
	check(f, (struct module_signs){ .device = true }, false, false, "No such device",
	      "systemctl stop morsel-helper.service && systemctl restart morseld");
	f.probe = (struct module_probe){ MODULE_OTHER, -ENOTTY, 0, false };
	check(f, (struct module_signs){ .device = true }, false, false,
	      "is not the device of morsel.ko", "journalctl -k");
	f.probe = (struct module_probe){ MODULE_VERSION, 0, 7, false };
	check(f, (struct module_signs){ .device = true }, false, false, "version 7",
	      "of one version");
	f.probe.version = 0;
	check(f, (struct module_signs){ .device = true }, false, false, "does not speak version 1",
	      "of one version");
	f.probe = (struct module_probe){ MODULE_FAILED, -EIO, 1, false };
	check(f, (struct module_signs){ .device = true }, false, false, "Input/output error",
	      "journalctl -k");
	f.probe = (struct module_probe){ MODULE_NOT_LASTING, 0, 1, false };
	check(f, (struct module_signs){ .device = true }, false, false, "--state-dir",
	      "--state-dir");
}

static void test_strays(void)
{
	struct module_facts f = { .probe = { .state = MODULE_READY, .version = 1 } };

	f.strays = (struct storage_module_strays){ .foreign = 2, .foreign_bytes = 4096 };
	check(f, (struct module_signs){}, true, true,
	      "2 objects that are not this morseld's, with 4096 bytes", "");
	f.strays = (struct storage_module_strays){ .left = 3, .left_bytes = 8192 };
	check(f, (struct module_signs){}, true, true,
	      "3 objects of this morseld that no morsel claims, with 8192 bytes", "");
	f.unreachable = 5;
	check(f, (struct module_signs){}, true, true, "5 morsels are the module's and out of reach",
	      "");
}

static void test_signs(void)
{
	struct tree t = tree_new();
	struct module_signs s;

	module_signs_read(t.fd, "6.12.0-test", &s);
	g_assert_false(s.loaded || s.device || s.secure_boot || s.lockdown);
	g_assert_cmpint(s.installed, ==, -1);
	tree_write(&t, "lib/modules/6.12.0-test/modules.dep", "");
	tree_write(&t, "lib/modules/6.11.0-other/updates/dkms/morsel.ko", "");
	tree_write(&t, "sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
	tree_write_bytes(&t, SECURE_BOOT, "\6\0\0\0\0", 5);
	module_signs_read(t.fd, "6.12.0-test", &s);
	g_assert_false(s.secure_boot || s.lockdown);
	g_assert_cmpint(s.installed, ==, 0);
	tree_write(&t, "lib/modules/6.12.0-test/updates/dkms/morsel.ko.xz", "");
	tree_write(&t, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
	tree_write_bytes(&t, SECURE_BOOT, "\6\0\0\0\1", 5);
	tree_write(&t, "sys/module/morsel/version", "");
	tree_write(&t, "dev/morsel", "");
	module_signs_read(t.fd, "6.12.0-test", &s);
	g_assert_true(s.loaded && s.device && s.secure_boot && s.lockdown);
	g_assert_cmpint(s.installed, ==, 1);
	tree_done(&t);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/module-advice/choice", test_choice);
	g_test_add_func("/module-advice/strays", test_strays);
	g_test_add_func("/module-advice/signs", test_signs);
	return g_test_run();
}
