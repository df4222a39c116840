"""The fork server: a process that has imported everything, and forks workers when it is told to.

It exists before any event loop and any thread, so its forks are safe, and a new worker costs no imports even on a
machine that is busy. It is plain blocking code: it waits for the supervisor's word and for the end of its children,
and ends when the supervisor and its last worker have. Should it die, the supervisor starts another one by executing
this module.
"""

from __future__ import annotations

import array
import gc
import logging
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
import pluggy
from msgspec import Struct

from daemun.extend.loading import load_plugins
from daemun.process.log import set_up_log
from daemun.process.workers.worker import run_worker
from daemun.settings import PluginSettings

__all__ = [
    "MAX_DESCRIPTORS",
    "Exited",
    "Forked",
    "Image",
    "Reply",
    "decode_reply",
    "fork_zygote",
    "main",
    "spawn_zygote",
]

log = logging.getLogger("daemun.workers")

MAX_DESCRIPTORS = 250
"""Descriptors that one message may carry (the kernel's limit is 253)."""
_MAX_MESSAGE_BYTES = 256
_LOST_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM)


class Forked(Struct, frozen=True, tag="forked"):
    """To the supervisor, with a descriptor of the process: the worker that it asked for."""

    pid: int


class Exited(Struct, frozen=True, tag="exited"):
    """To the supervisor: a worker ended, with a status as `subprocess` has it (negative for a signal)."""

    pid: int
    status: int


Reply = Forked | Exited

decode_reply: Callable[[bytes], Reply] = msgspec.msgpack.Decoder(Reply).decode


class Image(Struct, frozen=True):
    """What a fork server that is executed needs to be like one that was forked."""

    plugins: PluginSettings
    log_level: int
    path: tuple[str, ...]
    shared_dir: str


def fork_zygote(manager: pluggy.PluginManager, shared_dir: Path) -> tuple[socket.socket, int]:
    """Forks a fork server, and returns the socket to it and its pid. No thread and no event loop may exist yet.

    It removes `shared_dir` should it outlive the supervisor.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _last_act(lambda: _serve(theirs, manager, shared_dir))
    theirs.close()
    return ours, pid


def spawn_zygote(plugins: PluginSettings, shared_dir: Path) -> tuple[socket.socket, int]:
    """The same by executing the interpreter anew, which threads and event loops do not hinder."""
    image = Image(plugins, logging.getLogger("daemun").level, tuple(sys.path), str(shared_dir))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        words = msgspec.json.encode(image).decode()
        code = "import sys; sys.path[:] = __import__('json').loads(sys.argv[2])['path']; "
        code += f"from {__name__} import main; main()"
        command = [sys.executable, "-c", code, str(theirs.fileno()), words]
        pid = os.posix_spawn(sys.executable, command, os.environ)
        return ours.dup(), pid


def main() -> None:
    """The fork server as a program: `DESCRIPTOR IMAGE`."""
    image = msgspec.json.decode(sys.argv[2], type=Image)
    set_up_log(logging.getLevelName(image.log_level))
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    manager = load_plugins(image.plugins.block, image.plugins.only)
    _last_act(lambda: _serve(control, manager, Path(image.shared_dir)))


def _last_act(act: Callable[[], None]) -> None:
    """Runs `act` and ends the process: nothing of what the parent had on its stack may run here."""
    status = 1
    try:
        act()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        log.exception("process %d failed", os.getpid())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _serve(control: socket.socket, manager: pluggy.PluginManager, shared_dir: Path) -> None:
    """Serves the supervisor until it is gone; clears away behind it when the last worker is gone too."""
    for number in _LOST_SIGNALS:
        signal.signal(number, _ignore)
    gc.collect()
    gc.freeze()
    children: dict[int, int] = {}
    try:
        _fork_on_demand(control, manager, children)
    except (BrokenPipeError, ConnectionResetError):
        pass
    for pid in children.values():
        os.waitpid(pid, 0)
    shutil.rmtree(shared_dir, ignore_errors=True)


def _fork_on_demand(control: socket.socket, manager: pluggy.PluginManager, children: dict[int, int]) -> None:
    """Forks a worker for each message, and tells of each that ends. `children` are pids by their handle."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor != control.fileno():
                poller.unregister(descriptor)
                pid, status = os.waitpid(children.pop(descriptor), 0)
                os.close(descriptor)
                control.send(msgspec.msgpack.encode(Exited(pid, os.waitstatus_to_exitcode(status))))
                continue
            data, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                control.close()
                for other in children:
                    os.close(other)
                _last_act(lambda own=descriptors: run_worker(own, manager))  # type: ignore[misc]
            for one in descriptors:
                os.close(one)
            handle = os.pidfd_open(pid)
            children[handle] = pid
            poller.register(handle, select.POLLIN)
            _send(control, Forked(pid), handle)


def _send(control: socket.socket, reply: Reply, descriptor: int) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    control.sendmsg([msgspec.msgpack.encode(reply)], ancillary)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The supervisor decides. (SIG_IGN would be inherited by what plugins execute.)"""
