# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How the definition of a virtual machine is written, and each option that it holds."""

from __future__ import annotations

import functools
import typing as t
import uuid

from .._core.errors import ApplyError
from .._core.options import DEFINITION, Item, pattern, split
from .._core.plan import Change
from .._guest.identity import link_name
from .._host.libvirt import errors_of
from .firmware import PATHS, TPM, Way, nvram_of, uuid_of_tpm
from .firmware_plan import kept_tpm, way_after
from .options import OPTIONS, SEED_DISK
from .spec import DEVICE_REFS, new_item
from .writing import Writer
from .xml import boot, cdrom, disk, filesystem, hostdev, nic, variant
from .xml import domain as domain_xml
from .xml import firmware as firmware_xml
from .xml.node import Node, name_of, set_name

# What a device without a name of its own is known by. Where that becomes another, it bears its name from then on.
_KNOWN_BY = (
    "disks[].bus",
    "cdroms[].bus",
    "networks[].mac",
    *(f"devices[].{key}" for key in ("type", *DEVICE_REFS)),
)
# Debian's cloud kernel has no driver for a SATA drive: a seed there is never seen.
_SEED_BUS = "virtio"


class DefinitionWriter(Writer):
    """The part of ``VmBackend`` that writes what lasts."""

    def write_definition(self) -> bool:
        if not self.state.exists:
            with errors_of(f"define {self.spec.name}", ApplyError):
                self.domain = self._define(domain_xml.to_text(self._new_definition()))
            return True
        with errors_of(f"read the definition of {self.spec.name}", ApplyError):
            root = domain_xml.parse(self._lasting_xml())
        before = domain_xml.to_text(root)
        self._edit(root)
        if domain_xml.to_text(root) == before:
            return False
        with errors_of(f"change the definition of {self.spec.name}", ApplyError):
            self.domain = self._define(domain_xml.to_text(root))
        return True

    def _new_definition(self) -> Node:
        root = domain_xml.new(self.spec.name, self._uuid, self.state.accelerator, self.spec.get("machine"))
        source, origin = self.state.source, self.own.record.origin
        if source is not None and source.beside and origin is not None:
            like = domain_xml.parse(self.work.host.definition(origin.guest).xml)
            domain_xml.take_firmware(root, like, self._cloned_nvram)
        self._edit(root)
        domain_xml.add_ports(root)
        return root

    def _edit(self, root: Node) -> None:
        """Every change of the plan that the definition holds, however it reaches the running machine."""
        nodes = self._nodes(root)
        for change in self.plan.changes:
            if change.path not in OPTIONS or OPTIONS[change.path].home != DEFINITION or change.path == "boot.order":
                continue
            area, name, key = split(change.path)
            node = nodes.get((area, name)) if name else root
            if name and not key:
                self._edit_item(root, area, name, node, change)
            elif node is None:
                raise ApplyError(f"{area}[{name}] of {self.spec.name} is gone by now. Run it again")
            else:
                if pattern(change.path) in _KNOWN_BY:
                    set_name(node, name)
                WRITE[pattern(change.path)](self, node, self.wanted(change.path))
        if SEED_DISK in self.made:
            volume = self.made[SEED_DISK].volume
            place = self._driver(volume).disk_source(volume).path
            self._add_seed(root, place)
        if self.plan.has("boot.order"):
            WRITE["boot.order"](self, root, self.wanted("boot.order"))

    def _add_seed(self, root: Node, place: str) -> None:
        bus = self.state.presets.bus or _SEED_BUS
        if bus in ("sata", "ide"):
            # A disk there cannot be read-only.
            domain_xml.add_cdrom(root, SEED_DISK, {"bus": bus, "source": place}, self.taken)
        else:
            domain_xml.add_disk(root, SEED_DISK, place, {"format": "raw", "bus": bus, "readonly": True}, self.taken)

    def _edit_item(self, root: Node, area: str, name: str, node: Node | None, change: Change) -> None:
        if change.after is None:
            if node is not None:
                node.getparent().remove(node)
        elif node is None:
            item = self.spec.item(area, name)
            if item is None:
                raise ApplyError(f"{area}[{name}] of {self.spec.name} is planned and not declared")
            full = new_item(area, item, self.state.formats, self._variant, self.state.image_presets)
            if area == "networks":
                tap = link_name(self.spec.name, name, self.work.host.links)
                domain_xml.add_nic(root, name, {**full.values, "mac": change.after["mac"]}, tap)
            elif area == "cdroms":
                domain_xml.add_cdrom(root, name, full.values, self.taken)
            elif area == "shares":
                domain_xml.add_share(root, name, full.values)
            elif area == "devices":
                domain_xml.add_device(root, name, self._device_source(name), full.values)
            else:
                self._add_disk(root, full)

    def _device_source(self, name: str) -> hostdev.Source:
        return self.state.device_sources[name]

    def _write_device(self, node: Node, dummy: t.Any) -> None:
        """All that says which device of the host it is."""
        hostdev.write_source(node, self._device_source(t.cast(str, name_of(node))))

    def _add_disk(self, root: Node, item: Item) -> None:
        source = item.text("source")
        if source is not None:
            domain_xml.add_disk(root, item.name, source, item.values, self.taken)
            return
        volume = {**self.made, **self.adopted}[item.name].volume
        place = self._driver(volume).disk_source(volume)
        domain_xml.add_disk(root, item.name, place.path, {**item.values, "format": place.format}, self.taken)

    def _write_firmware(self, root: Node, dummy: t.Any) -> None:
        """All that says by what the machine starts. A clone has it of its origin."""
        if not self.state.exists and self._cloned_nvram:
            return
        way = self._new_way
        if way is not None:
            firmware_xml.write(root, way, nvram_of(self.spec.name, way))

    @property
    def _new_way(self) -> Way | None:
        """By what the machine starts from now on; ``None`` where its definition says so already, whatever waits for a restart."""
        way, now = way_after(self.spec, self.state), self.state.persistent.values if self.state.exists else {}
        is_same = all(now.get(path, Way().values[path]) == value for path, value in way.values.items())
        return way if self.plan.has(*PATHS) and not is_same else None

    @functools.cached_property
    def _uuid(self) -> str:
        # libvirt keeps the state of a TPM by it.
        kept = kept_tpm(self.state) if self.plan.has(TPM) else None
        return uuid_of_tpm(kept) if kept else str(uuid.uuid4())

    def _write_bus(self, node: Node, bus: str) -> None:
        disk.write_bus(node, bus, self.taken)

    def _write_variant(self, root: Node, value: str) -> None:
        variant.write(root, value, self.state.hyperv)

    def _write_boot_order(self, root: Node, names: t.Sequence[str]) -> None:
        nodes = {name: node for (dummy, name), node in self._nodes(root).items()}
        boot.write_order(root, [nodes[name] for name in names if name in nodes])


