# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What suits the system inside: only rows that there are, and of Hyper-V only what can be had whole."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.options import OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import new_item, parse, with_create_defaults
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import variant


@pytest.mark.parametrize("name", variant.PRESETS)
def test_a_preset_is_of_values_that_could_be_written(name):
    for path, value in variant.PRESETS[name].items():
        row = OPTIONS[path]
        assert value in row.choices or (row.type == "bool" and isinstance(value, bool))


@pytest.mark.parametrize(
    ("offered", "found"),
    [
        ((), ()),
        (("spinlocks", "vendor_id"), ("spinlocks",)),
        (("stimer", "synic", "relaxed"), ("relaxed",)),
        (("stimer", "synic", "vpindex"), ("vpindex", "synic", "stimer")),
        (("tlbflush", "ipi"), ()),
    ],
)
def test_what_needs_another_part_of_hyper_v_comes_with_it_or_not_at_all(offered, found):
    assert variant.enlightenments(offered) == found


def test_what_is_written_is_stronger_than_a_preset():
    spec = parse(
        {
            "name": "vm",
            "os_variant": "windows",
            "rng": True,
            "disks": [{"name": "root", "pool": "main", "size": "1", "bus": "virtio"}, {"name": "b", "pool": "main"}],
            "networks": [{"name": "lan", "bridge": "br0"}],
        }
    )
    wanted = with_create_defaults(spec)
    assert [item.get("bus") for item in wanted.wanted("disks")] == ["virtio", "sata"]
    assert wanted.wanted("networks")[0].get("model") == "e1000e"
    assert (wanted.get("rng"), wanted.get("graphics.type"), wanted.get("tablet")) == (True, "vnc", True)
    plain = with_create_defaults(parse({"name": "vm"}))
    assert (plain.get("rng"), plain.get("graphics.type"), plain.get("tablet")) == (True, "none", None)
    assert new_item("disks", spec.items("disks")[1]).get("bus") == "virtio"


def test_hyper_v_that_is_passed_through_is_left_to_who_wrote_it():
    xml = "<domain><features><hyperv mode='passthrough'/></features><devices/></domain>"
    root = domain_xml.parse(xml)
    variant.write(root, variant.WINDOWS, ("relaxed",))
    assert len(root.find("features/hyperv")) == 0 and root.find("features/hyperv").get("mode") == "passthrough"
