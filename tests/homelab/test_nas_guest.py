# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose NAS is its own guest: one run of `site` builds it, it starts and is shut down whether or not that answers, and a run ends in time
with a sentence.

The host is an ordinary machine, which has what this one lacks: a kernel with NFS and CIFS, and systemd. The servers are programs in a container
of it. Playbooks run first, on the host as it is after its installation. What comes then is run by the code of the modules, on the host itself:
over ssh each task would cost more than all of this.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import debian_images, ordinary_vm, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.ordinary_host import PACKAGES, OrdinaryHost
from ansible_collections.homelab.hybrid.tests.harness.wired_host import COLLECTION

SSH = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
GANESHA = """\
NFS_CORE_PARAM { allow_set_io_flusher_fail = true; Protocols = 4; }
NFSV4 { Graceless = true; }
EXPORT {
  Export_Id = 1; Path = /export; Pseudo = /export; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  Protocols = 4; Transports = TCP; FSAL { Name = VFS; }
}
"""
MOUNT: dict[str, t.Any] = {
    "path": "/srv/media",
    "type": "nfs",
    "source": "10.88.0.5:/export",
    "options": ["vers=4.2"],
    "wait_for_guest": "nas",
    "wait_timeout": 600,
}
COMMON: dict[str, t.Any] = {"state": "started", "autostart": True, "rootfs": {"pool": "main"}, "force_stop": True}
NAS: dict[str, t.Any] = {
    **COMMON,
    "name": "nas",
    "image": "server",
    # It opens files by their handles, which root of a user namespace may not.
    "unprivileged": False,
    "networks": [{"name": "lan", "bridge": "lan0", "ip": "10.88.0.5/24"}],
    "mounts": [
        {"name": "tank", "source": "/srv/tank", "path": "/export"},
        {"name": "config", "source": "/srv/ganesha", "path": "/etc/ganesha"},
    ],
    "shutdown_timeout": 120,
}
FILMS: dict[str, t.Any] = {
    **COMMON,
    "name": "films",
    "image": "tiny",
    # By its order alone it would start first, and stop last.
    "startup": {"order": 1},
    "networks": [{"name": "lan", "bridge": "lan0", "ip": "10.88.0.6/24"}],
    "mounts": [{"name": "films", "source": "/srv/media/films", "path": "/films"}],
    "shutdown_timeout": 20,
}
LAYOUT: dict[str, t.Any] = {
    "bridges": [{"name": "lan0", "mode": "nat", "address": "10.88.0.1/24", "state": "started"}],
    "storage_pools": [{"name": "main", "path": "/srv/pool", "state": "started"}],
    "images": [
        {"name": "server", "kind": "container", "path": "/srv/server.tar.zst"},
        {"name": "tiny", "kind": "container", "path": "/srv/tiny.tar.zst"},
    ],
}
BOTH = {**LAYOUT, "containers": [FILMS, NAS]}
RUN = """
import json, sys
sys.path.insert(0, "/run/code")
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._mount.resource import HostMount
what, dry_run, params = json.load(sys.stdin)
if what == "mount":
    outcome = converge(HostMount(), params, host=Host(), dry_run=dry_run)
    warnings = outcome.plan.warnings
else:
    outcome = converge_layout(params, dry_run=dry_run)
    warnings = outcome.warnings
print(json.dumps({"warnings": warnings, **outcome.result()}, default=str))
"""
# A collection of a user, whose role sets up on the NAS what its guests stand on. Before it ran the servers of the image serve nothing of it.
PASSWORD = "correct-horse"
SMB = """\
[global]
server role = standalone server
disable netbios = yes
smb ports = 445
load printers = no
[music]
path = /export/music
valid users = player
force user = root
read only = no
"""
ROLE = {
    "vars/main.yml": "__share_service: {title: Share}\n",
    "meta/argument_specs.yml": "argument_specs: {main: {options: {share_password: {type: str, required: true}}}}\n",
    "files/ganesha.conf": GANESHA,
    "files/smb.conf": SMB,
    "tasks/main.yml": """\
- name: Make the folders
  ansible.builtin.file:
    path: "/export/{{ item }}"
    state: directory
    mode: "0777"
  loop: [films, music]
- name: Say what is served
  ansible.builtin.copy:
    src: "{{ item | basename }}"
    dest: "{{ item }}"
    mode: "0644"
  loop: [/etc/ganesha/ganesha.conf, /etc/samba/smb.conf]
  register: share_files
- name: Make the account
  ansible.builtin.user:
    name: player
    create_home: false
- name: Give it its password
  ansible.builtin.shell:
    cmd: smbpasswd -s -a player && touch /var/lib/share-password
    stdin: "{{ share_password }}\\n{{ share_password }}"
    creates: /var/lib/share-password
- name: Begin to serve it
  ansible.builtin.service:
    name: "{{ item }}"
    state: "{{ 'restarted' if share_files is changed else 'started' }}"
    enabled: true
  loop: [nfs-ganesha, smbd]
""",
}
MUSIC: dict[str, t.Any] = {
    "path": "/srv/music",
    "type": "cifs",
    "source": "//10.88.0.5/music",
    # The guest is not root of the host, and CIFS tells no owners of its own.
    "options": ["file_mode=0666", "dir_mode=0777"],
    "username": "player",
    "password": PASSWORD,
    "wait_for_guest": "nas",
    "wait_timeout": 600,
}
SITE_SECONDS = 5400
AWAY = "10.88.0.5:/export, which is mounted at /srv/media, does not answer, and /srv/media/films lies there"
# A server that is gone costs some seconds; what else a run and a restart cost, they cost under emulation anyway.
RUN_SECONDS, RESTART_SECONDS = 240, 900


