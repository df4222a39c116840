"""Where the suite runs: what a result file says of the machine, and how many descriptors it may use."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
from pathlib import Path

from bench.peers.results import Machine

__all__ = ["commit", "describe", "load_average", "raise_descriptors"]


def describe() -> Machine:
    """This machine."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpu = found[1] if found else platform.machine()
    cores = len(os.sched_getaffinity(0))
    return Machine(cpu, cores, memory, f"{platform.system()} {platform.release()}", platform.python_version())


def load_average() -> float:
    """Processes that ran or wanted to, on average in the last minute."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """The commit of this checkout, with a `+` if files differ from it; "unknown" outside of one."""
    here = Path(__file__).parent
    argv = ["git", "--no-optional-locks", "-C", str(here), "describe", "--always", "--dirty=+", "--match", "v*"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def raise_descriptors() -> int:
    """Raises the limit of open files as far as it may be, for us and all that we start. The limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
