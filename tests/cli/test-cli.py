#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every verb of morselctl against the running daemon: output, JSON and exit status.

Usage: test-cli.py MORSELD MORSELCTL FIXTURES [--update | TEST...]

--update writes what the tables of the fixtures look like to expected/: look at the difference.
"""
import fcntl
import glob
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon as harness  # noqa: E402

MORSELD, MORSELCTL, FIXTURES = sys.argv[1:4]
UPDATE = sys.argv[4:5] == ["--update"]
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20

INFO = {"id": str, "name": str, "owner": int, "owner_name": str, "group": int, "mode": int,
        "size_bytes": int, "allocated_bytes": int, "page_size_bytes": int, "page_backing": str,
        "storage": str, "scope": str, "durability": str, "account": str, "initiators": list,
        "prefer": list, "allow": list, "spread": dict, "created_usec": int}
TIER = {"name": str, "kind": str, "evidence": str, "evidence_detail": str, "state": str,
        "state_reason": str, "backing": str, "nodes": list, "device": str, "target_node": int,
        "capacity_bytes": int, "free_bytes": int, "memory_tier": int, "storage": str,
        "initiators": list, "warnings": list}
INITIATOR = {"node": int, "rank": int, "distance": int, "read_latency_ns": int,
             "write_latency_ns": int, "read_bandwidth_mbs": int, "write_bandwidth_mbs": int,
             "latency_source": str, "bandwidth_source": str}
RESIDENCY = {"offset_bytes": int, "length_bytes": int, "tiers": dict, "nodes": dict,
             "absent_bytes": int, "swapped_bytes": int, "huge_bytes": int, "sampled": bool,
             "looked_at_bytes": int}
RANGE = {"offset_bytes": int, "length_bytes": int, "tier": str, "nodes": dict,
         "present_bytes": int, "rule": str, "reason": str, "since_usec": int, "sampled": bool}
JOB = {"id": int, "kind": str, "state": str, "morsel": str, "morsel_name": str, "tier": str, "memory": str,
       "owner": int, "done_bytes": int, "total_bytes": int, "created_usec": int, "error": str,
       "result": dict}
MOVED = {"moved_bytes": int, "already_bytes": int, "absent_bytes": int, "failed_bytes": int,
         "failed_reasons": dict}
STATS = {"morsels": int, "morsel_bytes": int, "clients": int, "created": int, "destroyed": int,
         "opened": int, "jobs_running": int, "moved_bytes": int, "move_failed_bytes": int,
         "move_failed_reasons": dict, "placed_bytes": dict, "placed_usec": int, "warnings": list}
CAPABILITY = {"name": str, "status": str, "detail": str, "instead": str, "advice": str}
VERB = {"verb": str, "module": str, "node": str, "pool": str, "here": str}


class Base(unittest.TestCase):
    def setUp(self):
        self.daemon = harness.Daemon(MORSELD)
        self.addCleanup(self.daemon.close)

    def ctl(self, *arguments, status=0, **options):
        r = harness.run([MORSELCTL, *arguments], socket=self.daemon.socket, **options)
        self.assertEqual(r.status, status, f"{arguments}: {r.out}{r.err}")
        if status == 0:
            self.assertEqual(r.err, "")
        else:
            self.assertTrue(r.err.startswith("morselctl: "), r.err)
        return r

    def json(self, *arguments, status=0):
        """The same before and behind the verb."""
        r = self.ctl(*arguments, "--json", status=status)
        return r.json()

    def shape(self, value, keys):
        """Every key that the interface names, with its type; more may come."""
        self.assertIsInstance(value, dict)
        for key, kind in keys.items():
            self.assertIn(key, value)
            self.assertIs(type(value[key]), kind, f"{key}: {value[key]!r}")

    def a_tier(self):
        return next(t["name"] for t in self.json("tiers") if t["storage"] == "node")


class Tiers(Base):
    def test_json(self):
        tiers = self.json("tiers")
        self.assertIsInstance(tiers, list)
        self.assertTrue(tiers)
        for t in tiers:
            self.shape(t, TIER)
            for i in t["initiators"]:
                self.shape(i, INITIATOR)
            one = self.json("tier", "show", t["name"])
            self.assertEqual({k: v for k, v in one.items() if k != "free_bytes"},
                             {k: v for k, v in t.items() if k != "free_bytes"})

    def test_options_on_both_sides(self):
        for arguments in (["--json", "tiers"], ["tiers", "--json"],
                          ["--socket", self.daemon.socket, "--json", "tiers"],
                          ["tiers", "--socket=" + self.daemon.socket, "--json"]):
            self.assertIsInstance(self.ctl(*arguments).json(), list)

    def test_table(self):
        lines = self.ctl("tiers").out.splitlines()
        self.assertEqual(lines[0].split(), ["NAME", "KIND", "STATE", "CAPACITY", "FREE", "LATENCY",
                                            "BANDWIDTH", "FROM", "SOURCE", "EVIDENCE", "BACKING"])
        for line, tier in zip(lines[1:], self.json("tiers")):
            self.assertEqual(line.split()[:3], [tier["name"], tier["kind"], tier["state"]])
        self.assertIn("tier show", "\n".join(lines[-2:]))

    def test_show(self):
        name = self.a_tier()
        out = self.ctl("tier", "show", name).out
        self.assertRegex(out, rf"(?m)^Name: +{name}$")
        self.assertRegex(out, r"(?m)^Evidence: +\S")
        self.assertRegex(out, r"FROM NODE +RANK +DISTANCE")

    def test_unknown(self):
        r = self.ctl("tier", "show", "hbm99", status=4)
        self.assertIn("'hbm99'", r.err)
        self.ctl("tiers", "--from", "x", status=2)
        self.ctl("tiers", "--from", "-5", status=2)


class Tables(unittest.TestCase):
    """What people see of a few of the fixtures' machines."""
    maxDiff = None

    def check(self, fixture, name, *arguments):
        d = harness.Daemon(MORSELD, ["--root", os.path.join(FIXTURES, fixture)], config="")
        self.addCleanup(d.close)
        r = harness.run([MORSELCTL, *arguments], socket=d.socket)
        self.assertEqual((r.status, r.err), (0, ""))
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected", name + ".txt")
        if UPDATE:
            with open(path, "w") as f:
                f.write(r.out)
        with open(path) as f:
            self.assertEqual(r.out, f.read())

    def test_tiers(self):
        self.check("lab", "lab-tiers", "tiers")
        self.check("lab", "lab-tier-show", "tier", "show", "cxl0")
        self.check("two-sockets-cxl", "two-sockets-from-1", "tiers", "--from", "1")
        self.check("no-hmat", "no-hmat-tiers", "tiers")


