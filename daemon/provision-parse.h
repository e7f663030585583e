/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "helper/protocol.h"

/* Words of D-Bus, command line and configuration for a wish; -EINVAL for any other. NULL: the default. */
int provision_parse_mode(const char *s, enum provision_mode *ret_mode);
int provision_parse_as(const char *s, enum provision_as *ret_as);
int provision_parse_zone(const char *s, enum provision_zone *ret_zone);
/* "serial:0x1234", "memdev:mem0", "mem0", "region0", "dax0.0", "node3" → select, serial and name. */
int provision_parse_memory(const char *s, struct provision_wish *w);
