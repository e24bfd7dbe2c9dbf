# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges as people write them for systemd-networkd: drawn from what systemd.network(5) and systemd.netdev(5) document, with files in
all folders, masked, with drop-ins, patterns, conditions and more than one section.

What is right is asked of systemd-networkd itself, which makes the bridge from the files at the begin and once more at the end. Of each:
its name alone changes nothing, to the byte; one change touches one thing; the check says what the run then says; the second run
changes nothing; and from the files that then stand, systemd-networkd makes what the kernel had.
"""

from __future__ import annotations

import os
import random
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import backends
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.links import read_links
from ansible_collections.homelab.hybrid.tests.harness.cases import check_and_run, unchanged
from ansible_collections.homelab.hybrid.tests.harness.host_networks import (
    boot_networkd,
    differing,
    kernel,
    links,
    network_of_a_host,
    remove_links,
    use_networkd,
)
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED
from ansible_collections.homelab.hybrid.tests.harness.machines import command

# So many in `make test`; more by hand.
COUNT = int(os.environ.get("BRIDGE_CORPUS", "16"))
PREFIX = "hlbd"
NAME, ONE, TWO, FREE, OTHER = (f"{PREFIX}{word}" for word in ("0", "p1", "p2", "p3", "x"))
PORTS = (ONE, TWO, FREE, OTHER)
MACS = {ONE: "52:54:00:22:00:01", TWO: "52:54:00:22:00:02", FREE: "52:54:00:22:00:03", OTHER: "52:54:00:22:00:04"}
PEERS = f"{PREFIX}-peers"
BRIDGE = Bridge()
ETC, RUN, LOCAL, LIB = (Path(place) / "systemd/network" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))

# What a file says to be about the bridge alone.
ALONE = [
    f"Name={NAME}",
    f"Name={NAME}\nKind=bridge",
    f"Name={NAME}\nType=bridge",
    f"Name={NAME}\nDriver=bridge",
    f"Name={NAME}\nDriver=!dummy",
    f"Name={NAME}\nKind=!veth !dummy",
    f"Name={NAME}\nHost=!nowhere",
    f"Name={NAME}\nHost=nowhere\nHost=",
    f"Name={NAME}\nKernelVersion=>=3.0",
    f"Name={NAME}\nArchitecture=!arm",
    f"Name={NAME}\nKernelCommandLine=!there.is.no.such.word",
    f"Name={OTHER}\nName=\nName={NAME}",
    f"# Name={OTHER}\nName={NAME}\n; Kind=veth",
    f"Name = {NAME}  ",
    f"Name=\\\n# within\n  {NAME}",
    f"OriginalName=nonsense\nName={NAME}",
    f"Name={NAME}\nProperty=!A=b",
]
# The same, and about others too.
BROAD = [
    f"Name={NAME} {OTHER}",
    f"Name={OTHER}\nName={NAME}",
    f"Name={OTHER}\n\n[Match]\nName={NAME}",
    f"Name={PREFIX}[0-9]",
    f"Name={PREFIX}?",
    f"Name=!{PREFIX}p* lo",
    "Kind=bridge",
    "Type=bridge",
    "Driver=bridge",
    "Kind=br*",
]
# About the ports, by file: which of them each is about.
PLUGS = [
    {f"Name={ONE}": (ONE,), f"Name={TWO}": (TWO,)},
    {f"Name={ONE}": (ONE,)},
    {f"Name={ONE} {TWO}": (ONE, TWO)},
    {f"Name={ONE}\nName={TWO}": (ONE, TWO)},
    {f"Name={PREFIX}p[12]": (ONE, TWO)},
    {f"MACAddress={MACS[ONE]} {MACS[TWO]}": (ONE, TWO)},
    {f"MACAddress={MACS[ONE].replace(':', '-').upper()}": (ONE,), f"Name={TWO}": (TWO,)},
    {"MACAddress=5254.0022.0001": (ONE,)},
    {f"PermanentMACAddress={MACS[ONE]}\nName={ONE}": (), f"Name={TWO}": (TWO,)},
    {f"Name={ONE}\nKind=veth\nType=ether": (ONE,)},
    {f"Name={ONE}\nVirtualization=!no-such": (ONE,)},
    {},
]
# What else may lie there, and has no say.
DECOYS: list[dict[str, str]] = [
    {"/etc/00-else.network": "[Match]\nHost=nowhere\n\n[Network]\nAddress=198.51.100.7/24\n"},
    {"/etc/00-else.network": f"[Match]\nName={NAME}\nKernelVersion=<3\n\n[Network]\nDHCP=yes\n"},
    {"/etc/00-else.network": f"[Match]\nName={NAME}x\n\n[Network]\nDHCP=yes\n"},
    {"/etc/00-else.network": f'[Match]\nName="{NAME}"\n\n[Network]\nDHCP=yes\n'},
    {"/etc/00-else.network": f"[Match]\nOriginalName={NAME}\n\n[Network]\nDHCP=yes\n"},
    {"/etc/00-else.network": "[Match]\n\n[Network]\nAddress=198.51.100.7/24\n"},
    {"/etc/00-else.network": f"[Match\nName={NAME}\n\n[Network]\nDHCP=yes\n"},
    {"/etc/00-else.network": f"[Match]\nName=!{NAME} {PREFIX}*\nKind=bond\n\n[Network]\nDHCP=yes\n"},
    {"/usr/lib/00-else.network": f"[Match]\nName={NAME}\n\n[Network]\nDHCP=yes\n", "/etc/00-else.network": ""},
    {"/usr/lib/00-else.network": f"[Match]\nName={NAME}\n\n[Network]\nDHCP=yes\n", "/run/00-else.network": "-"},
    {"/etc/zz-else.network": f"[Match]\nName={NAME}\n\n[Network]\nAddress=198.51.100.7/24\nIPv6AcceptRA=no\n"},
    {"/usr/lib/zz-else.network": "[Match]\nName=*\n\n[Network]\nLinkLocalAddressing=no\n"},
    {"/etc/00-else.netdev": f"[Match]\nHost=nowhere\n\n[NetDev]\nName={NAME}\nKind=bridge\nMTUBytes=1300\n"},
    {"/etc/zz-else.netdev": f"[NetDev]\nName={NAME}\nKind=bridge\nMTUBytes=1300\n\n[Bridge]\nSTP=yes\n"},
    {"/usr/lib/50-br.netdev": f"[NetDev]\nName={NAME}\nKind=bridge\nMTUBytes=1300\n"},
    {},
]
NETDEV_LINES = [
    "MTUBytes=1400",
    "MTUBytes=2K",
    "MACAddress=52:54:00:22:00:aa",
    "MACAddress=none",
    "Description=by hand",
]
BRIDGE_LINES = ["STP=yes", "STP=off", "STP=T", "ForwardDelaySec=0", "MulticastSnooping=no", "VLANFiltering=no"]
NETWORK_LINES = [
    "Address=10.219.0.1/24",
    "Address=10.219.1.1/24\nAddress=10.219.0.1/24",
    "Address=198.51.100.9/24\nAddress=\nAddress=10.219.0.1/24",
    "Address=fd00:219::1/64",
    "Gateway=10.219.0.254",
    "DNS=10.219.0.53\nDomains=a.internal \\\n  # within\n  b.internal",
    "LLDP=yes",
    "LinkLocalAddressing=ipv6",
    "DHCP=no",
    "Unknown=word",
    "no assignment",
]
SECTIONS = [
    "[Address]\nAddress=10.219.2.1/24\nLabel=hlbd0:a",
    "[Route]\nDestination=10.220.0.0/16\nGateway=10.219.0.200",
    "[Network]\nAddress=10.219.3.1/24",
    "[Link]\nMTUBytes=1420",
    "[Link]\nRequiredForOnline=no",
    "[X-Ours]\nkept=yes",
]
DROP_INS = [
    "[Network]\nAddress=10.219.4.1/24\n",
    "Address=198.51.100.8/24\n[Link]\nMTUBytes=1440\n",
    "[Network]\nAddress=\nAddress=10.219.0.9/24\n",
]
BY_HAND: dict[str, t.Any] = {"name": NAME, "mode": "ports"}
# By change, what it may touch.
CHANGES: dict[str, tuple[dict[str, t.Any], set[str]]] = {
    "address": ({"address": "10.219.0.77/24"}, {f"addresses {NAME}", "routes"}),
    "no address": ({"unset": ["address", "gateway"]}, {f"addresses {NAME}", "routes"}),
    "address6": ({"address6": "fd00:219::77/64"}, {f"addresses {NAME}", "routes"}),
    "gateway": ({"address": "10.219.0.1/24", "gateway": "10.219.0.253"}, {f"addresses {NAME}", "routes"}),
    "mtu": ({"mtu": 1380}, {f"mtu {link}" for link in (NAME, ONE, TWO)}),
    "no mtu": ({"unset": ["mtu"]}, {f"mtu {link}" for link in (NAME, ONE, TWO)}),
    "mac": ({"mac": "52:54:00:22:00:bb"}, {f"mac {NAME}", f"addresses {NAME}"}),
    "stp": ({"stp": True}, {f"stp {NAME}"}),
    "port": ({"ports": [{"name": FREE}]}, {f"master {FREE}", f"up {FREE}", f"mtu {FREE}", f"mtu {NAME}"}),
    "port gone": (
        {"ports": [{"name": ONE, "state": "absent"}]},
        {f"master {ONE}", f"up {ONE}", f"mtu {ONE}", f"mtu {NAME}", f"mac {NAME}"},
    ),
}
# By change, of which keys a line may go.
LINES: dict[str, set[str]] = {
    "address": {"Address"},
    "no address": {"Address", "Gateway", "Label", "DHCP"},
    "address6": {"Address"},
    "gateway": {"Address", "Gateway"},
    "mtu": {"MTUBytes"},
    "no mtu": {"MTUBytes"},
    "mac": {"MACAddress"},
    "stp": {"STP", "ForwardDelaySec"},
    "port": set(),
    "port gone": {"Bridge", "MTUBytes"},
}


class Drawn(t.NamedTuple):
    """The files of a host by path; *change* is one of ``CHANGES``. Where *is_told*, systemd-networkd's own notes stay."""

    files: dict[str, str]
    change: str
    is_told: bool


