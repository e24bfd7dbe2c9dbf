# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook as AWX runs it: through ansible-runner, in AWX's folders, with its extra variables, the hypervisor reached by ssh.

The first run of each changes something, the second nothing. The hypervisor is this host, behind an SSH server of this
process that listens on the loopback address and lets in one key, made for this run. The guests: a virtual machine without
an operating system, a container of busybox, and a Debian container with a service in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import typing as t
from pathlib import Path

import ansible_runner
import asyncssh
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".build"))

from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.tests.harness import backups, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

PREFIX = "hlax"
BRIDGE, POOL, TINY = f"{PREFIX}br0", f"{PREFIX}-pool", f"{PREFIX}-tiny"
VM, SMALL, RESOLVER = f"{PREFIX}-vm", f"{PREFIX}-small", f"{PREFIX}-resolver"
FOLDER = Path("/srv") / PREFIX
DEMO = ROOT / "playbooks" / "inventory" / "demo"
REFUSAL = "In AWX ansible_connection local is the container that this job runs in"

# What the playbooks are run with, in this order. A playbook that only reads never changes anything.
# Only containers can be shown and demonstrated here: the virtual machine has no operating system that would answer.
READS, CHANGES = "reads", "changes"
RUNS: tuple[tuple[str, str, dict[str, t.Any]], ...] = (
    ("hypervisors", CHANGES, {}),
    # The hypervisors came with their guests: another wish gives this one something to do.
    ("guests", CHANGES, {"lab_memory": "264MiB"}),
    ("services", CHANGES, {}),
    ("site", CHANGES, {"lab_memory": "272MiB"}),
    ("report", READS, {"lab_memory": "272MiB"}),
    ("show", READS, {"hybrid_guests": "containers", "lab_memory": "272MiB"}),
    # What Debian has published since the image was made is another question each day.
    ("update", READS, {"update_debian": False, "lab_memory": "272MiB"}),
    ("shutdown", CHANGES, {}),
    ("startup", CHANGES, {}),
    # Of the backup that the job makes after startup.
    ("drill", READS, {"lab_memory": "272MiB"}),
    ("decommission", CHANGES, {"decommission_guests": [SMALL], "guest_delete": ["rootfs"]}),
    # What was taken away has that backup.
    ("rebuild", CHANGES, {"lab_memory": "272MiB"}),
    ("demo", CHANGES, {"hybrid_guests": "containers", "lab_memory": "288MiB"}),
    ("destroy", CHANGES, {}),
)


