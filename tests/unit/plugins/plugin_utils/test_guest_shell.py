# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command becomes another user in a guest: who asks for a password gets it, and nobody gets what is for the module.

The command line runs here, with programs in the place of sudo and su that ask as these do.
"""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils import _guest_shell
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_shell import Dialogue, inside, pattern

# As sudo -S: asks on standard error, reads a line, and asks three times.
SUDO = """\
#!/bin/sh
for try in 1 2 3; do
  printf 'key=1] password:' >&2
  IFS= read -r line || { echo "sudo: no password was provided" >&2; exit 1; }
  printf '%s\\n' "$line" >> "$TRIED"
  if [ "$line" = "correct horse" ]; then echo BECOME-1; exec "$@"; fi
  printf '\\nSorry, try again.\\n' >&2
done
exit 1
"""
# As su: says once that it was wrong.
SU = """\
#!/bin/sh
printf 'Password: ' >&2
IFS= read -r line
printf '%s\\n' "$line" >> "$TRIED"
if [ "$line" = "correct horse" ]; then echo BECOME-1; exec "$@"; fi
echo "su: Authentication failure" >&2
exit 1
"""
FREE = '#!/bin/sh\necho BECOME-1\nexec "$@"\n'
DUMB = "#!/bin/sh\nprintf 'A number, please? ' >&2\nread -r line\n"
MODULE = b"import os\nprint('from the module')\n"


class Guest:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tried = folder / "tried"

    def become(self, program: str, *argv: str, password: str | None, data: bytes = MODULE) -> t.Any:
        path = self.folder / "become"
        path.write_text(program)
        path.chmod(0o755)
        dialogue = Dialogue(
            "key=1. password:|password[[:space:]]*:", "BECOME-1", "Sorry, try again[.]", password is not None
        )
        command = inside([str(path), *argv], has_own_path=True, dialogue=dialogue)
        given = (f"{password}\n".encode() if password is not None else b"") + data
        env = {**os.environ, "TRIED": str(self.tried), "TMPDIR": str(self.folder)}
        done = subprocess.run(command, input=given, capture_output=True, env=env, timeout=60, check=False)
        assert not list(self.folder.glob("tmp.*")), "nothing is left in the guest"
        return done

    def passwords(self) -> list[str]:
        return self.tried.read_text().splitlines() if self.tried.exists() else []


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


@pytest.mark.parametrize("program", [SUDO, SU])
def test_the_password_goes_to_who_asks_and_the_rest_to_the_program(guest: Guest, program: str) -> None:
    data = bytes(range(256)) * 2000
    done = guest.become(program, "sh", "-c", "cat; echo bad >&2; exit 7", password="correct horse", data=data)
    assert (done.returncode, done.stdout) == (7, b"BECOME-1\n" + data)
    assert done.stderr.endswith(b"bad\n")
    assert guest.passwords() == ["correct horse"]


def test_a_program_that_asks_for_nothing_never_reads_the_password(guest: Guest) -> None:
    done = guest.become(FREE, "cat", password="correct horse")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"BECOME-1\n" + MODULE, b"")


@pytest.mark.parametrize(
    ("program", "said"), [(SUDO, f"{_guest_shell.MARKER}wrong"), (SU, "su: Authentication failure")]
)
def test_a_wrong_password_is_tried_once_and_the_module_is_none(guest: Guest, program: str, said: str) -> None:
    done = guest.become(program, "cat", password="wrong horse")
    assert done.returncode == 1
    assert done.stderr.decode().rstrip().endswith(said)
    assert b"BECOME-1" not in done.stdout
    assert guest.passwords() == ["wrong horse"]


@pytest.mark.parametrize("program", [SUDO, SU])
def test_who_asks_for_a_password_that_is_not_there_gets_nothing(guest: Guest, program: str) -> None:
    done = guest.become(program, "cat", password=None)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().rstrip().endswith(f"{_guest_shell.MARKER}missing")
    assert [line for line in guest.passwords() if line] == []


def test_a_question_that_nobody_knows_is_not_waited_for_for_ever(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guest_shell, "SECONDS", 1)
    done = guest.become(DUMB, password="correct horse")
    assert done.stderr.decode().rstrip().endswith(f"{_guest_shell.MARKER}silent")


def test_a_program_that_is_not_there_is_told_as_the_shell_tells_it(guest: Guest) -> None:
    done = guest.become("#!/nonexistent\n", password="correct horse")
    assert done.returncode in (126, 127)
    assert b"not found" in done.stderr or b"No such file" in done.stderr


@pytest.mark.parametrize(
    "text", ["[sudo via ansible, key=abc] password:", "a.b*c", "x|y", "^$", "back\\slash", "(a){2}?+"]
)
def test_a_text_is_found_as_it_is_written(text: str) -> None:
    def finds(said: str) -> bool:
        return not subprocess.run(
            ["grep", "-q", "-E", "-e", pattern([text])], input=said.encode(), check=False
        ).returncode

    assert finds(f"before {text} after")
    assert not finds(re.sub(r"\w|\W", "_", text))


def told_path(folder: Path, environment: str | None) -> str:
    """The PATH that a command finds, in a root folder with that /etc/environment."""
    path = folder / "environment"
    if environment is not None:
        path.write_text(environment)
    argv = [word.replace("/etc/environment", str(path)) for word in inside(["sh", "-c", 'echo "$PATH"'], False, None)]
    return subprocess.run(
        argv, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        (None, "/usr/bin:/bin"),
        ("", "/usr/bin:/bin"),
        ("LANG=C\nPATH=/opt/bin:/x\n", "/opt/bin:/x:/usr/bin:/bin"),
        ('PATH="/opt/bin"', "/opt/bin:/usr/bin:/bin"),
        ("PATH='/opt/bin'\n", "/opt/bin:/usr/bin:/bin"),
        ("MYPATH=/no\n#PATH=/no\n", "/usr/bin:/bin"),
    ],
)
def test_the_path_of_the_guest_goes_before_ours(tmp_path: Path, environment: str | None, wanted: str) -> None:
    assert told_path(tmp_path, environment) == wanted


def test_a_path_that_is_given_is_the_only_one() -> None:
    assert inside(["a", "b"], has_own_path=True, dialogue=None) == ["a", "b"]
