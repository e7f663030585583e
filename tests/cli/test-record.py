#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-record.py MORSELD-FAKE MORSELCTL FIXTURES: morselctl record, with a daemon whose kernel module is a model: of each morsel the
first quarter is accessed, in each round."""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon as harness  # noqa: E402

MORSELD, MORSELCTL, FIXTURES = sys.argv[1:4]
del sys.argv[1:4]
MIB = 1 << 20
NOBODY = 65534
ROOT = os.getuid() == 0


class Record(unittest.TestCase):
    def setUp(self):
        self.root = harness.tempfile.mkdtemp(prefix="morsel-root-")
        self.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        machine = os.path.join(self.root, "machine")
        shutil.copytree(os.path.join(FIXTURES, "lab"), machine, symlinks=True)
        os.makedirs(os.path.join(machine, "dev"), exist_ok=True)
        pathlib.Path(machine, "dev", "morsel").touch()
        self.daemon = harness.Daemon(MORSELD, ["--root", machine, "--debug"], config="")
        self.addCleanup(self.daemon.close)
        os.chmod(self.daemon.directory, 0o755)
        self.folder = os.path.join(self.root, "out")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o777)

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, *words, **options):
        done = harness.run([MORSELCTL, *words], self.daemon.socket, **options)
        return done

    def must(self, *words, **options):
        done = self.command(*words, **options)
        self.assertEqual(done.status, 0, done.err)
        return done

    def create(self, name, mib, tier="dram0", **options):
        self.must("create", name, "--size", f"{mib}M", "--prefer", tier, "--populate", **options)

    def start(self, name, *words, **options):
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MORSEL_SOCKET": self.daemon.socket}
        return subprocess.Popen([MORSELCTL, "--json", "record", self.path(name), *words], env=env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, encoding="utf-8", **options)

    def wait(self, condition, what):
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited in vain for {what}:\n{self.daemon.log()}")
            time.sleep(0.05)

    def size(self, name):
        try:
            return os.stat(self.path(name)).st_size
        except FileNotFoundError:
            return 0

    def wait_block(self, name):
        """The first one comes with the first round."""
        self.wait(lambda: self.size(name) > 64, "a block")

    def end(self, process, status=0, signo=signal.SIGINT):
        if signo:
            process.send_signal(signo)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, status, err)
        return (json.loads(out) if out else None), err

    def simulate(self, name, *words):
        return json.loads(self.must("--json", "simulate", self.path(name), "--settle", "0", *words).out)

    def wait_free(self):
        """The daemon has nothing of a recording any more."""
        self.wait(lambda: self.daemon.log().count("recording of uid") % 2 == 0, "the end of all recordings")

    def test_record(self):
        self.create("first", 64)
        self.create("second", 16, "hbm0")
        process = self.start("t")
        self.wait(lambda: self.daemon.log().count(": round ") >= 3, "three rounds")
        result, _ = self.end(process)
        self.assertEqual(sorted(result), ["bytes", "duration_ms", "file", "regions", "rounds", "watched_bytes"])
        self.assertEqual(result["bytes"], self.size("t"))
        self.assertEqual((result["regions"], result["watched_bytes"]), (2, 80 * MIB))
        self.assertGreaterEqual(result["rounds"], 1)
        played = self.simulate("t")
        self.assertTrue(played["trace"]["complete"])
        self.assertEqual(played["trace"]["rounds"], result["rounds"])
        # A quarter, every page: 512 ln 1024 accesses, in steps of an eighth.
        # The first round only begins to look.
        per_round = played["trace"]["accesses"] / (result["rounds"] - 1)
        self.assertTrue(0.85 * 10 * 3549 < per_round < 1.01 * 10 * 3549, per_round)
        self.assertEqual({t["name"] for t in played["tiers"]} >= {"dram0", "hbm0"}, True)
        self.assertEqual(os.stat(self.path("t")).st_mode & 0o777, 0o600)
        report = json.loads(self.must("--json", "report", self.path("t")).out)
        self.assertEqual({(r["name"], r["bytes"]) for r in report["regions"]}, {("first", 64 * MIB), ("second", 16 * MIB)})
        shares = {t["name"]: t["ppm"] for t in report["tiers"]}
        self.assertTrue(abs(shares["dram0"] - 800000) < 2 and abs(shares["hbm0"] - 200000) < 2, shares)
        for row in report["rows"]:
            self.assertEqual(row["tiers"][-1], "dram0" if row["region"] == "first" else "hbm0")
            hot = row["offset_bytes"] < (16 * MIB if row["region"] == "first" else 4 * MIB)
            self.assertEqual(row["accesses_per_second"][-1] > 0, hot, row)
        # Nothing was moved, and nothing goes on.
        self.wait_free()
        self.assertEqual(json.loads(self.must("--json", "stats").out)["moved_bytes"], 0)
        rounds = self.daemon.log().count(": round ")
        self.assertGreaterEqual(rounds, 1)
        # Two rounds would begin in that time.
        time.sleep(2.5)
        self.assertLessEqual(self.daemon.log().count(": round "), rounds + 1)

    def test_duration_and_changes(self):
        self.create("stays", 16)
        process = self.start("t", "--duration", "6s")
        self.wait_block("t")
        self.create("comes", 8)
        time.sleep(1.5)
        self.must("destroy", "stays")
        result, _ = self.end(process, signo=None)
        self.assertEqual(result["regions"], 2)
        self.assertTrue(4 <= result["rounds"] <= 8, result)
        played = self.simulate("t")
        self.assertTrue(played["trace"]["complete"])

    def test_policy_in_force(self):
        self.create("m", 16)
        self.must("policy", "set", "/", "Max.hbm0=4M", "Migrate=off")
        process = self.start("t")
        self.wait_block("t")
        self.end(process)
        # Said itself: it is not moved in the simulation either.
        self.assertEqual(self.simulate("t")["moves"]["moves"], 0)
        self.assertEqual(self.command("simulate", self.path("t"), "--policy", "/nowhere:Max.hbm0=1M").status, 4)
        self.must("simulate", self.path("t"), "--policy", "/:Max.hbm0=1M")

    def test_two_at_once(self):
        self.create("m", 16)
        one = self.start("one")
        self.wait_block("one")
        two = self.start("two")
        self.wait_block("two")
        self.end(one)
        self.wait(lambda: "ended after" in self.daemon.log(), "the end of the first one")
        result, _ = self.end(two)
        self.assertEqual(result["regions"], 1)
        self.assertTrue(self.simulate("one")["trace"]["complete"])
        self.assertTrue(self.simulate("two")["trace"]["complete"])
        many = [self.start(f"many{i}") for i in range(4)]
        for i in range(4):
            self.wait_block(f"many{i}")
        refused = self.command("record", self.path("fifth"))
        self.assertEqual(refused.status, 1)
        self.assertIn("4 recordings go on", refused.err)
        self.assertFalse(os.path.exists(self.path("fifth")))
        for process in many:
            self.end(process)
        # Places are free again.
        self.wait_free()
        process = self.start("again")
        self.wait_block("again")
        self.end(process)

    def test_killed(self):
        self.create("m", 16)
        before = self.daemon.descriptors()
        process = self.start("t")
        self.wait_block("t")
        self.assertIsNone(self.end(process, status=-signal.SIGKILL, signo=signal.SIGKILL)[0])
        self.wait_free()
        self.assertIn("its taker has gone", self.daemon.log())
        self.wait(lambda: self.daemon.descriptors() <= before + 1, "its descriptors")
        # What was written are whole blocks.
        self.assertTrue(self.simulate("t")["trace"]["complete"])

    def test_daemon_ends(self):
        self.create("m", 16)
        process = self.start("t")
        self.wait_block("t")
        self.daemon.stop()
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("morseld has ended the recording", err)
        self.daemon.start()
        self.assertTrue(self.simulate("t")["trace"]["complete"])

    def test_full_disk(self):
        self.create("m", 64)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

        process = self.start("t", preexec_fn=limit)
        _, err = self.end(process, status=1, signo=None)
        self.assertIn("File too large; the recording ends, the first 64 B stand in it", err)
        self.assertEqual(self.size("t"), 64)
        self.wait_free()

    def test_full_file_system(self):
        if not ROOT:
            self.skipTest("only root can mount")
        small = self.path("small")
        os.mkdir(small)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", small], stderr=subprocess.DEVNULL,
                          check=False).returncode != 0:
            self.skipTest("mounting is not allowed here")
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        pathlib.Path(small, "rest").write_bytes(b"x" * 4096)
        for i in range(15):
            self.create(f"m{i}-" + "x" * 240, 64)
        process = self.start("small/t")
        _, err = self.end(process, status=1, signo=None)
        self.assertIn("No space left on device; the recording ends", err)
        self.assertLessEqual(self.size("small/t"), 4096)
        self.assertEqual(json.loads(self.must("--json", "report", self.path("small/t")).out)["trace"]["state"], "complete")

    def test_rights(self):
        if not ROOT:
            self.skipTest("only root can become other users")
        theirs = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self.create("ours", 64)
        self.create("theirs", 8, **theirs)
        process = self.start("all")
        self.wait_block("all")
        result, _ = self.end(process)
        self.assertEqual(result["watched_bytes"], 72 * MIB)
        self.assertIn(b"65534:theirs", pathlib.Path(self.path("all")).read_bytes())
        process = self.start("own", **theirs)
        self.wait_block("own")
        second = self.start("second", **theirs)
        self.wait_block("second")
        refused = self.command("record", self.path("third"), **theirs)
        self.assertEqual(refused.status, 1)
        self.assertIn("2 recordings of yours go on", refused.err)
        self.end(second)
        result, _ = self.end(process)
        self.assertEqual((result["watched_bytes"], result["regions"]), (8 * MIB, 1))
        self.assertNotIn(b"ours", pathlib.Path(self.path("own")).read_bytes())
        refused = self.command("record", "--all", self.path("more"), **theirs)
        self.assertEqual(refused.status, 1)
        self.assertIn("only root may record others' morsels", refused.err)

    def test_files_and_usage(self):
        path = pathlib.Path(self.path("t"))
        path.write_text("precious")
        done = self.command("record", str(path))
        self.assertEqual(done.status, 1)
        self.assertIn("--force", done.err)
        self.assertEqual(path.read_text(), "precious")
        self.must("record", "--force", "--duration", "1", str(path))
        self.assertIn("no-such/t", self.command("record", self.path("no-such/t")).err)
        for words in (["--duration", "0"], ["--duration", "x"], ["--duration", "99999999h"], ["--duration", "-1s"]):
            done = self.command("record", *words, self.path("u"))
            self.assertEqual(done.status, 2, done.err)
            self.assertIn("--duration", done.err)
        self.assertFalse(os.path.exists(self.path("u")))

    def test_nobody_reads(self):
        """A taker that stops: bounded, and others go on."""
        self.create("m", 16)
        stopped = self.start("t")
        self.wait_block("t")
        stopped.send_signal(signal.SIGSTOP)
        other = self.start("other")
        self.wait_block("other")
        self.end(other)
        stopped.send_signal(signal.SIGCONT)
        self.end(stopped)
        self.assertTrue(self.simulate("t")["trace"]["complete"])


if __name__ == "__main__":
    unittest.main()
