# SPDX-License-Identifier: GPL-2.0-or-later
"""A morseld of one's own for a test, and morselctl that talks to it."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time


class Daemon:
    def __init__(self, program, arguments=(), config=None):
        self.directory = tempfile.mkdtemp(prefix="morsel-test-")
        self.socket = os.path.join(self.directory, "bus")
        self.log_path = os.path.join(self.directory, "log")
        self.config = os.path.join(self.directory, "morseld.conf")
        self.command = [program, "--address", "none", "--listen", self.socket,
                        "--state-dir", self.directory, "--config", self.config,
                        "--runtime-dir", os.path.join(self.directory, "run"), *arguments]
        if config is not None:
            with open(self.config, "w") as f:
                f.write(config)
        self.process = None
        self.start()

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        # The file is there a moment before anybody listens.
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("morseld did not start:\n" + self.log())
            time.sleep(0.01)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def stop(self):
        """Ends the daemon; what it says about itself must not be an error of a sanitizer."""
        self.process.terminate()
        status = self.process.wait(60)
        if status != 0:
            raise RuntimeError(f"morseld ended with {status}:\n" + self.log())

    def close(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Result:
    def __init__(self, process):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    def json(self):
        return json.loads(self.out)


def run(command, socket=None, environment=None, **options):
    env = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
    env.pop("MORSEL_SOCKET", None)
    if socket:
        env["MORSEL_SOCKET"] = socket
    return Result(subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                                 encoding="utf-8", errors="surrogateescape", timeout=120, **options))
