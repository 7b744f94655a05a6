"""Line numbers in messages: a wrong line would send the user to the wrong place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from jetrun.job_file import schema_example
from jetrun.toml_lines import key_lines, teller

AWKWARD = """name = "a # b = c"      # on = "x"
inputs = [
  "script = 1",   # on = 2
  '''more
timeout = 3
''',
]
"quoted" = 'it'
a . b = 1
text = '''
on = 4
''' # end
env = { SEED = "1", X = "[" }
[ instance ]   # [ssh]
on = "vm"
'max_lifetime' = "8h"
[ssh]
user = "u"
"""


def paths(data: Mapping[str, Any], prefix: str = "") -> set[str]:
    return {prefix + key for key in data} | {
        path for key, value in data.items() if isinstance(value, dict) for path in paths(value, f"{prefix}{key}.")
    }


def test_keys_are_found_among_strings_comments_and_brackets():
    lines = key_lines(AWKWARD)
    assert lines == {
        "name": 1, "inputs": 2, "quoted": 8, "a.b": 9, "text": 10, "env": 13, "instance": 14, "instance.on": 15,
        "instance.max_lifetime": 16, "ssh": 17, "ssh.user": 18,
    }  # fmt: skip
    assert set(lines) <= paths(tomllib.loads(AWKWARD))


def test_a_key_inside_an_inline_table_is_told_by_its_table():
    where = teller("job.toml", key_lines(AWKWARD))
    assert where("env.SEED") == "job.toml:13"
    assert where("instance.on") == "job.toml:15"
    assert where("instance.image") == "job.toml:14"
    assert where("email.to") == "job.toml"


def test_every_key_of_the_example_is_found_where_it_stands():
    text = schema_example()
    lines = key_lines(text)
    assert set(lines) == paths(tomllib.loads(text)) - {"env.SEED"}
    for path, number in lines.items():
        assert path.rpartition(".")[2] in text.splitlines()[number - 1]
