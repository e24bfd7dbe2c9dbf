# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does by itself to become what it was, as far as it can be told without one."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import way_back
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.ifupdown import Ifupdown
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.switch import program, state
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.switch.read import FILE
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.switch.state import Switch, offered

FIXED = {"family": "inet", "local": "192.0.2.10", "prefixlen": 24, "broadcast": "192.0.2.255", "scope": "global"}
LEASED = {**FIXED, "local": "192.0.2.50", "dynamic": True, "valid_life_time": 600, "preferred_life_time": 300}
CARD = {
    "ifname": "eth0",
    "master": "vmbr0",
    "mtu": 1500,
    "address": "52:54:00:00:00:01",
    "flags": ["UP"],
    "accept_ra": "1",
}
BRIDGE = {
    "ifname": "vmbr0",
    "mtu": 1500,
    "address": "52:54:00:00:00:01",
    "flags": ["UP"],
    "linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 0, "vlan_filtering": 0}},
    "addr_info": [FIXED],
}
WAY_OUT = ["-4", "default", "via", "192.0.2.1", "proto", "static", "dev", "vmbr0"]
BEFORE: dict[str, t.Any] = {"links": {"eth0": CARD, "vmbr0": BRIDGE}, "routes": [WAY_OUT], "vlans": {}}


def after(**links: t.Any) -> dict[str, t.Any]:
    """What was before, with these keys of links changed; a link that is ``None`` is gone."""
    found = copy.deepcopy(BEFORE)
    for name, changes in links.items():
        found["links"][name] = {**found["links"].get(name, {}), **changes}
    return found


def lines(now: dict[str, t.Any], before: dict[str, t.Any] | None = None, made: t.Collection[str] = ()) -> list[str]:
    return [" ".join(argv) for argv in program.differences(before or BEFORE, now, made)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"eth0": {"master": None}}, ["ip link set dev eth0 master vmbr0"]),
        ({"eth0": {"mtu": 1400}}, ["ip link set dev eth0 mtu 1500"]),
        ({"eth0": {"flags": []}}, ["ip link set dev eth0 up"]),
        ({"eth0": {"accept_ra": "2"}}, ['sh -c echo "$0" > "$1" 1 /proc/sys/net/ipv6/conf/eth0/accept_ra']),
        ({"vmbr0": {"address": "52:54:00:00:00:02"}}, ["ip link set dev vmbr0 address 52:54:00:00:00:01"]),
        (
            {"vmbr0": {"linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 1, "vlan_filtering": 0}}}},
            ["ip link set dev vmbr0 type bridge stp_state 0"],
        ),
        (
            {"vmbr0": {"addr_info": [{**FIXED, "local": "192.0.2.11"}]}},
            [
                "ip address delete 192.0.2.11/24 dev vmbr0",
                "ip address replace 192.0.2.10/24 broadcast 192.0.2.255 scope global dev vmbr0",
            ],
        ),
    ],
    ids=str,
)
def test_what_is_another_is_brought_back(changes: dict[str, t.Any], expected: list[str]) -> None:
    assert lines(after(**changes)) == expected


def test_a_way_out_is_brought_back_and_another_goes() -> None:
    other = ["-4", "default", "via", "192.0.2.99", "dev", "vmbr0"]
    assert lines({**after(), "routes": [other]}) == [
        "ip -4 route replace default via 192.0.2.1 proto static dev vmbr0",
        "ip -4 route delete default via 192.0.2.99 dev vmbr0",
    ]


def test_a_lease_of_now_stands_for_one_of_before() -> None:
    before = copy.deepcopy(BEFORE)
    before["links"]["vmbr0"]["addr_info"] = [LEASED]
    assert lines(after(vmbr0={"addr_info": [{**LEASED, "local": "192.0.2.51"}]}), before) == []
    assert lines(after(vmbr0={"addr_info": []}), before) == [
        "ip address replace 192.0.2.50/24 broadcast 192.0.2.255 scope global valid_lft 600 preferred_lft 300 dev vmbr0"
    ]


def test_the_order_of_addresses_is_brought_back() -> None:
    before = copy.deepcopy(BEFORE)
    second = {**FIXED, "local": "192.0.2.11"}
    before["links"]["vmbr0"]["addr_info"] = [FIXED, second]
    found = lines(after(vmbr0={"addr_info": [second, FIXED]}), before)
    assert [line.split()[3] for line in found if "replace" in line] == ["192.0.2.10/24", "192.0.2.11/24"]


