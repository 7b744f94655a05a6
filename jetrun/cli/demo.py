"""``jetrun demo``: the main job on the embedded cloud, from a shelved instance to a receipt, with real input and a mail."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from jetrun.errors import UsageError

SCRIPT = """\
#!/bin/sh
# What a researcher's script does: read the input, compute, leave results behind.
set -eu
echo "running on $(uname -n) in $PWD"
mkdir -p results
for file in data/*.fasta; do
  awk '/^>/ { next } { gsub(/[^GCgc]/, "x"); total += length($0); gc += gsub(/[GCgc]/, "") }
       END { printf "%s,%d,%.2f\\n", name, total, total ? 100 * gc / total : 0 }' name="$(basename "$file")" "$file" |
    tee -a results/gc.csv
done
echo "done: $(wc -l < results/gc.csv) sequence files"
"""


def demonstrate(folder: Path | None, *, as_json: bool) -> int:
    """Start an embedded cloud, run the job on it, end the cloud; the run's exit code.

    Effects: everything below *folder*, or below a new temporary folder that is kept for looking at.
    """
    try:
        import jetrun.devcloud.server  # noqa: F401, PLC0415 - says now whether its libraries are there
        from jetrun.devcloud import client  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            code="devcloud-not-installed", what=f"the embedded cloud needs a package that is not there: {error.name}",
            next="pip install 'jetrun[devcloud]'",
        ) from error  # fmt: skip
    from jetrun.cli.environment import environment  # noqa: PLC0415
    from jetrun.cli.work import carry  # noqa: PLC0415
    from jetrun.job_file import load  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    base = (folder or Path(tempfile.mkdtemp(prefix="jetrun-demo-"))).resolve()
    work = base / "work"
    _write_job(work)
    running = client.start(base / "cloud")
    try:
        environ = {
            "JETRUN_HOME": str(base / "home"),
            "JETRUN_CONFIG": str(base / "config.toml"),
            "OS_CLIENT_CONFIG_FILE": str(running.clouds),
            "OS_CLOUD": "devcloud",
        }
        (base / "config.toml").write_text(
            f'[smtp]\nhost = "127.0.0.1"\nport = {running.mail_port}\nsender = "jetrun@localhost"\nsecurity = "none"\n'
        )
        sys.stderr.write(
            f"an embedded cloud is up at {running.url}; my-instance is shelved. Now: jetrun run job.toml\n\n"
        )
        with environment(environ), House() as house:
            job = load(work / "job.toml", folder=base)
            code = carry(house, job, "devcloud", as_json=as_json)
        truth = running.truth("my-instance")
    finally:
        client.stop(running)
    sys.stderr.write(
        f"\nthe embedded cloud itself says: my-instance is {truth['vm_state']}, its host runs "
        f"{'it still' if truth['really_on'] else 'nothing of it'}\n"
        f"results, mail and journal are in {base}: look at work/out, cloud/mail, home\n"
    )
    return code


def _write_job(folder: Path) -> None:
    """A small job with real input: the first orchid sequences of GenBank that come with the examples."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "gc.sh").write_text(SCRIPT)
    (folder / "data" / "orchids.fasta").write_text(ORCHIDS)
    (folder / "job.toml").write_text(
        'name = "gc content"\nscript = "gc.sh"\ninputs = ["data/"]\noutputs = ["results/"]\noutput_dir = "out"\n'
        'timeout = "10m"\n\n[instance]\non = "my-instance"\nmax_lifetime = "2h"\n\n'
        '[budget]\nboot = "5m"\nstage_in = "5m"\nstage_out = "5m"\nshutdown = "20m"\n\n'
        '[email]\nto = ["me@localhost"]\nattach = ["results/*.csv"]\n'
    )


ORCHIDS = """\
>gi|2765658|emb|Z78533.1|CIZ78533 C.irapeanum 5.8S rRNA gene and ITS1 and ITS2 DNA
CGTAACAAGGTTTCCGTAGGTGAACCTGCGGAAGGATCATTGATGAGACCGTGGAATAAACGATCGAGTG
AATCCGGAGGACCGGTGTACTCAGCTCACCGGGGGCATTGCTCCCGTGGTGACCCTGATTTGTTGTTGGG
"""
"""Two lines of GenBank Z78533.1, an orchid's ribosomal spacer; the whole file is in examples/genome/."""
