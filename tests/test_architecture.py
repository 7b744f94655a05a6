"""The house as it is drawn: who may import whom, which vendor lives where, and what a pure module may touch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jetrun"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
LIMIT_LINES = 300

PURE_STDLIB = {
    *("__future__", "base64", "binascii", "collections", "collections.abc", "dataclasses", "datetime", "difflib"),
    *("enum", "fnmatch", "json", "math", "pathlib.PurePosixPath", "re", "shlex", "tomllib", "typing"),
}
VENDORS = {
    "openstack": {"cloud"},
    "keystoneauth1": {"cloud"},
    "requests": {"cloud"},
    "fabric": {"remote"},
    "paramiko": {"remote"},
    "invoke": {"remote"},
    "cryptography": {"remote"},
    "yagmail": {"notify"},
    "apprise": {"notify"},
    "structlog": {"log.py"},
    "typer": {"cli"},
    "aiohttp": {"devcloud"},
    "asyncssh": {"devcloud"},
    "aiosmtpd": {"devcloud"},
    "sqlite3": {"journal"},
    "platformdirs": {"config.py", "cli"},
}
# Run as processes of their own: what they print goes down a pipe to the module that started them.
PROGRAMS = {PACKAGE / "remote" / "tarball.py"}
INTERFACES = {"jetrun.cloud.interface", "jetrun.remote.interface"}
ADAPTERS = ("cloud", "remote", "notify", "journal")
INNER = ("jetrun.errors", "jetrun.guarantee")
UPPER = (
    "jetrun.cli",
    "jetrun.api",
    "jetrun.wiring",
    "jetrun.telling",
    "jetrun.devcloud",
    "jetrun.testing",
    "jetrun.engine",
)
VAGUE = {"utils", "util", "helpers", "common", "manager", "misc"}


def house(path: Path) -> str:
    """The folder of jetrun/ that holds the module, or the file's own name at the top."""
    return path.relative_to(PACKAGE).parts[0]


def imports(source: str) -> set[str]:
    """Every absolute module name that the source imports, wherever it stands; `from a import b` gives a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            module = node.module or ""
            # Paths as text are pure, pathlib.Path is the disk: what is taken from the module decides.
            found |= {f"pathlib.{alias.name}" for alias in node.names} if module == "pathlib" else {module}
            if module.startswith("jetrun"):
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, *packages: str) -> bool:
    """Whether *name* is one of the packages or lies inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def offences(path: Path, source: str) -> list[str]:
    """What the module imports and may not, by the rules of the house."""
    place, names = house(path), imports(source)
    ours = {name for name in names if within(name, "jetrun")}
    wrong = [
        f"{name}: a vendor of {sorted(VENDORS[root])}"
        for name in names
        if (root := name.partition(".")[0]) in VENDORS and place not in VENDORS[root]
    ]
    if place == "errors.py":
        wrong += [f"{name}: errors.py imports nothing of jetrun" for name in ours]
    if place == "guarantee":
        wrong += [f"{name}: not pure" for name in names - ours if name not in PURE_STDLIB]
        wrong += [f"{name}: guarantee/ looks outward" for name in ours if not within(name, *INNER) and name != "jetrun"]
    if place == "engine":
        shut = (
            "jetrun.cli",
            "jetrun.api",
            "jetrun.wiring",
            "jetrun.devcloud",
            "jetrun.testing",
            "jetrun.cloud",
            "jetrun.remote",
        )
        wrong += [
            f"{name}: the engine knows interfaces only" for name in ours if within(name, *shut) and not _interface(name)
        ]
    if place in ADAPTERS:
        others = [f"jetrun.{other}" for other in ADAPTERS if other != place]
        wrong += [f"{name}: an adapter looks up" for name in ours if within(name, *UPPER)]
        wrong += [f"{name}: another adapter" for name in ours if within(name, *others) and not _interface(name)]
    return wrong


def _interface(name: str) -> bool:
    return within(name, *INTERFACES) or name in {"jetrun.cloud", "jetrun.remote"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_imports_point_inward(path: Path):
    """One import the wrong way and the promise can no longer be read, or simulated, by itself."""
    assert offences(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("guarantee/ladder.py", "import time"),
        ("guarantee/ladder.py", "from pathlib import Path"),
        ("guarantee/ladder.py", "from jetrun.engine.context import Context"),
        ("engine/runner.py", "from jetrun.cloud.openstack import OpenStack"),
        ("engine/runner.py", "from jetrun.remote import ssh"),
        ("engine/runner.py", "def late():\n    import paramiko"),
        ("remote/ssh.py", "from jetrun.cloud.openstack import OpenStack"),
        ("notify/mail.py", "from jetrun.wiring import House"),
        ("cloud/openstack.py", "import fabric"),
        ("errors.py", "from jetrun.job import Job"),
    ],
)
def test_a_planted_wrong_import_is_found(place: str, line: str):
    """A rule that finds nothing wrong may be one that looks at nothing."""
    assert offences(PACKAGE / place, line)


@pytest.mark.parametrize("name", ["job.py", "job_rules.py", "job_fields.py"])
def test_a_job_is_judged_without_input_or_output(name: str):
    """The same job file means the same everywhere: only the modules named for the disk may look at it."""
    outside = {one for one in imports((PACKAGE / name).read_text(encoding="utf-8")) if not within(one, "jetrun")}
    assert outside <= PURE_STDLIB


def test_no_module_has_a_name_that_says_nothing():
    """Such a file takes in whatever has no home."""
    parts = {part.removesuffix(".py") for path in MODULES for part in path.relative_to(PACKAGE).parts}
    assert not parts & VAGUE


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_long_file_says_why(path: Path):
    """Files are split by idea; where one idea needs more than 300 lines, its docstring gives the reason."""
    source = path.read_text(encoding="utf-8")
    reason = " ".join((ast.get_docstring(ast.parse(source)) or "").split()).lower()
    assert len(source.splitlines()) <= LIMIT_LINES or "lines: because" in reason or "lines because" in reason


@pytest.mark.parametrize("path", [path for path in MODULES if house(path) != "cli" and path not in PROGRAMS], ids=shown)
def test_only_the_command_line_prints(path: Path):
    """A print inside the engine would break the one JSON document on stdout."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
