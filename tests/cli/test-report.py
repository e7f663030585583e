#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-report.py MORSELCTL MAKE-TRACE: morselctl report on a trace whose numbers are known; needs no daemon."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

MORSELCTL, MAKE_TRACE = sys.argv.pop(1), sys.argv.pop(1)
MIB = 1 << 20
SVG = "{http://www.w3.org/2000/svg}"


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.trace = pathlib.Path(cls.folder.name) / "a <trace> & \"more\""
        subprocess.run([MAKE_TRACE, cls.trace], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_it(self, *words, status=0, trace=None, verb="report"):
        done = subprocess.run([MORSELCTL, verb, *words, trace or self.trace], capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def svg(self, trace=None):
        path = pathlib.Path(self.folder.name) / "out.svg"
        self.run_it("-o", path, trace=trace)
        return ElementTree.parse(path).getroot()

    def test_numbers(self):
        report = json.loads(self.run_it("--json").stdout)
        self.assertEqual(report["trace"]["rounds"], 300)
        self.assertEqual(report["trace"]["duration_ms"], 300000)
        self.assertTrue(report["trace"]["complete"])
        self.assertEqual([(r["name"], r["bytes"]) for r in report["regions"]], [("first", 256 * MIB), ("second", 256 * MIB)])
        # The simulator counts the same accesses, in whole ones.
        played = json.loads(self.run_it("--json", "--settle", "0", verb="simulate").stdout)["trace"]["accesses"]
        self.assertAlmostEqual(report["accesses"] / played, 1, delta=0.001)
        first, second = (r["accesses"] for r in report["regions"])
        fast, slow = (t["accesses"] for t in report["tiers"])
        self.assertAlmostEqual(first + second, report["accesses"], delta=2)
        self.assertAlmostEqual(fast + slow, report["accesses"], delta=2)
        self.assertEqual(report["unplaced_accesses"], 0)
        self.assertEqual(sum(t["ppm"] for t in report["tiers"]), 1000000)
        # All of the second, and half of the first for half of the time.
        self.assertTrue(0.1 < (fast - second) / first < 0.4, (fast, second, first))
        begins = report["columns_ms"]
        self.assertEqual(begins[0], 0)
        self.assertEqual(sorted(set(begins)), begins)
        rates = 0
        for row in report["rows"]:
            self.assertEqual(len(row["tiers"]), len(begins))
            for begin, end, tier, rate in zip(begins, begins[1:] + [300000], row["tiers"], row["accesses_per_second"]):
                moved = row["region"] == "first" and row["offset_bytes"] + row["length_bytes"] <= 128 * MIB and end > 150000
                self.assertEqual(tier, "fast0" if moved or row["region"] == "second" else "slow0", (row["offset_bytes"], begin))
                rates += rate * (end - begin) / 1000 * row["length_bytes"] / 2 / MIB
        self.assertAlmostEqual(rates / report["accesses"], 1, delta=0.02)
        for name in ("first", "second"):
            rows = [r for r in report["rows"] if r["region"] == name]
            at = 0
            for row in rows:
                self.assertEqual(row["offset_bytes"], at)
                at += row["length_bytes"]
            self.assertEqual(at, 256 * MIB)

    def test_svg(self):
        root = self.svg()
        self.assertEqual(root.tag, SVG + "svg")
        self.assertEqual(root.get("width"), "1000")
        self.assertEqual(root.find(SVG + "title").text, self.trace.name)
        texts = ["".join(t.itertext()) for t in root.iter(SVG + "text")]
        for words in (self.trace.name, "first", "second", "256 MiB", "Accesses", "Placement", "fast0", "slow0", "0:00", "5:00",
                      "time since the recording began (min:s)", "accesses a second", "100 %"):
            self.assertIn(words, texts)
        self.assertTrue(any("300 rounds in 5:00" in t for t in texts))
        report = json.loads(self.run_it("--json").stdout)
        fast = report["tiers"][0]["ppm"] / 10000
        self.assertIn(f"{fast:.1f} %, 100 ns", texts)
        # Areas: what is placed fills its map, and shares fill theirs.
        width = 710

        def area(kind):
            total = {}
            for path in root.iter(SVG + "path"):
                if path.get("class") != kind:
                    continue
                for w, h in re.findall(r"M[\d.]+ [\d.]+h([\d.]+)v([\d.]+)h-", path.get("d")):
                    total[path.get("fill")] = total.get(path.get("fill"), 0) + float(w) * float(h)
            return total

        shares = area("share")
        self.assertEqual(len(shares), 2)
        self.assertAlmostEqual(sum(shares.values()) / (width * 110), 1, delta=0.02)
        near = root.find(f"{SVG}path[@class='share']").get("fill")
        self.assertAlmostEqual(shares[near] / sum(shares.values()), fast / 100, delta=0.02)
        places = area("place")
        self.assertAlmostEqual(sum(places.values()) / (width * 292), 1, delta=0.03)
        # Five eighths of memory × time.
        self.assertAlmostEqual(places[near] / sum(places.values()), 0.625, delta=0.03)
        self.assertLess(sum(area("heat").values()), 1.01 * width * 292)
        # All that is drawn is inside.
        height = float(root.get("height"))
        for text in root.iter(SVG + "text"):
            self.assertTrue(0 <= float(text.get("x")) < 1000 and 0 < float(text.get("y")) < height)

    def test_colours_print(self):
        """On grey paper hotter is darker, level by level."""
        light = []
        for rect in self.svg().iter(SVG + "rect"):
            fill = rect.get("fill", "")
            if rect.get("width") == "16" and rect.get("height") not in ("12", "14") and len(fill) == 7:
                r, g, b = (int(fill[i:i + 2], 16) for i in (1, 3, 5))
                light.append(0.2126 * r + 0.7152 * g + 0.0722 * b)
        self.assertEqual(len(light), 24)
        self.assertEqual(light, sorted(light, reverse=True))

    def test_text(self):
        out = self.run_it().stdout
        lines = out.splitlines()
        self.assertLessEqual(max(len(line) for line in lines), 80)
        self.assertLessEqual(len(lines), 48)
        for words in ("300 rounds", "Accesses", "Placement", "5:00", "A  fast0", "B  slow0", "100 ns"):
            self.assertIn(words, out)
        maps = [line[line.index("|") + 1:-1] for line in lines if line.endswith("|")]
        self.assertEqual(len(maps), 32)
        self.assertEqual({len(m) for m in maps}, {62})
        places = maps[16:]
        # The first morsel's first half moves in the middle, its second half not; the second morsel is on fast0.
        self.assertEqual(places[0], "B" * 31 + "A" * 31)
        self.assertEqual(places[7], "B" * 62)
        self.assertEqual(places[15], "A" * 62)
        self.assertIn("@", "".join(maps[:16]))

    def test_damage_and_usage(self):
        data = self.trace.read_bytes()
        other = pathlib.Path(self.folder.name) / "other"
        other.write_bytes(data[:len(data) // 2])
        self.assertIn("cut off", self.run_it(trace=other).stderr)
        self.assertIn("used what stands before", self.run_it("--json", trace=other).stderr)
        self.svg(trace=other)
        for bad in (b"", b"no trace", data[:63], b"x" + data[1:], data[:64]):
            other.write_bytes(bad)
            for form in ((), ("--json",), ("-o", "-")):
                self.assertIn("other", self.run_it(*form, trace=other, status=1).stderr)
        self.assertIn("--output", self.run_it("--json", "-o", "x", status=2).stderr)
        self.assertIn("gone", self.run_it("-o", "/gone/out.svg", status=1).stderr)
        self.assertTrue(self.run_it("-o", "-").stdout.startswith("<?xml"))


if __name__ == "__main__":
    unittest.main()
