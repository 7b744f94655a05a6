"""``jetrun submit``: the run's guardian carries it from the beginning, and this process only waits until the guardian stands."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from jetrun.engine.guardian import DONE
from jetrun.errors import ExitCode, InternalError, UsageError
from jetrun.guarantee.lifecycle import Kind
from jetrun.telling import LATELY, MAIL

if TYPE_CHECKING:
    from jetrun.job import Job
    from jetrun.wiring import House


def submitted(house: House, job: Job, cloud: str | None, *, no_alarm: bool, as_json: bool) -> int:
    """Begin the run and leave it to its guardian; prints its id.

    Raises:
        UsageError: nobody could be told how it ends, or the credential needs a person at every login.
        InternalError: the guardian does not stand.
    """
    from jetrun.cloud.sources import typed  # noqa: PLC0415 - openstacksdk costs a third of a second

    if not no_alarm:
        check_alarm(house, job)
    choice = house.choose_cloud(cloud)
    if typed():
        raise UsageError(
            code="credential-needs-a-person",
            what=f"the credential of cloud {choice.name} asks for a password, and nobody is there to type it again",
            next="use an application credential: Horizon, Identity, Application Credentials",
        )
    run = house.begin(job, choice)
    house.folder(run).mkdir(parents=True, exist_ok=True, mode=0o700)
    guardian = house.new_guardian(run, job, choice, detached=True)
    try:
        house.journal.append(run, Kind.GUARDED, dict(guardian.stand() or {}))
    except BaseException:
        # What was refused, or broken off, must not run all the same as soon as this process is gone.
        guardian.page.verdict = DONE
        with contextlib.suppress(InternalError):
            house.journal.append(run, Kind.CLOSED, {"exit_code": int(ExitCode.INTERRUPTED)})
        raise
    sys.stdout.write(json.dumps({"schema": 1, "run_id": run}) + "\n" if as_json else f"{run}\n")
    sys.stderr.write(f"it goes on without you: jetrun ps, jetrun logs -f {run}, jetrun cancel {run}\n")
    return 0


def check_alarm(house: House, job: Job) -> None:
    """Refuse a run whose end nobody would hear of.

    Raises:
        UsageError: no way to tell a person is set up, or none has accepted anything lately.
    """
    usable = [one for one in house.telling.ways if one != MAIL or job.email.to]
    worked = house.telling.worked_lately()
    if any(one in worked for one in usable):
        return
    if not house.telling.ways:
        why = "no mail server and no channel is set up"
    elif not usable:
        why = "the job names nobody to mail ([email] to), and no other channel is set up"
    else:
        why = f"{', '.join(usable)} has accepted nothing in the last {LATELY.days} days"
    raise UsageError(
        code="no-alarm",
        what=f"nobody sees this run, and nobody could be told that its instance is still up: {why}",
        next="jetrun doctor --alarm-test   # then again; or do without: --no-alarm",
    )
