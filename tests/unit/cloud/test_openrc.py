"""Openrc files as users have them: read, never run; every trap named with its line, and never with a value."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetrun.cloud.openrc import OpenrcError, parse

PASSWORD_RC = """#!/usr/bin/env bash
# written by the cloud's web page
export OS_AUTH_URL=https://cloud.example.org:5000/v3/
export OS_PROJECT_ID=0f1e2d3c
export OS_PROJECT_NAME="TG-BIO 42"
export OS_USER_DOMAIN_NAME="access"
if [ -z "$OS_USER_DOMAIN_NAME" ]; then unset OS_USER_DOMAIN_NAME; fi
export OS_PROJECT_DOMAIN_ID="default"
if [ -z "$OS_PROJECT_DOMAIN_ID" ]; then unset OS_PROJECT_DOMAIN_ID; fi
unset OS_TENANT_ID
unset OS_TENANT_NAME
export OS_USERNAME="ada"
echo "Please enter your OpenStack Password for project $OS_PROJECT_NAME as user $OS_USERNAME: "
read -sr OS_PASSWORD_INPUT
export OS_PASSWORD=$OS_PASSWORD_INPUT
export OS_REGION_NAME=""
if [ -z "$OS_REGION_NAME" ]; then unset OS_REGION_NAME; fi
export OS_INTERFACE=public
export OS_IDENTITY_API_VERSION=3
"""
CREDENTIAL_RC = """#!/usr/bin/env bash
export OS_AUTH_TYPE=v3applicationcredential
export OS_AUTH_URL=https://cloud.example.org:5000/v3/
export OS_IDENTITY_API_VERSION=3
export OS_REGION_NAME="IU"
export OS_INTERFACE=public
export OS_APPLICATION_CREDENTIAL_ID=abc123
export OS_APPLICATION_CREDENTIAL_SECRET=s3cr3t-S3CR3T
"""


def test_a_password_openrc_asks_for_the_password_and_for_nothing_else() -> None:
    said = parse(PASSWORD_RC)
    assert said.asked == {"OS_PASSWORD"}
    assert said.values["OS_PROJECT_NAME"] == "TG-BIO 42"
    assert "OS_REGION_NAME" not in said.values, "empty, and unset by the file itself"
    assert "OS_PASSWORD_INPUT" not in said.values or "OS_PASSWORD_INPUT" not in said.asked
    assert said.lines["OS_USERNAME"] == 12


def test_an_application_credential_is_whole() -> None:
    said = parse(CREDENTIAL_RC)
    assert not said.asked
    assert said.values["OS_APPLICATION_CREDENTIAL_SECRET"] == "s3cr3t-S3CR3T"
    assert said.warnings == ()


def test_windows_line_ends_and_a_byte_order_mark_are_read_and_said() -> None:
    said = parse("\ufeff" + CREDENTIAL_RC.replace("\n", "\r\n"))
    assert said.values == parse(CREDENTIAL_RC).values
    assert len(said.warnings) == 2


SECRET = "OS_APPLICATION_CREDENTIAL_SECRET"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (f"export {SECRET}=hush hush", "space"),
        (f"export {SECRET}=hush&hush", "&"),
        (f"export {SECRET}=hush|hush", "|"),
        (f"export {SECRET}=hush>hush", ">"),
        (f"export {SECRET}=hush`hush", "`"),
        (f"export {SECRET}=hush$hush", "dollar sign"),
        (f'export {SECRET}="hush$hush"', "dollar sign"),
        (f'export {SECRET}="hush`hush"', "backquote"),
        (f"export {SECRET}=hush&amp;hush", "HTML escape"),
        (f'export {SECRET}="hush&amp;hush"', "HTML escape"),
        (f"export {SECRET}='hush&#39;hush'", "HTML escape"),
        (f"export {SECRET}=“hush”", "typographic"),
        (f'export {SECRET}="hush', "not closed"),
        (f"export {SECRET}=$(cat hush)", "dollar sign"),
        ("export OS_PROJECT_NAME=hush", "its own project"),
        ("export OS_TENANT_ID=hush", "its own project"),
        ("if true; then export OS_PROJECT_ID=1; fi", "never runs"),
        ("source hush", "never runs"),
    ],
)
def test_what_a_shell_would_take_otherwise_is_refused_with_its_line_and_without_its_value(line: str, word: str) -> None:
    text = CREDENTIAL_RC + line + "\n"
    with pytest.raises(OpenrcError) as caught:
        parse(text)
    assert caught.value.line == len(CREDENTIAL_RC.splitlines()) + 1
    assert word in caught.value.why
    assert "hush" not in caught.value.why + caught.value.next
    assert "s3cr3t" not in caught.value.why + caught.value.next


def test_a_semicolon_ends_the_value_as_in_a_shell() -> None:
    with pytest.raises(OpenrcError) as caught:
        parse(CREDENTIAL_RC.replace("=s3cr3t-S3CR3T", "=s3cr3t;S3CR3T"))
    assert caught.value.line == 8


def test_a_missing_secret_and_a_missing_address_are_said() -> None:
    with pytest.raises(OpenrcError, match="SECRET is missing"):
        parse(CREDENTIAL_RC.replace("s3cr3t-S3CR3T", ""))
    with pytest.raises(OpenrcError, match="no openrc"):
        parse("export FOO=1\n")
    with pytest.raises(OpenrcError, match="no web address"):
        parse("export OS_AUTH_URL=cloud.example.org\n")


def test_one_line_may_set_several_and_one_may_use_another() -> None:
    said = parse(
        "export OS_AUTH_URL=https://a.example/v3 OS_REGION_NAME='R 1'; export OS_PROJECT_NAME=p-${OS_REGION_NAME}\n"
    )
    assert said.values == {"OS_AUTH_URL": "https://a.example/v3", "OS_REGION_NAME": "R 1", "OS_PROJECT_NAME": "p-R 1"}


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x17F, blacklist_characters="\x7f"), max_size=30))
def test_a_value_is_what_a_shell_makes_of_it_or_the_line_is_refused(value: str) -> None:
    line = f"export OS_USERNAME={value}"
    try:
        said = parse(f"export OS_AUTH_URL=https://a.example/v3\n{line}\n")
    except OpenrcError:
        return
    shell = subprocess.run(
        ["bash", "-c", line + '\nprintf %s "$OS_USERNAME"'],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C.UTF-8"},
        check=False,
    )
    assert said.values.get("OS_USERNAME", "") == shell.stdout
