// SPDX-License-Identifier: GPL-2.0-or-later
#include "module-advice.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/morsel.h>
#include <string.h>
#include <unistd.h>

/* EFI's global variables; the file is four bytes of attributes, then the value. */
#define SECURE_BOOT "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static bool exists(int root_fd, const char *path)
{
	return faccessat(root_fd, path, F_OK, 0) == 0;
}

static ssize_t read_some(int root_fd, const char *path, char *buffer, size_t size)
{
	int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buffer, size - 1);
	close(fd);
	buffer[n > 0 ? n : 0] = '\0';
	return n;
}

/* Where Debian's DKMS, other distributions' and "make modules_install" put modules of others. */
static int look_for_module(int root_fd, const char *release)
{
	static const char *const places[] = { "updates/dkms", "updates", "extra", "kernel/extra" };
	static const char *const endings[] = { "ko", "ko.xz", "ko.zst", "ko.gz" };
	g_autofree char *tree = g_strdup_printf("lib/modules/%s/modules.dep", release);

	/* A service's file system may hide them all (ProtectKernelModules=). */
	if (faccessat(root_fd, tree, R_OK, 0) < 0)
		return -1;
	for (unsigned int i = 0; i < G_N_ELEMENTS(places); i++)
		for (unsigned int k = 0; k < G_N_ELEMENTS(endings); k++) {
			g_autofree char *path = g_strdup_printf("lib/modules/%s/%s/morsel.%s",
								release, places[i], endings[k]);

			if (exists(root_fd, path))
				return 1;
		}
	return 0;
}

void module_signs_read(int root_fd, const char *release, struct module_signs *ret_signs)
{
	char text[128];

	*ret_signs = (struct module_signs){
		.loaded = exists(root_fd, "sys/module/morsel"),
		.device = exists(root_fd, "dev/morsel"),
		.installed = look_for_module(root_fd, release),
	};
	ret_signs->secure_boot = read_some(root_fd, SECURE_BOOT, text, sizeof(text)) == 5 &&
				 text[4] == 1;
	/* "none [integrity] confidentiality" */
	ret_signs->lockdown =
		read_some(root_fd, "sys/kernel/security/lockdown", text, sizeof(text)) > 0 &&
		strchr(text, '[') && !strstr(text, "[none]");
}

bool module_is_chosen(const struct module_facts *facts)
{
	return facts->probe.state == MODULE_READY && facts->wish != STORAGE_NODE;
}

char *module_refusal(const struct module_facts *facts)
{
	const struct module_probe *p = &facts->probe;

	switch (p->state) {
	case MODULE_READY:
		return g_strdup("Storage=node in morseld.conf");
	case MODULE_NOT_LASTING:
		return g_strdup("the module's objects outlive morseld, which was started without"
				" --state-dir, or for a dry run, and would not know their names");
	case MODULE_ABSENT:
		return g_strdup("there is no /dev/morsel");
	case MODULE_CLOSED:
		return g_strdup_printf("/dev/morsel cannot be opened: %s", g_strerror(-p->error));
	case MODULE_OTHER:
		return g_strdup_printf("/dev/morsel is not the device of morsel.ko: %s",
				       g_strerror(-p->error));
	case MODULE_VERSION:
		if (p->version == 0)
			return g_strdup_printf("the module does not speak version %d of its"
					       " interface",
					       MORSEL_UAPI_VERSION);
		return g_strdup_printf("the module speaks version %u of its interface, morseld %d",
				       p->version, MORSEL_UAPI_VERSION);
	case MODULE_FAILED:
	case MODULE_STATE_MAX:
		break;
	}
	return g_strdup_printf("the module does not tell of its pools: %s", g_strerror(-p->error));
}

