"""``jetrun init``: files that are written once."""

from __future__ import annotations

import shlex
from pathlib import Path

from jetrun.config import Config
from jetrun.job_fields import toml_text

FIRST_SCRIPT = """\
#!/bin/sh
# Your script: it runs in a folder of its own on the instance, beside the inputs.
set -eu
mkdir -p results
echo "hello from $(hostname)" | tee results/hello.txt
"""


def write_first_job(folder: Path, on: str, config: Config) -> str:
    """Write ``job.toml`` and ``script.sh`` to *folder* where they are not there yet; what was done, and what to do next."""
    folder.mkdir(parents=True, exist_ok=True)
    job, script = folder / "job.toml", folder / "script.sh"
    said = []
    text = (
        "# Every key: docs/job.toml. Paths are relative to this file.\n"
        'script = "script.sh"\n# inputs = ["data/"]\noutputs = ["results/"]\ntimeout = "1h"\n\n'
        f'[instance]\non = {toml_text(on)}\nmax_lifetime = "4h"   # the instance is down by then, whatever happens\n\n'
        '# [ssh]\n# user = "exouser"\n\n# [email]\n# to = ["me@uni.edu"]\n'
    )
    for path, content in ((job, text), (script, FIRST_SCRIPT)):
        if path.exists():
            said.append(f"{path} is there already, and is left as it is")
        else:
            path.write_text(content, encoding="utf-8")
            said.append(f"wrote {path}")
    script.chmod(0o755)
    if config.mail is None:
        said.append(
            f"mail: no server is configured; for a mail after each run write into {config.path}:\n"
            '  [smtp]\n  host = "smtp.uni.edu"\n  user = "me@uni.edu"      # the password: JETRUN_SMTP_PASSWORD'
        )
    said.append(f"next: jetrun doctor {shlex.quote(on)} && jetrun run {shlex.quote(str(job))}")
    return "\n".join(said) + "\n"
