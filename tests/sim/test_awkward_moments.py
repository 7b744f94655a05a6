"""Failures at the moments where a reviewer found that jetrun had not thought of them: each by the sequence that broke it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from world import QuietScreen, World

from jetrun.engine import lease_changes
from jetrun.engine.reaper import Sweep, reap_once
from jetrun.engine.runner import carry
from jetrun.errors import CloudAmbiguous, CloudTransient, RemoteUnreachable, UsageError
from jetrun.guarantee.lease import extended, to_text
from jetrun.remote.interface import ScriptState
from jetrun.testing.sim_cloud import SimCloud

LEFT_BYTES = 100
"""Of a log that was not read to its end."""


class DiedError(BaseException):
    """The process is gone."""


def on_beat(context: Any, number: int, act: Callable[[], None]) -> None:
    """Do that at the script's n-th heartbeat."""
    beat, counted = context.remote.beat, [0]

    def counting() -> None:
        counted[0] += 1
        if counted[0] == number:
            act()
        beat()

    context.remote.beat = counting


def test_a_connection_that_breaks_again_at_once_does_not_end_the_script() -> None:
    """The new one broke at the first read over it: the script of an hour was ended after 90 s, with 125."""
    world = World()
    world.remote_options["script_s"] = 3600.0
    context = world.context()
    remote = context.remote
    broken = ["no"]
    connect, read_script = remote.connect, remote.read_script

    def breaks() -> None:
        broken[0] = "once"
        remote.close()

    def connecting(target: Any, *, within_s: float) -> Any:
        got = connect(target, within_s=within_s)
        broken[0] = {"once": "again"}.get(broken[0], broken[0])
        return got

    def reading() -> Any:
        if broken[0] == "again":
            broken[0] = "over"
            remote.close()
        return read_script()

    on_beat(context, 5, breaks)
    remote.connect, remote.read_script = connecting, reading
    assert carry(context) == 0
    assert broken == ["over"]
    (guest,) = world.guests.values()
    assert guest.ended is not None
    assert guest.ended.exit_code == 0


def blocked_at_the_end(world: World, *, asleep: bool) -> Any:
    """SSH is shut out as soon as the script's end is known, with a part of its log still there."""
    context = world.context()
    remote = context.remote
    seen = [False]
    reads = [0]
    read_script, connect, follow = remote.read_script, remote.connect, remote.follow

    def reading() -> Any:
        found = read_script()
        if found.state is ScriptState.ENDED:
            seen[0] = True
            found = replace(found, log_size_bytes=LEFT_BYTES)
        return found

    def connecting(target: Any, *, within_s: float) -> Any:
        if seen[0]:
            world.clock.sleep(within_s)
            raise RemoteUnreachable(what="port 22 is blocked")
        return connect(target, within_s=within_s)

    class Follower:
        """One whose connection breaks once the end is known."""

        ended = False

        def read(self, most: int, wait_s: float) -> bytes:
            reads[0] += 1
            if seen[0]:
                remote.close()
                raise RemoteUnreachable(what="broken")
            world.clock.sleep(5)
            if asleep and reads[0] == 40:
                world.clock.suspend(3600)
            return b""

        def close(self) -> None:
            """Nothing to close."""

    def following(offset: int) -> Any:
        follow(offset)
        return Follower()

    remote.read_script, remote.connect, remote.follow = reading, connecting, following
    return context


def test_a_script_whose_end_is_known_is_not_waited_for_any_more() -> None:
    """Only what is left of its log was missing; the run stood there until after the lease's end, with the instance up."""
    world = World()
    world.remote_options["script_s"] = 600.0
    world.job = replace(world.job, timeout_s=None)
    began = world.clock.monotonic()
    code = carry(blocked_at_the_end(world, asleep=False))
    assert world.clock.monotonic() - began < 3600
    state = world.state()
    assert state.script_ended is not None
    assert state.script_ended["exit_code"] == 0
    assert state.receipt is not None
    assert state.receipt.verified
    assert code == 0 or not (state.outputs or {})["complete"]


def test_an_end_that_was_read_is_not_reported_as_a_time_that_was_up() -> None:
    world = World()
    world.remote_options["script_s"] = 600.0
    world.job = replace(world.job, timeout_s=700.0)
    carry(blocked_at_the_end(world, asleep=True))
    state = world.state()
    assert state.script_ended is not None
    assert (state.script_ended["state"], state.script_ended["exit_code"]) == ("ended", 0)
    assert state.stop_cause == ""


