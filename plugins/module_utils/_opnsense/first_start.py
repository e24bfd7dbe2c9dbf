# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What an OPNsense is told when it starts for the first time and has no request for later: read out of its configuration, and compared."""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

Element = ElementTree.Element

# Where each is changed: the names of its own pages. Of the API (opnsense/core 25.7 to 26.7) one request writes addresses, that of the wizard
# for the first start (core/initial_setup): it takes all ranges of the LAN away. That which assigns cards (interfaces/assignment, since 26.7)
# gives no address.
_PAGES = {
    "hostname": "System: Settings: General",
    "domain": "System: Settings: General",
    "timezone": "System: Settings: General",
    "dns_servers": "System: Settings: General",
    "timeservers": "Services: Network Time: General",
    "ssh": "System: Settings: Administration",
}
_ASSIGNMENTS, _GATEWAYS = "Interfaces: Assignments", "System: Gateways: Configuration"


class Differs(t.NamedTuple):
    """A setting that stands otherwise than it is *declared*, and the *page* on which it is changed."""

    path: str
    declared: str
    stands: str
    page: str

    @property
    def says(self) -> str:
        return (
            f"{self.path}: {self.declared or 'nothing'} is declared, and {self.stands or 'nothing'} stands. Its API does not change that: "
            f"do it on its page ({self.page}), or have a new guest"
        )


def settings_of(root: Element) -> dict[str, str]:
    """The settings of a configuration by their paths; those of an interface bear the name that the configuration has for it."""
    found = {word: root.findtext(f"system/{word}") or "" for word in ("hostname", "domain", "timezone", "timeservers")}
    found["dns_servers"] = " ".join(node.text for node in root.iterfind("system/dnsserver") if node.text)
    found["ssh"] = "on" if _is_on(root.find("system/ssh/enabled")) else "off"
    gateways = {
        node.findtext("name"): node.findtext("gateway") or ""
        for node in root.iterfind("OPNsense/Gateways/gateway_item")
    }
    for node in root.iterfind("interfaces/*"):
        its = {
            "device": node.findtext("if") or "",
            "description": node.findtext("descr") or node.tag.upper(),
            "address": _address(node),
            "gateway": gateways.get(node.findtext("gateway") or "", ""),
            "block_private": _yes(node.find("blockpriv")),
            "block_bogons": _yes(node.find("blockbogons")),
        }
        found.update({f"interfaces[{node.tag}].{word}": value for word, value in its.items()})
    return found


def interfaces_of(root: Element) -> set[str]:
    """What the configuration calls its interfaces."""
    return {node.tag for node in root.iterfind("interfaces/*")}


def differences(
    declared: t.Mapping[str, str], stands: t.Mapping[str, str], names: t.Mapping[str, str]
) -> list[Differs]:
    """What is *declared* and *stands* otherwise. *names* are those that the inventory has for the interfaces of the configuration."""
    found, missing = [], set()
    for path, value in declared.items():
        key = path.partition("[")[2].partition("]")[0]
        shown = path.replace(f"[{key}]", f"[{names.get(key, key)}]")
        if path in stands:
            if stands[path] != value:
                found.append(
                    Differs(shown, value, stands[path], _page(path, stands.get(f"interfaces[{key}].description", "")))
                )
        elif key and key not in missing:
            missing.add(key)
            at = " at ".join(filter(None, (declared[f"interfaces[{key}].{word}"] for word in ("address", "device"))))
            found.append(Differs(shown.partition(".")[0], at, "", _ASSIGNMENTS))
    return found


def _page(path: str, description: str) -> str:
    if path in _PAGES:
        return _PAGES[path]
    word = path.rpartition(".")[2]
    return {"device": _ASSIGNMENTS, "gateway": _GATEWAYS}.get(word, f"Interfaces: [{description}]")


def _address(node: Element) -> str:
    address = node.findtext("ipaddr") or "none"
    return f"{address}/{node.findtext('subnet')}" if address[0].isdigit() else address


def _is_on(node: Element | None) -> bool:
    return node is not None and node.text != "0"


def _yes(node: Element | None) -> str:
    return "yes" if _is_on(node) else "no"
