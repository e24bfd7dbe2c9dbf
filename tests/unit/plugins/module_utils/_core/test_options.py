# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import (
    LINK_NAME,
    MAC,
    MTU,
    TASK,
    Item,
    Option,
    Options,
    always,
    each,
    fixed,
    matching,
    never,
    never_shrinks,
    number,
    size,
    split,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core.units import GIB

WORD = matching("[a-z]+", "small letters")
OPTIONS = Options(
    Option("name", required=True, home=TASK),
    Option("state", choices=("present", "absent"), default="present", home=TASK),
    Option("kind", choices=("dir", "btrfs"), loss=fixed),
    Option("cpu.cores", "int", number(1, 8), create=1, live=always),
    Option("cpu.weight", "int", number(1, 100), off=50),
    Option("tags", "list", each(WORD, sorts=True), off=()),
    Option("secret", secret=True),
    Option("networks[]", "item", live=always),
    Option("networks[].bridge", check=LINK_NAME, aliases=("link",)),
    Option("networks[].mac", check=MAC),
    Option("networks[].mtu", "int", MTU, off=0),
    Option("networks[].model", create="virtio", choices=("virtio", "e1000")),
    Option("networks[].limit.in", "int", number(1, 9), off=0),
)


def test_arguments_follow_from_the_rows():
    arguments = OPTIONS.arguments()
    assert arguments["name"] == {"type": "str", "required": True}
    assert arguments["state"] == {"type": "str", "choices": ["present", "absent"], "default": "present"}
    assert arguments["cpu"]["options"]["cores"] == {"type": "int"}
    assert arguments["tags"] == {"type": "list", "elements": "str"}
    assert arguments["secret"] == {"type": "str", "no_log": True}
    card = arguments["networks"]["options"]
    assert list(card) == ["name", "state", "bridge", "mac", "mtu", "model", "limit"]
    assert card["bridge"] == {"type": "str", "aliases": ["link"]}


def test_ansible_accepts_the_arguments():
    written = {"name": "a", "cpu": {"cores": 2}, "networks": [{"name": "lan", "link": "br0"}]}
    result = ArgumentSpecValidator(OPTIONS.arguments()).validate(written)
    assert not result.error_messages
    assert OPTIONS.parse(result.validated_parameters).items["networks"][0].values == {"bridge": "br0"}


def test_what_is_not_written_is_not_declared():
    declared = OPTIONS.parse({"cpu": {"cores": 2, "weight": None}, "tags": None, "networks": None})
    assert declared.values == {"cpu.cores": 2}
    assert declared.items == {}


def test_a_list_that_is_empty_is_declared():
    assert OPTIONS.parse({"tags": [], "networks": []}).values == {"tags": ()}
    assert OPTIONS.parse({"networks": []}).items == {"networks": ()}


def test_an_item_may_have_a_dictionary_of_options():
    declared = OPTIONS.parse({"networks": [{"name": "lan", "limit": {"in": 3, "out": None}}]})
    assert declared.items["networks"][0].values == {"limit.in": 3}
    assert declared.value("networks[lan].limit.in") == 3


