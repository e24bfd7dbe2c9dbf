# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a container, normalised, and what a new one gets where nothing was written."""

from __future__ import annotations

import ipaddress
import types
import typing as t

from .._core.declared import check_name
from .._core.errors import SpecError, bad_value
from .._core.options import Item
from .._guest.auto_address import is_auto, is_of_ipv6
from .._guest.device import KNOWN_BY, NODE
from .._guest.options import DHCP, NEEDS_IP6, is_fixed, is_reachable
from .._guest.spec import GuestSpec, parse_guest
from .options import OPTIONS

NOTHING: t.Mapping[str, t.Any] = types.MappingProxyType({})
# Why there is no ip6.
WITHOUT_IPV4 = "stands beside an address of IPv4 or dhcp in ip. Write the only address there is as ip"


def parse(params: t.Mapping[str, t.Any]) -> GuestSpec:
    """The declared container from a module's parameters.

    :raises SpecError:
    """
    spec = _with_features(parse_guest(OPTIONS, params, check_guest_name=check_name, spec=GuestSpec))
    if spec.get(spec.cores_path) is not None and spec.get("cpu.pin") is not None:
        raise SpecError(
            "cpu.pin: cpu.cores is written too. Say how many CPUs, or which: write one of the two", key="cpu.pin"
        )
    if "cpu.cores" in spec.unset and "vcpus" in spec.values:
        raise SpecError("unset: cpu.cores is declared and unset at once. Write one of the two", key="unset")
    _check_networks(spec.wanted("networks"))
    paths = [item.get("path") for item in spec.wanted("mounts") if item.get("path")]
    for path in paths:
        if paths.count(path) > 1:
            raise SpecError(f"mounts: two of them have the path {path}. Each needs a path of its own", key="mounts")
    for item in spec.wanted("mounts"):
        if item.get("map_ids") and item.get("mapped") is False:
            key = f"mounts[{item.name}].mapped"
            raise SpecError(f"{key}: map_ids maps the owners. Write one of the two", key=key)
    _check_devices(spec.wanted("devices"))
    return spec


# What each feature stands for: a device that is open to all, as it is on the host.
_FEATURES = {"fuse": "/dev/fuse", "tun": "/dev/net/tun"}


def _with_features(spec: GuestSpec) -> GuestSpec:
    """*spec* with what its features stand for."""
    values, devices = dict(spec.values), list(spec.items("devices"))
    if values.get("features.mknod"):
        raise SpecError(
            "features.mknod: the kernel lets no unprivileged container make devices. Write those that it needs in devices",
            key="features.mknod",
        )
    if values.get("features.docker"):
        if values.get("features.nesting") is False or "features.nesting" in spec.unset:
            raise SpecError(
                "features.docker: needs nesting, which is taken off. Write one of the two", key="features.docker"
            )
        values["features.nesting"] = True
    for word, path in _FEATURES.items():
        is_wanted = values.get(f"features.{word}")
        if is_wanted is None:
            continue
        if any(item.name == word for item in devices):
            raise SpecError(
                f"features.{word}: devices[{word}] is written too. Write one of the two", key=f"features.{word}"
            )
        known = {"type": NODE, "path": path, "mode": "0666", "gid": 0}
        devices.append(Item(word, bool(is_wanted), known if is_wanted else {}))
    lists = {**spec.lists, "devices": tuple(devices)} if devices else spec.lists
    return spec.replace(values=values, lists=lists)


def _check_devices(devices: t.Sequence[Item]) -> None:
    for item in devices:
        known_by = KNOWN_BY[item.text("type") or NODE]
        other = next((key for key in KNOWN_BY.values() if key != known_by and item.get(key)), None)
        if other is not None and (item.get("type") or item.get(known_by)):
            key = f"devices[{item.name}].{other}"
            raise SpecError(
                f"{key}: a device of the type {item.text('type') or NODE} is known by its {known_by}", key=key
            )
    for key in KNOWN_BY.values():
        refs = [item.get(key) for item in devices if item.get(key)]
        for ref in refs:
            if refs.count(ref) > 1:
                raise SpecError(f"devices: two of them have the {key} {ref}. Each needs one of its own", key="devices")


