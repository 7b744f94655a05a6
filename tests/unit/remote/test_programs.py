"""Programs for the instance: what any value becomes, under every shell at hand."""

from __future__ import annotations

import subprocess

import pytest
from guest import SHELLS
from hypothesis import given, settings
from hypothesis import strategies as st

from jetrun.remote import programs

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


def answer(shell, program):
    done = subprocess.run([*shell, "-s"], input=program, capture_output=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition(programs.MARK)[2]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@settings(max_examples=40, deadline=None)
@given(values=st.lists(VALUES, max_size=5))
def test_any_value_arrives_as_it_is(shell, values):
    program = programs.assemble("for value; do printf '%s\\0' \"$value\"; done\n", values)
    assert answer(shell, program) == b"".join(programs.encode(value) + b"\0" for value in values)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@settings(max_examples=40, deadline=None)
@given(value=VALUES)
def test_any_environment_value_arrives_as_it_is(shell, value):
    text = programs.environment({"NAME": value})
    program = programs.assemble('payload >"$1"; . "$1"; printf %s "$NAME"\n', ["/dev/null"], payload=text)
    program = program.replace(b'payload >"$1"; . "$1"', b'eval "$(payload; echo)"')
    assert answer(shell, program) == programs.encode(value)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@pytest.mark.parametrize("payload", [b"", b"\0\xff\n'\"$", bytes(range(256)) * 600, b"@jetrun-end@\n"])
def test_any_payload_arrives_as_it_is(shell, payload):
    assert answer(shell, programs.assemble("payload\n", payload=payload)) == payload


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_program_cut_off_anywhere_does_nothing(shell, tmp_path):
    """A connection that breaks half-way must not run half a program."""
    program = programs.assemble('echo x >>"$1"\n: and then some\necho y >>"$1"\n', [str(tmp_path / "made")])
    whole = program.rindex(b'main "$@"')
    for length in range(0, whole, 3):
        subprocess.run([*shell, "-s"], input=program[:length], capture_output=True, check=False, timeout=20)
        assert not (tmp_path / "made").exists(), program[:length]


def test_supervisor_text_arrives_as_it_is():
    program = programs.assemble("supervisor\n", supervisor=("process", "supervisor"))
    assert answer(SHELLS[0], program).decode() == programs.text("process") + programs.text("supervisor")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a", "a"),
        ("a/", "a"),
        ("./a//b/.", "a/b"),
        (".", "."),
        ("./", "."),
        ("-x", "-x"),
        ("..a", "..a"),
        ("a b", "a b"),
    ],
)
def test_names_are_cleaned(name, clean):
    assert programs.relative_name(name) == clean


@pytest.mark.parametrize("name", ["", "/", "/a", "..", "a/..", "../a", "a/../../b", "a\0b"])
def test_names_that_lead_out_are_errors(name):
    with pytest.raises(ValueError, match="leads out"):
        programs.relative_name(name)


def test_pairs_keep_the_last_and_skip_what_is_none():
    assert programs.pairs(b"a=1\nnoise\nb = 2 \na=3=4\n") == {"a": "3=4", "b ": "2"}
