"""A8: how long the help takes, and a job that does nothing, from SHELVED_OFFLOADED to proven down, against a careful shell script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, in_turn, insist, timed
from runs import Desk

HELP_S = 0.15
NULL_S = 2.0
"""Bounds of the project's acceptance, A8."""

CAREFUL = Path(__file__).with_name("careful.sh")
BIN = Path(sys.executable).parent


def helping(desk: Desk, rounds: int) -> Iterator[Figure]:
    """``jetrun --help``, warm."""

    def ask() -> None:
        subprocess.run([BIN / "jetrun", "--help"], cwd=desk.folder, env=desk.environ, check=True, capture_output=True)

    ask()
    yield Figure(what="jetrun --help", values=in_turn(rounds, lambda: timed(ask))[0], bound=HELP_S)


def null_job(desk: Desk, rounds: int) -> Iterator[Figure]:
    """``jetrun run`` of ``true`` and careful.sh, each on an instance of its own that has been run on before."""
    script = desk.script("true\n", "null.sh")
    ours, theirs = desk.instance("null-jetrun"), desk.instance("null-careful")

    def jetrun() -> None:
        ended = desk.run(script, on=ours)
        insist(ended.code == 0, ended.err)
        insist(ended.document["receipt"]["verified"], "ended.document['receipt']['verified']")

    def careful() -> None:
        outputs = desk.folder / "careful"
        words: list[str | Path] = [
            CAREFUL,
            theirs,
            script,
            outputs,
            desk.cloud.key,
            "researcher",
            str(desk.cloud.ssh_port),
        ]
        environ = {**desk.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(words, cwd=desk.folder, env=environ, capture_output=True, text=True, check=False)
        insist(done.returncode == 0, done.stderr)
        insist((outputs / "log").exists(), "(outputs / 'log').exists()")

    jetrun()
    careful()
    run, by_hand = in_turn(rounds, lambda: timed(jetrun), lambda: timed(careful))
    careful_figure = Figure(what="the same by careful.sh (openstack, ssh, rsync)", values=by_hand)
    yield Figure(what="jetrun run of a null job", values=run, bound=NULL_S)
    yield careful_figure
    ratios = [one / other for one, other in zip(run, by_hand, strict=True)]
    yield Figure(what="jetrun over careful.sh", values=ratios, unit="", bound=1 / 3, why="a third")
    insist(desk.is_down(ours), "desk.is_down(ours)")
    insist(desk.is_down(theirs), "desk.is_down(theirs)")
