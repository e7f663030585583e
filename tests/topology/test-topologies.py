#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pins what morseld and morselctl say of each fixture's tiers.

test-topologies.py MORSELD MORSELCTL FIXTURES EXPECTED [--update] [NAME...]

The daemon runs on the fixture instead of "/", the client asks it over its socket. Its answer
equals EXPECTED/NAME.json; --update writes that file instead: look at the difference before
committing it. TAP on standard output.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

DEADLINE_S = 30


def ask(morselctl, socket, *words):
    done = subprocess.run([morselctl, "--socket", socket, "--json", *words], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S)
    return done.returncode, done.stdout, done.stderr


def observe(morseld, morselctl, fixture):
    """What is pinned of one machine."""
    with tempfile.TemporaryDirectory(prefix="morsel-topology-") as directory:
        socket = f"{directory}/bus"
        with subprocess.Popen([morseld, f"--root={fixture}", "--address=none", f"--listen={socket}",
                               f"--config={directory}/none.conf", f"--state-dir={directory}/state"],
                              stderr=subprocess.PIPE, text=True) as daemon:
            try:
                end = time.monotonic() + DEADLINE_S
                status, tiers, error = ask(morselctl, socket, "tiers")
                # 3: not reachable, as yet.
                while status == 3 and daemon.poll() is None and time.monotonic() < end:
                    time.sleep(0.02)
                    status, tiers, error = ask(morselctl, socket, "tiers")
                if status != 0:
                    daemon.kill()
                    raise RuntimeError(f"morselctl tiers: {status}: {error}{daemon.stderr.read()}")
            finally:
                daemon.terminate()
                errors = daemon.stderr.read()
            if daemon.wait(DEADLINE_S) != 0:
                raise RuntimeError(f"morseld ended with {daemon.returncode}: {errors}")
    return json.loads(tiers)


def render(value):
    """JSON with each initiator on lines of its own, and short lists on one."""
    text = json.dumps(value, indent=1)
    text = re.sub(r"\[\s*([-\d,\s]*?)\s*\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
    return re.sub(r'\{\s*("node":[^{}]*?)\s*\}', lambda m: "{" + re.sub(r"\s+", " ", m[1]) + "}",
                  text) + "\n"


def check(name, observed, path, update):
    if update:
        with open(path, "w", encoding="utf-8") as f:
            f.write(render(observed))
        return []
    if not os.path.exists(path):
        return [f"{path} is missing: run with --update"]
    with open(path, encoding="utf-8") as f:
        expected = json.load(f)
    if observed == expected:
        return []
    lines = [f"{name}: not as pinned in {path}; - is pinned, + is seen"]
    old, new = render(expected).splitlines(), render(observed).splitlines()
    lines += ["-" + line for line in old if line not in new]
    lines += ["+" + line for line in new if line not in old]
    return lines


def main():
    update = "--update" in sys.argv
    words = [w for w in sys.argv[1:] if w != "--update"]
    if len(words) < 4:
        sys.exit(__doc__)
    morseld, morselctl, fixtures, expected = words[:4]
    names = words[4:] or sorted(os.listdir(fixtures))
    failed = 0
    print(f"1..{len(names) + 1}")
    for number, name in enumerate(names, 1):
        try:
            problems = check(name, observe(morseld, morselctl, f"{fixtures}/{name}"),
                             f"{expected}/{name}.json", update)
        except (RuntimeError, subprocess.TimeoutExpired, json.JSONDecodeError) as e:
            problems = [str(e)]
        for line in "\n".join(problems).splitlines():
            print("# " + line)
        print(f"{'not ' if problems else ''}ok {number} {name}", flush=True)
        failed += bool(problems)
    # A pinned file without its fixture would be a machine that nobody tests any more.
    stale = set() if words[4:] else {f[:-5] for f in os.listdir(expected)} - set(names)
    print(f"{'not ' if stale else ''}ok {len(names) + 1} nothing is pinned without a fixture")
    if stale:
        print(f"# {sorted(stale)}")
    return 1 if failed or stale else 0


if __name__ == "__main__":
    sys.exit(main())
