# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts of the role run, by what was read of the host: all that it keeps is compared, and nothing runs for nothing."""

from __future__ import annotations

import copy
import functools
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from unit.tree import ROOT

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.units import PROGRAM as PROGRAM_OF_BACKUPS
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths

ROLE = ROOT / "roles" / "hypervisor"
Read = dict[str, t.Any]
UNIT = "/etc/systemd/system/homelab-hybrid-guests.service"
PROGRAM = "/usr/local/lib/homelab-hybrid/host_guests.py"


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> t.Iterator[None]:
    """Filters are found by Ansible's own finder, which refuses packages that Python's has begun: it goes with these tests."""
    init_plugin_loader()
    yield
    _AnsibleCollectionFinder._remove()


class Role:
    """The role's variables on a host of which *read* was read."""

    def __init__(self, read: Read, *, init: str = "systemd", check_mode: bool = False) -> None:
        loader = DataLoader()
        known: dict[str, t.Any] = {
            "ansible_check_mode": check_mode,
            "ansible_search_path": [str(ROLE)],
            "ansible_managed": "Ansible managed",
            "__hypervisor_read": {**read, "host": {**read["host"], "architecture": "x86_64", "init": init}},
        }
        for folder in ("defaults", "vars"):
            known |= loader.load_from_file(str(ROLE / folder / "main.yml"), trusted_as_template=True)
        self._templar = Templar(loader=loader, variables=known)

    def __getitem__(self, name: str) -> t.Any:
        return self._templar.resolve_variable_expression(f"__hypervisor_{name}")


def host_as_kept(**keywords: t.Any) -> Read:
    """What is read of a host on which nothing is to be done."""
    return copy.deepcopy(_host_as_kept(**keywords))


@functools.cache
def _host_as_kept(**keywords: t.Any) -> Read:
    read: Read = {
        "host": {
            "services": {"libvirtd": True, "virtlogd": True, "lxcfs": True},
            "subordinate_ids": {kind: [{"start": 100000, "count": 65536}] for kind in ("uid", "gid")},
        },
        "release": {"id": "debian", "version": "12"},
        "packages_missing": [],
        "sysctl": {"vm.max_map_count": "262144", "net.ipv4.ip_forward": "1"},
        "sysctl_low": [],
        "kvm": {"mode": "0660", "gid": 104, "has_group": True, "is_right": True},
        "is_container": True,
        "paths": [],
        "units_running": [],
        "units_enabled": [],
    }
    role = Role(read, **keywords)
    files = [role["sysctl_file"], *(role["unit_files"] if role["is_systemd"] else [])]
    files += [
        {"path": role["guests_file"], "mode": "0644", "content": "A=1\nSHUTDOWN_TIMEOUT=9\nSHUTDOWN_TIMEOUT=120\n"}
    ]
    files += [{"path": role["before_file"], "mode": "0600", "content": "{}"}]
    folders = [role["state"], role["pid_files"], *role["unit_folders"]]
    files += [{"path": path, "mode": "0755", "content": None} for path in folders]
    read["paths"] = [{**each, "owner": "root", "group": "root"} for each in files]
    read["units_running"] = list(role["units_started"])
    read["units_enabled"] = [*role["units_started"], *role["units_enabled"]]
    return read


def path_of(read: Read, path: str) -> Read:
    return next(each for each in read["paths"] if each["path"] == path)


def without(path: str) -> t.Callable[[Read], None]:
    return lambda read: read["paths"].remove(path_of(read, path))


def having(path: str, **values: t.Any) -> t.Callable[[Read], None]:
    return lambda read: path_of(read, path).update(values)