def _check_networks(networks: t.Sequence[Item]) -> None:
    places = []
    for item in networks:
        address, gateway = item.text("ip"), item.text("gateway")
        if gateway and address:
            _check_gateway(f"networks[{item.name}].gateway", gateway, address)
        ip6, gateway6 = item.text("ip6"), item.text("gateway6")
        if ip6 and address and not takes_ip6(address):
            raise SpecError(f"networks[{item.name}].ip6: {WITHOUT_IPV4}", key="networks")
        if gateway6 and ip6 is not None:
            _check_gateway6(f"networks[{item.name}].gateway6", gateway6, ip6)
        for each in (address, ip6):
            if each and is_fixed(each) and not is_auto(each) and item.get("bridge"):
                places.append((each.partition("/")[0], item.get("bridge"), item.get("vlan")))
    keys = ("gateway", "gateway6")
    ways = [":" in gateway for item in networks for key in keys if (gateway := item.text(key))]
    if len(set(ways)) != len(ways):
        raise SpecError(
            "networks: two of them have a gateway of one family. A container has one way out", key="networks"
        )
    if len(set(places)) != len(places):
        raise SpecError("networks: an ip is there twice on one bridge", key="networks")


def _check_gateway(key: str, gateway: str, address: str) -> None:
    if not is_fixed(address):
        raise SpecError(f"{key}: needs a fixed address in ip, not {address!r}", key=key)
    if not is_reachable(gateway, address):
        raise bad_value(key, gateway, f"an address in {ipaddress.ip_interface(address).network}")


def _check_gateway6(key: str, gateway: str, address: str) -> None:
    if not address:
        raise SpecError(f"{key}: {NEEDS_IP6}", key=key)
    if not is_reachable(gateway, address):
        raise bad_value(key, gateway, f"an address in {ipaddress.ip_interface(address).network}, or one of the link")


def takes_ip6(address: str) -> bool:
    """Whether ``networks[].ip6`` stands beside that ``networks[].ip``, which is IPv4 then."""
    return address == DHCP or (is_fixed(address) and not is_of_ipv6(address))


def default_hostname(name: str) -> str:
    """The host name that a new container of that name gets: ``_`` is not allowed in one."""
    return ".".join(label.strip("-") or "x" for label in name.replace("_", "-").split("."))


def with_create_defaults(spec: GuestSpec, inherited: t.Mapping[str, t.Any] = NOTHING) -> GuestSpec:
    """*spec* with what a new container gets where the user wrote nothing: what it has *inherited* of the one that it is cloned from.

    :raises SpecError: without an image and a pool for its root.
    """
    for path in () if spec.origin else ("image", "rootfs.pool"):
        if spec.get(path) is None:
            raise SpecError(f"{path}: is needed to make the container {spec.name}", key=path)
    values = OPTIONS.created({"hostname": default_hostname(spec.name), **inherited, **spec.values})
    return spec.replace(values=values, lists={area: spec.wanted(area) for area in spec.lists})


def with_item_defaults(area: str, item: Item) -> Item:
    """*item* with what a new network card, mount or device gets where the user wrote nothing.

    :raises SpecError: where something is missing that it needs.
    """
    known_by = KNOWN_BY[item.text("type") or NODE]
    for key in {"networks": ("bridge",), "mounts": ("source", "path"), "devices": (known_by,)}[area]:
        if item.get(key) is None:
            what = {"networks": "interface", "mounts": "mount", "devices": "device"}[area]
            raise SpecError(f"{area}[{item.name}].{key}: is needed to add this {what}", key=area)
    full = OPTIONS.created_item(area, item)
    if full.get("gateway") and not is_fixed(t.cast(str, full.get("ip"))):
        raise SpecError(f"{area}[{item.name}].gateway: needs a fixed address in ip", key=area)
    if full.get("gateway6") and not full.get("ip6"):
        raise SpecError(f"{area}[{item.name}].gateway6: {NEEDS_IP6}", key=area)
    return full
