# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose one network card is all that the control node reaches it by: a Debian 13 container with systemd and sshd, on a wire to here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import debian_images
from ansible_collections.homelab.hybrid.tests.harness.machines import command

NAME = "hlwr"
FOLDER = Path("/var/lib/lxc") / NAME
ROOT = FOLDER / "rootfs"
COLLECTION = Path(__file__).resolve().parents[2]
# The wire is a bridge here, with the address of the control node, which is the gateway of the host too.
WIRE, CARD = f"{NAME}-wire", "card0"
CONTROL, ADDRESS, MAC = "10.219.0.254", "10.219.0.10", "52:54:00:21:90:10"
# What a machine behind the bridge has.
GUEST = "10.219.0.77"
# What a router of IPv6 on the wire announces.
ANNOUNCED = "fd00:219:1::"
LEASES = ("10.219.0.100", "10.219.0.200")
SERVER = Path(f"/run/{NAME}-dhcp.pid")
CONFIG = f"""\
lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:{FOLDER}/rootfs
lxc.uts.name = {NAME}
lxc.net.0.type = veth
lxc.net.0.link = {WIRE}
lxc.net.0.name = {CARD}
lxc.net.0.hwaddr = {MAC}
lxc.net.0.flags = up
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.apparmor.profile = unconfined
lxc.cap.drop = sys_rawio
lxc.init.cmd = /sbin/init systemd.unified_cgroup_hierarchy=1
"""
BRIDGE_OF_NETWORKD = {
    "10-vmbr0.netdev": f"[NetDev]\nName=vmbr0\nKind=bridge\nMACAddress={MAC}\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n",
    "10-vmbr0.network": f"[Match]\nName=vmbr0\n\n[Network]\nAddress={ADDRESS}/24\nGateway={CONTROL}\n",
    "20-card.network": f"[Match]\nName={CARD}\n\n[Network]\nBridge=vmbr0\n",
}
BRIDGE_OF_IFUPDOWN = {
    "interfaces": "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n",
    "interfaces.d/lan": f"auto vmbr0\niface vmbr0 inet static\n    address {ADDRESS}/24\n    gateway {CONTROL}\n    hwaddress {MAC}\n"
    f"    bridge_ports {CARD}\n    bridge_stp off\n    bridge_fd 0\n",
}


class Kind(t.NamedTuple):
    """Who keeps the network of the host: its packages, the unit that starts it, where its files are, those of a bridge over the card, and
    the programs that read them anew, and renew the lease of vmbr0."""

    name: str
    packages: tuple[str, ...]
    unit: str
    folder: str
    bridge: t.Mapping[str, str]
    reload: tuple[str, ...]
    renew: tuple[str, ...]


NETWORKD = Kind(
    "networkd",
    (),
    "systemd-networkd",
    "etc/systemd/network",
    BRIDGE_OF_NETWORKD,
    ("networkctl", "reload"),
    ("networkctl", "renew", "vmbr0"),
)
# What Debian 13 installs along with ifupdown asks for leases.
IFUPDOWN = Kind(
    "ifupdown",
    ("bridge-utils", "dhcpcd-base", "ifupdown"),
    "networking",
    "etc/network",
    BRIDGE_OF_IFUPDOWN,
    ("sh", "-c", "ifdown vmbr0; ifup vmbr0"),
    ("ifup", "--force", "--no-scripts", "vmbr0"),
)
# The client that Debian installed with it before.
WITH_DHCLIENT = IFUPDOWN._replace(name="dhclient", packages=("bridge-utils", "ifupdown", "isc-dhcp-client"))
# It puts another program in the place of ifupdown's, and reads the same files.
SECOND = IFUPDOWN._replace(
    name="ifupdown2",
    packages=("bridge-utils", "ifupdown2"),
    bridge={
        **BRIDGE_OF_IFUPDOWN,
        "interfaces.d/lan": f"auto vmbr0\niface vmbr0 inet static\n    address {ADDRESS}/24\n    gateway {CONTROL}\n    hwaddress {MAC}\n"
        f"    bridge-ports {CARD}\n    bridge-stp off\n    bridge-fd 0\n",
    },
)
KINDS = (NETWORKD, IFUPDOWN)


