"""Job: what a job file means, and the round trip that the journal relies on."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import jetrun
from jetrun.guarantee.power import Disposition
from jetrun.job import Email, Job, Launch, On, Ssh, duration_text, from_mapping, seconds, to_mapping
from jetrun.job_fields import exact_text

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
    "a\tb",
    "~x",
]

DESIGN_EXAMPLE = """
name = "train"
script = "train.sh"
inputs = ["data/", "config.yaml"]
outputs = ["results/"]
output_dir = "out/{run}"
timeout = "6h"
env = { SEED = "1" }
disposition = "shelve"
[instance]
on = "my-instance"
max_lifetime = "8h"
[ssh]
user = "exouser"
[email]
to = ["me@uni.edu"]
attach = ["results/*.png"]
"""


def job(**keys: Any) -> Job:
    return from_mapping({"script": "train.sh", "instance": {"on": "vm"}} | keys, origin="job.toml")


def test_the_design_example_is_a_job_as_it_stands():
    assert from_mapping(tomllib.loads(DESIGN_EXAMPLE), origin="job.toml") == Job(
        name="train",
        instance=On(name_or_id="my-instance"),
        script="train.sh",
        inputs=("data/", "config.yaml"),
        outputs=("results/",),
        timeout_s=6 * 3600.0,
        env={"SEED": "1"},
        disposition=Disposition.SHELVE,
        max_lifetime_s=8 * 3600.0,
        ssh=Ssh(user="exouser"),
        email=Email(to=("me@uni.edu",), attach=("results/*.png",)),
    )


BUDGET = ("boot", "stage_in", "stage_out", "shutdown")


def test_a_job_needs_only_a_script_and_an_instance():
    least = job()
    assert (least.name, least.disposition, least.take_over, least.deadman) == ("train", Disposition.SHELVE, "no", True)
    assert least.max_lifetime_s == 12 * 3600


def test_without_a_timeout_it_is_the_longest_that_the_lifetime_holds():
    one = job(inputs=["data"])
    parts = one.boot_s + one.stage_in_s + one.grace_s + one.stage_out_s + one.shutdown_s
    assert one.timeout_s == one.max_lifetime_s - parts
    assert one.timeout_s == 12 * 3600 - (900 + 1800 + 30 + 1800 + 1080)


def test_a_given_lifetime_alone_sets_the_timeout_too():
    short = job(instance={"on": "vm", "max_lifetime": "2h"})
    assert short.timeout_s == 7200 - (900 + 60 + 30 + 1800 + 1080)


def test_a_budget_for_inputs_that_are_not_there_may_be_smaller_than_what_is_set_aside_for_none():
    one = job(instance={"on": "vm", "max_lifetime": "9s"}, grace="1s", timeout="3s", budget=dict.fromkeys(BUDGET, "1s"))
    assert one.max_lifetime_s == 9


def test_a_launch_keeps_every_wish():
    wish = {"image": "img", "flavor": "m3.small", "network": "n", "key": "k", "floating_ip": "no"}
    wish |= {"security_groups": ["a", "b"], "name": "new"}
    made = job(instance=wish, disposition="delete")
    assert made.instance == Launch(
        image="img", flavor="m3.small", network="n", key="k", floating_ip="no", security_groups=("a", "b"), name="new"
    )
    assert made.disposition is Disposition.DELETE


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_legal_and_survive_the_journal(name):
    one = job(name=name, script=f"./{name}", inputs=[name], outputs=[f"out/{name}"], env={"V": name})
    assert (one.name, one.inputs, one.outputs, one.env["V"]) == (name, (name,), (f"out/{name}",), name)
    assert from_mapping(to_mapping(one), origin="journal") == one


def test_an_empty_argument_of_a_command_is_kept():
    one = from_mapping({"command": ["sed", ""], "instance": {"on": "vm"}}, origin="job.toml")
    assert one.command == ("sed", "")
    assert one.name == "sed"


@pytest.mark.parametrize(
    ("text", "value"),
    [("45s", 45), ("90m", 5400), ("6h", 21600), ("1d12h", 129600), ("1.5h", 5400), ("1h 30m", 5400), ("0.001s", 0.001)],
)
def test_a_time_is_what_its_units_say(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "6", "h", "6 hours", "-5m", "1e3s", "6h!", "٦h", "m90", "6h,5m"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@given(st.integers(min_value=1, max_value=366 * 86400 * 1000))
def test_an_exact_time_comes_back_exactly(thousandths):
    assert seconds(exact_text(thousandths / 1000)) == thousandths / 1000


@given(st.floats(min_value=0.001, max_value=366 * 86400.0))
def test_a_time_shown_to_a_person_is_never_shorter_and_never_a_minute_longer(value_s):
    assert 0 <= seconds(duration_text(value_s)) - value_s < 60


def test_a_run_has_its_own_output_folder_which_a_name_cannot_leave():
    one = job(name="../../{run}", output_dir="res/{name}/{run}")
    assert one.output_folder("r1") == "res/.._.._{run}/r1"
    assert job(name="..", output_dir="{name}").output_folder("r1") == "_"


def test_take_over_may_be_written_as_true():
    assert job(instance={"on": "vm", "take_over": True}).take_over == "yes"


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
files = texts.filter(lambda text: "/" not in text and text not in {".", "..", "~"})
times = st.integers(min_value=1, max_value=10**8).map(lambda number: f"{number / 1000:.3f}s")
launches = st.fixed_dictionaries(
    {"image": texts, "flavor": texts},
    optional={"network": texts, "key": texts, "floating_ip": st.sampled_from(["auto", "no"]), "name": texts},
)
instances = st.one_of(st.fixed_dictionaries({"on": texts}), launches)
documents = st.fixed_dictionaries(
    {"script": files, "instance": instances.map(lambda one: one | {"max_lifetime": "300d", "deadman": False})},
    optional={
        "name": texts,
        "inputs": st.lists(files, unique=True, max_size=3),
        "excludes": st.lists(texts, max_size=2),
        "outputs": st.lists(files, max_size=3),
        "timeout": times,
        "grace": times,
        "env": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), texts, max_size=3),
        "disposition": st.sampled_from(["shelve", "stop"]),
        "ssh": st.fixed_dictionaries(
            {}, optional={"user": texts, "port": st.integers(1, 65535), "keys": st.lists(files)}
        ),
        "email": st.fixed_dictionaries({}, optional={"to": st.just(["a@b.edu"]), "when": st.just("failure")}),
        "budget": st.fixed_dictionaries({}, optional={"boot": times, "stage_out": times, "shutdown": times}),
    },
)


@given(documents)
def test_every_job_comes_back_from_its_mapping(document):
    first = from_mapping(document, origin="job.toml")
    assert from_mapping(to_mapping(first), origin="journal") == first


@given(documents)
@pytest.mark.invariant(7)
def test_the_lifetime_holds_the_sum_of_its_parts(document):
    one = from_mapping(document, origin="job.toml")
    assert one.timeout_s is not None
    stage_in_s = one.stage_in_s if one.inputs else 60
    total_s = one.boot_s + stage_in_s + one.timeout_s + one.grace_s + one.stage_out_s + one.shutdown_s
    assert total_s <= one.max_lifetime_s + 0.01


def test_job_modules_import_only_the_standard_library_and_the_guarantee():
    """DESIGN.md section 4: job.py is pure, so that a job means the same wherever it is read."""
    pure = {"__future__", "collections", "dataclasses", "difflib", "pathlib", "re", "shlex", "tomllib", "typing"}
    own = {
        "jetrun.errors",
        "jetrun.guarantee.constants",
        "jetrun.guarantee.power",
        "jetrun.job_fields",
        "jetrun.job_rules",
    }
    for name in ("job.py", "job_fields.py", "job_rules.py"):
        tree = ast.parse((Path(jetrun.__file__).parent / name).read_text())
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {one for one in names if one not in own} <= {one for one in names if one.split(".")[0] in pure}, name
    assert pure - {"__future__"} <= sys.stdlib_module_names
