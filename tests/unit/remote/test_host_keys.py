"""Host keys from a console log, and the files that keep them."""

from __future__ import annotations

import base64
import stat

import pytest

from jetrun.errors import RemoteRefused
from jetrun.guarantee.power import InstanceId
from jetrun.remote.host_keys import HostKey, HostKeyFolder, parse_console, parse_key

INSTANCE = InstanceId("6f1c0000-0000-4000-8000-00000000cafe")


def key(number: int, kind: str = "ssh-ed25519") -> HostKey:
    head = len(kind).to_bytes(4, "big") + kind.encode()
    return HostKey(kind=kind, blob=head + (32).to_bytes(4, "big") + bytes([number]) * 32)


def block(*lines: str) -> str:
    return "\n".join(["-----BEGIN SSH HOST KEY KEYS-----", *lines, "-----END SSH HOST KEY KEYS-----"])


def test_keys_come_from_a_plain_console():
    text = f"boot\n{block(key(1).line + ' root@host', key(2, 'ecdsa-sha2-nistp256').line)}\nlogin:"
    assert list(parse_console(text)) == [key(1).line, key(2, "ecdsa-sha2-nistp256").line]


def test_keys_come_from_a_console_with_kernel_times_and_prefixes():
    lines = [f"[   21.345678] cloud-init[812]: {line}\r" for line in block(f"{key(1).line} root@x").splitlines()]
    assert list(parse_console("\n".join(lines))) == [key(1).line]


def test_newest_whole_block_counts():
    """A rebuilt instance has several; one that the log's end cuts off is not believed."""
    cut = block(key(3).line).rsplit("\n", 1)[0]
    assert list(parse_console(f"{block(key(1).line)}\n{block(key(2).line)}\n{cut}")) == [key(2).line]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no keys here",
        key(1).line,
        "-----BEGIN SSH HOST KEY FINGERPRINTS-----\n256 SHA256:abc root (ED25519)\n-----END SSH HOST KEY FINGERPRINTS-----",
        block("ssh-ed25519 AAAA", "ssh-ed25519 !!!!", "hello"),
        block(key(1).line.replace("ssh-ed25519", "ssh-rsa")),
    ],
)
def test_console_without_a_whole_key_gives_none(text):
    assert list(parse_console(text)) == []


def test_key_whose_inside_is_another_kind_is_none():
    assert parse_key(f"ssh-rsa {base64.b64encode(key(1).blob).decode()}") is None


def test_fingerprint_is_what_ssh_keygen_prints(tmp_path):
    import shutil
    import subprocess

    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True)
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "k.pub"], check=True, capture_output=True, text=True).stdout
    read = parse_key((tmp_path / "k.pub").read_text())
    assert read is not None
    assert read.fingerprint in said.split()


def test_pins_are_kept_per_instance_privately_and_whole(tmp_path):
    folder = HostKeyFolder(tmp_path / "keys")
    assert folder.pinned(INSTANCE) == ()
    folder.pin(INSTANCE, [key(1), key(2)])
    assert folder.pinned(INSTANCE) == (key(1), key(2))
    assert folder.pinned(InstanceId("another")) == ()
    assert stat.S_IMODE(folder.path(INSTANCE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [INSTANCE]


def test_damaged_pin_is_refused_and_not_trusted_anew(tmp_path):
    folder = HostKeyFolder(tmp_path)
    folder.path(INSTANCE).write_text("ssh-ed255")
    with pytest.raises(RemoteRefused) as caught:
        folder.pinned(INSTANCE)
    assert str(folder.path(INSTANCE)) in caught.value.next


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b", "a b", "x" * 200, "a\nb"])
def test_id_that_could_lead_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(RemoteRefused):
        HostKeyFolder(tmp_path).path(InstanceId(name))
