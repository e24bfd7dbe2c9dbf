# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a job tells, as lines for a person."""

from __future__ import annotations

import json
import typing as t

Message = t.Mapping[str, t.Any]
Clock = t.Callable[[], float]


class Narrator:
    """Makes lines of messages. *host* begins each line; *clock* tells seconds."""

    def __init__(self, host: str, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._began: dict[str, float] = {}
        self._stand: dict[str, int] = {}
        self.has_written = False

    def lines(self, text: str) -> t.Iterator[str]:
        """The lines for *text*, whole JSON lines. A message that says nothing to a person is passed over."""
        for line in text.splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and (said := self._say(message)):
                yield f"  {self._host}: {said}"

    def _say(self, message: Message) -> str | None:
        if "plan" in message:
            return _announce([str(change["path"]) for change in message["plan"]])
        item = str(message.get("item", ""))
        if message.get("started"):
            self._began[item] = self._clock()
            return f"{item} begins"
        if message.get("waiting"):
            return f"{item} waits for the guest"
        if message.get("finished"):
            return f"{item} failed: {message['msg']}" if "msg" in message else self._done(item)
        if "skipped" in message:
            return f"{item} is left alone: {message['skipped']}"
        if "deferred" in message:
            return f"{item} is left for later: {message['deferred']}"
        self.has_written = self.has_written or "stands" in message or "step" in message
        if "stands" in message:
            self._stand[item] = self._stand.get(item, 0) + 1
        return f"{item}: {message['step']}" if "step" in message else None

    def _done(self, item: str) -> str:
        now = self._clock()
        return f"{item} done in {now - self._began.get(item, now):.1f} s ({_changes(self._stand.get(item, 0))})"


def _announce(paths: t.Sequence[str]) -> str:
    """The plan as a whole: how many changes of which items. Paths are those of the layout: ``vms[a].memory``."""
    counts: dict[str, int] = {}
    for path in paths:
        item = path.split("].", 1)[0]
        counts[item] = counts.get(item, 0) + 1
    if not counts:
        return "nothing to change"
    each = ", ".join(f"{item}] ({count})" for item, count in counts.items())
    return f"{_changes(len(paths))}: {each}"


def _changes(count: int) -> str:
    return f"{count} change" if count == 1 else f"{count} changes"
