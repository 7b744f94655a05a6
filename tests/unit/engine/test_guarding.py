"""Starting a guardian: what it is told, what it is not, and what happens where it cannot be had."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetrun.engine import guardian, guarding
from jetrun.engine.guardian import PAGE, Page
from jetrun.engine.guarding import Guarded, NewlyGuarded, confined
from jetrun.errors import InternalError
from jetrun.guarantee.constants import Bounds
from jetrun.journal.owner import Owner

BEGUN: list[NewlyGuarded] = []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A run's folder. The driver is this process: no guardian of it outlives a test."""
    yield tmp_path
    while BEGUN:
        pid = BEGUN.pop()._pid
        if pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def begin(folder: Path, **environ: str) -> NewlyGuarded:
    begun = NewlyGuarded(
        "run-1",
        folder,
        environ={"PATH": os.environ["PATH"], **environ},
        only_end=False,
        bounds=Bounds(),
        typed={"openrc:OS_PASSWORD": "secret"},
    )
    BEGUN.append(begun)
    return begun


def test_it_stands_within_a_moment_and_says_who_it_is(folder: Path) -> None:
    kept = begin(folder).stand()
    assert kept is not None
    found = Owner.from_text(kept["owner"])
    assert found.is_alive()
    assert found.pid == int((folder / "guardian.pid").read_text())


def test_each_process_of_a_run_has_its_own(folder: Path) -> None:
    """Of those that act the journal lets one at a time."""
    assert begin(folder).stand() != begin(folder).stand()


def test_it_leaves_a_process_that_has_said_how_the_run_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook computes on, a pager holds the output: neither is a driver any more, nor stands still."""
    monkeypatch.setattr(guardian, "LOOK_S", 0.05)
    begun = begin(folder)
    begun.stand()
    begun.release(None, told=False)
    assert os.waitpid(begun._pid, 0)[1] == 0
    begun._pid = 0


def test_where_it_cannot_be_had_that_is_an_error_with_a_line_to_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "__file__", str(folder / "nonesuch.py"))
    with pytest.raises(InternalError) as caught:
        begin(folder).stand()
    assert caught.value.code == "no-guardian"
    assert "on_driver_loss" in caught.value.next


def test_a_systemd_that_does_not_take_it_is_done_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "LINGER", str(folder))
    monkeypatch.setattr(guarding, "_user", lambda: "runtime")
    runtime, programs = folder / "runtime", folder / "bin"
    (runtime / "systemd").mkdir(parents=True)
    (runtime / "systemd/private").touch()
    programs.mkdir()
    (programs / "systemd-run").write_text("#!/bin/sh\nexit 1\n")
    (programs / "systemd-run").chmod(0o755)
    kept = begin(folder, XDG_RUNTIME_DIR=str(runtime), PATH=f"{programs}:{os.environ['PATH']}").stand()
    assert kept is not None
    assert kept["scope"] != "systemd"


def test_a_systemd_that_takes_it_is_where_it_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it goes on without a login."""
    monkeypatch.setattr(guarding, "LINGER", str(folder))
    monkeypatch.setattr(guarding, "_user", lambda: "runtime")
    monkeypatch.setattr(guarding, "CONTAINER_FILES", ())
    runtime, programs = folder / "runtime", folder / "bin"
    (runtime / "systemd").mkdir(parents=True)
    (runtime / "systemd/private").touch()
    programs.mkdir()
    (programs / "systemd-run").write_text(
        '#!/bin/sh\necho "$@" > "$XDG_RUNTIME_DIR/asked"\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n'
    )
    (programs / "systemd-run").chmod(0o755)
    kept = begin(folder, XDG_RUNTIME_DIR=str(runtime), PATH=f"{programs}:{os.environ['PATH']}").stand()
    assert kept is not None
    assert kept["scope"] == "systemd"
    assert "--user --scope" in (runtime / "asked").read_text()


def test_what_ends_all_processes_together_is_known() -> None:
    assert confined({"SLURM_JOB_ID": "7"}) == "batch job"
    assert confined({"container": "podman"}) == "container"


def test_whoever_is_started_by_a_guardian_finds_its_page_and_what_was_typed() -> None:
    page = Page.make({"typed": {"openrc:OS_PASSWORD": "secret"}})
    environ = {PAGE: str(page.descriptor)}
    found = Guarded.inherited(environ)
    assert found is not None
    assert found.typed == {"openrc:OS_PASSWORD": "secret"}
    assert environ == {}, "no child of ours learns of it"
    assert not os.get_inheritable(page.descriptor)
    assert Guarded.inherited({}) is None


def test_the_program_loads_nothing_of_jetruns() -> None:
    """So that it is small: what acts is started when it is needed."""
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({guardian.__file__!r}); import sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not [name for name in said if name.startswith(("jetrun", "pathlib", "asyncio", "subprocess"))]


def test_a_guardian_is_not_waited_for_before_it_is_needed(folder: Path) -> None:
    began = time.monotonic()
    begun = begin(folder)
    assert time.monotonic() - began < 1.0
    begun.stand()


def test_without_a_place_for_its_lock_it_stands_all_the_same(folder: Path) -> None:
    begun = begin(folder / "nonesuch")
    assert begun.stand() is not None


def test_the_reason_for_a_missing_one_is_told(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(guarding.os, "posix_spawn", refuse)
    with pytest.raises(InternalError, match="temporarily unavailable"):
        begin(folder).stand()
