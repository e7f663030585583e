/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cdat.h"

#include <errno.h>

#include "acpi-table.h"
#include "bytes.h"

#define HEADER_LEN 16u

enum {
	CDAT_DSMAS = 0,	 /* a range with its handle */
	CDAT_DSLBIS = 1, /* numbers of a handle */
};

int cdat_parse(const uint8_t *data, size_t len, GArray **ret_ranges)
{
	GArray *ranges;
	uint8_t handles[256];
	uint8_t sum = 0;

	if (len < HEADER_LEN || le32(data) < HEADER_LEN || le32(data) > len)
		return -EBADMSG;
	len = le32(data);
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + data[i]);
	if (sum != 0)
		return -EBADMSG;

	ranges = g_array_new(FALSE, FALSE, sizeof(struct cdat_range));
	/* DSMAS first, wherever it stands: the others refer to it. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t at = HEADER_LEN; len - at >= 4;) {
			const uint8_t *p = data + at;
			uint16_t n = le16(p + 2);

			if (n < 4 || n > len - at)
				break;
			at += n;
			if (n < 24)
				continue;
			if (pass == 0 && p[0] == CDAT_DSMAS && ranges->len < sizeof(handles)) {
				struct cdat_range r = { .start = le64(p + 8),
							.nonvolatile = p[5] & 4 };

				if (__builtin_add_overflow(r.start, le64(p + 16), &r.end))
					continue;
				handles[ranges->len] = p[4];
				g_array_append_val(ranges, r);
			} else if (pass == 1 && p[0] == CDAT_DSLBIS && (p[5] & 0xf) == 0) {
				/* The first of three entries is the memory's; caches have others. */
				uint32_t v = acpi_decode(le16(p + 16), le64(p + 8), p[6] < 3, 2);

				for (unsigned int i = 0; i < ranges->len; i++)
					if (handles[i] == p[4])
						acpi_put(&g_array_index(ranges, struct cdat_range,
									i)
								  .numbers,
							 p[6], v);
			}
		}
	*ret_ranges = ranges;
	return 0;
}