class Morsels(Base):
    def test_life(self):
        tier = self.a_tier()
        made = self.json("create", "one", "--size", "4M", "--prefer", tier, "--mode", "0640",
                         "--page-size", "4K", "--populate", "--initiators", "0")
        self.shape(made, INFO)
        self.assertRegex(made["id"], r"^[0-9a-f]{32}$")
        self.assertEqual(made["size_bytes"], 4 * MIB)
        self.assertEqual(made["mode"], 0o640)
        self.assertEqual(made["owner"], os.getuid())
        self.assertEqual(made["prefer"], [tier])
        self.assertEqual(made["initiators"], [0])
        self.assertEqual(made["page_size_bytes"], 4096)
        self.assertLess(abs(made["created_usec"] / 1e6 - time.time()), 60)

        for handle in ("one", made["id"], f"{os.getuid()}:one"):
            shown = self.json("show", handle)
            self.shape(shown, INFO)
            self.shape(shown["residency"], RESIDENCY)
            self.assertEqual(shown["id"], made["id"])
        self.assertEqual(shown["allocated_bytes"], 4 * MIB)
        self.assertEqual(shown["residency"]["tiers"], {tier: 4 * MIB})
        self.assertEqual(shown["residency"]["absent_bytes"], 0)

        listed = self.json("list")
        self.assertEqual([m["id"] for m in listed], [made["id"]])
        self.shape(listed[0], INFO)
        gone = self.json("destroy", "one")
        self.assertEqual(gone, {"destroyed": ["one"], "failed": []})
        self.assertEqual(self.json("list"), [])

    def test_text(self):
        self.assertEqual(self.ctl("list").out.split(), ["NAME", "OWNER", "MODE", "SIZE", "ALLOCATED",
                                                        "PAGES", "CREATED", "POLICY"])
        out = self.ctl("create", "one", "--size", "1536K").out
        self.assertRegex(out, r"^Created one \([0-9a-f]{32}\), 1\.5 MiB\.\n$")
        header, row = self.ctl("list").out.splitlines()
        self.assertRegex(row, r"^one +\S+ +0600 +1\.5 MiB +0 +4 KiB")
        out = self.ctl("show", "one").out
        self.assertRegex(out, r"(?m)^Size: +1\.5 MiB$")
        self.assertRegex(out, r"(?m)^\(no page yet\) +1\.5 MiB +100\.0 %$")
        self.assertEqual(self.ctl("destroy", "one").out, "")

    def test_spread_and_allow(self):
        tier = self.a_tier()
        made = self.json("create", "one", "--size", "4M", "--spread", f"{tier}=3", "--allow", tier)
        self.assertEqual(made["spread"], {tier: 3})
        self.assertEqual(made["allow"], [tier])
        self.assertIn(f"spread {tier}=3, only on {tier}", self.ctl("list").out)

    def test_many(self):
        """More than a page of the daemon's list."""
        import concurrent.futures
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: self.ctl("create", f"m{i:04}", "--size", "4K"), range(60)))
        self.assertEqual(sorted(m["name"] for m in self.json("list")),
                         [f"m{i:04}" for i in range(60)])
        self.assertEqual(sorted(m["name"] for m in self.json("list", "--name", "m000?")),
                         [f"m{i:04}" for i in range(10)])
        self.assertEqual(self.json("list", "--owner", "4242"), [])
        self.assertEqual(len(self.json("list", "--owner", str(os.getuid()))), 60)
        self.assertEqual(len(self.json("list", "--storage", "node")), 60)

    def test_several_destroyed(self):
        self.ctl("create", "a", "--size", "4K")
        self.ctl("create", "b", "--size", "4K")
        r = self.ctl("--json", "destroy", "a", "none", "b", status=4)
        self.assertEqual(r.json()["destroyed"], ["a", "b"])
        self.assertEqual(r.json()["failed"][0]["morsel"], "none")
        self.assertIn("'none'", r.err)
        self.assertEqual(self.json("list"), [])

    def test_access(self):
        for name in ("a", "b"):
            self.ctl("create", name, "--size", "4K")
        self.assertEqual(self.json("chmod", "0640", "a", "b"), ["a", "b"])
        self.assertEqual(self.json("show", "b")["mode"], 0o640)
        self.ctl("chown", f":{os.getegid()}", "a")
        self.ctl("chown", f"{os.geteuid()}:{os.getegid()}", "a")
        self.assertEqual(self.json("show", "a")["group"], os.getegid())
        r = self.ctl("chmod", "0755", "a", status=1)
        self.assertIn("0666", r.err)
        r = self.ctl("chmod", "0600", "gone", "a", status=4)
        self.assertIn("'gone'", r.err)
        self.assertEqual(self.json("show", "a")["mode"], 0o600)
        for wrong in (("chmod", "rw", "a"), ("chmod", "0600"), ("chown", ":", "a"),
                      ("chown", "no-such-user", "a"), ("chown", ":no-such-group", "a")):
            self.ctl(*wrong, status=2)

    def test_quota(self):
        self.ctl("create", "a", "--size", "8M")
        user = self.json("quota")[0]
        self.shape(user, {"scope": str, "name": str, "bytes_used": int, "bytes_limit": int,
                          "morsels_used": int, "morsels_limit": int, "jobs_used": int,
                          "calls_used": int, "connections_used": int, "lingering_bytes": int})
        self.assertEqual((user["scope"], user["bytes_used"], user["morsels_used"]),
                         ("user", 8 * MIB, 1))
        self.assertEqual(self.json("quota", "--owner", str(os.getuid()))[0]["bytes_used"], 8 * MIB)
        self.assertRegex(self.ctl("quota").out, r"user +\S+ +8 MiB / .* 1 / 16384 ")
        self.assertRegex(self.ctl("quota").out, r"cgroup +/ +8 MiB / .* 1 / -")
        # Over it: which limit, how much of it is used, and how to raise it.
        with open(self.daemon.config, "w", encoding="utf-8") as f:
            f.write("[quota]\nBytesPerUser=10M\n")
        os.kill(self.daemon.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 20
        while self.json("quota")[0]["bytes_limit"] != 10 * MIB:
            self.assertLess(time.monotonic(), deadline)
        r = self.ctl("create", "b", "--size", "4M", status=1)
        for words in ("'b' of 4194304 bytes", "has 8388608 bytes", "10485760", "BytesPerUser="):
            self.assertIn(words, r.err)

    def test_policy(self):
        tier = self.a_tier()
        self.assertEqual(self.json("policy", "list"), [])
        out = self.ctl("policy", "set", "x.slice", f"Max.{tier}=64M", f"Prefer={tier}").out
        self.assertIn("Note: cgroup /x.slice: Max is advisory", out)
        self.assertEqual(self.json("policy", "list"),
                         [{"cgroup": "/x.slice", "pattern": False, "exists": self.json("policy", "show", "/x.slice")["exists"],
                           "settings": {f"Max.{tier}": "64M", "Prefer": tier}}])
        self.assertRegex(self.ctl("policy", "list").out, rf"/x\.slice +\w+ +.*Max\.{tier}=64M")
        shown = self.json("policy", "show", "/sys/fs/cgroup/x.slice/y/")
        self.shape(shown, {"cgroup": str, "exists": bool, "own": list, "effective": list, "enforced": bool,
                           "tiers_used": dict, "warnings": list, "ordinary_bytes": dict, "ordinary_processes": int,
                           "ordinary_moved_up": int, "ordinary_moved_down": int, "ordinary_usec": int})
        self.assertEqual((shown["cgroup"], shown["own"]), ("/x.slice/y", []))
        limit = next(s for s in shown["effective"] if s["key"] == f"Max.{tier}")
        self.shape(limit, {"key": str, "value": str, "bytes": int, "from": str, "origin": str, "lasting": bool})
        self.assertEqual((limit["bytes"], limit["from"], limit["lasting"]), (64 * MIB, "/x.slice", True))
        self.assertTrue(os.path.exists(limit["origin"].rsplit(":", 1)[0]))
        self.assertRegex(self.ctl("policy", "show", "/x.slice").out, rf"Max\.{tier} +64 MiB +/x\.slice +/")
        result = self.json("policy", "set", "/x.slice", "Weight=7", "--runtime")
        self.assertEqual(result["cgroup"], "/x.slice")
        self.assertIn("(until the next boot)", self.ctl("policy", "show", "/x.slice").out)
        self.ctl("policy", "unset", "/x.slice", "Weight", "--runtime")
        r = self.ctl("policy", "unset", "/x.slice", "Weight", status=4)
        self.assertIn("/x.slice has no Weight", r.err)
        self.ctl("policy", "unset", "/x.slice")
        self.assertEqual(self.json("policy", "list"), [])
        for status, *wrong in ((2, "set", "/x"), (2, "set", "/x", "Weight"), (2, "set", "/x", "=1"), (2, "show"),
                               (1, "set", "/x", "Weight=0"), (1, "set", "/x", "Max.=1M"), (1, "set", "/x//y", "Weight=1"),
                               (1, "set", "/x", f"Max.{tier}=1M", f"Low.{tier}=2M"), (4, "set", "/x", "Prefer=nosuch"),
                               (4, "unset", "/x")):
            self.ctl("policy", *wrong, status=status)

    def test_hostile_names(self):
        """What a name may contain must not reach the terminal."""
        self.ctl("create", "a\u202eb\\x", "--size", "4K")
        self.ctl("create", "ünï", "--size", "4K")
        out = self.ctl("list").out
        self.assertIn("a\\u{202e}b\\x", out)
        self.assertNotIn("\u202e", out)
        self.assertIn("ünï", out)
        self.assertEqual({m["name"] for m in self.json("list")}, {"a\u202eb\\x", "ünï"})
        # A terminal that may not know them.
        out = self.ctl("list", environment={"LC_ALL": "C"}).out
        self.assertTrue(out.isascii())
        self.assertIn("\\u{fc}n\\u{ef}", out)
        r = self.ctl("create", "e\x1b[31m\nsecond", "--size", "4K", status=1)
        self.assertNotIn("\x1b", r.err)
        self.assertEqual(r.err.count("\n"), 1)

    def test_bad_input(self):
        for status, arguments in (
                (2, ["create"]), (2, ["create", "x"]), (2, ["create", "x", "--size"]),
                (2, ["create", "x", "y", "--size", "4K"]), (2, ["create", "x", "--size", "12Q"]),
                (2, ["create", "x", "--size", "1.5G"]), (2, ["create", "x", "--size", "-1"]),
                (2, ["create", "x", "--size", ""]), (2, ["create", "x", "--size", "99999999999T"]),
                (2, ["create", "x", "--size", "4K", "--mode", "8"]),
                (2, ["create", "x", "--size", "4K", "--group", "no such group"]),
                (2, ["create", "x", "--size", "4K", "--spread", "dram0"]),
                (2, ["create", "x", "--size", "4K", "--initiators", "a"]),
                (2, ["create", "x", "--size", "4K", "--nonsense"]),
                (2, ["create", b"\xff\xfe", "--size", "4K"]),
                (1, ["create", "x", "--size", "0"]), (1, ["create", "x", "--size", "4097"]),
                (1, ["create", "x", "--size", "4000T"]), (1, ["create", "", "--size", "4K"]),
                (1, ["create", "a/b", "--size", "4K"]), (1, ["create", "..", "--size", "4K"]),
                (1, ["create", "n" * 4096, "--size", "4K"]), (1, ["create", "ä" * 128, "--size", "4K"]),
                (1, ["create", "0" * 32, "--size", "4K"]),
                (1, ["create", "x", "--size", "4K", "--page-size", "8K"]),
                (1, ["create", "x", "--size", "4K", "--mode", "0777"]),
                (4, ["create", "x", "--size", "4K", "--prefer", "hbm99"]),
                (4, ["create", "x", "--size", "4K", "--spread", "hbm99=1"]),
                (4, ["show", "x"]), (4, ["destroy", "x"]), (4, ["explain", "x"]),
                (4, ["show", "0" * 32]), (2, ["show"]), (2, ["show", "a", "b"]), (2, ["destroy"]),
                (2, ["list", "x"]), (2, ["list", "--owner", "no such user"])):
            with self.subTest(arguments=arguments):
                r = self.ctl(*arguments, status=status)
                self.assertEqual(r.out, "")
                if status == 2:
                    self.assertIn("\nTry: morselctl ", r.err)
        self.ctl("create", "x", "--size", "4K")
        self.assertIn("'x'", self.ctl("create", "x", "--size", "4K", status=1).err)
        self.assertEqual([m["name"] for m in self.json("list")], ["x"])


class Placement(Base):
    def test_explain(self):
        tier = self.a_tier()
        self.ctl("create", "one", "--size", "4M", "--prefer", tier)
        ranges = self.json("explain", "one", "--exact")
        for r in ranges:
            self.shape(r, RANGE)
        self.assertEqual(sum(r["length_bytes"] for r in ranges), 4 * MIB)
        self.assertEqual(ranges[0]["present_bytes"], 0)
        self.assertIn(tier, ranges[0]["rule"])
        ranges = self.json("explain", "one", "--range", "1M:3M")
        self.assertEqual(ranges[0]["offset_bytes"], MIB)
        self.assertEqual(sum(r["length_bytes"] for r in ranges), 2 * MIB)
        for text, offset, length in (("1M:", MIB, 3 * MIB), (":1M", 0, MIB), ("2M+4K", 2 * MIB, 4096)):
            ranges = self.json("explain", "one", "--range", text)
            self.assertEqual(ranges[0]["offset_bytes"], offset)
            self.assertEqual(sum(r["length_bytes"] for r in ranges), length)
        self.assertRegex(self.ctl("explain", "one").out,
                         r"^ *OFFSET +LENGTH +TIER +PRESENT +NODES +RULE +SINCE +REASON\n")

    def test_move(self):
        tier = self.a_tier()
        made = self.json("create", "one", "--size", "8M", "--populate")
        job = self.json("move", "one", "--to", tier)
        self.shape(job, JOB)
        self.shape(job["result"], MOVED)
        self.assertEqual(job["state"], "done")
        self.assertEqual(job["morsel"], made["id"])
        self.assertEqual(job["tier"], tier)
        result = job["result"]
        self.assertEqual(sum(v for k, v in result.items() if k.endswith("_bytes")), 8 * MIB)
        self.assertEqual(result["failed_bytes"], 0)

        job = self.json("move", "one", "--to", tier, "--range", "1M:3M", "--dry-run")
        self.assertEqual(sum(v for k, v in job["result"].items() if k.endswith("_bytes")), 2 * MIB)
        out = self.ctl("move", "one", "--to", tier).out
        self.assertRegex(out, rf"^one to {tier}: .* moved, .* already there, .* without a page, 0 not moved")
        self.assertEqual(out.count("\n"), 1)

        self.shape(self.json("move", "one", "--to", tier, "--no-wait"), JOB)
        self.assertRegex(self.ctl("move", "one", "--to", tier, "--no-wait").out, r"^Job \d+ runs")
        jobs = self.json("jobs")
        self.assertEqual(len(jobs), 5)
        for j in jobs:
            self.shape(j, JOB)
        self.assertRegex(self.ctl("jobs").out, r"^ *ID +KIND +STATE +MORSEL +TIER")

    def test_bad_moves(self):
        tier = self.a_tier()
        self.ctl("create", "one", "--size", "4M")
        for status, arguments in (
                (2, ["move", "one"]), (2, ["move"]), (2, ["move", "one", "--to", tier, "--range", "5"]),
                (2, ["move", "one", "--to", tier, "--range", "2M:1M"]),
                (2, ["move", "one", "--to", tier, "--range", ":"]),
                (2, ["move", "one", "--to", tier, "--range", "1M+"]),
                (2, ["move", "one", "--to", tier, "--range", "1M:2M:3M"]),
                (1, ["move", "one", "--to", tier, "--range", "1:5"]),
                (1, ["move", "one", "--to", tier, "--range", "0:5M"]),
                (1, ["move", "one", "--to", tier, "--range", "4M:"]),
                (4, ["move", "one", "--to", "hbm99"]), (4, ["move", "two", "--to", tier]),
                (4, ["jobs", "--cancel", "4242"]), (2, ["jobs", "--cancel", "x"])):
            with self.subTest(arguments=arguments):
                self.ctl(*arguments, status=status)
        self.assertEqual(self.json("jobs"), [])


class Service(Base):
    def test_stats(self):
        self.ctl("create", "one", "--size", "4M", "--populate")
        self.ctl("create", "two", "--size", "4M")
        self.ctl("destroy", "two")
        stats = self.json("stats")
        self.shape(stats, STATS)
        self.assertEqual((stats["morsels"], stats["created"], stats["destroyed"]), (1, 2, 1))
        self.assertEqual(stats["morsel_bytes"], 4 * MIB)
        self.assertRegex(self.ctl("stats").out, r"(?m)^Morsels: +1$")
        self.ctl("stats", "--watch", "--interval", "0", status=2)

    def test_stats_watch(self):
        env = {**os.environ, "MORSEL_SOCKET": self.daemon.socket, "LC_ALL": "C.UTF-8"}
        for arguments in (["--json"], []):
            with subprocess.Popen([MORSELCTL, "stats", "--watch", *arguments], env=env,
                                  stdout=subprocess.PIPE, text=True) as p:
                lines = [p.stdout.readline() for _ in range(2)]
                p.send_signal(signal.SIGINT)
            if arguments:
                for line in lines:
                    self.shape(json.loads(line), STATS)
            else:
                self.assertEqual(lines[0].split()[:3], ["TIME", "MORSELS", "SIZE"])
                self.assertRegex(lines[1], r"^\d\d:\d\d:\d\d +0 +0 +0/s +0/s +0 +0/s +0/s")

    def test_top(self):
        self.json("create", "a", "--size", "4M")
        frames = [json.loads(line) for line in self.ctl("--json", "top", "--count", "2", "-i", "1").out.splitlines()]
        self.assertEqual(len(frames), 2)
        self.shape(frames[0]["stats"], STATS)
        self.assertEqual(frames[0]["placement"]["active"], False)
        out = self.ctl("top", "-n", "1").out
        self.assertRegex(out, r"(?m)^morsel [0-9:]{8}  1 morsels, 4 MiB; moved 0")
        self.assertRegex(out, r"(?m)^TIER +KIND +STATE +CAPACITY +FREE +WATCHED +ACCESSES/S +LATENCY$")
        for words in (("-i", "0"), ("-n", "-1"), ("x",)):
            self.ctl("top", *words, status=2)

    def test_top_terminal(self):
        """The other screen, no line wider than the terminal, and all as it was after q."""
        process, terminal = pty.fork()
        if process == 0:
            os.environ["MORSEL_SOCKET"] = self.daemon.socket
            os.execv(MORSELCTL, ["morselctl", "top", "-i", "1"])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 40, 0, 0))
        before = termios.tcgetattr(terminal)
        out = b""
        # Two frames: the second one has seen the size.
        while out.count(b"\033[J") < 2:
            out += os.read(terminal, 4096)
        os.write(terminal, b"q")
        while b"\033[?1049l" not in out:
            out += os.read(terminal, 4096)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), 0)
        self.assertEqual(termios.tcgetattr(terminal), before)
        os.close(terminal)
        self.assertTrue(out.startswith(b"\033[?1049h\033[?25l"))
        frame = out.decode().split("\033[J")[1]
        lines = frame.replace("\033[H", "").replace("\033[K", "").replace("\r", "").split("\n")
        self.assertLessEqual(len(lines), 5)
        self.assertTrue(all(len(line) <= 40 for line in lines), lines)

    def test_explain_cgroup(self):
        out = self.ctl("explain", "/x.slice").out
        self.assertRegex(out, r"(?m)^Cgroup:  /x.slice")
        self.assertIn("Nothing is moved by itself", out)
        both = self.json("explain", "/x.slice")
        self.assertEqual((both["policy"]["cgroup"], both["placement"]["morsels"]), ("/x.slice", []))
        self.ctl("explain", "/x.slice", "--exact", status=2)
        self.ctl("explain", "/x/../y", status=1)

    def test_doctor(self):
        doctor = self.json("doctor")
        self.assertEqual(sorted(doctor), ["capabilities", "verbs"])
        self.assertTrue(doctor["capabilities"])
        self.assertTrue(doctor["verbs"])
        for c in doctor["capabilities"]:
            self.shape(c, CAPABILITY)
            self.assertIn(c["status"], ("ok", "degraded", "missing"))
        for v in doctor["verbs"]:
            self.shape(v, VERB)
        out = self.ctl("doctor").out
        self.assertRegex(out, r"^CAPABILITY +STATUS +DETAIL\n")
        for c in doctor["capabilities"]:
            self.assertRegex(out, rf"(?m)^{re.escape(c['name'])} +{c['status']}")
        self.assertRegex(out, r"(?m)^WHAT +MODULE +NODE +POOL +HERE$")


