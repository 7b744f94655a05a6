"""The keys of a job file and the rules for each that need nothing else of the job. Pure; only ``job.py`` imports it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from jetrun.errors import UsageError
from jetrun.guarantee.constants import DEFAULT_MAX_LIFETIME_S
from jetrun.job_fields import Table, duration_text, nearest, noted, shown, toml_text

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "": {
        "name": '"train"', "script": '"train.sh"', "command": '["python3", "train.py"]', "inputs": '["data/"]',
        "excludes": '["*.tmp"]', "outputs": '["results/"]', "output_dir": '"out/{run}"', "timeout": '"6h"', "grace": '"30s"',
        "env": '{ SEED = "1" }', "disposition": '"shelve"', "on_driver_loss": '"continue"', "instance": "{ ... }",
        "ssh": "{ ... }", "email": "{ ... }", "budget": "{ ... }",
    },
    "instance": {
        "on": '"my-instance"', "image": '"Featured-Ubuntu24"', "flavor": '"m3.small"', "network": '"auto"', "key": '"auto"',
        "floating_ip": '"auto"', "security_groups": '["default"]', "name": '"train-1"', "max_lifetime": '"8h"',
        "take_over": '"yes"', "deadman": "true", "self_shelve": "true",
    },
    "ssh": {"user": '"exouser"', "port": "22", "host": '"203.0.113.7"', "keys": '["~/.ssh/id_ed25519"]'},
    "email": {"to": '["me@uni.edu"]', "attach": '["results/*.png"]', "when": '"always"'},
    "budget": {"boot": '"15m"', "stage_in": '"30m"', "stage_out": '"30m"', "shutdown": '"18m"'},
}  # fmt: skip
"""Every key of a job file, by section, with a value to copy; docs/job.toml is tested against it."""

ON_DRIVER_LOSS = ("continue", "end", "nothing")
"""What the guardian does when jetrun's own process is gone; with the last there is none."""

LAUNCH_ONLY = ("image", "flavor", "network", "key", "floating_ip", "security_groups", "name")
"""Keys of ``[instance]`` that describe an instance to make."""

LEAST_SCRIPT_S = 60.0
"""The shortest time left for a script without a timeout of its own: less is a mistake in the lifetime."""

NO_INPUTS_S = 60.0
"""Set aside for sending the script alone."""

_MAIL = re.compile(r"[^@\s,;<>\"]{1,64}@([^@\s,;<>\"]+\.[^@\s,;<>\".]+|localhost)")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def what_runs(given: Table) -> tuple[str | None, tuple[str, ...]]:
    """The script or the command."""
    script, command = given.text("script"), _command(given)
    if script and command:
        raise given.wrong(
            "command", "both script and command are given, expected one", given.line("script", toml_text(script))
        )
    if not script and not command:
        raise given.wrong("script", "neither script nor command is given")
    return script, command


def _command(given: Table) -> tuple[str, ...]:
    """An argv: the program is not empty, an argument may be."""
    found = given.data.get("command", ())
    if isinstance(found, str):
        argv = toml_text(found.split()) if found.split() else None
        raise given.wrong("command", f"found {shown(found)}, expected a list of texts", given.line("command", argv))
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) and "\0" not in one for one in found):
        raise given.mistyped("command", found, "a list of texts without NUL")
    if found and not found[0]:
        raise given.wrong("command", 'the program\'s name is "", expected one that is not empty')
    return tuple(found)


def take_over(given: Table) -> str:
    """Whether a running instance may be used; true and false are understood."""
    found = given.data.get("take_over")
    if isinstance(found, bool):
        return "yes" if found else "no"
    return given.choice("take_over", ["no", "yes", "force"]) or "no"


def self_shelve(given: Table) -> bool | str:
    """Whether the switch gets a credential for shelving the instance, or the name of the entry of clouds.yaml that has it."""
    found = given.data.get("self_shelve")
    wish = found if isinstance(found, bool) else given.text("self_shelve") or False
    if wish and not given.boolean("deadman", default=True):
        raise given.wrong(
            "self_shelve", "needs the switch, which deadman = false leaves out", given.line("deadman", "true")
        )
    return wish


