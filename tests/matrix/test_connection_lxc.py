# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin against a real container: on this machine, and through the command line that ssh gets."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext

from ansible_collections.homelab.hybrid.plugins.connection.lxc import DOCUMENTATION, Connection
from ansible_collections.homelab.hybrid.plugins.doc_fragments._hypervisor_connection import ModuleDocFragment
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

NAME_OF_PLUGIN = "homelab.hybrid.lxc"
# What sshd does with the text it gets: it hands it to the user's shell.
SSH = '#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "$last"\n'
# A host where one logs in as somebody whose .bashrc prints a line, and whose sudo does not know the name of its host.
CHATTY = """\
#!/bin/sh
for last; do :; done
export PATH="$0.bin:$PATH"
exec /bin/sh -c "echo 'Welcome home'; $last"
"""
PROGRAMS = {
    "id": "#!/bin/sh\necho 1000\n",
    "sudo": '#!/bin/sh\necho "sudo: unable to resolve host alpha: Name or service not known" >&2\nshift 2\nexec "$@"\n',
}
WARNED = b"sudo: unable to resolve host alpha: Name or service not known\n"


def shared_options() -> dict[str, t.Any]:
    return t.cast(dict[str, t.Any], yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"])


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    # What Ansible's loader does with the documentation of a plugin.
    options = {**shared_options(), **yaml.safe_load(DOCUMENTATION)["options"]}
    constants.config.initialize_plugin_configuration_definitions("connection", NAME_OF_PLUGIN, options)
    Connection._load_name = NAME_OF_PLUGIN
    ct.set_up()
    outcome = converge_now(ct.CONTAINER, ct.BASE)
    assert outcome.error is None, outcome.error
    yield
    ct.tear_down()


@pytest.fixture(params=["local", "ssh", "chatty"])
def open_to(request: pytest.FixtureRequest, tmp_path: Path) -> t.Callable[..., Connection]:
    """Opens a connection to a container."""
    ssh = tmp_path / "ssh"
    ssh.write_text(CHATTY if request.param == "chatty" else SSH)
    ssh.chmod(0o755)
    (tmp_path / "ssh.bin").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "ssh.bin" / name).write_text(text)
        (tmp_path / "ssh.bin" / name).chmod(0o755)
    transport = "local" if request.param == "local" else "ssh"

    def opened(name: str = ct.NAME, **options: t.Any) -> Connection:
        connection = Connection(PlayContext(), shell=object())
        values = {
            "inventory_hostname": name,
            "guest_hypervisor": "alpha",
            "ansible_hypervisor_transport": transport,
        }
        connection.set_options(var_options={**values, "ansible_hypervisor_ssh_executable": str(ssh), **options})
        return connection

    return opened


def test_a_command_runs_inside(open_to):
    connection = open_to()
    rc, out, err = connection.exec_command("id -u; cat /etc/hostname; echo oops >&2; exit 3")
    assert (rc, out.decode().split(), err.replace(WARNED, b"")) == (3, ["0", ct.NAME], b"oops\n")
    assert connection.exec_command('echo "$HOME:$PATH" \'$x\' "a  b"')[1].startswith(b"/root:/usr/local/sbin:")


def test_nothing_of_the_environment_leaks_in(open_to, monkeypatch):
    monkeypatch.setenv("LEAKED", "yes")
    assert b"LEAKED" not in open_to().exec_command("env")[1]


def test_what_is_piped_in_arrives(open_to):
    data = bytes(range(256)) * 4000
    rc, out, dummy = open_to().exec_command("cat", in_data=data)
    assert rc == 0 and out == data


def test_binary_files_are_copied_both_ways(open_to, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    connection = open_to()
    connection.put_file(str(source), "/root/a file; 'quoted'")
    assert (ct.rootfs() / "root/a file; 'quoted'").read_bytes() == source.read_bytes()
    connection.fetch_file("/root/a file; 'quoted'", str(back))
    assert back.read_bytes() == source.read_bytes()


def test_files_that_are_missing_are_named(open_to, tmp_path):
    connection = open_to()
    with pytest.raises(AnsibleFileNotFound, match="there is no file"):
        connection.put_file(str(tmp_path / "none"), "/root/x")
    with pytest.raises(AnsibleError, match="could not read /none"):
        connection.fetch_file("/none", str(tmp_path / "x"))
    with pytest.raises(AnsibleError, match="could not write /none/x"):
        connection.put_file("/etc/hostname", "/none/x")
    assert not list(tmp_path.glob("*x")) and not list(tmp_path.glob(".*"))


def test_another_user_inside(open_to):
    assert open_to(ansible_lxc_user="user").exec_command("id -u")[1] == b"1000\n"


def test_a_container_that_is_not_there_is_unreachable(open_to):
    with pytest.raises(AnsibleConnectionFailure, match="there is no container hlct-none"):
        open_to("hlct-none").exec_command("true")


def test_a_container_that_does_not_run_is_unreachable(open_to):
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "paused"})
    with pytest.raises(AnsibleConnectionFailure, match="does not run: it is frozen"):
        open_to().exec_command("true")
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "stopped"})
    with pytest.raises(AnsibleConnectionFailure, match="does not run: it is stopped"):
        open_to().exec_command("true")
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "started"})


def test_a_hypervisor_that_does_not_answer_is_unreachable(open_to):
    options = {
        "ansible_hypervisor_transport": "ssh",
        "ansible_hypervisor_host": "127.0.0.1",
        "ansible_hypervisor_port": 1,
    }
    connection = open_to(**options, ansible_hypervisor_ssh_executable="ssh", ansible_hypervisor_ssh_args="-F none")
    with pytest.raises(
        AnsibleConnectionFailure, match=r"the hypervisor of hlct-a cannot be reached: ssh to 127\.0\.0\.1"
    ):
        connection.exec_command("true")
