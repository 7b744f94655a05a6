"""Two runs that write their leases at the same moment, on a Neutron that heeds neither's condition: one has the instance.

Neutron tries a write that lost the race for the row again, without its condition: both writers are told 200, the last stands
(Neutron 21, some 60 ms apart; see decision 0002).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from world import T0, World

from jetrun.engine import lease_changes
from jetrun.errors import CloudError
from jetrun.guarantee.lease import Lease, LeaseState, extended, from_text, to_text
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import Disposition, RunId

RIVAL = to_text(
    Lease(
        run=RunId("run-2"),
        state=LeaseState.GRANTED,
        generation=int(T0.timestamp()),
        until_at=T0.replace(hour=23),
        disposition=Disposition.SHELVE,
        owner="bob@elsewhere",
        user_id="ada",
    )
)


def overwritten(world: World, text: str, after_s: float) -> None:
    """From *after_s* after the run's own write on, *text* stands on the port."""
    network = world.cloud_state.network
    (row,) = network.ports.values()
    written_at = None
    done = False

    def rival(_: str) -> None:
        nonlocal written_at, done
        if done or "run=run-1" not in row["description"]:
            return
        if written_at is None:
            written_at = world.clock.now()
        if (world.clock.now() - written_at).total_seconds() >= after_s:
            network.update_port(row, {"description": text}, world.clock.now(), if_match=None)
            done = True

    world.cloud.before_call = rival


@pytest.mark.invariant(5)
@pytest.mark.parametrize("status", ["SHELVED_OFFLOADED", "SHUTOFF", "SUSPENDED", "ACTIVE"])
@pytest.mark.parametrize("after_s", [0.0, 0.06, 0.3])
def test_the_run_whose_lease_was_written_over_sends_no_power_action(status: str, after_s: float) -> None:
    """It is told who has the instance, and leaves the instance and the other's lease as they are."""
    world = World(status=status)
    assert world.server is not None
    was_on, actions = world.server.really_on, len(world.server.actions)
    overwritten(world, RIVAL, after_s)
    assert world.carry() == 122
    world.check(122)
    assert len(world.server.actions) == actions
    assert world.server.really_on == was_on
    (row,) = world.cloud_state.network.ports.values()
    assert from_text(row["description"]) == from_text(RIVAL)
    (told,) = [record.data for record in world.journal.records if record.kind is Kind.TROUBLE]
    assert "run-2 of bob@elsewhere" in told["what"]


@pytest.mark.invariant(5)
def test_a_lease_that_a_person_wrote_over_is_lost() -> None:
    """What stands there is kept, and nothing is started."""
    world = World()
    overwritten(world, "do not use, ada", 0.0)
    assert world.carry() == 122
    (row,) = world.cloud_state.network.ports.values()
    assert row["description"] == "do not use, ada"
    assert world.server is not None
    assert [one["action"] for one in world.server.actions][-1] != "unshelve"


@pytest.mark.invariant(5)
@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_a_driver_that_died_before_it_looked_again_looks_when_it_is_continued(after_s: float) -> None:
    """Between the write and the second look. Continued, it takes its time again: the other's write may still be under way."""
    world = World()
    overwritten(world, RIVAL, after_s)
    append = world.journal.append

    class DiedError(BaseException):
        """kill -9."""

    def dying(run: RunId, kind: Kind, data: object) -> object:
        record = append(run, kind, data)  # type: ignore[arg-type]
        if kind is Kind.LEASE_GRANTED:
            raise DiedError
        return record

    world.journal.append = dying  # type: ignore[assignment,method-assign]
    with pytest.raises(DiedError):
        world.carry()
    world.journal.append = append  # type: ignore[method-assign]
    assert world.carry() == 122
    assert world.server is not None
    assert not world.server.really_on


def leased(world: World) -> tuple[dict[str, object], Lease]:
    """A lease of run-1 on the world's port: (the port's row, the lease)."""
    lease = from_text(RIVAL.replace("run-2", "run-1"))
    assert lease is not None
    (row,) = world.cloud_state.network.ports.values()
    world.cloud_state.network.update_port(row, {"description": to_text(lease)}, T0, if_match=None)
    return row, lease


