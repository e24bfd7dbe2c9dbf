# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run permits of what a hypervisor itself has, and of the guests that are pruned."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import KINDS
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import (
    PERMITS,
    deleted_with_pruned,
    host_error,
    host_options,
    quarantine_of_pruned,
)

HOST: dict[str, t.Any] = {"inventory_hostname": "alpha", "hypervisor_storage_pools": [{"name": "main"}, {"name": "b"}]}
Give = t.Callable[..., None]


def test_a_permission_in_an_item_of_the_inventory_is_refused_with_the_way_to_give_it() -> None:
    pools = [{"name": "main", "state": "absent", "allow": ["delete_data"]}]
    with pytest.raises(AnsibleFilterError) as refused:
        host_options({**HOST, "hypervisor_storage_pools": pools}, "storage_pools")
    assert str(refused.value) == (
        "hypervisor_storage_pools[main] of alpha: allow: permission is given for a run and not kept in inventory. "
        """Give it as -e '{"hypervisor_allow": ["delete_data"]}'"""
    )
    assert host_error({**HOST, "hypervisor_storage_pools": pools}) == str(refused.value)
    assert host_error(HOST) is None


@pytest.mark.parametrize("words", [["format"], "format"])
def test_a_permission_of_a_host_counts_as_an_extra_variable_of_the_run_alone(
    given_for_a_run: Give, words: t.Any
) -> None:
    variables = {**HOST, "hypervisor_allow": words}
    with pytest.raises(AnsibleFilterError, match=r"^hypervisor_allow of alpha: permission is given for a run"):
        host_options(variables, "storage_pools")
    given_for_a_run(hypervisor_allow=words)
    permitted = [{"name": name, "allow": ["format"]} for name in ("main", "b")]
    assert host_options(variables, "storage_pools") == permitted
    assert host_options({**variables, "hypervisor_bridges": [{"name": "br0"}]}, "bridges") == [{"name": "br0"}]


def test_what_is_no_list_of_dictionaries_is_left_to_the_module(given_for_a_run: Give) -> None:
    given_for_a_run(hypervisor_allow=["format"])
    assert host_options(
        {**HOST, "hypervisor_allow": ["format"], "hypervisor_storage_pools": ["x"]}, "storage_pools"
    ) == ["x"]
    assert host_options({"inventory_hostname": "alpha", "hypervisor_bridges": None}, "bridges") == []


def test_every_permission_of_a_list_of_the_host_is_one_of_a_run() -> None:
    for kind in KINDS:
        if not kind.is_guest:
            assert {"allow", "delete"} & {*kind.arguments} == {*PERMITS.get(kind.list, ())}, kind.list


def test_pruning_takes_no_permission_of_the_inventory(given_for_a_run: Give) -> None:
    variables = {"inventory_hostname": "alpha", "guest_delete": "rootfs,disks"}
    with pytest.raises(AnsibleFilterError, match=r"^guest_delete of alpha: permission is given for a run"):
        deleted_with_pruned(variables)
    given_for_a_run(guest_delete="rootfs,disks")
    assert deleted_with_pruned(variables) == ["rootfs", "disks"]
    assert deleted_with_pruned({"inventory_hostname": "alpha"}) == []


def test_whether_what_is_pruned_is_deleted_for_good_the_run_says_alone(given_for_a_run: t.Callable[..., None]) -> None:
    variables = {"inventory_hostname": "alpha", "guest_quarantine": False}
    with pytest.raises(AnsibleFilterError, match=r"^guest_quarantine of alpha: "):
        quarantine_of_pruned(variables)
    given_for_a_run(guest_quarantine=False)
    assert quarantine_of_pruned(variables) == "False"
    assert quarantine_of_pruned({"inventory_hostname": "alpha"}) == ""
