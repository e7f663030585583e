#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Host's end of tools/lab: starts the guests, carries their output, tells how they ended.

Called by tools/lab with the image directory and the payload that it built. A run
counts as ended only if the guest sends this run's random token; all else (panic,
time-out, lost output, a service that does not start) is the lab's own failure.
"""
import argparse
import ctypes
import json
import mmap
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
import traceback
import tty
from io import BytesIO

LAB_FAILED = 125
BOOT_SECONDS = 600
CXL_RAM_SERIAL = 0xC0FFEE01
CXL_PMEM_SERIAL = 0xC0FFEE02
ACCEL = os.environ.get("MORSEL_LAB_ACCEL", "tcg,thread=multi")
JOB = "var/lib/morsel-lab/job"
SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MIB = 1 << 20

# Latency in ns and bandwidth in GB/s as HMAT tells them, from node 0's CPUs. The
# CXL figures are those up to the root port: the device's own CDAT adds the rest.
HMAT = {"dram": (100, 100), "hbm": (110, 400), "slow": (250, 30), "nvm": (350, 8),
        "cxl-port": (170, 32)}


class LabError(Exception):
    """The lab itself failed: no status of the command is known."""


def note(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def size(text):
    """Bytes of '512M', '3G' or '0'; a multiple of 2 MiB, which dax devices want."""
    unit = SUFFIXES.get(text[-1:].upper(), 0)
    digits = text[:-1] if unit else text
    if not digits.isdigit() or (not unit and int(digits)):
        raise argparse.ArgumentTypeError(f"'{text}' is no size: digits and one of K, M, G, T")
    value = int(digits) * unit
    if value % (2 * MIB):
        raise argparse.ArgumentTypeError(f"'{text}' is no multiple of 2 MiB")
    return value


def bounded(low, high):
    def parse(text):
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not in {low} to {high}")
        return int(text)
    return parse


def die_with_parent():
    """No emulator survives its lab, however that ends (PR_SET_PDEATHSIG is 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def tsc_khz():
    """This machine's time stamp counter, which TCG hands to its guests as it is; 0 if unknown.

    The guest's own calibration goes wrong by factors on a busy machine, and its clock with it.
    """
    if os.uname().machine != "x86_64":
        return 0
    # rdtsc; shl $32, %rdx; or %rdx, %rax; ret
    code = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    best = None
    for _ in range(3):
        # The pair read with the least delay between is the truest.
        samples = []
        for _ in range(2):
            reads = []
            for _ in range(20):
                before, ticks, after = time.monotonic_ns(), rdtsc(), time.monotonic_ns()
                reads.append((after - before, (before + after) // 2, ticks))
            samples.append(min(reads))
            time.sleep(0.03)
        (delay0, time0, ticks0), (delay1, time1, ticks1) = samples
        found = (delay0 + delay1, (ticks1 - ticks0) * 1000000 // (time1 - time0))
        best = min(best, found) if best else found
    return best[1]


def machine(args):
    """QEMU's words for the machine that all guests share."""
    ram = args.dram + args.hbm + args.slow
    words = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
        "-M", "q35,cxl=on,hmat=on,nvdimm=on,hpet=off"
              + (",cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G"
                 if args.cxl_ram or args.cxl_pmem else ""),
        "-accel", ACCEL,
        # Without -hypervisor the kernel will not commit CXL regions.
        "-cpu", "max,-hypervisor",
        "-smp", str(args.smp),
        "-m", f"{ram // MIB}M,slots=8,maxmem={(ram + args.nvm + args.pool) // MIB + 4096}M",
        "-no-reboot",
    ]

    nodes = []

    def node(name, nbytes=0, more=""):
        number = len(nodes)
        nodes.append(name)
        if nbytes:
            words.extend(["-object", f"memory-backend-ram,id={name},size={nbytes}"])
        words.extend(["-numa", f"node,nodeid={number}"
                      + (f",memdev={name}" if nbytes else "") + more])
        return number

    node("dram", args.dram, f",cpus=0-{args.smp - 1}")
    if args.hbm:
        node("hbm", args.hbm, ",initiator=0")
    if args.slow:
        node("slow", args.slow, ",initiator=0")
    if args.nvm or args.pool:
        node("nvm", more=",initiator=0")
    if args.cxl_ram or args.cxl_pmem:
        node("cxl-port", more=",initiator=0")
        words.extend(["-object", "acpi-generic-port,id=gp0,pci-bus=cxl.1,"
                                 f"node={nodes.index('cxl-port')}"])
    for number, name in enumerate(nodes):
        latency, bandwidth = HMAT[name]
        lb = f"hmat-lb,initiator=0,target={number},hierarchy=memory"
        words.extend(["-numa", f"{lb},data-type=access-latency,latency={latency}",
                      "-numa", f"{lb},data-type=access-bandwidth,bandwidth={bandwidth}G"])
    for low in range(len(nodes)):
        for high in range(low + 1, len(nodes)):
            far = max(HMAT[nodes[low]][0], HMAT[nodes[high]][0]) // 5
            words.extend(["-numa", f"dist,src={low},dst={high},val={far}"])

    if args.cxl_ram or args.cxl_pmem:
        words.extend(["-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1"])
    if args.cxl_ram:
        words.extend([
            "-object", f"memory-backend-ram,id=cxlram,size={args.cxl_ram}",
            "-device", "cxl-rp,port=0,bus=cxl.1,id=rp0,chassis=0,slot=2",
            "-device", f"cxl-type3,bus=rp0,volatile-memdev=cxlram,id=cxl-ram,sn={CXL_RAM_SERIAL}"])
    if args.cxl_pmem:
        words.extend([
            "-object", f"memory-backend-ram,id=cxlpmem,size={args.cxl_pmem}",
            "-object", "memory-backend-ram,id=cxllsa,size=1M",
            "-device", "cxl-rp,port=1,bus=cxl.1,id=rp1,chassis=0,slot=3",
            "-device", "cxl-type3,bus=rp1,persistent-memdev=cxlpmem,lsa=cxllsa,id=cxl-pmem,"
                       f"sn={CXL_PMEM_SERIAL}"])
    return words, nodes


class Guest:
    """One emulated machine: its process, ports, and what is known of its end."""

    def __init__(self, lab, number):
        self.lab = lab
        self.number = number
        self.token = secrets.token_hex(16)
        self.dir = f"{lab.dir}/host{number}"
        os.mkdir(self.dir)
        self.console = f"{self.dir}/console.log"
        self.qmp_path = f"{self.dir}/qmp.sock"
        self.prefix = f"host{number}: ".encode() if lab.args.hosts > 1 else b""
        self.received = {"out": 0, "err": 0}
        self.pending = {"out": b"", "err": b"", "ctl": b""}
        self.ports = {}
        self.process = None
        self.status = None
        self.expected = None
        self.broken = None
        self.boots = 0
        self.started = False
        self.running = None
        self.checked = set()
        self.done = False

    def job_tar(self):
        """The run's own disk: what to do, for whom, and the files it wants."""
        args = self.lab.args
        path = f"{self.dir}/job.tar"
        env = [f"MORSEL_HOST={self.number}", f"MORSEL_HOSTS={args.hosts}"] + args.env
        if args.mode == "shell":
            columns, lines = shutil.get_terminal_size()
            env += [f"COLUMNS={columns}", f"LINES={lines}", f"TERM={os.environ.get('TERM', 'vt100')}"]
        parts = {
            "mode": args.mode.encode(), "token": self.token.encode(),
            "argv": b"".join(os.fsencode(word) + b"\0" for word in args.command),
            "env": b"".join(os.fsencode(word) + b"\0" for word in env),
            "options": b"--no-service\0" if args.no_service else b"",
        }
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, data in parts.items():
                info = tarfile.TarInfo(f"{JOB}/{name}")
                info.size = len(data)
                info.mode = 0o600
                tar.addfile(info, BytesIO(data))
            if args.no_service:
                info = tarfile.TarInfo("etc/systemd/system/morseld.service")
                info.type = tarfile.SYMTYPE
                info.linkname = "/dev/null"
                tar.addfile(info)
            for host, guest in args.files:
                tar.add(host, guest.lstrip("/"), filter=owned_by_root)
        return path

    def kernel_words(self):
        args = self.lab.args
        words = ["root=/dev/vda", "console=ttyS0", "quiet", "panic=-1", "oops=panic",
                 "systemd.show_status=0", "audit=0",
                 # Not bpf: systemd would load an LSM program at boot, which costs seconds.
                 "lsm=landlock,yama",
                 "random.trust_cpu=on", "nokaslr", "mitigations=off", "tsc=reliable",
                 "nowatchdog", "cryptomgr.notests", "net.ifnames=0",
                 f"morsel_lab.mode={args.mode}", f"morsel_lab.host={self.number}", f"morsel_lab.hosts={args.hosts}"]
        if args.cxl_ram:
            words.append(f"morsel_lab.cxl_ram={CXL_RAM_SERIAL}")
        if args.cxl_pmem:
            words.append(f"morsel_lab.cxl_pmem={CXL_PMEM_SERIAL}")
        if self.lab.tsc:
            words.append(f"tsc_early_khz={self.lab.tsc}")
        slot = 0
        for name in ("nvm", "pool"):
            if getattr(args, name):
                words.append(f"morsel_lab.{name}_slot={slot}")
                slot += 1
        return words + args.append

    def port(self, name):
        """A socket that QEMU connects to at its start, so that nothing is lost."""
        path = f"{self.dir}/{name}.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(1)
        return listener, path

    def start(self):
        lab, args = self.lab, self.lab.args
        words = list(lab.machine_words)
        nvm_node = lab.nodes.index("nvm") if "nvm" in lab.nodes else None
        descriptors = []
        for name, backing in (("nvm", args.nvm_file), ("pool", args.pool_file)):
            if getattr(args, name):
                if not backing:
                    # Anonymous, so that nothing stays behind however the lab ends.
                    fd = lab.pool if name == "pool" else os.memfd_create(f"nvm{self.number}")
                    descriptors.append(fd)
                    backing = f"/proc/self/fd/{fd}"
                words += ["-object", f"memory-backend-file,id={name},share=on,mem-path={backing},"
                                     f"size={getattr(args, name)}",
                          "-device", f"nvdimm,id={name}-dimm,memdev={name},node={nvm_node}"]

        disks = [(f"{lab.images}/guest.img", "on"), (args.payload, "off"), (self.job_tar(), "off")]
        for number, (path, snapshot) in enumerate(disks):
            words += ["-drive", f"file={path},format=raw,if=none,id=d{number},snapshot={snapshot}"
                      + ("" if snapshot == "on" else ",readonly=on"),
                      "-device", f"virtio-blk-pci,drive=d{number},bus=pcie.0"]

        listeners = {}
        words += ["-device", "virtio-serial-pci,bus=pcie.0,max_ports=8"]
        names = ["ctl", "out", "err"] + (["con"] if args.mode == "shell" else [])
        for name in names:
            listener, path = self.port(name)
            listeners[name] = listener
            words += ["-chardev", f"socket,id={name},path={path}", "-device",
                      f"virtserialport,chardev={name},name=morsel.{name}" if name != "con"
                      else "virtconsole,chardev=con"]
        listener, path = self.port("mon")
        listeners["mon"] = listener
        words += ["-chardev", f"socket,id=mon,path={path}", "-mon", "chardev=mon,mode=control",
                  "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
                  "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console"]

        if args.hosts > 1:
            # A link for each pair: a hub would need a third party.
            words += self.network_words()
        else:
            words += ["-nic", "none"]
        for plugin in args.plugin:
            words += ["-plugin", plugin]
        if args.plugin:
            words += ["-d", "plugin", "-D", f"{self.dir}/plugin.log"]
        words += ["-kernel", f"{lab.images}/kernel", "-initrd", f"{lab.images}/initrd",
                  "-append", " ".join(self.kernel_words())] + args.qemu

        with open(f"{self.dir}/qemu.log", "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            pass_fds=descriptors, preexec_fn=die_with_parent,
                                            start_new_session=True)
        for name, listener in listeners.items():
            listener.settimeout(0.2)
            while True:
                try:
                    self.ports[name], _ = listener.accept()
                    break
                except socket.timeout:
                    if self.process.poll() is not None:
                        raise LabError("the emulator does not start: " + self.tail("qemu.log", 5)) \
                            from None
            listener.close()
            self.ports[name].setblocking(True)
            lab.selector.register(self.ports[name], selectors.EVENT_READ, (self, name))
        self.qmp("qmp_capabilities")

    def network_words(self):
        words = []
        hosts = self.lab.args.hosts
        for other in range(hosts):
            if other == self.number:
                continue
            low, high = sorted((self.number, other))
            server = "on" if self.number == low else "off"
            path = f"{self.lab.dir}/net{low}-{high}.sock"
            more = "" if server == "on" else ",reconnect-ms=200"
            words += ["-netdev", f"stream,id=n{other},server={server},addr.type=unix,"
                                 f"addr.path={path}{more}",
                      "-device", f"virtio-net-pci,netdev=n{other},bus=pcie.0,romfile=,"
                                 f"mac=52:54:00:00:{self.number:02x}:{other:02x}"]
        return words

    def qmp(self, command, **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        try:
            self.ports["mon"].sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def tail(self, name, lines):
        try:
            with open(f"{self.dir}/{name}", "rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - 20000))
                text = f.read().decode(errors="replace").replace("\r", "")
        except FileNotFoundError:
            return ""
        return "\n".join(text.rstrip("\n").split("\n")[-lines:])

    def feed(self, name):
        """Takes what one port has; False at its end."""
        sock = self.ports[name]
        try:
            data = sock.recv(262144)
        except OSError:
            data = b""
        if not data:
            return False
        if name in ("out", "err"):
            self.received[name] += len(data)
            self.lab.emit(self, name, data)
        elif name == "con":
            self.lab.emit(self, "con", data)
        elif name == "ctl":
            self.pending["ctl"] += data
            while b"\n" in self.pending["ctl"]:
                line, self.pending["ctl"] = self.pending["ctl"].split(b"\n", 1)
                self.control(line.decode(errors="replace").split(" "))
        return True

    def control(self, words):
        """One line of the guest's agent."""
        if words[0] == "hello":
            self.boots = int(words[1])
            if self.boots > 1 and not self.lab.args.hook:
                self.broken = "the guest started again in the middle of the run"
        elif words[0] == "start":
            self.started = True
            if self.lab.args.verbose:
                note(f"{self.name()}: command started after {self.lab.elapsed():.1f} s")
        elif words[0] == "running":
            self.running = words[1]
        elif words[0] == "checked":
            self.checked.add(words[1])
        elif words[0] == "broken":
            self.broken = " ".join(words[1:])
        elif words[0] == "result" and len(words) == 5 and words[1] == self.token:
            self.status = int(words[2])
            self.expected = {"out": int(words[3]), "err": int(words[4])}

    def name(self):
        return f"host{self.number}"

    def complete(self):
        return self.expected is not None and self.expected == self.received

    def stop(self):
        """Ends the emulator, gently enough for plugins to write their figures."""
        if self.process is None or self.process.poll() is not None:
            return
        self.qmp("quit")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def owned_by_root(info):
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


class Lab:
    def __init__(self, args):
        self.args = args
        self.images = args.images
        self.dir = tempfile.mkdtemp(prefix="morsel-lab.")
        self.pool = None
        self.selector = selectors.DefaultSelector()
        self.guests = []
        self.start_time = time.monotonic()
        self.machine_words, self.nodes = machine(args)
        self.tsc = tsc_khz() if ACCEL.startswith("tcg") else 0
        self.hook = None
        self.terminal = None
        self.keep = False

    def elapsed(self):
        return time.monotonic() - self.start_time

    def emit(self, guest, name, data):
        """Guest's bytes to our own stdout or stderr; by whole lines where there are several hosts."""
        if name == "con":
            os.write(1, data)
            return
        if guest.prefix:
            data = guest.pending[name] + data
            cut = data.rfind(b"\n") + 1
            guest.pending[name] = data[cut:]
            data = b"".join(guest.prefix + line + b"\n" for line in data[:cut].split(b"\n")[:-1])
        self.write(1 if name == "out" else 2, data)

    @staticmethod
    def write(fd, data):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]

    def flush_partial(self):
        for guest in self.guests:
            for name, fd in (("out", 1), ("err", 2)):
                if guest.pending[name]:
                    self.write(fd, guest.prefix + guest.pending[name] + b"\n")
                    guest.pending[name] = b""

    def run(self):
        args = self.args
        if args.pool and not args.pool_file:
            self.pool = os.memfd_create("pool")
        for number in range(args.hosts):
            self.guests.append(Guest(self, number))
        for guest in self.guests:
            guest.start()
        if args.hook:
            env = dict(os.environ, MORSEL_LAB_DIR=self.dir, MORSEL_LAB_HOSTS=str(args.hosts))
            for guest in self.guests:
                env[f"MORSEL_LAB_QMP{guest.number}"] = guest.qmp_path
            # Its stdout is ours: what it prints stands beside the guests' output.
            self.hook = subprocess.Popen([args.hook], env=env, stdin=subprocess.DEVNULL,
                                         preexec_fn=die_with_parent)
        if args.mode == "shell":
            self.open_terminal()
        self.loop()
        for guest in self.guests:
            guest.stop()
            # What a broken run wrote last often tells the cause.
            self.drain(guest)
        self.flush_partial()
        return self.verdict()

    def open_terminal(self):
        if not os.isatty(0):
            raise LabError("shell wants a terminal; use run for commands")
        self.terminal = termios.tcgetattr(0)
        tty.setraw(0)
        self.selector.register(0, selectors.EVENT_READ, None)

    def loop(self):
        deadline = self.args.timeout
        while not all(guest.done for guest in self.guests):
            for key, _ in self.selector.select(0.5):
                if key.data is None:
                    typed = os.read(0, 4096)
                    for guest in self.guests:
                        guest.ports["con"].sendall(typed)
                    continue
                guest, name = key.data
                if not guest.feed(name):
                    self.forget(key.fileobj)
            for guest in self.guests:
                if guest.done:
                    continue
                if guest.complete() or guest.broken:
                    guest.done = True
                elif guest.process.poll() is not None:
                    self.drain(guest)
                elif self.args.mode != "shell" and deadline and self.elapsed() > deadline:
                    guest.broken = f"no end within {deadline} s"
                    guest.done = True
                elif not guest.started and self.elapsed() > BOOT_SECONDS:
                    guest.broken = f"no boot within {BOOT_SECONDS} s"
                    guest.done = True
            # One host's failure of the lab ends the run of all.
            if any(guest.broken for guest in self.guests):
                return

    def drain(self, guest):
        """After the emulator's end: what the sockets still hold, then the finding."""
        for name in ("ctl", "out", "err"):
            while name in guest.ports and guest.feed(name):
                pass
            if name in guest.ports:
                self.forget(guest.ports[name])
        guest.done = True

    def forget(self, sock):
        if sock in self.selector.get_map():
            self.selector.unregister(sock)

    def verdict(self):
        """The run's exit status: the first command's that is not 0, or the lab's own."""
        args = self.args
        first = 0
        lost = False
        for guest in self.guests:
            reason = guest.broken
            if not reason and guest.status is None:
                reason = "the machine ended before the command did"
                if "Kernel panic" in guest.tail("console.log", 400):
                    reason = "the kernel panicked"
            if not reason and not guest.complete():
                reason = f"output lost: {guest.received} of {guest.expected} bytes came"
            if reason and (guest.broken or not any(other.broken for other in self.guests)):
                if guest.running and not guest.complete():
                    note(f"check {guest.running} was running")
                note(f"{guest.name()}: {reason}")
                for title, log in (("console", "console.log"), ("emulator", "qemu.log")):
                    text = guest.tail(log, 40)
                    if text:
                        note(f"{guest.name()}: end of the {title}'s log, {guest.dir}/{log}:")
                        print(text, file=sys.stderr)
                lost = True
            if guest.status and not first:
                first = guest.status
            if args.mode == "check":
                # A dead guest leaves no lines: who counts them must see each check.
                for name in args.command:
                    if name not in guest.checked:
                        self.write(1, guest.prefix + f"not ok {name}\n".encode())
        if lost:
            self.keep = True
            return LAB_FAILED
        if self.hook:
            try:
                status = self.hook.wait(30)
            except subprocess.TimeoutExpired:
                self.hook.kill()
                status = -signal.SIGKILL
            if status:
                note(f"hook {self.args.hook} ended with {status}")
                return LAB_FAILED
        return first

    def close(self):
        if self.terminal:
            termios.tcsetattr(0, termios.TCSADRAIN, self.terminal)
        if self.hook and self.hook.poll() is None:
            self.hook.kill()
        for guest in self.guests:
            if guest.process and guest.process.poll() is None:
                guest.process.kill()
                guest.process.wait()
            if self.args.console and os.path.exists(guest.console):
                suffix = f".{guest.number}" if self.args.hosts > 1 else ""
                shutil.copyfile(guest.console, self.args.console + suffix)
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def parse(argv):
    parser = argparse.ArgumentParser(prog="tools/lab", allow_abbrev=False, add_help=False,
                                     usage="tools/lab help tells the options")
    parser.add_argument("mode", choices=["run", "shell", "check"])
    parser.add_argument("--images", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--payload", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--hosts", type=bounded(1, 8), default=1)
    parser.add_argument("--append", action="append", default=[])
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--qemu", action="append", default=[])
    parser.add_argument("--smp", type=bounded(1, 64), default=2)
    for name, default in (("dram", "3G"), ("hbm", "1536M"), ("slow", "1536M"), ("nvm", "1G"),
                          ("cxl-ram", "1G"), ("cxl-pmem", "512M"), ("pool", None)):
        parser.add_argument(f"--{name}", type=size, default=default)
    parser.add_argument("--nvm-file")
    parser.add_argument("--pool-file")
    parser.add_argument("--timeout", type=bounded(1, 86400), default=1200)
    parser.add_argument("--file", action="append", default=[], dest="files")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--hook")
    parser.add_argument("--console")
    parser.add_argument("--no-service", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)
    # By hand, so that no word after -- is taken for an option.
    cut = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:cut])
    args.command = argv[cut + 1:]

    if args.mode == "run" and not args.command:
        parser.error("run wants a command after --")
    if args.mode == "check" and not args.command:
        parser.error("no checks")
    if args.mode == "shell" and args.command:
        parser.error("shell takes no command")
    if args.dram < 512 * MIB:
        parser.error("--dram must be 512M or more")
    if args.pool is None:
        args.pool = 512 * MIB if args.hosts > 1 or args.pool_file else 0
    for word in args.env:
        if "=" not in word:
            parser.error(f"--env {word}: NAME=VALUE wanted")
    files = []
    for word in args.files:
        host, _, guest = word.partition(":")
        if not os.path.exists(host):
            parser.error(f"--file {host}: no such file")
        files.append((host, guest or f"/root/{os.path.basename(host.rstrip('/'))}"))
    args.files = files
    for plugin in args.plugin:
        if not os.path.exists(plugin.split(",", 1)[0]):
            parser.error(f"--plugin {plugin.split(',', 1)[0]}: no such file")
    if args.hook and not (os.path.isfile(args.hook) and os.access(args.hook, os.X_OK)):
        parser.error(f"--hook {args.hook}: not an executable file")
    args.append = [word for text in args.append for word in text.split()]
    args.qemu = [word for text in args.qemu for word in text.split()]
    return args


def main(argv):
    args = parse(argv)
    if args.dry_run:
        return 0
    lab = Lab(args)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(LAB_FAILED))
    try:
        return lab.run()
    except LabError as e:
        note(str(e))
        return LAB_FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return LAB_FAILED
    except Exception:  # whatever it is, it is no status of the command
        traceback.print_exc()
        return LAB_FAILED
    finally:
        lab.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
