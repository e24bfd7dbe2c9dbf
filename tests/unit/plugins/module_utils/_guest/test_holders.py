# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that one guest runs with, by what libvirt and the configurations of containers say."""

from __future__ import annotations

import os
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.device import SERIAL, USB, HostDevice
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.holders import container_with, machine_with
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.host_device import find_device
from ansible_collections.homelab.hybrid.plugins.module_utils._host.hardware import Hardware, read_hardware
from ansible_collections.homelab.hybrid.plugins.module_utils._host.libvirt import Definition
from ansible_collections.homelab.hybrid.plugins.module_utils._host.lxc import Container
from ansible_collections.homelab.hybrid.tests.harness import made_hardware
from ansible_collections.homelab.hybrid.tests.harness.made_hardware import CARDS, STICK, TWINS

# A node that every host has, in place of one of the stick.
NODE = Path(os.devnull)
HOSTDEV = "<hostdev type='usb'><source><address bus='1' device='2'/></source></hostdev>"
CARD = "<interface type='hostdev'><source><address type='pci' domain='0' bus='0x03' slot='0x00' function='0x0'/></source></interface>"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    sys = made_hardware.put_in_place(tmp_path / "sys", monkeypatch).sys
    status = NODE.stat()
    port = sys / "devices" / STICK / "1-2:1.0" / "ttyUSB0"
    port.mkdir(parents=True)
    link = sys / "dev/char" / f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(port)
    monkeypatch.setattr(paths, "DEVICES", str(tmp_path / "nodes"))
    return read_hardware(t.cast(t.Any, None))


def host(
    machines: t.Mapping[str, str] = types.MappingProxyType({}),
    containers: t.Mapping[str, Container] = types.MappingProxyType({}),
    *,
    is_running: bool = True,
) -> t.Any:
    texts = {name: f"<domain><devices>{devices}</devices></domain>" for name, devices in machines.items()}
    definitions = {name: Definition(text, is_running=is_running) for name, text in texts.items()}
    return types.SimpleNamespace(domains=dict(texts), definitions=definitions, containers=dict(containers))


def test_a_running_machine_has_a_device_alone(there: Hardware) -> None:
    stick, card = there.usb[STICK], there.pci[CARDS[0]]
    assert machine_with(host({"vm": HOSTDEV + CARD}), "web", stick) == "vm"
    assert machine_with(host({"vm": HOSTDEV + CARD}), "web", card) == "vm"
    assert machine_with(host({"vm": HOSTDEV}), "vm", stick) is None
    assert machine_with(host({"vm": HOSTDEV}), "web", there.usb[TWINS[0]]) is None
    assert machine_with(host({"vm": HOSTDEV}, is_running=False), "web", stick) is None
    assert machine_with(host(), "web", stick) is None


@pytest.mark.parametrize("is_running", [True, False])
def test_a_running_container_has_a_device_by_its_node_or_among_those_of_ours(there: Hardware, is_running: bool) -> None:
    stick = there.usb[STICK]
    ours = Path(paths.DEVICES, "web", ".dev.bus.usb")
    (ours / stick.node).parent.mkdir(parents=True)
    (ours / stick.node).touch()
    for source in (NODE, ours):
        config = f"lxc.mount.entry = {source} dev/x none bind 0 0\n"
        its = {"web": Container("web", config, is_running=is_running)}
        assert container_with(host(containers=its), "vm", stick) == ("web" if is_running else None)
        assert container_with(host(containers=its), "web", stick) is None
        assert container_with(host(containers=its), "vm", there.usb[TWINS[0]]) is None
    gone = {"web": Container("web", "lxc.mount.entry = /nowhere dev/x none bind 0 0\n", is_running=True)}
    assert container_with(host(containers=gone), "vm", stick) is None


def test_a_serial_port_is_of_the_stick_that_it_is_on(
    there: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.homelab.hybrid.plugins.module_utils._guest import host_device

    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-stick").symlink_to(NODE)
    monkeypatch.setattr(host_device, "BY_ID", str(tmp_path / "by-id"))
    found = find_device((SERIAL, "usb-stick"))
    assert isinstance(found, HostDevice) and found.port == STICK
    nodes = tmp_path / "bus"
    (nodes / there.usb[STICK].node).parent.mkdir(parents=True)
    (nodes / there.usb[STICK].node).symlink_to(NODE)
    monkeypatch.setattr(host_device, "USB_NODES", str(nodes))
    found = find_device((USB, f"{there.usb[STICK].id}:{there.usb[STICK].serial}"))
    assert isinstance(found, HostDevice) and found.port == STICK
    assert find_device(("node", str(tmp_path))) == f"{tmp_path} of this host is no device"
