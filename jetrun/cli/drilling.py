"""A drill: which cases, where, how many at once, and the table. A case itself: drill_case.py."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jetrun.cli.drill_case import JOB, Case, Place, Row
from jetrun.cloud.interface import command
from jetrun.errors import JetrunError, UsageError
from jetrun.guarantee.power import Disposition, InstanceId, is_down

if TYPE_CHECKING:
    from jetrun.devcloud.client import Running

KILLS = ("driver", "guardian", "both", "network", "mail")
ABREAST = 3
"""Cases at once on the embedded cloud: each is two processes that mostly wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What to drill, and where the runs are kept."""

    base: Path
    phases: tuple[str, ...]
    kills: tuple[str, ...]


def on_embedded(wish: Drill) -> list[Row]:
    """Every case on an embedded cloud of the drill's own, on an instance of its own.

    Raises:
        UsageError: the embedded cloud's libraries are not there, or it did not come up.
    """
    try:
        from jetrun.devcloud import client  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            code="devcloud-not-installed",
            what=f"the embedded cloud needs a package that is not there: {error.name}",
            next="pip install 'jetrun[devcloud]'",
        ) from error
    running = client.start(wish.base / "cloud")
    try:
        _tighten(running.clouds)
        place = Place(
            environ={"OS_CLIENT_CONFIG_FILE": str(running.clouds), "OS_CLOUD": "devcloud"},
            times={"timeout": "8s", "lease": "16s", "budget": "1s"},
            lease_s=25,
            wait_s=90,
            poll_s=0.1,
            mail_port=running.mail_port,
            cut=partial(_cut, running),
        )
        cases = [(phase, killed) for phase in wish.phases for killed in wish.kills]
        # The network is cut for all at once, so these take their turns alone.
        together = [case for case in cases if case[1] != "network"]
        rows: dict[tuple[str, str], Row] = {}
        with ProcessPoolExecutor(ABREAST, mp_context=multiprocessing.get_context("spawn")) as several:
            made = several.map(partial(_fresh, running, wish.base, place), together)
            rows |= dict(zip(together, made, strict=True))
        rows |= {case: _fresh(running, wish.base, place, case) for case in cases if case not in rows}
        return [rows[case] for case in cases]
    finally:
        client.stop(running)


def on_real(wish: Drill, cloud: str | None, on: str, *, lease: str, ssh_user: str | None) -> list[Row]:
    """Every case but the network's, one after the other, on one instance of a real cloud.

    Raises:
        UsageError: the instance is not found, or is not down now.
    """
    from jetrun.job_fields import seconds, toml_text  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        choice = house.choose_cloud(cloud)
        found = house.open_cloud(choice).find_instances(on)
        if len(found) != 1 or not is_down(found[0].observation, Disposition.STOP, shelved_is_down=True):
            state = found[0].observation.status if len(found) == 1 else f"{len(found)} instances of that name"
            raise UsageError(
                code="drill-refused",
                what=f"a drill needs one instance that is down and that nobody uses; {on}: {state}",
                next=f"{command(choice.name)} server list   # then: jetrun drill --os-cloud {choice.name} --on NAME",
            )
        instance = found[0].id
        to = house.config.usual_recipients if house.config.mail is not None else ()
    lease_s = seconds(lease)
    tenth = f"{max(1, lease_s * 0.15):.0f}s"
    user = f'[ssh]\nuser = "{ssh_user}"\n' if ssh_user else ""
    place = Place(
        environ={"OS_CLOUD": choice.name},
        times={"timeout": tenth, "lease": lease, "budget": tenth},
        lease_s=lease_s + 300,
        wait_s=lease_s + 1200,
        poll_s=2,
        job=JOB.replace('["drill@localhost"]', toml_text(list(to))) + user,
    )
    rows = []
    for phase, killed in ((phase, killed) for phase in wish.phases for killed in wish.kills if killed != "network"):
        rows.append(_case(wish.base / f"{phase}-{killed}", place, instance, phase, killed))
        if not rows[-1].down:
            # Nothing more is done on one that is up.
            rows[-1] = replace(rows[-1], note=f"by hand: {command(choice.name)} server shelve {instance}")
            break
    return rows


def _tighten(clouds: Path) -> None:
    """On the embedded cloud the switch looks every second, and the guardian's patience is short: a drill is over in minutes."""
    # The embedded cloud writes it as JSON, which is YAML, too.
    entry = json.loads(clouds.read_text(encoding="utf-8"))
    mine = entry["clouds"]["devcloud"].setdefault("jetrun", {})
    mine["bounds"] = {**mine.get("bounds", {}), "switch_tick_s": 1, "lease_margin_s": 1, "retry_s": 1}
    clouds.write_text(json.dumps(entry, indent=2), encoding="utf-8")


def _cut(running: Running) -> Callable[[], None]:
    """Cut this machine off from the cloud and its instances; what joins them again."""
    for service in ("nova.*", "neutron.*", "keystone.*", "glance.*"):
        running.add_fault("close", on=service, times=-1)
    running.add_fault("ssh-drop", seconds=0)
    running.add_fault("ssh-refused", times=-1)
    return running.clear_faults


def _fresh(running: Running, base: Path, place: Place, case: tuple[str, str]) -> Row:
    """A case on an instance of its own."""
    phase, killed = case
    name = f"drill-{phase}-{killed}".replace("_", "-")
    instance = InstanceId(str(running.do("add", name=name)["id"]))
    return _case(base / f"{phase}-{killed}", place, instance, phase, killed)


def _case(folder: Path, place: Place, instance: InstanceId, phase: str, killed: str) -> Row:
    """One run, killed in that phase, watched until its instance is down."""
    try:
        with Case(folder, place, instance, phase, killed) as case:
            return case.play()
    except JetrunError as error:
        # One that could not be played is a row that fails; the others are played all the same.
        return Row.failed(phase, killed, error.what)


def table(rows: Sequence[Row]) -> str:
    """The cases for a person."""
    head = f"{'PHASE':<10} {'KILLED':<10} {'ENDED BY':<20} {'OFF':>7} {'DOWN':>7} {'COST':>10}  {'MAIL':<8} EXIT\n"
    lines = []
    for row in rows:
        off = "-" if row.off_s is None else f"{row.off_s:.1f} s"
        down = f"{row.seconds:.1f} s" if row.seconds is not None else "NO"
        cost = "-" if row.cost is None else f"{row.cost:.4f} {row.unit}"
        by = row.ended_by or ("NOT PLAYED" if row.note else "NOBODY: STILL UP")
        code = "-" if row.exit_code is None else row.exit_code
        lines.append(
            f"{row.phase:<10} {row.killed:<10} {by:<20} {off:>7} {down:>7} {cost:>10}  {row.mail:<8} {code}  {row.note}\n"
        )
    up = sum(not row.down for row in rows)
    end = f"\n{len(rows)} cases; {up or 'no'} instance{'s' if up != 1 else ''} left up\n"
    return head + "".join(lines) + end
