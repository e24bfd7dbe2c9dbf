# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a host that boots starts its guests, and stops them when it is shut down."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import host_guests
import pytest
from host_guests import (
    Guest,
    GuestError,
    Mount,
    is_mounted,
    names_path,
    read_mounts,
    read_startups,
    start_all,
    steps,
    stood_on,
    stop_all,
    unmount,
    unmounting,
    waiting_for,
)


def guest(
    name: str,
    order: int | None = None,
    delay: int = 0,
    act: t.Callable[[], str | None] = lambda: "done",
) -> Guest:
    """A guest that waits as long when it has started as when it has stopped."""
    startup = {"up_delay": delay, "down_delay": delay} | ({} if order is None else {"order": order})
    return Guest("vm" if name.startswith("vm") else "container", name, startup, act)


class Host:
    """What a run says, how long it waits, and a clock that goes on by what it waits."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.seconds = 1000.0
        self.is_over = False

    def sleep(self, seconds: float) -> None:
        self.told.append(f"waits {seconds:g}")
        self.seconds += seconds

    def start(self, *guests: Guest) -> bool:
        return start_all(guests, self.told.append, self.sleep, lambda: self.is_over)

    def stop(self, *guests: Guest, each: float = 100, all_together: float = 1000) -> bool:
        return stop_all(guests, self.told.append, self.sleep, lambda: self.seconds, each, all_together)


def names(*guests: Guest, stops: bool = False) -> list[list[str]]:
    return [[each.name for each in step] for step in steps(guests, stops=stops)]


def test_the_lowest_order_is_first_and_both_kinds_are_one_row() -> None:
    assert names(guest("vm-a", 10), guest("ct-b", 2), guest("ct-c", 10), guest("vm-d", 0)) == [
        ["vm-d"],
        ["ct-b"],
        ["ct-c", "vm-a"],
    ]


def test_those_without_an_order_are_last_side_by_side() -> None:
    assert names(guest("vm-a"), guest("vm-b", 1_000_000), guest("vm-c")) == [["vm-b"], ["vm-a", "vm-c"]]
    assert names() == []


def test_a_step_waits_for_the_longest_of_its_delays() -> None:
    host = Host()
    assert host.start(guest("vm-a", 1, 3), guest("ct-b", 1, 5), guest("ct-c", 2), guest("vm-d", None, 9))
    assert host.told == [
        "container ct-b: done, order 1",
        "virtual machine vm-a: done, order 1",
        "waits 5",
        "container ct-c: done, order 2",
        "virtual machine vm-d: done",
    ]


def test_one_that_runs_already_is_not_waited_for() -> None:
    host = Host()
    assert host.start(guest("vm-a", 1, 3, lambda: None), guest("vm-b", 2))
    assert host.told == ["virtual machine vm-b: done, order 2"]


def test_one_that_does_not_start_holds_up_none_and_fails_the_whole() -> None:
    def breaks() -> str:
        raise GuestError("no bridge lan0")

    host = Host()
    assert not host.start(guest("vm-a", 1, 3, breaks), guest("ct-b", 1, 2), guest("ct-c", 2))
    assert host.told == [
        "container ct-b: done, order 1",
        "<3>virtual machine vm-a: no bridge lan0",
        "waits 2",
        "container ct-c: done, order 2",
    ]


def test_a_host_that_is_shut_down_meanwhile_starts_no_more() -> None:
    host = Host()

    def ends() -> str:
        host.is_over = True
        return "done"

    also = [guest(f"vm-b{number}", 1, act=lambda: "done" if not host.is_over else "late") for number in range(9)]
    assert not host.start(guest("ct-a", 1, 3, ends), *also, guest("ct-c", 2))
    assert "container ct-a: done, order 1" in host.told and host.told[-1] == "told to end: the others are not started"
    assert not any("ct-c" in line for line in host.told)


def test_guests_stop_the_other_way_round_than_they_start() -> None:
    guests = [guest("vm-a", 10), guest("ct-b", 2), guest("ct-c", 10), guest("vm-d", 0), guest("ct-e")]
    assert names(*guests, stops=True) == names(*guests)[::-1] == [["ct-e"], ["ct-c", "vm-a"], ["ct-b"], ["vm-d"]]


def test_those_that_stop_later_wait_and_nobody_waits_for_the_last() -> None:
    host = Host()
    assert host.stop(guest("vm-a", 1, 3), guest("ct-b", 2, 5), guest("ct-c", 2, 4), guest("vm-d", None, 9))
    assert host.told == [
        "virtual machine vm-d: done",
        "waits 9",
        "container ct-b: done, order 2",
        "container ct-c: done, order 2",
        "waits 5",
        "virtual machine vm-a: done, order 1",
    ]


def test_one_that_does_not_stop_holds_up_none_and_fails_the_whole() -> None:
    def hangs() -> str:
        raise GuestError("did not shut down")

    host = Host()
    assert not host.stop(guest("ct-a", 2, 3, hangs), guest("vm-b", 1))
    assert host.told == ["<3>container ct-a: did not shut down", "virtual machine vm-b: done, order 1"]


def test_when_the_time_of_all_is_short_those_that_are_left_stop_at_once_and_each_has_its_own() -> None:
    host = Host()

    def takes(seconds: float) -> t.Callable[[], str]:
        def act() -> str:
            host.seconds += seconds
            return "done"

        return act

    guests = [guest(f"ct-{order}", order, 7, takes(100)) for order in (1, 2, 3, 4)]
    assert host.stop(*guests, each=100, all_together=320)
    assert host.told == [
        "container ct-4: done, order 4",
        "waits 7",
        "container ct-3: done, order 3",
        "waits 7",
        "container ct-2: done, order 2",
        "container ct-1: done, order 1",
    ]


def test_a_delay_takes_nothing_of_the_time_that_a_guest_has() -> None:
    host = Host()
    assert host.stop(guest("ct-a", 2, 500), guest("ct-b", 1), each=100, all_together=250)
    assert "waits 150" in host.told


def test_a_record_that_cannot_be_read_is_told_and_the_others_count(tmp_path: Path) -> None:
    (tmp_path / "web.json").write_text(json.dumps({"kind": "container", "startup": {"order": 1}}))
    (tmp_path / "box.json").write_text(json.dumps({"kind": "vm"}))
    (tmp_path / "odd.json").write_text("[")
    (tmp_path / "old.json").write_text(json.dumps({"kind": "vm", "startup": {"order": "first"}}))
    told: list[str] = []
    assert read_startups(tmp_path, told.append) == {("container", "web"): {"order": 1}, ("vm", "box"): {}}
    assert [line.partition(" cannot be read")[0] for line in told] == [
        f"<4>{tmp_path / name}.json" for name in ("odd", "old")
    ]


# ---- guests that stand on what another one serves ----------------------------------------------------------------------------

MEDIA = Mount("/srv/media", "10.0.0.5:/tank", "vm-nas", 60)


def on_nas(name: str, order: int | None = None) -> Guest:
    each = guest(name, order)
    return Guest(each.kind, name, each.startup, each.act, stands_on=("vm-nas",))


@pytest.mark.parametrize(
    ("nas", "film", "expected"),
    [
        (None, 1, [["ct-other"], ["vm-nas"], ["ct-film"]]),
        (None, None, [["ct-other"], ["vm-nas"], ["ct-film"]]),
        (5, 1, [["ct-other"], ["vm-nas"], ["ct-film"]]),
        (5, 5, [["ct-other"], ["vm-nas"], ["ct-film"]]),
        (5, 9, [["ct-other"], ["vm-nas"], ["ct-film"]]),
        (1, 3, [["vm-nas"], ["ct-other"], ["ct-film"]]),
    ],
)
def test_who_stands_on_a_mount_starts_after_its_server_and_stops_before(
    nas: int | None, film: int | None, expected: list[list[str]]
) -> None:
    guests = [on_nas("ct-film", film), guest("vm-nas", nas), guest("ct-other", 2)]
    assert names(*guests) == expected
    assert [step for step in names(*guests, stops=True) if step != ["ct-other"]] == [["ct-film"], ["vm-nas"]]


def test_those_that_stand_on_each_other_start_all_the_same() -> None:
    one = Guest("vm", "vm-a", {}, lambda: None, stands_on=("vm-b",))
    other = Guest("vm", "vm-b", {}, lambda: None, stands_on=("vm-a", "vm-gone"))
    assert sorted(name for step in names(one, other) for name in step) == ["vm-a", "vm-b"]


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("lxc.mount.entry = /srv/media/films films none bind 0 0", "/srv/media", True),
        ("lxc.mount.entry = /srv/media films none bind 0 0", "/srv/media", True),
        ("lxc.mount.entry = /srv/media2 films none bind 0 0", "/srv/media", False),
        ("lxc.mount.entry = /old/srv/media films none bind 0 0", "/srv/media", False),
        ("lxc.mount.entry = /data srv/media none bind 0 0", "/srv/media", False),
        ("lxc.mount.entry = /srv/my\\040films films none bind 0 0", "/srv/my films", True),
        ("lxc.hook.start-host = /usr/x/bind-mount /srv/my%20films/a /films rbind", "/srv/my films", True),
        ("lxc.rootfs.path = dir:/srv/media/root", "/srv/media", True),
        ("<source file='/srv/media/a.qcow2'/>", "/srv/media", True),
        ('<source dir="/srv/media"/>', "/srv/media", True),
        ("<source dir='/srv/tom &amp; anna/x'/>", "/srv/tom & anna", True),
    ],
)
def test_a_definition_tells_what_it_stands_on(text: str, path: str, expected: bool) -> None:
    assert names_path(text, path) is expected


def test_nobody_stands_on_what_it_serves_itself() -> None:
    assert stood_on("ct-film", "x = /srv/media", [MEDIA]) == [MEDIA]
    assert stood_on("vm-nas", "x = /srv/media", [MEDIA]) == []


class Server:
    """A mount that answers from the time when it *is_up*."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_up: float = float("inf"), runs: bool = True) -> None:
        self.seconds, self.is_up, self.runs = 0.0, is_up, runs
        monkeypatch.setattr(host_guests, "answers", lambda path: self.seconds >= self.is_up)
        monkeypatch.setattr(host_guests.time, "monotonic", lambda: self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def start(self, *, is_over: bool = False) -> str | None:
        waits = waiting_for(guest("ct-film"), [MEDIA], lambda name: self.runs, self.sleep, lambda: is_over)
        assert waits.stands_on == ("vm-nas",)
        return waits.act()


def test_who_stands_on_a_mount_waits_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, is_up=40)
    assert server.start() == "done" and server.seconds == 40


