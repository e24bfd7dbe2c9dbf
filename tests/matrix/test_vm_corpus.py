# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt documents of domains, drawn into machines of somebody else: all of it stays as it is, but for what is named.

Each machine is named alone, and then changed in one thing. ``HARNESS_SEED`` draws the same ones again.
"""

from __future__ import annotations

import difflib
import random
import re
import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import domain_corpus, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import image
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, POOL, virsh

VM = KvmVm()
NAME = f"{machines.PREFIX}-corpus"
MACHINES, RUNNING = 36, 6


@pytest.fixture(scope="module")
def folder() -> t.Iterator[Path]:
    with machines.surroundings() as folder:
        for letter in "abc":
            image(folder / f"{letter}.img")
        yield folder


@pytest.fixture(autouse=True)
def _none_left(folder: Path) -> t.Iterator[None]:
    yield
    machines.remove_machines()


class Change(t.NamedTuple):
    """One change, and the lines of the definition that it may touch, as a pattern."""

    params: dict[str, t.Any]
    lines: str


# What a new device brings along: an address, and the port or the controller that it is plugged into.
_PLACE = r"<address |</?controller|<model name=|<target chassis|</?target"
CHANGES = (
    Change({"description": "one\ntwo"}, r"description|^one$|^two$|lines"),
    Change({"memory": "48"}, r"<currentMemory|<memory "),
    Change({"memory": "96", "memory_max": "128"}, r"<currentMemory|<memory "),
    Change({"vcpus": 8}, r"</?vcpus?\b|<topology"),
    Change({"autostart": True}, "^$"),
    Change({"agent": True}, rf"</?channel|<source mode=|org.qemu.guest_agent.0|{_PLACE}"),
    Change({"serial": True}, rf"</?serial|</?console|<model name='isa-serial'|{_PLACE}"),
    Change({"boot": {"order": ["disk0"]}}, r"<boot "),
    Change({"boot": {"cmdline": "quiet"}}, r"<cmdline>"),
    Change(
        {"graphics": {"type": "vnc"}},
        rf"graphics|<listen|<image|<mouse|</?video|<model type=|spice|<audio|<redirdev|{_PLACE}|</channel",
    ),
    Change({"networks": [{"name": "net0", "link": "down"}]}, r"<link "),
    Change({"networks": [{"name": "net0", "link": "up"}]}, r"<link "),
    Change({"networks": [{"name": "net0", "mtu": 9000}]}, r"<mtu "),
    Change({"networks": [{"name": "net0", "mac": "52:54:00:ab:09:99"}]}, r"<mac |<alias name='ua-net0'"),
    Change({"networks": [{"name": "net0", "model": "e1000e"}]}, r"<model type=|<driver name='vhost'"),
    Change(
        {"networks": [{"name": "new", "bridge": BRIDGES[1]}]},
        rf"</?interface|<mac |<source bridge|<target dev|<model type='virtio'|<alias name='ua-new'|{_PLACE}",
    ),
    Change({"networks": [{"name": "net0", "state": "absent"}]}, r"."),
    Change({"disks": [{"name": "disk0", "cache": "writeback"}]}, r"<driver "),
    Change({"disks": [{"name": "disk0", "serial": "NEW"}]}, r"<serial>"),
    Change({"disks": [{"name": "disk0", "limits": {"read_iops": 10}}]}, r"iotune|iops_sec"),
    Change({"disks": [{"name": "disk0", "discard": True}]}, r"<driver "),
    Change(
        {"disks": [{"name": "new", "pool": POOL, "size": "1M"}]},
        rf"</?disk|<driver|<source file|<target dev|<alias name='ua-new'|{_PLACE}",
    ),
    Change({"disks": [{"name": "disk0", "state": "absent"}]}, r"."),
    Change({"cpu": {"type": "maximum"}}, r"<cpu |</?cpu>|<model fallback|<cache mode|<feature policy"),
    Change({"cpu": {"flags": ["+avx", "-vme"]}}, r"<cpu |</?cpu>|<model fallback|<feature policy"),
    Change({"os_variant": "windows"}, r"</?metadata>|libosinfo|</?clock|hypervclock"),
    Change(
        {"graphics": {"type": "spice"}},
        rf"graphics|<listen|<image|<mouse|</?video|<model type=|spice|<audio|{_PLACE}|</channel",
    ),
    Change({"unset": ["graphics"]}, r"."),
    Change({"tablet": True}, rf"</?input|{_PLACE}"),
    Change({"rng": True}, rf"</?rng|<backend|<source |<rate |{_PLACE}"),
    Change({"rng": False}, rf"</?rng|</?backend|<source |<rate |{_PLACE}"),
    Change({"watchdog": {"model": "i6300esb", "action": "pause"}}, rf"watchdog|{_PLACE}"),
    Change({"unset": ["watchdog"]}, rf"watchdog|{_PLACE}"),
    Change({"unset": ["vsock"]}, rf"vsock|<cid|{_PLACE}"),
)


def define(number: int, folder: Path, dice: random.Random, *, can_start: bool = False) -> domain_corpus.Drawn:
    """The *number*th machine of this seed that libvirt accepts."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    connection = libvirt.open(machines.URI)
    try:
        for last in (False,) * 9 + (True,):
            drawn = domain_corpus.draw(
                dice, NAME, lambda name: str(folder / name), BRIDGES[0], number, can_start=can_start
            )
            try:
                domain = connection.defineXML(drawn.xml)
            except libvirt.libvirtError:
                if last:
                    raise
                continue
            for dummy in range(2):  # libvirt itself writes another one until it has read its own
                domain = connection.defineXML(domain.XMLDesc(flags))
            return drawn
    finally:
        connection.close()
    raise AssertionError("unreachable")


