# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is run inside a guest around its capture: the commands of its owner, and between them the hooks that its services brought."""

from __future__ import annotations

import typing as t

from .._core.errors import ApplyError
from .capture import Hooks

# As its roles leave them in a guest: one program for each service, which is called with one of the two words.
_FOLDER, _RECORDS = "/etc/homelab_hybrid/backup.d", "/var/lib/homelab_hybrid/services"
_BEFORE, _AFTER = "before", "after"
_RAN, _FAILED, _BARE = "ran ", "failed ", "bare "
# A name with a dot is a copy that somebody or a package left.
_SERVICES = f"""\
word=$1 rc=0
cd {_FOLDER} 2>/dev/null && for name in *; do
  case $name in *[!A-Za-z0-9_-]*) continue ;; esac
  if [ -f "$name" ] && [ -x "$name" ]; then
    echo "{_RAN}$name"
    "./$name" "$word" </dev/null >&2 || {{ echo "{_FAILED}$name"; rc=1; [ "$word" = {_AFTER} ] || exit 1; }}
  fi
done
for record in {_RECORDS}/*.json; do
  name=${{record##*/}} name=${{name%.json}}
  if grep -q '"in_force"' "$record" 2>/dev/null && ! [ -x "{_FOLDER}/$name" ]; then echo "{_BARE}$name"; fi
done
exit $rc
"""


class Said(t.NamedTuple):
    """How a command ended inside, and what it printed."""

    rc: int
    stdout: str = ""
    stderr: str = ""


class HookError(ApplyError):
    """A hook did not end well."""


# Runs ``/bin/sh -c`` with the words.
Run = t.Callable[..., Said]


class Written(t.NamedTuple):
    """What was written down: *ran* are the services that did, *bare* those of which nobody says how."""

    ran: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    is_asked: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all that the guest knows of wrote down what it has."""
        return (self.is_asked or bool(self.ran)) and not self.bare


def before(guest: str, hooks: Hooks, run: Run) -> Written:
    """Let the programs of *guest* write down what they know.

    :raises HookError: for the first that did not.
    """
    for line in hooks.before:
        _check(guest, line, run(line))
    told = _services(guest, run, _BEFORE)
    if told[_FAILED]:
        raise HookError(told[_FAILED][0])
    return Written(tuple(told[_RAN]), tuple(told[_BARE]), bool(hooks.before))


def after(guest: str, lines: t.Sequence[str], run: Run) -> None:
    """Undo what was done before, each part of it, whatever comes of the others.

    :raises HookError: the first that failed.
    """
    failed = _services(guest, run, _AFTER)[_FAILED]
    for line in lines:
        try:
            _check(guest, line, run(line))
        except HookError as exc:
            failed.append(exc.message)
    if failed:
        raise HookError(failed[0])


def _services(guest: str, run: Run, word: str) -> dict[str, list[str]]:
    """The services that *word* was said to. A guest without a shell has none; of one that failed the sentence."""
    said = run(_SERVICES, "sh", word)
    told: dict[str, list[str]] = {_RAN: [], _FAILED: [], _BARE: []}
    for line in said.stdout.splitlines():
        kind, blank, name = line.partition(" ")
        if kind + blank in told:
            told[kind + blank].append(name)
    told[_FAILED] = [
        f"backup: {_FOLDER}/{name} {word} failed inside {guest}: {_last(said.stderr)}" for name in told[_FAILED]
    ]
    return told


def _check(guest: str, line: str, said: Said) -> None:
    if said.rc:
        raise HookError(f"backup: {line!r} ended with {said.rc} inside {guest}: {_last(said.stderr)}")


def _last(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "no message"
