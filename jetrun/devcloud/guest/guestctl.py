"""systemctl, systemd-run, poweroff, shutdown and reboot inside an instance: each sends an order to the instance's process."""

import json
import os
import socket
import sys
import time


def order(folder: str, what: dict) -> dict:  # type: ignore[type-arg]
    """Send one order and give the answer."""
    with socket.socket(socket.AF_UNIX) as channel:
        # Through a descriptor: a socket's path holds 107 bytes, and a home may be deep.
        run = os.open(f"{folder}/run", os.O_PATH | os.O_DIRECTORY)
        channel.connect(f"/proc/self/fd/{run}/control")
        os.close(run)
        channel.sendall(json.dumps(what).encode() + b"\n")
        answer = channel.makefile("rb").readline()
    return json.loads(answer or b"{}")  # type: ignore[no-any-return]


def main() -> int:
    """Be the program whose name is the first argument."""
    name, folder, *rest = sys.argv[1:]
    if name != "systemd-run" and not (name == "systemctl" and "poweroff" not in rest and "reboot" not in rest):
        return power(name, folder, rest)
    if "DESTDIR" not in os.environ and name == "systemctl" and {"enable", "disable", "start", "stop"} & set(rest):
        sys.stderr.write("Interactive authentication required.\n")
        return 1
    answer = order(folder, {"do": "units", "argv": [name, *rest]})
    sys.stdout.write(answer.get("out", ""))
    return int(answer.get("code", 1))


def power(name: str, folder: str, rest: list) -> int:  # type: ignore[type-arg]
    """Switch the instance off, or boot it anew."""
    if "DESTDIR" not in os.environ:
        sys.stderr.write(f"{name}: must be root\n")
        return 1
    if "-c" in rest:
        return 0
    for word in rest:
        if word.startswith("+") and word != "+0":
            time.sleep(60 * int(word[1:]))
    again = name == "reboot" or "-r" in rest or "reboot" in rest
    order(folder, {"do": "reboot" if again else "poweroff"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