@pytest.mark.invariant(8)
def test_what_a_script_that_still_runs_has_written_so_far_is_no_reason_to_delete() -> None:
    """Ctrl-C while the connection is broken, the network back 20 s later: the script is stopped first, or the disk is kept."""
    world = World(launch=True, disposition="delete")
    world.remote_options["script_s"] = 3600.0
    context = world.context()
    remote = context.remote
    connect = remote.connect
    down: list[float] = []

    def breaks() -> None:
        remote.close()
        down.append(world.clock.monotonic())

    def connecting(target: Any, *, within_s: float) -> Any:
        if down and world.clock.monotonic() - down[0] < 25:
            world.clock.sleep(10)
            world.interrupts.cause = "SIGINT"
            raise RemoteUnreachable(what="no answer")
        return connect(target, within_s=within_s)

    on_beat(context, 5, breaks)
    remote.connect = connecting
    assert carry(context) == 130
    (guest,) = world.guests.values()
    (server,) = world.cloud_state.nova.servers.values()
    assert guest.ended is not None or server.vm_state != "deleted"
    state = world.state()
    assert state.script_ended is not None
    assert state.script_ended["state"] != "running" or not state.outputs_collected


@pytest.mark.invariant(4, 6)
@pytest.mark.parametrize(
    ("dark_s", "hiccup"), [(0, True), (200, False)], ids=["log unread once", "cloud away for 200 s"]
)
def test_a_launched_instance_whose_answer_was_lost_is_never_somebody_elses(dark_s: float, hiccup: bool) -> None:
    """Its making stood in the log without our id: it was left up, and its owner was told to leave it to them."""
    world = World(launch=True)
    cloud: Any = world.cloud
    create, call, actions = cloud.create, cloud._call, cloud.actions
    lost: list[float] = []
    hit: list[bool] = []

    def creating(plan: Any, port: str) -> Any:
        create(plan, port)
        lost.append(world.clock.monotonic())
        raise CloudAmbiguous(what="the answer was lost")

    def calling(point: str, act: Any, *, writes: bool = False) -> Any:
        if lost and world.clock.monotonic() - lost[0] < dark_s:
            world.clock.sleep(10)
            raise CloudTransient(what="the cloud is away")
        return call(point, act, writes=writes)

    def looking(instance: Any) -> Any:
        if hiccup and lost and not hit:
            hit.append(True)
            raise CloudTransient(what="503, once")
        return actions(instance)

    cloud.create, cloud._call, cloud.actions = creating, calling, looking
    carry(world.context())
    world.clock.sleep(1800)
    world.cloud_state.nova.advance(world.clock.now())
    (server,) = world.cloud_state.nova.servers.values()
    receipt = world.state().receipt
    assert receipt is not None
    assert receipt.reason != "somebody-elses"
    assert receipt.verified
    assert not server.really_on


def forsaken() -> World:
    """A run whose process died while its script ran; five minutes after its lease."""
    world = World()
    world.remote_options["script_s"] = 1e6
    context = world.context()

    def dies() -> None:
        raise DiedError

    on_beat(context, 3, dies)
    with pytest.raises(DiedError):
        carry(context)
    until = datetime.fromisoformat((world.state().lease or {})["until_at"])
    world.clock.suspend((until - world.clock.now()).total_seconds() + 300)
    world.cloud_state.nova.advance(world.clock.now())
    return world


@pytest.mark.invariant(5)
@pytest.mark.parametrize("asleep", [True, False], ids=["the reaper sleeps", "a task is waited out"])
def test_a_lease_that_is_extended_while_the_reaper_is_at_work_stands(asleep: bool) -> None:
    """It had looked once, and shelved minutes or hours later; then it took the longer lease away, too."""
    world = forsaken()
    port = (world.state().lease or {})["port_id"]
    until = world.clock.now() + timedelta(hours=12)
    cloud: Any = SimCloud(world.cloud_state, world.clock)
    actions, observe = cloud.actions, cloud.observe
    looked = [0]

    def extends() -> None:
        other = SimCloud(world.cloud_state, world.clock)
        lease_changes.change(other, port, world.run, lambda lease: to_text(extended(lease, until)))

    def logging(instance: Any) -> Any:
        found = actions(instance)
        if asleep and not looked[0]:
            looked[0] = 1
            world.clock.suspend(3600)
            extends()
            world.clock.suspend(4 * 3600)
        return found

    def observing(instance: Any) -> Any:
        looked[0] += 1
        if looked[0] == 3:
            extends()
        found = observe(instance)
        return replace(found, task_state="image_snapshot") if looked[0] < 20 else found

    cloud.actions = logging
    if not asleep:
        cloud.observe = observing
    (row,) = reap_once(cloud, world.profile, world.clock, QuietScreen(), Sweep(known={}, expected={}))
    assert "extended" in row.words
    assert world.server is not None
    assert world.server.really_on
    assert f"until={until:%Y-%m-%dT%H}" in world.cloud_state.network.ports[port]["description"]


def test_a_credential_of_another_project_continues_nothing() -> None:
    """There the instance is not to be seen, and two 404 after an unanswered delete would have proven it gone."""
    from jetrun.engine.continuing import refuse_other_projects

    world = forsaken()
    context = world.context()
    refuse_other_projects(context)
    identify = world.cloud.identify
    other = replace(identify(), project_id="another", project_name="another lab")
    context.cloud = SimCloud(world.cloud_state, world.clock)
    context.cloud.identify = lambda: other  # type: ignore[method-assign]
    with pytest.raises(UsageError) as caught:
        refuse_other_projects(context)
    assert "another lab" in caught.value.what
