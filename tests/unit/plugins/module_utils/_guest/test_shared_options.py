# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An option that both kinds of guest have means the same in both: same verdict, same value, same sentence."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container.options import OPTIONS as OF_CONTAINERS
from ansible_collections.homelab.hybrid.plugins.module_utils._container.resource import LxcContainer
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.options import OPTIONS as OF_MACHINES
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm

KEY = "ssh-ed25519 AAAAC3Nz me@there"
GOOD: dict[str, list[t.Any]] = {
    "state": ["present", "started", "running", "stopped", "shutdown", "restarted", "paused", "absent"],
    "description": ["", "text", "a\r\nb\rc\n", "]]>&<>\t\"'", "Zoë 🐍"],
    "tags": [[], ["b", "a", "b"], ["a.b"], ["A_1-x"], ["1"]],
    "protection": [True, False],
    "template": [True, False],
    "autostart": [True, False],
    "startup": [{"order": 0}, {"order": 1_000_000, "up_delay": 0, "down_delay": 86400}, {}],
    "backup": [
        {},
        {"hooks": {"before": ["sync", "sync"], "after": []}},
        {
            "hooks": {"before": ["pg_dumpall > '/var/backups/all' && sync"]},
            "data_paths": ["/srv//b/", "/srv/a", "/srv/a"],
        },
    ],
    "vcpus": [1, 710],
    "cpu": [{"cores": 1}, {"cores": 710}, {}],
    "memory": ["16", "16MiB", "1GiB", "16384KiB", "64TiB", "1.5GiB", "64T"],
    "image": ["debian-13", "a.b_c"],
    "clone_from": [
        {"guest": "base"},
        {"guest": "base", "snapshot": "before", "mode": "linked"},
        {"guest": "a.b_c", "mode": "full"},
        {},
    ],
    "networks": [
        [],
        [{"name": "lan", "bridge": "br0"}],
        [{"name": "lan", "vlan": 1}, {"name": "dmz", "vlan": 4094}],
        [{"name": "lan", "mac": "52-54-00-AB-CD-EF"}],
        [{"name": "lan", "mac": "00:16:3e:00:00:00"}],
        [{"name": "lan", "mtu": 576}, {"name": "dmz", "mtu": 65535}],
        [{"name": "lan", "link": "up"}, {"name": "dmz", "link": "down"}],
        [{"name": "lan", "state": "absent"}],
        [{"name": "old", "state": "absent", "mac": "52:54:00:00:00:01"}, {"name": "new", "mac": "52:54:00:00:00:01"}],
        [{"name": "lan", "bridge": "br0.100", "vlan": None, "mac": None}],
    ],
    "wait_timeout": [0, 86400],
    "shutdown_timeout": [0, 86400],
    "force_stop": [True, False],
    "quarantine": [True, False],
    "restart_policy": ["never", "if_needed"],
    "unset": [["description"], ["tags", "protection"], ["startup"], ["networks[lan].vlan", "networks[lan].mtu"]],
}
BAD: dict[str, list[t.Any]] = {
    "description": ["\x00", "a\x1bb", "\ud800"],
    "tags": [[""], ["a b"], [".a"], ["a\n"], ["x" * 64], ["ä"]],
    "startup": [{"order": -1}, {"order": 1_000_001}, {"up_delay": -1}, {"down_delay": 86401}],
    "backup": [
        {"hooks": {"before": [""]}},
        {"hooks": {"after": ["a\nb"]}},
        {"data_paths": ["srv"]},
        {"data_paths": ["/"]},
        {"data_paths": ["/srv/../etc"]},
    ],
    "vcpus": [0, -1, 711, 1000],
    "cpu": [{"cores": 0}, {"cores": 711}],
    "memory": ["1", "15MiB", "1000KiB", "1001KiB", "100TiB", "2GB", "0", "-1", "a", "", "16.5MiB", "1MiB\n"],
    "image": ["", "../x", "a b", ".a", "a\n", "x" * 64],
    "clone_from": [
        {"guest": "../x"},
        {"guest": "web"},
        {"guest": "base", "snapshot": "a/b"},
        {"guest": "base", "mode": "half"},
        {"mode": "full"},
    ],
    "networks": [
        [{"name": ""}],
        [{"name": "a.b"}],
        [{"name": "lan"}, {"name": "lan"}],
        [{"name": "lan", "bridge": ""}],
        [{"name": "lan", "bridge": "way-too-long-a-name"}],
        [{"name": "lan", "bridge": "a b"}],
        [{"name": "lan", "bridge": "all"}],
        [{"name": "lan", "vlan": 0}],
        [{"name": "lan", "vlan": 4095}],
        [{"name": "lan", "mac": "00:00:00:00:00:00"}],
        [{"name": "lan", "mac": "01:00:00:00:00:00"}],
        [{"name": "lan", "mac": "52:54:00:00:00"}],
        [{"name": "lan", "mac": "5254000000"}],
        [{"name": "lan", "mac": "lan"}],
        [{"name": "lan", "mtu": 68}],
        [{"name": "lan", "mtu": 100}],
        [{"name": "lan", "mtu": 65536}],
        [{"name": "one", "mac": "52:54:00:00:00:01"}, {"name": "two", "mac": "52:54:00:00:00:01"}],
    ],
    "wait_timeout": [-1, 86401],
    "shutdown_timeout": [-1, 86401],
    "restart_policy": ["sometimes"],
    "unset": [["networks[].mac", "bridge"], ["image"], ["name"], ["networks[lan].bridge"]],
    "exact": [["networks"]],
    # Across options.
    "vcpus and cpu.cores": [{"vcpus": 1, "cpu": {"cores": 1}}],
    "description and unset": [{"description": "x", "unset": ["description"]}],
    "startup and unset": [{"startup": {"up_delay": 0}, "unset": ["startup"]}],
    "networks and unset": [
        {"networks": [{"name": "lan", "mtu": 1500}], "unset": ["networks[lan].mtu"]},
        {"networks": [{"name": "lan", "state": "absent"}], "unset": ["networks[lan].mtu"]},
    ],
}
SSH_KEYS = [[], [KEY], [f"  {KEY}  "], [f'command="x" {KEY}', KEY, KEY]]
BAD_SSH_KEYS = [["one"], ["two words"], [f"{KEY}\n{KEY}"], ["ssh-ed25519 BBBB x"], ["\x00"]]
CASES = [(path, value) for table in (GOOD, BAD) for path, values in table.items() for value in values]
# Each kind has words of its own for these; so the sentences differ in the list of words alone.
OF_EACH_KIND = {"name", "state", "wait_for", "allow", "delete", "exact", "unset"}
# Nothing is left out of a machine's disks. It gets other types of devices than a container, which are known by other ids.
OF_EACH_KIND |= {"backup.exclude", "devices", "devices[].type", "devices[].id"}


