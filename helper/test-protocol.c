// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "protocol.h"

/* Where fields lie in a packet. */
#define AT_VERSION 4
#define AT_VERB 6
#define AT_SIZE 8
#define AT_TEXT 16

static size_t build_open(uint8_t packet[static HELPER_PACKET_MAX])
{
	struct helper_request request = { .verb = HELPER_OPEN, .requester = 1000 };

	g_strlcpy(request.path, "sys/firmware/acpi/tables/SRAT", sizeof(request.path));
	return helper_request_build(&request, packet);
}

static void test_open(void)
{
	uint8_t packet[HELPER_PACKET_MAX], again[HELPER_PACKET_MAX];
	struct helper_request request;
	size_t len = build_open(packet);

	g_assert_cmpint(helper_request_parse(packet, len, &request), ==, 0);
	g_assert_cmpint(request.verb, ==, HELPER_OPEN);
	g_assert_cmpuint(request.requester, ==, 1000);
	g_assert_cmpstr(request.path, ==, "sys/firmware/acpi/tables/SRAT");
	g_assert_cmpmem(packet, len, again, helper_request_build(&request, again));
}

static void test_refused(void)
{
	static const struct {
		size_t at;
		uint8_t byte;
		int result;
	} changes[] = {
		{ 0, 'x', -EPROTO },
		{ AT_VERSION, 2, -EPROTONOSUPPORT },
		{ AT_VERB, 0, -EPROTO },
		{ AT_VERB, HELPER_VERB_MAX, -EPROTO },
		{ AT_VERB + 1, 1, -EPROTO },
		{ AT_SIZE, 1, -EPROTO },
		{ AT_SIZE + 3, 0xff, -EPROTO },
		{ AT_TEXT, 0, -EPROTO },
		{ AT_TEXT + 3, '\n', -EPROTO },
		{ AT_TEXT + 3, 0xc3, -EPROTO },
		/* Behind the text's end, and where the 0 byte must be. */
		{ AT_TEXT + 60, 1, -EPROTO },
		{ AT_TEXT + HELPER_PATH_MAX - 1, 1, -EPROTO },
	};
	uint8_t packet[HELPER_PACKET_MAX];
	struct helper_request request = { .requester = 7 };
	size_t len;

	for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
		len = build_open(packet);
		packet[changes[i].at] = changes[i].byte;
		g_assert_cmpint(helper_request_parse(packet, len, &request), ==, changes[i].result);
	}
	len = build_open(packet);
	memset(packet + AT_TEXT, 'x', HELPER_PATH_MAX);
	g_assert_cmpint(helper_request_parse(packet, len, &request), ==, -EPROTO);
	len = build_open(packet);
	for (size_t n = 0; n < len; n++)
		g_assert_cmpint(helper_request_parse(packet, n, &request), ==, -EPROTO);
	g_assert_cmpint(helper_request_parse(packet, len + 1, &request), ==, -EPROTO);
	/* Nothing is written on an error. */
	g_assert_cmpuint(request.requester, ==, 7);
}

static size_t build_provision(enum provision_select select,
			      uint8_t packet[static HELPER_PACKET_MAX])
{
	struct helper_request request = { .verb = HELPER_PROVISION, .requester = 1000 };
	struct provision_wish *w = &request.wish;

	w->select = select;
	if (select == SELECT_SERIAL)
		w->serial = 0xc0ffee01;
	else
		strcpy(w->name, "dax0.0");
	w->mode = MODE_PMEM;
	w->as = AS_SYSTEM_RAM;
	w->zone = ZONE_KERNEL;
	w->size = 1 << 28;
	w->flags = PROVISION_FORCE | PROVISION_PERSIST;
	return helper_request_build(&request, packet);
}

/* Where its fields lie. */
#define AT_SERIAL 16
#define AT_WISH_SIZE 24
#define AT_FLAGS 32
#define AT_SELECT 36
#define AT_MODE 37
#define AT_AS 38
#define AT_ZONE 39
#define AT_NAME 40

