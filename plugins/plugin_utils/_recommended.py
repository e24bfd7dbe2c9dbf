# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The guest that services recommend, and what its hypervisor gives it where nobody says more.

Beneath all that the inventory says lies what the services recommend. What is then still open of a guest with services, its bridge, pool and image,
is the first in the lists of its hypervisor, or what ``hypervisor_default_bridge``, ``_pool`` and ``_image`` say.
"""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._core.errors import HybridError
from ..module_utils._core.units import GIB, parse_size, show_memory_kib, show_size
from ..module_utils._guest.options import parse_memory
from . import _catalogue as catalogue
from ._guest_services import Service, appliance_of
from ._profiles import ARGUMENTS, Layer, ProfileError, dictionaries, lay, mapping

Options = t.Mapping[str, t.Any]
Variables = t.Mapping[str, t.Any]

# The images that a plan takes along where a guest with services needs one that its hypervisor does not list.
DEBIAN: dict[str, dict[str, t.Any]] = {
    f"debian-{release}{suffix}": {"kind": kind, "build": {"suite": suite}}
    for release, suite in ((13, "trixie"), (12, "bookworm"))
    for kind, suffix in (("container", ""), ("vm", "-vm"))
}
_NEWEST = {"container": "debian-13", "vm": "debian-13-vm"}
_WAITS = {"container": ["ip", "systemd"], "vm": ["ip", "agent"]}
# The options, at whatever depth, that name an image.
_IMAGES = ("image", "media", "extra_media")
# A disk of a machine of which nobody says how large it is.
_DISK = "8GiB"


def kind_of(services: t.Iterable[Service]) -> str:
    """The kind of guest in which all of *services* can run: a virtual machine where one of them needs one."""
    return (
        "vm" if any(service.is_appliance or service.guest.get("kind") == "vm" for service in services) else "container"
    )


def needs_of(services: t.Iterable[Service]) -> list[str]:
    """Why the guest of *services* is of its kind, in the words of ``guest_needs``."""
    return list(dict.fromkeys(str(need) for service in services for need in service.guest.get("needs") or ()))


def layer_of(services: t.Sequence[Service], kind: str) -> Layer:
    """What *services* recommend for one guest of *kind*.

    Of several on one guest memory and disks are the sum: each needs its own. Processors are the largest number: they are shared. What one of
    them needs switched on is on. Lists are merged by name, and of all else the service that is named last goes first.
    Of a guest of another kind than the recommended what its kind does not have is left out.

    :raises ProfileError: for what a role declares and nobody could merge.
    """
    specs = _specs(services)
    merged = lay([Layer("what its services recommend", spec) for spec in specs], kind)
    for key in ("memory", "memory_max"):
        found = [spec[key] for spec in specs if spec.get(key) is not None]
        if len(found) > 1:
            merged[key] = _added_memory(services, key, found)
    if "vcpus" in merged:
        merged["vcpus"] = max(int(spec["vcpus"]) for spec in specs if spec.get("vcpus") is not None)
    if (
        cores := [_of(spec, "cpu", "cores") for spec in specs if _of(spec, "cpu", "cores") is not None]
    ) and "cpu" in merged:
        merged["cpu"] = {**merged["cpu"], "cores": max(map(int, cores))}
    switched = {name for spec in specs for name, value in (spec.get("features") or {}).items() if value is True}
    if switched:
        merged["features"] = {**merged["features"], **dict.fromkeys(switched, True)}
    if isinstance(merged.get("rootfs"), t.Mapping):
        merged["rootfs"] = {key: value for key, value in merged["rootfs"].items() if key != "size"}
    for disk in dictionaries(merged.get("disks")):
        its = [
            each["size"]
            for spec in specs
            for each in dictionaries(spec.get("disks"))
            if each["name"] == disk["name"] and each.get("size") is not None
        ]
        if len(its) > 1:
            t.cast("dict[str, t.Any]", disk)["size"] = _added_sizes(services, f"disks[{disk['name']}].size", its)
    if kind == "vm" and not merged.get("disks") and (size := root_size(services)) is not None:
        merged["disks"] = [{"name": "root", "size": size}]
    merged.setdefault("description", ", ".join(service.title for service in services))
    merged.setdefault("autostart", True)
    if appliance_of(services) is None:
        # Of an appliance its role knows what it tells of itself.
        merged.setdefault("wait_for", _WAITS[kind])
    return Layer("what its services recommend", _known_to(merged, ARGUMENTS[kind]))


def _specs(services: t.Iterable[Service]) -> list[dict[str, t.Any]]:
    """What each of *services* recommends, its options under their first names."""
    found = []
    for service in services:
        where = f"guest.spec of the role {service.role}"
        own = service.guest.get("kind") or "container"
        for each in service.specs:
            spec = without_images(mapping(where, each))
            found.append(lay([Layer(where, spec)], own if own in ARGUMENTS else None))
    return found


def root_size(services: t.Sequence[Service]) -> str | None:
    """How large the root of a container of *services* should be. It is no part of their layer: not every pool can limit a root.

    :raises ProfileError: for what is no size.
    """
    sizes = [size for spec in _specs(services) if (size := _of(spec, "rootfs", "size")) is not None]
    return _added_sizes(services, "rootfs.size", sizes) if sizes else None


def _of(options: Options, key: str, inner: str) -> t.Any:
    value = options.get(key)
    return value.get(inner) if isinstance(value, t.Mapping) else None


def _added_memory(services: t.Sequence[Service], key: str, values: t.Iterable[t.Any]) -> str | None:
    try:
        return show_memory_kib(sum(parse_memory(key, str(value)) for value in values))
    except HybridError as exc:
        raise _undeclared(services, exc) from exc


def _added_sizes(services: t.Sequence[Service], key: str, values: t.Iterable[t.Any]) -> str | None:
    try:
        return show_size(sum(parse_size(key, value, unit=GIB) for value in values))
    except HybridError as exc:
        raise _undeclared(services, exc) from exc


def _undeclared(services: t.Iterable[Service], why: Exception) -> ProfileError:
    return ProfileError(f"guest.spec of the roles {', '.join(service.role for service in services)}: {why}")


def _known_to(options: Options, arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Those of *options* that a guest of a kind with these *arguments* has."""
    found: dict[str, t.Any] = {}
    for key, value in options.items():
        if key not in arguments:
            continue
        inner = arguments[key].get("options")
        if inner and isinstance(value, t.Mapping):
            found[key] = _known_to(value, inner)
        elif inner and isinstance(value, list):
            known = [_known_to(item, inner) for item in value if _is_known(item, inner)]
            if known or not value:
                found[key] = known
        else:
            found[key] = value
    return found