class WiredHost:
    """The host, and the control node's way of it: an inventory, and tasks that run over ssh. *folder* is of the control node."""

    def __init__(self, folder: Path, kind: Kind = NETWORKD) -> None:
        self.folder = folder
        self.kind = kind
        self.key = folder / "key"
        self.results = folder / "results"
        self.address = ADDRESS
        self.port = 22

    def build(self, files: t.Mapping[str, str], *, dhcp: bool = False) -> None:
        """Unpack it with these files of who keeps its network, and start it. *dhcp*: a server on the wire gives addresses."""
        remove()
        command("ip", "link", "add", "name", WIRE, "type", "bridge", "forward_delay", "0")
        command("ip", "address", "add", f"{CONTROL}/24", "dev", WIRE)
        command("ip", "link", "set", WIRE, "up")
        if dhcp:
            self.start_dhcp()
        ROOT.mkdir(parents=True)
        archive = debian_images.container_root("trixie", self.kind.packages)
        command("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", str(archive), "-C", str(ROOT))
        (FOLDER / "config").write_text(CONFIG)
        self._use_kind(files)
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        (ROOT / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        (ROOT / "root/.ssh/authorized_keys").write_text(Path(f"{self.key}.pub").read_text())
        command("lxc-start", "-n", NAME)
        self.wait_until_up()

    def _use_kind(self, files: t.Mapping[str, str]) -> None:
        units = ROOT / "etc/systemd/system"
        for unit in ("systemd-networkd", "networking"):
            for folder in units.glob("*.wants"):
                (folder / f"{unit}.service").unlink(missing_ok=True)
        (ROOT / "etc/network/interfaces").unlink(missing_ok=True)
        wants = units / "multi-user.target.wants" / f"{self.kind.unit}.service"
        wants.symlink_to(f"/usr/lib/systemd/system/{self.kind.unit}.service")
        for name, text in files.items():
            path = ROOT / self.kind.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def start_dhcp(self) -> None:
        self._serve(f"--dhcp-range={LEASES[0]},{LEASES[1]},10m", "--no-ping", f"--dhcp-option=3,{CONTROL}")

    def start_router(self) -> None:
        """Of IPv6: from now on the control node announces a network on the wire, and itself."""
        command("ip", "address", "add", f"{ANNOUNCED}1/64", "dev", WIRE, "nodad")
        self._serve(f"--dhcp-range={ANNOUNCED},ra-only", "--enable-ra", f"--ra-param={WIRE},4,600")

    def _serve(self, *words: str) -> None:
        place = (f"--interface={WIRE}", "--bind-interfaces", f"--dhcp-leasefile={self.folder}/leases")
        # It goes with the wire: remove() ends it by the file that it writes.
        command("dnsmasq", "--conf-file=/dev/null", "--port=0", "--user=root", f"--pid-file={SERVER}", *place, *words)

    def lease(self) -> str:
        """The address and the identifier of the one client that the server knows."""
        (line,) = (self.folder / "leases").read_text().splitlines()
        dummy, mac, address, dummy, identifier = line.split()
        assert mac == MAC
        return f"{address} {identifier}"

    def wait_until_up(self) -> None:
        states = ("running", "degraded")
        wait_until(
            "the host to start",
            lambda: inside("systemctl", "is-system-running", check=False) in states,
            timeout_seconds=180,
        )
        wait_until("an address", lambda: network()["routes"], timeout_seconds=60)
        self.address = next(its[3][0] for its in network()["links"].values() if its[3]).partition("/")[0]
        wait_until("sshd to answer", self.is_reached, timeout_seconds=60)

    def is_reached(self, address: str | None = None) -> bool:
        """Whether ssh comes in over the wire."""
        options = [
            "-i",
            str(self.key),
            "-p",
            str(self.port),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=3",
            # One that was cut off while it came in would wait for ever.
            "-o",
            "ServerAliveInterval=2",
        ]
        return (
            subprocess.run(
                ["ssh", *options, f"root@{address or self.address}", "true"], capture_output=True, check=False
            ).returncode
            == 0
        )

    def start_task(self, options: t.Mapping[str, t.Any], *words: str, module: str = "bridge") -> subprocess.Popen[str]:
        """Begin a task of *module* on it, whose result comes into a file."""
        play = [
            {
                "hosts": "all",
                "gather_facts": False,
                "tasks": [{"name": "Change the network", f"homelab.hybrid.{module}": dict(options)}],
            }
        ]
        (self.folder / "play.yml").write_text(yaml.safe_dump(play))
        inventory = {
            "ansible_host": self.address,
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        }
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {NAME: inventory}}}))
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACK_PLUGINS": str(COLLECTION / "tests/harness/callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "result_lines",
            "RESULT_LINES": str(self.results),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / ".build"),
        }
        argv = [
            str(COLLECTION / ".build/venv/bin/ansible-playbook"),
            "-i",
            str(self.folder / "hosts.yml"),
            str(self.folder / "play.yml"),
            *words,
        ]
        self.results.unlink(missing_ok=True)
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def task(self, options: t.Mapping[str, t.Any], *words: str, module: str = "bridge") -> dict[str, t.Any]:
        """The result of such a task."""
        running = self.start_task(options, *words, module=module)
        out, errors = running.communicate()
        assert self.results.exists(), f"{out}{errors}"
        told = json.loads(self.results.read_text())
        # ansible-core says itself how a task ended, and a result may say nothing of it.
        return {**told["result"], "failed": told["how"] != "ok"}

    def state(self) -> dict[str, t.Any]:
        """What the host keeps of its last switch; {} without one."""
        path = ROOT / "var/lib/homelab_hybrid/switch/state.json"
        return t.cast("dict[str, t.Any]", json.loads(path.read_text())) if path.exists() else {}

    def wait_for(self, *words: str) -> dict[str, t.Any]:
        """The state of the switch as soon as it is one of *words*."""

        def ask() -> dict[str, t.Any] | None:
            state = self.state()
            return state if state.get("state") in words else None

        return wait_until(f"a switch that is {' or '.join(words)}", ask, timeout_seconds=180)


