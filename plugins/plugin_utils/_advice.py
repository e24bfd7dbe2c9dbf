# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guests should be the other kind of guest, and why. Reads what an inventory declares, and no host.

The guide of the README, when to take a virtual machine and when a container, as rules.
"""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._core.errors import HybridError
from ..module_utils._guest.options import parse_memory
from ._guest_options import host_of, read_guest
from ._guest_services import Service, services_of
from ._profiles import dictionaries
from ._recommended import kind_of, needs_of

Options = t.Mapping[str, t.Any]

NEEDS = {
    "other_os": "it runs another operating system, and a container has the kernel of its host",
    "own_kernel": "it needs a kernel of its own, and a container has that of its host",
    "kernel_modules": "it loads kernel modules, and in a container that would be into the host",
    "isolation": "it must be isolated, and a container shares the kernel with its host",
    "appliance": "it is an appliance with a kernel of its own",
    "whole_device": "it drives a whole device, which only a virtual machine can be given",
}
# What people call such guests. Whole words only: a container `windows-exporter` is none of them.
OTHERS = {
    "other_os": "windows winserver win10 win11 freebsd openbsd netbsd macos".split(),
    "appliance": "opnsense pfsense truenas freenas unraid haos proxmox pve esxi openwrt vyos".split(),
    "isolation": "untrusted hostile malware".split(),
}
# A source below one of these is for handling the kernel or the host itself. The folder alone counts for the first.
KERNEL_FOLDERS = ("/lib/modules", "/usr/lib/modules", "/boot", "/sys/kernel", "/sys/module")
HOST_ITSELF = ("/", "/dev", "/proc", "/sys")
# Up to this a virtual machine of a Debian image is taken for the home of a light service.
LIGHT_KIB = 2 * 2**20


def guest_advice(names: t.Iterable[str], hostvars: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
    """The advice, in the order of the guests: of which ``guest``, what it ``is``, what would be ``better``, and ``why``.

    Of a guest whose options cannot be read there is none.

    :raises AnsibleFilterError: for a need that there is not.
    """
    found = []
    for name in names:
        variables = hostvars[name]
        needs = read_needs(name, variables.get("guest_needs"))
        options, error = read_guest(name, variables, host_of(variables, hostvars))
        if error is not None:
            continue
        services = services_of(name, variables)
        needs += [need for need in needs_of(services) if need in NEEDS and need not in needs]
        if variables.get("guest_kind") == "container":
            is_now = "container"
            advice = [("virtual machine", why) for why in against_container(name, needs, options)]
            if not advice and kind_of(services) == "vm":
                advice = [("virtual machine", why) for why in wanted_elsewhere(services)]
            advice += [("unprivileged container", why) for why in against_privilege(options)]
        else:
            is_now = "virtual machine"
            # Who has a service in a machine because its role recommends that has a reason.
            is_recommended = bool(services) and kind_of(services) == "vm"
            advice = [] if is_recommended else [("container", why) for why in against_vm(needs, options)]
        found += [{"guest": name, "is": is_now, "better": better, "why": why} for better, why in advice]
    return found


def read_needs(name: str, written: t.Any) -> list[str]:
    needs = [written] if isinstance(written, str) else list(written or ())
    for need in needs:
        if need not in NEEDS:
            raise AnsibleFilterError(
                f"guest_needs of {name}: {need!r} is not allowed; it must be one of {', '.join(NEEDS)}"
            )
    return needs


def against_container(guest: str, needs: t.Sequence[str], options: Options) -> t.Iterator[str]:
    yield from (NEEDS[need] for need in needs)
    words = [*(options.get("tags") or ()), guest, options.get("image") or ""]
    said = {str(word).lower() for word in words}
    for need, names in OTHERS.items():
        for name in names:
            if name in said and need not in needs:
                yield f"it is called {name}: {NEEDS[need]}"
                break
    for mount in dictionaries(options.get("mounts")):
        source = re.sub(r"/+$", "", str(mount.get("source") or "-")) or "/"
        if source in HOST_ITSELF or any(
            source == folder or source.startswith(f"{folder}/") for folder in KERNEL_FOLDERS
        ):
            yield f"{source} of the host is mounted in it, with which it can handle the host's kernel"


def wanted_elsewhere(services: t.Iterable[Service]) -> t.Iterator[str]:
    """Of a container: those of its services whose roles recommend a virtual machine without saying why."""
    for service in services:
        if service.guest.get("kind") == "vm":
            yield f"{service.title} is recommended in a virtual machine"


def against_privilege(options: Options) -> t.Iterator[str]:
    if options.get("unprivileged") is False:
        yield "it is privileged: its root is the root of the host, and what breaks out of it owns the host"


def against_vm(needs: t.Sequence[str], options: Options) -> t.Iterator[str]:
    disks = dictionaries(options.get("disks"))
    image = options.get("image") or next((disk["image"] for disk in disks if disk.get("image")), None)
    # An ISO or a disk of somebody else's, a kernel that is named, a screen: somebody has a reason.
    is_special = (
        any(disk.get("source") for disk in disks)
        or options.get("cdroms")
        or (options.get("boot") or {}).get("kernel")
        or (options.get("graphics") or {}).get("type", "none") != "none"
        or options.get("devices")
        or options.get("xml_overrides")
    )
    memory = memory_kib(options)
    if needs or is_special or not image or memory is None or memory > LIGHT_KIB:
        return
    yield (
        f"it is a small machine of the image {image}, with nothing that needs a kernel of its own. As a container it starts in "
        "half a second and takes only the memory that it uses. Say why it is a machine in guest_needs, if there is a reason"
    )


def memory_kib(options: Options) -> int | None:
    """How much memory it can have; 1 GiB where nothing is said. ``None`` where it cannot be read: the module says why."""
    try:
        return parse_memory("memory", str(options.get("memory_max") or options.get("memory") or "1GiB"))
    except HybridError:
        return None