def test_items_are_canonical_and_keep_their_order():
    declared = OPTIONS.parse(
        {"networks": [{"name": "wan", "state": "absent"}, {"name": "lan", "mac": "52-54-00-AA-BB-CC"}]}
    )
    assert declared.items["networks"] == (Item("wan", False), Item("lan", True, {"mac": "52:54:00:aa:bb:cc"}))


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"cpu": {"cores": 9}}, "cpu.cores: 9 is not allowed. Allowed: 1 to 8"),
        ({"cpu": {"cores": True}}, "cpu.cores: True is not allowed. Allowed: 1 to 8"),
        ({"tags": ["a", "B"]}, "tags: 'B' is not allowed. Allowed: small letters"),
        ({"kind": "zfs"}, "kind: 'zfs' is not allowed. Allowed: one of dir, btrfs"),
        ({"networks": [{"name": "lan", "mtu": 5}]}, "networks[lan].mtu: 5 is not allowed. Allowed: 576 to 65535"),
        ({"networks": [{"name": "lan", "bridge": "all"}]}, "networks[lan].bridge: 'all' is not allowed"),
        ({"networks": [{"name": "a.b"}]}, "networks[].name: 'a.b' is not allowed"),
        ({"networks": [{"name": "a"}, {"name": "a"}]}, "the name 'a' is there twice"),
        ({"networks": [{"name": "lan", "mac": 41135085296}]}, "Write the MAC address in quotes"),
        ({"networks": [{"name": "lan", "limit": {"in": 0}}]}, "networks[lan].limit.in: 0 is not allowed"),
        ({"networks": [{"name": "lan", "color": "red"}]}, "networks[lan].color: there is no such option"),
        ({"memroy": 5}, "memroy: there is no such option"),
    ],
)
def test_a_bad_value_is_refused_with_its_place(params, sentence):
    with pytest.raises(SpecError) as refused:
        OPTIONS.parse(params)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"unset": ["cpu.cores"]},
            "'cpu.cores' cannot be taken off. These can: cpu.weight, networks[].limit.in, networks[].mtu, tags",
        ),
        ({"unset": ["nothing"]}, "'nothing' cannot be taken off"),
        ({"unset": ["tags"], "tags": ["a"]}, "tags is declared and unset at once"),
        ({"unset": ["networks[lan].mtu"], "networks": [{"name": "lan", "mtu": 1400}]}, "declared and unset at once"),
        ({"unset": ["networks[lan].mtu"], "networks": [{"name": "lan", "state": "absent"}]}, "declared absent"),
    ],
)
def test_what_cannot_be_unset_is_refused(params, sentence):
    unset = params.pop("unset")
    with pytest.raises(SpecError) as refused:
        OPTIONS.check_unset(unset, OPTIONS.parse(params))
    assert sentence in refused.value.message


def test_a_dictionary_is_unset_as_a_whole_where_each_part_can_be():
    options = Options(Option("startup.order", "int", off=-1), Option("startup.delay", "int", off=0))
    assert options.check_unset(["startup"], options.parse({})) == ("startup.order", "startup.delay")
    assert OPTIONS.check_unset(["networks[lan].limit"], OPTIONS.parse({})) == ("networks[lan].limit.in",)


def test_a_new_resource_gets_what_the_rows_say():
    assert OPTIONS.created({"tags": ("a",)}) == {"cpu.cores": 1, "tags": ("a",)}
    assert OPTIONS.created({"cpu.cores": 4}) == {"cpu.cores": 4}
    assert OPTIONS.created_item("networks", Item("lan", True, {"mtu": 1400})).values == {
        "model": "virtio",
        "mtu": 1400,
    }


def test_another_resource_may_say_another_live_rule():
    row = OPTIONS["networks[lan].mtu"]
    assert (row.live, row.but(live=always).live) == (never, always)
    assert row.but(live=always).check is row.check


def test_losses_are_refused_or_not():
    assert fixed(None, "dir") is None
    assert fixed("dir", "dir") is None
    assert fixed("dir", "btrfs") == "nothing permits it"
    assert never_shrinks(2, 1) == "nothing permits it"
    assert never_shrinks(1, 2) is None


def test_a_size_is_held_to_its_steps():
    check = size(GIB, 8 * GIB, step=GIB, allowed="whole GiB, 1 to 8")
    assert check.parse("size", "2G") == 2 * GIB
    for bad in ("1536MiB", "9G"):
        with pytest.raises(SpecError, match="whole GiB, 1 to 8"):
            check.parse("size", bad)


@pytest.mark.parametrize("row", list(OPTIONS), ids=lambda row: row.path)
def test_the_samples_of_a_check_are_allowed(row):
    for sample in row.check.samples if row.check else ():
        row.parse(row.path, sample)


def test_a_path_is_split_into_its_parts():
    assert split("networks[lan].mtu") == ("networks", "lan", "mtu")
    assert split("dhcp.hosts[a]") == ("dhcp.hosts", "a", "")
    assert split("cpu.cores") == ("cpu.cores", "", "")