def draw(number: int) -> Drawn:
    rng = random.Random(f"{SEED}-networkd-{number}")
    every = [*ALONE, *BROAD]
    match, plugs = every[number % len(every)], PLUGS[number % len(PLUGS)]
    change = list(CHANGES)[number % len(CHANGES)]
    found = dict(DECOYS[(number * 5) % len(DECOYS)])
    netdev = ["[NetDev]", f"Name={NAME}", "Kind=bridge", *rng.sample(NETDEV_LINES, rng.randint(0, 2))]
    if "MACAddress" in "".join(plugs):
        # Without a MAC address of its own the bridge gets that of a port, and by chance also its file.
        netdev = [*(line for line in netdev if "MACAddress" not in line), NETDEV_LINES[2]]
    netdev += ["", "[Bridge]", *rng.sample(BRIDGE_LINES, rng.randint(0, 2))]
    if rng.random() < 0.2:
        netdev += ["", "[Match]", "Host=!nowhere"]
    found["/etc/50-br.netdev"] = "\n".join(netdev) + "\n"
    sections = rng.sample(SECTIONS, rng.randint(0, 2))
    lines = ["ConfigureWithoutCarrier=yes", "IPv6AcceptRA=no", *rng.sample(NETWORK_LINES, rng.randint(1, 5))]
    if "10.219.0.2" in "".join((*lines, *sections)):
        # systemd-networkd would wait for a way that no address leads to.
        lines.append("Address=10.219.0.1/24")
    network = ["# by hand", "[Match]", match, "", "[Network]", *lines, "", *(f"{section}\n" for section in sections)]
    place = rng.choice(("/etc", "/etc", "/etc", "/etc", "/run", "/usr/lib"))
    found[f"{place}/50-br.network"] = "\n".join(network)
    if rng.random() < 0.2:
        found[f"{rng.choice(('/etc', '/run', '/usr/lib'))}/50-br.network.d/10-more.conf"] = rng.choice(DROP_INS)
    for at, (about, dummy) in enumerate(plugs.items()):
        found[f"/etc/40-port{at}.network"] = f"[Match]\n{about}\n\n[Network]\nBridge={NAME}\nLinkLocalAddressing=no\n"
    return Drawn(found, change, rng.random() < 0.5)


