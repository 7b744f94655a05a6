"""Whether security groups let SSH in: the commonest mistake of a newcomer, said only where it is certain."""

from __future__ import annotations

from typing import Any

import pytest

from jetrun.cloud.network import bare_rule, rule_of

IPV4, DUAL = frozenset({"IPv4"}), frozenset({"IPv4", "IPv6"})


def rule(**more: Any) -> dict[str, Any]:
    plain = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    return {**plain, "remote_ip_prefix": None, "remote_group_id": None, **more}


def verdict(*rules: dict[str, Any], versions: frozenset[str] = IPV4, all_seen: bool = True) -> bool | None:
    group = {"id": "g", "name": "default", "security_group_rules": list(rules)}
    found = rule_of([group], 22, versions=versions, all_seen=all_seen)
    assert found.groups == ("default",)
    return found.allowed


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"remote_ip_prefix": "0.0.0.0/0"},
        {"remote_ip_prefix": "192.0.2.0/24"},
        {"protocol": None, "port_range_min": None, "port_range_max": None},
        {"protocol": "any", "port_range_min": None, "port_range_max": None},
        {"protocol": "6"},
        {"protocol": 6},
        {"protocol": "TCP"},
        {"port_range_min": 1, "port_range_max": 65535},
        {"port_range_min": None, "port_range_max": None},
    ],
)
def test_a_rule_lets_ssh_in(change: dict[str, Any]) -> None:
    assert verdict(rule(direction="egress"), rule(**change)) is True


@pytest.mark.parametrize(
    "change",
    [
        {"direction": "egress"},
        {"protocol": "udp"},
        {"protocol": "icmp", "port_range_min": None},
        {"port_range_min": 80, "port_range_max": 80},
        {"port_range_min": 23, "port_range_max": 1024},
        {"ethertype": "IPv6"},
        {"remote_group_id": "g"},
    ],
)
def test_a_rule_does_not_let_ssh_in(change: dict[str, Any]) -> None:
    """The last is what every group ``default`` has: its own members reach each other, and nobody else does."""
    assert verdict(rule(**change)) is False


def test_members_of_another_group_may_be_us() -> None:
    """Nobody knows from here."""
    assert verdict(rule(remote_group_id="other")) is None
    assert verdict(rule(remote_address_group_id="set")) is None
    assert verdict(rule(remote_group_id="other"), rule()) is True


def test_a_group_that_cannot_be_read_may_let_us_in() -> None:
    """Shared by another project: it is not in our list."""
    assert verdict(all_seen=False) is None
    assert verdict(rule(), all_seen=False) is True


def test_a_rule_for_ipv6_helps_an_instance_that_has_it() -> None:
    assert verdict(rule(ethertype="IPv6", remote_ip_prefix="::/0"), versions=DUAL) is True


def test_a_port_without_groups_is_open_or_shut_as_its_security_says() -> None:
    assert bare_rule([{"port_security_enabled": False}]).allowed is True
    assert bare_rule([{"port_security_enabled": True}]).allowed is False
    assert bare_rule([{"port_security_enabled": True}, {"port_security_enabled": False}]).allowed is None
    assert bare_rule([{}]).allowed is None
    assert bare_rule([]).allowed is None
