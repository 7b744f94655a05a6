"""What of the lab's guest image can be seen without building one."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "openstack"))

from lab import image, place, probe
from lab.services import ServiceError

ARCHIVE, SECURITY = "http://deb.example/debian", "http://security.example/debian-security"


@pytest.mark.parametrize(
    ("sites", "found"),
    [
        (f"{ARCHIVE}/\n{SECURITY}/\n", (ARCHIVE, SECURITY)),
        (f"{SECURITY}\n{ARCHIVE}\n{ARCHIVE}\n", (ARCHIVE, SECURITY)),
        (f"{ARCHIVE}\n", (ARCHIVE, f"{ARCHIVE}-security")),
        (f"http://other.example/repo\n{ARCHIVE}\n", (ARCHIVE, f"{ARCHIVE}-security")),
    ],
)
def test_the_archives_are_those_of_this_machines_apt(sites: str, found: tuple[str, str]) -> None:
    assert image.archives(sites) == found


def test_no_archive_of_debian_is_said() -> None:
    with pytest.raises(ServiceError, match="names no archive of Debian"):
        image.archives("http://other.example/ubuntu\n")


def test_the_overlay_is_readable_by_all_whatever_the_umask_was(tmp_path: Path) -> None:
    overlay, root = tmp_path / "overlay", tmp_path / "root"
    for name, mode in (("etc/a.conf", 0o600), ("usr/sbin/tool", 0o700), ("etc/b/c", 0o640)):
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(name)
        path.chmod(mode)
    (root / "etc").mkdir(parents=True)
    (root / "etc/a.conf").symlink_to("/dev/null")
    image.put(overlay, root)
    modes = {str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*") if p.name != "etc"}
    assert modes == {
        "etc/a.conf": 0o644,
        "etc/b": 0o755,
        "etc/b/c": 0o644,
        "usr": 0o755,
        "usr/sbin": 0o755,
        "usr/sbin/tool": 0o755,
    }
    assert (root / "etc/a.conf").read_text() == "etc/a.conf"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> image.Image:
    monkeypatch.setattr(place, "CACHE", tmp_path)
    return image.Image(kernel=tmp_path / "vmlinuz", initrd=tmp_path / "initrd", root=tmp_path / "root", version="v1")


def test_what_was_found_out_is_kept_and_a_broken_note_is_not_believed(
    built: image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(probe, "boots", lambda _, accel: not tried.append(accel) and accel == "tcg")
    assert probe.accelerator(built) == "qemu"
    once = list(tried)
    assert probe.accelerator(built) == "qemu"
    assert tried == once
    (note,) = tmp_path.glob("accelerator-*")
    note.write_text("")
    assert probe.accelerator(built) == "qemu"
    assert len(tried) == 2 * len(once)


def test_an_image_that_does_not_boot_at_all_is_said_at_once(
    built: image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "boots", lambda *_: False)
    with pytest.raises(ServiceError, match="does not boot"):
        probe.accelerator(built)
    assert not list(built.kernel.parent.glob("accelerator-*"))