class Machine(OrdinaryHost):
    """The host, with the code of this collection on it."""

    def send(self, data: bytes, command: str) -> str:
        argv = ["ssh", "-i", str(self.key), "-p", str(self.port), *SSH, f"root@{self.address}", command]
        done = subprocess.run(argv, input=data, capture_output=True, timeout=1800, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def bring_code(self) -> None:
        """The modules, and what the role hypervisor writes of units and programs."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path in (COLLECTION / "plugins/module_utils").rglob("*.py"):
                archive.add(path, f"ansible_collections/homelab/hybrid/{path.relative_to(COLLECTION)}")
        self.send(packed.getvalue(), "mkdir -p /run/code && tar xz -C /run/code && cat > /dev/null")
        self.send(RUN.encode(), "cat > /run/code/run.py")

    def set_up(self) -> None:
        for file in files_of_role():
            self.send(file["content"].encode(), f"install -D -m {file['mode']} /dev/stdin {file['path']}")
        # The ids of unprivileged containers.
        self.ask(
            "for file in subuid subgid; do grep -q ^root: /etc/$file || echo root:100000:65536000 >> /etc/$file; done"
        )
        # With libvirt's own 300 s for each there would be no time for an order: all would stop at once.
        self.ask("echo SHUTDOWN_TIMEOUT=120 >> /etc/default/libvirt-guests")
        units = "libvirtd homelab-hybrid-guests homelab-hybrid-guests-stop"
        self.ask(
            f"systemctl daemon-reload; systemctl enable --quiet {units}; systemctl start homelab-hybrid-guests-stop"
        )

    def run(self, what: str, params: t.Mapping[str, t.Any], *, dry_run: bool = False) -> dict[str, t.Any]:
        told = self.send(json.dumps([what, dry_run, params]).encode(), "python3 /run/code/run.py")
        return t.cast("dict[str, t.Any]", json.loads(told))

    def done(self, what: str, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """A run that changes something, and one that finds nothing left to do."""
        result = self.run(what, params)
        assert "msg" not in result and result["changed"], result.get("msg", result)
        again = self.run(what, params)
        assert "msg" not in again and not again["changed"], again
        return result

    def play(
        self, name: str, inventory: t.Mapping[str, t.Any], *argv: str, **variables: t.Any
    ) -> subprocess.CompletedProcess[str]:
        """A playbook as a user runs it, with the roles of his own."""
        for path, text in ROLE.items():
            place = self.folder / "own/ansible_collections/my/nas/roles/share" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        hosts = self.folder / "hosts.json"
        hosts.write_text(json.dumps(inventory))
        extra = ["-e", json.dumps(variables)] if variables else []
        command = [str(COLLECTION / ".build/venv/bin/ansible-playbook"), "-i", str(hosts), *argv, *extra]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": f"{COLLECTION / '.build'}:{self.folder / 'own'}",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_TIMEOUT": "120",
        }
        done = subprocess.run(
            [*command, f"homelab.hybrid.{name}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SITE_SECONDS,
            check=False,
        )
        (self.folder / f"{name}.log").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done

    def inventory(self, mounts: t.Sequence[t.Mapping[str, t.Any]], guests: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        reached = {
            "ansible_host": self.address,
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": " ".join(SSH),
        }
        lists = {f"hypervisor_{key}": value for key, value in LAYOUT.items()}
        hypervisor = {**reached, **lists, "hypervisor_mounts": mounts}
        groups = {"hypervisors": {"hosts": {"hlor": hypervisor}}, "guests": {"hosts": guests}}
        return {"all": {"children": groups}}

    def restart(self) -> float:
        """A reboot by systemd; how many seconds it took until the host answered again."""
        boot = "cat /proc/sys/kernel/random/boot_id"
        before, begin = self.ask(boot), time.monotonic()
        self.ask("systemctl reboot")
        wait_until("another boot", lambda: self.ask(boot) not in ("", before), timeout_seconds=RESTART_SECONDS)
        seconds = time.monotonic() - begin
        # The unit that starts guests has done so when it is active.
        wait_until(
            "the guests to be started",
            lambda: self.ask("systemctl is-active homelab-hybrid-guests") in ("active", "failed"),
            timeout_seconds=RESTART_SECONDS,
        )
        self.bring_code()
        return seconds

    def journal(self, unit: str, boot: int = 0) -> str:
        return self.ask(f"journalctl -b {boot} -t {unit} -o cat")


def files_of_role() -> list[dict[str, str]]:
    """The units and programs of the role hypervisor, as it writes them."""
    role, loader = COLLECTION / "roles/hypervisor", DataLoader()
    known: dict[str, t.Any] = {
        "ansible_search_path": [str(role)],
        "ansible_managed": "Ansible managed",
        "__hypervisor_read": {"is_container": False},
    }
    for folder in ("defaults", "vars"):
        known |= loader.load_from_file(str(role / folder / "main.yml"), trusted_as_template=True)
    init_plugin_loader()
    try:
        templar = Templar(loader=loader, variables=known)
        return t.cast("list[dict[str, str]]", templar.resolve_variable_expression("__hypervisor_unit_files_of_hosts"))
    finally:
        # Ansible's own finder refuses packages that Python's has begun.
        _AnsibleCollectionFinder._remove()


def guest(options: t.Mapping[str, t.Any], **variables: t.Any) -> dict[str, t.Any]:
    return {
        "guest_kind": "container",
        "guest_spec": {key: options[key] for key in options if key != "name"},
        **variables,
    }


def changed(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The hosts of a run of which something changed."""
    recap = re.findall(r"^(\S+) .*\bchanged=(\d+)", done.stdout.partition("PLAY RECAP")[2], re.MULTILINE)
    assert recap
    return {name: int(count) for name, count in recap if int(count)}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Machine]:
    image = ordinary_vm.built([*PACKAGES, "cifs-utils", "nfs-common"])
    server = debian_images.container_root("trixie", ("nfs-ganesha", "nfs-ganesha-vfs", "samba"))
    folder: Path = tmp_path_factory.mktemp("control")
    tiny_root.build(folder / "tiny.tar.zst")
    with Machine.running(folder, lambda place: ordinary_vm.start(image, place)) as its:
        its.ask("mkdir -p /srv/tank/films /srv/ganesha && echo hello > /srv/tank/films/a")
        # LXC lets no container open files by their handles, and the server of this one lives on it.
        its.ask("sed -i /^open_by_handle_at/d /usr/share/lxc/config/common.seccomp")
        # What the host says while it is shut down has to outlive that.
        its.ask("mkdir -p /var/log/journal && systemctl restart systemd-journald")
        its.send(GANESHA.encode(), "cat > /srv/ganesha/ganesha.conf")
        its.send(server.read_bytes(), "cat > /srv/server.tar.zst")
        its.send((folder / "tiny.tar.zst").read_bytes(), "cat > /srv/tiny.tar.zst")
        yield its


