"""Job files: layers, paths, and files that are not what the job says."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetrun.errors import UsageError
from jetrun.job import SECTIONS, Launch, On, from_mapping
from jetrun.job_disk import check_files
from jetrun.job_fields import toml_text
from jetrun.job_file import Layer, load, merge, schema_example

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A work folder with a script and some input; not below tmp_path, whose parents only its owner may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        made = Path(name)
        (made / "train.sh").write_text("#!/bin/sh\ntrue\n")
        (made / "data").mkdir()
        (made / "data" / "a.csv").write_text("1,2\n")
        yield made


@pytest.fixture
def ordinary(folder: Path) -> Iterator[None]:
    """As an ordinary user, whom file modes stop; root would pass them all."""
    if os.geteuid() != 0:
        yield
        return
    for one in (folder, *folder.rglob("*")):
        os.chown(one, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def write(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


JOB = 'script = "train.sh"\ninputs = ["data/"]\n[instance]\non = "vm"\n'


def refused(folder: Path, text: str = JOB, **keys: Any) -> UsageError:
    write(folder, text)
    with pytest.raises(UsageError) as caught:
        load(Path("job.toml"), folder=folder, **keys)
    assert caught.value.state == "no instance was touched"
    return caught.value


def test_paths_of_a_job_file_are_relative_to_its_folder(folder):
    write(folder, JOB)
    (folder / "elsewhere").mkdir()
    job = load(Path("../job.toml"), folder=folder / "elsewhere")
    assert (job.script, job.inputs) == (str(folder / "train.sh"), (str(folder / "data"),))
    assert job.output_dir == str(folder / "out/{run}")


def test_paths_of_a_command_line_are_relative_to_the_current_folder(folder):
    job = load(None, command_line={"script": "train.sh", "inputs": ["."], "instance": {"on": "vm"}}, folder=folder)
    assert (job.script, job.inputs) == (str(folder / "train.sh"), (str(folder),))
    assert job.name == "train"


def test_the_home_is_understood_and_a_name_with_a_tilde_is_left(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "~x").write_text("1")
    job = load(None, command_line={"script": "~/train.sh", "inputs": ["~x"], "instance": {"on": "vm"}}, folder=folder)
    assert (job.script, job.inputs) == (str(folder / "train.sh"), (str(folder / "~x"),))


def test_the_command_line_wins_over_the_job_file_over_the_defaults(folder):
    write(folder, JOB + 'max_lifetime = "9h"\n[email]\nto = ["file@uni.edu"]\n')
    defaults = Layer(
        data={"timeout": "1h", "instance": {"max_lifetime": "10h"}, "email": {"to": ["me@uni.edu"], "when": "failure"}},
        where=lambda _: "config.toml",
    )
    job = load(Path("job.toml"), command_line={"timeout": "2h"}, defaults=defaults, folder=folder)
    assert job.timeout_s == 2 * 3600
    assert job.max_lifetime_s == 9 * 3600
    assert (job.email.to, job.email.when) == (("file@uni.edu",), "failure")


def test_a_choice_of_a_later_layer_removes_the_other_choice():
    file = Layer(data={"command": ["make"], "instance": {"image": "i", "flavor": "f", "deadman": False}}, where=str)
    flags = Layer(data={"script": "a.sh", "instance": {"on": "vm"}}, where=str)
    job = from_mapping(merge(file, flags).data, origin="x")
    assert (job.script, job.command, job.instance, job.deadman) == ("a.sh", (), On(name_or_id="vm"), False)
    back = from_mapping(merge(flags, file).data, origin="x")
    assert (back.script, back.command) == (None, ("make",))
    assert back.instance == Launch(image="i", flavor="f")


def test_a_mistake_is_told_where_it_was_made(folder):
    """A flag must not be blamed on the file, nor the other way round."""
    defaults = Layer(data={"grace": "x"}, where=lambda _: "config.toml:3")
    assert refused(folder, defaults=defaults).what.startswith("config.toml:3: grace: ")
    assert refused(folder, command_line={"timeout": "x"}, flags={"timeout": "--timeout"}).what.startswith("--timeout: ")
    assert refused(folder, JOB + 'flavour = "x"\n').what.startswith("job.toml:5: instance.flavour: unknown key")
    assert refused(folder, 'script = "train.sh"\n', command_line={"timeout": "1h"}).what.startswith(
        "job.toml: instance.on:"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("script = train.sh\n", "job.toml:1: "),
        ('script = "a"\n\n[instance\n', "job.toml:3: "),
        ('script = "a"\nscript = "b"\n', "job.toml:2: "),
        ('a = "', "job.toml:1: "),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(folder, text, what):
    error = refused(folder, text)
    assert error.code == "toml-invalid"
    assert error.what.startswith(what)


def test_a_file_that_is_not_text_is_refused(folder):
    (folder / "job.toml").write_bytes(b'name = "a"\nscript = "\xff"\n')
    with pytest.raises(UsageError, match=r"job.toml:2: not UTF-8"):
        load(Path("job.toml"), folder=folder)


def test_a_missing_job_file_and_a_folder_are_told(folder):
    with pytest.raises(UsageError, match=r"absent.toml: there is no such file"):
        load(Path("absent.toml"), folder=folder)
    with pytest.raises(UsageError, match="data: cannot be read: Is a directory"):
        load(Path("data"), folder=folder)


def test_a_huge_file_is_not_read_as_a_job(folder):
    (folder / "job.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="more than 1 MiB"):
        load(Path("job.toml"), folder=folder)


def test_a_missing_script_is_told_with_its_line(folder):
    error = refused(folder, JOB.replace("train.sh", "tarin.sh"))
    assert error.code == "file-missing"
    assert error.what == f"job.toml:1: script: {folder}/tarin.sh: No such file or directory"
    assert error.next == f"ls {folder}"


def test_a_missing_input_is_told(folder):
    assert "inputs: " in refused(folder, JOB.replace("data/", "dta/")).what


def test_a_folder_is_no_script(folder):
    assert refused(folder, JOB.replace("train.sh", "data")).code == "script-unusable"


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        (b"import sys\n", "a.py", "1i #!/usr/bin/env python3"),
        (b"echo 1\n", "a.sh", "1i #!/usr/bin/env bash"),
        (b"#!/bin/sh\r\ntrue\r\n", "a.sh", r"s/\r$//"),
        (b"", "empty", "empty file"),
    ],
)
def test_a_script_that_the_instance_could_not_execute_is_refused(folder, content, name, line):
    (folder / name).write_bytes(content)
    error = refused(folder, JOB.replace("train.sh", name))
    assert error.code == "script-unusable"
    assert line in error.next


@pytest.mark.parametrize("content", [b"print(1)\n", b"#!/usr/bin/env python3\r\nprint(1)\r\n"])
def test_the_command_that_mends_a_script_mends_it(folder, content):
    """What is pasted must work, with a name that needs quotes too."""
    name = "it's $x.py"
    (folder / name).write_bytes(content)
    error = refused(folder, JOB.replace("train.sh", name))
    subprocess.run(["sh", "-c", error.next], check=True)
    assert load(Path("job.toml"), folder=folder).script == str(folder / name)
    assert (folder / name).read_bytes() == b"#!/usr/bin/env python3\nprint(1)\n"


@pytest.mark.usefixtures("ordinary")
@pytest.mark.parametrize("name", ["train.sh", "data", "data/a.csv"])
def test_what_may_not_be_read_is_told_before_anything_begins(folder, name):
    (folder / name).chmod(0)
    try:
        error = refused(folder)
    finally:
        (folder / name).chmod(0o700)
    assert error.code == "file-unreadable"
    assert error.next == f"chmod u+r {folder}/{name}"


@pytest.mark.usefixtures("ordinary")
def test_an_excluded_file_need_not_be_readable(folder):
    (folder / "data" / "secret.key").write_text("x")
    (folder / "data" / "secret.key").chmod(0)
    write(folder, 'excludes = ["*.key"]\n' + JOB)
    assert load(Path("job.toml"), folder=folder).excludes == ("*.key",)


@pytest.mark.usefixtures("ordinary")
def test_a_read_only_output_folder_is_told(folder):
    (folder / "out").mkdir(mode=0o500)
    error = refused(folder)
    assert error.code == "output-dir-unusable"
    assert error.what.startswith("job.toml: output_dir: ")


def test_a_file_in_the_place_of_the_output_folder_is_told(folder):
    (folder / "out").write_text("x")
    assert "is a file" in refused(folder).what


def test_a_full_disk_is_told(folder):
    write(folder, JOB)
    job = load(Path("job.toml"), folder=folder)
    with pytest.raises(UsageError, match="has 1 MB left, at least 67 MB are needed") as caught:
        check_files(job, origin=lambda _: "job.toml", free=lambda _: 1_000_000)
    assert caught.value.code == "disk-full"


def test_files_to_send_are_counted(folder):
    write(folder, JOB)
    (folder / "data" / "sub").mkdir()
    (folder / "data" / "sub" / "b").write_bytes(b"x" * 1000)
    (folder / "data" / "broken").symlink_to("nowhere")
    found = check_files(load(Path("job.toml"), folder=folder), origin=str)
    assert (found.files, found.size_bytes) == (3, 4 + 1000 + 15)


HOSTILE = [
    "a b",
    "it's",
    'say "hi"',
    "$HOME",
    "two\nlines",
    "-rf",
    "größe-日本",
    "x" * 250,
    "*",
    "\\",
    "`id`",
    "~x",
    "#!",
    "{x}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_on_the_disk_are_found(folder, name):
    """From a job file and from a command line alike."""
    (folder / name).mkdir()
    (folder / name / name).write_text("#!/bin/sh\n")
    text = f"script = {toml_text(f'{name}/{name}')}\ninputs = [{toml_text('./' + name)}]\n"
    write(folder, text + f"outputs = [{toml_text(name + '/x')}]\ninstance.on = {toml_text(name)}\n")
    job = load(Path("job.toml"), folder=folder)
    assert (job.script, job.inputs) == (str(folder / name / name), (str(folder / name),))
    given = {"script": f"{name}/{name}", "inputs": [f"./{name}"], "outputs": [f"{name}/x"], "instance": {"on": name}}
    assert load(None, command_line=given, folder=folder) == job


def test_an_error_about_a_hostile_name_stays_on_its_line(folder):
    error = refused(folder, 'script = "two\\nlines"\ninstance.on = "vm"\n')
    assert "\n" not in error.what
    assert r"two\nlines" in error.what


def key(folder: Path, passphrase: str = "", form: str = "RFC4716") -> Path:
    path = folder / "id"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", passphrase, "-f", path], check=True
    )
    return path


def test_a_private_key_for_this_user_alone_is_taken(folder):
    key(folder)
    write(folder, JOB + '[ssh]\nkeys = ["id"]\n')
    assert load(Path("job.toml"), folder=folder).ssh.keys == (str(folder / "id"),)


def test_a_key_that_others_can_read_is_refused(folder):
    key(folder).chmod(0o640)
    error = refused(folder, JOB + '[ssh]\nkeys = ["id"]\n')
    assert (error.code, error.next) == ("key-unsafe", f"chmod 600 {folder}/id")


@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_a_key_with_a_passphrase_is_refused_because_nothing_asks_for_it(folder, form):
    key(folder, "secret", form)
    assert "needs a passphrase" in refused(folder, JOB + '[ssh]\nkeys = ["id"]\n').what


def test_a_public_key_is_refused_with_the_name_of_its_private_one(folder):
    key(folder)
    error = refused(folder, JOB + '[ssh]\nkeys = ["id.pub"]\n')
    assert error.next == f'keys = ["{folder}/id"]'


def test_the_example_is_a_job_and_shows_every_key_once():
    """The commented example is the schema: what it does not show does not exist."""
    text = schema_example()
    from_mapping(tomllib.loads(text), origin="docs/job.toml")
    seen: list[str] = []
    section = ""
    for line in text.splitlines():
        if header := re.match(r"\[(\w+)\]", line):
            section = header[1]
            seen.append(section)
        elif found := re.match(r"(?:# )?(\w+) = ", line):
            seen.append(f"{section}.{found[1]}" if section else found[1])
    known = [f"{where}.{name}" if where else name for where, names in SECTIONS.items() for name in names]
    assert sorted(seen) == sorted(known)


def test_each_alternative_in_the_example_is_a_job_too():
    """Whoever removes a # must get a job."""
    text = schema_example()
    launch = re.sub(
        r"^on = .*$",
        "",
        re.sub(r"(?m)^# (image|flavor|network|key|floating_ip|security_groups|name) = ", r"\1 = ", text),
        flags=re.MULTILINE,
    )
    job = from_mapping(tomllib.loads(launch), origin="docs/job.toml")
    assert job.instance == Launch(
        image="Featured-Ubuntu24", flavor="m3.small", security_groups=("default",), name="train-1"
    )
    command = re.sub(r"(?m)^# (command|port|host|keys) = ", r"\1 = ", re.sub(r"(?m)^script = .*$", "", text))
    job = from_mapping(tomllib.loads(command), origin="docs/job.toml")
    assert job.command == ("python3", "train.py")
    assert job.ssh.port == 22
