#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-simulate.py MORSELCTL MAKE-TRACE: morselctl simulate on a trace; needs no daemon."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

MORSELCTL, MAKE_TRACE = sys.argv.pop(1), sys.argv.pop(1)
MIB = 1 << 20


class Simulate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.trace = pathlib.Path(cls.folder.name) / "trace"
        subprocess.run([MAKE_TRACE, cls.trace], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_it(self, *arguments, status=0, trace=None):
        done = subprocess.run([MORSELCTL, "simulate", *arguments, trace or self.trace], capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def json(self, *arguments, **options):
        return json.loads(self.run_it("--json", *arguments, **options).stdout)

    @staticmethod
    def tier(result, name):
        return next(t for t in result["tiers"] if t["name"] == name)

    def share(self, result, name="fast0", what="settled"):
        return self.tier(result, name)[what + "_ppm"] / 1e6

    def test_as_recorded(self):
        result = self.json()
        self.assertEqual(sorted(result), ["moves", "tiers", "trace"])
        self.assertTrue(result["trace"]["complete"])
        self.assertEqual(result["trace"]["rounds"], 300)
        self.assertEqual(result["trace"]["watched_bytes"], 512 * MIB)
        self.assertEqual(self.tier(result, "fast0")["capacity_bytes"], 128 * MIB)
        self.assertEqual(self.tier(result, "slow0")["latency_ns"], 250)
        # Both hot sets fit: nearly all that is possible, though they move twice.
        self.assertGreater(self.share(result), 0.95 * self.share(result, what="oracle_phase"))
        self.assertGreater(self.share(result, what="oracle_phase"), self.share(result) - 0.001)
        self.assertLess(self.share(result, what="oracle"), self.share(result))
        served = sum(t["served_accesses"] for t in result["tiers"])
        self.assertEqual(served, result["trace"]["accesses"])
        moves = result["moves"]
        self.assertGreater(moves["up_bytes"], 0)
        self.assertEqual(moves["ping_pong_bytes"], 0)

    def test_other_tiers(self):
        normal = self.json()
        small = self.json("--tiers", "fast0:32M")
        self.assertLess(self.share(small), self.share(normal) / 2)
        large = self.json("--tiers", "fast0:1G")
        self.assertEqual(self.share(large), 1)
        self.assertEqual(large["moves"]["moves"], 0)
        # A third one, nearer than both; and one that is taken away.
        third = self.json("--tiers", "hbm0:128M:60:500000,fast0:0")
        self.assertGreater(self.share(third, "hbm0"), 0.8)
        self.assertEqual(self.share(third, "fast0"), 0)

    def test_policies(self):
        stay = self.json("--policy", "none")
        self.assertEqual(stay["moves"]["moves"], 0)
        self.assertLess(self.share(stay), 0.5)
        # One tenant may have next to nothing of the near tier: what it has is half of all accesses.
        limited = self.json("--policy", "/a:Max.fast0=4M")
        self.assertLess(self.share(limited), 0.56)
        self.assertGreater(self.share(limited), 0.40)
        both = self.json("--policy", "/a:Max.fast0=4M", "--policy", "/b:Max.fast0=4M")
        self.assertLess(self.share(both), 0.2)
        root = self.json("--policy", "/:Max.fast0=4M")
        self.assertLess(self.share(root), self.share(both))
        self.json("--policy", "/a:Weight=300", "--policy", "/a:Low.fast0=10M", "--policy", "/b:High.fast0=10M")

    def test_pages_and_phases(self):
        result = self.json("--pages", "--settle", "0", "--phase", "0")
        self.assertGreater(self.tier(result, "fast0")["oracle_pages_accesses"], 0)
        self.assertEqual(self.tier(result, "fast0")["settled_accesses"],
                         self.tier(result, "fast0")["served_accesses"])

    def test_text(self):
        out = self.run_it().stdout
        for word in ("300 rounds", "512 MiB", "complete", "fast0", "BEST BY PHASE", "Came back"):
            self.assertIn(word, out)
        self.assertNotIn("BEST BY PAGE", out)
        self.assertIn("BEST BY PAGE", self.run_it("--pages").stdout)

    def test_damage(self):
        data = self.trace.read_bytes()
        cut = pathlib.Path(self.folder.name) / "cut"
        cut.write_bytes(data[:len(data) * 2 // 3])
        done = self.run_it("--json", trace=cut)
        result = json.loads(done.stdout)["trace"]
        self.assertIn("cut off", done.stderr)
        self.assertFalse(result["complete"])
        self.assertTrue(100 <= result["rounds"] < 300 and result["rounds"] % 10 == 0, result)
        altered = bytearray(data)
        altered[len(data) // 2] ^= 4
        cut.write_bytes(altered)
        self.assertIn("checksum", self.run_it(trace=cut).stderr)
        for bad in (b"", b"no trace at all", data[:63], b"x" + data[1:], data[:64]):
            cut.write_bytes(bad)
            self.assertIn("cut", self.run_it(trace=cut, status=1).stderr)

    def test_usage(self):
        for arguments, status, words in (
                (("--tiers", "fast0"), 2, "fast0"),
                (("--tiers", "new0:1G"), 2, "new0:1G:NS"),
                (("--tiers", "new0:1G:fast"), 2, "fast"),
                (("--tiers", "fast0:1X"), 2, "1X"),
                (("--tiers", "fast0:2000000T"), 2, "too much"),
                (("--policy", "some"), 2, "some"),
                (("--policy", "/a:Max.gone0=1M"), 2, "gone0"),
                (("--policy", "/a:Min.fast0=1M"), 2, "Low.TIER"),
                (("--policy", "/a:Weight=0"), 2, "1 to 10000"),
                (("--policy", "/c:Max.fast0=1M"), 4, "/c"),
                (("--settle", "-1"), 2, "--settle")):
            self.assertIn(words, self.run_it(*arguments, status=status).stderr)
        self.assertIn("gone", self.run_it(trace="/gone/trace", status=1).stderr)


if __name__ == "__main__":
    unittest.main()
