#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-placement-figures.py PROGRAM: what tests/bench/placement-figures makes of counts that are known."""
import json
import os
import subprocess
import sys
import tempfile

TOLD = {"system": "morsel", "workload": "gups", "ratio": 8, "fast_mib": 2, "wall_s": 10, "pages": [], "fast_blocks": [0],
        "slow_blocks": [8], "vmstat": {}, "own": {"moved_bytes": 4 << 21}, "cpu_s": {"morseld": 0.1, "kswapd0": 0.2}, "system_s": 0.7}
# Two phases of 4 intervals; granule 1 is hot, then granule 2; half of its accesses are in one page.
COUNTS = """run 1536
interval 0 0:10 8:90
interval 1 0:20 8:80
moved 2 512 8 0
moved 2 0 0 8
interval 2 0:60 8:40
interval 3 0:80 8:20
granule 0 40
granule 1 180 90 90
phase 0
interval 4 0:10 8:90
interval 5 0:42 8:58
moved 6 512 0 8
interval 6 0:40 8:60
interval 7 0:40 8:60
granule 0 200
granule 2 100 100
phase 1
end
"""
NAME = "placement.gups.1to8.morsel."
EXPECTED = {
    "fast_share": 0.55,  # 0.7 and 0.4
    "oracle_share": 0.55 / ((0.9 + 0.5) / 2),
    "memory_time": (302 * 100 + 498 * 250) / 800,
    "moves": 2048,
    # From granule 0 to 1, from 1 to 0: two granules each time.
    "moves_to_needed": 2048 / (4 * 512),
    "pingpong": 1 / 3,
    "converge_accesses": 100,
    "cpu": 10,
    "daemon_cpu": 1,
}


def figures(program, counts, *told):
    with tempfile.TemporaryDirectory() as path:
        paths = [os.path.join(path, name) for name in ("counts", "runs")]
        for name, text in zip(paths, (counts, "".join(json.dumps(t) + "\n" for t in told))):
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        return subprocess.run([program, *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=False)


def main(program):
    done = figures(program, COUNTS, TOLD)
    if done.returncode != 0:
        sys.exit(done.stderr)
    found = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    for name, value in EXPECTED.items():
        if abs(found[NAME + name] - value) > 0.001 * max(1, value):
            sys.exit(f"{name}: {found[NAME + name]}, not {value}")
    # What it settles at is nothing to have come to.
    done = figures(program, COUNTS.replace("interval 6 0:40 8:60", "interval 6 0:4 8:96").replace("interval 7 0:40 8:60", "interval 7 0:4 8:96"), TOLD)
    if NAME + "converge_accesses 400\n" not in done.stdout:
        sys.exit(f"{done.stdout}{done.stderr}")
    # A peer's run of the same workload stands beside it.
    done = figures(program, COUNTS + COUNTS, TOLD, TOLD | {"system": "numab", "own": {}, "vmstat": {"pgmigrate_success": 7}})
    if NAME + "memory_time_to_numab 1.0000" not in done.stdout or "numab.moves 7\n" not in done.stdout:
        sys.exit(f"{done.stdout}{done.stderr}")
    for counts, told, says in ((COUNTS.replace("end\n", ""), [TOLD], "not complete"), (COUNTS, [TOLD, TOLD], "1 runs were counted"),
                               (COUNTS.replace("8:20", "9:20"), [TOLD], "of neither tier")):
        done = figures(program, counts, *told)
        if done.returncode == 0 or says not in done.stderr:
            sys.exit(f"'{says}' is not said: {done.returncode}: {done.stderr}")


main(sys.argv[1])
