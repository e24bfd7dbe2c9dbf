# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol of the guest agent, against an agent that is written down."""

from __future__ import annotations

import base64
import io
import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm import agent_session
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent import (
    READ_BYTES,
    WRITE_BYTES,
    Agent,
    AgentError,
    AgentSilent,
    Done,
)

BYTES = bytes(range(256))
RUN = {"action": "run", "path": "/bin/cat", "arguments": ["-"], "environment": ["A=b"]}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Guest:
    """An agent with files and one program, *does*: its arguments and input to what it prints."""

    def __init__(self, does: t.Callable[[list[str], bytes], dict[str, t.Any]] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.places: dict[int, list[t.Any]] = {}
        self.asked: list[dict[str, t.Any]] = []
        self.does = does or (lambda argv, data: {"exitcode": 0})
        self.polls = 2

    def names(self) -> list[str]:
        return [question["execute"] for question in self.asked]

    def ask(self, message: str) -> str:
        question = json.loads(message)
        self.asked.append(question)
        answer = getattr(self, question["execute"].replace("-", "_"))(**question.get("arguments", {}))
        return json.dumps({"return": answer})

    def guest_exec(self, **arguments: t.Any) -> dict[str, t.Any]:
        self.left = self.polls
        data = base64.b64decode(arguments.get("input-data", ""))
        self.result = self.does([arguments["path"], *arguments["arg"]], data)
        return {"pid": 7}

    def guest_exec_status(self, pid: int) -> dict[str, t.Any]:
        assert pid == 7
        self.left -= 1
        return {"exited": False} if self.left > 0 else {"exited": True, **self.result}

    def guest_file_open(self, path: str, mode: str) -> int:
        handle = len(self.places) + 1
        if mode == "wb":
            self.files[path] = b""
        self.places[handle] = [path, 0]
        return handle

    def guest_file_write(self, **arguments: t.Any) -> dict[str, t.Any]:
        # An agent may take less than it is given.
        data = base64.b64decode(arguments["buf-b64"])[:30000]
        self.files[self.places[arguments["handle"]][0]] += data
        return {"count": len(data), "eof": False}

    def guest_file_read(self, handle: int, count: int) -> dict[str, t.Any]:
        path, start = self.places[handle]
        data = self.files[path][start : start + count]
        self.places[handle][1] += len(data)
        return {"count": len(data), "buf-b64": encoded(data), "eof": len(data) < count}

    def guest_file_flush(self, handle: int) -> dict[str, t.Any]:
        return {}

    def guest_file_close(self, handle: int) -> dict[str, t.Any]:
        del self.places[handle]
        return {}


def agent(guest: Guest, pauses: list[float] | None = None) -> Agent:
    return Agent(guest.ask, (pauses if pauses is not None else []).append)


def answered(request: dict[str, t.Any], guest: Guest, data: bytes = b"") -> bytes:
    target = io.BytesIO()
    agent_session.answer(request, agent(guest), io.BytesIO(data), target)
    return target.getvalue()


def test_a_program_reads_and_prints_any_bytes() -> None:
    def does(argv: list[str], data: bytes) -> dict[str, t.Any]:
        return {"exitcode": 3, "out-data": encoded(data[::-1]), "err-data": encoded(b"\xff" + argv[1].encode())}

    guest = Guest(does)
    assert agent(guest).run("/bin/cat", ["ä"], input=BYTES) == Done(3, BYTES[::-1], b"\xff" + "ä".encode())
    assert guest.asked[0]["arguments"]["capture-output"] is True
    assert "env" not in guest.asked[0]["arguments"]


def test_the_agent_is_asked_again_at_growing_distances() -> None:
    guest = Guest()
    pauses: list[float] = []
    guest.polls = 10
    agent(guest, pauses).run("/bin/true", [], environment=["A=b"])
    assert guest.asked[0]["arguments"]["env"] == ["A=b"]
    assert len(pauses) == 9
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.01
    assert pauses[-1] == 0.25


@pytest.mark.parametrize(
    ("status", "rc", "is_cut"),
    [
        ({"exitcode": 0}, 0, False),
        ({"exitcode": 255}, 255, False),
        ({"signal": 9}, 137, False),
        ({"exitcode": 0, "out-data": "", "out-truncated": True}, 0, True),
        ({"exitcode": 0, "err-truncated": True}, 0, True),
    ],
)
def test_how_a_program_ended(status: dict[str, t.Any], rc: int, is_cut: bool) -> None:
    assert agent(Guest(lambda argv, data: status)).run("/bin/true", []) == Done(rc, b"", b"", is_cut)


@pytest.mark.parametrize("size", [0, 1, 29999, 30000, WRITE_BYTES, WRITE_BYTES + 1, 3 * READ_BYTES, READ_BYTES + 17])
def test_files_arrive_whole(size: int) -> None:
    data = (BYTES * (size // 256 + 1))[:size]
    guest = Guest()
    agent(guest).write("/tmp/x", io.BytesIO(data))
    assert guest.files["/tmp/x"] == data
    assert b"".join(agent(guest).read("/tmp/x")) == data
    assert not guest.places
    longest = max(len(question["arguments"].get("buf-b64", "")) for question in guest.asked)
    assert longest <= 64 * 1024


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("nonsense", "no JSON"),
        ('["return"]', "refused"),
        ('{"error": {"class": "CommandNotFound", "desc": "guest-exec has been disabled"}}', "has been disabled"),
    ],
)
def test_what_the_agent_refuses_is_said(answer: str, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        Agent(lambda message: answer).run("/bin/true", [])


def test_a_file_is_closed_when_the_agent_refuses_to_write() -> None:
    guest = Guest()
    guest.guest_file_write = lambda **arguments: {"count": 0, "eof": False}  # type: ignore[method-assign]  # the agent of this test
    with pytest.raises(AgentError, match="could not write /tmp/x"):
        agent(guest).write("/tmp/x", io.BytesIO(b"1"))
    assert not guest.places


def test_a_silent_agent_is_not_asked_to_close() -> None:
    guest = Guest()

    def silent(**arguments: t.Any) -> t.NoReturn:
        raise AgentSilent("gone")

    guest.guest_file_write = silent  # type: ignore[method-assign]  # the agent of this test
    with pytest.raises(AgentSilent):
        agent(guest).write("/tmp/x", io.BytesIO(b"1"))
    assert guest.names() == ["guest-file-open", "guest-file-write"]


def test_a_request_to_run() -> None:
    guest = Guest(lambda argv, data: {"exitcode": 4, "out-data": encoded(b"\0" + data), "err-data": encoded(b"e")})
    told = json.loads(answered(RUN, guest, b"in"))
    assert told == {"rc": 4, "stdout": encoded(b"\0in"), "stderr": encoded(b"e")}
    assert guest.asked[0]["arguments"]["path"] == "/bin/cat"


WINDOWS = {"action": "run", "path": "powershell.exe", "arguments": ["-EncodedCommand", "ZQA="], "environment": None}


def test_much_input_of_windows_goes_through_a_file_that_is_deleted() -> None:
    seen: dict[str, bytes] = {}

    def does(argv: list[str], data: bytes) -> dict[str, t.Any]:
        if "<" in argv:
            seen.update(guest.files)
        elif "del" in argv:
            del guest.files[argv[-1]]
        return (
            {"exitcode": 5, "out-data": encoded(b"done")}
            if "<" in argv
            else {"exitcode": 0, "out-data": encoded(b"C:\\T\r\n")}
        )

    guest = Guest(does)
    told = json.loads(answered(WINDOWS, guest, BYTES * 1000))
    assert told == {"rc": 5, "stdout": encoded(b"done"), "stderr": ""}
    assert len(seen) == 1
    path = next(iter(seen))
    assert (path[:13], seen[path], guest.files) == ("C:\\T\\homelab-", BYTES * 1000, {})
    ran = [question["arguments"] for question in guest.asked if question["execute"] == "guest-exec"]
    assert [each["path"] for each in ran] == ["cmd.exe"] * 3
    assert ran[1]["arg"] == ["/d", "/c", "powershell.exe", "-EncodedCommand", "ZQA=", "<", path]
    assert ran[2]["arg"] == ["/d", "/c", "del", "/f", "/q", path]


@pytest.mark.parametrize("argument", ["a b", "a&b", "%PATH%", "x" * 9000])
def test_what_the_shell_of_windows_would_read_otherwise_gets_no_more_than_the_agent_takes(argument: str) -> None:
    with pytest.raises(AgentError, match="can read"):
        answered({**WINDOWS, "arguments": [argument]}, Guest(), BYTES * 1000)


def test_much_input_needs_a_shell_of_the_guest() -> None:
    guest = Guest(lambda argv, data: {"exitcode": 0, "out-data": encoded(b"/tmp/spool\n")})
    data = BYTES * 1000
    answered({**RUN, "is_posix": True}, guest, data)
    assert guest.files["/tmp/spool"] == data
    last = [question["arguments"] for question in guest.asked if question["execute"] == "guest-exec"][-1]
    assert last["path"] == "/bin/sh"
    assert last["arg"][2:] == ["sh", "/tmp/spool", "/bin/cat", "-"]
    assert last["env"] == ["A=b"]
    assert "input-data" not in last


def test_much_output_is_taken_from_files() -> None:
    def does(argv: list[str], data: bytes) -> dict[str, t.Any]:
        return {"exitcode": 0} if argv[2].startswith("rm") else {"exitcode": 246, "out-data": encoded(b"/tmp/f 5\n")}

    guest = Guest(does)
    guest.files = {"/tmp/f/stdout": BYTES * 5000, "/tmp/f/stderr": b"e"}
    told = json.loads(answered({**RUN, "is_posix": True}, guest))
    assert told == {"rc": 5, "stdout": encoded(BYTES * 5000), "stderr": encoded(b"e")}
    removed = [question["arguments"]["arg"] for question in guest.asked if question["execute"] == "guest-exec"][-1]
    assert removed[-1] == "/tmp/f"


def test_a_status_of_the_command_itself_is_not_taken_for_files() -> None:
    guest = Guest(lambda argv, data: {"exitcode": 246, "out-data": encoded(b"hello\n")})
    assert json.loads(answered({**RUN, "is_posix": True}, guest))["rc"] == 246


def test_what_was_cut_is_an_error() -> None:
    with pytest.raises(AgentError, match="printed more"):
        answered(RUN, Guest(lambda argv, data: {"exitcode": 0, "out-truncated": True}))


def test_a_file_is_made_before_it_is_written() -> None:
    guest = Guest()
    answered({"action": "put", "path": "/root/x", "before": ["/bin/sh", "-c", "make", "/root/x"]}, guest, BYTES)
    assert guest.names()[:3] == ["guest-exec", "guest-exec-status", "guest-exec-status"]
    assert guest.files["/root/x"] == BYTES
    assert answered({"action": "fetch", "path": "/root/x"}, guest) == BYTES


def test_a_file_that_cannot_be_made_is_not_written() -> None:
    error = encoded(b"sh: can't create /x/y: nonexistent directory\n")
    guest = Guest(lambda argv, data: {"exitcode": 1, "err-data": error})
    with pytest.raises(AgentError, match="nonexistent directory"):
        answered({"action": "put", "path": "/x/y", "before": ["/bin/sh", "-c", "make", "/x/y"]}, guest, b"1")
    assert not guest.files
