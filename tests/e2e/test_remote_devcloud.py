"""The remote on an instance of the embedded cloud: its reboot, its power-off, and a switch that really turns it off."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from devcloud_subject import connection, embedded_cloud, eventually
from remote_subject import ended, finished, followed, run_script

from jetrun.errors import RemoteUnreachable
from jetrun.guarantee.power import InstanceId, RunId
from jetrun.remote.interface import ScriptState, Switch, Target, TransferState, Upload
from jetrun.remote.ssh import SshRemote

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning")  # its own use of itself

RUN = RunId("run-1")


@pytest.fixture
def cloud():
    with embedded_cloud() as running:
        yield running


class Host:
    """An instance, started."""

    def __init__(self, cloud, folder):
        self.cloud = cloud
        self.id = InstanceId(cloud.do("add", name="remote")["id"])
        self.remote = SshRemote(RUN, host_keys=folder / "host_keys")
        self.act("unshelve")

    def act(self, action):
        self.cloud.do("act", instance=self.id, user="ada", action=action)

    @property
    def row(self):
        return next(row for row in self.cloud.truth()["instances"] if row["id"] == self.id)

    @property
    def target(self):
        with connection(self.cloud) as sdk:
            address = next(iter(sdk.network.ports(device_id=self.id))).fixed_ips[0]["ip_address"]
            console = sdk.compute.get_server_console_output(self.id)["output"]
        return Target(
            instance=self.id,
            host=address,
            port=self.cloud.ssh_port,
            user="researcher",
            identities=[self.cloud.key],
            console_host_keys=self.remote.parse_console(console),
        )

    def connect(self):
        target = self.target
        trust = []

        def answers():
            try:
                trust.append(self.remote.connect(target, within_s=5).host_key_trust)
            except RemoteUnreachable:
                return False
            return True

        eventually(answers)
        return trust[-1]

    def arm(self, *, lasts_s=3600.0, tick_s=60.0):
        return self.remote.arm_switch(
            Switch(
                instance=self.id,
                run=RUN,
                generation=1,
                deadline_at=datetime.now(UTC) + timedelta(seconds=lasts_s),
                countdown_s=lasts_s,
                orphan_s=1800,
                tick_s=tick_s,
                gap_s=600,
            )
        )


def is_lost(call):
    try:
        call()
    except RemoteUnreachable:
        return True
    return False


@pytest.fixture
def host(cloud, tmp_path):
    host = Host(cloud, tmp_path)
    yield host
    host.remote.close()


def test_whole_job_on_an_instance(host, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x y").write_bytes(os.urandom(100_000))
    assert host.connect() == "console"
    facts = host.remote.facts(people=True)
    assert (facts.has_root, facts.has_rsync) == (True, True)
    reading = host.arm()
    assert (reading.state, reading.ticking, reading.how) == ("armed", True, "systemd")
    host.remote.prepare(None, "")
    assert finished(host.remote.upload([Upload(source=tmp_path / "data", name="data")], excludes=[])).state == "done"
    run_script(host.remote, "mkdir results; cp data/* results/; echo done; exit 3")
    assert followed(host.remote) == b"done\n"
    assert ended(host.remote).exit_code == 3
    reading = finished(host.remote.download(["results/"], tmp_path / "out"))
    assert reading.state is TransferState.DONE, reading
    assert (tmp_path / "out/results/x y").read_bytes() == (tmp_path / "data/x y").read_bytes()
    host.remote.mark_ending()()
    assert host.remote.read_switch().state == "ending"


def test_switch_turns_the_instance_off_at_its_deadline(host):
    host.connect()
    host.remote.facts(people=True)
    assert host.arm(lasts_s=1, tick_s=0.2).ticking
    host.remote.close()
    eventually(lambda: not host.row["process"], within_s=20)
    assert not host.row["really_on"]


def test_spent_switch_leaves_the_instance_to_whom_starts_it(host):
    host.connect()
    host.remote.facts(people=True)
    host.arm(lasts_s=1, tick_s=0.2)
    host.remote.close()
    eventually(lambda: not host.row["really_on"], within_s=20)
    eventually(lambda: host.row["vm_state"] == "stopped", within_s=20)
    host.act("start")
    assert host.connect() == "pinned"
    assert host.remote.read_switch().state == "spent"


def test_reboot_makes_the_script_vanish_and_leaves_the_switch_armed(host):
    host.connect()
    facts = host.remote.facts(people=True)
    host.arm(tick_s=0.5)
    run_script(host.remote, "sleep 60")
    assert host.remote.read_script().state is ScriptState.RUNNING
    host.cloud.do("reboot", instance=host.id)
    eventually(lambda: is_lost(host.remote.beat))
    host.connect()
    assert host.remote.facts(people=True).boot_id != facts.boot_id
    assert host.remote.read_script().state in {ScriptState.VANISHED, ScriptState.ENDED}
    reading = host.remote.read_switch()
    assert (reading.state, reading.ticking) == ("armed", True)


def test_boot_after_the_ending_mark_disarms(host):
    host.connect()
    host.remote.facts(people=True)
    host.arm(tick_s=0.2)
    host.remote.mark_ending()()
    host.cloud.do("reboot", instance=host.id)
    eventually(lambda: is_lost(host.remote.beat))
    host.connect()
    eventually(lambda: host.remote.read_switch().state == "disarmed")
    assert host.row["really_on"]


def test_dropped_connections_leave_the_script_alone(host):
    host.connect()
    run_script(host.remote, "sleep 1; echo survived; exit 4")
    host.cloud.do("drop", instance=host.id)
    eventually(lambda: is_lost(host.remote.read_script))
    host.connect()
    assert ended(host.remote).exit_code == 4
    assert followed(host.remote) == b"survived\n"


def test_refused_sudo_is_no_root(host):
    host.cloud.do("refuse-sudo", instance=host.id)
    host.act("stop")
    host.act("start")
    host.connect()
    assert not host.remote.facts(people=True).has_root
