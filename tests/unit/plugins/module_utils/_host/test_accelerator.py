# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host.accelerator import can_virtualize

BEGIN = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu vme "


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "can"),
    [
        ("x86_64", BEGIN + "vmx sse4_2\n", True),
        ("x86_64", BEGIN + "svm\nbugs\t\t: spectre_v1\n", True),
        ("x86_64", BEGIN + "hypervisor sse4_2\nvmx flags\t: vnmi\n", False),
        ("x86_64", "", False),
        ("aarch64", "CPU implementer\t: 0x41\n", True),
    ],
    ids=["intel", "amd", "the device without the flags", "nothing known", "arm says it elsewhere"],
)
def test_kvm_needs_a_cpu_that_virtualizes(machine: str, cpuinfo: str, can: bool):
    assert can_virtualize(machine, cpuinfo) is can
