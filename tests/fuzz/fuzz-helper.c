/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets between morseld and morsel-helper: the only input that root's part takes. */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "fuzz.h"
#include "helper/protocol.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t packet[HELPER_PACKET_MAX];
	struct helper_request request;
	struct helper_reply reply;
	int r;

	r = helper_request_parse(data, size, &request);
	g_assert_true(r == 0 || r == -EPROTO || r == -EPROTONOSUPPORT);
	/* A request has one form: what was understood is written in the same bytes. */
	if (r == 0)
		g_assert_cmpmem(data, size, packet, helper_request_build(&request, packet));

	r = helper_reply_parse(data, size, &reply);
	g_assert_true(r == 0 || r == -EPROTO || r == -EPROTONOSUPPORT);
	if (r == 0) {
		g_assert_cmpuint(strlen(reply.text), <, sizeof(reply.text));
		g_assert_cmpmem(data, size, packet, helper_reply_build(&reply, packet));
	}
	return 0;
}
