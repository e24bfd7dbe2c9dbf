# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the catalogue of images, from its data.

``catalogue_docs.py`` writes it between the comments in docs/docsite/rst/guide_images.rst.
"""

from __future__ import annotations

import typing as t

from pages import PAGES, list_table, replaced

from ansible_collections.homelab.hybrid.plugins.plugin_utils._catalogue import KEYS, entries
from ansible_collections.homelab.hybrid.plugins.plugin_utils._openpgp import fingerprints

PAGE = PAGES / "guide_images.rst"
BEGIN, END = "catalogue: written by make docs", "end of catalogue"
HEAD = ("entry", "what it is", "checked by", "firmware, seed, bus", "user", "least memory, disk", "note")
_LISTS = {
    "coreutils": "its list of checksums",
    "bsd": "its list of checksums",
    "clear-signed": "its list of checksums",
    "bare": "its checksum",
    "digest": "a digest in the entry",
}


def table() -> str:
    """The table, as reStructuredText."""
    return list_table(HEAD, [_line(name, entry) for name, entry in entries().items()])


def _line(name: str, entry: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    presets = entry.get("presets", {})
    return (
        f"``{name}``",
        f"{entry['title']}{', an ISO' if entry['kind'] == 'iso' else ''}{_version(entry)}",
        _checked_by(entry),
        ", ".join(presets[key] for key in ("firmware", "seed", "bus") if key in presets),
        presets.get("user", ""),
        ", ".join(presets[key] for key in ("memory", "disk") if key in presets),
        entry.get("note", ""),
    )


def _version(entry: t.Mapping[str, t.Any]) -> str:
    return f", ``version`` {entry['version']}" if "version" in entry else ""


def _checked_by(entry: t.Mapping[str, t.Any]) -> str:
    if "url" not in entry:
        return "what you write"
    told, signature = _LISTS[entry["form"]], entry.get("signature")
    if signature is None:
        return f"{told}, over https"
    key = (KEYS / signature["key"]).read_text(encoding="utf-8")
    whose = f"``{fingerprints(key)[0]}``" if "PGP" in key else "the RSA key of its series"
    return f"{told}, and {whose}"


def with_table(page: str) -> str:
    """*page* with the table as it should be between the comments."""
    return replaced(page, BEGIN, END, table())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
