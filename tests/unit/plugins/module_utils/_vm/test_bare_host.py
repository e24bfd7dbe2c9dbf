# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which nothing is installed has no machines, and no library that could say so."""

from __future__ import annotations

import sys

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import libraries
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.allocation import taken_macs
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host


def test_no_machine_has_a_mac_address_on_a_host_without_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    libraries.libvirt.cache_clear()
    try:
        host = Host()
        host.__dict__["guest_records"] = {}
        host.__dict__["containers"] = {}
        assert taken_macs(host, "web") == {}
    finally:
        libraries.libvirt.cache_clear()
