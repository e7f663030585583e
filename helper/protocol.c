// SPDX-License-Identifier: GPL-2.0-or-later
#include "protocol.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define MAGIC 0x6c73726du /* "mrsl" */
#define VERSION 1u

/* On the wire. */
struct header {
	uint32_t magic;
	uint16_t version;
	uint16_t verb; /* or a reply's kind */
	uint32_t size; /* of all of it */
	uint32_t requester;
};

struct open_packet {
	struct header header;
	char path[HELPER_PATH_MAX];
};

struct provision_packet {
	struct header header;
	uint64_t serial;
	uint64_t size;
	uint32_t flags;
	uint8_t select, mode, as, zone;
	char name[HELPER_NAME_MAX];
};

struct policy_packet {
	struct header header;
	uint64_t account;
	struct morsel_policy policy;
};

struct look_packet {
	struct header header;
	uint32_t window_ms, query, n, zero;
	struct {
		uint64_t start;
		uint32_t pid, zero;
	} process[HELPER_PROCESSES_MAX];
};

struct shift_packet {
	struct header header;
	uint32_t n, zero;
	struct {
		uint32_t granule, node;
	} shift[HELPER_SHIFTS_MAX];
};

struct reply_packet {
	struct header header;
	int32_t result;
	uint32_t step, total;
	int32_t node;
	char device[HELPER_NAME_MAX];
	char text[HELPER_TEXT_MAX];
};

static_assert(sizeof(struct header) == 16, "no padding");
static_assert(sizeof(struct open_packet) == 16 + HELPER_PATH_MAX, "no padding");
static_assert(sizeof(struct provision_packet) == 40 + HELPER_NAME_MAX, "no padding");
static_assert(sizeof(struct policy_packet) == 24 + 16 + 4 * MORSEL_POLICY_TIERS, "no padding");
static_assert(sizeof(struct look_packet) == 32 + 16 * HELPER_PROCESSES_MAX, "no padding");
static_assert(sizeof(struct shift_packet) == 24 + 8 * HELPER_SHIFTS_MAX, "no padding");
static_assert(sizeof(struct look_packet) <= HELPER_PACKET_MAX, "fits");
static_assert(sizeof(struct shift_packet) <= HELPER_PACKET_MAX, "fits");
static_assert(sizeof(struct reply_packet) == 32 + HELPER_NAME_MAX + HELPER_TEXT_MAX, "no padding");
static_assert(sizeof(struct reply_packet) <= HELPER_PACKET_MAX, "fits");

const char *helper_verb_to_string(enum helper_verb v)
{
	static const char *const names[HELPER_VERB_MAX] = { [HELPER_OPEN] = "open",
							    [HELPER_PROVISION] = "provision",
							    [HELPER_UNPROVISION] = "unprovision",
							    [HELPER_ATTACH] = "attach",
							    [HELPER_POLICY] = "policy",
							    [HELPER_DETACH] = "detach",
							    [HELPER_LOOK] = "look",
							    [HELPER_SHIFT] = "shift" };

	return v > 0 && v < HELPER_VERB_MAX ? names[v] : "?";
}

/* Terminated, and nothing but 0 behind the end. */
static bool text_ends(const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	for (size_t i = n; i < size; i++)
		if (text[i] != 0)
			return false;
	return n < size;
}

