# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of options with their apply paths, made from the OPTIONS that plan and decide use.

``apply_paths.py`` prints it, ``apply_paths.py --write`` puts it between the comments in docs/docsite/rst/apply_paths.rst.
"""

from __future__ import annotations

import importlib
import sys
import typing as t

from pages import PAGES, ROOT, list_table, replaced

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".build")]

from unit.tree import room

PAGE = PAGES / "apply_paths.rst"
BEGIN, END = "apply paths: written by make docs", "end of apply paths"
UTILS = "ansible_collections.homelab.hybrid.plugins.module_utils"
RULES = {
    "always": "live",
    "never": "next boot",
    "grows": "grow: live; shrink: next boot",
    "is_added": "add: live; remove: next boot",
    "is_new": "restart of the bridge",
}
LOSSES = {
    "no_loss": None,
    "_is_fixed": "refused",
    "_never_lost": "refused",
    "_never_shrinks": "grow: live; shrink: refused",
    "_replaces_disk": "next boot, with ``allow: [replace_disk]``",
}
# A note that begins so says that the option counts only where the thing is made; their plans refuse any change.
FIXED = ("never", "only at creation", "on creation", "a disk is not moved")


def table() -> str:
    """One table a module, as reStructuredText."""
    parts = []
    for kind in importlib.import_module(f"{UTILS}._layout.kinds").KINDS:
        options = importlib.import_module(f"{UTILS}.{room(kind)}.spec").OPTIONS
        rows = [(f"``{option.path}``", applies(option), takes_off(option), option.note or "") for option in options]
        title = f":ansplugin:`homelab.hybrid.{kind.module}#module`"
        parts.append(
            f"{title}\n{'-' * len(title)}\n\n{list_table(('option', 'on a running one', 'unset', 'note'), rows)}"
        )
    return "\n".join(parts)


def applies(option: t.Any) -> str:
    """How a change of the option reaches a running guest, or that it is refused."""
    if loss := LOSSES[option.loss.__name__]:
        return loss
    if option.note.startswith(FIXED):
        return "reported in ``stale``" if "stale" in option.note else "refused"
    return RULES.get(option.live.__name__) or " ".join((option.live.__doc__ or "").split()).rstrip(".")


def takes_off(option: t.Any) -> str:
    return "" if getattr(option.off, "name", None) == "NO_OFF" else "yes"


def with_table(page: str) -> str:
    """*page* with the table as it should be between the comments."""
    return replaced(page, BEGIN, END, table())


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
