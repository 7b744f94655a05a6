"""Each mistake in a job file is named by its key's path, with what was found and the line to write."""

from __future__ import annotations

from typing import Any

import pytest

from jetrun.errors import ExitCode, UsageError
from jetrun.job import from_mapping


def mistake(data: dict[str, Any]) -> UsageError:
    base: dict[str, Any] = {"script": "train.sh", "instance": {"on": "vm"}}
    whole = {key: value for key, value in (base | data).items() if value is not None}
    with pytest.raises(UsageError) as caught:
        from_mapping(whole, origin="job.toml")
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.state == "no instance was touched"
    return caught.value


VM = {"on": "vm"}

MISTAKES = [
    # data, what must be said, what must be written
    ({"instance": VM | {"flavour": "m3.small"}}, "instance.flavour: unknown key; did you mean instance.flavor?", 'flavor = "m3.small"'),
    ({"ouputs": ["r"]}, "ouputs: unknown key; did you mean outputs?", 'outputs = ["r"]'),
    ({"on": "vm"}, "on: unknown key; did you mean instance.on?", 'on = "vm"   # under [instance]'),
    ({"instance": VM | {"timeout": "6h"}}, "did you mean timeout?", 'timeout = "6h"   # at the top'),
    ({"timeout_s": "6h"}, "did you mean timeout?", 'timeout = "6h"'),
    ({"ssh": {"username": "u"}}, "ssh.username: unknown key; did you mean ssh.user?", "# under [ssh]"),
    ({"email": {"too": "a@b.de"}}, "did you mean email.to?", 'to = "a@b.de"'),
    ({"instnce": {"on": "vm"}}, "instnce: unknown key; did you mean instance?", "[instance]"),
    ({"instance": VM | {"email": {"to": "a@b.de"}}}, "did you mean email?", "[email]"),
    ({"qqq": 1}, "qqq: unknown key", ""),
    ({"script": None}, "neither script nor command", 'script = "train.sh"'),
    ({"command": ["a"]}, "both script and command", 'script = "train.sh"'),
    ({"script": ["train.sh"]}, 'found ["train.sh"], expected a text', "script = "),
    ({"script": ""}, "not empty", "script = "),
    ({"script": "a\0b"}, "NUL", "script = "),
    ({"script": None, "command": "python3 train.py"}, "expected a list", 'command = ["python3", "train.py"]'),
    ({"script": None, "command": ["", "x"]}, "the program's name", "command = "),
    ({"script": None, "command": [1]}, "expected a list of texts", "command = "),
    ({"instance": None}, "neither an existing instance (on) nor image and flavor", 'on = "my-instance"'),
    ({"instance": "vm"}, 'found "vm", expected a table', "instance = "),
    ({"instance": VM | {"image": "i"}}, "instance.image: describes a new instance", 'on = "vm"'),
    ({"instance": VM | {"network": "n"}}, "instance.network: describes a new instance", "without network"),
    ({"instance": {"image": "i"}}, "instance.flavor: is needed to launch", 'flavor = "m3.small"'),
    ({"instance": {"flavor": "f"}}, "instance.image: is needed to launch", "image = "),
    ({"instance": {"on": ""}}, "instance.on: found", "on = "),
    ({"instance": VM | {"take_over": "yess"}}, 'expected one of "no", "yes", "force"', 'take_over = "yes"'),
    ({"instance": VM | {"deadman": "no"}}, "true or false", "deadman = true"),
    ({"timeout": 6}, "found the number 6, expected a time with its unit", 'timeout = "6h"'),
    ({"timeout": -3.5}, "found the number -3.5", 'timeout = "3.5h"'),
    ({"timeout": True}, "expected a time", "timeout = "),
    ({"timeout": "-5m"}, 'found "-5m", expected a time', "timeout = "),
    ({"timeout": "0s"}, "more than no time", "timeout = "),
    ({"timeout": "six hours"}, "expected a time such as", 'timeout = "6h"'),
    ({"instance": VM | {"max_lifetime": "unlimited"}}, "without end is not offered", 'max_lifetime = "7d"'),
    ({"instance": VM | {"max_lifetime": "9999999999d"}}, "366 days at most", "max_lifetime = "),
    ({"instance": VM | {"max_lifetime": float("inf")}}, "found the number inf", "max_lifetime = "),
    ({"outputs": ["/etc/passwd"]}, "outside the script's work folder", 'outputs = ["results/"]'),
    ({"outputs": ["a/../../b"]}, "outside the script's work folder", "outputs = "),
    ({"outputs": ["~/results"]}, "outside the script's work folder", "outputs = "),
    ({"outputs": [3]}, "found 3, expected a list of texts", "outputs = "),
    ({"outputs": {"a": 1}}, "found a table", "outputs = "),
    ({"inputs": ["a/data", "b/data/"]}, 'would both become "data"', "rename one"),
    ({"output_dir": "out/{date}"}, "{date} is not known", 'output_dir = "out/{name}"'),
    ({"output_dir": "out/{runs}"}, "{runs} is not known", 'output_dir = "out/{run}"'),
    ({"disposition": "delete"}, "only for an instance that this run launches", 'disposition = "shelve"'),
    ({"disposition": "shelf"}, 'expected one of "shelve", "stop", "delete"', 'disposition = "shelve"'),
    ({"disposition": ["stop"]}, "expected one of", "disposition = "),
    ({"env": {"1A": "x"}}, "is not the name of a variable", "env = "),
    ({"env": {"A=B": "x"}}, "is not the name of a variable", "env = "),
    ({"env": {"JETRUN_X": "x"}}, "jetrun's own", "env = "),
    ({"env": {"SEED": 1}}, "env.SEED: found 1, expected a text in quotes", 'env = { SEED = "1" }'),
    ({"env": {"A": "x\0"}}, "expected a text without a NUL byte", 'env = { A = "x" }'),
    ({"env": "SEED=1"}, "expected a table", "env = "),
    ({"ssh": {"port": 70000}}, "ssh.port: found 70000, expected a whole number from 1 to 65535", "port = 22"),
    ({"ssh": {"port": "22"}}, 'found "22"', "port = 22   # under [ssh]"),
    ({"ssh": {"port": True}}, "found true", "port = 22"),
    ({"email": {"to": ["me at uni.edu"]}}, "email.to: ", 'to = ["me@uni.edu"]'),
    ({"email": {"to": ["me@uni"]}}, "is not a mail address", "to = "),
    ({"email": {"to": ["me@uni.edu\nBcc: x@y.z"]}}, "is not a mail address", "to = "),
    ({"email": {"when": "never"}}, 'expected one of "always", "failure"', "when = "),
    ({"email": {"attach": ["../x.png"]}}, "outside the output folder", "attach = "),
    ({"budget": {"boot": "0m"}}, "budget.boot: ", 'boot = "15m"'),
]  # fmt: skip