@pytest.fixture(scope="module")
def host(bare: Machine) -> Machine:
    bare.bring_code()
    bare.set_up()
    return bare


NAS_OF_ROLE = {**NAS, "mounts": [{"name": "tank", "source": "/srv/tank", "path": "/export"}], "wait_timeout": 900}
TUNES = {
    **FILMS,
    "name": "tunes",
    "networks": [{"name": "lan", "bridge": "lan0", "ip": "10.88.0.7/24"}],
    "mounts": [{"name": "music", "source": "/srv/music", "path": "/music"}],
}
GUESTS = {
    "films": guest(FILMS),
    "nas": guest(NAS_OF_ROLE, guest_services=["my.nas.share"], share_password=PASSWORD),
    "tunes": guest(TUNES),
}


def test_one_run_builds_a_host_whose_nas_is_its_own_guest_with_all_that_stands_on_it(bare: Machine) -> None:
    assert bare.ask("ls /var/lib/lxc; virsh -q net-list --all --name | grep lan0; ls /srv/pool") == ""
    inventory = bare.inventory([MOUNT, MUSIC], GUESTS)
    done = bare.play("site", inventory)
    for path, source in (("/srv/media", "10.88.0.5:/export"), ("/srv/music", "//10.88.0.5/music")):
        assert f"waits for {source} at {path}, which nas serves" in done.stdout
    assert done.stdout.index("waits for //10.88.0.5") < done.stdout.index("TASK [my.nas.share : Begin to serve it]")
    for point, kind in (("media", "nfs4"), ("music", "cifs")):
        assert bare.ask(f"findmnt -n -o FSTYPE /srv/{point}").split() == ["autofs", kind]
    # What the guests write the disks of the NAS have, and the other way round.
    for name, folder, inside in (("films", "films", "/films"), ("tunes", "music", "/music")):
        bare.ask(f"lxc-attach -n {name} -- sh -c 'echo {name} wrote this > {inside}/own'")
        assert bare.ask(f"cat /srv/tank/{folder}/own") == f"{name} wrote this"
        bare.ask(f"echo {name} reads this > /srv/tank/{folder}/other")
        assert bare.ask(f"lxc-attach -n {name} -- cat {inside}/other") == f"{name} reads this"
    assert bare.ask("grep -rl correct-horse /etc/systemd /run/systemd/generator /proc/mounts") == ""
    again = bare.play("site", inventory)
    assert changed(again) == {} and "which nas serves" not in again.stdout


