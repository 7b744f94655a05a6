"""One session of an SSH connection: a command, a shell or SFTP, and the bytes between the client and the program.

Pipes are read and written from the loop without copies through streams, and each side is read only as fast as the other
takes it: what a client does not read stays in the program's pipe, and stops the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal as signals
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from jetrun.devcloud.instance_children import signal_quietly
from jetrun.devcloud.instance_program import Program, start_on_pipes, start_on_terminal

if TYPE_CHECKING:
    from jetrun.devcloud.instance import Instance

_CHUNK = 1 << 17
_SFTP_VERSION = 3  # the one that OpenSSH speaks
_PENDING_HIGH, _PENDING_LOW = 1 << 20, 1 << 18
_NUMBERS = {one.name.removeprefix("SIG"): one.value for one in signals.Signals}


class Session(asyncssh.SSHServerSession[bytes]):
    """A session; SFTP is handed to the SSH library's own server, with the home as its beginning."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._channel: Any = None
        self._sftp: Any = None
        self._program: Program | None = None
        self._code: int | None = None
        self._to_write: list[bytes] = []
        self._input_over = False
        self._is_full = False

    # --- what the client asks for ---

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        self._channel = chan
        chan.set_write_buffer_limits(high=_PENDING_HIGH, low=_PENDING_LOW)

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        """Everybody gets a terminal."""
        del term_type, term_size, term_modes
        return True

    def shell_requested(self) -> bool:
        """Everybody gets a shell."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Everything may be executed."""
        del command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP, and nothing else."""
        if subsystem != "sftp":
            return False
        home = self._instance.home_of(self._channel.get_extra_info("username"))
        self._sftp = SSHServerStreamSession(None, lambda channel: _HomeSftp(channel, home), _SFTP_VERSION)
        self._sftp.connection_made(self._channel)
        return True

    def session_started(self) -> None:
        """Start what was asked for."""
        if self._sftp is not None:
            self._sftp.session_started()
            return
        try:
            self._program = self._start()
        except OSError as error:
            self._channel.write_stderr(f"cannot start: {error.strerror}\n".encode())
            self._channel.exit(126)
            return
        self._listen()

    # --- the program ---

    def _start(self) -> Program:
        """Start the program as its user, on pipes or on a terminal."""
        connection, command = self._channel.get_connection(), self._channel.get_command()
        user = connection.get_extra_info("username")
        peer, own = connection.get_extra_info("peername"), connection.get_extra_info("sockname")
        environment = {
            **self._instance.environment_of(user),
            "SSH_CONNECTION": f"{peer[0]} {peer[1]} {own[0]} {own[1]}",
            "SSH_CLIENT": f"{peer[0]} {peer[1]} {own[1]}",
        }
        wishes = self._channel.get_environment()
        environment |= {key: value for key, value in wishes.items() if key == "LANG" or key.startswith("LC_")}
        argv = ["/bin/sh", "-l"] if command is None else ["/bin/sh", "-c", command]
        children, home, terminal = (
            self._instance.children,
            self._instance.home_of(user),
            self._channel.get_terminal_type(),
        )
        if terminal is None:
            return start_on_pipes(children, argv, env=environment, cwd=home, on_end=self._ended)
        return start_on_terminal(
            children,
            argv,
            env={**environment, "TERM": terminal},
            cwd=home,
            on_end=self._ended,
            size=self._channel.get_terminal_size(),
        )

    def _ended(self, code: int) -> None:
        """The program has ended; what it wrote may still be on its way. A terminal does not outlive its session's leader."""
        self._code = code
        program = self._program
        if program is not None and program.terminal >= 0 and self._channel is not None:
            with contextlib.suppress(OSError):
                while data := os.read(program.terminal, _CHUNK):
                    self._channel.write(data)
            self._close_output(program, program.terminal)
        self._finish()

    def _finish(self) -> None:
        """Say how it ended once all of its output is sent, as OpenSSH does: background jobs may hold the pipes open."""
        if self._code is None or self._program is None or self._program.outputs or self._channel is None:
            return
        self._close_input()
        if self._code < 0:
            self._channel.exit_with_signal(signals.Signals(-self._code).name.removeprefix("SIG"))
        else:
            self._channel.exit(self._code)

    # --- from the program to the client ---

    def _listen(self) -> None:
        for descriptor in self._program.outputs if self._program is not None else ():
            asyncio.get_running_loop().add_reader(descriptor, self._relay, descriptor)

    def _relay(self, descriptor: int) -> None:
        """What the program wrote."""
        assert self._program is not None  # noqa: S101 - its pipes are what is read here
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # the far end of a terminal is closed
                raise
            data = b""
        if data:
            with contextlib.suppress(BrokenPipeError):  # the client has closed the channel; its end follows
                self._channel.write(data, self._program.outputs[descriptor])
            return
        self._close_output(self._program, descriptor)
        self._finish()

    def _close_output(self, program: Program, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        del program.outputs[descriptor]
        if descriptor == program.terminal:
            program.terminal = -1

    def pause_writing(self) -> None:
        """The client is slow: leave the rest in the pipes."""
        if self._sftp is not None:
            self._sftp.pause_writing()
        for descriptor in self._program.outputs if self._program is not None else ():
            asyncio.get_running_loop().remove_reader(descriptor)

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._sftp is not None:
            self._sftp.resume_writing()
        self._listen()

    # --- from the client to the program ---

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """What the client wrote."""
        if self._sftp is not None:
            self._sftp.data_received(data, datatype)
        elif self._program is not None and self._program.stdin >= 0:
            self._to_write.append(data)
            if not self._is_full:
                self._feed()

    def eof_received(self) -> bool:
        """The client has written all; its output is still wanted."""
        if self._sftp is not None:
            return bool(self._sftp.eof_received())
        self._input_over = True
        if not self._to_write:
            self._end_input()
        return True

    def _feed(self) -> None:
        """Write as much as the program takes, and hold the client back until it takes more."""
        assert self._program is not None  # noqa: S101 - data is only kept for one
        while self._to_write:
            try:
                written = os.write(self._program.stdin, self._to_write[0])
            except BlockingIOError:
                self._hold(self._program.stdin)
                return
            except OSError:  # nobody reads there any more
                self._close_input()
                return
            self._to_write[0] = self._to_write[0][written:]
            if not self._to_write[0]:
                del self._to_write[0]
        self._release()
        if self._input_over and not self._to_write:
            self._end_input()

    def _hold(self, descriptor: int) -> None:
        if not self._is_full:
            self._is_full = True
            self._channel.pause_reading()
            asyncio.get_running_loop().add_writer(descriptor, self._feed)

    def _release(self) -> None:
        if self._is_full and self._program is not None:
            self._is_full = False
            asyncio.get_running_loop().remove_writer(self._program.stdin)
            if self._channel is not None:
                self._channel.resume_reading()

    def _end_input(self) -> None:
        """The end of the input, as the program sees it; a terminal stays open for what it still shows."""
        if self._program is not None and self._program.terminal < 0:
            self._close_input()

    def _close_input(self) -> None:
        program = self._program
        if program is None or program.stdin < 0:
            return
        self._to_write.clear()
        descriptor, full = program.stdin, self._is_full
        program.stdin, self._is_full = -1, False
        if full:
            asyncio.get_running_loop().remove_writer(descriptor)
        os.close(descriptor)
        if full and self._channel is not None:
            self._channel.resume_reading()

    # --- the rest ---

    def signal_received(self, signal: str) -> None:
        """The client sends a signal to the program's group."""
        number = _NUMBERS.get(signal)
        if self._program is not None and self._code is None and number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._program.pid, number)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The client's window has another size."""
        if self._program is not None:
            self._program.resize((width, height, pixwidth, pixheight))

    def exception_received(self, exc: Exception) -> None:
        """Nothing that a session must do."""
        if self._sftp is not None:
            self._sftp.exception_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: the program sees the end of its input and broken pipes, and lives on without them."""
        if self._sftp is not None:
            self._sftp.connection_lost(exc)
        self._channel = None
        program = self._program
        if program is None:
            return
        had_terminal = program.terminal >= 0
        self._close_input()
        for descriptor in list(program.outputs):
            self._close_output(program, descriptor)
        if had_terminal and self._code is None:
            signal_quietly(program.pid, signals.SIGHUP)


class _HomeSftp(asyncssh.SFTPServer):
    """SFTP whose relative paths begin at the home."""

    def __init__(self, channel: Any, home: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """A client's path as one of this machine."""
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes
