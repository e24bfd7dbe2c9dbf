# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is started on the host and in the namespaces of a running container for each option of a card, a limit and a mount."""

from __future__ import annotations

import functools
import os
import stat
import types
import typing as t
from pathlib import Path

import pytest
from unit.descriptors import open_files

from ansible_collections.homelab.hybrid.plugins.module_utils._container import binding, live, power, rate, running
from ansible_collections.homelab.hybrid.plugins.module_utils._container.card import Card
from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError

VALUES: dict[str, t.Any] = {
    "mac": "02:00:00:00:00:01",
    "bridge": "br0",
    "link": "up",
    "vlan": 0,
    "mtu": 0,
    "ip": "dhcp",
    "gateway": "",
    "ip6": "",
    "gateway6": "",
    "rate_limit.in": 0,
    "rate_limit.out": 0,
}
NIC = types.SimpleNamespace(device="eth0", host="pair0", rates=(0, 0), stale=())


def card(**values: t.Any) -> Card:
    keyed = {key.replace("__", "."): value for key, value in values.items()}
    return Card("lan", 0, "eth0", "pair0", {**VALUES, **keyed}, others=keyed.pop("others", ()))


def of_container(
    new: Card | None = None, old: Card | None = None, nic: t.Any = None, mounts: t.Any = None, **live: t.Any
) -> running.Running:
    state = types.SimpleNamespace(
        cards={"lan": old} if old else {},
        nics={"lan": nic} if nic else {},
        mounts=mounts or {},
        config=types.SimpleNamespace(values=lambda key: ["u 0 100000 65536"]),
    )
    wanted = types.SimpleNamespace(
        spec=types.SimpleNamespace(name="one"),
        state=state,
        cards={"lan": new} if new else {},
        mounts=mounts or {},
        value=lambda path: "two",
    )
    return running.Running(None, t.cast(t.Any, types.SimpleNamespace(pid=7, **live)), t.cast(t.Any, wanted))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every command, those of the namespaces of a container with their names before them."""
    commands: list[str] = []
    inside: list[str] = []

    def run(argv: list[str], **options: t.Any) -> str:
        commands.append(" ".join([*inside, *argv]))
        return ""

    def in_namespaces(pid: int, names: tuple[str, ...], act: t.Callable[[], object]) -> None:
        inside.append(f"{pid}{','.join(names)}:")
        act()
        inside.clear()

    monkeypatch.setattr(running.command, "run", run)
    monkeypatch.setattr(running, "in_namespaces", in_namespaces)
    monkeypatch.setattr(running.port, "put_into_vlan", lambda port, vlan: commands.append(f"{port} into {vlan}"))
    monkeypatch.setattr(running.rate, "limit", lambda *given: commands.append(f"limit {given}"))
    monkeypatch.setattr(running.rate, "take_off", lambda *given: commands.append(f"no limit {given}"))
    return commands


def test_a_new_card_is_plugged_in_with_all_that_it_has(told: list[str]) -> None:
    new = card(mtu=1400, vlan=5, ip="192.0.2.5/24", gateway="192.0.2.1", rate_limit__in=8, rate_limit__out=9)
    running.plug_card(of_container(new), "lan")
    assert told == [
        "ip link add pair0 address fe:00:00:00:00:01 mtu 1400 type veth peer name eth0 address 02:00:00:00:00:01 mtu 1400 netns 7",
        "ip link set pair0 master br0",
        "pair0 into 5",
        "ip link set pair0 up",
        "7net: ip link set eth0 up",
        "7net: ip address replace 192.0.2.5/24 dev eth0",
        "7net: ip -4 route replace default via 192.0.2.1 dev eth0",
        "limit ('one', 'pair0', 8, 9)",
    ]


def test_a_card_that_a_killed_run_has_begun_keeps_the_locks_of_that_run(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[str, t.Any]] = []
    monkeypatch.setattr(running.command, "run", lambda argv, **given: kept.append((argv[3], given.get("keep_fds"))))
    monkeypatch.setattr(running, "in_namespaces", lambda pid, names, act: None)
    for change in (running.plug_card, running.write_mtu, running.replug, running.unplug_card):
        its = of_container(card(), nic=None if change is running.plug_card else NIC)
        its.keep_fds = (3, 4)
        change(its, "lan")
    assert [what for what, dummy in kept] == ["pair0"] * 6
    assert {fds for dummy, fds in kept} == {(3, 4)}


def test_a_new_card_that_is_unplugged_or_asks_for_its_address_gets_neither_bridge_nor_address(told: list[str]) -> None:
    running.plug_card(of_container(card(link="down")), "lan")
    assert told[1:] == ["ip link set pair0 nomaster", "ip link set pair0 up", "7net: ip link set eth0 up"]


def test_a_new_card_that_could_not_be_plugged_in_is_taken_away(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(port: str, vlan: int) -> None:
        raise ApplyError("no")

    monkeypatch.setattr(running.port, "put_into_vlan", fail)
    monkeypatch.setattr(running.os.path, "isdir", lambda path: bool(told) and not told[-1].startswith("ip link delete"))
    with pytest.raises(ApplyError):
        running.plug_card(of_container(card()), "lan")
    assert told[0].startswith("ip link add pair0 ") and told[-1] == "ip link delete pair0"


def test_what_is_left_of_a_card_before_the_guest_restarted_by_itself_goes_first(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"/sys/class/net/pair0"}
    run = running.command.run

    def delete(argv: t.Sequence[str], **more: t.Any) -> str:
        if argv[2] == "delete":
            there.clear()
        return t.cast(str, run(argv, **more))

    monkeypatch.setattr(running.command, "run", delete)
    monkeypatch.setattr(running.os.path, "isdir", lambda path: path in there)
    running.plug_card(of_container(card()), "lan")
    assert told[0] == "ip link delete pair0" and told[1].startswith("ip link add pair0 ")


def test_a_card_that_runs_without_being_defined_gets_all_its_values(told: list[str]) -> None:
    running.plug_card(of_container(card(rate_limit__in=8, ip="192.0.2.5/24"), nic=NIC), "lan")
    assert told == [
        "ip link set pair0 master br0",
        "pair0 into 0",
        "limit ('one', 'pair0', 8, 0)",
        "ip link set pair0 mtu 1500",
        "7net: ip link set eth0 mtu 1500",
        "7net: ip address replace 192.0.2.5/24 dev eth0",
        "limit ('one', 'pair0', 8, 0)",
    ]


def test_a_card_that_is_taken_out_takes_its_limits_along(told: list[str]) -> None:
    limited = types.SimpleNamespace(**{**vars(NIC), "rates": (8, 0)})
    running.unplug_card(of_container(nic=limited), "lan")
    running.unplug_card(of_container(nic=NIC), "lan")
    running.unplug_card(of_container(), "lan")
    assert told == ["no limit ('one', 'pair0')", "ip link delete pair0", "ip link delete pair0"]


def test_the_old_address_and_way_out_go_and_the_others_stay(told: list[str]) -> None:
    old = card(ip="192.0.2.5/24", gateway="192.0.2.1")
    new = Card(
        "lan", 0, "eth0", "pair0", {**VALUES, "ip": "192.0.2.6/24", "gateway": "2001:db8::1"}, others=("192.0.2.7/24",)
    )
    stale = types.SimpleNamespace(**{**vars(NIC), "stale": ("192.0.2.9/24",)})
    running.readdress(of_container(new, old, stale), "lan")
    running.readdress(of_container(new, old), "lan")
    assert [each.removeprefix("7net: ip ") for each in told] == [
        "address delete 192.0.2.5/24 dev eth0",
        "address delete 192.0.2.9/24 dev eth0",
        "address replace 192.0.2.6/24 dev eth0",
        "address replace 192.0.2.7/24 dev eth0",
        "-4 route delete default via 192.0.2.1 dev eth0",
        "-6 route replace default via 2001:db8::1 dev eth0",
    ]


class Limited:
    """A running container that takes limits, and refuses that of the name *refused*."""

    name = "one"

    def __init__(self, refused: str = "") -> None:
        self.taken: list[tuple[str, str]] = []
        self.refused = refused

    def set_cgroup_item(self, name: str, value: str) -> bool:
        self.taken.append((name, value))
        return name != self.refused


V1 = {"memory.limit_in_bytes": "64M", "memory.memsw.limit_in_bytes": "128M"}


@pytest.mark.parametrize(
    ("now", "order"),
    [
        ({"memory.limit_in_bytes": "32M", "memory.memsw.limit_in_bytes": "33554432"}, ["memsw", "limit"]),
        ({"memory.limit_in_bytes": "512M", "memory.memsw.limit_in_bytes": "536870912"}, ["limit", "memsw"]),
    ],
)
def test_of_two_limits_that_hold_each_other_the_one_that_makes_room_goes_first(
    now: dict[str, str], order: list[str]
) -> None:
    container = Limited()
    running.set_limits(container, (V1, {}), now)
    assert [name.split(".")[1].partition("_")[0] for name, dummy in container.taken] == order


def test_limits_are_those_that_the_kernel_of_the_container_knows_and_a_refusal_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    container = Limited("cpu.max")
    with pytest.raises(ApplyError, match=r"the kernel refused cpu\.max = no limit for the running container one"):
        running.set_limits(
            container, (V1, {"memory.max": "64M", "cpu.max": "", "other": "1"}), {"memory.max": "1", "cpu.max": ""}
        )
    assert [name for name, dummy in container.taken] == ["memory.max", "cpu.max"] and container.taken[0][1] == "64M"


def test_the_host_name_and_the_mounts_are_those_of_the_running_container(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.socket, "sethostname", lambda name: told.append(f"named {name}"))
    running.write_hostname(of_container())
    entry = types.SimpleNamespace(source="/srv", path="data", options=("rbind", "ro"))
    monkeypatch.setattr(running.mounting, "mount", lambda *given: told.append(f"mount {given}"))
    monkeypatch.setattr(running.mounting, "unmount", lambda *given: told.append(f"unmount {given}"))
    running.mount(of_container(mounts={"data": entry}), "data")
    running.unmount(of_container(mounts={"data": entry}, mounted={"data"}), "data")
    running.unmount(of_container(mounts={"data": entry}, mounted=()), "data")
    assert told == ["named two", "mount (7, '/srv', 'data', ('rbind', 'ro'))", "unmount (7, 'data')"]


def test_networkd_of_the_guest_is_asked_to_read_its_files_where_it_runs(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "attach", lambda name, argv: [name, *argv])
    running.reload_networkd("one")
    assert told == ["one sh -c systemctl is-active -q systemd-networkd && networkctl reload"]


def test_what_is_missing_of_the_place_of_a_mount_is_made_for_root_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, follow_symlinks: owners.append((path, uid, gid)))
    (tmp_path / "a").mkdir()
    before = open_files()
    for path, is_folder in (("a/b/folder", True), ("a/b/file", False), ("a/b/file", False)):
        binding._make_target(str(tmp_path / path), (5, 6), is_folder)
    assert owners == [(str(tmp_path / path), 5, 6) for path in ("a/b", "a/b/folder", "a/b/file")]
    assert stat.S_ISREG((tmp_path / "a/b/file").stat().st_mode) and open_files() <= before
    with pytest.raises(OSError, match="is a folder inside the container"):
        binding._make_target(str(tmp_path / "a"), (5, 6), False)


def test_the_program_for_rates_is_laid_down_whole_before_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "limit-rate"
    seen: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(rate, "RATE_PROGRAM", str(program))
    monkeypatch.setattr(rate.command, "run", lambda argv: seen.append((argv, os.access(program, os.X_OK))))
    rate.limit("one", "pair0", 8, 9)
    assert seen == [([str(program), "8", "9", "one", "net", "up", "veth", "pair0"], True)]
    assert f"sent={rate.SENT}$(cat" in program.read_text()
    program.chmod(0o600)
    rate.take_off("one", "pair0")
    assert seen[1] == ([str(program), "0", "0", "one", "net", "up", "veth", "pair0"], True)


class Handle:
    """liblxc's handle of a container that is frozen, and shuts down when it *obeys*."""

    def __init__(self, *states: str, obeys: bool = True) -> None:
        self.states = list(states)
        self.obeys = obeys

    @property
    def state(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def shutdown(self, timeout: int) -> bool:
        return self.obeys


FDS = (8, 9)


def switched(monkeypatch: pytest.MonkeyPatch, handle: Handle, act: t.Callable[[], None]) -> list[list[str]]:
    started: list[list[str]] = []

    def run(argv: list[str], *, timeout: float, keep_fds: t.Sequence[int] = ()) -> str:
        # The monitor that lxc-start leaves behind must not hold the locks; what only acts must, for who was killed meanwhile.
        assert keep_fds == (() if argv[0] == "lxc-start" else FDS)
        started.append(argv)
        return ""

    monkeypatch.setattr(power.command, "run", run)
    monkeypatch.setattr(power.live, "handle", lambda name: handle)
    monkeypatch.setattr(power.live, "settled_state", lambda container: container.state)
    act()
    return started


def test_a_frozen_container_is_thawed_before_it_is_asked_to_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = switched(monkeypatch, Handle("FROZEN"), lambda: power.stop("one", timeout=1, force=False, keep_fds=FDS))
    assert asked == [["lxc-unfreeze", "-n", "one"]]


def test_a_container_that_does_not_shut_down_is_ended_with_force_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Handle("RUNNING", obeys=False)
    asked = switched(monkeypatch, handle, lambda: power.stop("one", timeout=1, force=True, keep_fds=FDS))
    assert asked == [["lxc-stop", "-n", "one", "-k"]]
    with pytest.raises(ApplyError, match="did not shut down within 1 s"):
        switched(monkeypatch, handle, lambda: power.stop("one", timeout=1, force=False, keep_fds=FDS))


def test_a_container_is_switched_by_programs_that_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    for act, state, program in (
        (functools.partial(power.freeze, keep_fds=FDS), "RUNNING", "lxc-freeze"),
        (functools.partial(power.unfreeze, keep_fds=FDS), "FROZEN", "lxc-unfreeze"),
        (power.start, "STOPPED", "lxc-start"),
    ):
        (argv,) = switched(monkeypatch, Handle(state), lambda act=act: act("one"))
        assert argv[:3] == [program, "-n", "one"]


def test_a_container_that_stays_half_frozen_is_frozen_to_its_end_before_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handle = types.SimpleNamespace(name="one", state="FREEZING")

    def run(argv: list[str], *, timeout: float, keep_fds: t.Sequence[int]) -> str:
        handle.state = {"lxc-freeze": "FROZEN", "lxc-unfreeze": "RUNNING"}[argv[0]]
        return ""

    clock = iter(range(0, 100, 5))
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(live, "wait_until", lambda what, look, timeout_seconds: next(filter(None, iter(look, 0))))
    assert live.settled_state(handle) == "FROZEN"
    monkeypatch.setattr(power.command, "run", run)
    monkeypatch.setattr(power.live, "handle", lambda name: handle)
    power.unfreeze("one", keep_fds=FDS)
    assert handle.state == "RUNNING"


def test_a_container_that_liblxc_cannot_load_is_stopped_before_an_empty_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(power, "config_path", lambda name: f"/lxc/{name}/config")
    monkeypatch.setattr(power, "lxc_path", lambda: "/lxc")
    monkeypatch.setattr(power, "running_names", lambda folder: set())
    for timeout, force, options in ((5, False, ["-t", "5", "--nokill"]), (5, True, ["-t", "5"]), (0, True, ["-k"])):
        stop = functools.partial(power.stop_unloadable, "one", timeout=timeout, force=force, keep_fds=FDS)
        (argv,) = switched(monkeypatch, Handle("RUNNING"), stop)
        assert argv[:4] == ["unshare", "--mount", "sh", "-c"] and argv[5:] == [
            "/lxc/one",
            "lxc-stop",
            "-n",
            "one",
            *options,
        ]
    monkeypatch.setattr(power, "running_names", lambda folder: {"one"})
    with pytest.raises(ApplyError, match="did not shut down"):
        switched(
            monkeypatch, Handle("RUNNING"), lambda: power.stop_unloadable("one", timeout=5, force=False, keep_fds=FDS)
        )


def test_what_a_program_says_when_it_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str], **options: t.Any) -> str:
        raise CommandError(argv, 1, "no such thing")

    monkeypatch.setattr(power.command, "run", fail)
    monkeypatch.setattr(power.live, "handle", lambda name: Handle("RUNNING"))
    with pytest.raises(ApplyError, match=r"the container one could not be ended: .*no such thing"):
        power.kill("one", keep_fds=FDS)
    with pytest.raises(ApplyError, match=r"the container one did not start: .*no such thing"):
        power.start("one")
