# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab behind a firewall of its own sees of the world: a network namespace at the outer bridge of its host.

It gives the firewall one address by DHCP, answers names and pages, and leads on to where this machine leads. The firewall of the tests translates no
addresses: whoever asks from the lab is seen here with an address of the lab, and the way back leads through the firewall as well.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness.service_guest import run

NAME = "hlla-outside"
ADDRESS, FIREWALL, DOMAIN = "10.93.68.1", "10.93.68.2", "outside.test"
_HERE, _THERE = "10.93.69.1", "10.93.69.2"
_TO_BRIDGE, _TO_WORLD = "hllaout0", "hllaout1"
_TABLE = "hlla_outside"


class Outside:
    """The namespace while it is there. *folder* is served by its web server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said = folder.with_name("asked")

    def askers(self, page: str) -> set[str]:
        """Who asked for *page*, by their addresses."""
        lines = self._said.read_text(encoding="utf-8").splitlines()
        return {line.split()[0] for line in lines if f'"GET /{page} ' in line}

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        with self._said.open("ab") as said:
            return subprocess.Popen(("ip", "netns", "exec", NAME, *argv), stdout=said, stderr=said)


@contextlib.contextmanager
def outside(bridge: str, lab: str) -> t.Iterator[Outside]:
    """The namespace at *bridge*, which reaches the network *lab* through the firewall alone."""
    remove()
    started: list[subprocess.Popen[bytes]] = []
    try:
        _connect(bridge, lab)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "pages"
            folder.mkdir()
            (folder / "index.html").write_text("the world\n", encoding="utf-8")
            its = Outside(folder)
            started.append(its.start(*_resolver(Path(name))))
            started.append(its.start("python3", "-u", "-m", "http.server", "80", "--directory", str(folder)))
            yield its
    finally:
        for process in started:
            process.terminate()
            process.wait()
        remove()


def _connect(bridge: str, lab: str) -> None:
    (way,) = json.loads(run("ip", "-j", "route", "show", "default"))
    run("ip", "netns", "add", NAME)
    for link, inner in ((_TO_BRIDGE, "eth0"), (_TO_WORLD, "eth1")):
        run("ip", "link", "add", link, "type", "veth", "peer", "name", inner, "netns", NAME)
        run("ip", "link", "set", link, "up")
        run("ip", "-n", NAME, "link", "set", inner, "up")
    run("ip", "link", "set", _TO_BRIDGE, "master", bridge)
    run("ip", "addr", "add", f"{_HERE}/30", "dev", _TO_WORLD)
    run("ip", "-n", NAME, "link", "set", "lo", "up")
    run("ip", "-n", NAME, "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
    run("ip", "-n", NAME, "addr", "add", f"{_THERE}/30", "dev", "eth1")
    run("ip", "-n", NAME, "route", "add", "default", "via", _HERE)
    run("ip", "-n", NAME, "route", "add", lab, "via", FIREWALL)
    run("ip", "netns", "exec", NAME, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    # Not for the lab here at once: the kernel of this machine has seen its packets pass the outer bridge (br_netfilter), and translates no address
    # of a connection that it knows.
    _translate("oifname eth1", "ip", "netns", "exec", NAME)
    _translate(f"oifname {way['dev']} ip saddr {_THERE}")


def _translate(what: str, *where: str) -> None:
    rule = f"{what} masquerade"
    run(*where, "nft", f"table ip {_TABLE} {{ chain out {{ type nat hook postrouting priority srcnat; {rule}; }}; }}")


def _resolver(folder: Path) -> list[str]:
    told = Path("/etc/resolv.conf").read_text(encoding="utf-8").split("\n")
    servers = [f"--server={line.split()[1]}" for line in told if line.startswith("nameserver ")]
    return [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root", "--pid-file",
        "--interface=eth0", "--bind-interfaces", f"--host-record={DOMAIN},{ADDRESS}", f"--dhcp-leasefile={folder / 'leases'}",
        f"--dhcp-range={FIREWALL},{FIREWALL},1h", f"--dhcp-option=option:router,{ADDRESS}", *servers,
    ]  # fmt: skip


def remove() -> None:
    run("ip", "netns", "del", NAME, check=False)
    run("nft", "delete", "table", "ip", _TABLE, check=False)
    for link in (_TO_BRIDGE, _TO_WORLD):
        run("ip", "link", "del", link, check=False)
