"""The host process: forks one child an instance, freezes, thaws and ends it, and ends them all when the cloud is gone.

Orders come in on a channel, ends of instances go out. It has no threads and no event loop, so that a fork is safe at any moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetrun.devcloud.instance import run
from jetrun.devcloud.instance_children import signal_quietly
from jetrun.devcloud.instance_spec import InstanceSpec
from jetrun.devcloud.processes import children_of, descendants_of, kill_below, state_of

MARGIN_S = 1.0
"""What an instance has beyond its grace to be off by itself, before it is killed."""
FREEZE_S = 2.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True, kw_only=True)
class _Guest:
    """One instance that is on.

    Attributes:
        boot: the number of the order that booted it. awaited: orders that it has not answered. off: orders that wait for its end.
        stopped: its processes that were stopped before it was frozen, and stay so; None while it is not frozen.
    """

    pid: int
    link: socket.socket
    boot: int
    grace_s: float
    awaited: set[int] = field(default_factory=set)
    off: list[int] = field(default_factory=list)
    kill_at: float | None = None
    stopped: set[int] | None = None


class Host:
    """The host process's own loop."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._guests: dict[str, _Guest] = {}
        os.setsid()
        # What a killed instance leaves becomes ours, and is ended.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        gc.freeze()

    def serve(self) -> None:
        """Until the channel closes; then nothing that runs inside an instance is left."""
        try:
            while self._turn():
                pass
        except OSError:
            return
        finally:
            for instance in list(self._guests):
                self._kill(instance)
            self._end_strays()

    def _turn(self) -> bool:
        """Wait for the next thing and do it; False when the cloud's process is gone."""
        links = {guest.link: name for name, guest in self._guests.items()}
        limits = [guest.kill_at for guest in self._guests.values() if guest.kill_at is not None]
        wait_s = max(0.0, min(limits) - time.monotonic()) if limits else None
        sources: list[Any] = [self._channel, self._woken, *links]
        ready, _, _ = select.select(sources, [], [], wait_s)
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 512)
        for link in links.keys() & set(ready):
            self._answered(links[link])
        self._collect()
        for name, guest in list(self._guests.items()):
            if guest.kill_at is not None and time.monotonic() >= guest.kill_at:
                self._kill(name)
        if self._channel in ready:
            data = self._channel.recv(1 << 20)
            if not data:
                return False
            self._obey(json.loads(data))
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        """One order."""
        name, number = order["id"], order["number"]
        guest = self._guests.get(name)
        match order["do"]:
            case "on":
                spec = InstanceSpec(**{**order["spec"], "folder": Path(order["spec"]["folder"])})
                if self._switch_on(name, number, spec):
                    return
            case "off" if guest is not None:
                guest.off.append(number)
                if order["graceful"] and guest.stopped is None and self._pass_on(guest, {"do": "off", "number": 0}):
                    guest.kill_at = time.monotonic() + guest.grace_s + MARGIN_S
                else:
                    self._kill(name)
                return
            case "freeze" if guest is not None:
                freeze(guest)
            case "thaw" if guest is not None:
                thaw(guest)
            case "tell" if guest is not None and guest.stopped is None:
                if self._pass_on(guest, {**order["order"], "number": number}):
                    guest.awaited.add(number)
                    return
        self._say({"id": name, "done": number})

    def _switch_on(self, name: str, number: int, spec: InstanceSpec) -> bool:
        """Boot it; one that is on stays as it is, unless it is on its way off. Whether it will say itself that it is there."""
        guest = self._guests.get(name)
        if guest is not None and guest.kill_at is None:
            guest.boot = number
            return False
        if guest is not None:
            self._kill(name)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            self._become(spec, theirs, ours)
        theirs.close()
        ours.setblocking(False)
        guest = self._guests[name] = _Guest(pid=pid, link=ours, boot=number, grace_s=spec.grace_s)
        # Answered once its disk is as a boot leaves it: /run empty, the programs there.
        self._pass_on(guest, {"do": "hello", "number": number})
        guest.awaited.add(number)
        return True

    def _become(self, spec: InstanceSpec, link: socket.socket, other: socket.socket) -> None:
        """In the child: be the instance, and never come back."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (self._channel, other, *(guest.link for guest in self._guests.values())):
                one.close()
            for descriptor in (self._woken, self._wake):
                os.close(descriptor)
            run(spec, link)
        except BaseException as error:  # noqa: BLE001 - the child must never come back into the host's loop
            with contextlib.suppress(OSError):
                (spec.folder / "crash.log").write_text(repr(error))
        finally:
            kill_below(os.getpid())
            os._exit(1)

    def _pass_on(self, guest: _Guest, order: dict[str, Any]) -> bool:
        """Give an instance an order; False when it cannot take one."""
        try:
            guest.link.send(json.dumps(order).encode())
        except OSError:
            return False
        return True

    def _answered(self, name: str) -> None:
        """An instance has carried out an order."""
        guest = self._guests[name]
        with contextlib.suppress(OSError):
            while data := guest.link.recv(1 << 12):
                number = json.loads(data)["done"]
                if number in guest.awaited:
                    guest.awaited.remove(number)
                    self._say({"id": name, "done": number})
            # It has closed its end: the signal of its own end follows, and brings a new turn.
            os.waitid(os.P_PID, guest.pid, os.WEXITED | os.WNOWAIT)

    def _kill(self, name: str) -> None:
        """Cut the power: everything inside first, then the instance itself."""
        guest = self._guests[name]
        signal_quietly(guest.pid, signal.SIGSTOP)
        kill_below(guest.pid)
        signal_quietly(guest.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(guest.pid, 0)
        self._gone(name, code=-signal.SIGKILL)

    def _collect(self) -> None:
        """Instances that have ended, by themselves or as they were told."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, guest in list(self._guests.items()):
                if guest.pid == pid:
                    self._gone(name, code=os.waitstatus_to_exitcode(status))

    def _gone(self, name: str, *, code: int) -> None:
        """An instance is off: whoever waits for that is told, or else that it did so by itself."""
        guest = self._guests.pop(name)
        guest.link.close()
        self._end_strays()
        for number in [*guest.awaited, *guest.off]:
            self._say({"id": name, "done": number})
        if not guest.off:
            self._say({"id": name, "ended": code, "boot": guest.boot})

    def _end_strays(self) -> None:
        """Children of ours that are no instances were orphaned by one that was killed."""
        own = {guest.pid for guest in self._guests.values()}
        while strays := [pid for pid in children_of(os.getpid()) if pid not in own]:
            for pid in strays:
                kill_below(pid)
                signal_quietly(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _say(self, what: dict[str, Any]) -> None:
        """Tell the cloud's process."""
        self._channel.send(json.dumps(what).encode())


def freeze(guest: _Guest) -> None:
    """Stop everything inside; what is just being started is stopped as well."""
    if guest.stopped is not None:
        return
    # /proc's lists of children may miss one while others end beside it (proc(5)); three looks together miss none.
    guest.stopped = {pid for _ in range(3) for pid in descendants_of(guest.pid) if state_of(pid) == "T"}
    until = time.monotonic() + FREEZE_S
    while time.monotonic() < until:
        moving = [
            pid for pid in [guest.pid, *descendants_of(guest.pid)] if state_of(pid) not in {"", "Z", "X", "T", "t"}
        ]
        if not moving:
            return
        for pid in moving:
            signal_quietly(pid, signal.SIGSTOP)


def thaw(guest: _Guest) -> None:
    """Let everything go on that went on before."""
    if guest.stopped is None:
        return
    for pid in [guest.pid, *descendants_of(guest.pid)]:
        if pid not in guest.stopped:
            signal_quietly(pid, signal.SIGCONT)
    guest.stopped = None
