# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that work on items: what they hold, what is heard of them, and that nothing of them is left."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import typing as t
from pathlib import Path

import pytest
from unit.descriptors import open_files
from unit.plugins.module_utils._layout.test_layout_plan import make

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._layout import run
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.crew import Crew, Message, Spawner, Tell
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.plan import Item

WAIT_SECONDS = 10


def status_of(pid: int) -> str:
    """The letter of the kernel, empty for a process that is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def told_by(channel: socket.socket) -> list[Message]:
    """Everything that a worker tells, to its end."""
    with channel, channel.makefile("rb") as stream:
        return [json.loads(line) for line in stream]


def look(order: Message, tell: Tell) -> Message:
    """The work of a process that says what it is."""
    with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as stream:
        siblings = [int(pid) for pid in stream.read().split() if int(pid) != os.getpid()]
    return {
        "order": order,
        "pid": os.getpid(),
        "siblings": siblings,
        "session": os.getsid(0),
        "streams": [os.readlink(f"/proc/self/fd/{number}") for number in range(3)],
        "loaded": loaded,
        "lasting": gc.get_freeze_count(),
    }


loaded: list[str] = []


def test_a_worker_is_a_session_apart_with_no_stream_of_ours_and_with_what_was_loaded_before() -> None:
    before = open_files()
    spawner = Spawner(look, lambda: loaded.append("libraries"))
    (told,) = told_by(spawner.start({"name": "hall"}, []))
    spawner.close()
    assert told["result"]["order"] == {"name": "hall"} and told["result"]["loaded"] == ["libraries"]
    assert told["result"]["session"] == spawner.pid != os.getsid(0)
    assert told["result"]["streams"] == ["/dev/null"] * 3
    # The collector of a worker leaves alone what it shares with all others.
    assert told["result"]["lasting"] > 1000
    assert loaded == [] and open_files() <= before


def test_workers_that_have_ended_are_buried_with_the_next() -> None:
    spawner = Spawner(look)
    first = told_by(spawner.start({}, []))[0]["result"]["pid"]
    wait_until("the first worker to end", lambda: status_of(first) == "Z", timeout_seconds=WAIT_SECONDS)
    assert told_by(spawner.start({}, []))[0]["result"]["siblings"] == []
    spawner.close()
    assert status_of(spawner.pid) == ""


def test_what_cannot_be_started_any_more_is_told_though_a_worker_lives(tmp_path: Path) -> None:
    def wait(order: Message, tell: Tell) -> Message:
        tell({"pid": os.getpid()})
        signal.pause()
        return {}

    before = open_files()
    spawner = Spawner(wait)
    channel = spawner.start({}, [])
    with channel, channel.makefile("rb") as stream:
        worker = json.loads(stream.readline())["pid"]
        os.kill(spawner.pid, signal.SIGKILL)
        os.waitpid(spawner.pid, 0)
        try:
            with pytest.raises(ApplyError, match="no process could be started for it"):
                spawner.start({}, [])
        finally:
            os.kill(worker, signal.SIGKILL)
    spawner.close()
    assert open_files() <= before


def test_who_only_waits_has_let_go_of_what_it_was_given() -> None:
    def work(order: Message, tell: Tell) -> Message:
        tell({"waiting": True})
        signal.pause()
        return {}

    spawner = Spawner(work)
    reading, writing = os.pipe()
    channel = spawner.start({}, [writing])
    os.close(writing)
    with channel, channel.makefile("rb") as stream:
        assert json.loads(stream.readline()) == {"waiting": True}
        assert os.read(reading, 1) == b""
        os.close(reading)
        (worker,) = Path(f"/proc/{spawner.pid}/task/{spawner.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
    spawner.close()


def test_a_failure_in_a_worker_is_told_with_its_traceback() -> None:
    spawner = Spawner(lambda order, tell: {"result": 1 // 0})
    (told,) = told_by(spawner.start({}, []))
    spawner.close()
    assert told["result"]["msg"].startswith("ZeroDivisionError") and "ZeroDivisionError" in told["result"]["exception"]


# ---- a crew ------------------------------------------------------------------------------------------------------------------


class Scripted:
    """A spawner whose workers say what is written for the name of their item, and end."""

    def __init__(self, script: dict[str, list[Message] | None]) -> None:
        self.script = script
        self.orders: list[Message] = []

    def start(self, order: Message, keep_fds: t.Sequence[int]) -> socket.socket:
        lines = self.script[order["name"]]
        if lines is None:
            raise ApplyError("no process")
        self.orders.append(order)
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        return ours


def worked(script: dict[str, list[Message] | None], *items: Item, parallel: int = 1) -> tuple[list[Message], list[str]]:
    """What was reported, and the items whose line in the journal was written for them."""
    reports: list[Message] = []
    noted: list[str] = []

    def note(item: Item) -> list[str]:
        noted.append(item.declared.name)
        return [f"{item.declared.name} noted"]

    before = open_files()
    spawner = t.cast(t.Any, Scripted(script))
    Crew(spawner, items, parallel=parallel, note=note, report=reports.append, claimed={}).work()
    assert open_files() <= before
    return reports, noted


def test_everything_that_a_worker_tells_is_reported_under_the_path_of_its_item() -> None:
    web = make("vm", "web")
    result = {"changed": True, "plan": [], "warnings": ["slow"]}
    script: dict[str, list[Message] | None] = {
        "web": [{"step": "begun"}, {"stands": "state"}, {"waiting": True}, {"result": result}]
    }
    reports, noted = worked(script, web)
    assert [{key: its for key, its in report.items() if key != "item"} for report in reports] == [
        {"started": True},
        {"step": "begun"},
        {"stands": "state"},
        {"waiting": True},
        {"finished": True},
    ]
    assert {report["item"] for report in reports} == {"vms[web]"} and noted == []
    assert (web.told, web.has_failed, web.warnings) == ({"changed": True, "plan": []}, False, ["slow"])


def test_what_depends_on_what_failed_is_reported_as_skipped() -> None:
    reports, dummy = worked(
        {"br0": [{"result": {"msg": "no", "changed": False}}]}, make("vm", "web", "bridge br0"), make("bridge", "br0")
    )
    assert reports[1:] == [
        {"item": "bridges[br0]", "finished": True, "msg": "no"},
        {"item": "vms[web]", "skipped": "depends on bridge br0, which failed"},
    ]


def test_what_is_deferred_is_reported_and_what_depends_on_it_comes_later_too() -> None:
    nas, films, more = make("vm", "nas"), make("storage_pool", "films", "guest nas"), make("vm", "more", "pool films")
    made = {"path": "state", "before": "absent", "after": "started", "how": "live", "done": True}
    script: dict[str, list[Message] | None] = {
        "nas": [{"result": {"changed": True, "plan": [made]}}],
        "films": [{"result": {"deferred": "waits for nas"}}],
    }
    reports: list[Message] = []
    scripted = Scripted(script)
    serve_later = ("nas", "other")
    spawner = t.cast(t.Any, scripted)
    crew = Crew(
        spawner,
        [nas, films, more],
        parallel=1,
        note=lambda item: [],
        report=reports.append,
        claimed={},
        serve_later=serve_later,
    )
    crew.work()
    # The one that this run makes is not waited for.
    assert [order["serve_later"] for order in scripted.orders] == [
        {"nas": True, "other": True},
        {"nas": False, "other": True},
    ]
    assert [report for report in reports if "deferred" in report] == [
        {"item": "storage_pools[films]", "deferred": "waits for nas"},
        {"item": "vms[more]", "deferred": "depends on storage pool films, which waits for nas"},
    ]
    assert not (films.has_failed or films.told["changed"] or films.told["plan"] or more.skipped)


def test_a_worker_that_ended_before_it_was_done_has_changed_what_it_told() -> None:
    web, db = make("vm", "web", paths=("state", "memory")), make("vm", "db")
    reports, noted = worked({"web": [{"stands": "state"}], "db": []}, web, db)
    assert [change["done"] for change in web.told["plan"]] == [True, False]
    assert (web.told["changed"], web.has_failed, web.warnings) == (True, True, ["web noted"])
    assert (db.told["changed"], db.has_failed, db.warnings, noted) == (False, True, [], ["web"])
    assert "killed?" in web.told["msg"] and reports[-1]["msg"] == db.told["msg"]


def test_a_bug_in_a_worker_is_told_with_its_traceback_and_whether_it_had_changed_anything() -> None:
    web, db = make("vm", "web"), make("vm", "db")
    bug: Message = {"result": {"msg": "KeyError: 'x'", "exception": "Traceback"}}
    dummy, noted = worked({"web": [{"step": "begun"}, bug], "db": [bug]}, web, db)
    assert [(item.told["changed"], item.told["exception"]) for item in (web, db)] == [
        (True, "Traceback"),
        (False, "Traceback"),
    ]
    assert noted == ["web"]


def test_an_item_for_which_no_process_can_be_started_fails_alone() -> None:
    web, db = make("vm", "web"), make("vm", "db")
    worked({"web": None, "db": [{"result": {"changed": False}}]}, web, db)
    assert (web.told["msg"], web.has_failed, db.has_failed) == ("no process", True, False)


@pytest.mark.parametrize("message", [b'{"waiting": true}\n', b'{"written": true}\n'])
def test_one_that_only_waits_or_looks_makes_room_for_the_next(message: bytes) -> None:
    """Its channel stays open until the next one, which it waits for, has been told to begin."""
    waiting, held = socket.socketpair()
    held.sendall(message)

    class Held(Scripted):
        def start(self, order: Message, keep_fds: t.Sequence[int]) -> socket.socket:
            if order["name"] == "web":
                return waiting
            held.sendall(b'{"result": {"changed": false}}\n')
            held.close()
            return super().start(order, keep_fds)

    items = [make("vm", "web"), make("vm", "db")]
    spawner = t.cast(t.Any, Held({"db": [{"result": {"changed": False}}]}))
    reports: list[Message] = []
    Crew(spawner, items, parallel=1, note=lambda item: [], report=reports.append, claimed={}).work()
    assert [item.has_failed for item in items] == [False, False]
    assert not any("written" in report for report in reports)


def test_no_more_look_again_than_may_write() -> None:
    """The third one begins when the first one has looked; all that was begun before has written."""
    ends: dict[str, socket.socket] = {}
    begun: list[list[str]] = []

    class Open(Scripted):
        def start(self, order: Message, keep_fds: t.Sequence[int]) -> socket.socket:
            ours, ends[order["name"]] = socket.socketpair()
            begun.append(sorted(ends))
            ends[order["name"]].sendall(b'{"written": true}\n')
            if order["name"] in ("b", "c"):
                end = ends.pop("a" if order["name"] == "b" else "b")
                end.sendall(b'{"result": {"changed": false}}\n')
                end.close()
            if order["name"] == "c":
                with ends["c"] as end:
                    end.sendall(b'{"result": {"changed": false}}\n')
            return ours

    items = [make("vm", name) for name in "abc"]
    Crew(t.cast(t.Any, Open({})), items, parallel=1, note=lambda item: [], claimed={}).work()
    assert begun == [["a"], ["a", "b"], ["b", "c"]]
    assert not any(item.has_failed for item in items)


def test_a_crew_that_is_interrupted_lets_go_of_its_workers() -> None:
    def report(message: Message) -> None:
        if "step" in message:
            raise KeyboardInterrupt

    before = open_files()
    spawner = t.cast(t.Any, Scripted({"web": [{"step": "begun"}]}))
    crew = Crew(spawner, [make("vm", "web")], parallel=1, note=lambda item: [], report=report, claimed={})
    with pytest.raises(KeyboardInterrupt):
        crew.work()
    (job,) = crew._jobs
    assert job.channel.fileno() == -1 and open_files() <= before


def test_a_layout_loads_its_kinds_into_the_spawner_and_lets_that_go(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Paper:
        def __init__(self, work: object, load: t.Callable[[], None]) -> None:
            load()

        def close(self) -> None:
            told.append("closed")

    kind = make("vm", "web").declared.kind
    monkeypatch.setattr(run, "Spawner", Paper)
    monkeypatch.setattr(run, "_run", lambda *given: told.append("run"))
    monkeypatch.setattr(
        run, "_kind", lambda word, kinds: type("Kind", (), {"load": lambda: told.append(f"{word} loaded")})
    )
    monkeypatch.setattr(run, "load_drivers", lambda: told.append("drivers loaded"))
    run.converge_layout({"vms": [{"name": "web"}, {"name": "db"}]}, host=lambda: t.cast(t.Any, None), dry_run=False)
    assert told == ["vm loaded", "drivers loaded", "run", "closed"] and kind.word == "vm"


def test_what_nobody_answered_on_a_bridge_that_changes_first_is_asked_again() -> None:
    silent = {("br0", 0, "10.0.0.2"): 1.0, ("br1", 7, "10.0.1.2"): 2.0}
    guest = make("vm", "web", "bridge br0", "bridge br1")
    assert (
        run._still_silent(silent, [guest, make("bridge", "br0", paths=()), make("bridge", "br1", paths=())]) == silent
    )
    changed = run._still_silent(
        silent, [guest, make("bridge", "br0", paths=("ports",)), make("bridge", "br1", paths=())]
    )
    assert changed == {("br1", 7, "10.0.1.2"): 2.0}
