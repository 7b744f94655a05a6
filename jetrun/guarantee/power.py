"""Instance states: what an observation is, what is down for each disposition. Pure.

The one rule: a status that is not known to be down is up. New words of Nova's are up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType, assert_never

InstanceId = NewType("InstanceId", str)
RequestId = NewType("RequestId", str)
RunId = NewType("RunId", str)


class Disposition(StrEnum):
    """How an instance must end."""

    SHELVE = "shelve"
    STOP = "stop"
    DELETE = "delete"


class Action(StrEnum):
    """A request that jetrun can send about an existing instance. The words are ``os-instance-actions``' own."""

    START = "start"
    UNSHELVE = "unshelve"
    RESUME = "resume"
    UNPAUSE = "unpause"
    SHELVE = "shelve"
    STOP = "stop"
    DELETE = "delete"


ABSENT = "ABSENT"
"""The status of an observation that was answered 404: the cloud shows no such instance to this credential."""

STARTING_ACTIONS = frozenset({"create", "start", "unshelve", "resume", "unpause", "reboot", "rebuild", "restore"})
"""Actions in the log that bring an instance up. Source: Nova's instance_actions names; DESIGN.md section 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One fresh read of one instance by its id.

    Attributes:
        at: when the question was *sent* (so that an answer delayed by a sleeping laptop never looks fresh).
        status: Nova's word (``ACTIVE`` ...), or :data:`ABSENT` for 404.
        vm_state, task_state: Nova's extended status; task_state None when no task is in progress.
        power_state: Nova's number (0 none, 1 running, 3 paused, 4 shutdown, 6 crashed, 7 suspended). It proves nothing.
        locked: whether the instance is locked, None where the cloud does not say.
        has_host: whether it is on a host; None where the cloud does not say.
    """

    at: datetime
    status: str
    vm_state: str | None = None
    task_state: str | None = None
    power_state: int | None = None
    locked: bool | None = None
    has_host: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAction:
    """One entry of ``os-instance-actions``, the cloud's own record of who asked for what.

    Attributes:
        request_id: the ``x-openstack-request-id`` of the accepted request.
        action: Nova's word (``shelve``, ``unshelve``, ``start`` ...).
        user_id, project_id: who asked; None for the cloud itself (power sync, host reboot).
        started_at: when it was accepted, cloud time.
        failed: the entry's message says Error.
        finished: True or False where the entry's events tell; None where it was not asked for or not shown.
    """

    request_id: RequestId
    action: str
    user_id: str | None
    project_id: str | None
    started_at: datetime
    failed: bool = False
    finished: bool | None = None


def is_down(observation: Observation, disposition: Disposition, *, shelved_is_down: bool = False) -> bool:
    """Whether *observation* proves that *disposition* has been reached.

    Args:
        shelved_is_down: the cloud's profile says that SHELVED without offloading costs nothing.

    Returns:
        True only for a status on the disposition's allow-list with its vm_state and no task in progress;
        False for everything else, words that Nova may add later included.

    Source:
        Nova API guide, server_concepts, "Shelve": SHELVED can still hold the host's resources, so only
        SHELVED_OFFLOADED proves ``shelve``; with task ``unshelving`` it is on its way up (seen on Nova 26.2).
    """
    if observation.task_state is not None:
        return False
    seen = (observation.status, observation.vm_state)
    match disposition:
        case Disposition.DELETE:
            return observation.status == ABSENT
        case Disposition.STOP:
            return seen in _OFF
        case Disposition.SHELVE:
            return seen in _OFFLOADED or (shelved_is_down and seen in _SHELVED)
        case _:
            assert_never(disposition)


_OFFLOADED = frozenset({("SHELVED_OFFLOADED", "shelved_offloaded")})
_SHELVED = frozenset({("SHELVED", "shelved")})
# A shelved guest is powered off as well: it is at least as far down as a stopped one.
_OFF = frozenset({("SHUTOFF", "stopped")}) | _OFFLOADED | _SHELVED
