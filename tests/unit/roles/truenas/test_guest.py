# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest of a TrueNAS, as the playbooks plan it of what its user writes."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import parse
from ansible_collections.homelab.hybrid.plugins.plugin_utils import _appliances, _guest_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_services import services_of

ALPHA: dict[str, t.Any] = {
    "hypervisor_bridges": [{"name": "br0"}],
    "hypervisor_storage_pools": [{"name": "main", "type": "dir", "path": "/srv/main"}],
}


def planned(**variables: t.Any) -> dict[str, t.Any]:
    nas = {
        "inventory_hostname": "nas", "guest_hypervisor": "alpha", "guest_kind": "vm", "guest_services": ["truenas"],
        "truenas_password": "pressed-cider", "guest_spec": {"disks": [{"name": "data", "source": "/dev/sdx", "serial": "WD-1"}]},
        **variables,
    }  # fmt: skip
    hosts = {"nas": nas, "alpha": ALPHA}
    (service,) = services_of("nas", nas)
    nas[_appliances.FACT] = _appliances.made_of_guest("nas", service, hosts)
    return _guest_options.options_of("nas", nas, ALPHA)


def test_it_is_installed_beside_the_disks_of_its_user() -> None:
    options = planned()
    spec = parse(options)
    assert [item.name for item in spec.wanted("disks")] == ["boot", "data"] and spec.get(
        "install.media"
    ) == "truenas-25.10"
    assert (spec.get("firmware.type"), spec.get("firmware.secure_boot"), spec.get("memory_max")) == (
        "uefi",
        False,
        None,
    )
    assert options == planned(), "the same variables give the same text"


def test_what_its_user_writes_is_asked_of_its_installer() -> None:
    options = planned(
        truenas_install={"post_install": {"network_interfaces": []}}, truenas_installer_address="192.0.2.9"
    )
    answer = json.loads(options["install"]["answer_text"])
    assert answer["address"] == "192.0.2.9" and answer["post_install"] == {"network_interfaces": []}
    assert answer["authentication"]["username"] == "truenas_admin"
    assert planned(guest_spec={"memory": "16GiB"})["memory"] == "16GiB"
    assert planned(truenas_image="mine", truenas_image_from_catalogue=False)["install"]["media"] == "mine"


def test_a_password_that_is_too_short_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="has to have 8 characters at least"):
        planned(truenas_password="short")
