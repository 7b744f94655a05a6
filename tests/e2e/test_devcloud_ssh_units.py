"""What root has inside an instance: sudo, systemctl, systemd-run, timers that fire, and what cloud-init does at the first boot."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from pathlib import Path

import pytest
from instance_hosts import USER, eventually, forked, greeting, listening

pytestmark = pytest.mark.slow

SERVICE = "[Unit]\nDescription=A thing\n[Service]\nType={type}\n{more}\nExecStart={line}\n[Install]\nWantedBy=multi-user.target\n"
TIMER = "[Timer]\n{lines}\nAccuracySec=1\n[Install]\nWantedBy=timers.target\n"


@pytest.fixture(scope="module")
def module_lab():
    with tempfile.TemporaryDirectory(prefix="hosts") as folder, forked(Path(folder)) as (lab, _):
        yield lab


@pytest.fixture
def inside(module_lab):
    def run(test, **more):
        async def whole():
            async with listening(module_lab, close=False):
                instance = await module_lab.boot(**more)
                try:
                    return await test(module_lab, instance)
                finally:
                    for one in list(module_lab.hosts.running):
                        await module_lab.hosts.power_off(one, graceful=False)

        return asyncio.run(whole())

    return run


def unit(lab, instance, name, line="", *, type="oneshot", more="", timer=""):  # noqa: A002
    folder = lab.root(instance) / "etc/systemd/system"
    text = TIMER.format(lines=timer) if timer else SERVICE.format(type=type, more=more, line=line)
    (folder / name).write_text(text)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(("command", "status", "said"), [
    ("sudo -n true", 0, ""), ("sudo -n -- sh -c 'exit 7'", 7, ""), ("sudo -u root -H sh -c 'echo $USER $SUDO_USER'", 0, f"root {USER}"),
    ("sudo -nE env | grep -c ^MINE", 0, "1"), ("sudo -n env | grep -c ^MINE", 1, "0"), ("sudo -n MINE=2 sh -c 'echo $MINE'", 0, "2"),
    (f"sudo -u {USER} sh -c 'echo ${{DESTDIR-none}}'", 0, "none"), ("sudo -n 'a b' c", 1, ""), ("sudo", 1, ""), ("sudo -nv", 0, ""),
    ("sudo --frob true", 1, ""), ("sudo -u nobody true", 1, ""),
    ("echo in | sudo -n sh -c 'cat; echo \"$1\"' x '$y \"z\"'", 0, 'in\n$y "z"'),
])  # fmt: skip
def test_sudo_runs_a_program_as_root(inside, command, status, said):
    async def test(lab, instance):
        done = await lab.run(instance, f"export MINE=1; {command}")
        assert (done.exit_status, done.stdout.strip()) == (status, said)

    inside(test)


def test_sudo_that_wants_a_password_gets_none(inside):
    async def test(lab, instance):
        for command in ("sudo -n true", "sudo true", "echo guess | sudo -S true", "sudo -n poweroff"):
            done = await lab.run(instance, command)
            assert (done.exit_status, "password" in done.stderr) == (1, True), command
        assert lab.offs == []

    inside(test, refuse_sudo=True)


def test_enabled_service_starts_now_and_at_every_boot(inside):
    async def test(lab, instance):
        log = lab.root(instance) / "var/lib/boots"
        unit(lab, instance, "b.service", f"/bin/sh -c 'echo $$WHO ${{WHO}} $DESTDIR >>{log}; pwd >>{log}'",
             more='Environment="WHO=a b"\nWorkingDirectory=/usr')  # fmt: skip
        assert await lab.run_code(instance, "systemctl enable b") == 1
        await lab.sh(instance, "sudo -n sh -c 'systemctl daemon-reload && systemctl enable --now b.service'")
        assert lines(log) == [f"a b a b {lab.root(instance)}", "/usr"]
        assert await lab.sh(instance, "systemctl is-enabled b") == "enabled"
        await lab.hosts.reboot(instance)
        await lab.greets(instance)
        await eventually(lambda: len(lines(log)) == 4)
        await lab.sh(instance, "sudo -n systemctl disable b")
        assert await lab.run_code(instance, "systemctl is-enabled -q b") == 1
        await lab.hosts.reboot(instance)
        await lab.greets(instance)
        assert len(lines(log)) == 4

    inside(test)


def test_service_ends_with_all_its_processes_when_it_is_stopped(inside):
    async def test(lab, instance):
        home = lab.home(instance)
        unit(
            lab,
            instance,
            "s.service",
            f"/bin/sh -c 'setsid sleep 61 & cd {home}; echo $! >child; exec sleep 62'",
            type="simple",
        )
        await lab.sh(instance, "sudo -n systemctl start s")
        child = await eventually(lambda: lines(home / "child"))
        assert await lab.sh(instance, "systemctl is-active s") == "active"
        assert await lab.sh(instance, "systemctl show -p ActiveState,SubState --value s") == "active\nrunning"
        await lab.sh(instance, "sudo -n systemctl stop s")
        assert await lab.run_code(instance, "systemctl is-active --quiet s") == 3
        assert await lab.run_code(instance, f"kill -0 {child[0]}") == 1

    inside(test)


def test_failed_service_is_said_to_be_so(inside):
    async def test(lab, instance):
        unit(lab, instance, "f.service", "/bin/sh -c 'exit 9'")
        done = await lab.run(instance, "sudo -n systemctl start f")
        assert (done.exit_status, "Job for f.service failed" in done.stderr) == (1, True)
        assert await lab.run_code(instance, "systemctl is-failed -q f") == 0
        shown = await lab.sh(instance, "systemctl show -p Result,ExecMainStatus,ActiveState f")
        assert set(shown.splitlines()) == {"Result=exit-code", "ExecMainStatus=9", "ActiveState=failed"}
        assert await lab.run_code(instance, "systemctl status f >/dev/null") == 3
        await lab.sh(instance, "sudo -n systemctl reset-failed f")
        assert await lab.run_code(instance, "systemctl is-failed -q f") == 1

    inside(test)


def test_what_systemd_would_refuse_is_refused(inside):
    async def test(lab, instance):
        unit(lab, instance, "t.timer", timer="OnActiveSec=soon")
        for command, status in (
            ("systemctl start nonesuch", 5), ("systemctl enable nonesuch", 1), ("systemctl start t.timer", 1),
            ("systemctl frobnicate x", 1), ("systemctl start", 1), ("systemd-run --on-calendar=hourly true", 1),
            ("systemd-run --frob true", 1), ("systemd-run", 1), ("systemctl mask x", 0), ("systemctl start x", 1),
        ):  # fmt: skip
            done = await lab.run(instance, f"sudo -n {command}")
            assert done.exit_status == status, (command, done.stderr)
            assert bool(done.stderr) is bool(status), command
        assert await lab.sh(instance, "systemctl is-system-running") == "running"
        assert await lab.run_code(instance, "systemd-run true") == 1

    inside(test)


def test_timer_ticks_and_goes_on_after_a_reboot(inside):
    async def test(lab, instance):
        log = lab.root(instance) / "var/lib/ticks"
        unit(lab, instance, "tick.service", f"/bin/sh -c 'echo tick >>{log}'")
        unit(lab, instance, "tick.timer", timer="OnBootSec=0.05\nOnActiveSec=0.05\nOnUnitActiveSec=0.05")
        await lab.sh(instance, "sudo -n systemctl enable --now tick.timer")
        await eventually(lambda: len(lines(log)) > 3)
        assert "tick.timer tick.service" in await lab.sh(instance, "systemctl list-timers --no-legend")
        await lab.hosts.power_off(instance)
        seen = len(lines(log))
        await lab.hosts.power_on(instance)
        await eventually(lambda: len(lines(log)) > seen + 3)
        await lab.greets(instance)
        await lab.sh(instance, "sudo -n systemctl disable --now tick.timer")
        seen = len(lines(log))
        assert await lab.run_code(instance, "sleep 0.2; systemctl is-active tick.timer") == 3
        assert len(lines(log)) == seen

    inside(test)


def test_service_that_its_own_timer_started_may_stop_the_timer(inside):
    """What the dead-man's switch does when it retires."""

    async def test(lab, instance):
        log = lab.root(instance) / "var/lib/ticks"
        unit(lab, instance, "own.service", f"/bin/sh -c 'systemctl disable --now own.timer; echo once >>{log}'")
        unit(lab, instance, "own.timer", timer="OnActiveSec=0.02\nOnUnitActiveSec=0.02")
        await lab.sh(instance, "sudo -n systemctl enable --now own.timer")
        await eventually(lambda: lines(log))
        assert await lab.run_code(instance, "sleep 0.1; systemctl is-active own.timer") == 3
        assert lines(log) == ["once"]

    inside(test)