def params_of(path: str, value: t.Any) -> dict[str, t.Any]:
    return {"name": "web", **(value if " and " in path else {path: value})}


def verdict(resource: t.Any, params: dict[str, t.Any]) -> t.Any:
    """What is refused, as a sentence; else what was understood."""
    try:
        spec = resource.parse(params)
    except SpecError as exc:
        # Which paths can be taken off is another list for each kind.
        return exc.message.partition(" These can: ")[0]
    return (spec.state, dict(spec.values), dict(spec.lists), spec.unset)


@pytest.mark.parametrize(("path", "value"), CASES, ids=[f"{path}={value!r:.60}" for path, value in CASES])
def test_both_kinds_understand_the_same(path: str, value: t.Any) -> None:
    of_machine, of_container = (verdict(kind, params_of(path, value)) for kind in (KvmVm(), LxcContainer()))
    assert of_machine == of_container
    is_refused = isinstance(of_machine, str)
    assert is_refused == any(value is bad for bad in BAD.get(path, ())), of_machine


@pytest.mark.parametrize("keys", SSH_KEYS + BAD_SSH_KEYS, ids=str)
def test_keys_are_the_same_though_each_kind_has_them_in_another_place(keys: list[str]) -> None:
    of_machine = verdict(KvmVm(), {"name": "web", "cloud_init": {"ssh_keys": keys}})
    of_container = verdict(LxcContainer(), {"name": "web", "ssh_keys": keys})
    if isinstance(of_machine, str):
        assert keys in BAD_SSH_KEYS and of_machine == f"cloud_init.{of_container}"
    else:
        assert keys in SSH_KEYS and of_machine[1]["cloud_init.ssh_keys"] == of_container[1]["ssh_keys"]


def test_every_shared_option_is_in_the_table() -> None:
    shared = {row.path.partition("[")[0].partition(".")[0] for row in OF_MACHINES} & {
        row.path.partition("[")[0].partition(".")[0] for row in OF_CONTAINERS
    }
    assert shared - OF_EACH_KIND <= GOOD.keys()


def test_what_both_have_has_one_row() -> None:
    """A backend says with `but` what only it knows: never another type, check, choices or other names."""
    for row in OF_MACHINES:
        if row.path in OF_CONTAINERS and row.path not in OF_EACH_KIND:
            other = OF_CONTAINERS[row.path]
            for aspect in ("type", "elements", "check", "choices", "aliases", "secret"):
                assert getattr(row, aspect) == getattr(other, aspect), f"{row.path}: {aspect}"
