# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The command line that runs a shell command in a guest: with the guest's own PATH, and with a password where become asks for one.

Runs nothing itself.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

# NixOS and Guix have their programs behind the last ones; a folder that is not there costs nothing.
PATH = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ":/run/wrappers/bin:/run/current-system/sw/bin:/run/current-system/profile/bin"
)
# What follows MARKER on standard error is why become came to nothing.
MARKER = "homelab.hybrid.become: "
WRONG, MISSING, SILENT = "wrong", "missing", "silent"
# A busy host emulates a processor, PAM waits 2 s after a wrong password: this is for a method that asks something else.
SECONDS = 60

# An own PATH of the guest stands in /etc/environment, where PAM takes it for those who come by ssh.
_FIND_PATH = r"""
found=
if [ -r /etc/environment ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in PATH=*) found=${line#PATH=} ;; esac
  done < /etc/environment
  found=${found#[\"\']}; found=${found%[\"\']}
fi
export PATH="${found:+$found:}$PATH"
exec "$@"
"""
# A program that may ask for a password gets nothing to read before it has asked for it or has become who it should: what is for the
# module would be taken for passwords. So it reads from a pipe of its own, and what it says is looked at in files.
_DIALOGUE = rf"""
prompt=$1 success=$2 wrong=$3 seconds=$4 has_password=$5; shift 5
password=
if [ "$has_password" = yes ]; then IFS= read -r password; fi
folder=$(umask 077 && mktemp -d) && mkfifo -m 600 "$folder/in" || exit 1
trap 'rm -rf "$folder"' EXIT
give_up() {{
  exec 3>&-
  for signal in TERM TERM TERM TERM KILL; do
    kill -s "$signal" "$(cat "$folder/pid")" 2> /dev/null
    sleep 0.2 2> /dev/null || sleep 1
    [ ! -s "$folder/rc" ] || break
  done
  wait
  cat "$folder/err" >&2
  echo >&2
  echo "{MARKER}$1" >&2
  exit 1
}}
: > "$folder/out"; : > "$folder/err"
( "$@" < "$folder/in" > "$folder/out" 2> "$folder/err" & echo $! > "$folder/pid"; wait $!; echo $? > "$folder/rc" ) 2> /dev/null &
exec 3> "$folder/in"
trap '' PIPE
end=$(($(date +%s) + seconds)) answered=
until [ -s "$folder/rc" ] || grep -q -F -e "$success" "$folder/out"; do
  if [ -n "$answered" ]; then
    if [ -n "$wrong" ] && cat "$folder/out" "$folder/err" | grep -q -E -e "$wrong"; then give_up {WRONG}; fi
  elif cat "$folder/out" "$folder/err" | grep -q -i -E -e "$prompt"; then
    [ "$has_password" = yes ] || give_up {MISSING}
    printf '%s\n' "$password" >&3
    answered=yes
  fi
  [ "$(date +%s)" -lt "$end" ] || give_up {SILENT}
  sleep 0.05 2> /dev/null || sleep 1
done
[ -s "$folder/rc" ] || cat >&3 2> /dev/null
exec 3>&-
wait
cat "$folder/out"
cat "$folder/err" >&2
exit "$(cat "$folder/rc")"
"""


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """What a command says when it becomes another user. *prompt* and *wrong* are extended regular expressions, *success* is text."""

    prompt: str
    success: str
    wrong: str
    has_password: bool


def pattern(texts: t.Iterable[str]) -> str:
    """The extended regular expression that finds one of *texts*."""
    return "|".join(
        re.sub(r"[.\[()*+?{|$]", r"[\g<0>]", text.replace("\\", "\\\\").replace("^", r"\^")) for text in texts
    )


def inside(argv: t.Sequence[str], has_own_path: bool, dialogue: Dialogue | None) -> list[str]:
    """The command line that runs *argv* in a guest with ``/bin/sh``. It looks for the PATH of the guest unless *has_own_path*.

    With a *dialogue* it needs ``mktemp``, ``mkfifo`` and ``grep`` too; with its password it reads that as the first line of its input.
    """
    if dialogue is not None:
        words = (
            dialogue.prompt,
            dialogue.success,
            dialogue.wrong,
            str(SECONDS),
            "yes" if dialogue.has_password else "no",
        )
        argv = ["/bin/sh", "-c", _DIALOGUE, "sh", *words, *argv]
    return list(argv) if has_own_path else ["/bin/sh", "-c", _FIND_PATH, "sh", *argv]
