# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device by a name: each hypervisor says which of its own that is."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.filter.guest_options import guest_options

HOSTS = {
    "alpha": {"hypervisor_devices": {"gpu": {"address": "0000:03:00.0"}, "stick": {"type": "usb", "id": "10c4:ea60"}}},
    "beta": {"hypervisor_devices": {"gpu": {"address": "0000:81:00.0"}}},
}


def devices_of(hypervisor, *devices, **more):
    guest = {"guest_kind": "vm", "guest_hypervisor": hypervisor, "guest_spec": {"devices": [*devices]}, **more}
    (options,) = guest_options(["web"], {**HOSTS, "web": guest}, "vm")
    return options["devices"]


def test_a_guest_gets_the_device_that_its_hypervisor_has_by_that_name():
    mapped = {"name": "card", "mapping": "gpu"}
    assert devices_of("alpha", mapped) == [{"name": "card", "address": "0000:03:00.0"}]
    assert devices_of("beta", mapped) == [{"name": "card", "address": "0000:81:00.0"}]


def test_what_is_written_beside_the_name_counts_and_other_devices_stay():
    plain = {"name": "other", "port": "1-2"}
    optional = {"name": "stick", "mapping": "stick", "optional": True}
    expected = [plain, {"name": "stick", "type": "usb", "id": "10c4:ea60", "optional": True}]
    assert devices_of("alpha", plain, optional) == expected


def test_a_profile_may_name_the_device_too():
    catalog = {"media": {"devices": [{"name": "gpu", "mapping": "gpu"}]}}
    found = devices_of("alpha", guest_profiles=["media"], guest_profile_catalog=catalog)
    assert found == [{"name": "gpu", "address": "0000:03:00.0"}]


@pytest.mark.parametrize("hypervisor", ["beta", "gamma"])
def test_a_name_that_the_hypervisor_does_not_have_is_refused_with_those_that_it_has(hypervisor):
    known = "gpu" if hypervisor == "beta" else "none"
    with pytest.raises(
        AnsibleFilterError, match=rf"devices\[s\].mapping.* {hypervisor} has no 'stick'.*It has: {known}"
    ):
        devices_of(hypervisor, {"name": "s", "mapping": "stick"})