def test_what_is_taken_out_again_leaves_no_unit_and_no_mount(bare: Machine) -> None:
    inventory = bare.inventory([MOUNT, MUSIC], GUESTS)
    bare.play("decommission", inventory, decommission_guests="films,tunes,nas", guest_delete=["rootfs"])
    gone = [{"path": its["path"], "state": "absent"} for its in (MOUNT, MUSIC)]
    without = bare.inventory(gone, {})
    assert set(changed(bare.play("site", without))) == {"hlor"}
    assert changed(bare.play("site", without)) == {}
    assert bare.ask("findmnt -n -o TARGET -t autofs,nfs4,cifs | grep /srv/") == ""
    assert (
        bare.ask("ls /etc/systemd/system | grep -E '^srv-.*mount'; systemctl list-units --all --plain | grep srv-m")
        == ""
    )
    assert (
        bare.ask(
            "ls /var/lib/homelab_hybrid/mounts /var/lib/homelab_hybrid/credentials 2>/dev/null | grep -E 'media|music'"
        )
        == ""
    )
    assert bare.ask("cat /srv/tank/music/own") == "tunes wrote this"


def test_who_stands_on_the_mount_comes_after_its_server_and_reads_and_writes_there(host: Machine) -> None:
    planned = host.run("mount", MOUNT, dry_run=True)
    assert planned["plan"] == [{**change, "done": False} for change in host.done("mount", MOUNT)["plan"]]
    # Nobody has asked for it yet.
    assert host.ask("findmnt -n -o FSTYPE /srv/media") == "autofs"
    host.done("layout", {**LAYOUT, "containers": [NAS]})
    result = host.done("layout", BOTH)
    assert any("takes no mapped owners, and is bound without" in warning for warning in result["warnings"]), result
    assert "nfs4" in host.ask("findmnt -n -o FSTYPE /srv/media")
    assert host.ask("lxc-attach -n films -- cat /films/a") == "hello"
    host.ask("echo more > /srv/media/films/b")
    assert host.ask("cat /srv/tank/films/b") == "more"