def test_systemd_run_starts_now_or_later_with_its_words_unharmed(inside):
    words = ["", "a b", '"', "$HOME", "%n", "\\", "x\ny", "é", "'"]

    async def test(lab, instance):
        home = lab.home(instance)
        program = home / "show"
        program.write_text('#!/bin/sh\n: >"$0.out"; for word; do printf "%s\\0" "$word" >>"$0.out"; done\nexit 5\n')
        program.chmod(0o755)
        (home / "words.json").write_text(json.dumps([str(program), *words]))
        argv = ["sudo", "-n", "systemd-run", "--wait", "--collect", "--unit=w", "--"]
        code = f"import json, os; os.execvp('sudo', [*{argv}, *json.load(open('words.json'))])"
        done = await lab.run(instance, f'python3 -c "{code}"')
        assert (done.exit_status, "Running as unit: w.service" in done.stderr) == (5, True), done.stderr
        assert (home / "show.out").read_bytes().decode().split("\0")[:-1] == words
        await lab.sh(
            instance, f"sudo -n systemd-run --on-active=0.05 --unit=later --setenv=A=1 sh -c 'echo $A >{home}/later'"
        )
        await eventually(lambda: lines(home / "later"))
        refused = await lab.run(instance, "sudo -n systemd-run --unit=v sleep 60; sudo -n systemd-run --unit=v true")
        assert "was already loaded" in refused.stderr

    inside(test)