static void test_policy(void)
{
	static const struct morsel_policy bad[] = {
		{ .count = 17 },
		{ .count = 1, .tier = { 16 } },
		{ .count = 2, .tier = { 3, 3 } },
		{ .count = 1, .flags = 2 },
		{ .flags = MORSEL_POLICY_ONLY },
		{ .count = 1, .pad = 1 },
		{ .count = 1, .weights = 1 },
		{ .count = 2, .tier = { 0, 1 }, .weight = { 1, 2 }, .weights = 2 },
		{ .count = 1, .tier = { 0, 1 } },
		{ .count = 1, .weight = { 0, 1 }, .weights = 1 },
	};
	struct helper_request request = {
		.verb = HELPER_POLICY,
		.account = 7,
		.policy = { .count = 2, .tier = { 3, 0 }, .weight = { 2, 1 }, .weights = 3 },
	};
	uint8_t packet[HELPER_PACKET_MAX], again[HELPER_PACKET_MAX];
	struct helper_request got;
	size_t len = helper_request_build(&request, packet);

	g_assert_cmpint(helper_request_parse(packet, len, &got), ==, 0);
	g_assert_cmpuint(got.account, ==, 7);
	g_assert_cmpmem(&got.policy, sizeof(got.policy), &request.policy, sizeof(request.policy));
	g_assert_cmpmem(packet, len, again, helper_request_build(&got, again));
	for (size_t n = 0; n < len; n++)
		g_assert_cmpint(helper_request_parse(packet, n, &got), ==, -EPROTO);
	for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
		request.policy = bad[i];
		len = helper_request_build(&request, packet);
		if (helper_request_parse(packet, len, &got) != -EPROTO)
			g_error("bad policy %zu is taken", i);
	}
	request = (struct helper_request){ .verb = HELPER_POLICY };
	len = helper_request_build(&request, packet);
	g_assert_cmpint(helper_request_parse(packet, len, &got), ==, -EPROTO);
	request.verb = HELPER_ATTACH;
	len = helper_request_build(&request, packet);
	g_assert_cmpint(helper_request_parse(packet, len, &got), ==, 0);
	g_assert_cmpint(helper_request_parse(packet, len + 1, &got), ==, -EPROTO);
}

static void test_provision(void)
{
	static const struct {
		enum provision_select select;
		size_t at;
		uint8_t byte;
	} bad[] = {
		{ SELECT_SERIAL, AT_FLAGS, PROVISION_FLAGS + 1 },
		{ SELECT_SERIAL, AT_FLAGS + 3, 0x80 },
		{ SELECT_SERIAL, AT_SELECT, 0 },
		{ SELECT_SERIAL, AT_SELECT, SELECT_MAX },
		{ SELECT_SERIAL, AT_MODE, MODE_MAX },
		{ SELECT_SERIAL, AT_AS, AS_MAX },
		{ SELECT_SERIAL, AT_ZONE, ZONE_MAX },
		{ SELECT_SERIAL, AT_NAME, 'm' },
		{ SELECT_SERIAL, AT_NAME + 5, 'm' },
		{ SELECT_NAME, AT_SERIAL, 1 },
		{ SELECT_NAME, AT_NAME, 0 },
		{ SELECT_NAME, AT_NAME, '.' },
		{ SELECT_NAME, AT_NAME + 1, '/' },
		{ SELECT_NAME, AT_NAME + 10, 'x' },
		{ SELECT_NAME, AT_NAME + HELPER_NAME_MAX - 1, 'x' },
		/* As unprovision, it may not say how. */
		{ SELECT_SERIAL, AT_VERB, HELPER_UNPROVISION },
	};
	uint8_t packet[HELPER_PACKET_MAX], again[HELPER_PACKET_MAX];
	struct helper_request request;
	size_t len;

	for (int select = SELECT_SERIAL; select < SELECT_MAX; select++) {
		len = build_provision(select, packet);
		g_assert_cmpint(helper_request_parse(packet, len, &request), ==, 0);
		g_assert_cmpint(request.wish.select, ==, select);
		g_assert_cmpint(request.wish.zone, ==, ZONE_KERNEL);
		g_assert_cmpmem(packet, len, again, helper_request_build(&request, again));
		for (size_t n = 0; n < len; n++)
			g_assert_cmpint(helper_request_parse(packet, n, &request), ==, -EPROTO);
	}
	for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
		len = build_provision(bad[i].select, packet);
		packet[bad[i].at] = bad[i].byte;
		if (helper_request_parse(packet, len, &request) != -EPROTO)
			g_error("%zu: %u is taken", bad[i].at, bad[i].byte);
	}
	len = build_provision(SELECT_SERIAL, packet);
	packet[AT_VERB] = HELPER_UNPROVISION;
	packet[AT_AS] = packet[AT_ZONE] = 0;
	memset(packet + AT_WISH_SIZE, 0, 8);
	g_assert_cmpint(helper_request_parse(packet, len, &request), ==, 0);
	g_assert_cmpint(request.verb, ==, HELPER_UNPROVISION);
}

