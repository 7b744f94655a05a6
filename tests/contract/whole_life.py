"""The two lives that the states are read from: one instance through everything, and one that never finds a host."""

from __future__ import annotations

from plain_cloud import Reply
from plain_subjects import PlainSubject
from story import BATTERY, PORT, Story

OTHERS = tuple(name for name in BATTERY if name not in {"shelveOffload", "resetState", "nonsense", "hard reboot"})
"""What is asked while something else goes on: nothing of it may be accepted."""


def live(subject: PlainSubject) -> Story:
    """From create to delete."""
    cloud = subject.cloud
    wish = {"port": {"network_id": subject.things["network"], "name": PORT}}
    port = cloud.call("network", "POST", "/ports", wish)
    assert port.status == 201, port
    story = Story(subject, flavor=subject.things["flavor_small"], port=port.body["port"]["id"])
    story.look("BUILD")
    story.watch(story.passages["create"])
    story.passages["create"].entry = story.entry(story.passages["create"].reply.request_id)
    _give_address(story)
    story.look("ACTIVE", "stop", "shelve", "suspend", "pause", "reboot", "hard reboot", "createImage")
    story.go("lock")
    story.look("LOCKED", "createImage")
    story.states["LOCKED"].refused["delete"] = story.told(cloud.call("compute", "DELETE", f"/servers/{story.key}"))
    story.go("unlock")
    story.go("pause")
    story.look("PAUSED", "unpause", "shelve", "hard reboot", "createImage")
    story.go("unpause")
    story.go("suspend", *OTHERS)
    story.look("SUSPENDED", "resume", "shelve", "hard reboot", "createImage")
    story.go("resume", "start", "stop", "unshelve")
    story.go("createImage", *OTHERS)
    _through_power(story)
    _through_error(story)
    story.delete()
    story.look("DELETED")
    return story


def _give_address(story: Story) -> None:
    """A floating IP on its port, which must stay there through everything."""
    wish = {"floatingip": {"floating_network_id": story.subject.things["outside"], "port_id": story.port}}
    reply = story.cloud.call("network", "POST", "/floatingips", wish)
    assert reply.status == 201, reply
    story.floating = reply.body["floatingip"]["id"]


def _through_power(story: Story) -> None:
    """Off, on, off with its host, and on again."""
    story.go("reboot", *OTHERS)
    story.go("stop", *OTHERS)
    story.look("SHUTOFF", "start", "shelve", "hard reboot", "createImage")
    story.go("start", "start", "stop")
    story.go("hard reboot", *OTHERS)
    story.go("shelve", *OTHERS)
    story.look("SHELVED_OFFLOADED", "unshelve")
    story.go("unshelve", *OTHERS)


def _through_error(story: Story) -> None:
    """What the staff can set, and the ways out of it; then shelved from a state that is no running one."""
    reset = story.cloud.act(story.key, "os-resetState", {"state": "error"}, as_="staff")
    assert reset.status == 202, reset
    story.look("ERROR", "stop", "hard reboot")
    story.go("stop of ERROR")
    story.go("hard reboot of SHUTOFF")
    story.go("suspend of ACTIVE")
    story.go("shelve of SUSPENDED")


def never_hosted(subject: PlainSubject) -> Story:
    """An instance that ends in ERROR without ever having had a host."""
    story = Story(subject, flavor=subject.unbuildable())
    story.watch(story.passages["create"])
    story.passages["create"].entry = story.entry(story.passages["create"].reply.request_id)
    story.look("ERROR")
    story.delete()
    return story


def starts_at_once(subject: PlainSubject, story: Story, number: int) -> list[Reply]:
    """Several starts of one instance at the same moment."""
    return subject.cloud.together([lambda: subject.cloud.act(story.key, "os-start")] * number)
