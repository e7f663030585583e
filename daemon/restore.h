/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

struct manager;

/*
 * At the start, with everything made and nobody served: what the registry's file names and the keeper has the
 * memory of is there again; what the keeper does not have is lost, which is said; what only the keeper has is
 * given back; moves that had not ended are reported. One log line on failure.
 */
int restore(struct manager *manager);
