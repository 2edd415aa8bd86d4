"""Programs of the demonstration, each a process of its own with a log file, none outliving the demonstration."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

STOP_WITHIN_S = 20.0
PORT_MIN = 20_000
TOOLS = Path(sys.executable).parent  # the console scripts of this environment


class Failed(Exception):
    """The demonstration cannot go on; the message says why and where to look."""


@dataclass(slots=True)
class Program:
    """A command that should run until it is stopped; `keep_alive` starts it again when it died."""

    name: str
    command: list[str]
    log: Path
    standard_input: str = ""
    process: subprocess.Popen[str] | None = field(default=None)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches only the demonstration, which stops it in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*dies_with_us(), *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        if self.process.stdin is not None:
            self.process.stdin.write(self.standard_input)
            self.process.stdin.close()

    def keep_alive(self) -> None:
        """Start it again when it died."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    @property
    def pid(self) -> int:
        """Return the running process's id."""
        return self.process.pid if self.process is not None else 0

    def stop(self) -> None:
        """Ask it to stop and wait; kill it when it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def dies_with_us() -> list[str]:
    """Return the words that make a command end when this process is killed; none where the tool is missing."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def run(*command: str) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        Failed: with its last words.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])} … failed:\n{(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, within_s: float, log: Path) -> None:
    """Wait until the condition holds.

    Raises:
        Failed: naming what did not happen and the log's last lines.
    """
    give_up_at = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up_at:
            tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise Failed(f"{what} within {within_s:.0f} s. {log} ends:\n{tail}")
        time.sleep(0.05)


def free_port(preferred: int = 0) -> int:
    """Return the preferred port when it is free on loopback, else any free one."""
    for port in (preferred, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failed("no free port on 127.0.0.1")


def free_ports(count: int) -> list[int]:
    """Return different free ports on loopback, below those that the kernel gives to whoever calls somebody.

    Who listens there is called while it is away, and comes back.
    """
    beyond = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(PORT_MIN, beyond)
        if free_port(port) == port:
            found.add(port)
    return list(found)


def proportional_set_size_mb(pid: int) -> float:
    """Return the memory of a process and all its descendants, shared pages divided among their users, in MB."""
    total_kb, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        try:
            for line in Path(f"/proc/{current}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kb += int(line.split()[1])
            for thread in Path(f"/proc/{current}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total_kb / 1024