def no_collisions(given: Table, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Inputs, of which no two may arrive under one name."""
    seen: dict[str, str] = {}
    for one in inputs:
        name = PurePosixPath(one).name
        if name and name in seen:
            raise given.wrong(
                "inputs",
                f"{shown(seen[name])} and {shown(one)} would both become {shown(name)} in the work folder",
                "rename one of them, or put both into one folder and send that",
            )
        seen[name] = one
    return inputs


def below(given: Table, key: str, folder: str) -> tuple[str, ...]:
    """Paths or globs that stay below a folder."""
    found = given.texts(key)
    for one in found:
        parts = PurePosixPath(one).parts
        if one.startswith("/") or ".." in parts or parts[:1] == ("~",):
            raise given.wrong(key, f"{shown(one)} is outside {folder}")
    return found


def output_dir(given: Table) -> str:
    """Where outputs go, with placeholders that exist."""
    found = given.text("output_dir") or "out/{run}"
    for word in _PLACEHOLDER.findall(found):
        if word not in {"run", "name"}:
            near = "{" + nearest(word, ("run", "name")) + "}"
            raise given.wrong(
                "output_dir",
                f"{{{word}}} is not known, expected {{run}} or {{name}}",
                given.line("output_dir", toml_text(found.replace("{" + word + "}", near))),
            )
    return found


def environment(given: Table) -> Mapping[str, str]:
    """The script's environment."""
    found = given.table("env")
    for key, value in found.items():
        if not _ENV_NAME.fullmatch(key) or key.startswith("JETRUN_"):
            own = " (JETRUN_ is jetrun's own)" if key.startswith("JETRUN_") else ""
            raise given.wrong("env", f"{shown(key)} is not the name of a variable{own}", given.line("env"))
        if not isinstance(value, str) or "\0" in value:
            text = toml_text(str(value).replace("\0", "")) if isinstance(value, (str, int, float)) else '"..."'
            expected = "a text without a NUL byte" if isinstance(value, str) else "a text in quotes"
            line = given.line("env", f"{{ {key} = {text} }}")
            raise given.wrong(f"env.{key}", f"found {shown(value)}, expected {expected}", line)
    return {key: str(value) for key, value in found.items()}


def lifetime(given: Table, instance: Table, around: Mapping[str, float]) -> tuple[float, float]:
    """The lease's length and the script's timeout (invariant 7: the lease holds the sum of all that may happen in it).

    Raises:
        UsageError: it does not; names each part, and the line to write.
    """
    lifetime_s = instance.duration("max_lifetime") or DEFAULT_MAX_LIFETIME_S
    timeout_s = given.duration("timeout")
    rest_s = sum(around.values())
    if timeout_s is None and lifetime_s - rest_s >= LEAST_SCRIPT_S:
        return lifetime_s, round(lifetime_s - rest_s, 3)
    wanted_s = timeout_s or LEAST_SCRIPT_S
    if lifetime_s >= rest_s + wanted_s - 0.001:
        return lifetime_s, wanted_s
    parts = {"boot": around["boot"], "stage_in": around["stage_in"], "timeout": wanted_s}
    parts |= {key: around[key] for key in ("grace", "stage_out", "shutdown")}
    listed = " + ".join(f"{name} {duration_text(value)}" for name, value in parts.items())
    default = "" if "max_lifetime" in instance else ", the default,"
    least = "" if timeout_s else " (timeout: the least that is left to a script)"
    raise UsageError(
        code="lifetime-too-short",
        what=instance.wrong(
            "max_lifetime", f"{duration_text(lifetime_s)}{default} is shorter than the sum of its parts"
        ).what
        + f": {listed} = {duration_text(rest_s + wanted_s)}{least}",
        next=noted(
            instance.line("max_lifetime", f'"{duration_text(rest_s + wanted_s)}"'), "or smaller parts under [budget]"
        ),
    )


def addresses(given: Table, key: str) -> tuple[str, ...]:
    """Mail addresses."""
    found = given.texts(key)
    for one in found:
        if not _MAIL.fullmatch(one) or len(one) > 254:
            raise given.wrong(key, f"{shown(one)} is not a mail address")
    return found