def test_an_extension_that_a_reapers_mark_wrote_over_is_written_again() -> None:
    """Both were told 200, and the mark stood: what ``extend`` has promised must stand before it says so."""
    world = World()
    row, lease = leased(world)
    until_at = T0 + timedelta(days=1)
    longer = replace(lease, until_at=until_at)
    overwritten(world, to_text(replace(lease, state=LeaseState.REAPING)), 0.1)

    def to(one: Lease) -> str:
        return to_text(extended(one, until_at))

    port_id = str(row["id"])
    after = lease_changes.change_for_good(world.cloud, world.clock, port_id, "run-1", to, settle_s=0.5)
    assert after == longer
    assert row["description"] == to_text(longer)


def test_an_extension_that_is_written_over_each_time_is_an_error() -> None:
    """Not one that seems to hold."""
    world = World()
    row, lease = leased(world)

    def always(point: str) -> None:
        if point == "neutron.port_show":
            world.cloud_state.network.update_port(
                row, {"description": to_text(lease)}, world.clock.now(), if_match=None
            )

    world.cloud.before_call = always

    def to(one: Lease) -> str:
        return to_text(extended(one, T0 + timedelta(days=1)))

    with pytest.raises(CloudError, match="written over 3 times"):
        lease_changes.change_for_good(world.cloud, world.clock, str(row["id"]), "run-1", to, settle_s=0.5)


def test_a_lease_that_is_gone_is_not_extended() -> None:
    """Before, or while it settles."""
    world = World()
    row, _ = leased(world)
    overwritten(world, RIVAL, 0.1)
    port_id = str(row["id"])

    def to(one: Lease) -> str:
        return to_text(extended(one, one.until_at + timedelta(days=1)))

    assert lease_changes.change_for_good(world.cloud, world.clock, port_id, "run-3", to, settle_s=0.5) is None
    assert lease_changes.change_for_good(world.cloud, world.clock, port_id, "run-1", to, settle_s=0.5) is None
    assert row["description"] == RIVAL


@pytest.mark.parametrize("fault", ["close", "refuse-503"])
def test_a_lease_is_given_back_though_replies_are_lost_meanwhile(fault: str) -> None:
    """Or nobody could use the instance until its deadline: the run is over, and only ``jetrun verify`` would look again."""
    world = World()
    (row,) = world.cloud_state.network.ports.values()

    def unanswered(point: str) -> None:
        if point == "neutron.port_show" and world.journal.records[-1].kind is Kind.RECEIPT:
            world.cloud_state.faults.add(fault, on=point, times=1)
            world.cloud.before_call = lambda _: None

    world.cloud.before_call = unanswered
    assert world.carry() == 0
    assert row["description"] == ""


def test_a_lease_of_which_nobody_knows_whether_it_was_written_is_given_back() -> None:
    """Its reply was lost, and the reads after it: the run ends with 120, and must not keep the instance until its deadline."""
    world = World()
    (row,) = world.cloud_state.network.ports.values()
    world.cloud_state.faults.add("lost-reply", on="neutron.port_update", times=1)
    world.cloud_state.faults.add("close", on="neutron.port_show", times=3)
    assert world.carry() == 120
    assert row["description"] == ""


def test_a_lease_that_could_not_be_given_back_is_said_and_continue_gives_it_back() -> None:
    world = World()
    (row,) = world.cloud_state.network.ports.values()

    def unanswered(point: str) -> None:
        if point == "neutron.port_show" and world.journal.records[-1].kind is Kind.RECEIPT:
            world.cloud_state.faults.add("close", on=point, times=3)
            world.cloud.before_call = lambda _: None

    world.cloud.before_call = unanswered
    assert world.carry() == 0
    assert row["description"].startswith("jetrun1 ending")
    assert "jetrun continue" in world.told[-1]["warnings"][0]
    assert world.carry() == 0
    assert row["description"] == ""
