# ruff: noqa: INP001 - a program for the instance, not a module of ours
"""Asks the cloud, from inside an instance, to shelve that instance: ``shelve.py shelve|probe FILE SECONDS``, run by deadman.sh as root.

Needs a Python of 3.6 or later and nothing else. FILE holds the credential, so that no process list shows it. The last line of
its output says what came of it, without secrets; exit code 0 means accepted. SIGALRM ends it after SECONDS at the latest.
Certificates are verified, redirections are not followed.
"""

import json
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request

CALL_S = 12
"""One call: two attempts of two calls each fit into deadman.sh's minute."""

PAUSE_S = 2
"""Before the second attempt."""

NO_ACTION = {"jetrun-asks-whether-it-may": None}
"""No action of Nova's: 400 where a credential may send actions, 401 where it may not. Without effect either way."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The credential goes where it was made for, and nowhere else."""

    def redirect_request(self, *_args: object) -> None:
        """Never follows."""


class Cloud:
    """Keystone and Nova as far as one instance needs them."""

    def __init__(self, settings: dict) -> None:  # type: ignore[type-arg] # Python 3.6 knows no dict[str, str]
        self.settings = settings
        context = ssl.create_default_context()
        if settings["cacert"]:
            context.load_verify_locations(cadata=settings["cacert"])
        self.opener = urllib.request.build_opener(NoRedirect(), urllib.request.HTTPSHandler(context=context))
        self.token = ""

    def call(self, method: str, url: str, body: object = None) -> tuple:  # type: ignore[type-arg]
        """(status, headers, body) of one call; OSError without an answer."""
        request = urllib.request.Request(url, method=method)  # noqa: S310 - the run's own cloud, by its clouds.yaml
        request.add_header("Accept", "application/json")
        if self.token:
            request.add_header("X-Auth-Token", self.token)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with self.opener.open(request, timeout=CALL_S) as answer:
                return answer.status, answer.headers, answer.read(1 << 20)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, b""

    def log_in(self) -> None:
        """Gets a token; OSError where Keystone gives none."""
        key = {"id": self.settings["id"], "secret": self.settings["secret"]}
        body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": key}}}
        status, headers, _ = self.call("POST", self.settings["auth_url"] + "/auth/tokens", body)
        if status != 201:
            raise OSError("the login answered %d" % status)  # noqa: UP031
        self.token = headers["X-Subject-Token"]

    def shelve(self) -> str:
        """Asks, and says what for; OSError where it was not accepted. A lost answer is looked up, not repeated blindly."""
        status, headers, _ = self.call("POST", self.settings["instance_url"] + "/action", {"shelve": None})
        if status == 202:
            return "accepted %s" % headers.get("x-openstack-request-id", "")  # noqa: UP031
        if self.is_shelving():
            return "accepted before"
        raise OSError("shelve answered %d" % status)  # noqa: UP031

    def is_shelving(self) -> bool:
        """Whether Nova is at it already."""
        status, _, body = self.call("GET", self.settings["instance_url"])
        task = json.loads(body.decode())["server"].get("OS-EXT-STS:task_state") if status == 200 else None
        return str(task).startswith("shelving")

    def probe(self) -> str:
        """Whether the instance may be read and acted on; OSError where not."""
        status, _, _ = self.call("GET", self.settings["instance_url"])
        if status != 200:
            raise OSError("reading the instance answered %d" % status)  # noqa: UP031
        status, _, _ = self.call("POST", self.settings["instance_url"] + "/action", NO_ACTION)
        if status != 400:
            raise OSError("an action on the instance answered %d" % status)  # noqa: UP031
        return "ready"


def main() -> int:
    """One act, tried twice."""
    act, path, seconds = sys.argv[1:]
    signal.alarm(int(seconds))
    with open(path) as file:  # noqa: PTH123
        settings = json.load(file)
    said = ""
    for attempt in range(2):
        time.sleep(attempt * PAUSE_S)
        try:
            cloud = Cloud(settings)
            cloud.log_in()
            said = cloud.shelve() if act == "shelve" else cloud.probe()
        except (OSError, ValueError, LookupError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
        else:
            sys.stdout.write(said + "\n")
            return 0
    sys.stdout.write(said + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