def test_what_guests_stand_on_is_not_taken_away(host: Machine) -> None:
    told = host.run("mount", {"path": "/srv/media", "state": "absent"})
    assert told["msg"] == "state: films stands on what is mounted at /srv/media"
    host.ask("echo 'far:/x /srv/far nfs defaults 0 0' >> /etc/fstab")
    told = host.run("mount", {"path": "/srv/far", "type": "nfs", "source": "far:/x"})
    assert told["msg"].startswith("path: /etc/fstab has a line for it already: 'far:/x /srv/far nfs defaults 0 0'")
    host.ask("sed -i /^far/d /etc/fstab")


def test_a_host_that_restarts_starts_the_server_first_and_unmounts_before_it_stops(host: Machine) -> None:
    host.restart()
    started = host.journal("homelab-hybrid-guests")
    assert started.index("container nas: started") < started.index("container films: started"), started
    assert host.ask("lxc-attach -n films -- cat /films/b") == "more"
    stopped = host.journal("homelab-hybrid-guests-stop", -1)
    order = [stopped.index(line) for line in ("container films: ", "/srv/media: unmounted", "container nas: ")]
    assert order == sorted(order) and "let go of" not in stopped, stopped
    assert not host.run("layout", BOTH)["changed"]


def test_a_run_ends_in_time_and_says_that_the_server_is_gone(host: Machine) -> None:
    # The guest runs, and nobody serves.
    host.ask("lxc-attach -n nas -- systemctl mask --now nfs-ganesha")
    for dry_run in (True, False):
        begin = time.monotonic()
        told = host.run("layout", BOTH, dry_run=dry_run)
        assert time.monotonic() - begin < RUN_SECONDS
        assert "msg" not in told and not told["changed"], told
        assert f"{AWAY}. The guest nas, which serves it, runs: see whether its server does" in told["warnings"], told
    # What would have to be changed waits as long as it was told to, and fails alone.
    host.done("mount", {"path": "/srv/media", "wait_timeout": 5})
    begin = time.monotonic()
    told = host.run("layout", {**LAYOUT, "containers": [{**FILMS, "memory": "64MiB"}, NAS]})
    assert time.monotonic() - begin < RUN_SECONDS
    assert told["msg"].startswith(f"1 of 6 failed: container films: {AWAY}"), told


def test_a_host_whose_server_is_gone_is_shut_down_in_time_and_starts_without(host: Machine) -> None:
    assert host.restart() < RESTART_SECONDS
    stopped = host.journal("homelab-hybrid-guests-stop", -1)
    assert "/srv/media: unmounted" in stopped, stopped
    started = host.journal("homelab-hybrid-guests")
    assert "container nas: started" in started, started
    assert "container films: is not started: 10.88.0.5:/export at /srv/media did not answer within 5 s" in started
    host.ask("lxc-attach -n nas -- systemctl unmask nfs-ganesha; lxc-attach -n nas -- systemctl start nfs-ganesha")
    wait_until("the mount to answer", lambda: host.ask("cat /srv/media/films/b") == "more", timeout_seconds=300)
    assert not host.run("layout", BOTH).get("msg")
    assert host.ask("lxc-attach -n films -- cat /films/b") == "more"
