"""The clouds that the contract holds: the adapter over the embedded cloud's HTTP, and the simulation. One face for both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from devcloud_subject import embedded_cloud

from jetrun.cloud.credentials import choose
from jetrun.cloud.interface import Cloud
from jetrun.cloud.openstack import OpenStackCloud
from jetrun.devcloud.rules import ZERO
from jetrun.devcloud.state import CloudState
from jetrun.guarantee.power import InstanceId
from jetrun.testing.clock import SimClock
from jetrun.testing.sim_cloud import SimCloud

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DMROBHUlMzXKSpAuMnYNnQ8WnlcYIR5 test"


@dataclass(kw_only=True)
class Subject:
    """A cloud under test, and what the world does to it.

    Attributes:
        add: makes a shelved instance of that name, of that user's.
        fault: sets a fault. wait: lets a little time pass.
    """

    cloud: Cloud
    stranger: Cloud
    add: Callable[..., InstanceId]
    fault: Callable[..., None]
    clear: Callable[[], None]
    wait: Callable[[], None]

    def until(self, instance: InstanceId, status: str) -> None:
        """Waits until *instance* has that status and no task."""
        for _ in range(400):
            read = self.cloud.observe(instance)
            if read.status == status and read.task_state is None:
                return
            self.wait()
        raise AssertionError(f"{instance} is {read}, not {status}")


@contextmanager
def adapter(clouds: Path, name: str, **environ: str) -> Iterator[OpenStackCloud]:
    """The adapter for one entry of a clouds.yaml, with nothing else in the environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
    with patch.dict(os.environ, {**kept, "OS_CLIENT_CONFIG_FILE": str(clouds), **environ}, clear=True):
        cloud = OpenStackCloud(choose(name, os.environ))
    try:
        yield cloud
    finally:
        cloud.close()


@contextmanager
def over_http() -> Iterator[Subject]:
    """The adapter, over real HTTP."""
    with (
        embedded_cloud() as running,
        adapter(running.clouds, "devcloud") as cloud,
        adapter(running.clouds, "devcloud-other") as stranger,
    ):
        yield Subject(
            cloud=cloud,
            stranger=stranger,
            add=lambda name, **more: InstanceId(running.do("add", name=name, **more)["id"]),
            fault=running.add_fault,
            clear=running.clear_faults,
            wait=lambda: time.sleep(0.01),
        )


@contextmanager
def simulated() -> Iterator[Subject]:
    """The simulation, in virtual time."""
    clock = SimClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    state = CloudState(timings=ZERO, net=20)
    state.seed(clock.now(), public_key=PUBLIC_KEY)

    def add(name: str, **more: Any) -> InstanceId:
        return InstanceId(state.add_shelved(name, clock.now(), **more).id)

    def fault(name: str, **more: Any) -> None:
        state.faults.add(name, **more)

    yield Subject(
        cloud=SimCloud(state, clock),
        stranger=SimCloud(state, clock, user="eve"),
        add=add,
        fault=fault,
        clear=state.faults.clear,
        wait=lambda: clock.sleep(0.1),
    )


SUBJECTS: Mapping[str, Callable[[], Any]] = {"openstack-over-http": over_http, "simulated": simulated}
