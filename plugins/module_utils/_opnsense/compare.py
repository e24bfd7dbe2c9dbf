# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What an OPNsense has, compared with what it should have: the items of each kind that are ours by their description, and no others."""

from __future__ import annotations

import typing as t

Item = t.Mapping[str, t.Any]

# What of it is ours says so in its description. The control node writes it (plugin_utils/_opnsense.py).
MARK = "(homelab.hybrid)"
_LOWER = ("hwaddr",)


class Kind(t.NamedTuple):
    """One kind of items: where the API has them (opnsense/core 25.7 to 26.7), the key of one in a request, and the field of its description.

    *apply* is what puts into force what was saved.
    """

    name: str
    place: str
    noun: str
    key: str
    description: str
    apply: str


# In the order in which they stand on each other.
KINDS = (
    Kind("vlans", "interfaces/vlan_settings", "item", "vlan", "descr", "interfaces/vlan_settings/reconfigure"),
    Kind("dhcp_ranges", "dnsmasq/settings", "range", "range", "description", "dnsmasq/service/reconfigure"),
    Kind("dhcp_hosts", "dnsmasq/settings", "host", "host", "descr", "dnsmasq/service/reconfigure"),
    Kind("dns_hosts", "unbound/settings", "host_override", "host", "description", "unbound/service/reconfigure"),
    Kind("rules", "firewall/filter", "rule", "rule", "description", "firewall/filter/apply"),
)
FILTER = "firewall/filter"


class Request(t.NamedTuple):
    """A request that changes one item: its *path* and *body*, and what it does in words, with the item *before* and *after* it."""

    kind: str
    path: str
    body: dict[str, t.Any]
    says: str
    before: dict[str, t.Any]
    after: dict[str, t.Any]


def search_path(kind: Kind) -> str:
    return f"{kind.place}/search_{kind.noun}"


def requests(kind: Kind, wanted: t.Iterable[Item], found: t.Iterable[Item]) -> list[Request]:
    """What makes those of *found* that are ours what is *wanted*. What goes comes first: another may need its place."""
    ours: dict[str, list[Item]] = {}
    for row in found:
        if row.get("uuid") and str(row.get(kind.description) or "").endswith(MARK):
            ours.setdefault(str(row[kind.description]), []).append(row)
    wished = {str(item[kind.description]): item for item in wanted}
    gone, changed, new = [], [], []
    for name, rows in ours.items():
        # A run that was killed may have made one twice.
        for row in rows[1 if name in wished else 0 :]:
            path = f"{kind.place}/del_{kind.noun}/{row['uuid']}"
            gone.append(Request(kind.name, path, {}, f"{_title(kind, name)} goes", _shown(row, wished.get(name)), {}))
    for name, item in wished.items():
        rows = ours.get(name, [])
        body = {kind.key: dict(item)}
        if not rows:
            path = f"{kind.place}/add_{kind.noun}"
            new.append(Request(kind.name, path, body, f"{_title(kind, name)} is made", {}, dict(item)))
        elif fields := [field for field, value in item.items() if not _is_same(field, rows[0].get(field), value)]:
            path = f"{kind.place}/set_{kind.noun}/{rows[0]['uuid']}"
            before = {field: str(rows[0].get(field) or "") for field in fields}
            after = {field: item[field] for field in fields}
            changed.append(Request(kind.name, path, body, f"{_title(kind, name)}: {', '.join(fields)}", before, after))
    return [*gone, *changed, *new]


def _title(kind: Kind, description: str) -> str:
    return f"{kind.name}[{description.removesuffix(MARK).strip()}]"


def _shown(row: Item, like: Item | None) -> dict[str, t.Any]:
    """What of a row is told: its long tail of fields that nobody wrote is not."""
    return {field: value for field, value in row.items() if value not in ("", None) and (like is None or field in like)}


def _is_same(field: str, found: t.Any, wanted: t.Any) -> bool:
    left, right = str("" if found is None else found), str(wanted)
    return left.lower() == right.lower() if field in _LOWER else left == right


def difference(planned: t.Iterable[Request]) -> dict[str, str]:
    """What Ansible shows with ``--diff``."""
    before: list[str] = []
    after: list[str] = []
    for request in planned:
        title = request.says.partition(":")[0].removesuffix(" is made").removesuffix(" goes")
        for lines, values in ((before, request.before), (after, request.after)):
            lines += [f"{title}.{field}: {value}\n" for field, value in values.items()]
    return {"before": "".join(before), "after": "".join(after)}


def update_step(status: Item) -> str:
    """What ``core/firmware/status`` asks for: ``nothing``, ``update`` (of the series), ``upgrade`` (to the next one), or ``error``."""
    said = str(status.get("status") or "")
    return said if said in ("update", "upgrade", "error") else "nothing"
