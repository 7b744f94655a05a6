"""An instance that a researcher has had for a while, and how it comes to where a test begins."""

from __future__ import annotations

from typing import Any

import truth


class Machine:
    """An instance that the researcher has had for a while.

    Attributes:
        id: the instance's. address: its floating IP, once it has one.
    """

    def __init__(self, lab: Any, admin: Any, name: str, network: str = "lab-net", flavor: str = "m1.small") -> None:
        self.lab, self.admin, self.name = lab, admin, name
        server = lab.compute.create_server(
            name=name, image_id=lab.image.find_image("lab-debian").id, flavor_id=lab.compute.find_flavor(flavor).id,
            networks=[{"uuid": lab.network.find_network(network).id}], key_name="lab-key", security_groups=[{"name": "lab-ssh"}],
        )  # fmt: skip
        self.id = str(server.id)
        self.address: Any = None

    def give_address(self) -> None:
        """A floating IP on its port."""
        external = self.lab.network.find_network("lab-ext")
        port = next(self.lab.network.ports(device_id=self.id))
        self.address = self.lab.network.create_ip(floating_network_id=external.id, port_id=port.id)

    def now(self) -> Any:
        return self.lab.compute.get_server(self.id)

    def console(self) -> str:
        return str(self.lab.compute.get_server_console_output(self.id)["output"])

    def wait(self, *statuses: str, within_s: float = 150) -> Any:
        """Until it has one of *statuses* and nothing is under way."""
        truth.eventually(lambda: self.now().status in statuses and self.now().task_state is None, within_s)
        return self.now()

    def free(self) -> Any:
        """Free of any lease and with nothing under way: how it is then. What an earlier test left must not fail the next one too."""
        for port in self.lab.network.ports(device_id=self.id):
            if port.description or port.tags:
                self.lab.network.update_port(port.id, description="")
                self.lab.network.set_tags(port, [])
        if self.now().task_state is not None:
            try:
                self.wait("ACTIVE", "SHUTOFF", "SHELVED_OFFLOADED", "SUSPENDED", "PAUSED", "ERROR", within_s=45)
            except AssertionError:
                # A task that a test left stuck: what the staff would do.
                self.admin.compute.reset_server_state(self.id, "active")
        return self.wait("ACTIVE", "SHUTOFF", "SHELVED_OFFLOADED", "SUSPENDED", "PAUSED")

    def be_down(self) -> None:
        """Off or shelved, whichever it is already: between the two lies a boot of half a minute."""
        if self.free().status not in {"SHUTOFF", "SHELVED_OFFLOADED"}:
            self.be("SHUTOFF")

    def be(self, status: str) -> None:
        """Brings it to *status* from whichever it is in; every test says where it begins."""
        compute = self.lab.compute
        now = self.free()
        if now.status == status:
            return
        if status in {"ACTIVE", "SUSPENDED", "PAUSED"} or now.status in {"SUSPENDED", "PAUSED", "SHELVED_OFFLOADED"}:
            wake = {
                "SHUTOFF": compute.start_server,
                "SHELVED_OFFLOADED": compute.unshelve_server,
                "SUSPENDED": compute.resume_server,
                "PAUSED": compute.unpause_server,
            }.get(now.status)
            if wake is not None:
                wake(self.id)
                self.wait("ACTIVE")
        sleep = {
            "SHUTOFF": compute.stop_server,
            "SHELVED_OFFLOADED": compute.shelve_server,
            "SUSPENDED": compute.suspend_server,
            "PAUSED": compute.pause_server,
        }.get(status)
        if sleep is not None:
            sleep(self.id)
            self.wait(status)

    def delete(self) -> None:
        self.lab.compute.delete_server(self.id, ignore_missing=True)
        if self.address is not None:
            self.lab.network.delete_ip(self.address.id)
        truth.eventually(lambda: truth.state(self.id)[0] == "deleted", 90)
