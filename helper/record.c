// SPDX-License-Identifier: GPL-2.0-or-later
#include "record.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>

#include "replace.h"

#define FILE_NAME "regions"

static char *group_of(uint64_t serial, enum provision_mode mode)
{
	return g_strdup_printf("%#" PRIx64 " %s", serial, mode == MODE_PMEM ? "pmem" : "ram");
}

static int load(const char *dir, GKeyFile **ret_file)
{
	g_autofree char *path = g_build_filename(dir, FILE_NAME, NULL);
	g_autoptr(GKeyFile) file = g_key_file_new();
	g_autoptr(GError) error = NULL;

	if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error) &&
	    !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		return error->domain == G_KEY_FILE_ERROR ? -EBADMSG : -EIO;
	*ret_file = g_steal_pointer(&file);
	return 0;
}

static void take_string(GKeyFile *file, const char *group, const char *key, char *to, size_t size)
{
	g_autofree char *value = g_key_file_get_string(file, group, key, NULL);

	g_strlcpy(to, value ? value : "", size);
}

static void take_uuid(GKeyFile *file, const char *group, uint8_t uuid[static 16])
{
	g_autofree char *value = g_key_file_get_string(file, group, "uuid", NULL);

	memset(uuid, 0, 16);
	if (!value || strlen(value) != 32)
		return;
	for (unsigned int i = 0; i < 32; i++)
		if (g_ascii_xdigit_value(value[i]) < 0)
			return;
	for (unsigned int i = 0; i < 16; i++)
		uuid[i] = (uint8_t)(g_ascii_xdigit_value(value[2 * i]) << 4 |
				    g_ascii_xdigit_value(value[2 * i + 1]));
}

int record_read(const char *dir, uint64_t serial, enum provision_mode mode,
		struct record *ret_record)
{
	g_autofree char *group = group_of(serial, mode);
	g_autoptr(GKeyFile) file = NULL;
	struct record record = {};
	int r;

	r = load(dir, &file);
	if (r < 0)
		return r;
	if (!g_key_file_has_group(file, group))
		return -ENOENT;
	take_string(file, group, "region", record.region, sizeof(record.region));
	take_string(file, group, "boot", record.boot, sizeof(record.boot));
	record.inode = g_key_file_get_uint64(file, group, "inode", NULL);
	take_uuid(file, group, record.uuid);
	*ret_record = record;
	return 0;
}

int record_write(const char *dir, uint64_t serial, enum provision_mode mode,
		 const struct record *record)
{
	g_autofree char *group = group_of(serial, mode), *text = NULL;
	g_autoptr(GKeyFile) file = NULL;
	gsize length;
	int r;

	r = load(dir, &file);
	/* A damaged file says nothing of anybody: a new one begins. */
	if (r == -EBADMSG)
		file = g_key_file_new();
	else if (r < 0)
		return r;
	if (record) {
		char uuid[33] = "";

		for (unsigned int i = 0; i < 16; i++)
			g_snprintf(uuid + 2 * i, 3, "%02x", record->uuid[i]);
		g_key_file_set_string(file, group, "region", record->region);
		g_key_file_set_string(file, group, "boot", record->boot);
		g_key_file_set_uint64(file, group, "inode", record->inode);
		g_key_file_set_string(file, group, "uuid", uuid);
	} else if (!g_key_file_remove_group(file, group, NULL)) {
		return 0;
	}
	text = g_key_file_to_data(file, &length, NULL);
	return replace_file(dir, FILE_NAME, text, length, 0600);
}

void record_boot(char ret_boot[static 40])
{
	g_autofree char *text = NULL;

	g_strlcpy(ret_boot,
		  g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL)
			  ? g_strstrip(text)
			  : "",
		  40);
}

bool record_matches(const struct record *record, const struct record *now)
{
	static const uint8_t none[16];

	if (memcmp(record->uuid, none, 16) != 0)
		return memcmp(record->uuid, now->uuid, 16) == 0;
	return record->boot[0] && strcmp(record->boot, now->boot) == 0 && record->inode != 0 &&
	       record->inode == now->inode && strcmp(record->region, now->region) == 0;
}