/* What of looks and shifts is no request: each field. */
static void test_ordinary(void)
{
	static const struct {
		size_t at;
		uint8_t byte;
		bool shift;
	} bad[] = {
		{ 16, 99, false },			 /* window */
		{ 22, 2, false },			 /* query */
		{ 24, HELPER_PROCESSES_MAX + 1, false }, /* n */
		{ 24, 1, false },			 /* two are there */
		{ 24, 3, false },			 /* no third one */
		{ 28, 1, false },
		{ 32, 0, false }, /* start */
		{ 40, 1, false }, /* pid 1 */
		{ 43, 0x80, false },
		{ 44, 1, false },
		{ 16, 0, true }, /* n */
		{ 16, HELPER_SHIFTS_MAX + 1, true },
		{ 16, 1, true },
		{ 20, 1, true },
		{ 26, 2, true }, /* granule */
		{ 29, 4, true }, /* node */
	};
	struct helper_request look = {
		.verb = HELPER_LOOK,
		.look = { .window_ms = 100, .n = 2, .process = { { 7, 300 }, { 8, 1 << 20 } } },
	};
	struct helper_request shift = { .verb = HELPER_SHIFT,
					.n_shifts = 2,
					.shift = { { 1, 2 }, { 3, 4 } } };
	uint8_t packet[HELPER_PACKET_MAX], again[HELPER_PACKET_MAX];
	struct helper_request request;
	size_t len;

	len = helper_request_build(&look, packet);
	g_assert_cmpint(helper_request_parse(packet, len, &request), ==, 0);
	g_assert_cmpuint(request.look.process[1].pid, ==, 1 << 20);
	g_assert_cmpmem(packet, len, again, helper_request_build(&request, again));
	len = helper_request_build(&shift, packet);
	g_assert_cmpint(helper_request_parse(packet, len, &request), ==, 0);
	g_assert_cmpuint(request.shift[1].node, ==, 4);
	g_assert_cmpmem(packet, len, again, helper_request_build(&request, again));
	for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
		len = helper_request_build(bad[i].shift ? &shift : &look, packet);
		if (bad[i].at == 40)
			packet[41] = 0;
		packet[bad[i].at] = bad[i].byte;
		if (helper_request_parse(packet, len, &request) != -EPROTO)
			g_error("%zu: %u is taken", bad[i].at, bad[i].byte);
	}
}

static void test_reply(void)
{
	uint8_t packet[HELPER_PACKET_MAX];
	struct helper_reply reply = { .kind = HELPER_END, .result = -EBUSY, .step = 3, .total = 7 };
	struct helper_reply back;
	size_t len;

	/* One byte too long, and the last character has two: it goes as a whole. */
	memset(reply.text, 'a', sizeof(reply.text));
	memcpy(reply.text + sizeof(reply.text) - 2, "é", 2);
	len = helper_reply_build(&reply, packet);
	g_assert_cmpint(helper_reply_parse(packet, len, &back), ==, 0);
	g_assert_cmpint(back.kind, ==, HELPER_END);
	g_assert_cmpint(back.result, ==, -EBUSY);
	g_assert_cmpuint(back.step, ==, 3);
	g_assert_cmpuint(back.total, ==, 7);
	g_assert_cmpuint(strlen(back.text), ==, sizeof(reply.text) - 2);
	g_assert_true(g_utf8_validate(back.text, -1, NULL));

	packet[AT_VERB] = 3;
	g_assert_cmpint(helper_reply_parse(packet, len, &back), ==, -EPROTO);
	packet[AT_VERB] = HELPER_STEP;
	packet[16] = 1; /* result: a positive number */
	packet[17] = packet[18] = packet[19] = 0;
	g_assert_cmpint(helper_reply_parse(packet, len, &back), ==, -EPROTO);
	g_assert_cmpint(helper_reply_parse(packet, len - 1, &back), ==, -EPROTO);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/protocol/open", test_open);
	g_test_add_func("/protocol/refused", test_refused);
	g_test_add_func("/protocol/policy", test_policy);
	g_test_add_func("/protocol/provision", test_provision);
	g_test_add_func("/protocol/ordinary", test_ordinary);
	g_test_add_func("/protocol/reply", test_reply);
	return g_test_run();
}
