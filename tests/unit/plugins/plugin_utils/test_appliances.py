# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that is an appliance: what its role makes of it, and where no other guest stands in its place."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._advice import guest_advice
from ansible_collections.homelab.hybrid.plugins.plugin_utils._completed import completed
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import options_of, read_guest
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_services import services_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_warnings import guest_warnings
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._lab_guests import lab_summed

MakeRole = t.Callable[..., None]
HOST: dict[str, t.Any] = {
    "inventory_hostname": "alpha",
    "ansible_connection": "local",
    "hypervisor_bridges": [{"name": "br0", "mode": "nat", "address": "10.9.0.1/24"}],
    "hypervisor_storage_pools": [{"name": "main", "path": "/srv"}],
    "hypervisor_images": [],
}
DECLARED = """title: Wall
appliance: true
address: wall_address
guest:
  kind: vm
  needs: [appliance]
  spec:
    memory: 1GiB
    vcpus: 2
    disks: [{name: root, size: 4GiB, image: {name: opnsense-26.7, from: catalogue}}]"""
GUEST_YML = """
- name: Wall | Refuse a word that is none
  ansible.builtin.assert:
    that: wall_word is match('[a-z]+$')
    fail_msg: "wall_word: {{ wall_word }} is no word"
- name: Wall | Guest
  when: wall_is_told
  vars:
    __wall_loud: "{{ wall_word | upper }}"
  block:
    - ansible.builtin.set_fact:
        __wall_text: "{{ lookup('template', 'answer.j2') }}"
    - ansible.builtin.set_fact:
        guest_appliance:
          install: {answer: config, answer_text: "{{ __wall_text }}"}
          vcpus: "{{ 3 if wall_word == 'large' else 2 }}"
      no_log: true
"""
Role = t.Callable[..., Path]


@pytest.fixture
def wall(a_role: MakeRole, tmp_path: Path) -> Role:
    """Makes the role of an appliance, my.lab.wall."""

    def make(guest: str = GUEST_YML) -> Path:
        a_role("wall", DECLARED, {"wall_word": "hello", "wall_is_told": True})
        role = tmp_path / "roles" / "wall"
        options = {"wall_word": {"type": "str", "required": True}, "wall_is_told": {"type": "bool"}}
        (role / "meta" / "argument_specs.yml").write_text(
            json.dumps({"argument_specs": {"guest": {"options": options}}})
        )
        for folder, name, text in (
            ("defaults", "main.yml", "wall_is_told: true"),
            ("tasks", "guest.yml", guest),
            ("templates", "answer.j2", "{{ __wall_loud }} at {{ inventory_hostname }}, {{ '{{ braces }}' }}\n"),
        ):
            (role / folder).mkdir()
            (role / folder / name).write_text(text)
        return role

    return make


def variables(**more: t.Any) -> dict[str, t.Any]:
    return {"inventory_hostname": "edge", "guest_services": ["my.lab.wall"], "wall_word": "hello", **more}


def finished(**more: t.Any) -> dict[str, t.Any]:
    """The variables of the guest as the playbooks complete them."""
    hostvars = {"alpha": HOST, "edge": variables(**more)}
    (found,) = completed(["edge"], ["alpha"], hostvars)
    assert found["is_secret"] == ("guest_appliance" in found["variables"])
    return {**hostvars["edge"], **found["variables"]}


def test_what_its_role_makes_of_a_guest_is_found_out_without_a_play(wall: Role) -> None:
    wall()
    found = finished()
    assert found["guest_appliance"] == {
        "install": {"answer": "config", "answer_text": "HELLO at edge, {{ braces }}\n"},
        "vcpus": 2,
    }
    assert found["guest_kind"] == "vm" and "ansible_connection" not in found
    assert (
        "guest_appliance" not in finished(wall_is_told=False) or finished(wall_is_told=False)["guest_appliance"] == {}
    )


def test_it_lies_between_what_is_recommended_and_what_the_inventory_says(wall: Role) -> None:
    wall()
    large = finished(wall_word="large")
    options = options_of("edge", large, HOST)
    assert (options["memory"], options["vcpus"]) == ("1GiB", 3)
    assert options["disks"] == [{"name": "root", "size": "4GiB", "image": "opnsense-26.7", "pool": "main"}]
    assert not {"image", "wait_for"} & options.keys(), "neither a Debian nor an agent is in it"
    assert options_of("edge", {**large, "guest_spec": {"vcpus": 1}}, HOST)["vcpus"] == 1
    assert read_guest("edge", large, HOST)[1] is None