class Loopback:
    """An SSH server for one key on 127.0.0.1. What it is asked to run runs on this host as this user."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self._client = asyncssh.import_authorized_keys(key.export_public_key().decode())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._acceptor.get_port()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self.key],
            authorized_client_keys=self._client,
            process_factory=self._serve,
            encoding=None,
            line_editor=False,
            sftp_factory=True,
        )

    @staticmethod
    async def _serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        pipe = subprocess.PIPE
        command = ["/bin/sh", "-c", process.command or "exec sh"]
        child = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        # A program may end before it has read what comes in. The redirection of asyncssh would lose its exit status then.
        feeding = asyncio.ensure_future(_pump(process.stdin, child.stdin))
        await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
        process.exit(await child.wait())
        feeding.cancel()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._acceptor.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _pump(source: t.Any, target: t.Any) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        if isinstance(target, asyncio.StreamWriter):
            target.close()


class Job:
    """The folders that AWX makes for a job (awx/main/tasks/jobs.py), and the runs in them."""

    def __init__(self, folder: Path, key: asyncssh.SSHKey, artifact: Path) -> None:
        self.folder = folder
        self.key = key
        self.number = 0
        for name in ("project", "inventory", "env", "cp"):
            (folder / name).mkdir()
        for name in playbooks():
            play = [{"name": "Run it", "ansible.builtin.import_playbook": f"homelab.hybrid.{name}"}]
            (folder / "project" / f"{name}.yml").write_text(yaml.safe_dump(play))
        command = ["ansible-galaxy", "collection", "install", "--offline", "--force", "-p"]
        subprocess.run([*command, folder / "requirements_collections", artifact], check=True, stdout=subprocess.DEVNULL)

    def write_inventory(self, data: dict[str, t.Any]) -> None:
        """As AWX does: a program that prints what it knows."""
        path = self.folder / "inventory" / "hosts"
        path.write_text(f"#! /usr/bin/env python3\nprint({json.dumps(data)!r})\n")
        path.chmod(0o700)

    def use_demo_inventory(self) -> None:
        shutil.rmtree(self.folder / "inventory")
        shutil.copytree(DEMO, self.folder / "inventory")

    def run(self, playbook: str, extra: dict[str, t.Any], *arguments: str) -> ansible_runner.Runner:
        self.number += 1
        job = {f"{prefix}_{key}": value for prefix in ("awx", "tower") for key, value in self._meta().items()}
        (self.folder / "env" / "extravars").write_text(yaml.safe_dump({**extra, **job}))
        (self.folder / "env" / "cmdline").write_text(" ".join(["-u", "root", *arguments]))
        # ansible-runner hands the key to an agent and then removes the file.
        (self.folder / "env" / "ssh_key").write_bytes(self.key.export_private_key())
        environment = {
            "AWX_PRIVATE_DATA_DIR": str(self.folder),
            "JOB_ID": str(self.number),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "requirements_collections"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_INJECT_FACT_VARS": "False",
            "ANSIBLE_HOME": str(self.folder / "home"),
        }
        return ansible_runner.interface.run(
            private_data_dir=str(self.folder),
            ident=str(self.number),
            playbook=f"{playbook}.yml",
            envvars=environment,
            quiet=True,
        )

    def _meta(self) -> dict[str, t.Any]:
        return {"job_id": self.number, "job_launch_type": "manual", "user_name": "admin", "inventory_name": PREFIX}


def playbooks() -> list[str]:
    return sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def inventory(port: int, known_hosts: Path, archive: Path) -> dict[str, t.Any]:
    """One hypervisor and its guests, as AWX gives them: one JSON text."""
    images = yaml.safe_load((DEMO / "group_vars" / "hypervisors.yml").read_text())["hypervisor_images"]
    debian = next(image for image in images if image["kind"] == "container")
    lan = {"name": "lan", "bridge": BRIDGE, "gateway": "10.91.21.1"}
    container = {
        "rootfs": {"pool": POOL},
        "memory": "{{ lab_memory | default('256MiB') }}",
        "shutdown_timeout": 5,
        "force_stop": True,
    }
    backed_up = backups.declared(FOLDER / "backups", guests=[SMALL])
    alpha = {
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "hypervisor_bridges": [{"name": BRIDGE, "mode": "nat", "address": "10.91.21.1/24"}],
        "hypervisor_storage_pools": [{"name": POOL, "path": str(FOLDER / "pool")}],
        "hypervisor_backup_repositories": backed_up["repositories"],
        "hypervisor_backup_jobs": backed_up["jobs"],
        "hypervisor_images": [{"name": TINY, "kind": "container", "path": str(archive)}, debian],
    }
    guests = {
        VM: {"guest_spec": {"memory": "64MiB", "state": "stopped"}},
        SMALL: {"guest_spec": {**container, "image": TINY, "networks": [{**lan, "ip": "10.91.21.11/24"}]}},
        RESOLVER: {
            "guest_spec": {
                **container,
                "image": debian["name"],
                "networks": [{**lan, "ip": "10.91.21.10/24"}],
                "dns": {"servers": ["10.91.21.1"]},
                "wait_for": ["ip", "systemd"],
            },
            "guest_services": ["unbound"],
        },
    }
    return {
        "all": {
            "children": ["hypervisors", "guests"],
            "vars": {
                "hybrid_is_disposable": True,
                "hybrid_domain": "awx.home.arpa",
                "demo_folder": str(FOLDER / "demo"),
                "demo_key": str(FOLDER / "demo" / "key"),
            },
        },
        "hypervisors": {"hosts": ["alpha"]},
        "guests": {"children": ["vms", "containers"], "vars": {"guest_hypervisor": "alpha"}},
        "vms": {"hosts": [VM], "vars": {"guest_kind": "vm"}},
        "containers": {
            "hosts": [SMALL, RESOLVER],
            "vars": {
                "guest_kind": "container",
                "ansible_connection": "homelab.hybrid.lxc",
                "ansible_hypervisor": "{{ hostvars[guest_hypervisor] | homelab.hybrid.connection_vars }}",
                "ansible_python_interpreter": "/usr/bin/python3",
            },
        },
        "_meta": {"hostvars": {"alpha": alpha, **guests}},
    }


def ok(text: str) -> None:
    print(f"awx ok: {text}", flush=True)


def expect(condition: object, why: str, runner: ansible_runner.Runner | None = None) -> None:
    if condition:
        return
    if runner is not None:
        print(runner.stdout.read())
    raise SystemExit(f"awx: {why}")


def changed(runner: ansible_runner.Runner) -> int:
    return sum((runner.stats or {}).get("changed", {}).values())


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def state() -> tuple[str, str, str]:
    """The virtual machine, the small container and its limit of memory, as the host's own tools tell them."""
    limit = output("lxc-cgroup", "-n", SMALL, "memory.limit_in_bytes") or output(
        "lxc-cgroup", "-n", SMALL, "memory.max"
    )
    return output("virsh", "-c", "qemu:///system", "domstate", VM), output("lxc-info", "-n", SMALL, "-s", "-H"), limit


