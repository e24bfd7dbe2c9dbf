# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""How fast the links of this host are let to be: what ``tc`` says of the queues that make our limits."""

from __future__ import annotations

import json
import typing as t

from .._core import command

# What a guest sends comes into the host: it is sent on through a link of its own, for only what goes out can wait.
SENT = "rl"


def sent_through(index: int) -> str:
    """The link that what comes into the link with *index* goes through, where that is limited."""
    return f"{SENT}{index}"


def read_rates(links: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, tuple[int, int]]:
    """Of each limited link the bits per second that go out of it to the guest, and that come in from the guest; 0 for no limit."""
    told = json.loads(command.run(["tc", "-j", "qdisc", "show"]) or "[]")
    out = {
        queue["dev"]: int(queue["options"]["rate"]) * 8
        for queue in told
        if queue.get("kind") == "tbf" and queue.get("root") and "rate" in queue.get("options", {})
    }
    found = {name: (out.get(name, 0), out.get(sent_through(link.get("ifindex", 0)), 0)) for name, link in links.items()}
    return {name: rates for name, rates in found.items() if any(rates)}
