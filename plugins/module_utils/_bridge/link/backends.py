# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Who configures the network of this host: what its files say, which of systemd-networkd and ifupdown is in use, and
whether another tool owns a link."""

from __future__ import annotations

import functools
import glob
import os
import posixpath
import re
import shutil
import typing as t

from ..._core import atomic, command
from ..._core.command import CommandError
from ..._core.errors import ObserveError
from ..._host.links import Link
from . import ifupdown as ifupdown_files
from . import networkd as networkd_files
from .ifupdown import Ifupdown
from .interfaces_file import InterfacesFile
from .networkd import Networkd
from .state import Backend

_UNITS = "/etc/systemd/system"
_NETPLAN = ("/etc/netplan", "/run/netplan", "/lib/netplan")
_NETWORK_MANAGER = ("/etc/NetworkManager/system-connections", "/run/NetworkManager/system-connections")
_BRIDGE_SCRIPT = "/lib/bridge-utils/ifupdown.sh"
_IFUPDOWN2 = "/usr/share/ifupdown2"
_PATH = "/sbin:/usr/sbin:/bin:/usr/bin"
IFSTATE = "/run/network/ifstate"
# NET_ADDR_SET of the kernel: somebody chose the MAC address.
_SET = "3"


def read_backends(links: t.Mapping[str, Link]) -> tuple[Networkd, Ifupdown]:
    """Both backends, each with its files as they are now.

    :raises ObserveError: for files of ifupdown that source each other without end.
    """
    known = {name: _known(name, link) for name, link in links.items()}
    told = {name: path for name, link in links.items() if (path := _file_of(link))}
    return Networkd(_networkd_files(), known, told, _holds), Ifupdown(
        _ifupdown_files(), tuple(links), is_second=is_ifupdown2()
    )


def _known(name: str, link: Link) -> dict[str, str]:
    """What networkd can ask of a link, without what the kernel tells to nobody."""
    kind, mac = link.get("linkinfo", {}).get("info_kind", ""), link.get("address", "")
    if kind == "bridge" and (atomic.read_text(f"/sys/class/net/{name}/addr_assign_type") or "").strip() != _SET:
        # It follows the ports. When systemd-networkd chose the file of the bridge, that was another one, drawn by chance.
        mac = ""
    device = re.search(r"^DEVTYPE=(.*)$", atomic.read_text(f"/sys/class/net/{name}/uevent") or "", re.MULTILINE)
    # Where udev cannot write (a container) systemd-networkd does not ask it.
    type_of_device = device[1] if device and not os.statvfs("/sys").f_flag & os.ST_RDONLY else ""
    known = {
        "mac": mac,
        "permanent_mac": link.get("permaddr", "" if kind else mac),
        "type": type_of_device or link.get("link_type", ""),
        "kind": kind,
        "altnames": " ".join(link.get("altnames", ())),
        "driver": os.path.basename(os.path.realpath(f"/sys/class/net/{name}/device/driver")),
    }
    if known["driver"] == "driver":
        # A link without a device of its own; what ethtool says of it is known of these alone.
        del known["driver"]
        known |= {"driver": kind} if kind in ("bridge", "veth", "tun", "dummy") else {}
    return known


@functools.cache
def _holds(condition: str) -> bool | None:
    """What systemd itself says of a condition such as ``Host=nas``. It does not change while this process runs."""
    try:
        command.run(["systemd-analyze", "condition", f"Condition{condition}"], timeout=20)
    except CommandError as exc:
        return False if exc.rc == 1 else None
    return True


def _file_of(link: Link) -> str | None:
    """The .network file that networkd itself has for a link."""
    told = atomic.read_text(f"/run/systemd/netif/links/{link.get('ifindex')}") or ""
    found = re.search(r"^NETWORK_FILE=(.*)$", told, re.MULTILINE)
    return found[1] if found else None


def read_iaid(link: Link) -> int | None:
    """The number by which a DHCP server knows *link* beside the host itself: a link of another name would have another (RFC 4361)."""
    told = atomic.read_text(f"/run/systemd/netif/leases/{link.get('ifindex')}") or ""
    found = re.search(r"^CLIENTID=ff([0-9a-f]{8})", told, re.MULTILINE)
    return int(found[1], 16) if found else None


def is_ifupdown2() -> bool:
    return os.path.isdir(_IFUPDOWN2)


def read_client(port: str, bridge: str, mac: str) -> str:
    """What dhcpcd has to be told to call itself on *bridge* as it does on *port*, "" where it does so by itself."""
    if any(shutil.which(program, path=_PATH) for program in ("dhclient", "udhcpc")) or not shutil.which(
        "dhcpcd", path=_PATH
    ):
        return ""  # ifup takes these first
    config = atomic.read_text("/etc/dhcpcd.conf") or ""
    return client_of(port, bridge, mac, config, (atomic.read_text("/var/lib/dhcpcd/duid") or "").strip())


def client_of(port: str, bridge: str, mac: str, config: str, duid: str) -> str:
    """The same of the text of dhcpcd.conf and the identifier *duid* of the host: dhcpcd (10.1) numbers a link by its name where that has
    four letters at most, and by the end of its MAC address otherwise."""
    numbers = [(name.encode().ljust(4, b"\0").hex(":") if len(name) <= 4 else mac[-11:]) for name in (port, bridge)]
    words = {line.split()[0] for line in config.splitlines() if line.split()}
    if numbers[0] == numbers[1] or not duid or "duid" not in words or "clientid" in words:
        return ""
    return f"ff:{numbers[0]}:{duid}"


def _networkd_files() -> dict[str, str]:
    files: dict[str, str] = {}
    for folder in networkd_files.FOLDERS:
        for suffix in ("*.netdev", "*.network", "*.netdev.d/*.conf", "*.network.d/*.conf"):
            for path in sorted(glob.glob(f"{folder}/{suffix}")):
                text = atomic.read_text(path)
                if text is not None:
                    files[path] = text
    return files


def _ifupdown_files() -> dict[str, str]:
    files: dict[str, str] = {}
    waiting = [ifupdown_files.MAIN]
    while waiting:
        path = waiting.pop(0)
        text = None if path in files else atomic.read_text(path)
        if text is None:
            continue
        files[path] = text
        if len(files) > 1000:
            raise ObserveError(f"{ifupdown_files.MAIN} sources more than 1000 files")
        for stanza in InterfacesFile(text).stanzas:
            for word in stanza.words[1:] if stanza.kind in ("source", "source-directory") else ():
                pattern = ifupdown_files.sourced(path, word)
                if stanza.kind == "source":
                    waiting += [found for found in sorted(glob.glob(pattern)) if os.path.isfile(found)]
                elif os.path.isdir(pattern):
                    names = sorted(filter(ifupdown_files.DIRECTORY_NAMES.fullmatch, os.listdir(pattern)))
                    waiting += [posixpath.join(pattern, name) for name in names]
    return files


def choose(bridge: str, ports: t.Collection[str], networkd: Networkd, ifupdown: Ifupdown) -> tuple[Backend | None, str]:
    """The backend for a bridge, or ``None`` and why there is none.

    It is the one that defines the bridge or one of its ports, else the one that is in use.
    """
    for backend in (networkd, ifupdown):
        if backend.read(bridge) is not None:
            return backend, ""
    has_ifupdown = shutil.which("ifup", path=_PATH) is not None
    ifaces = {
        stanza.words[1]
        for model in ifupdown.models.values()
        for stanza in model.stanzas
        if stanza.kind == "iface" and len(stanza.words) > 1
    } - {"lo"}
    is_enabled = is_networkd_enabled()
    if has_ifupdown and (ifaces & set(ports) or (ifaces and not _claims(networkd, ports)) or not is_enabled):
        if os.path.exists(_BRIDGE_SCRIPT) or is_ifupdown2():
            return ifupdown, ""
        return (
            None,
            "mode: ifupdown makes bridges with bridge-utils, and that is missing. The role homelab.hybrid.hypervisor installs it",
        )
    if is_enabled:
        return networkd, ""
    found = find_other_manager()
    return None, (
        f"mode: a bridge with ports is kept by systemd-networkd or ifupdown, and this host uses {found or 'neither'}. "
        f"Enable systemd-networkd, or install ifupdown and bridge-utils"
    )


def _claims(networkd: Networkd, ports: t.Collection[str]) -> bool:
    effective = [networkd.effective(port) for port in ports]
    return any(path is not None and path.startswith(networkd_files.OURS) for path in effective)


def find_other_manager() -> str | None:
    if os.path.isdir("/run/NetworkManager"):
        return "NetworkManager"
    return "netplan" if any(glob.glob(f"{folder}/*.yaml") for folder in _NETPLAN) else None


def find_owner(link: str, index: int | None, networkd: Networkd) -> str | None:
    """Which other tool owns *link*, as the place where it says so."""
    for folder in _NETPLAN:
        for path in sorted(glob.glob(f"{folder}/*.yaml")):
            if re.search(
                rf"(?:^\s+|[{{,]\s*)[\"']?{re.escape(link)}[\"']?\s*:", atomic.read_text(path) or "", re.MULTILINE
            ):
                return f"netplan ({path})"
    effective = networkd.effective(link) or ""
    if posixpath.basename(effective).startswith("10-netplan-"):
        return f"netplan ({effective})"
    for folder in _NETWORK_MANAGER:
        for path in sorted(glob.glob(f"{folder}/*")):
            if re.search(rf"^interface-name={re.escape(link)}$", atomic.read_text(path) or "", re.MULTILINE):
                return f"NetworkManager ({path})"
    device = f"/run/NetworkManager/devices/{index}"
    if index is not None and "connection-uuid=" in (atomic.read_text(device) or ""):
        return f"NetworkManager ({device})"
    return None


def is_networkd_enabled() -> bool:
    """Whether it starts with the host."""
    return bool(glob.glob(f"{_UNITS}/*.wants/systemd-networkd.service")) or os.path.exists(
        f"{_UNITS}/dbus-org.freedesktop.network1.service"
    )


def is_networkd_running() -> bool:
    if not os.path.isdir("/run/systemd/system"):
        return False
    try:
        command.run(["systemctl", "is-active", "--quiet", "systemd-networkd.service"], timeout=20)
    except CommandError:
        return False
    return True


def can_switch(backend: Backend) -> bool:
    """Whether a change of what *backend* keeps can be taken back by a clock, which systemd has."""
    return is_networkd_running() if isinstance(backend, Networkd) else os.path.isdir("/run/systemd/system")


def can_lease(backend: Backend) -> bool:
    """Whether the backend can ask a DHCP server now: this collection has no client of its own."""
    return is_networkd_running() if isinstance(backend, Networkd) else os.path.isdir(os.path.dirname(IFSTATE))
