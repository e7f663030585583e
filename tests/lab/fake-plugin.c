/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TCG plugin that counts nothing: it writes the words it was given to the file named by out=… when
 * the emulator ends, which is what a counting plugin would do with its figures. The prototypes are those
 * of QEMU's plugin interface, version 4; its header is in no binary package.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*cb)(uint64_t, void *), void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

static char out[4096], word[4096];

static void at_exit(uint64_t id, void *data)
{
	FILE *f = fopen(out, "w");

	if (!f)
		return;
	fprintf(f, "%s\n", word);
	fclose(f);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info,
							       int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			snprintf(out, sizeof(out), "%s", argv[i] + 4);
		else
			snprintf(word, sizeof(word), "%s", argv[i]);
	}
	if (!out[0])
		return -1;
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