@pytest.mark.parametrize(
    ("runs", "is_over", "most", "words"),
    [
        (True, False, 65, "did not answer within 60 s"),
        (False, False, 0, "as vm-nas does not run"),
        (True, True, 0, "the host is shut down before"),
    ],
)
def test_nobody_waits_longer_than_that_makes_sense(
    monkeypatch: pytest.MonkeyPatch, runs: bool, is_over: bool, most: float, words: str
) -> None:
    server = Server(monkeypatch, runs=runs)
    with pytest.raises(GuestError, match=words):
        server.start(is_over=is_over)
    assert server.seconds <= most


def test_what_stands_on_nothing_is_left_as_it_is() -> None:
    plain = guest("ct-film")
    assert waiting_for(plain, [], lambda name: True, lambda seconds: None, lambda: False) is plain
    assert unmounting(plain, [], lambda line: None) is plain


TABLE = "/dev/vda / ext4 rw 0 0\nsystemd-1 /srv/media autofs rw 0 0\n"
MOUNTED = TABLE + "10.0.0.5:/tank /srv/media nfs4 rw,soft 0 0\n10.0.0.5:/x /srv/my\\040films nfs4 rw 0 0\n"


def test_what_is_mounted_is_told_by_the_kernel() -> None:
    assert is_mounted("/srv/media", MOUNTED) and is_mounted("/srv/my films", MOUNTED)
    # systemd waits for somebody to ask: nothing is mounted there.
    assert not is_mounted("/srv/media", TABLE)


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_mount_goes_before_its_server_stops_in_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: int
) -> None:
    asked: list[list[str]] = []

    def ask(argv: t.Sequence[str], seconds: float) -> str:
        asked.append([word for word in argv if word.startswith(("--force", "--lazy"))])
        assert argv[0] == "umount" and seconds <= 20
        if len(asked) <= fails:
            raise GuestError("busy")
        return ""

    (tmp_path / "mounts").write_text(MOUNTED)
    monkeypatch.setattr(host_guests, "MOUNTED", tmp_path / "mounts")
    monkeypatch.setattr(host_guests, "ask", ask)
    told: list[str] = []
    assert unmounting(guest("vm-nas"), [MEDIA], told.append).act() == "done"
    assert asked == [[], ["--force", "--lazy"]][: fails + 1]
    assert (told[-1] == "/srv/media: unmounted") is (fails < 2)
    asked.clear()
    (tmp_path / "mounts").write_text(TABLE)
    unmount(MEDIA, told.append)
    assert asked == []


def test_only_mounts_that_a_guest_serves_are_waited_for(tmp_path: Path) -> None:
    (tmp_path / "srv-media.json").write_text(
        json.dumps({"path": "/srv/media", "source": "10.0.0.5:/tank", "wait_for_guest": "vm-nas", "wait_timeout": 60})
    )
    (tmp_path / "srv-far.json").write_text(json.dumps({"path": "/srv/far", "source": "far:/x"}))
    (tmp_path / "broken.json").write_text("{")
    told: list[str] = []
    assert read_mounts(tmp_path, told.append) == [MEDIA]
    assert len(told) == 1 and "broken.json cannot be read" in told[0]