@pytest.fixture(scope="module", autouse=True)
def network() -> t.Iterator[None]:
    with network_of_a_host():
        use_networkd()
        # Nothing here answers to a search for doubles, and systemd-networkd would wait for it.
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        for folder in (ETC, RUN, LOCAL, LIB):
            shutil.rmtree(folder, ignore_errors=True)
        yield


@pytest.fixture(autouse=True)
def cards(network: None) -> t.Iterator[None]:
    clean()
    command("ip", "netns", "add", PEERS)
    for port, mac in MACS.items():
        command("ip", "link", "add", port, "address", mac, *f"type veth peer name {port} netns {PEERS}".split())
        command("ip", "-n", PEERS, "link", "set", port, "up")
    yield
    clean()


def clean() -> None:
    remove_links(PREFIX, PEERS)
    Path(paths.record_path("bridges", NAME)).unlink(missing_ok=True)
    for folder in (ETC, RUN, LOCAL, LIB, Path("/run/systemd/netif")):
        shutil.rmtree(folder, ignore_errors=True)


def write(drawn: Drawn) -> None:
    for path, text in drawn.files.items():
        place, name = path.rsplit("/", 2)[0], path
        for word in ("/etc", "/run", "/usr/lib"):
            if path.startswith(f"{word}/"):
                place, name = word, path[len(word) + 1 :]
        target = Path(place) / "systemd/network" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if text == "-":
            target.symlink_to("/dev/null")
        else:
            target.write_text(text)