/* Of a module that is not loaded. */
static const char *how_to_load(const struct module_signs *s)
{
	if (s->installed == 0)
		return "install morsel-dkms, then: modprobe morsel && systemctl restart morseld";
	if (s->secure_boot || s->lockdown)
		return "enrol the key that DKMS signs modules with (mokutil --import"
		       " /var/lib/dkms/mok.pub, then a restart of the machine), then: modprobe morsel &&"
		       " systemctl restart morseld";
	return s->installed > 0
		       ? "modprobe morsel && systemctl restart morseld"
		       : "install morsel-dkms if it is not, then: modprobe morsel && systemctl"
			 " restart morseld";
}

static const char *next_step(const struct module_facts *f, const struct module_signs *s)
{
	switch (f->probe.state) {
	case MODULE_READY:
		return f->wish == STORAGE_NODE
			       ? "Storage=auto in morseld.conf, then: systemctl restart morseld"
			       : "";
	case MODULE_NOT_LASTING:
		return "--state-dir";
	case MODULE_ABSENT:
		/* It has come since. */
		return s->device ? "systemctl restart morseld" : how_to_load(s);
	case MODULE_CLOSED:
		/* The helper's unit was given its device nodes before there was this one. */
		return f->probe.error == -ENODEV
			       ? "systemctl stop morsel-helper.service && systemctl restart morseld"
			       : "systemctl enable --now morsel-helper.socket, which opens it, then:"
				 " systemctl restart morseld";
	case MODULE_VERSION:
		return "morsel and morsel-dkms of one version; a module that is in use stays until the"
		       " machine is started anew: morselctl list --storage module";
	case MODULE_OTHER:
	case MODULE_FAILED:
	case MODULE_STATE_MAX:
		break;
	}
	return "journalctl -k, for what the module says";
}

static void add_strays(GString *s, const struct module_facts *f)
{
	if (f->unreachable > 0)
		g_string_append_printf(s, "; %u morsels are the module's and out of reach",
				       f->unreachable);
	if (f->strays.left > 0)
		g_string_append_printf(s,
				       "; it has %u objects of this morseld that no morsel claims,"
				       " with %" PRIu64 " bytes",
				       f->strays.left, f->strays.left_bytes);
	if (f->strays.foreign > 0)
		g_string_append_printf(
			s,
			"; it has %u objects that are not this morseld's, with %" PRIu64
			" bytes, which are left alone",
			f->strays.foreign, f->strays.foreign_bytes);
}

void module_advise(const struct module_facts *f, const struct module_signs *s,
		   struct module_advice *ret_advice)
{
	GString *detail = g_string_new(NULL);

	ret_advice->chosen = module_is_chosen(f);
	ret_advice->usable = f->probe.state == MODULE_READY;
	if (ret_advice->chosen) {
		g_string_append_printf(detail,
				       "/dev/morsel speaks version %u; new morsels are the"
				       " module's%s",
				       f->probe.version,
				       f->probe.test_build ? "; it is a test build, not for use"
							   : "");
	} else {
		g_autofree char *why = module_refusal(f);

		g_string_append(detail, why);
		if (f->probe.state == MODULE_ABSENT && s->loaded && !s->device)
			g_string_append(detail, ", though morsel.ko is loaded");
		else if (f->probe.state == MODULE_ABSENT && s->device)
			g_string_append(detail, " as morseld was started");
		else if (f->probe.state == MODULE_ABSENT && s->installed == 0)
			g_string_append(detail, ": no morsel.ko is installed for this kernel");
		else if (f->probe.state == MODULE_ABSENT && s->installed > 0)
			g_string_append(detail, ": morsel.ko is installed, and not loaded");
		if (f->probe.state == MODULE_ABSENT && !s->loaded &&
		    (s->secure_boot || s->lockdown))
			g_string_append(
				detail,
				s->secure_boot
					? "; Secure Boot: the kernel loads signed modules only"
					: "; lockdown: the kernel loads signed modules only");
	}
	add_strays(detail, f);
	ret_advice->detail = g_string_free(detail, FALSE);
	ret_advice->advice = g_strdup(next_step(f, s));
}

void module_advice_done(struct module_advice *a)
{
	g_clear_pointer(&a->detail, g_free);
	g_clear_pointer(&a->advice, g_free);
}
