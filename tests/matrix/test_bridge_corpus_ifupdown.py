# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges as people write them for ifupdown: drawn from what interfaces(5) and bridge-utils-interfaces(5) document, with sourced files,
several stanzas for one name, continued lines, templates, patterns, mappings and scripts.

What is right is asked of ifupdown itself: ifup makes the bridge from the files at the begin and once more at the end, and ifquery says
which options count. Of each: its name alone changes nothing, to the byte; one change touches one thing; the check says what the run then
says; the second run changes nothing; and from the files that then stand, ifup makes what the kernel had.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness.cases import check_and_run, converge_now, unchanged
from ansible_collections.homelab.hybrid.tests.harness.host_networks import (
    INTERFACES,
    differing,
    kernel,
    links,
    network_of_a_host,
    remove_links,
    use_ifupdown,
)
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED
from ansible_collections.homelab.hybrid.tests.harness.machines import command

# So many in `make test`; more by hand.
COUNT = int(os.environ.get("BRIDGE_CORPUS", "16"))
PREFIX = "hlbu"
NAME, ONE, TWO, FREE = (f"{PREFIX}{word}" for word in ("0", "p1", "p2", "p3"))
PORTS = (ONE, TWO, FREE)
PEERS = f"{PREFIX}-peers"
MAP = Path("/usr/local/bin/hlbu-map")
BRIDGE = Bridge()
FOLDER = INTERFACES.parent
BY_HAND: dict[str, t.Any] = {"name": NAME, "mode": "ports"}

STARTS = [
    f"auto {NAME}",
    f"allow-hotplug {NAME}",
    f"allow-auto lo {NAME}",
    f"auto lo {NAME}\nno-auto-down {NAME}",
    f"auto lo\nauto {PREFIX}x \\\n  {NAME}",
    "",
]
ADDRESSES = [
    ("static", "address 10.219.0.1/24"),
    ("static", "address 10.219.0.1\nnetmask 255.255.255.0"),
    ("static", "netmask 24\naddress 10.219.0.1\nbroadcast 10.219.0.255"),
    ("static", "address    10.219.0.1/24\ngateway 10.219.0.254"),
    ("static", "gateway 10.219.0.254\n# within\naddress 10.219.0.1/24"),
    ("manual", ""),
]
PLUGS = [
    f"bridge_ports {ONE}",
    f"bridge-ports {ONE} {TWO}",
    f"bridge_ports {ONE} \\\n    {TWO}",
    f"bridge_ports   {ONE}   {TWO}  ",
    "bridge_ports none",
    f"bridge_ports regex {PREFIX}p[12]",
    f"bridge_ports regex {PREFIX}p[1] noregex {TWO}",
    f"bridge-ports\t{ONE}",
]
OPTIONS = [
    "bridge_stp on",
    "bridge-stp off",
    "bridge_stp yes",
    "bridge_maxage 15",
    "mtu 1400",
    "hwaddress 52:54:00:23:00:aa",
    "hwaddress ether 52:54:00:23:00:aa",
    "pre-up true",
    "up true \\\n  && true",
    "post-up ip route add 10.220.0.0/16 dev $IFACE || true",
    "down true",
    "post-down true # no comment",
    "# mtu 9000",
    "up true\n    up true",
    "post_up true",
    "unknown-option some words",
]
MORE = [
    f"iface {NAME} inet6 static\n    address fd00:219::1/64\n    dad-attempts 0",
    f"iface {NAME} inet6 static\n    address fd00:219::1\n    netmask 64\n    dad-attempts 0\n    gateway fd00:219::fe",
    f"iface {NAME} inet static\n    address 10.219.1.1/24",
    f"iface {NAME} inet6 manual",
    f"iface {ONE} inet manual",
    f"iface {PREFIX}x inet manual\n    mtu 1300",
    f"iface {NAME}.7 inet manual\n    vlan-raw-device {NAME}",
    f"no-scripts {PREFIX}x",
    f"# iface {NAME} inet dhcp",
    f"mapping {PREFIX}z\n    script {MAP}\n    map home",
    f"iface {NAME}:1 inet static\n    address 10.219.2.1/24",
]
# How the stanza comes to the files: the file it is in, and what reads it.
PLACES = [
    ("interfaces", ""),
    ("interfaces.d/br", "source /etc/network/interfaces.d/*"),
    ("interfaces.d/br.cfg", "source interfaces.d/*.cfg"),
    ("interfaces.d/br", "source-directory interfaces.d"),
    ("interfaces.d/br", "source-directory /etc/network/interfaces.d"),
]
# What has no say: nobody reads it.
DECOYS = [
    {"interfaces.d/old.bak": f"auto {NAME}\niface {NAME} inet static\n    address 198.51.100.7/24\n"},
    {"interfaces.off": f"iface {NAME} inet static\n    address 198.51.100.7/24\n    mtu 1300\n"},
    {},
]
CHANGES: dict[str, tuple[dict[str, t.Any], set[str]]] = {
    "address": ({"address": "10.219.0.77/24"}, {f"addresses {NAME}", "routes"}),
    "no address": ({"unset": ["address", "gateway"]}, {f"addresses {NAME}", "routes"}),
    "address6": ({"address6": "fd00:219::77/64"}, {f"addresses {NAME}", "routes"}),
    "gateway": ({"address": "10.219.0.1/24", "gateway": "10.219.0.253"}, {f"addresses {NAME}", "routes"}),
    "mtu": ({"mtu": 1380}, {f"mtu {link}" for link in (NAME, ONE, TWO)}),
    "no mtu": ({"unset": ["mtu"]}, {f"mtu {link}" for link in (NAME, ONE, TWO)}),
    "mac": ({"mac": "52:54:00:23:00:bb"}, {f"mac {NAME}"}),
    "stp": ({"stp": True}, {f"stp {NAME}"}),
    "port": ({"ports": [{"name": FREE}]}, {f"master {FREE}", f"up {FREE}", f"mtu {FREE}", f"mtu {NAME}"}),
    "port gone": (
        {"ports": [{"name": ONE, "state": "absent"}]},
        {f"master {ONE}", f"up {ONE}", f"mtu {ONE}", f"mtu {NAME}", f"mac {NAME}"},
    ),
    "autostart": ({"autostart": True}, set()),
}
# By change, which options may be others then.
WORDS: dict[str, set[str]] = {
    "address": {"address", "netmask", "broadcast"},
    "no address": {"address", "netmask", "broadcast", "gateway"},
    # A new stanza has what ifupdown gives to each of its family.
    "address6": {"address", "netmask", "broadcast", "autoconf", "dad-attempts", "dad-interval", "preferred-lifetime"},
    "gateway": {"address", "netmask", "broadcast", "gateway"},
    "mtu": {"mtu"},
    "no mtu": {"mtu"},
    "mac": {"hwaddress"},
    "stp": {"bridge_stp", "bridge-stp", "bridge_fd"},
    "port": {"bridge_ports", "bridge-ports"},
    "port gone": {"bridge_ports", "bridge-ports"},
    "autostart": set(),
}