def test_a_bridge_that_was_made_goes_and_one_that_was_there_comes_back() -> None:
    without = {"links": {"eth0": CARD}, "routes": [], "vlans": {}}
    assert lines(after(), {**without, "links": {"eth0": {**CARD, "master": None}}}, ["vmbr0"])[0] == (
        "ip link delete dev vmbr0"
    )
    assert lines(without)[0] == "ip link add name vmbr0 type bridge"


def test_vlans_of_a_port_are_brought_back() -> None:
    old = [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 20, "vlanEnd": 29}]
    assert lines({**after(), "vlans": {"eth0": [{"vlan": 7}]}}, {**BEFORE, "vlans": {"eth0": old}}) == [
        "bridge vlan delete dev eth0 vid 7",
        "bridge vlan add dev eth0 vid 1 pvid untagged",
        "bridge vlan add dev eth0 vid 20-29",
    ]


def test_files_become_what_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "kept").write_text("as it is")
    (folder / "changed").write_text("before")
    (folder / "link").symlink_to("kept")
    gone, record = folder / "gone", tmp_path / "record.json"
    gone.write_text("there")
    gone.chmod(0o640)
    saved = {"files": {str(record): None}, "folders": [str(folder)]}
    saved["files"] |= {str(path): program.save_file(str(path)) for path in folder.iterdir()}
    (folder / "changed").write_text("after")
    (folder / "link").unlink()
    (folder / "new").write_text("new")
    record.write_text("{}")
    gone.unlink()
    program.restore_files(saved)
    assert sorted(path.name for path in folder.iterdir()) == ["changed", "gone", "kept", "link"]
    assert ((folder / "changed").read_text(), gone.read_text()) == ("before", "there")
    assert (folder / "link").is_symlink() and gone.stat().st_mode & 0o777 == 0o640
    assert not record.exists()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a switch, and a host on which no program runs."""
    for name in ("STATE", "SAVED", "ORDER", "CODE", "LOCK", "WANTS"):
        monkeypatch.setattr(program, name, str(tmp_path / getattr(program, name).rpartition("/")[2]))
    monkeypatch.setattr(program, "FOLDER", str(tmp_path / "switch"))
    monkeypatch.setattr(program, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(program, "run", lambda *argv: "")
    return tmp_path


@pytest.mark.parametrize(
    ("before", "words", "afterwards"),
    [
        ("applied", ["confirm", "1", "told"], "confirmed"),
        ("applied", ["confirm", "1"], "applied"),
        ("applied", ["confirm", "1", "guessed"], "applied"),
        ("applied", ["confirm", "2", "told"], "applied"),
        ("armed", ["confirm", "1", "told"], "armed"),
        ("rolled_back", ["confirm", "1", "told"], "rolled_back"),
        ("applied", ["rollback", "1"], "rolled_back"),
        ("rolling_back", ["rollback", "1"], "rolled_back"),
        ("confirmed", ["rollback", "1"], "confirmed"),
        ("armed", ["rollback", "2"], "armed"),
        ("armed", ["boot"], "rolled_back"),
        ("confirmed", ["boot"], "confirmed"),
    ],
    ids=str,
)
def test_only_what_stands_is_confirmed_and_only_what_is_open_is_taken_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: str, words: list[str], afterwards: str
) -> None:
    monkeypatch.setattr(program, "LOOKS", 1)
    monkeypatch.setattr(program, "LOOK_SECONDS", 0)
    program.write(program.STATE, {"id": "1", "state": before, "confirm_timeout": 60, "proof": "told"})
    assert program.main(words) == 0
    assert program.read(program.STATE)["state"] == afterwards


def test_what_a_killed_one_began_to_write_is_gone_with_the_switch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "LOOKS", 0)
    program.write(program.STATE, {"id": "1", "state": "armed", "confirm_timeout": 60})
    for name in ("state.json", "order.json"):
        (folder / f"{name}.new").write_text("half of it")
    program.main(["rollback", "1"])
    assert program.read(program.STATE)["state"] == "rolled_back"
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".new")]


def test_a_run_that_is_not_the_switch_waits_for_it() -> None:
    armed = Switch.load({"id": "1", "state": "armed", "bridge": "vmbr0", "began": "at noon", "ends": "a minute later"})
    told = armed.refusal("2")
    assert told is not None and "vmbr0" in told and "at noon" in told and "a minute later" in told
    assert armed.refusal("1") is None
    assert Switch.load({"id": "1", "state": "confirmed"}).refusal("") is None


def test_only_a_control_node_that_can_confirm_has_a_switch() -> None:
    assert offered({state.VARIABLE: "0123456789abcdef"}) == "0123456789abcdef"
    assert offered({state.VARIABLE: "../../etc"}) == offered({}) == ""


def test_the_collection_reads_where_the_program_writes() -> None:
    assert (FILE, state.OPEN) == (program.STATE, program.OPEN)


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ifupdown notes, in a folder of the test's own."""
    path = tmp_path / "ifstate"
    path.write_text("lo=lo\neth0=eth0\n")
    monkeypatch.setattr(program, "IFSTATE", str(path))
    return path