SYSCTL = "/etc/sysctl.d/60-homelab-hybrid.conf"
STATE = "/var/lib/homelab_hybrid"
GUESTS = "/etc/default/libvirt-guests"
DROP_IN = "/etc/systemd/system/lxcfs.service.d"
DRIFTS: list[tuple[t.Callable[[Read], t.Any], list[str]]] = [
    (without(STATE), ["before"]),
    (having(STATE, mode="0700"), ["before"]),
    (without(f"{STATE}/hypervisor.json"), ["before"]),
    (having(f"{STATE}/hypervisor.json", mode="0644"), ["before"]),
    (lambda read: read["packages_missing"].append("lxc"), ["packages", "kernel", "systemd"]),
    (without(SYSCTL), ["kernel"]),
    (having(SYSCTL, content="# nothing\n"), ["kernel"]),
    (having(SYSCTL, owner="user"), ["kernel"]),
    (lambda read: read["kvm"].update(is_right=False), ["kernel"]),
    (lambda read: read.update(is_container=False, sysctl_low=["vm.max_map_count"]), ["kernel"]),
    # The outer host's, and read-only.
    (lambda read: read.update(sysctl_low=["vm.max_map_count"]), []),
    (lambda read: read.update(kvm=None), []),
    (lambda read: read["host"]["subordinate_ids"]["gid"].clear(), ["subordinate_ids"]),
    (without(f"{DROP_IN}/homelab-hybrid.conf"), ["systemd"]),
    (having(DROP_IN, mode="0700"), ["systemd"]),
    (having(DROP_IN, group="user"), ["systemd"]),
    (having(UNIT, content=""), ["systemd"]),
    (having(f"{STATE}/quarantine.json", content='{"days": 3}\n'), ["systemd"]),
    (lambda read: read["units_running"].remove("homelab-hybrid-quarantine.timer"), ["systemd"]),
    (having(PROGRAM, mode="0644"), ["systemd"]),
    (without(GUESTS), ["systemd"]),
    (having(GUESTS, content="SHUTDOWN_TIMEOUT=120\nSHUTDOWN_TIMEOUT=9\n"), ["systemd"]),
    (having(GUESTS, mode="0600"), ["systemd"]),
    (lambda read: read["units_running"].remove("lxcfs.service"), ["systemd"]),
    (lambda read: read["units_enabled"].remove("lxc.service"), ["systemd"]),
    (lambda read: read["units_enabled"].remove("homelab-hybrid-guests.service"), ["systemd"]),
    # Started by its socket, and ended when idle.
    (lambda read: read["host"]["services"].update(libvirtd=False), []),
]
PLACES: dict[str, t.Any] = {
    "quarantine_file": paths.QUARANTINE,
    "quarantine_code": paths.QUARANTINE_CODE,
    "backup_file": paths.BACKUP_CONFIG,
    "backup_program": PROGRAM_OF_BACKUPS,
}


@pytest.mark.parametrize("what", PLACES)
def test_role_and_modules_have_it_in_the_same_place(what: str) -> None:
    assert Role(host_as_kept())[what] == PLACES[what]


DRIFTS_WITHOUT_SYSTEMD: list[tuple[t.Callable[[Read], t.Any], list[str]]] = [
    (lambda read: read["packages_missing"].append("lxc"), ["packages", "kernel", "daemons"]),
    (lambda read: read["host"]["services"].update(libvirtd=False), ["daemons"]),
    (without("/run/homelab_hybrid/daemons"), ["daemons"]),
    (without(GUESTS), []),
]


def differing(drift: t.Callable[[Read], t.Any], **keywords: t.Any) -> list[str]:
    read = host_as_kept(**keywords)
    drift(read)
    return list(Role(read, **keywords)["differing"])


@pytest.mark.parametrize("init", ["systemd", "tini"])
def test_a_host_as_it_is_kept_is_asked_once(init: str) -> None:
    assert list(Role(host_as_kept(init=init), init=init)["parts"]) == []


@pytest.mark.parametrize(("drift", "parts"), DRIFTS)
def test_what_differs_is_set_up_and_nothing_else(drift: t.Callable[[Read], t.Any], parts: list[str]) -> None:
    assert differing(drift) == parts


@pytest.mark.parametrize(("drift", "parts"), DRIFTS_WITHOUT_SYSTEMD)
def test_without_systemd_the_daemons_themselves_are_asked(drift: t.Callable[[Read], t.Any], parts: list[str]) -> None:
    assert differing(drift, init="tini") == parts


def test_the_host_is_looked_at_again_when_something_was_set_up() -> None:
    read = host_as_kept()
    without(SYSCTL)(read)
    assert list(Role(read)["parts"]) == ["kernel", "look"]
    assert list(Role(read, check_mode=True)["parts"]) == ["kernel"]


def test_a_setting_that_is_higher_already_is_not_kept() -> None:
    """The file would lower it when the host starts."""
    read = host_as_kept()
    read["sysctl"]["vm.max_map_count"] = "1048576"
    assert "max_map_count" in path_of(read, SYSCTL)["content"]
    assert "max_map_count" not in Role(read)["sysctl_file"]["content"]