class Drawn(t.NamedTuple):
    """The files below /etc/network; *change* is one of ``CHANGES``."""

    files: dict[str, str]
    change: str


def draw(number: int) -> Drawn:
    rng = random.Random(f"{SEED}-ifupdown-{number}")
    change = list(CHANGES)[number % len(CHANGES)]
    method, address = rng.choice(ADDRESSES)
    wanted = PLUGS[number % len(PLUGS)]
    # ifup takes an option twice only where it is a command.
    chosen = {
        re.split("[ _-]", option)[1 if option.startswith("bridge") else 0]: option
        for option in rng.sample(OPTIONS, rng.randint(0, 4))
    }
    if change == "no mtu":
        chosen["mtu"] = "mtu 1400"
    options = list(chosen.values())
    # ifup would wait for the ports to forward.
    options += ["bridge_fd 0", "bridge_maxwait 0"]
    lines = [*address.splitlines(), *wanted.split("\n", 0), *options]
    if rng.random() < 0.5:
        rng.shuffle(lines := [address, wanted, *options])
    indent = rng.choice(("    ", "\t", ""))
    head = f"iface {NAME} inet {method}"
    before: list[str] = []
    if number % 7 == 3:
        before, head = [f"iface {PREFIX}-all inet manual\n    bridge_ageing 100"], f"{head} inherits {PREFIX}-all"
    if number % 11 == 7:
        before.append(f"mapping {NAME}\n    script {MAP}\n    map {PREFIX}home")
        head = head.replace(f"iface {NAME} ", f"iface {PREFIX}home ")
    body = "\n".join(f"{indent}{line}" for piece in lines if piece for line in piece.split("\n"))
    stanzas = [rng.choice(STARTS), *before, f"# the bridge\n{head}\n{body}"]
    more = rng.sample(MORE, rng.randint(0, 3))
    stanzas += more if rng.random() < 0.7 else []
    text = rng.choice(("\n", "\n\n")).join(stanza for stanza in stanzas if stanza) + rng.choice(("\n", "\n\n", ""))
    place, reads = PLACES[(number // 2) % len(PLACES)]
    found = dict(DECOYS[number % len(DECOYS)])
    base = "# by hand\nauto lo\niface lo inet loopback\n"
    found["interfaces"] = f"{base}\n{text}" if place == "interfaces" else f"{base}\n{reads}\n"
    if place != "interfaces":
        found[place] = text
    return Drawn(found, change)


@pytest.fixture(scope="module", autouse=True)
def network() -> t.Iterator[None]:
    with network_of_a_host():
        use_ifupdown()
        MAP.parent.mkdir(parents=True, exist_ok=True)
        MAP.write_text("#!/bin/sh\nread logical\necho $logical\n")
        MAP.chmod(0o755)
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        yield


@pytest.fixture(autouse=True)
def cards(network: None) -> t.Iterator[None]:
    clean()
    command("ip", "netns", "add", PEERS)
    for number, port in enumerate(PORTS):
        mac = f"52:54:00:23:00:0{number}"
        command("ip", "link", "add", port, "address", mac, *f"type veth peer name {port} netns {PEERS}".split())
        command("ip", "-n", PEERS, "link", "set", port, "up")
    yield
    clean()


def clean() -> None:
    remove_links(PREFIX, PEERS)
    Path(paths.record_path("bridges", NAME)).unlink(missing_ok=True)
    shutil.rmtree(FOLDER / "interfaces.d", ignore_errors=True)
    for path in (INTERFACES, FOLDER / "interfaces.off", *Path("/run/network").glob("*ifstate*")):
        path.unlink(missing_ok=True)


def write(drawn: Drawn) -> None:
    (FOLDER / "interfaces.d").mkdir()
    for name, text in drawn.files.items():
        (FOLDER / name).write_text(text)


def on_disk() -> dict[str, str]:
    found = [INTERFACES, FOLDER / "interfaces.off", *(FOLDER / "interfaces.d").glob("*")]
    return {str(path): path.read_text() for path in found if path.exists()}


def boot() -> None:
    """Links as after a start of the host, and what ifup makes of them."""
    command("ip", "link", "delete", NAME, check=False)
    for port in PORTS:
        command("ip", "link", "set", port, "nomaster", "down")
        command("ip", "link", "set", port, "mtu", "1500")
    for path in Path("/run/network").glob("*ifstate*"):
        path.unlink()
    command("ifup", NAME)


def options() -> dict[str, list[str]]:
    """What ifquery says of the bridge, by option."""
    found: dict[str, list[str]] = {}
    for line in command("ifquery", NAME).splitlines():
        key, dummy, value = line.partition(": ")
        found.setdefault(key, []).append(value)
    return found


def as_it_is(stood: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of the bridge as the kernel has it."""
    ports = [{"name": port} for port in PORTS if stood[f"master {port}"] == NAME]
    values: dict[str, t.Any] = {**BY_HAND, "ports": ports, "stp": bool(stood[f"stp {NAME}"])}
    for address in stood[f"addresses {NAME}"]:
        values.setdefault("address6" if ":" in address else "address", address)
    return values


DONE: set[str] = set()
RAN: set[int] = set()


def left_alone(params: dict[str, t.Any], drawn: Drawn) -> None:
    """What is as it is declared is left, and what is not understood is refused by the name of its file."""
    check = converge_now(BRIDGE, params, dry_run=True)
    if check.error is None:
        unchanged(BRIDGE, params)
        return
    run = converge_now(BRIDGE, params)
    assert run.error is not None and run.error.message == check.error.message and not run.changed
    assert re.search(
        r"/etc/network/interfaces|inherit|neither systemd-networkd nor ifupdown|no libvirt network made",
        check.error.message,
    ), check.error.message


@pytest.mark.parametrize("number", range(COUNT))
def test_a_bridge_as_people_write_it(number: int) -> None:
    drawn = draw(number)
    RAN.add(number)
    write(drawn)
    boot()
    assert NAME in links(), drawn.files
    texts, stood, asked = on_disk(), kernel(NAME, *PORTS), options()
    left_alone({"name": NAME}, drawn)
    left_alone(as_it_is(stood), drawn)
    assert (on_disk(), kernel(NAME, *PORTS)) == (texts, stood)

    change, touched = CHANGES[drawn.change]
    wanted = {**BY_HAND, **change}
    run = check_and_run(BRIDGE, wanted, lambda: (on_disk(), kernel(NAME, *PORTS)))
    if run is None:
        return
    changed = kernel(NAME, *PORTS)
    assert differing(stood, changed) <= touched, drawn.files
    if not run.changed:
        assert on_disk() == texts
    now = options()
    assert {key for key in {*asked, *now} if asked.get(key) != now.get(key)} <= WORDS[drawn.change], drawn.files
    unchanged(BRIDGE, wanted)
    boot()
    left = {f"mac {NAME}"} if drawn.change != "mac" else set()
    # A port that this collection did not plug in stays up.
    left |= {f"mtu {NAME}", f"up {ONE}"} if drawn.change == "port gone" else set()
    assert differing(changed, kernel(NAME, *PORTS)) <= left, (drawn.files, on_disk())
    unchanged(BRIDGE, wanted)
    if run.changed:
        DONE.add(drawn.change)


def test_every_kind_of_change_is_made_somewhere() -> None:
    """Refusals alone would prove nothing."""
    if len(RAN) < COUNT:
        pytest.skip("only some of the variants ran")
    assert len(DONE) >= min(COUNT, len(CHANGES)) // 3, DONE