def test_a_guest_that_its_role_refuses_fails_alone_and_says_why(wall: Role) -> None:
    wall()
    assert read_guest("edge", finished(wall_word="12"), HOST)[1] == "wall of edge: wall_word: 12 is no word"
    missing = {key: value for key, value in variables().items() if key != "wall_word"}
    (found,) = completed(["edge"], ["alpha"], {"alpha": HOST, "edge": missing})
    assert "missing required arguments: wall_word" in found["variables"]["guest_appliance_refused"]


def test_a_guest_of_which_nobody_asked_its_role_is_no_guest(wall: Role) -> None:
    wall()
    said = read_guest("edge", {**variables(), "guest_kind": "vm", "guest_hypervisor": "alpha"}, HOST)[1]
    assert "guest_appliance is not set" in str(said)


@pytest.mark.parametrize("task", [{"ansible.builtin.command": "id"}, {"ansible.builtin.set_fact": {}, "loop": [1]}, {}])
def test_what_needs_a_connection_is_refused(wall: Role, task: dict[str, t.Any]) -> None:
    wall(yaml.safe_dump([{"name": "x", **task}]))
    assert "it may have set_fact, assert, fail and block" in finished()["guest_appliance_refused"]


def test_an_image_that_it_describes_comes_along(wall: Role) -> None:
    wall()
    edge = finished()
    (image,) = host_options(HOST, "images", ["edge"], {"alpha": HOST, "edge": edge})
    assert (image["name"], image["kind"]) == ("opnsense-26.7", "vm") and image["url"].endswith(".bz2")
    own = {"name": "opnsense-26.7", "kind": "vm", "path": "/srv/own.img"}
    assert host_options({**HOST, "hypervisor_images": [own]}, "images", ["edge"], {"alpha": HOST, "edge": edge}) == [
        own
    ]
    mine = {"image": {"name": "mine", "kind": "vm", "url": "https://example.org/x.qcow2"}}
    edge["guest_appliance"] = {"disks": [{"name": "root", **mine}]}
    assert host_options(HOST, "images", ["edge"], {"alpha": HOST, "edge": edge}) == [mine["image"]]
    assert guest_warnings("edge", edge, HOST) == []


def test_it_is_alone_in_a_machine(wall: Role) -> None:
    wall()
    with pytest.raises(AnsibleFilterError, match="Give unbound a guest of its own"):
        services_of("edge", {"guest_services": ["unbound", "my.lab.wall"]})
    with pytest.raises(AnsibleFilterError, match="it must be vm, or not be written"):
        services_of("edge", {"guest_services": ["my.lab.wall"], "guest_kind": "container"})
    assert guest_advice(["edge"], {"alpha": HOST, "edge": finished()}) == []


@pytest.mark.parametrize(
    ("written", "addresses"),
    [({"wall_address": "10.9.0.7/24"}, ["10.9.0.7", "10.9.0.8"]), ({"wall_address": "dhcp"}, ["10.9.0.8"])],
)
def test_its_own_address_is_the_first_of_its_names(wall: Role, written: dict[str, str], addresses: list[str]) -> None:
    wall()
    told = {"name": "edge", "kind": "vm", "state": "started", "addresses": ["10.9.0.8", "10.9.0.7"][: len(addresses)]}
    hostvars = {"alpha": HOST, "edge": finished(**written)}
    lab = lab_summed([{"item": "alpha", "guests": [told]}], ["edge"], hostvars, "lab.test")
    assert lab["guests"][0]["addresses"] == addresses
    assert lab["records"] == [{"name": "edge", "addresses": addresses, "aliases": ["wall"]}]


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ({}, "192.168.1.1"),
        ({"opnsense_interfaces": [{"name": "lan", "network": "lan", "address": "10.1.0.1/24"}]}, "10.1.0.1"),
        ({"opnsense_address": "10.2.0.1"}, "10.2.0.1"),
        ({"opnsense_interfaces": [{"name": "lan", "network": "lan", "address": "dhcp"}]}, None),
    ],
    ids=["by default", "of its LAN", "where it is asked", "by DHCP"],
)
def test_opnsense_is_found_at_its_address_in_the_lan(written: dict[str, t.Any], address: str | None) -> None:
    gate = {"guest_hypervisor": "alpha", "guest_services": ["opnsense"], "guest_appliance": {}, **written}
    lab = lab_summed([{"item": "alpha", "guests": []}], ["gate"], {"alpha": HOST, "gate": gate}, "lab.test")
    assert lab["guests"][0]["addresses"] == ([address] if address else [])
    assert [record["name"] for record in lab["records"]] == (["gate"] if address else [])
