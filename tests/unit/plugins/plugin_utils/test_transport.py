# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a hypervisor is reached: from its connection variables to a command line."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.filter.connection_vars import connection_vars
from ansible_collections.homelab.hybrid.plugins.plugin_utils._transport import Hypervisor, Unreachable, hypervisor


@pytest.mark.parametrize(
    ("name", "variables", "options"),
    [
        (None, {}, {}),
        ("localhost", {}, {}),
        ("alpha", {"ansible_connection": "local"}, {}),
        ("alpha", {"ansible_connection": "ansible.builtin.local", "ansible_host": "192.0.2.1"}, {}),
        ("alpha", {"ansible_host": "192.0.2.1"}, {"connection": "local"}),
        ("alpha", {"ansible_host": "127.0.0.1"}, {}),
    ],
)
def test_this_machine_needs_no_ssh(name, variables, options):
    found = hypervisor(name, variables, options)
    assert found.host is None and found.argv(["a", "b c"]) == ["a", "b c"]


@pytest.mark.parametrize(
    ("name", "variables", "options", "host"),
    [
        ("alpha", {}, {}, "alpha"),
        ("alpha", {"ansible_host": "192.0.2.1"}, {}, "192.0.2.1"),
        ("alpha", {"ansible_host": "192.0.2.1"}, {"host": "192.0.2.2"}, "192.0.2.2"),
        ("localhost", {}, {"connection": "ssh"}, "localhost"),
        ("alpha", {"ansible_host": "127.0.0.1", "ansible_port": 2222}, {}, "127.0.0.1"),
    ],
)
def test_others_are_reached_by_their_address(name, variables, options, host):
    assert hypervisor(name, variables, options).host == host


def test_the_variables_of_the_hypervisor_reach_ssh(tmp_path):
    variables = {
        "ansible_host": "192.0.2.1",
        "ansible_port": "2222",
        "ansible_user": "admin",
        "ansible_ssh_private_key_file": "/keys/id",
        "ansible_ssh_common_args": "-o ProxyJump=jump",
    }
    found = hypervisor("alpha", variables, {"timeout": 7, "control_folder": str(tmp_path), "checks_host_key": False})
    argv = found.argv(["sh", "-c", "echo 'a  b'; $x"])
    assert argv[0] == "ssh" and argv[-2] == "192.0.2.1" and argv[-3] == "--"
    assert shlex.split(argv[-1])[-3:] == ["sh", "-c", "echo 'a  b'; $x"]
    text = " ".join(argv)
    for part in (
        "-p 2222",
        "-l admin",
        "-i /keys/id",
        "ProxyJump=jump",
        "ConnectTimeout=7",
        "StrictHostKeyChecking=no",
    ):
        assert part in text
    assert f"ControlPath={tmp_path}/lxc-" in text


def test_a_hypervisor_that_is_not_there_is_unreachable(tmp_path):
    with pytest.raises(Unreachable, match="is not on the control node"):
        Hypervisor(host="x", executable=str(tmp_path / "none"), ssh_args="").run(["true"])


def chatty(folder: Path) -> Hypervisor:
    """A hypervisor whose login shell prints before it runs what it is told, as a .bashrc does."""
    ssh = folder / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "echo welcome home; printf unended; $last"\n')
    ssh.chmod(0o755)
    return Hypervisor(host="alpha", executable=str(ssh), ssh_args="")


def test_what_a_login_shell_prints_is_no_answer(tmp_path):
    far = chatty(tmp_path)
    assert far.run(["sh", "-c", "cat; echo bad >&2; exit 3"], input=b"a\nb") == (3, b"a\nb", b"bad\n")
    data = bytes(range(256)) * 9000
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as source, (tmp_path / "copy").open("wb") as target:
        assert far.run(["cat"], source=source, target=target) == (0, b"", b"")
    assert (tmp_path / "copy").read_bytes() == data


def test_a_program_that_reads_nothing_is_no_error(tmp_path):
    assert chatty(tmp_path).run(["true"], input=bytes(2_000_000))[0] == 0


# As sudo -S: it asks, reads a line, and asks again.
SUDO = """\
#!/bin/sh
for try in 1 2 3; do
  printf '%s' "$3" >&2
  IFS= read -r line || exit 1
  echo "$line" >> "$0.tried"
  if [ "$line" = "correct horse" ]; then shift 4; exec "$@"; fi
  printf '\\nSorry, try again.\\n' >&2
done
exit 1
"""


def by_sudo(folder: Path, password: str, user_id: int = 1000) -> Hypervisor:
    """A hypervisor on which one is nobody, unless sudo is given the password."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, text in {"sudo": SUDO, "id": f"#!/bin/sh\necho {user_id}\n"}.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    ssh = folder / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nfor last; do :; done\nexport PATH={bin_folder}:$PATH\nexec /bin/sh -c "echo welcome home; $last"\n'
    )
    ssh.chmod(0o755)
    return hypervisor(
        "alpha",
        {"ansible_become_password": password, "ansible_ssh_executable": str(ssh), "ansible_ssh_args": "-F none"},
        {},
    )


@pytest.mark.parametrize("user_id", [1000, 0])
def test_a_program_runs_as_root_by_a_sudo_that_asks_for_a_password(tmp_path, user_id):
    far = by_sudo(tmp_path, "correct horse", user_id)
    rc, stdout, stderr = far.run(["sh", "-c", "cat; echo bad >&2; exit 3"], input=b"a\nb")
    assert (rc, stdout) == (3, b"a\nb") and stderr.endswith(b"bad\n")
    (tmp_path / "data").write_bytes(bytes(range(256)) * 900)
    with (tmp_path / "data").open("rb") as source, (tmp_path / "copy").open("wb") as target:
        assert far.run(["cat"], source=source, target=target)[0] == 0
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "data").read_bytes()


def test_a_wrong_password_of_sudo_is_tried_once_and_told(tmp_path):
    far = by_sudo(tmp_path, "wrong horse")
    with pytest.raises(Unreachable, match=r"sudo on alpha: the password is wrong"):
        far.run(["cat"], input=b"import os\nimport sys\n")
    assert (tmp_path / "bin" / "sudo.tried").read_text() == "wrong horse\n"
    assert "wrong horse" not in repr(far)


def test_who_does_not_answer_in_time_is_unreachable(tmp_path):
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"alpha did not answer within 0\.2 s"):
        chatty(tmp_path).run(["sleep", "20"], limit=0.2)
    assert time.monotonic() - begin < 10


def test_only_connection_variables_are_looked_at():
    assert connection_vars({"ansible_host": "a", "ansible_user": "b", "other": 1}) == {
        "ansible_host": "a",
        "ansible_user": "b",
    }