def test_script_of_the_user_data_runs_once_as_root_before_ssh(inside):
    data = '#!/bin/sh\necho "$DESTDIR" >>"$DESTDIR/var/lib/first"; sleep 0.3; echo said; echo late >>"$DESTDIR/var/lib/first"\n'

    async def test(lab, instance):
        first = lab.root(instance) / "var/lib/first"
        assert lines(first) == [str(lab.root(instance)), "late"]
        assert "said\n" in lab.hosts.console(instance)
        assert await lab.sh(instance, "cloud-init status --wait") == "status: done"
        await lab.hosts.reboot(instance)
        await lab.greets(instance)
        assert len(lines(first)) == 2

    inside(test, user_data=data)


def test_cloud_config_writes_files_keys_and_runs_commands(inside):
    data = "#cloud-config\n" + json.dumps({
        "ssh_authorized_keys": ["ssh-ed25519 AAAAother me"],
        "write_files": [
            {"path": "/etc/x/y", "content": "text\n", "permissions": "0600"},
            {"path": "/etc/z", "encoding": "b64", "content": base64.b64encode(b"\0\xff").decode()},
        ],
        "runcmd": ["echo one >>$DESTDIR/run.log", ["sh", "-c", "echo two >>$DESTDIR/run.log"]],
    })  # fmt: skip

    async def test(lab, instance):
        root = lab.root(instance)
        assert ((root / "etc/x/y").read_text(), (root / "etc/x/y").stat().st_mode & 0o777) == ("text\n", 0o600)
        assert (root / "etc/z").read_bytes() == b"\0\xff"
        assert lines(root / "run.log") == ["one", "two"]
        assert lines(lab.home(instance) / ".ssh/authorized_keys") == [lab.public, "ssh-ed25519 AAAAother me"]

    inside(test, user_data=data)


@pytest.mark.parametrize(
    "data",
    [
        "#cloud-config\n: [",
        "#cloud-config\nwrite_files: [{}]\n",
        "#cloud-config\n- x\n",
        "#!/bin/sh\nexit 3\n",
        "#!/none\n",
    ],
)
def test_wrong_user_data_is_said_and_the_instance_boots(inside, data):
    async def test(lab, instance):
        done = await lab.run(instance, "cloud-init status")
        assert (done.exit_status, done.stdout) == (1, "status: error\n")
        assert "cloud-init: " in lab.hosts.console(instance).partition("BEGIN SSH HOST KEY")[0]

    inside(test, user_data=data)


def test_instance_is_off_at_once_in_the_middle_of_its_first_boot(inside):
    async def test(lab, instance):
        slow = lab.add(
            user_data="#!/bin/sh\ntrap '' TERM\ntouch $DESTDIR/begun\nwhile :; do sleep 1; done\n", grace_s=0.1
        )
        await lab.hosts.power_on(slow)
        await eventually((lab.root(slow) / "begun").exists)
        assert await greeting(lab.spec(slow).addresses[0], lab.port) is None
        begun = asyncio.get_running_loop().time()
        await lab.hosts.power_off(slow)
        assert asyncio.get_running_loop().time() - begun < 2

    inside(test)


def test_people_who_are_logged_in_are_shown_and_warned(inside):
    async def test(lab, instance):
        assert await lab.sh(instance, "who; users") == ""
        (lab.root(instance) / "run/utmp.users").write_text("eve\nbob pts/3 2026-11-20 12:00 (host)\n")
        assert await lab.sh(instance, "who | cut -d' ' -f1; users") == "eve\nbob\neve bob"
        await lab.sh(instance, "echo leave | sudo -n wall; sudo -n wall now please")
        warned = (lab.root(instance) / "var/log/wall").read_text()
        assert "leave\n" in warned
        assert "now please\n" in warned

    inside(test)
