# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian 13 under systemd in which a service role runs as its user has it: a container of this host, which is its hypervisor.

Its root lies on btrfs, so that the way back of an update costs what it costs at home.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import types
import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness import debian_images
from ansible_collections.homelab.hybrid.tests.harness.kill import descendants

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hlsv"
NAME, POOL, BRIDGE, IMAGE = f"{PREFIX}-guest", f"{PREFIX}-pool", f"{PREFIX}br0", f"{PREFIX}-debian"
FOLDER = Path("/srv") / PREFIX
GATEWAY, ADDRESS = "10.93.64.1", "10.93.64.10"
SECOND, SECOND_ADDRESS = f"{PREFIX}-second", "10.93.64.11"
HYPERVISOR = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
GUEST = {
    "ansible_connection": "homelab.hybrid.lxc",
    "ansible_hypervisor_transport": "local",
    "ansible_python_interpreter": "/usr/bin/python3",
    "guest_kind": "container",
    "guest_hypervisor": "alpha",
}


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def _attached(argv: tuple[str, ...], name: str = NAME) -> list[str]:
    path = "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["lxc-attach", "-n", name, "--clear-env", "-v", path, "--", *argv]


def inside(*argv: str, check: bool = True, name: str = NAME) -> str:
    """What *argv* prints in the guest."""
    return run(*_attached(argv, name), check=check)


def status(*argv: str) -> int:
    """With which status *argv* ends in the guest."""
    return subprocess.run(_attached(argv), capture_output=True, check=False).returncode


def listeners() -> set[str]:
    """What the guest listens on beside what every guest of this image has, each as ``tcp 0.0.0.0:1883``."""
    found = set()
    for line in inside("ss", "-Hltnu").splitlines():
        words = line.split()
        # An address of a link comes from a MAC, which is another on another host.
        address = re.sub(r"\[fe80:[^]]*\]", "[fe80::]", re.sub(r"%[a-z0-9]+", "", words[4]))
        found.add(f"{words[0]} {address}")
    return found


def fingerprint() -> set[str]:
    """What the guest is: each file with its owner, mode, size, time and target, each unit with its state, who listens.

    Left out is what reading alone leaves behind: the journal, what Python and apt compile, the folder of Ansible's modules.
    """
    left_out = r"-path /root/.ansible -o -path /var/log -o -name __pycache__ -o -path '/var/cache/apt/*.bin'"
    files = (
        rf"find / -xdev \( {left_out} \) -prune -o -type d -printf '%p %m %U %G\n' -o -printf '%p %m %U %G %s %T@ %l\n'"
    )
    units = inside("systemctl", "list-units", "--type=service,socket,timer,mount", "--plain", "--no-legend", "--full")
    return {*inside("sh", "-c", files).splitlines(), *units.splitlines(), *listeners()}


def rootfs(name: str = NAME) -> Path:
    """The root of the guest, whose users are those of the host shifted."""
    return FOLDER / "pool" / f"{name}.rootfs"


def converge(**lists: t.Any) -> None:
    outcome = converge_layout(lists, dry_run=False)
    assert outcome.error is None, outcome.error


def make_disk(folder: Path, name: str, size: str) -> str:
    """A file for a pool, of which nothing is written but what is used. Returns its path.

    Its name has the worker beside *name*: all cells see each other's loop devices by the name of their file, and a worker takes over what
    another one has not begun.
    """
    path = folder / f"{os.environ.get('PYTEST_XDIST_WORKER', '')}{name}"
    run("truncate", "-s", size, str(path))
    return str(path)


def set_up(disk: str, **options: t.Any) -> None:
    """A guest that runs, with *options* of its own. *disk* names the file of its pool."""
    tear_down()
    FOLDER.mkdir(parents=True)
    for mount in options.get("mounts", ()):
        Path(mount["source"]).mkdir()
    source = make_disk(FOLDER, disk, "4G")
    archive = debian_images.container_root("trixie")
    lan = {"name": "lan", "bridge": BRIDGE, "ip": f"{ADDRESS}/24", "gateway": GATEWAY}
    converge(
        bridges=[{"name": BRIDGE, "mode": "nat", "address": f"{GATEWAY}/24"}],
        storage_pools=[{"name": POOL, "type": "btrfs", "path": str(FOLDER / "pool"), "source": source}],
        images=[{"name": IMAGE, "kind": "container", "path": str(archive)}],
        containers=[
            {
                "name": NAME,
                "state": "started",
                "image": IMAGE,
                "rootfs": {"pool": POOL},
                "networks": [lan],
                "dns": {"servers": [GATEWAY]},
                "wait_for": ["systemd"],
                **options,
            }
        ],
    )


def add_second() -> None:
    """A clone of the guest, that runs beside it."""
    lan = {"name": "lan", "bridge": BRIDGE, "ip": f"{SECOND_ADDRESS}/24", "gateway": GATEWAY}
    second = {"name": SECOND, "clone_from": {"guest": NAME}, "networks": [lan], "dns": {"servers": [GATEWAY]}}
    converge(containers=[{**second, "state": "started", "wait_for": ["systemd"]}])


