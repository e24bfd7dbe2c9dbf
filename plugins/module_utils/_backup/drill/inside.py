# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a shell inside a guest is asked, whatever kind it is of, and what its answers say."""

from __future__ import annotations

from .health import Answer

# With nothing but the shell where there is no systemd: a small image has few programs. A unit that failed does not make a boot go on.
INIT = """
read -r name < /proc/1/comm
if [ "$name" != systemd ]; then echo alive; exit; fi
systemctl is-system-running
systemctl --failed --plain --no-legend
"""
JOURNAL = "command -v journalctl > /dev/null && journalctl --boot --no-pager --lines=2000"
_BOOTED = ("alive", "running", "degraded")


def init_of(text: str) -> Answer:
    """Whether its boot has come to its end, by what ``INIT`` said."""
    said = text.split("\n")
    failed = [line.split()[0] for line in said[1:] if line.split()]
    told = said[0].strip() or "it does not answer"
    return Answer("init", told in _BOOTED, f"{told} (failed: {', '.join(failed)})" if failed else told)


def data_of(path: str, *, is_empty: bool | None, must_have: bool) -> Answer:
    """Whether what lies at *path* came back; *is_empty* is ``None`` where nothing is there."""
    if is_empty is None:
        return Answer(f"data {path}", False, "it is not in the backup")
    return Answer(f"data {path}", not (is_empty and must_have), "it is empty" if is_empty else "it is there")


def last_of(text: str) -> str:
    """The last line of what a program said."""
    return text.strip().rpartition("\n")[2].strip()
