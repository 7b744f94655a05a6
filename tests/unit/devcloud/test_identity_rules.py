"""Access rules name service, method and path; one star is one segment. Held to keystonemiddleware's own matching."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetrun.devcloud.caller import rule_matches
from jetrun.devcloud.identity import rule_allows

UUID = "6f1c0000-0000-4000-8000-00000000cafe"


def rule(path: str, method: str = "GET", service: str = "compute") -> dict[str, str]:
    return {"service": service, "method": method, "path": path}


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/v2.1/servers/*", f"/v2.1/servers/{UUID}", True),
        ("/v2.1/servers/*", "/v2.1/servers/detail", True),  # the whole project's list: seen in the lab
        ("/v2.1/servers/*", "/v2.1/servers", False),
        ("/v2.1/servers/*", "/v2.1/servers/", False),
        ("/v2.1/servers/*", f"/v2.1/servers/{UUID}/action", False),
        ("/v2.1/servers/*/action", f"/v2.1/servers/{UUID}/action", True),
        ("/v2.1/servers/{server_id}/action", f"/v2.1/servers/{UUID}/action", True),
        ("/v2.1/servers/{server_id}", f"/v2.1/servers/{UUID}/action", False),
        ("/v2.1/servers/**", f"/v2.1/servers/{UUID}/action", True),
        ("/v2.1/servers/**", "/v2.1/servers/", True),
        ("/v2.1/servers**", "/v2.1/servers", True),
        ("**", f"/v2.1/servers/{UUID}", True),
        (f"/v2.1/servers/{UUID}", f"/v2.1/servers/{UUID}", True),
        (f"/v2.1/servers/{UUID}", "/v2.1/servers/detail", False),
        ("/v2.1/servers", "/v2.1/servers/", False),
    ],
)
def test_a_pattern_names_these_paths_and_no_others(pattern, path, allowed):
    assert rule_matches(rule(pattern), "compute", "GET", path) == allowed


@pytest.mark.parametrize(("service", "method"), [("compute", "POST"), ("image", "GET"), ("compute", "get")])
def test_service_and_method_must_be_the_very_ones(service, method):
    assert not rule_matches(rule("**"), service, method, "/v2.1/servers")


def test_one_of_several_rules_is_enough_and_none_is_not():
    rules = (rule("/v2.1/servers/*"), rule("/v2.1/servers/*/action", "POST"))
    assert rule_allows(rules, "compute", "POST", f"/v2.1/servers/{UUID}/action")
    assert not rule_allows(rules, "compute", "DELETE", f"/v2.1/servers/{UUID}")
    assert not rule_allows((), "compute", "GET", "/v2.1/servers")


def middleware(path: str, pattern: str) -> bool:
    """The meaning that keystonemiddleware documents: a name or one star is a segment, two stars are anything."""
    text = re.escape(pattern)
    for mark, meaning in ((r"\*\*", "\0"), (r"\*", "[^/]+"), ("\0", ".*")):
        text = text.replace(mark, meaning)
    return re.fullmatch(text, path) is not None


@given(
    st.lists(st.sampled_from(["servers", "*", "**", "detail", "action"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["servers", "x", "detail", "action", ""]), min_size=0, max_size=5),
)
def test_patterns_mean_what_the_middleware_means(pattern, path):
    text, where = "/" + "/".join(pattern), "/" + "/".join(path)
    assert rule_matches(rule(text), "compute", "GET", where) == middleware(where, text)
