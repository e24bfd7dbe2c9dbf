# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who configures the network of a host, in a network of a test's own: systemd-networkd or ifupdown, with their real files and programs."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.harness.machines import command
from ansible_collections.homelab.hybrid.tests.harness.own_network import own_network

PACKAGES = ("ifupdown", "bridge-utils")
INTERFACES = Path("/etc/network/interfaces")
NETWORKD = Path("/etc/systemd/network")
NETWORKD_PROGRAM = "/usr/lib/systemd/systemd-networkd"
HOSTS_INTERFACES = """# The loopback network interface
auto lo
iface lo inet loopback

source /etc/network/interfaces.d/*

# kept to the letter
iface spare inet manual
"""


@contextlib.contextmanager
def network_of_a_host() -> t.Iterator[None]:
    """A network in which nobody else configures links."""
    for package in PACKAGES:
        unpack(package)
    with own_network():
        shutil.rmtree("/etc/netplan", ignore_errors=True)
        shutil.rmtree("/etc/NetworkManager", ignore_errors=True)
        yield


def remove_links(prefix: str, *namespaces: str) -> None:
    """Take away the links of a test, which have its *prefix*, and the *namespaces* at their other ends."""
    for name in links():
        if name.startswith(prefix):
            command("ip", "link", "delete", name, check=False)
    for name in namespaces:
        command("ip", "netns", "delete", name, check=False)


def unpack(package: str) -> Path:
    """Debian's package as a folder in the build cache; it is not installed."""

    def download(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
            subprocess.run(["apt-get", "-qq", "download", package], cwd=place, check=True, stderr=subprocess.DEVNULL)
            (archive,) = Path(place).glob("*.deb")
            command("dpkg-deb", "-x", str(archive), str(folder))

    return built_once(CACHE / f"unpacked-{package}", download)


def use_networkd() -> None:
    wants = Path("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service")
    wants.parent.mkdir(exist_ok=True)
    if not wants.is_symlink():
        wants.symlink_to("/usr/lib/systemd/system/systemd-networkd.service")
    shutil.rmtree(INTERFACES.parent, ignore_errors=True)
    Path("/usr/sbin/ifup").unlink(missing_ok=True)


def use_ifupdown() -> None:
    """Debian's packages, unpacked over this network's own /usr and /etc alone."""
    Path("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service").unlink(missing_ok=True)
    for package in PACKAGES:
        unpacked = unpack(package)
        for source, target in (("sbin", "/usr/sbin"), ("lib", "/usr/lib"), ("etc", "/etc")):
            if (unpacked / source).is_dir():
                command("cp", "-a", f"{unpacked / source}/.", target)
    INTERFACES.write_text(HOSTS_INTERFACES)
    (INTERFACES.parent / "interfaces.d").mkdir(exist_ok=True)


def links() -> dict[str, dict[str, t.Any]]:
    return {link["ifname"]: link for link in json.loads(command("ip", "-j", "-d", "addr"))}


def gateways() -> set[tuple[str, str]]:
    routes = [
        it for family in ("-4", "-6") for it in json.loads(command("ip", "-j", family, "route", "show", "default"))
    ]
    return {(it["dev"], it["gateway"]) for it in routes}


def files() -> dict[str, str]:
    folders = (NETWORKD, INTERFACES.parent)
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): path.read_text() for path in found if "/if-" not in str(path)}


def boot_networkd(is_done: t.Callable[[], bool] = lambda: True) -> dict[str, str]:
    """What systemd-networkd makes of its files, from its start until it has done with every link, and *is_done*; then it ends.

    Returns the .network file that it has for each link.
    """
    # Without udev it takes links as they are; that is how it knows that there is none.
    command("mount", "-o", "remount,bind,ro", "/sys")
    with subprocess.Popen([NETWORKD_PROGRAM], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        try:
            wait_until(
                "systemd-networkd to have done with all links",
                lambda: _is_settled() and is_done(),
                timeout_seconds=20,
                every_seconds=0.02,
            )
            return _files_of_links()
        finally:
            program.terminate()


def _notes() -> dict[str, str]:
    """What systemd-networkd notes of each link."""
    found = {}
    for name, link in links().items():
        path = Path(f"/run/systemd/netif/links/{link['ifindex']}")
        found[name] = path.read_text() if path.exists() else ""
    return found


def _is_settled() -> bool:
    states = [re.search(r"^ADMIN_STATE=(.*)$", note, re.MULTILINE) for note in _notes().values()]
    return all(state is not None and state[1] in ("configured", "unmanaged", "failed") for state in states)


def _files_of_links() -> dict[str, str]:
    found = {name: re.search(r"^NETWORK_FILE=(.*)$", note, re.MULTILINE) for name, note in _notes().items()}
    return {name: match[1] for name, match in found.items() if match is not None}


def kernel(*names: str) -> dict[str, t.Any]:
    """What the kernel has of those links that are there, and all routes, by thing and link."""
    found: dict[str, t.Any] = {}
    for name, link in links().items():
        if name not in names:
            continue
        found[f"master {name}"] = link.get("master")
        found[f"mtu {name}"] = link["mtu"]
        found[f"mac {name}"] = link["address"]
        found[f"up {name}"] = "UP" in link["flags"]
        found[f"addresses {name}"] = sorted(
            f"{it['local']}/{it['prefixlen']}" for it in link["addr_info"] if it["scope"] == "global"
        )
        told = link.get("linkinfo", {}).get("info_data", {})
        if "stp_state" in told:
            found[f"stp {name}"] = told["stp_state"]
    found["routes"] = sorted(
        (route["dst"], route.get("gateway", ""), route["dev"])
        for family in ("-4", "-6")
        for route in json.loads(command("ip", "-j", family, "route", "show"))
        if route["dst"] not in ("fe80::/64", "multicast")
    )
    return found


def differing(before: dict[str, t.Any], after: dict[str, t.Any]) -> set[str]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}
