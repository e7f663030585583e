/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-id128.h>

/* For tables whose keys point to ids, which are random. */

static inline guint id_hash(gconstpointer p)
{
	return (guint)((const sd_id128_t *)p)->qwords[0];
}

static inline gboolean id_equal(gconstpointer a, gconstpointer b)
{
	return sd_id128_equal(*(const sd_id128_t *)a, *(const sd_id128_t *)b);
}