def _is_known(item: Options, arguments: t.Mapping[str, t.Any]) -> bool:
    """Whether a guest with these *arguments* has an *item* of this type: a machine has no serial port as a container has."""
    choices = {key: argument["choices"] for key, argument in arguments.items() if argument.get("choices")}
    return all(item[key] in allowed for key, allowed in choices.items() if key in item)


def settled(
    name: str, options: Options, kind: str, host: Variables, size: str | None, *, has_system: bool = False
) -> dict[str, t.Any]:
    """*options* of the guest *name* with what is still open taken from the lists of its *host*. What ``null`` took away stays away.

    The root has the recommended *size* only where its pool can limit it without more ado. One that *has_system* of its own gets no Debian.

    :raises AnsibleFilterError: where it would have no network.
    """
    found = dict(options)
    pool, bridge = default_of(host, "pool"), default_of(host, "bridge")
    if "networks" not in found:
        found["networks"] = [{"name": "lan"}]
    if isinstance(found["networks"], list):
        found["networks"] = [_with_bridge(name, net, bridge) for net in found["networks"]]
    if kind == "container":
        # Without servers a new container has those of the host, which may not be for guests, and do not know the names of the lab.
        dns = found.get("dns", {})
        servers = resolvers_of(found["networks"], host)
        if isinstance(dns, t.Mapping) and "servers" not in dns and servers:
            found["dns"] = {**dns, "servers": servers}
        if found.get("clone_from") is None and "image" not in found:
            found["image"] = image_of(kind, host)
        rootfs = found.get("rootfs", {})
        if pool is not None and isinstance(rootfs, t.Mapping) and "pool" not in rootfs:
            found["rootfs"] = rootfs = {**rootfs, "pool": pool}
        is_open = isinstance(rootfs, t.Mapping) and "size" not in rootfs
        if size is not None and is_open and _has_sizes(str(rootfs.get("pool")), host):
            found["rootfs"] = {**rootfs, "size": size}
        return found
    if "disks" not in found:
        found["disks"] = [{"name": "root", "size": _DISK}]
    disks = found["disks"]
    if isinstance(disks, list):
        found["disks"] = [_with_pool(disk, pool) for disk in disks]
        has_source = any(disk.get("image") or disk.get("source") for disk in dictionaries(disks))
        if "image" not in found and found.get("clone_from") is None and not has_source and not has_system:
            found["image"] = image_of(kind, host)
    return found


def resolvers_of(networks: t.Any, host: Variables) -> list[str]:
    """The address of the first bridge of these *networks* that answers names itself; nothing where none does."""
    bridges = {str(bridge.get("name")): bridge for bridge in dictionaries(host.get("hypervisor_bridges"))}
    used = [bridges[net["bridge"]] for net in dictionaries(networks) if net.get("bridge") in bridges]
    return [str(bridge["address"]).partition("/")[0] for bridge in used if answers_names(bridge)][:1]


