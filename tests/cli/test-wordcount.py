#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The example that counts words in one shared copy, against wc.

Usage: test-wordcount.py MORSELD WORDCOUNT
"""
import glob
import os
import random
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon as harness  # noqa: E402

MORSELD, WORDCOUNT = sys.argv[1:3]


def wc(path):
    out = subprocess.run(["wc", path], env={**os.environ, "LC_ALL": "C"}, check=True,
                         stdout=subprocess.PIPE).stdout
    return [int(n) for n in out.split()[:3]]


class Wordcount(unittest.TestCase):
    def setUp(self):
        self.daemon = harness.Daemon(MORSELD)
        self.addCleanup(self.daemon.close)
        self.number = 0

    def count(self, *arguments, status=0):
        r = harness.run([WORDCOUNT, *arguments], socket=self.daemon.socket)
        self.assertEqual(r.status, status, f"{arguments}: {r.out}{r.err}")
        return r

    def numbers(self, path, workers, words=None):
        self.number += 1
        more = ["--words", words] if words else []
        r = self.count("--morsel", f"m{self.number}", "--workers", str(workers), *more, path)
        return [int(n) for n in r.out.split()[:3]]

    def write(self, data):
        path = os.path.join(self.daemon.directory, "text")
        with open(path, "wb") as f:
            f.write(data)
        return path

    def test_real_texts(self):
        here = os.path.dirname(os.path.abspath(__file__))
        paths = [os.path.abspath(__file__), os.path.join(here, "../../README.md"),
                 "/usr/share/common-licenses/GPL-3", "/bin/sh", WORDCOUNT,
                 *sorted(glob.glob("/var/lib/apt/lists/*_Packages"), key=os.path.getsize)[-2:],
                 *glob.glob("/usr/share/dict/words")]
        done = 0
        for path in paths:
            if os.path.exists(path):
                for workers in (1, 4, 7):
                    with self.subTest(path=path, workers=workers):
                        self.assertEqual(self.numbers(path, workers), wc(path))
                        done += 1
        self.assertGreaterEqual(done, 12)

    def test_edges(self):
        for data in (b"", b"\n", b"x", b" ", b"no newline at the end", b"a b\n", b"\n\n\n",
                     b"one-long-word" * 1000, b" \t\v\f\r\n" * 100, b"x" * 4096, b"x " * 2048 + b"y",
                     b"\x01 \x02a \x80\xff b\n", b"\x00" * 5000, b"a\x00b c\n",
                     "Grüße – “ ” … 漢字 \u00a0 x\n".encode()):
            for workers in (1, 3, 9):
                with self.subTest(data=data[:20], workers=workers):
                    path = self.write(data)
                    self.assertEqual(self.numbers(path, workers), wc(path))

    def test_more_workers_than_bytes(self):
        path = self.write(b"ab c")
        self.assertEqual(self.numbers(path, 256), wc(path))

    def test_random_bytes(self):
        """Short runs of each class, so that borders of parts fall everywhere."""
        r = random.Random(1)
        for alphabet in (b"ab \n", b"\x01 ", b"\x01\x02a \n", bytes(range(256))):
            for _ in range(4):
                data = bytes(r.choice(alphabet) for _ in range(r.randrange(1, 400)))
                path = self.write(data)
                with self.subTest(data=data):
                    self.assertEqual(self.numbers(path, r.randrange(1, 20)), wc(path))

    def test_rules(self):
        path = self.write(b"\x01 \x02\x03 a\x01 b \xc3\xa0\xa9\n")
        self.assertEqual(self.numbers(path, 3, "posix"), [1, 5, 14])
        self.assertEqual(self.numbers(path, 3, "printable"), [1, 2, 14])
        self.assertEqual(self.numbers(path, 3, "nbsp"), [1, 6, 14])

    def test_loaded_once(self):
        path = self.write(b"one two\n")
        first = self.count("--morsel", "text", "--verbose", path)
        self.assertIn("loaded", first.err)
        self.assertRegex(first.err, r"\d+ bytes lie on \S+")
        second = self.count("--morsel", "text", path)
        self.assertNotIn("loaded", second.err)
        self.assertEqual(first.out, second.out)
        # Without a file: what is there.
        self.assertEqual(self.count("--morsel", "text").out.split()[:3], ["1", "2", "8"])
        # Another text is not passed off as this one.
        self.write(b"three words now\n")
        self.assertIn("morselctl destroy", self.count("--morsel", "text", path, status=1).err)

    def test_bad_input(self):
        path = self.write(b"x\n")
        self.count(status=2)
        self.count("--morsel", "x", path, "more", status=2)
        self.count("--morsel", "x", "--workers", "0", path, status=2)
        self.count("--morsel", "x", "--workers", "257", path, status=2)
        self.count("--morsel", "x", "--workers", "-1", path, status=2)
        self.count("--morsel", "x", "--words", "all", path, status=2)
        self.assertIn("No such file", self.count("--morsel", "x", "/nonexistent", status=1).err)
        self.assertIn("regular", self.count("--morsel", "x", "/dev/null", status=1).err)
        self.assertIn("'x'", self.count("--morsel", "x", status=1).err)
        self.assertIn("a/b", self.count("--morsel", "a/b", path, status=1).err)
        r = harness.run([WORDCOUNT, "--morsel", "x", path], socket="/nonexistent/bus")
        self.assertEqual(r.status, 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