def tear_down() -> None:
    for name in (SECOND, NAME):
        run("lxc-stop", "-n", name, "-k", check=False)
    gone = {"state": "absent"}
    converge(
        containers=[{**gone, "name": name, "delete": ["rootfs", "snapshots"]} for name in (SECOND, NAME)],
        images=[{**gone, "name": IMAGE}],
        storage_pools=[{**gone, "name": POOL, "allow": ["delete_data"]}],
        bridges=[{**gone, "name": BRIDGE}],
    )
    shutil.rmtree(FOLDER, ignore_errors=True)


class Play:
    """What a run said. ``changed`` counts its tasks that report a change, ``changes`` names them, each with its host."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.printed = done.stdout + done.stderr
        self.said = " ".join(self.printed.split())
        recap = done.stdout.partition("PLAY RECAP")[2]
        self.changes = re.findall(
            r"^TASK \[(.+)\] \*+$(?:\n(?!TASK|PLAY).*)*?\nchanged: \[([^]\s]+)", done.stdout, re.MULTILINE
        )
        self.changed = sum(int(each) for each in re.findall(r"changed=(\d+)", recap))

    def succeeded(self) -> Play:
        assert self.status == 0, self.printed[-8000:]
        return self

    def unchanged(self) -> Play:
        self.succeeded()
        assert self.changed == 0, self.changes
        return self

    def failed(self) -> Play:
        assert self.status != 0, self.printed[-8000:]
        return self


class Lab:
    """An inventory in *folder* with one hypervisor, this host, and one guest that has *role* with *variables*.

    Collections of a user lie in *folder* too; a role with dots is one of theirs.
    """

    def __init__(
        self, folder: Path, role: str = "", variables: t.Mapping[str, t.Any] = types.MappingProxyType({})
    ) -> None:
        self.folder = folder
        self.role = role
        self.variables = variables

    def entry(self, entry: str, *argv: str, **variables: t.Any) -> Play:
        """Run the entry point *entry* of the role."""
        return self._run(self._play(entry), *argv, **variables)

    def killed_at(self, entry: str, step: str, **variables: t.Any) -> bool:
        """Run the entry point *entry* and kill Ansible, and all that it started here, as soon as it has begun with *step*.

        Whether it came to that.
        """
        command, environment = self._command(self._play(entry), **variables)
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("TASK [") and f" : {step}" in line:
                    # Its workers are in sessions of their own (ansible-core 2.19).
                    for pid in [process.pid, *descendants(process.pid)]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    return True
        print("".join(said))
        return False

    def _play(self, entry: str) -> str:
        role = self.role if "." in self.role else f"homelab.hybrid.{self.role}"
        task = {
            "name": "Run the role",
            "ansible.builtin.include_role": {"name": role, "tasks_from": entry},
        }
        play = {"name": "Service", "hosts": "guests", "gather_facts": False, "become": True, "tasks": [task]}
        (self.folder / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
        return str(self.folder / "play.yml")

    def playbook(self, name: str, *argv: str, **variables: t.Any) -> Play:
        """Run a playbook of the collection."""
        return self._run(f"homelab.hybrid.{name}", *argv, **variables)

    def _run(self, playbook: str, *argv: str, **variables: t.Any) -> Play:
        command, environment = self._command(playbook, *argv, **variables)
        return Play(subprocess.run(command, capture_output=True, text=True, env=environment, check=False))

    def _command(self, playbook: str, *argv: str, **variables: t.Any) -> tuple[list[str], dict[str, str]]:
        """The command with its environment, after its inventory has been written."""
        services = {"guest_services": [self.role]} if self.role else {}
        guest = {**GUEST, **services, **self.variables, **variables}
        children = {"hypervisors": {"hosts": {"alpha": HYPERVISOR}}, "guests": {"hosts": {NAME: guest}}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}), encoding="utf-8")
        environment = {
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.build'}:{self.folder}",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_PIPELINING": "true",
        }
        command = [str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", str(self.folder / "hosts.yml")]
        return [*command, playbook, *argv], environment


class Releases:
    """A tree of releases at ``url``, served at an *address* of this host until it is closed; at a loopback one, to this host alone."""

    def __init__(self, folder: Path, address: str = GATEWAY) -> None:
        self.folder = folder
        self.address = address
        folder.mkdir(parents=True, exist_ok=True)
        handler = functools.partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer((address, 0), handler)
        self.url = f"http://{address}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: t.Any) -> None:
        pass


@contextlib.contextmanager
def served(disk: str, folder: Path) -> t.Iterator[Releases]:
    """A guest that runs, on a file of this name, and a server of releases beside it."""
    try:
        set_up(disk)
        with contextlib.closing(Releases(folder / "releases")) as releases:
            yield releases
    finally:
        tear_down()
