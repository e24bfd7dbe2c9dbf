# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the README of compose_app says of its presets, from their files.

``preset_docs.py`` writes it between the comments there.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles" / "compose_app"
PAGE = ROLE / "README.md"
BEGIN, END = "<!-- presets: written by make docs -->\n", "<!-- end of presets -->\n"
HEAD = "| preset | what it is | images | port | recommended guest | generated | data |\n|---|---|---|---|---|---|---|\n"
Preset = t.Mapping[str, t.Any]


def presets() -> dict[str, Preset]:
    paths = sorted((ROLE / "files" / "presets").glob("*.yml"))
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def text() -> str:
    """The table of all presets, and below it what is to be known of each."""
    known = presets()
    table = HEAD + "".join(f"| {' | '.join(_cells(name, its))} |\n" for name, its in known.items())
    return table + "".join(_notes(name, its) for name, its in known.items())


def _cells(name: str, its: Preset) -> t.Iterator[str]:
    yield f"`{name}`"
    yield f"{its['title']}: {its['description'][0].lower()}{its['description'][1:]}"
    yield ", ".join(
        dict.fromkeys(f"`{re.sub('@.*', '', each['image'])}`" for each in its["project"]["services"].values())
    )
    yield str(its["port"])
    guest = its["guest"]
    cores = f"{guest['vcpus']} core{'s' if guest['vcpus'] > 1 else ''}"
    yield f"{cores}, {guest['memory']}, disk {guest['rootfs']['size']}"
    yield ", ".join(f"`{secret}`" for secret in its.get("secrets", ()))
    yield ", ".join(f"`{path}`" for path in its["data"].values())


def _notes(name: str, its: Preset) -> str:
    return f"\n`{name}`\n\n" + "".join(f"- {note}\n" for note in its["notes"])


def with_text(page: str) -> str:
    """*page* with what it should say between the comments.

    :raises ValueError: where it lacks one of them.
    """
    before, found, rest = page.partition(BEGIN)
    dummy, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError("the page has no comments for presets")
    return f"{before}{found}\n{text()}\n{closed}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
