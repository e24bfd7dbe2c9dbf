# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What an inventory says and hardly means: no module can refuse it, since it may be right. Reads what is declared, and no host."""

from __future__ import annotations

import difflib
import ipaddress
import typing as t

from ._catalogue import kind_of
from ._guest_options import images_brought, read_guest
from ._profiles import dictionaries
from ._recommended import missing_images

Options = t.Mapping[str, t.Any]
Variables = t.Mapping[str, t.Any]

# What the playbooks and roles read, by what it begins with.
READ = {
    "guest_": (
        "guest_aliases guest_allow guest_appliance guest_cards guest_delete guest_hypervisor guest_kind guest_needs guest_profile_catalog "
        "guest_profiles guest_prune guest_quarantine guest_services guest_spec guest_startup"
    ).split(),
    "hypervisor_": (
        "hypervisor_allow hypervisor_bridges hypervisor_default_bridge hypervisor_default_image hypervisor_default_pool "
        "hypervisor_devices hypervisor_image_catalogue hypervisor_image_mirrors "
        "hypervisor_images hypervisor_networks hypervisor_overcommit hypervisor_parallel "
        "hypervisor_prefix6 hypervisor_storage_pools"
    ).split(),
}
# How much a name must look like another to be taken for a slip of it; a name of somebody's own seldom does.
LIKENESS = 0.85
# On these addresses are translated or routed by the host: a guest there reaches nothing beyond without it as its gateway.
THROUGH_HOST = ("nat", "routed")


def guest_warnings(name: str, variables: Variables, host: Variables) -> list[str]:
    """The sentences for the guest *name*, whose *host* has these variables. Of one whose options cannot be read its error says enough."""
    options, error = read_guest(name, variables, host)
    if error is not None:
        return []
    return [
        *slips(name, variables, "guest_"),
        *unknown_pools(name, options, host),
        *odd_images(name, str(variables.get("guest_kind")), options, host, images_of(name, variables, options, host)),
        *odd_addresses(name, options, host),
    ]


def slips(name: str, variables: Variables, prefix: str) -> t.Iterator[str]:
    """Variables of the host *name* that nobody reads, and that look like one that is read."""
    known = READ[prefix]
    for key in variables:
        if str(key).startswith(prefix) and key not in known:
            near = difflib.get_close_matches(str(key), known, 1, LIKENESS)
            if near:
                yield f"{key} of {name} is read by nobody. Is {near[0]} meant?"


def unknown_pools(name: str, options: Options, host: Variables) -> t.Iterator[str]:
    if "hypervisor_storage_pools" not in host:
        return
    known = names_of(host["hypervisor_storage_pools"])
    used = {f"disks[{disk.get('name')}].pool": disk.get("pool") for disk in dictionaries(options.get("disks"))}
    rootfs = options.get("rootfs")
    used["rootfs.pool"] = rootfs.get("pool") if isinstance(rootfs, t.Mapping) else None
    for path, pool in used.items():
        if pool is not None and pool not in known:
            yield f"{path} of {name}: {pool} is none of the hypervisor_storage_pools ({', '.join(known) or 'there is none'})"


def images_of(name: str, variables: Variables, options: Options, host: Variables) -> list[dict[str, t.Any]]:
    """The images that a guest with services brings along."""
    return missing_images([options], host, images_brought(name, variables)) if variables.get("guest_services") else []


def odd_images(
    name: str, kind: str, options: Options, host: Variables, brought: t.Sequence[Options] = ()
) -> t.Iterator[str]:
    if "hypervisor_images" not in host:
        return
    images = [*dictionaries(host["hypervisor_images"]), *brought]
    own = host.get("hypervisor_image_catalogue")
    kinds = {str(image.get("name")): kind_of(image, own) for image in images}
    used = {f"disks[{disk.get('name')}].image": disk.get("image") for disk in dictionaries(options.get("disks"))}
    used["image"] = options.get("image")
    for path, image in used.items():
        if image is None:
            continue
        if image not in kinds:
            yield f"{path} of {name}: {image} is none of the hypervisor_images ({', '.join(kinds) or 'there is none'})"
        elif kinds[image] not in (None, kind):
            what = "an ISO" if kinds[image] == "iso" else f"an image for a {kinds[image]}"
            yield f"{path} of {name}: {image} is {what}, and {name} is a {kind}"


def odd_addresses(name: str, options: Options, host: Variables) -> t.Iterator[str]:
    bridges = {str(bridge.get("name")): bridge for bridge in dictionaries(host.get("hypervisor_bridges"))}
    networks = [net for net in dictionaries(options.get("networks")) if net.get("state") != "absent"]
    for net in networks:
        bridge, address = bridges.get(str(net.get("bridge"))), parsed(net.get("ip"))
        if bridge is None or address is None:
            continue
        where = f"networks[{net.get('name')}]"
        dhcp = bridge.get("dhcp")
        start, end = (parsed(dhcp.get(key)) if isinstance(dhcp, t.Mapping) else None for key in ("start", "end"))
        if start and end and start.version == address.version == end.version and start <= address <= end:
            yield (
                f"{where}.ip of {name}: {address} lies in the range that DHCP of {bridge['name']} gives away ({start} to {end}); "
                "another guest may get it"
            )
        if bridge.get("mode", "nat") in THROUGH_HOST and not any(each.get("gateway") for each in networks):
            yield f"{where} of {name} has an address and no gateway: nothing beyond {bridge['name']} can be reached from it"


def parsed(value: t.Any) -> t.Any:
    """The address in *value*, with or without a prefix length, or ``None`` where there is none."""
    try:
        return ipaddress.ip_address(str(value or "").partition("/")[0])
    except ValueError:
        return None


def names_of(items: t.Any) -> list[str]:
    return [str(item.get("name")) for item in dictionaries(items)]