static bool printable(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

/* As much of text as fits, without half a character. */
static void put_text(char *to, size_t size, const char *text)
{
	size_t n = strnlen(text, size - 1);

	if (text[n] != 0)
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
	memcpy(to, text, n);
	memset(to + n, 0, size - n);
}

static int header_parse(const void *data, size_t len, struct header *ret_header)
{
	struct header h;

	if (len < sizeof(h))
		return -EPROTO;
	memcpy(&h, data, sizeof(h));
	if (h.magic != MAGIC)
		return -EPROTO;
	if (h.version != VERSION)
		return -EPROTONOSUPPORT;
	if (h.size != len)
		return -EPROTO;
	*ret_header = h;
	return 0;
}

static int open_parse(const void *data, size_t len, struct helper_request *request)
{
	struct open_packet p;

	if (len != sizeof(p))
		return -EPROTO;
	memcpy(&p, data, sizeof(p));
	if (!text_ends(p.path, sizeof(p.path)) || p.path[0] == 0 || !printable(p.path))
		return -EPROTO;
	memcpy(request->path, p.path, sizeof(p.path));
	return 0;
}

static bool name_valid(const char *name)
{
	for (const char *c = name; *c; c++)
		if ((*c < 'a' || *c > 'z') && (*c < '0' || *c > '9') && *c != '.')
			return false;
	return name[0] >= 'a' && name[0] <= 'z';
}

static int provision_parse(const void *data, size_t len, struct helper_request *request)
{
	struct provision_wish *w = &request->wish;
	struct provision_packet p;

	if (len != sizeof(p))
		return -EPROTO;
	memcpy(&p, data, sizeof(p));
	if (!text_ends(p.name, sizeof(p.name)) || p.flags & ~(uint32_t)PROVISION_FLAGS ||
	    p.mode >= MODE_MAX || p.as >= AS_MAX || p.zone >= ZONE_MAX)
		return -EPROTO;
	if (p.select == SELECT_SERIAL
		    ? p.name[0] != 0
		    : p.select != SELECT_NAME || p.serial != 0 || !name_valid(p.name))
		return -EPROTO;
	if (request->verb == HELPER_UNPROVISION && (p.as != 0 || p.zone != 0 || p.size != 0))
		return -EPROTO;
	w->select = (enum provision_select)p.select;
	w->serial = p.serial;
	memcpy(w->name, p.name, sizeof(p.name));
	w->mode = (enum provision_mode)p.mode;
	w->as = (enum provision_as)p.as;
	w->zone = (enum provision_zone)p.zone;
	w->size = p.size;
	w->flags = p.flags;
	return 0;
}

/* Of one form, like all that is a packet: what is behind count is 0. */
static bool policy_valid(const struct morsel_policy *p)
{
	uint32_t seen = 0, weights = 0;

	if (p->count > MORSEL_POLICY_TIERS || p->flags & ~MORSEL_POLICY_ONLY || p->pad != 0 ||
	    (p->count == 0 && p->flags != 0))
		return false;
	for (uint32_t i = 0; i < MORSEL_POLICY_TIERS; i++) {
		if (i >= p->count && (p->tier[i] != 0 || p->weight[i] != 0))
			return false;
		if (i >= p->count)
			continue;
		if (p->tier[i] >= MORSEL_POLICY_TIERS || seen & UINT32_C(1) << p->tier[i])
			return false;
		seen |= UINT32_C(1) << p->tier[i];
		weights += p->weight[i];
	}
	return weights == p->weights;
}

static int policy_parse(const void *data, size_t len, struct helper_request *request)
{
	struct policy_packet p;

	if (len != sizeof(p))
		return -EPROTO;
	memcpy(&p, data, sizeof(p));
	if (p.account == 0 || !policy_valid(&p.policy))
		return -EPROTO;
	request->account = p.account;
	request->policy = p.policy;
	return 0;
}

static int look_parse(const void *data, size_t len, struct helper_request *request)
{
	struct helper_look *look = &request->look;
	struct look_packet p;

	if (len != sizeof(p))
		return -EPROTO;
	memcpy(&p, data, sizeof(p));
	if (p.zero != 0 || p.n > HELPER_PROCESSES_MAX || p.window_ms < 100 ||
	    p.window_ms > 600000 || p.query > 65536)
		return -EPROTO;
	look->window_ms = p.window_ms;
	look->query = p.query;
	look->n = p.n;
	for (uint32_t i = 0; i < HELPER_PROCESSES_MAX; i++) {
		/* Neither the kernel's own, nor init. */
		bool used = p.process[i].pid > 1 && p.process[i].pid <= INT_MAX &&
			    p.process[i].start != 0;

		if (p.process[i].zero != 0 ||
		    (i < p.n ? !used : p.process[i].pid != 0 || p.process[i].start != 0))
			return -EPROTO;
		look->process[i].pid = p.process[i].pid;
		look->process[i].start = p.process[i].start;
	}
	return 0;
}

static int shift_parse(const void *data, size_t len, struct helper_request *request)
{
	struct shift_packet p;

	if (len != sizeof(p))
		return -EPROTO;
	memcpy(&p, data, sizeof(p));
	if (p.zero != 0 || p.n == 0 || p.n > HELPER_SHIFTS_MAX)
		return -EPROTO;
	request->n_shifts = p.n;
	for (uint32_t i = 0; i < HELPER_SHIFTS_MAX; i++) {
		if (i < p.n ? p.shift[i].granule >= HELPER_GRANULES ||
				      p.shift[i].node >= HELPER_NODES
			    : p.shift[i].granule != 0 || p.shift[i].node != 0)
			return -EPROTO;
		request->shift[i].granule = p.shift[i].granule;
		request->shift[i].node = p.shift[i].node;
	}
	return 0;
}

int helper_request_parse(const void *data, size_t len, struct helper_request *ret_request)
{
	struct helper_request request = {};
	struct header h;
	int r;

	r = header_parse(data, len, &h);
	if (r < 0)
		return r;
	request.verb = (enum helper_verb)h.verb;
	request.requester = h.requester;
	switch (h.verb) {
	case HELPER_OPEN:
		r = open_parse(data, len, &request);
		break;
	case HELPER_PROVISION:
	case HELPER_UNPROVISION:
		r = provision_parse(data, len, &request);
		break;
	case HELPER_POLICY:
		r = policy_parse(data, len, &request);
		break;
	case HELPER_ATTACH:
	case HELPER_DETACH:
		r = len == sizeof(h) ? 0 : -EPROTO;
		break;
	case HELPER_LOOK:
		r = look_parse(data, len, &request);
		break;
	case HELPER_SHIFT:
		r = shift_parse(data, len, &request);
		break;
	default:
		r = -EPROTO;
	}
	if (r == 0)
		*ret_request = request;
	return r;
}

static size_t provision_build(struct header h, const struct provision_wish *w, uint8_t *packet)
{
	struct provision_packet p = {
		.serial = w->serial,
		.size = w->size,
		.flags = w->flags,
		.select = (uint8_t)w->select,
		.mode = (uint8_t)w->mode,
		.as = (uint8_t)w->as,
		.zone = (uint8_t)w->zone,
	};

	h.size = sizeof(p);
	p.header = h;
	put_text(p.name, sizeof(p.name), w->name);
	memcpy(packet, &p, sizeof(p));
	return sizeof(p);
}

static size_t policy_build(struct header h, const struct helper_request *request, uint8_t *packet)
{
	struct policy_packet p = { .account = request->account, .policy = request->policy };

	h.size = sizeof(p);
	p.header = h;
	memcpy(packet, &p, sizeof(p));
	return sizeof(p);
}

static size_t look_build(struct header h, const struct helper_look *look, uint8_t *packet)
{
	struct look_packet p = { .window_ms = look->window_ms, .query = look->query, .n = look->n };

	h.size = sizeof(p);
	p.header = h;
	for (uint32_t i = 0; i < look->n && i < HELPER_PROCESSES_MAX; i++) {
		p.process[i].pid = look->process[i].pid;
		p.process[i].start = look->process[i].start;
	}
	memcpy(packet, &p, sizeof(p));
	return sizeof(p);
}

static size_t shift_build(struct header h, const struct helper_request *request, uint8_t *packet)
{
	struct shift_packet p = { .n = request->n_shifts };

	h.size = sizeof(p);
	p.header = h;
	for (uint32_t i = 0; i < request->n_shifts && i < HELPER_SHIFTS_MAX; i++) {
		p.shift[i].granule = request->shift[i].granule;
		p.shift[i].node = request->shift[i].node;
	}
	memcpy(packet, &p, sizeof(p));
	return sizeof(p);
}

size_t helper_request_build(const struct helper_request *request,
			    uint8_t packet[static HELPER_PACKET_MAX])
{
	struct header h = { .magic = MAGIC,
			    .version = VERSION,
			    .verb = (uint16_t)request->verb,
			    .requester = request->requester };
	struct open_packet p = {};

	if (request->verb == HELPER_POLICY)
		return policy_build(h, request, packet);
	if (request->verb == HELPER_ATTACH || request->verb == HELPER_DETACH) {
		h.size = sizeof(h);
		memcpy(packet, &h, sizeof(h));
		return sizeof(h);
	}
	if (request->verb == HELPER_LOOK)
		return look_build(h, &request->look, packet);
	if (request->verb == HELPER_SHIFT)
		return shift_build(h, request, packet);
	if (request->verb != HELPER_OPEN)
		return provision_build(h, &request->wish, packet);
	h.size = sizeof(p);
	p.header = h;
	put_text(p.path, sizeof(p.path), request->path);
	memcpy(packet, &p, sizeof(p));
	return sizeof(p);
}

int helper_reply_parse(const void *data, size_t len, struct helper_reply *ret_reply)
{
	struct helper_reply reply = {};
	struct reply_packet p;
	int r;

	r = header_parse(data, len, &p.header);
	if (r < 0)
		return r;
	if (len != sizeof(p))
		return -EPROTO;
	memcpy(&p, data, sizeof(p));
	if ((p.header.verb != HELPER_STEP && p.header.verb != HELPER_END) ||
	    p.header.requester != 0 || p.node < -1 || p.result > 0 || p.result < -4095 ||
	    !text_ends(p.device, sizeof(p.device)) || !printable(p.device) ||
	    !text_ends(p.text, sizeof(p.text)))
		return -EPROTO;
	reply.kind = (enum helper_reply_kind)p.header.verb;
	reply.result = p.result;
	reply.step = p.step;
	reply.total = p.total;
	reply.node = p.node;
	memcpy(reply.device, p.device, sizeof(p.device));
	memcpy(reply.text, p.text, sizeof(p.text));
	*ret_reply = reply;
	return 0;
}

size_t helper_reply_build(const struct helper_reply *reply,
			  uint8_t packet[static HELPER_PACKET_MAX])
{
	struct reply_packet p = {
		.header = { .magic = MAGIC,
			    .version = VERSION,
			    .verb = (uint16_t)reply->kind,
			    .size = sizeof(p) },
		.result = reply->result,
		.step = reply->step,
		.total = reply->total,
		.node = reply->node,
	};

	put_text(p.device, sizeof(p.device), reply->device);
	put_text(p.text, sizeof(p.text), reply->text);
	memcpy(packet, &p, sizeof(p));
	return sizeof(p);
}
