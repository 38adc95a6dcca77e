"""Hosts of a distributed job: network namespaces joined by a bridge, each with its own /opt/ml.

Needs root and Debian's iproute2; `why_no_namespaces` tells what keeps it from being done here.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.training_job import TrainingJob

INTERFACE = "eth0"
_HOSTS_FILES = Path("/etc/netns")
_TUNSETIFF, _IFF_TAP_NO_PI = 0x400454CA, 0x1002
_LARGE_FRAMES = 32_000
_numbers = itertools.count(1)


def _ip(*words: object) -> str:
    command = ["ip", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@cache
def why_no_namespaces() -> str:
    """What keeps network namespaces from being made here; empty where nothing does."""
    if shutil.which("ip") is None:
        return "there is no command ip (Debian's iproute2)"
    name = f"odtry-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("link", "add", f"odt{os.getpid()}", "type", "bridge")
        _ip("link", "del", f"odt{os.getpid()}")
        _ip("netns", "del", name)
    except OSError as error:
        return str(error)
    return ""


@dataclass
class Host:
    """One host.

    Attributes:
        name: algo-1 and so on.
        namespace: its network's.
        address: on the network of all hosts.
        job: its /opt/ml.
        cpus: the processors it may use.
    """

    name: str
    namespace: str
    address: str
    job: TrainingJob
    cpus: str
    process: subprocess.Popen[bytes] | None = None

    def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Start ./train here."""
        inside = ["ip", "netns", "exec", self.namespace, "taskset", "-c", self.cpus]
        self.process = self.job.start(inside, environ)

    def link(self, state: str) -> None:
        """Its network interface up or down."""
        _ip("-n", self.namespace, "link", "set", INTERFACE, state)

    def add_default_route(self) -> None:
        """By its network interface, as a container has one."""
        _ip("-n", self.namespace, "route", "add", "default", "dev", INTERFACE)

    def limit(self, mbit: int) -> None:
        """Let it send no more than so many megabits a second."""
        what = ["root", "tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "200ms"]
        command = ["tc", "-n", self.namespace, "qdisc", "replace", "dev", INTERFACE, *what]
        subprocess.run(command, check=True)

    def sent_bytes(self) -> int:
        """What has left its network interface so far."""
        shown = json.loads(_ip("-n", self.namespace, "-s", "-j", "link", "show", INTERFACE))
        return int(shown[0]["stats64"]["tx"]["bytes"])

    def processes(self) -> dict[int, str]:
        """What runs here: number -> command line."""
        found = {}
        for number in _ip("netns", "pids", self.namespace).split():
            with suppress(OSError):
                words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
                found[int(number)] = b" ".join(words).decode()
        return found

    def kill(self, module: str, role: str = "", number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process of a module; of several, to that with DMLC_ROLE=role."""
        victims = [
            process
            for process, command in self.processes().items()
            if module in command and (not role or f"DMLC_ROLE={role}" in _environ(process))
        ]
        assert len(victims) == 1, self.processes()
        os.kill(victims[0], number)

    def terminate(self) -> None:
        """Send SIGTERM to its ./train, as the platform does."""
        assert self.process is not None
        self.process.terminate()

    def wait(self, seconds: float) -> int:
        """The exit code of ./train, which has so long to end."""
        assert self.process is not None
        return self.process.wait(seconds)


def _environ(process: int) -> str:
    return Path(f"/proc/{process}/environ").read_bytes().replace(b"\0", b"\n").decode()


@dataclass
class Network:
    """Hosts that can reach each other."""

    hosts: list[Host] = field(default_factory=list)

    def __getitem__(self, index: int) -> Host:
        return self.hosts[index]

    def configure(self, make: Callable[[TrainingJob], None], interface: str = INTERFACE) -> None:
        """Write every host's job, and who the hosts are and by which interface they meet."""
        names = [host.name for host in self.hosts]
        for host in self.hosts:
            make(host.job)
            host.job.paths.resource_config_file.write_text(
                json.dumps(
                    {
                        "current_host": host.name,
                        "hosts": names,
                        "network_interface_name": interface,
                    }
                )
            )

    def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Start ./train on all hosts."""
        for host in self.hosts:
            host.start(environ)

    def wait(self, seconds: float) -> list[int]:
        """The exit codes, by host; all have so long together."""
        until = time.monotonic() + seconds
        return [host.wait(max(0.1, until - time.monotonic())) for host in self.hosts]

    def run(self, seconds: float = 120, environ: Mapping[str, str] | None = None) -> list[int]:
        """Start all and wait for their ends."""
        self.start(environ)
        return self.wait(seconds)

    def wait_for(self, text: str, seconds: float = 90) -> None:
        """Until every host's log has this text; the jobs must not end before."""
        until = time.monotonic() + seconds
        for host in self.hosts:
            while text not in host.job.log:
                assert host.process is not None
                assert host.process.poll() is None, host.job.log[-3000:]
                assert time.monotonic() < until, host.job.log[-3000:]
                time.sleep(0.05)

    def left_over(self) -> list[str]:
        """Command lines of all processes that still run."""
        return [command for host in self.hosts for command in host.processes().values()]

    def end(self) -> None:
        """Kill whatever runs on them."""
        for host in self.hosts:
            for number in host.processes():
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            if host.process is not None:
                host.process.wait()


class SlowSwitch:
    """Joins network interfaces, each frame arriving late; what netem does where a kernel has it.

    Args:
        seconds: from one host to another.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._taps: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add(self, interface: str) -> None:
        """Make an interface of this name (a TAP device) whose cable ends here."""
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _IFF_TAP_NO_PI))
        self._taps.append(tap)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        for tap in self._taps:
            os.close(tap)

    def _run(self) -> None:
        waiting: deque[tuple[float, int, bytes]] = deque()
        while not self._done.is_set():
            for tap in select.select(self._taps, [], [], 0.001)[0]:
                with suppress(OSError):  # an interface that is down
                    waiting.append((time.monotonic() + self._seconds, tap, os.read(tap, 2**16)))
            while waiting and waiting[0][0] <= time.monotonic():
                _, source, frame = waiting.popleft()
                for tap in self._taps:
                    if tap != source:
                        with suppress(OSError):
                            os.write(tap, frame)


@contextmanager
def network(
    base: Path, count: int, cpus: Sequence[str] = ("0", "1"), delay: float = 0.0
) -> Iterator[Network]:
    """So many hosts, algo-1 and on, with their trees below `base`; nothing is left of them after.

    Args:
        cpus: of the hosts, in turns.
        delay: seconds that a packet is on its way.
    """
    mark = f"{os.getpid() % 10000}x{next(_numbers)}"
    subnet, bridge = f"10.{77 + os.getpid() % 100}.{next(_numbers) % 250}", f"odb{mark}"
    made, switch = Network(), SlowSwitch(delay)
    names = {f"algo-{i + 1}": f"{subnet}.{i + 11}" for i in range(count)}
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for index, (name, address) in enumerate(names.items()):
            namespace, cable = f"od{mark}-{name}", f"od{index}v{mark}"
            job = TrainingJob(base / name)
            job.paths.base.mkdir(parents=True, exist_ok=True)
            made.hosts.append(Host(name, namespace, address, job, cpus[index % len(cpus)]))
            _ip("netns", "add", namespace)
            folder = _HOSTS_FILES / namespace  # ip netns exec shows it as /etc
            folder.mkdir(parents=True)
            lines = ["127.0.0.1 localhost", *(f"{a} {n}" for n, a in names.items())]
            (folder / "hosts").write_text("\n".join(lines) + "\n")
            if delay:
                switch.add(cable)
                _ip("link", "set", cable, "mtu", _LARGE_FRAMES)
                _ip("link", "set", cable, "netns", namespace, "name", INTERFACE)
            else:
                peer = ("peer", "name", INTERFACE, "netns", namespace)
                _ip("link", "add", cable, "type", "veth", *peer)
                _ip("link", "set", cable, "master", bridge, "up")
            _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", INTERFACE)
            for link in (INTERFACE, "lo"):
                _ip("-n", namespace, "link", "set", link, "up")
        if delay:
            switch.start()
        yield made
    finally:
        switch.end()
        for host in made.hosts:
            with suppress(OSError):
                made.end()
            with suppress(OSError):
                _ip("netns", "del", host.namespace)
            shutil.rmtree(_HOSTS_FILES / host.namespace, ignore_errors=True)
        with suppress(OSError):
            _ip("link", "del", bridge)
