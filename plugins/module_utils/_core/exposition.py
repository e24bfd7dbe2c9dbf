# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a host measures as Prometheus reads it, in the text format of its exporters."""

from __future__ import annotations

import typing as t

Told = t.Mapping[str, t.Any]
Labels = t.Mapping[str, t.Any]
PREFIX = "homelab_hybrid_"
GAUGE, COUNTER = "gauge", "counter"


class Metric(t.NamedTuple):
    """One name, after what it is of, in what one reads of each thing; ``None`` where there is nothing to say of it."""

    name: str
    help: str
    value: t.Callable[[Told], float | None]
    type: str = GAUGE


def lines(of: str, kinds: t.Iterable[Metric], things: t.Sequence[tuple[Labels, Told]]) -> t.Iterator[str]:
    """The lines of all *kinds* for *things*, each with its labels. The names begin with *of*."""
    for kind in kinds:
        values = [(labels, kind.value(its)) for labels, its in things]
        known = [(labels, value) for labels, value in values if value is not None]
        if known:
            yield f"# HELP {of}{kind.name} {kind.help}"
            yield f"# TYPE {of}{kind.name} {kind.type}"
            yield from (f"{of}{kind.name}{_shown(labels)} {_number(value)}" for labels, value in known)


def _shown(labels: Labels) -> str:
    inner = ",".join(f'{key}="{_escaped(str(value))}"' for key, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """Without an exponent, which would cut the last digits of a time."""
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"
