"""Whatever is asked of the model, in whatever order: what it says is down is down, and the same history gives the same cloud."""

from __future__ import annotations

import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from model_lab import ADA, STAFF, Lab

from jetrun.devcloud import orders
from jetrun.devcloud.errors import ApiError

ACTIONS = ["start", "stop", "shelve", "unshelve", "suspend", "resume", "pause", "unpause", "reboot", "hard reboot"]
EVENTS = st.one_of(
    st.tuples(st.just("act"), st.sampled_from(ACTIONS)),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.3, 1.0, 20.0])),
    st.tuples(
        st.just("fault"), st.sampled_from(["shelve-fails-silently", "unshelve-bounces", "never-offloads", "stuck-task"])
    ),
    st.tuples(st.just("guest off"), st.none()),
    st.tuples(st.just("host"), st.booleans()),
    st.tuples(st.just("reset"), st.none()),
    st.tuples(st.just("delete"), st.none()),
)
HISTORIES = st.lists(EVENTS, max_size=25)
DOWN = {"SHUTOFF", "SHELVED_OFFLOADED", "DELETED"}


def play(lab: Lab, history: list, look=lambda lab, server: None):
    server = lab.create()
    for kind, what in history:
        try:
            match kind:
                case "act":
                    lab.act(server, what)
                case "wait":
                    lab.passes(what)
                case "fault":
                    lab.faults.add(what)
                case "guest off":
                    lab.nova.guest_powered_off(server.id, lab.now)
                case "host":
                    lab.nova.hypervisor_enabled = what
                case "reset":
                    if server.task_state and server.host and server.vm_state == "active":
                        orders.reset_state(lab.nova, server.id, "active", lab.now)
                case _:
                    lab.delete(server, STAFF)
        except ApiError as error:
            assert error.status in {404, 409}  # noqa: PT017 - most of a random history is refused
        look(lab, server)
    return server


@settings(max_examples=300, deadline=None)
@given(HISTORIES)
def test_what_the_model_calls_down_is_off_on_its_host(history):
    def look(lab, server):
        if server.status in DOWN and server.task_state is None:
            assert not server.really_on, (server.status, history)

    lab = Lab()
    server = play(lab, history, look)
    lab.settle()
    look(lab, server)


@settings(max_examples=200, deadline=None)
@given(HISTORIES)
def test_in_the_end_nothing_is_called_active_that_is_off(history):
    lab = Lab()
    server = play(lab, history)
    lab.settle()
    if server.status == "ACTIVE" and server.task_state is None:
        assert server.really_on


@settings(max_examples=100, deadline=None)
@given(HISTORIES)
def test_the_same_history_gives_the_same_cloud(history):
    one, two = Lab(), Lab()
    play(one, history)
    play(two, history)
    assert one.nova.to_state() == two.nova.to_state()


@settings(max_examples=100, deadline=None)
@given(HISTORIES, HISTORIES)
def test_a_kept_cloud_goes_on_as_one_that_was_never_kept(before, after):
    """State goes through JSON, as a restart of the embedded cloud takes it."""
    lab = Lab()
    server = play(lab, before)
    twin = copy.deepcopy(lab)
    twin.nova.from_state(json.loads(json.dumps(lab.nova.to_state())))
    again = twin.nova.servers[server.id]
    for one, instance in ((lab, server), (twin, again)):
        for kind, what in after:
            if kind == "act":
                try:
                    one.act(instance, what)
                except ApiError:
                    continue
            elif kind == "wait":
                one.passes(what)
        one.settle()
    assert twin.nova.to_state() == lab.nova.to_state()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ACTIONS), st.lists(st.floats(0.01, 2.0), max_size=10))
def test_it_does_not_matter_how_often_time_is_looked_at(action, looks):
    one, two = Lab(), Lab()
    for lab, gaps in ((one, looks), (two, [sum(looks)])):
        server = lab.active()
        if action in {"start", "unshelve", "resume", "unpause"}:
            before = {"start": "stop", "unshelve": "shelve", "resume": "suspend", "unpause": "pause"}[action]
            lab.done(server, before)
        lab.act(server, action, ADA)
        for gap in gaps:
            lab.passes(gap)
        lab.settle()
    assert one.nova.to_state()["servers"] == two.nova.to_state()["servers"]
