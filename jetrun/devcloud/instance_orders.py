"""The door of an instance for the programs inside: systemctl, systemd-run, poweroff, shutdown and reboot come through it.

Each order is a file with its words, and a pipe with a name for the answer (guest/order.sh); the door itself is a named pipe
that carries their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jetrun.devcloud.instance_systemctl import Answer, stamp, systemctl
from jetrun.devcloud.instance_transient import systemd_run
from jetrun.devcloud.instance_units import Units

_OPTIONS = {"-h": "poweroff", "-P": "poweroff", "-H": "poweroff", "--poweroff": "poweroff", "--halt": "poweroff",
            "-r": "reboot", "--reboot": "reboot"}  # fmt: skip
Power = Callable[[str], None]


class Door:
    """Takes the orders of the programs inside.

    Args:
        folder: the instance's ``run/``. power: told ``poweroff`` or ``reboot``. warn: what logged-in users are to read.
    """

    def __init__(self, folder: Path, units: Units, *, power: Power, warn: Callable[[str], None]) -> None:
        self._orders = folder / "orders"
        self._units = units
        self._power = power
        self._warn = warn
        self._planned: asyncio.TimerHandle | None = None
        # Read and write: it never sees the end of its input between two orders.
        self._door = os.open(folder / "door", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""
        self._working: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(self._door, self._heard)

    def close(self) -> None:
        """Take no more orders."""
        asyncio.get_running_loop().remove_reader(self._door)
        os.close(self._door)
        for task in self._working:
            task.cancel()

    def _heard(self) -> None:
        """The numbers of new orders."""
        with contextlib.suppress(BlockingIOError):
            self._rest += os.read(self._door, 4096)
        *whole, self._rest = self._rest.split(b"\n")
        for number in whole:
            if number.isdigit():
                task = asyncio.ensure_future(self._serve(self._orders / number.decode()))
                self._working.add(task)
                task.add_done_callback(self._working.discard)

    async def _serve(self, reply: Path) -> None:
        """One order: read, carried out, answered."""
        asked = reply.with_suffix(".argv")
        try:
            who, cwd, program, *argv = asked.read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
            answering = os.open(reply, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # whoever asked is gone
            return
        finally:
            for path in (asked, reply):
                path.unlink(missing_ok=True)
        try:
            answer = await self._carry_out(program, argv, is_root=who == "root", cwd=cwd)
            lines = [f"o{line}" for one in answer.out for line in one.split("\n")]
            lines += [f"e{line}" for one in answer.err for line in one.split("\n")]
            text = "\n".join([*lines, f"c{min(answer.code, 255)}", ""])
            await _write(answering, text.encode(errors="surrogateescape"))
        finally:
            os.close(answering)

    async def _carry_out(self, program: str, argv: list[str], *, is_root: bool, cwd: str) -> Answer:
        """One command line."""
        if program == "systemctl":
            verb = next((word for word in argv if not word.startswith("-")), "")
            if verb not in {"poweroff", "reboot", "halt"}:
                return await systemctl(self._units, argv, is_root=is_root)
            program, argv = verb, []
        if program == "systemd-run":
            return await systemd_run(self._units, argv, is_root=is_root, cwd=cwd)
        answer = Answer()
        if not is_root:
            answer.fail(1, f"Failed to {program}: Interactive authentication required.")
        elif program == "shutdown":
            self._shutdown(argv, answer)
        else:
            self._power("reboot" if program == "reboot" else "poweroff")
        return answer

    def _shutdown(self, argv: list[str], answer: Answer) -> None:
        """``shutdown``: now, at a time, or never mind. Source: shutdown(8)."""
        what, words = "poweroff", []
        for word in argv:
            if word in {"-c", "--cancel"}:
                self._cancel()
                return
            if word in _OPTIONS:
                what = _OPTIONS[word]
            elif not word.startswith("-"):
                words.append(word)
        at = words[0] if words else "+1"
        wait_s = until_s(at, datetime.now(UTC))
        if wait_s is None:
            answer.fail(1, f"Failed to parse time specification: {at}")
            return
        self._cancel()
        if wait_s == 0:
            self._power(what)
            return
        self._planned = asyncio.get_running_loop().call_later(wait_s, self._power, what)
        when = stamp(datetime.now(UTC) + timedelta(seconds=wait_s))
        noun = "Reboot" if what == "reboot" else "Shutdown"
        answer.err.append(f"{noun} scheduled for {when}, use 'shutdown -c' to cancel.")
        self._warn(" ".join(words[1:]) or f"The system will {'reboot' if what == 'reboot' else 'power off'} at {when}!")

    def _cancel(self) -> None:
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None


def until_s(text: str, now: datetime) -> float | None:
    """Seconds until shutdown's ``now``, ``+MINUTES`` or ``HH:MM``; None for what is none of these."""
    if text == "now":
        return 0
    if text.removeprefix("+").isdigit():
        return 60.0 * int(text.removeprefix("+"))
    try:
        hour, minute = (int(word) for word in text.split(":"))
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError:
        return None
    return (at - now).total_seconds() % 86400


async def _write(descriptor: int, data: bytes) -> None:
    """Write to a pipe whose reader may be slow, or gone."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            await asyncio.sleep(0.005)
        except BrokenPipeError:
            return