def on_disk() -> dict[str, str]:
    found = [path for folder in (ETC, RUN, LOCAL, LIB) for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_text() for path in found}


def boot() -> dict[str, str]:
    """Links as after a start of the host, and what systemd-networkd makes of them. Returns its file for each."""
    command("ip", "link", "delete", NAME, check=False)
    for port in PORTS:
        command("ip", "link", "set", port, "nomaster", "down")
        command("ip", "link", "set", port, "mtu", "1500")
        command("ip", "address", "flush", "dev", port)
    shutil.rmtree("/run/systemd/netif", ignore_errors=True)
    return boot_networkd()


DONE: set[str] = set()
RAN: set[int] = set()


@pytest.mark.parametrize("number", range(COUNT))
def test_a_bridge_as_people_write_it(number: int) -> None:
    drawn = draw(number)
    RAN.add(number)
    write(drawn)
    answers = boot()
    assert NAME in links(), drawn.files
    if not drawn.is_told:
        shutil.rmtree("/run/systemd/netif")
    ours, dummy = backends.read_backends(read_links())
    for link in (NAME, *PORTS):
        assert ours.effective(link) == answers.get(link), f"{link}: {drawn.files}"
    texts, stood = on_disk(), kernel(NAME, *PORTS)
    unchanged(BRIDGE, {"name": NAME})
    unchanged(BRIDGE, as_it_is(stood))
    assert (on_disk(), kernel(NAME, *PORTS)) == (texts, stood)

    change, touched = CHANGES[drawn.change]
    wanted = {**BY_HAND, **change}
    run = check_and_run(BRIDGE, wanted, lambda: (on_disk(), kernel(NAME, *PORTS)))
    if run is None:
        return
    changed = kernel(NAME, *PORTS)
    # What is set down takes no change before it is set up, and the plan says so.
    woken = {f"up {NAME}"} if run.plan.has("state") else set()
    assert differing(stood, changed) <= touched | woken, drawn.files
    if not run.changed:
        assert on_disk() == texts
    for path, text in texts.items():
        gone = set(text.splitlines()) - set(on_disk().get(path, "").splitlines())
        assert {line.partition("=")[0] for line in gone if "=" in line} <= LINES[drawn.change], f"{path}: {gone}"
    unchanged(BRIDGE, wanted)
    boot()
    after = kernel(NAME, *PORTS)
    # What is left to the kernel: a bridge without a port that has a MAC or an MTU to follow.
    left = woken | ({f"mac {NAME}"} if drawn.change != "mac" else set())
    left |= {f"mtu {NAME}"} if drawn.change == "port gone" else set()
    # With its last address the kernel takes all routes of a link; those in the files come back with the next start.
    left |= {"routes"} if drawn.change == "no address" else set()
    assert differing(changed, after) <= left, (drawn.files, on_disk())
    unchanged(BRIDGE, wanted)
    if run.changed:
        DONE.add(drawn.change)


def as_it_is(stood: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of the bridge as the kernel has it."""
    ports = [{"name": port} for port in PORTS if stood[f"master {port}"] == NAME]
    values: dict[str, t.Any] = {**BY_HAND, "ports": ports, "stp": bool(stood[f"stp {NAME}"])}
    for address in stood[f"addresses {NAME}"]:
        values.setdefault("address6" if ":" in address else "address", address)
    return values


def test_every_kind_of_change_is_made_somewhere() -> None:
    """Refusals alone would prove nothing."""
    if len(RAN) < COUNT:
        pytest.skip("only some of the variants ran")
    assert len(DONE) >= min(COUNT, len(CHANGES)) // 3, DONE
