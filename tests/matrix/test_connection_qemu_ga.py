# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks in a virtual machine through its agent: a tiny one, booted once."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.windows_stand_in import CMD, POWERSHELL
from ansible_collections.homelab.hybrid.tests.unit.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
NAME = "hlinv-agent"
OFF = "hlinv-off"
DOMAIN = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{cmdline}</cmdline></os>
<features><acpi/></features><cpu mode='custom'><model>qemu64</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='pty'/><console type='pty'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><memballoon model='none'/></devices></domain>
"""
# An ssh that runs the command here: everything of the way is real but the network.
SSH = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
[ "$2" = far ] || exit 255
exec /bin/sh -c "$3"
"""


def virsh(*argv: str, check: bool = True) -> str:
    done = subprocess.run(("virsh", "-q", "-c", "qemu:///system", *argv), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def remove() -> None:
    for name in (NAME, OFF):
        virsh("destroy", name, check=False)
        virsh("undefine", name, check=False)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    remove()
    vm = tiny_vm()
    xml = tmp_path_factory.mktemp("domain") / "domain.xml"
    try:
        for name in (NAME, OFF):
            xml.write_text(DOMAIN.format(name=name, kernel=vm.kernel, initrd=vm.initrd, cmdline=escape(vm.cmdline)))
            virsh("define", str(xml))
        virsh("start", NAME)
        deadline = time.monotonic() + 90
        while not virsh("qemu-agent-command", NAME, '{"execute": "guest-ping"}', check=False):
            assert time.monotonic() < deadline, "the agent of the tiny machine did not answer within 90 s"
            time.sleep(0.5)
        yield NAME
    finally:
        remove()


class Play:
    """Ad-hoc tasks on the machines, as a user runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ssh = folder / "ssh"
        ssh.write_text(SSH)
        ssh.chmod(0o755)
        (folder / "hosts").write_text(f"""\
[guests]
{NAME}
{OFF}
missing
remote ansible_qemu_ga_name={NAME} ansible_hypervisor_host=far ansible_hypervisor_transport=ssh ansible_hypervisor_ssh_executable={ssh}
closed ansible_hypervisor_host=127.0.0.1 ansible_hypervisor_port=1 ansible_hypervisor_transport=ssh
[guests:vars]
ansible_connection=homelab.hybrid.qemu_ga
""")

    def __call__(self, host: str, module: str, arguments: str, *more: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
        argv = [str(ROOT / ".build/venv/bin/ansible"), "-i", str(self.folder / "hosts"), host, "-m", module]
        return subprocess.run([*argv, "-a", arguments, *more], capture_output=True, text=True, env=env, check=False)

    def book(self) -> subprocess.CompletedProcess[str]:
        """Run the playbook of the folder."""
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")}
        argv = [str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", str(self.folder / "hosts")]
        return subprocess.run(
            [*argv, str(self.folder / "play.yml")], capture_output=True, text=True, env=env, check=False
        )


@pytest.fixture
def play(machine: str, tmp_path: Path) -> Play:
    return Play(tmp_path)


@pytest.mark.parametrize("host", [NAME, "remote"])
def test_a_command_its_status_and_what_it_says(play: Play, host: str) -> None:
    done = play(host, "raw", "id -u; echo $HOME; echo bad >&2; exit 255")
    assert done.returncode == 2
    assert f"{host} | FAILED | rc=255 >>\n0\n/root\nbad\n" in done.stdout


def test_the_machine_of_readmes_inventory_is_reached_as_it_is_written(machine: str, tmp_path: Path) -> None:
    for block in blocks(ROOT / "README.md"):
        if block.file is not None:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    # The hypervisor is this host, and the machine is there already.
    here = {"alpha": {"ansible_connection": "local"}, "builder": {"ansible_qemu_ga_name": machine}}
    (tmp_path / "here.json").write_text(json.dumps({"all": {"hosts": here}}))
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
    inventory = ["-i", str(tmp_path / "inventory"), "-i", str(tmp_path / "here.json")]
    argv = [str(ROOT / ".build/venv/bin/ansible"), *inventory, "vms", "-m", "ansible.builtin.raw", "-a", "id -un"]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert "builder | CHANGED | rc=0 >>\nroot\n" in done.stdout, done.stdout + done.stderr


def test_become_works_inside(play: Play) -> None:
    done = play(NAME, "raw", "id -un", "--become", "--become-method", "su")
    assert "rc=0 >>\nroot\n" in done.stdout, done.stdout + done.stderr


# busybox's own su, which asks a user for the password of root: "correct horse", as openssl passwd -6 has it.
HASH = "$6$tiny$72eyr/2DgO/594Q5DePG9RX1DY1UkVt/6Estkk76E640DQn.6NT1DBIiMHX26QYbnC3AXvj8bvkOdeXwezQTX."
ACCOUNTS = f"""\
chmod 4755 /bin/busybox
grep -q ops /etc/passwd || echo ops:x:1000:1000::/:/bin/sh >> /etc/passwd
echo 'root:{HASH}:1:0:99999:7:::' > /etc/shadow
"""


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("correct horse", "rc=0 >>\nroot\n"),
        ("wrong horse", "Incorrect su password"),
        (None, "Missing su password"),
    ],
)
def test_become_asks_for_a_password_inside(play: Play, password: str | None, said: str) -> None:
    assert play(NAME, "raw", ACCOUNTS).returncode == 0
    become = ["--become", "--become-method", "su", "-e", "ansible_qemu_ga_user=ops"]
    if password is not None:
        become += ["-e", json.dumps({"ansible_become_password": password})]
    begin = time.monotonic()
    done = play(NAME, "raw", "id -un", *become)
    assert said in done.stdout + done.stderr, done.stdout + done.stderr
    assert time.monotonic() - begin < 50, "nobody waited for an answer that does not come"
    # The one folder is that of this very command.
    assert "rc=0 >>\n1\n" in play(NAME, "raw", "ls -d /tmp/tmp.* | wc -l").stdout, "nothing is left in the guest"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (OFF, "hlinv-off does not run"),
        ("missing", "there is no virtual machine missing"),
        ("closed", "the hypervisor of closed cannot be reached: ssh to 127.0.0.1"),
    ],
)
def test_who_cannot_be_asked_is_unreachable(play: Play, host: str, said: str) -> None:
    done = play(host, "raw", "true")
    assert done.returncode == 4
    assert f"{host} | UNREACHABLE!" in done.stdout
    assert said in done.stdout


DELEGATED = f"""\
- hosts: missing
  gather_facts: false
  tasks:
    - ansible.builtin.raw: "true"
      delegate_to: {NAME}
"""
FILES = """\
- hosts: {host}
  gather_facts: false
  tasks:
    - ansible.builtin.script: {script} one
      register: told
    - ansible.builtin.assert:
        that:
          - told.stdout == 'ran with one'
"""


@pytest.mark.parametrize("host", [NAME, "remote"])
def test_a_file_is_put_and_run(play: Play, host: str) -> None:
    # The module `script` puts a file and runs it; it needs no Python in the guest.
    script = play.folder / "script"
    script.write_text('#!/bin/sh\nprintf "ran with $1"\nexit\n' + "# filled up\n" * 20000)
    (play.folder / "play.yml").write_text(FILES.format(host=host, script=script))
    done = play.book()
    assert done.returncode == 0, done.stdout + done.stderr


PLUGIN = """\
import sys
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
init_plugin_loader()
connection = connection_loader.get("homelab.hybrid.qemu_ga", PlayContext())
connection.set_options(var_options={"inventory_hostname": sys.argv[1]})
data = bytes(range(256)) * 1200
with open(sys.argv[2], "wb") as stream:
    stream.write(data)
connection.put_file(sys.argv[2], "/root/a file")
connection.fetch_file("/root/a file", sys.argv[2] + ".back")
with open(sys.argv[2] + ".back", "rb") as stream:
    assert stream.read() == data
rc, out, err = connection.exec_command("stat -c '%a %s' '/root/a file'; cat > /root/piped; cat '/root/a file' /root/piped", in_data=data)
assert (rc, err) == (0, b""), (rc, err)
assert out == b"600 307200\\n" + data + data, out[:200]
rc, out, err = connection.exec_command("ls /tmp | wc -l; kill -9 $$")
assert rc == 137, rc
try:
    connection.fetch_file("/root/none", sys.argv[2])
except Exception as exc:
    print(type(exc).__name__, exc)
"""


def test_any_bytes_go_in_and_out_in_pieces(play: Play) -> None:
    program = play.folder / "program.py"
    program.write_text(PLUGIN)
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")}
    argv = [str(ROOT / ".build/venv/bin/python"), str(program), NAME, str(play.folder / "data")]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "AnsibleError" in done.stdout
    assert "No such file" in done.stdout


SHELL = ("-e", "ansible_shell_type=powershell")
PROBE = """\
#!powershell
#Requires -Module Ansible.ModuleUtils.Legacy
#AnsibleRequires -CSharpUtil Ansible.Basic
$module = [Ansible.Basic.AnsibleModule]::Create($args, @{{ options = @{{ text = @{{ type = "str" }} }} }})
# {filler}
$module.ExitJson()
"""


@pytest.fixture
def windows(play: Play) -> Play:
    for name, text in (("powershell.exe", POWERSHELL), ("cmd.exe", CMD)):
        written = f"cat > /bin/{name} <<'END'\n{text}END\nchmod 755 /bin/{name}"
        done = play(NAME, "raw", written)
        assert done.returncode == 0, done.stdout
    return play


@pytest.mark.parametrize("host", [NAME, "remote"])
def test_windows_gets_a_command_encoded_and_its_status_comes_back(windows: Play, host: str) -> None:
    done = windows(host, "raw", "echo 'a  b' \\$HOME; echo bad >&2; exit 7", *SHELL)
    assert f"{host} | FAILED | rc=7 >>\na  b $HOME\nbad\n" in done.stdout, done.stdout


@pytest.mark.parametrize("lines", [1, 4000])
def test_a_module_for_windows_is_the_input_of_powershell_however_long_it_is(windows: Play, lines: int) -> None:
    library = windows.folder / "library"
    library.mkdir()
    (library / "probe.ps1").write_text(PROBE.format(filler="filled up\n# " * lines))
    done = windows(NAME, "probe", "text=word", *SHELL, "-M", str(library), "-vvv")
    assert f"{NAME} | SUCCESS" in done.stdout, done.stdout + done.stderr
    read = windows(NAME, "raw", "cat /run/module.json; ls / /run").stdout
    module, left = read.partition(">>\n")[2].rsplit("}", 1)
    told = json.loads((module + "}").split("\0\0\0\0")[0])
    assert told["name"] and told["script"] and len(module) > 60_000
    assert "homelab-" not in left


def test_a_delegated_task_runs_in_the_other_machine(play: Play) -> None:
    (play.folder / "play.yml").write_text(DELEGATED)
    done = play.book()
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_paused_machine_is_not_waited_for(play: Play) -> None:
    virsh("suspend", NAME)
    try:
        begin = time.monotonic()
        done = play(NAME, "raw", "true")
        assert done.returncode == 4
        assert "is paused" in done.stdout
        assert time.monotonic() - begin < 20
    finally:
        virsh("resume", NAME)
