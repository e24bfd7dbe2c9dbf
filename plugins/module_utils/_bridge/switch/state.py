# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A change of the host's network that is taken back unless it is confirmed: what is known of the last one."""

from __future__ import annotations

import re
import typing as t

from ..._core.value import Value

# The control node that can confirm puts the name of the switch into the environment of the module: 16 hexadecimal digits.
VARIABLE = "HOMELAB_HYBRID_SWITCH"
OPEN = ("armed", "applied", "rolling_back")
DEFAULT_SECONDS = 60


class Switch(Value):
    """The last switch of a host.

    *word* is ``armed`` from before its first change, ``applied`` when all of them stand and the host has looked at them, ``confirmed``,
    ``rolling_back`` and ``rolled_back``; "" where there was none. *began* and *ends* are times in UTC as text, *ends* when it is taken back.
    *reason* says why it was taken back.
    """

    __slots__ = ("began", "bridge", "ends", "id", "reason", "word")

    def __init__(
        self, *, id: str = "", word: str = "", bridge: str = "", began: str = "", ends: str = "", reason: str = ""
    ) -> None:
        self.id = id
        self.word = word
        self.bridge = bridge
        self.began = began
        self.ends = ends
        self.reason = reason

    @classmethod
    def load(cls, data: t.Mapping[str, t.Any]) -> t.Self:
        """That of the JSON values *data* of its file."""
        texts = {key: str(data.get(key) or "") for key in ("id", "bridge", "began", "ends", "reason")}
        return cls(word=str(data.get("state") or ""), **texts)

    def shown(self) -> dict[str, str]:
        """What a person reads of it, without what is not known; {} where there was none."""
        told = {key: str(getattr(self, key)) for key in ("id", "bridge", "began", "ends", "reason")}
        return {key: value for key, value in {**told, "state": self.word}.items() if value} if self.word else {}

    @property
    def is_open(self) -> bool:
        """Whether it is neither confirmed nor taken back yet."""
        return self.word in OPEN

    def refusal(self, own: str) -> str | None:
        """Why a run that is not the switch itself (*own* is the name of its own, "" for none) has to wait, as a sentence."""
        if not self.is_open or self.id == own:
            return None
        return (
            f"name: the bridge {self.bridge} of this host is being changed since {self.began}, and that is taken back at {self.ends} "
            f"unless it is confirmed (switch {self.id}). Run it again after that"
        )


def offered(environment: t.Mapping[str, str]) -> str:
    """The name of the switch that the control node would confirm, "" where it would not."""
    name = environment.get(VARIABLE, "")
    return name if re.fullmatch(r"[0-9a-f]{16}", name) else ""
