/* SPDX-License-Identifier: GPL-2.0-only */
/* The project's version, as meson.build has it: tools/check-version compares. */
#ifndef MORSEL_KMOD_VERSION_H
#define MORSEL_KMOD_VERSION_H

#define MORSEL_VERSION "0.1.0"

#endif