@pytest.mark.parametrize(("data", "what", "line"), MISTAKES, ids=[str(index) for index in range(len(MISTAKES))])
def test_a_mistake_is_named_with_its_key_and_the_line_to_write(data, what, line):
    error = mistake(data)
    assert error.what.startswith("job.toml: ")
    assert what in error.what
    assert line in error.next
    assert "\n" not in error.what + error.next


def test_a_timeout_that_does_not_fit_the_default_lifetime_says_what_lifetime_to_write():
    error = mistake({"timeout": "12h"})
    assert error.code == "lifetime-too-short"
    assert "instance.max_lifetime: 12h, the default, is shorter than the sum of its parts" in error.what
    assert "boot 15m + stage_in 1m + timeout 12h + grace 30s + stage_out 30m + shutdown 18m = 13h5m" in error.what
    assert error.next.startswith('max_lifetime = "13h5m"   # under [instance]')


def test_the_lifetime_that_is_proposed_is_enough():
    """A proposal that fails again would send the user in circles."""
    error = mistake({"timeout": "11.987h", "inputs": ["x"], "budget": {"boot": "17.3m"}})
    proposed = error.next.split('"')[1]
    data = {"script": "s", "timeout": "11.987h", "inputs": ["x"], "budget": {"boot": "17.3m"}}
    assert from_mapping(data | {"instance": VM | {"max_lifetime": proposed}}, origin="job.toml").timeout_s == 43153.2


def test_a_lifetime_that_leaves_the_script_no_time_is_refused():
    error = mistake({"instance": VM | {"max_lifetime": "1h"}})
    assert "1h is shorter than the sum" in error.what
    assert "the least that is left to a script" in error.what


def test_an_origin_is_asked_for_each_key():
    """A value from the command line must not be blamed on the job file."""
    with pytest.raises(UsageError) as caught:
        from_mapping({"script": "a", "timeout": "x", "instance": VM}, origin=lambda key: f"--{key}")
    assert caught.value.what.startswith("--timeout: timeout: found")


def test_a_long_value_is_cut_in_messages():
    error = mistake({"disposition": "x" * 500})
    assert len(error.what) < 200


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"instance": {}}, "--instance.on my-instance"),
        ({"timeout": "x"}, "--timeout 6h"),
        ({"timeout": "7"}, "--timeout 6h"),
        ({"outputs": ["/x"]}, "--outputs results/"),
        ({"env": {"1": "x"}}, "--env SEED=1"),
        ({"disposition": "shelf"}, "--disposition shelve"),
        ({"instance": VM | {"deadman": "no"}}, "--instance.deadman"),
        ({"instance": VM | {"image": "i"}}, "--instance.on vm   # without image"),
        ({"timeout": 7}, "--timeout 7h   # or 7m, 7s, 7d"),
        ({"timeout": "12h"}, "--instance.max_lifetime 13h5m   # or smaller parts under [budget]"),
        ({"output_dir": "it's {dat}"}, """--output_dir 'it'"'"'s {name}'"""),
    ],
)
def test_a_mistake_in_a_flag_is_answered_with_the_flag(data, line):
    """Who typed a command line wants the words to type, not a line of a file."""
    with pytest.raises(UsageError) as caught:
        from_mapping({"script": "a", "instance": VM} | data, origin=lambda key: f"--{key}")
    assert caught.value.next == line
