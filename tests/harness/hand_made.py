# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines as somebody else makes them: defined from their XML, with what this collection never writes."""

from __future__ import annotations

from pathlib import Path

import libvirt

from ansible_collections.homelab.hybrid.tests.harness import machines


def make(
    name: str, devices: str = "", *, rest: str = "", machine: str = "pc", is_transient: bool = False, vcpu: str = ""
) -> str:
    """Define a machine of 64 MiB, or with *is_transient* start one that has no definition. Returns its UUID."""
    connection = libvirt.open(machines.URI)
    call = connection.createXML if is_transient else connection.defineXML
    domain = call(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>{vcpu or '<vcpu>1</vcpu>'}"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type></os>{rest}<devices>{devices}</devices></domain>"
    )
    uuid = str(domain.UUIDString())
    connection.close()
    return uuid


def disk(path: Path | str, target: str = "vda", bus: str = "virtio", form: str = "raw", rest: str = "") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{form}'/><source file='{path}'/>{rest}"
        f"<target dev='{target}' bus='{bus}'/></disk>"
    )


def block(path: Path | str, target: str = "vda") -> str:
    return f"<disk type='block' device='disk'><source dev='{path}'/><target dev='{target}' bus='virtio'/></disk>"


def volume_disk(pool: str, volume: str, target: str = "vda") -> str:
    source = f"<source pool='{pool}' volume='{volume}'/>"
    return f"<disk type='volume' device='disk'>{source}<target dev='{target}' bus='virtio'/></disk>"


def card(mac: str, bridge: str, rest: str = "", model: str = "virtio") -> str:
    return (
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/>"
        f"<model type='{model}'/>{rest}</interface>"
    )


def image(path: Path, *options: str, form: str = "raw") -> Path:
    machines.command("qemu-img", "create", "-q", "-f", form, *options, str(path), *([] if options else ["1M"]))
    return path
