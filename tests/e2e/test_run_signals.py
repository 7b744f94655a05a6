"""Signals at a run that is under way (acceptance A5): each leads to a verified shutdown, none shortens it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from runs import Desk, Ended, tells_the_truth

SLEEPER = "mkdir -p r && echo part > r/part && echo begun\ni=0\nwhile [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done\n"


def said(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    """What the process wrote to stderr until *word* was in it."""
    assert process.stderr is not None
    text = b""
    for line in process.stderr:
        text += line
        if word in text:
            return text
    raise AssertionError(f"it ended without {word!r}: {text.decode()}")


def signalled(desk: Desk, key: str, word: bytes, *numbers: signal.Signals, **more: Any) -> Ended:
    """A run that was sent *numbers* once it had said *word*."""
    with desk.start("run", str(desk.script(SLEEPER)), "--on", key, "-o", "r", "--json", **more) as process:
        text = said(process, word)
        for number in numbers:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return Ended(code=process.returncode, out=out.decode(), err=(text + err).decode(errors="replace"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("word", [b"lease granted", b"connected to", b"inputs are there", b"begun"])
def test_a_signal_ends_in_a_verified_shutdown(desk: Desk, number: signal.Signals, code: int, word: bytes) -> None:
    """From acquire, connect, stage_in and execute; what there is comes back."""
    key = desk.instance(f"vm-{number.name}-{word.decode()}")
    ended = signalled(desk, key, word, number)
    assert ended.code == code, ended.err
    receipt = ended.document["receipt"]
    # At "lease granted" the signal may come before the first request that spends: then nothing was asked of the instance.
    assert receipt is None or receipt["verified"]
    assert receipt is not None or word == b"lease granted"
    tells_the_truth(desk, ended, key)
    assert desk.is_down(key)
    if word == b"begun":
        assert (Path(ended.document["output_dir"]) / "r" / "part").read_text() == "part\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("word", [b"script ended", b" shelve requested"])
def test_a_signal_after_the_script_changes_nothing_but_the_code(
    desk: Desk, number: signal.Signals, code: int, word: bytes
) -> None:
    """In stage_out and shutdown: everything is collected, and the instance is proven down all the same."""
    key = desk.instance(f"vm-late-{number.name}-{word.decode()}")
    script = desk.script("mkdir -p r && echo whole > r/part\n")
    with desk.start("run", str(script), "--on", key, "-o", "r", "--json") as process:
        said(process, word)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    ended = Ended(code=process.returncode, out=out.decode(), err=err.decode(errors="replace"))
    assert ended.code == code, ended.err
    assert ended.document["receipt"]["verified"]
    assert (Path(ended.document["output_dir"]) / "r" / "part").read_text() == "whole\n"
    assert desk.is_down(key)


def test_a_second_ctrl_c_says_how_things_stand_and_changes_nothing(desk: Desk) -> None:
    """The script takes a while to save what it has; impatience does not leave the instance up."""
    key = desk.instance("vm-impatient")
    saves = "mkdir -p r\ntrap 'sleep 1.5; echo saved > r/part; exit 0' TERM\necho begun\nwhile :; do sleep 0.1; done\n"
    with desk.start("run", str(desk.script(saves)), "--on", key, "-o", "r", "--json") as process:
        said(process, b"begun")
        process.send_signal(signal.SIGINT)
        said(process, b"stopping the script")
        process.send_signal(signal.SIGINT)
        said(process, b"jetrun is in phase execute; vm-impatient is ACTIVE")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    assert (Path(document["output_dir"]) / "r" / "part").read_text() == "saved\n"
    assert desk.is_down(key)


def test_a_closed_terminal_ends_in_a_verified_shutdown(desk: Desk) -> None:
    """The window is closed: SIGHUP, and nobody to write to."""
    key = desk.instance("vm-terminal")
    master, slave = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = desk.start(
        "run", str(desk.script(SLEEPER)), "--on", key, stdin=slave, stdout=slave, stderr=slave, preexec_fn=own_terminal
    )
    os.close(slave)
    shown = b""
    while b"begun" not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    assert process.wait(timeout=60) == 129
    assert desk.is_down(key)


def test_ctrl_z_is_refused_with_a_word_why(desk: Desk) -> None:
    """A stopped jetrun could not bring the instance down."""
    key = desk.instance("vm-ctrl-z")
    with desk.start("run", str(desk.script(SLEEPER)), "--on", key, "--json") as process:
        said(process, b"begun")
        process.send_signal(signal.SIGTSTP)
        said(process, b"Ctrl-Z is refused")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert desk.is_down(key)


def test_a_killed_driver_is_continued_to_a_verified_end(desk: Desk) -> None:
    """SIGKILL in execute, then ``jetrun continue``."""
    key = desk.instance("vm-killed")
    with desk.start("run", str(desk.script("echo begun; sleep 2\n")), "--on", key, "--json") as process:
        said(process, b"begun")
        process.kill()
        process.communicate(timeout=30)
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.code == 0, ended.err
    tells_the_truth(desk, ended, key)
    assert desk.is_down(key)