class Usage(unittest.TestCase):
    def ctl(self, *arguments, socket=None, status=0, **options):
        r = harness.run([MORSELCTL, *arguments], socket=socket, **options)
        self.assertEqual(r.status, status, f"{arguments}: {r.out}{r.err}")
        return r

    def test_help(self):
        top = self.ctl("help").out
        self.assertEqual(top, self.ctl("--help").out)
        self.assertEqual(top, self.ctl("-h").out)
        verbs = re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)(?: [A-Z][A-Z=|\[\]… ]*(?:--[a-z]+ [A-Z]+)?)?  ", top)
        verbs = [v for v in verbs if v != "help"]
        for verb in ("tiers", "tier show", "list", "create", "show", "move", "jobs", "destroy",
                     "policy list", "policy set", "policy unset", "stats", "top", "explain", "doctor"):
            self.assertIn(verb, verbs)
        for verb in verbs:
            text = self.ctl(*verb.split(), "--help").out
            self.assertIn("--json", text)
            self.assertIn(f"morselctl {verb} [OPTION…]", text)
            self.assertEqual(text, self.ctl("help", *verb.split()).out)
        self.assertRegex(self.ctl("--version").out, r"^morselctl \d+\.\d+\.\d+\n$")

    def test_usage_errors(self):
        for arguments in ([], ["nonsense"], ["tier"], ["tier", "nonsense"], ["--nonsense", "tiers"],
                          ["help", "nonsense"], ["tiers", "--system", "--socket", "/x"]):
            r = self.ctl(*arguments, status=2)
            self.assertEqual(r.out, "")
            self.assertIn("morselctl", r.err)

    def test_not_reachable(self):
        with_nobody = "/nonexistent/morsel/bus"
        for arguments in (["tiers"], ["--json", "list"], ["create", "x", "--size", "4K"], ["doctor"]):
            r = self.ctl(*arguments, socket=with_nobody, status=3)
            self.assertEqual(r.out, "")
            self.assertIn(with_nobody, r.err)
            self.assertIn("systemctl start morseld", r.err)
        r = self.ctl("tiers", "--system", status=3,
                     environment={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"})
        self.assertIn("system bus", r.err)
        r = self.ctl("tiers", "--socket", "/" + "x" * 200, status=3)
        self.assertIn("xxx", r.err)

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            p = subprocess.run([MORSELCTL, "help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(p.returncode, 1)
        self.assertIn("writing the output failed", p.stderr)


class Completion(Base):
    def complete(self, *words):
        script = f"""
            source {SOURCE}/packaging/completions/morselctl
            PATH={os.path.dirname(os.path.abspath(MORSELCTL))}:$PATH
            COMP_WORDS=("$@")
            COMP_CWORD=$(($# - 1))
            _morselctl
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        r = harness.run(["bash", "-c", script, "bash", *words], socket=self.daemon.socket)
        self.assertEqual((r.status, r.err), (0, ""))
        return r.out.split()

    def test_completion(self):
        tier = self.a_tier()
        self.ctl("create", "weights", "--size", "4K")
        self.ctl("create", "with space", "--size", "4K")
        verbs = self.complete("morselctl", "")
        for verb in ("tiers", "tier", "list", "create", "destroy", "doctor", "help"):
            self.assertIn(verb, verbs)
        self.assertEqual(self.complete("morselctl", "--json", "doc"), ["doctor"])
        self.assertEqual(sorted(self.complete("morselctl", "tier", "")), ["provision", "show", "unprovision"])
        self.assertIn(tier, self.complete("morselctl", "tier", "show", ""))
        self.ctl("policy", "set", "/some.slice", "Weight=1")
        self.assertEqual(sorted(self.complete("morselctl", "policy", "")), ["list", "set", "show", "unset"])
        self.assertIn("/some.slice", self.complete("morselctl", "policy", "set", ""))
        self.assertIn(f"Max.{tier}", self.complete("morselctl", "policy", "set", "/some.slice", ""))
        self.assertEqual(self.complete("morselctl", "policy", "set", "--run"), ["--runtime"])
        self.assertEqual(self.complete("morselctl", "show", "w"), ["weights"])
        self.assertEqual(self.complete("morselctl", "move", "weights", "--to", tier[:-1]), [tier])
        self.assertEqual(self.complete("morselctl", "move", "weights", "--to", "=", tier), [tier])
        self.assertEqual(self.complete("morselctl", "move", "--dr"), ["--dry-run"])
        self.assertEqual(self.complete("morselctl", "tier", "show", "--js"), ["--json"])
        self.assertEqual(self.complete("morselctl", "--socket", "/nonexistent", "show", ""), [])
        self.assertEqual(self.complete("morselctl", "--socket", "=", self.daemon.socket, "show", "w"),
                         ["weights"])


class ManPages(unittest.TestCase):
    def read(self, name):
        with open(os.path.join(SOURCE, "docs", name)) as f:
            return f.read()

    def test_morselctl(self):
        """Every verb and option is in the page, and nothing else."""
        page = self.read("morselctl.1")
        documented = set(re.findall(r"(?<![A-Za-z])Fl -([a-z][a-z-]*)", page))
        options = set()
        top = harness.run([MORSELCTL, "help"]).out
        for verb in re.findall(r"(?m)^  ([a-z]+(?: (?:list|show|set|unset|provision|unprovision))?)(?= )", top):
            if verb == "help":
                continue
            self.assertRegex(page, rf"(?m)^\.Ss {verb}( |$)")
            text = harness.run([MORSELCTL, "help", *verb.split()]).out
            options |= set(re.findall(r"--([a-z][a-z-]*)", text.split("Help Options")[1]))
        self.assertEqual(documented, options | {"version"})

    def test_libmorsel(self):
        page = self.read("libmorsel.3")
        with open(os.path.join(SOURCE, "libclient", "libmorsel.sym")) as f:
            functions = re.findall(r"(?m)^\t(morsel_\w+);", f.read())
        self.assertGreater(len(functions), 10)
        for function in functions:
            self.assertRegex(page, rf"(?m)^\.Nm {function}( ,)?$")
            self.assertRegex(page, rf"(?m)^\.F[no] {function}( |$)")
        with open(os.path.join(SOURCE, "libclient", "morsel.h")) as f:
            header = f.read()
        struct = re.search(r"struct morsel_options \{(.*?)\n\}", header, re.S)[1]
        fields = re.findall(r"(?m)^\t[^/;]*?(\w+);", struct)
        self.assertIn("initiators", fields)
        for field in fields:
            self.assertIn(f"{field};", page)

    def test_morseld(self):
        """Every option is in the page, and nothing else."""
        documented = set(re.findall(r"(?<![A-Za-z])Fl -([a-z][a-z-]*)", self.read("morseld.8")))
        text = harness.run([MORSELD, "--help"]).out
        self.assertEqual(documented, set(re.findall(r"--([a-z][a-z-]*)", text)))

    def test_morseld_conf(self):
        """The page has the sections and keys of the example, which the parser's own test reads; and no others."""
        page = self.read("morseld.conf.5")
        with open(os.path.join(SOURCE, "packaging", "morseld.conf")) as f:
            example = f.read()
        sections = re.findall(r"(?m)^#?\[(\w+)(?: \S+)?\]$", example)
        self.assertEqual(set(re.findall(r"(?m)^\.Ss \[(\w+)", page)), set(sections))
        keys = {key.split(".")[0] for key in re.findall(r"(?m)^#([A-Z]\w+(?:\.\w+)?)=", example)}
        # "Device" has no line of its own there.
        self.assertEqual(set(re.findall(r"(?m)^\.It Cm ([A-Z]\w+)", page)), keys | {"Device"})

    def test_policy(self):
        """Every key is in the page, and nothing else."""
        page = self.read("morsel.policy.5")
        text = harness.run([MORSELCTL, "help", "policy", "set"]).out
        keys = set(re.findall(r"[A-Z][a-zA-Z]+", text.split("Keys: ")[1].split(":")[0])) - {"TIER"}
        self.assertEqual(set(re.findall(r"(?m)^\.It Cm ([A-Z]\w+)", page)), keys)
        with open(os.path.join(SOURCE, "daemon", "policy.c")) as f:
            known = re.search(r"policy_known_keys\[\] = (.*?);", f.read(), re.S)[1]
        self.assertEqual(set(re.findall(r"[A-Z][a-zA-Z]+", known)) - {"TIER"}, keys)

    def test_formatting(self):
        if not shutil.which("groff"):
            self.skipTest("groff is not installed")
        pages = glob.glob(os.path.join(SOURCE, "docs", "*.[1-8]"))
        self.assertGreaterEqual(len(pages), 4)
        for page in pages:
            r = harness.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", page])
            self.assertEqual((r.status, r.err), (0, ""))


class Terminal(Base):
    def on_terminal(self, *arguments, columns=140):
        """Run with stdout and stderr on a terminal; returns (status, output)."""
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(MORSEL_SOCKET=self.daemon.socket, LC_ALL="C.UTF-8",
                              COLUMNS=str(columns), TERM="xterm")
            os.execv(MORSELCTL, [MORSELCTL, *arguments])
        out = b""
        while select.select([fd], [], [], 60)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            out += data
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out.decode()

    def test_wrapping(self):
        """The last column wraps on a terminal and is whole in a pipe."""
        self.ctl("create", "one", "--size", "4M")
        self.ctl("create", "two", "--size", "4M")
        piped = self.ctl("explain", "one", environment={"COLUMNS": "140"}).out.splitlines()
        self.assertEqual(len(piped), 2)
        reason = self.json("explain", "one")[0]["reason"]
        self.assertTrue(piped[1].endswith(reason))
        status, out = self.on_terminal("explain", "one")
        self.assertEqual(status, 0)
        self.assertIn("REASON", out)
        self.assertNotIn(reason, out)
        # smartcols puts the rest of a cell on further lines of the same column.
        column = out.splitlines()[0].index("REASON")
        wrapped = "".join(line[column:].rstrip() for line in out.splitlines()[1:])
        self.assertEqual("".join(wrapped.split()), "".join(reason.split()))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[5 if UPDATE else 4:], verbosity=2)