@contextlib.contextmanager
def bridged_host(folder: Path, kind: Kind) -> t.Iterator[WiredHost]:
    """A host of *kind* whose card is the port of a bridge, as long as it is needed."""
    host = WiredHost(folder, kind)
    try:
        host.build(kind.bridge)
        yield host
    finally:
        remove()


def inside(*argv: str, check: bool = True) -> str:
    """What a program in the host prints; this way in needs no network."""
    attach = ["lxc-attach", "-n", NAME, "--clear-env", "-v", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    done = subprocess.run([*attach, "--", *argv], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def network() -> dict[str, t.Any]:
    """What the host has of its network: links, addresses, routes, and the files that define them."""
    links = {
        link["ifname"]: (
            link.get("master"),
            link["mtu"],
            link["address"],
            sorted(f"{it['local']}/{it['prefixlen']}" for it in link["addr_info"] if it["scope"] == "global"),
        )
        for link in json.loads(inside("ip", "-j", "address", "show"))
    }
    folders = [ROOT / kind.folder for kind in KINDS]
    files = {
        str(path.relative_to(folder)): path.read_text().strip()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "/if-" not in str(path)
    }
    notes = inside("sh", "-c", "sort /run/network/ifstate 2> /dev/null", check=False).splitlines()
    routes = inside("ip", "route", "show", "default")
    # The programs that ifup starts, and which of the two links they lease for.
    found = [line.split() for line in inside("ps", "-eo", "args").splitlines()]
    running = [words for words in found if words and words[0].rpartition("/")[2].rstrip(":") in ("dhcpcd", "dhclient")]
    clients = sorted({word for words in running for word in words if word in (CARD, "vmbr0")})
    return {"links": links, "routes": routes, "files": files, "notes": notes, "clients": clients}


def plug_in_guest() -> str:
    """A machine behind the bridge, as far as the network can tell; its address. It is there once."""
    if "guest" not in inside("ip", "netns", "list"):
        inside("ip", "netns", "add", "guest")
        inside("ip", "link", "add", "tap0", "type", "veth", "peer", "name", "inner", "netns", "guest")
        inside("ip", "-n", "guest", "address", "add", f"{GUEST}/24", "dev", "inner")
        inside("ip", "-n", "guest", "link", "set", "inner", "up")
        inside("ip", "link", "set", "tap0", "master", "vmbr0", "up")
    return GUEST


def leftovers() -> list[str]:
    """What a switch that is over would leave: units, and what it saved."""
    # A unit whose file went while the host started is known to systemd until it reads its files again.
    inside("systemctl", "daemon-reload")
    units = inside("systemctl", "list-units", "--all", "--plain", "--no-legend", "homelab-hybrid-switch*", check=False)
    places = [
        *(ROOT / "etc/systemd/system").rglob("homelab-hybrid-*"),
        *(ROOT / "var/lib/homelab_hybrid/switch").glob("*"),
    ]
    kept = ("state.json", "lock", "homelab-hybrid-switch")
    return [*units.splitlines(), *(str(path) for path in places if path.name not in kept)]


def remove() -> None:
    """Take the host and its wire away."""
    if FOLDER.exists():
        command("lxc-stop", "-n", NAME, "-k", check=False)
        shutil.rmtree(FOLDER)
    if SERVER.exists():
        process = SERVER.read_text().strip()
        command("kill", process, check=False)
        wait_until("the DHCP server to end", lambda: not Path(f"/proc/{process}").exists(), timeout_seconds=20)
        SERVER.unlink(missing_ok=True)
    command("ip", "link", "delete", WIRE, check=False)
