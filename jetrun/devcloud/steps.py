"""What every step of a task is made of: a task that ends, a host that runs an instance, one that does no more. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from jetrun.devcloud.server_record import ServerRecord

if TYPE_CHECKING:
    from jetrun.devcloud.model import NovaModel

HOST = "devcloud-host"

Step = Callable[["NovaModel", ServerRecord, datetime], None]


def settle(server: ServerRecord, vm_state: str, now: datetime, *, power: int, error: bool = False) -> None:
    """The task is over: the new state stands and the log says so."""
    server.vm_state, server.task_state, server.power_state = vm_state, None, power
    server.updated = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    server.finish(now, error=error)


def up(model: NovaModel, server: ServerRecord) -> None:
    """The host runs it."""
    if not server.really_on:
        server.really_on = True
        model.effect("power_on", server)


def off(model: NovaModel, server: ServerRecord) -> None:
    """The host does not run it any more."""
    server.really_on = False
    model.effect("power_off", server)