def answers_names(bridge: Options) -> bool:
    """Whether guests are led through the host by *bridge*, which then has a resolver of its own for them."""
    return (
        bridge.get("mode", "nat") in ("nat", "routed")
        and bool(bridge.get("address"))
        and bridge.get("state") != "absent"
    )


def _has_sizes(pool: str, host: Variables) -> bool:
    """Whether a pool can limit the root of a container. A folder does so only where its file system was mounted for it."""
    pools = dictionaries(host.get("hypervisor_storage_pools"))
    return any(item.get("name") == pool and item.get("type") == "btrfs" for item in pools)


def _with_bridge(name: str, net: t.Any, bridge: str | None) -> t.Any:
    if not isinstance(net, t.Mapping) or "bridge" in net or net.get("state") == "absent":
        return net
    if bridge is None:
        raise AnsibleFilterError(
            f"{name}: networks[{net.get('name')}] names no bridge, and its hypervisor has no hypervisor_bridges of which "
            "the first would be taken. hypervisor_default_bridge names one that is there already"
        )
    return {**net, "bridge": bridge}


def _with_pool(disk: t.Any, pool: str | None) -> t.Any:
    is_open = isinstance(disk, t.Mapping) and not {"pool", "source"} & disk.keys() and disk.get("state") != "absent"
    return {**disk, "pool": pool} if is_open and pool is not None else disk


def default_of(host: Variables, what: str) -> str | None:
    """The bridge or pool of a guest that names none."""
    given = host.get(f"hypervisor_default_{what}")
    if given is not None:
        return str(given)
    listed = dictionaries(host.get({"bridge": "hypervisor_bridges", "pool": "hypervisor_storage_pools"}[what]))
    return next((str(item["name"]) for item in listed if item.get("name") and item.get("state") != "absent"), None)


def image_of(kind: str, host: Variables) -> str:
    """The image of a guest of *kind* that names none."""
    given = host.get("hypervisor_default_image")
    own = host.get("hypervisor_image_catalogue")
    images = {str(image.get("name")): image for image in dictionaries(host.get("hypervisor_images"))}
    if given is not None:
        its = catalogue.kind_of({**DEBIAN, **images}.get(str(given), {}), own)
        if its in (None, kind):
            return str(given)
    listed = (
        name
        for name, image in images.items()
        if catalogue.kind_of(image, own) in (None, kind) and image.get("state") != "absent"
    )
    return next(listed, _NEWEST[kind])


def without_images(options: Options) -> dict[str, t.Any]:
    """*options* of a role in which an image may be described where its name stands (``image: {name: ..., from: catalogue}``), with the names."""
    return {key: _named_image(key, value, []) for key, value in options.items()}


def images_in(options: Options) -> list[dict[str, t.Any]]:
    """The images that are described in *options* of a role, as items of ``hypervisor_images``."""
    found: list[dict[str, t.Any]] = []
    _named_image("", options, found)
    return found


def _named_image(key: str, value: t.Any, found: list[dict[str, t.Any]]) -> t.Any:
    if isinstance(value, t.Mapping):
        if key in _IMAGES and "name" in value:
            found.append(dict(value))
            return value["name"]
        return {name: _named_image(str(name), its, found) for name, its in value.items()}
    return [_named_image(key, item, found) for item in value] if isinstance(value, (list, tuple)) else value


def brought_images(services: t.Iterable[Service], made: Options) -> list[dict[str, t.Any]]:
    """The images that *services* and what the role of an appliance *made* of its guest describe. Of one name the latter goes before."""
    both = [options for service in services for options in service.specs if options]
    return [image for options in (made, *both) for image in images_in(options)]


def missing_images(
    guests: t.Iterable[Options], host: Variables, brought: t.Iterable[Options] = ()
) -> list[dict[str, t.Any]]:
    """The images that *guests* with services, by their options, need and their *host* does not list: those of Debian, and what they *brought*."""
    listed = {str(image.get("name")) for image in dictionaries(host.get("hypervisor_images"))}
    used = {name for options in guests for name in _image_names("", options)} - listed
    known: dict[str, dict[str, t.Any]] = {}
    for image in (*brought, *({"name": name, **image} for name, image in DEBIAN.items())):
        known.setdefault(str(image["name"]), dict(image))
    return [image for name, image in known.items() if name in used]


def _image_names(key: str, value: t.Any) -> t.Iterator[str]:
    if isinstance(value, t.Mapping):
        for name, its in value.items():
            yield from _image_names(str(name), its)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _image_names(key, item)
    elif key in _IMAGES and value is not None:
        yield str(value)
