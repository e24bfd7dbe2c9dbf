# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write into the documentation of each module what its rows say of each option: how a change applies, off value, range.

``option_docs.py`` writes, ``option_docs.py --check`` says what is stale. It is the last paragraph of an option's description,
in quotes and known by how it begins; all other text is written by hand. What a documentation fragment describes is written
there, once where all modules that use it say the same.
"""

from __future__ import annotations

import re
import sys
import textwrap
import typing as t
from pathlib import Path

import apply_cells

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "plugins" / "modules"
FRAGMENTS = ROOT / "plugins" / "doc_fragments"
# The fragments that describe options with rows, and the modules that use them.
SHARED = {
    "_guest": ("kvm_vm", "lxc_container"),
    "_stop": ("kvm_vm", "lxc_container", "guest_snapshot", "guest_restore"),
}
BEGINS, END = "- 'B(In short:)", ".'"
WIDTH = 150


def sentence(module: str, row: t.Any) -> str:
    """What the row says, in Ansible's markup."""
    parts = []
    if row.is_compared:
        parts.append(f"{_applied_by_kind(module, row)}.")
        off = apply_cells.off_value(row)
        if off is not None:
            parts.append(f"C(unset) sets it to {off if off in ('nothing', 'no') else f'V({off})'}.")
    if row.create is not None and row.create != row.off:
        parts.append(f"A new one has V({_plain(row.show(row.create))}).")
    if row.check is not None and row.type in ("int", "float", "str", "list"):
        parts.append(f"Allowed: {row.check.allowed}.")
    return " ".join(parts)


def _plain(value: t.Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _applied_by_kind(module: str, row: t.Any) -> str:
    answers = {
        word: _applied(rows[row.path], waits) for word, rows, waits in apply_cells.kinds(module) if row.path in rows
    }
    if len(set(answers.values())) == 1:
        return next(iter(answers.values()))
    return ", ".join(f"with {word}: {answer}" for word, answer in answers.items())


def _applied(row: t.Any, waits: str) -> str:
    running = {way: _said(*answer, waits) for way, answer in apply_cells.cells(row, apply_cells.RUNNING).items()}
    if set(running.values()) == {"refused"}:
        return "fixed once it stands"
    if len(set(running.values())) == 1:
        return next(iter(running.values()))
    return ", ".join(f"{_WAYS[way]} {answer}" for way, answer in running.items())


_WAYS = {
    apply_cells.GROW: "more is",
    apply_cells.SHRINK: "less is",
    apply_cells.ADD: "adding is",
    apply_cells.REMOVE: "removing is",
    apply_cells.ON: "on is",
    apply_cells.OFF: "off is",
}


def _said(how: str, permit: str | None, waits: str) -> str:
    if permit:
        return f"refused without C(allow=[{permit}])"
    return {"live": "live", "next_boot": f"by {waits}" if waits != apply_cells.NEXT_BOOT else "for the next boot"}.get(
        how, how
    )


def written(text: str, sentences: t.Mapping[str, str]) -> str:
    """*text* (a Python file with DOCUMENTATION) with the paragraph of each option that *sentences* names by its path."""
    head, mark, rest = text.partition('DOCUMENTATION = r"""\n')
    body, end, tail = rest.partition('"""\n')
    lines = _without_paragraphs(body.split("\n"))
    return head + mark + "\n".join(_with_paragraphs(lines, sentences)) + end + tail


def _without_paragraphs(lines: t.Iterable[str]) -> t.Iterator[str]:
    is_ours = False
    for line in lines:
        is_ours = is_ours or line.lstrip().startswith(BEGINS)
        if not is_ours:
            yield line
        elif line.endswith(END):
            is_ours = False


def _with_paragraphs(lines: t.Iterable[str], sentences: t.Mapping[str, str]) -> t.Iterator[str]:
    stack: list[tuple[int, str]] = []
    waiting: tuple[int, str] | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if waiting is not None and line.strip() and indent <= waiting[0] and not line.lstrip().startswith("- "):
            yield from _paragraph(*waiting)
            waiting = None
        match = re.fullmatch(r"\s*([A-Za-z_0-9]+):(\s.*)?", line)
        if match:
            while stack and stack[-1][0] >= indent:
                stack.pop()
            stack.append((indent, match[1]))
            names = [name for dummy, name in stack]
            if names[-1] == "description" and names[0] == "options":
                path = _path(names[:-1])
                if sentences.get(path):
                    waiting = (indent, sentences[path])
        yield line
    if waiting is not None:
        yield from _paragraph(*waiting)


def _path(names: list[str]) -> str:
    """``options, networks, suboptions, vlan`` as ``networks.vlan``: a keyed list has no brackets here."""
    return ".".join(name for name in names if name not in ("options", "suboptions"))


def _paragraph(indent: int, text: str) -> t.Iterator[str]:
    quoted = text.replace("'", "''")
    space = " " * (indent + 2)
    yield from textwrap.wrap(
        f"{BEGINS} {quoted}'", WIDTH, initial_indent=space, subsequent_indent=f"{space}  ", break_on_hyphens=False
    )


def sentences_of(module: str) -> dict[str, str]:
    return {row.path.replace("[]", ""): sentence(module, row) for row in apply_cells.all_rows(module)}


def sentences_shared(modules: t.Sequence[str]) -> dict[str, str]:
    """One sentence where the modules agree, else one for each."""
    each = {module: sentences_of(module) for module in modules}
    found = {}
    for path in dict.fromkeys(path for its in each.values() for path in its):
        said = {module: its[path] for module, its in each.items() if its.get(path)}
        different = set(said.values())
        if len(different) == 1:
            found[path] = different.pop()
        elif different:
            found[path] = " ".join(f"Of M(homelab.hybrid.{module}), {text}" for module, text in said.items())
    return found


def targets() -> dict[Path, str]:
    """The files and the text that they should have."""
    found = {}
    for module in apply_cells.MODULES:
        path = MODULES / f"{module}.py"
        found[path] = written(path.read_text(encoding="utf-8"), sentences_of(module))
    for fragment, modules in SHARED.items():
        path = FRAGMENTS / f"{fragment}.py"
        found[path] = written(path.read_text(encoding="utf-8"), sentences_shared(modules))
    return found


def main() -> int:
    stale = {path: text for path, text in targets().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is stale: run make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
