# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No option of a virtual machine is done in silence: each that is compared is read, written and changed live by a function of its own."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import (
    DEFINITION,
    FLAG,
    SEED,
    VOLUME,
    as_written,
    never,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import (
    backend,
    definition_writing,
    live_writing,
    passthrough,
    seed,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.options import OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import seed_values
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import cdrom, disk, domain, filesystem, nic

DEFINED = {row.path for row in OPTIONS if row.home == DEFINITION and row.type != "item"}
# What a side has of all devices together, and what the definition does not say of one of them.
OF_ALL_DEVICES = {"boot.order"}
# What the descriptors of firmware on the host say of the file that the definition names.
OF_DESCRIPTORS = {"firmware.secure_boot", "firmware.enrolled_keys"}


def test_every_option_of_the_definition_is_read() -> None:
    its = {"disks": disk, "cdroms": cdrom, "networks": nic, "shares": filesystem}
    items = {f"{area}[].{key}" for area, xml in its.items() for key in xml.READ}
    items |= {f"devices[].{key}" for key in passthrough.KEYS}
    assert {*domain.READ} | items | OF_ALL_DEVICES | OF_DESCRIPTORS == DEFINED


def test_every_option_of_the_definition_is_written() -> None:
    assert {*definition_writing.WRITE} == DEFINED


def test_every_option_that_changes_live_has_a_writer_and_no_other_has() -> None:
    assert {*live_writing.LIVE} == {path for path in DEFINED if OPTIONS[path].live not in (never, as_written)}


def test_every_flag_is_set() -> None:
    assert {*backend.FLAGS} == {*OPTIONS.compared(FLAG)}


def test_a_seed_says_every_option_that_lives_in_it() -> None:
    assert {*seed.read({}, "vm")} - {seed.INSTANCE} == {*seed_values(None)} == {*OPTIONS.compared(SEED)}


def test_volumes_have_a_place_and_a_size() -> None:
    assert {row.path for row in OPTIONS if row.home == VOLUME} == {"disks[].pool", "disks[].size"}
