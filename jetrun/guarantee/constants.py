"""Every time bound of the promise, in one place, each with its reason. Pure.

Tests and docs quote these. A cloud's profile may change them (the embedded cloud does, to be quick).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Time bounds in seconds.

    Attributes:
        verify_gap_s: between the two reads of a receipt. 5: longer than any window seen in which Nova showed a
            state that it took back at once (0.3 s for a bounced unshelve, openstack-lab notes).
        settle_s: after a spending request without an answer and without an entry in the action log, how long until
            it is believed never to have arrived. 180: three times Nova's default RPC timeout of 60 s.
        task_seen_s: how long after an accepted request its task may stay unseen before that counts as failure. 30.
        lease_margin_s: an expired lease is acted on only this long after its deadline. 120: pays for 60 s of
            tolerated clock skew, twice.
        orphan_s: G, the script has ended and no heartbeat came: the dead-man's switch fires. 30 min: longer than
            a reconnect after a laptop's commute, shorter than an hour's burn.
        heartbeat_s: how often the driver touches the heartbeat. 15.
        switch_tick_s: how often the dead-man's switch looks. 60: systemd's own default accuracy is one minute.
        tick_gap_s: a gap in the switch's ticks that means off, suspended or cloned. 10 min.
        stand_still_s: a driver without a sign of life for this long stands still. 120: longer than one call may take, 70.
        retry_s: before the guardian tries again to end what could not be ended; twice, five and ten times that later. 60.
        skew_s: clock skew between this machine, the cloud and the guest beyond which a run is refused. 60.
        lease_settle_s: from writing a lease to looking whether it still stands, before anything is started. 0.5: Neutron
            tries a write that lost the race for the row again after 0.1 s, without its condition, so that two writers
            at one moment are both told 200 (seen within 60 ms).
        reap_gap_s: between the reaper's two looks at an expired lease, and between its mark and its act. 60.
        foreign_task_s: how long a task that is not ours may run before we give up on it. 600: MorphoCloud's figure.
        shelve_s, stop_s, unshelve_s: how long an accepted request may take. 900: MorphoCloud's budget, a snapshot of
            a large root disk; 180: Nova cuts the power after 60 s, three times that; 600: scheduling and image copy.
        build_s: from create to ACTIVE. 600: as an unshelve.
        delete_s: from an accepted delete to 404. 180.
        offload_s: SHELVED without a task for this long will not offload. 120.
        unreachable_s: the API does not answer during a shutdown; after this a person is told. 900: as a shelve.
        ssh_s: from ACTIVE to a working SSH. 300: a slow image under emulation took 30, cloud-init on a full update 200.
        api_timeout_s: one HTTP call. 60: Nova's RPC timeout shows as a 500 after 60 s; connect alone gets 10.
        poll_first_s, poll_last_s: pause between observations, rising from the first to the last. 0.5 to 5.
    """

    verify_gap_s: float = 5.0
    settle_s: float = 180.0
    task_seen_s: float = 30.0
    lease_margin_s: float = 120.0
    orphan_s: float = 1800.0
    heartbeat_s: float = 15.0
    switch_tick_s: float = 60.0
    tick_gap_s: float = 600.0
    stand_still_s: float = 120.0
    retry_s: float = 60.0
    skew_s: float = 60.0
    lease_settle_s: float = 0.5
    reap_gap_s: float = 60.0
    foreign_task_s: float = 600.0
    shelve_s: float = 900.0
    stop_s: float = 180.0
    unshelve_s: float = 600.0
    build_s: float = 600.0
    delete_s: float = 180.0
    offload_s: float = 120.0
    unreachable_s: float = 900.0
    ssh_s: float = 300.0
    api_timeout_s: float = 60.0
    poll_first_s: float = 0.5
    poll_last_s: float = 5.0

    @property
    def stale_s(self) -> float:
        """What was read longer ago than this is not acted on, and proves nothing: this machine slept since.

        A look is four calls at most, so no answer is older than all their time limits together while it is awake.
        """
        return 4 * self.api_timeout_s + self.verify_gap_s

    def __post_init__(self) -> None:
        """Refuse bounds that would make a proof of one read.

        Raises:
            ValueError: there is no gap between the two reads of a receipt.
        """
        if self.verify_gap_s <= 0:
            raise ValueError("verify_gap_s must be more than 0: two reads at one moment are one")


DEFAULT_MAX_LIFETIME_S = 12 * 3600.0
"""A lease is never unlimited: 12 h unless the job says otherwise (DESIGN.md section 3)."""
