"""Hostile names through the whole job (acceptance A7): every byte comes back as it went."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from runs import Desk

from jetrun.devcloud.client import Running

NAMES = ["a b", "it's", 'say "x"', "$HOME `id`", "two\nlines", "-rf", "Grüße 日本", "n" * 250]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_hostile_name_goes_through_unharmed(cloud: Running, tmp_path: Path, name: str) -> None:
    """As script, input folder and file, output folder and file, and value in the environment."""
    desk = Desk(cloud=cloud, folder=tmp_path)
    key = desk.instance(f"vm-name-{NAMES.index(name)}")
    noise = os.urandom(1000)
    (tmp_path / "in").mkdir()
    for folder in (tmp_path / "in" / name,):
        folder.mkdir()
        (folder / name).write_bytes(noise)
    desk.script('mkdir -p "out/$V" && cp "./in/$V/$V" "out/$V/$V" && printf %s "$V" > out/value\n', name=name)
    quoted = json.dumps(name, ensure_ascii=False)
    (tmp_path / "job.toml").write_text(
        f'name = "names"\nscript = {json.dumps("./" + name, ensure_ascii=False)}\ninputs = ["in"]\noutputs = ["out"]\n'
        f'env = {{ V = {quoted} }}\n[instance]\non = "{key}"\n'
    )
    ended = desk.jetrun("run", "job.toml", "--json")
    assert ended.code == 0, ended.err
    out = Path(ended.document["output_dir"]) / "out"
    assert (out / name / name).read_bytes() == noise
    assert (out / "value").read_bytes() == name.encode()
    assert desk.is_down(key)