def _on_node(write: t.Callable[[Node, t.Any], None]) -> t.Callable[[DefinitionWriter, Node, t.Any], None]:
    return lambda backend, node, value: write(node, value)


# Each option that the definition holds, on the whole document or on the node of its item.
WRITE: dict[str, t.Callable[[DefinitionWriter, Node, t.Any], None]] = {
    **{path: _on_node(write) for path, write in domain_xml.WRITE.items()},
    **{f"disks[].{key}": _on_node(write) for key, write in disk.WRITE.items()},
    **{f"cdroms[].{key}": _on_node(write) for key, write in cdrom.WRITE.items()},
    **{f"networks[].{key}": _on_node(write) for key, write in nic.WRITE.items()},
    **dict.fromkeys(PATHS, DefinitionWriter._write_firmware),
    "disks[].bus": DefinitionWriter._write_bus,
    "cdroms[].bus": DefinitionWriter._write_bus,
    **{f"shares[].{key}": _on_node(write) for key, write in filesystem.WRITE.items()},
    **{f"devices[].{key}": DefinitionWriter._write_device for key in ("type", *DEVICE_REFS)},
    "devices[].optional": _on_node(hostdev.write_optional),
    "boot.order": DefinitionWriter._write_boot_order,
    "os_variant": DefinitionWriter._write_variant,
}