def test_ifupdown_notes_again_what_it_noted(noted: Path) -> None:
    saved: dict[str, t.Any] = {"ifupdown": program.save_ifupdown({"links": ["eth0", "vmbr0"], "clients": {}})}
    assert saved["ifupdown"]["up"] == ["eth0"]
    program.note_up("eth0", is_up=False)
    program.note_up("vmbr0", is_up=True)
    assert noted.read_text() == "lo=lo\nvmbr0=vmbr0\n"
    assert (noted.parent / "ifstate.vmbr0").read_text() == "vmbr0\n"
    program.bring_up(saved)
    assert noted.read_text() == "lo=lo\neth0=eth0\n"
    assert not (noted.parent / "ifstate.vmbr0").exists()


def test_a_client_that_went_is_started_with_the_words_of_before(noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, begun = {"eth0": [7], "vmbr0": []}, []
    monkeypatch.setattr(program, "clients", lambda name: running[name])
    monkeypatch.setattr(program, "with_text", lambda *words: begun.append(words))
    told = {"links": ["eth0", "vmbr0"], "clients": {"eth0": "iface eth0 inet dhcp\n"}}
    saved = {"ifupdown": program.save_ifupdown(told)}
    assert saved["ifupdown"]["leased"] == ["eth0"]
    assert not program.start_clients(saved)
    running["eth0"] = []
    assert program.start_clients(saved)
    assert begun == [("iface eth0 inet dhcp\n", "ifup", "--force", "--no-scripts", "eth0")]
    # A host of systemd-networkd has nothing of it.
    assert not program.start_clients({})


def test_a_client_is_started_by_what_the_files_say_of_it_alone() -> None:
    text = (
        "iface eth0 inet dhcp\n    hostname nas\n    up touch /tmp/x\n    mtu 1400\n\niface eth0 inet6 static\n    address fd00::1/64\n"
        "iface eth1 inet dhcp\n"
    )
    backend = Ifupdown({"/etc/network/interfaces": text})
    assert backend.client_text("eth0") == "iface eth0 inet dhcp\n    hostname nas\n"
    assert backend.client_text("eth2") == ""


def test_files_of_ifupdown_are_saved_with_the_one_that_comes(tmp_path: Path) -> None:
    main = "source /etc/network/interfaces.d/*\nsource /srv/net/lan\n"
    backend = Ifupdown({"/etc/network/interfaces": main, "/srv/net/lan": "iface eth0 inet manual\n"})
    dummy, files = way_back.places(backend, "vmbr0")
    assert files == ["/etc/network/interfaces", "/etc/network/interfaces.d/vmbr0", "/srv/net/lan"]


def test_a_way_out_that_is_called_the_kernels_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        "default via 192.0.2.1 proto kernel onlink \n192.0.2.0/24 proto kernel scope link src 192.0.2.10 \n"
        "local 192.0.2.10 table local proto kernel scope host src 192.0.2.10 \n"
    )
    monkeypatch.setattr(program, "run", lambda *argv: told)
    found = [" ".join(words) for words in program.routes_of("vmbr0", "-4")]
    assert found == ["default via 192.0.2.1 proto kernel onlink dev vmbr0"]