def touched(before: str, after: str) -> list[str]:
    """The lines of the definition that came, went or are others."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[2:].strip() for line in lines if line[:1] in "+-" and line[2:].strip()]


def look() -> str:
    return virsh("dumpxml", NAME, "--inactive", "--security-info")


def change_and_look(change: Change, drawn: domain_corpus.Drawn) -> None:
    """What is refused is refused in check and run alike; what is done touches its own lines."""
    before, params = look(), {"name": NAME, "shutdown_timeout": 1, "force_stop": True, **change.params}
    check = converge_now(VM, params, dry_run=True)
    if check.error is not None:
        refuse(VM, params, check.error.message)
    else:
        check_run_again(VM, params)
    wrong = [line for line in touched(before, look()) if not re.search(change.lines, line)]
    assert not wrong, f"{change.params} touched {wrong} of {drawn.xml}"


@pytest.mark.parametrize("number", range(MACHINES))
def test_what_is_not_named_stays(folder: Path, number: int) -> None:
    dice = random.Random(f"{SEED} {number}")
    drawn = define(number, folder, dice)
    before = look()
    unchanged(VM, {"name": NAME})
    unchanged(VM, {"name": NAME, "state": "stopped", "disks": [], "networks": []})
    assert look() == before, drawn.xml
    change_and_look(CHANGES[number] if number < len(CHANGES) else dice.choice(CHANGES), drawn)


@pytest.mark.parametrize("number", range(RUNNING))
def test_what_is_not_named_stays_of_one_that_runs(folder: Path, number: int) -> None:
    dice = random.Random(f"{SEED} running {number}")
    drawn = define(number * MACHINES // RUNNING, folder, dice, can_start=True)
    virsh("start", NAME)
    before = look()
    unchanged(VM, {"name": NAME, "state": "started", "disks": [], "networks": []})
    assert look() == before, drawn.xml
    for change in dice.sample(CHANGES, 3):
        change_and_look(change, drawn)


def test_each_element_is_in_a_machine() -> None:
    dice = random.Random(SEED)
    drawn = [domain_corpus.draw(dice, NAME, str, BRIDGES[0], number) for number in range(MACHINES)]
    everything = " ".join(machine.xml for machine in drawn)
    known = {**domain_corpus.PARTS, **domain_corpus.DEVICES}
    assert not [text for texts in known.values() for text in texts if text not in everything]
