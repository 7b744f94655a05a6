"""Every error that jetrun raises, and the exit code each leads to. Imports nothing of jetrun.

JetrunError
├── UsageError            2    the command line or the job file is wrong; nothing was begun
├── InstanceInUse       122    somebody else's lease, or already running and no --take-over
├── InstanceNotStarted  120    the instance could not be started or reached
├── CloudError                 a call to the cloud failed; the engine decides what follows
│   ├── CloudTransient         no effect; the same call may work later
│   ├── CloudPermanent         no effect; the same call will fail again (403, 404, bad request)
│   └── CloudAmbiguous         may have taken effect: resolved by observing, never by repeating
├── RemoteError                an act on the instance over SSH failed
│   ├── RemoteUnreachable      no connection, or it broke
│   ├── RemoteRefused          connected, but key, host key or rights are refused
│   └── RemoteCommandFailed    the command ran and failed
├── MailError                  no mail was accepted
├── ShutdownUnverified  119    the instance is not proven down
└── InternalError       125    jetrun itself failed
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process ends with, where the script's own code does not apply."""

    OK = 0
    USAGE = 2
    NOT_VERIFIED = 119
    NOT_STARTED = 120
    OUTPUTS_MISSING = 121
    IN_USE = 122
    SCRIPT_CODE_RESERVED = 123
    TIMED_OUT = 124
    FAILED = 125
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Secret:
    """A text that never shows itself: its repr, str and format are a mask; ``reveal()`` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        """A mask; also what ``str()`` and ``format()`` give."""
        return "****"

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text


class JetrunError(Exception):
    """An error with its three parts: what happened, the instance's state now, what to do next.

    Attributes:
        code: stable kebab-case reference, indexed in the docs.
        what: what happened, present tense, no blame.
        state: the instance now, with the age of that reading, or plainly that it is untouched or not known.
        next: a command that can be pasted, or the line to change.
        exit_code: what the process ends with when this error ends it.
    """

    exit_code: int = ExitCode.FAILED

    def __init__(
        self,
        *,
        what: str,
        state: str = "no instance was touched",
        next: str,
        code: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.state = state
        self.next = next
        self.code = code or self.default_code()

    @classmethod
    def default_code(cls) -> str:
        """The class's name in kebab-case."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("-")

    def as_dict(self) -> dict[str, str]:
        """The error as the ``--json`` document holds it."""
        return {"code": self.code, "what": self.what, "state": self.state, "next": self.next}

    def render(self) -> str:
        """The error as a person reads it, four lines."""
        return f"error: {self.code}\n  what:  {self.what}\n  state: {self.state}\n  next:  {self.next}"


class UsageError(JetrunError):
    """The command line, the job file or the configuration is wrong; nothing was begun."""

    exit_code = ExitCode.USAGE


class InstanceInUse(JetrunError):
    """Another run holds the instance's lease, or it already runs and may be somebody's."""

    exit_code = ExitCode.IN_USE


class InstanceNotStarted(JetrunError):
    """The instance could not be started or reached."""

    exit_code = ExitCode.NOT_STARTED


class CloudError(JetrunError):
    """A call to the cloud failed.

    Attributes:
        status: the HTTP status, None without an answer.
        request_id: the cloud's ``x-openstack-request-id``, None without one.
    """

    def __init__(
        self,
        *,
        what: str,
        state: str = "not known: the cloud's answer is missing",
        next: str = "jetrun doctor",
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(what=what, state=state, next=next, code=code)
        self.status = status
        self.request_id = request_id


class CloudTransient(CloudError):
    """The call had no effect; the same call may work later."""


class CloudPermanent(CloudError):
    """The call had no effect; the same call will fail again."""


class CloudAmbiguous(CloudError):
    """The call may have taken effect: resolved by observing, never by a blind repeat."""


class RemoteError(JetrunError):
    """An act on the instance over SSH failed."""

    def __init__(
        self,
        *,
        what: str,
        state: str = "not known over SSH",
        next: str = "jetrun doctor",
        code: str | None = None,
    ) -> None:
        super().__init__(what=what, state=state, next=next, code=code)


class RemoteUnreachable(RemoteError):
    """No SSH connection, or it broke."""


class RemoteRefused(RemoteError):
    """Connected, but the key, the host key or the rights are refused."""


class RemoteCommandFailed(RemoteError):
    """The command ran on the instance and failed.

    Attributes:
        command_exit_code: of the command.
        stderr_tail: the end of what it said, without secrets.
    """

    def __init__(
        self, *, what: str, command_exit_code: int, stderr_tail: str = "", next: str = "jetrun doctor"
    ) -> None:
        super().__init__(what=what, next=next)
        self.command_exit_code = command_exit_code
        self.stderr_tail = stderr_tail


class MailError(JetrunError):
    """No mail was accepted.

    Attributes:
        permanent: True where the same mail will be refused again.
    """

    def __init__(self, *, what: str, next: str, permanent: bool = False, code: str | None = None) -> None:
        super().__init__(what=what, state="the instance is not concerned", next=next, code=code)
        self.permanent = permanent


class ShutdownUnverified(JetrunError):
    """The instance is not proven down. Outranks every other error."""

    exit_code = ExitCode.NOT_VERIFIED


class InternalError(JetrunError):
    """jetrun itself failed."""