def prove_refusals(job: Job) -> None:
    job.use_demo_inventory()
    for name in playbooks():
        runner = job.run(name, {})
        said = runner.stdout.read()
        expect(runner.rc != 0 and REFUSAL in said, f"{name} did not refuse the demo's inventory", runner)
        expect(not changed(runner), f"{name} changed something before it refused", runner)
        ok(f"{name} refuses the demo's inventory, whose hypervisor would be the execution container")


def prove_runs(job: Job) -> None:
    for name, kind, extra in RUNS:
        first = job.run(name, extra)
        expect(first.status == "successful", f"{name} failed", first)
        expect(bool(changed(first)) == (kind == CHANGES), f"{name}: its first run changed {changed(first)}", first)
        if name == "site":
            expect(state() == ("shut off", "RUNNING", str(272 * 2**20)), f"after site the host shows {state()}", first)
        if name == "startup":
            backups.backup("run", backups.JOB)
        again = job.run(name, extra)
        expect(again.status == "successful", f"{name} failed when it was run again", again)
        expect(not changed(again), f"{name} run again changed {changed(again)}", again)
        ok(f"{name} {'changes' if kind == CHANGES else 'reads'}, and again changes nothing")
    expect(state()[:2] == ("", ""), f"destroy left {state()}")
    expect(
        not Path(f"/sys/class/net/{BRIDGE}").exists() and not (FOLDER / "pool").exists(),
        "destroy left a bridge or a pool",
    )
    ok("nothing is left on the host")


def clean(job: Job) -> None:
    """Also after a failure. The image of busybox goes; that of Debian stays, as after the demo, which uses it too."""
    job.run("destroy", {})
    outcome = converge_now(Image(), {"name": TINY, "state": "absent"})
    expect(outcome.error is None, f"the image {TINY} stays: {outcome.error}")


def main() -> int:
    expect(sorted(name for name, *dummy in RUNS) == playbooks(), f"RUNS does not say how {playbooks()} are run")
    artifact = Path(sys.argv[1]).resolve()
    key = asyncssh.generate_private_key("ssh-ed25519")
    FOLDER.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, FOLDER, ignore_errors=True)
        # The folder that AWX gives a job is called like this, and short: sockets of ssh lie in it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"awx_{PREFIX}_")))
        job = Job(folder, key, artifact)
        prove_refusals(job)
        shutil.rmtree(folder / "inventory")
        (folder / "inventory").mkdir()
        tiny_root.build(FOLDER / "tiny.tar.zst")
        server = Loopback(key)
        stack.callback(server.close)
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {server.key.export_public_key().decode()}")
        job.write_inventory(inventory(server.port, known_hosts, FOLDER / "tiny.tar.zst"))
        stack.callback(clean, job)
        prove_runs(job)
    return 0


if __name__ == "__main__":
    sys.exit(main())
