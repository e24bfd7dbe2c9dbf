# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers as people write them: drawn from the keys that lxc.container.conf(5) documents, in every form that LXC reads.

Of each: its name alone changes nothing, to the byte; one change touches one thing, by what liblxc itself says of every key; the check
says what the run then says; the second run changes nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now, told, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED

COUNT = 60
# Each line by itself is one that LXC 5 and 6 load; {} is a folder of the host.
LINES = """\
lxc.arch = x86_64
lxc.uts.name = byhand
lxc.signal.halt = SIGPWR
lxc.signal.reboot = SIGINT
lxc.signal.stop = 9
lxc.init.cmd = /sbin/init quiet
lxc.init.cwd = /
lxc.init.uid = 0
lxc.init.gid = 0
lxc.proc.oom_score_adj = 10
lxc.ephemeral = 0
lxc.pty.max = 100
lxc.tty.max = 2
lxc.tty.dir = lxc
lxc.console.logfile = none
lxc.console.path = none
lxc.console.buffer.size = 64KB
lxc.autodev = 1
lxc.autodev.tmpfs.size = 500000
lxc.mount.auto = proc:mixed sys:mixed
lxc.mount.entry = proc proc proc nodev,noexec,nosuid 0 0
lxc.mount.entry = tmpfs tmp/my\\040files tmpfs size=1m,create=dir 0 0
lxc.mount.entry = {} srv none bind,ro,create=dir 0 0
lxc.mount.entry = {} opt none rbind,create=dir,optional 0 0
lxc.cap.drop = sys_module mac_admin
lxc.cap.drop = sys_time
lxc.no_new_privs = 0
lxc.namespace.clone = mnt pid uts ipc net
lxc.prlimit.nofile = 1024:2048
lxc.sysctl.net.ipv4.ip_forward = 1
lxc.cgroup.cpu.shares = 512
lxc.cgroup2.cpu.weight = 50
lxc.cgroup.devices.allow = c 10:200 rwm
lxc.cgroup2.devices.allow = c 10:200 rwm
lxc.cgroup.memory.limit_in_bytes = 64M
lxc.cgroup2.memory.max = 64M
lxc.cgroup.pids.max = 500
lxc.cgroup.relative = 0
lxc.hook.pre-start = /bin/true
lxc.hook.post-stop = /bin/true with words
lxc.hook.version = 1
lxc.log.level = ERROR
lxc.environment = A=b
lxc.environment = EMPTY=
lxc.group = onboot
lxc.group = web
lxc.start.auto = 1
lxc.start.delay = 5
lxc.start.order = 100
lxc.monitor.unshare = 0
lxc.rootfs.options = noatime
lxc.rootfs.managed = 0
lxc.selinux.context = unconfined_u:object_r:lxc_t:s0
lxc.keyring.session = 1""".splitlines()
CARDS = {
    "veth": "type = veth|link = hlctbr0|flags = up|name = eth0|hwaddr = 00:16:3E:aa:BB:01|mtu = 1400",
    "two addresses": "type = veth|link = hlctbr0|ipv4.address = 10.91.7.5/24|ipv4.address = 10.91.7.6/24|ipv6.address = fd00:91::5/64"
    "|ipv4.gateway = 10.91.7.1|ipv6.gateway = fd00:91::1",
    "broadcast": "type = veth|link = hlctbr0|ipv4.address = 10.91.7.5/24 10.91.7.255|ipv4.gateway = auto",
    "pair": "type = veth|veth.mode = bridge|link = hlctbr0|veth.pair = hlct-hand|script.up = /bin/true|script.down = /bin/true",
    "router": "type = veth|veth.mode = router|veth.ipv4.route = 192.0.2.0/24|l2proxy = 0",
    "chance": "type = veth|link = hlctbr0|hwaddr = 00:16:3e:xx:xx:xx",
    "macvlan": "type = macvlan|macvlan.mode = bridge|link = hlctbr0|flags = up",
    "ipvlan": "type = ipvlan|ipvlan.mode = l3|ipvlan.isolation = bridge|link = hlctbr0",
    "vlan": "type = vlan|vlan.id = 7|link = hlctbr0",
    "phys": "type = phys|link = hlctdum0|name = eth0",
    "empty": "type = empty|flags = up",
    "none": "type = none",
}
CHANGES: dict[str, tuple[dict[str, t.Any], tuple[str, ...]]] = {
    "memory": ({"memory": "96M"}, ("lxc.cgroup.memory.", "lxc.cgroup2.memory.")),
    "no memory": ({"unset": ["memory"]}, ("lxc.cgroup.memory.", "lxc.cgroup2.memory.")),
    "pids": ({"pids": 300}, ("lxc.cgroup.pids.max", "lxc.cgroup2.pids.max")),
    "weight": ({"cpu": {"weight": 70}}, ("lxc.cgroup.cpu.shares", "lxc.cgroup2.cpu.weight")),
    "autostart": ({"autostart": True}, ("lxc.start.auto",)),
    "no autostart": ({"autostart": False}, ("lxc.start.auto",)),
    "hostname": ({"hostname": "other"}, ("lxc.uts.name",)),
    "mtu": ({"networks": [{"name": "net0", "mtu": 1300}]}, ("lxc.net.{n}.mtu",)),
    "mac": ({"networks": [{"name": "net0", "mac": "00:16:3e:00:00:99"}]}, ("lxc.net.{n}.hwaddr",)),
    "bridge": ({"networks": [{"name": "net0", "bridge": "hlctbr1"}]}, ("lxc.net.{n}.link",)),
    "ip": ({"networks": [{"name": "net0", "ip": "10.91.7.77/24"}]}, ("lxc.net.{n}.ipv4.address",)),
    "card": ({"networks": [{"name": "more", "bridge": "hlctbr1", "ip": "none"}]}, ("lxc.net",)),
    "mount": ({"mounts": [{"name": "more", "source": "{folder}", "path": "/more"}]}, ("lxc.mount.entry",)),
    "mount gone": ({"mounts": [{"name": "mount0", "state": "absent"}]}, ("lxc.mount.entry",)),
    "description": ({"description": "text"}, ()),
}  # fmt: skip

# What has to stand there for a change to have anything to do.
NEEDS = {
    "no memory": ("lxc.cgroup.memory", "lxc.cgroup2.memory"),
    "no autostart": ("lxc.start.auto",),
    "mount gone": ("lxc.mount.entry = {}",),
}


INCLUDES = ("lxc.include = {}/included.conf", 'lxc.include="{}/included.conf"  ', "  lxc.include = '{}/included.conf'")


class Drawn(t.NamedTuple):
    """A container by its lines, of which *included* stand in another file; *change* is one of ``CHANGES``."""

    lines: list[str]
    included: list[str]
    change: str


def draw(number: int) -> Drawn:
    rng = random.Random(f"{SEED}-{number}")
    change = list(CHANGES)[number % len(CHANGES)]
    taken = [line for line in LINES if line.startswith(NEEDS.get(change, "-"))]
    others = [line for line in LINES if line not in taken]
    lines = [shaped(line, rng) for line in (*taken, *rng.sample(others, rng.randint(2, 9)))]
    rng.shuffle(lines)
    # Every type of card comes, whatever is drawn.
    card = list(CARDS)[number] if number < len(CARDS) else rng.choice(list(CARDS))
    place = rng.choice((0, 0, 0, 3))
    lines += [shaped(f"lxc.net.{place}.{line}", rng) for line in CARDS[card].split("|")]
    included = []
    if rng.random() < 0.3:
        cut = rng.randint(1, len(lines))
        included, lines = lines[:cut], lines[cut:]
    return Drawn(lines, included, change)


def shaped(line: str, rng: random.Random) -> str:
    """*line* as somebody may have typed it."""
    key, dummy, value = line.partition(" = ")
    equals = rng.choice((" = ", "=", "  =\t", " ="))
    indent = rng.choice(("", "", "   ", "\t"))
    quote = rng.choice(("", "", "", '"')) if " " not in value else ""
    comment = rng.choice(("", "", "", "# by hand\n", "\n", "## lxc.start.auto = 1\n"))
    return f"{comment}{indent}{key}{equals}{quote}{value}{quote}{rng.choice(('', '', '  '))}"


pytestmark = pytest.mark.usefixtures("no_container")


@pytest.fixture(scope="module", autouse=True)
def root() -> t.Iterator[Path]:
    ct.set_up()
    folder = ct.FOLDER / "corpus"
    folder.mkdir(mode=0o755)
    tiny_root.fill(folder / "root")
    (folder / "bound").mkdir()
    yield folder
    ct.tear_down()


def write(drawn: Drawn, folder: Path) -> Path:
    config = ct.LXC / ct.NAME / "config"
    config.parent.mkdir()
    (folder / "included.conf").write_text("\n".join(drawn.included).replace("{}", f"{folder}/bound") + "\n")
    first = [random.Random(drawn.change).choice(INCLUDES).format(folder)] if drawn.included else []
    lines = [*first, f"lxc.rootfs.path = dir:{folder}/root", *drawn.lines]
    config.write_text("\n".join(lines).replace("{}", f"{folder}/bound"))
    return config


def keys_of(*paths: Path) -> list[str]:
    """Every key that stands in the files, and those that a change may bring."""
    keys = {line.partition("=")[0].strip() for path in paths for line in path.read_text().splitlines() if "=" in line}
    more = (
        "lxc.net lxc.cgroup.memory.limit_in_bytes lxc.cgroup2.memory.max lxc.cgroup.memory.memsw.limit_in_bytes lxc.cgroup2.pids.max"
        " lxc.cgroup.pids.max lxc.cgroup.cpu.shares lxc.cgroup2.cpu.weight lxc.start.auto lxc.uts.name lxc.mount.entry"
    )
    return sorted({*(key for key in keys if key.startswith("lxc.") and key != "lxc.include"), *more.split()})


def as_lxc_reads(keys: t.Collection[str]) -> dict[str, str]:
    """What liblxc says of each key, by a program of its own."""
    told = ct.run("lxc-info", "-n", ct.NAME, *(word for key in keys for word in ("-c", key)), check=False)
    found: dict[str, str] = {}
    last = ""
    for line in told.splitlines():
        key, equals, value = line.partition(" =")
        is_first = bool(equals) and key in keys
        last = key if is_first else last
        # A key that may stand more than once has a line for each.
        found[last] = found.get(last, "") + (value if is_first else line) + "\n"
    return {key: found.get(key, "").strip() for key in keys}


def filled(value: t.Any, folder: Path) -> t.Any:
    if isinstance(value, dict):
        return {key: filled(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, folder) for inner in value]
    return str(folder / "bound") if value == "{folder}" else value


@pytest.mark.parametrize("number", range(COUNT))
def test_a_container_as_people_write_it(number: int, root: Path) -> None:
    drawn = draw(number)
    config = write(drawn, root)
    text = config.read_text()
    assert ct.run("lxc-info", "-n", ct.NAME, "-s", "-H").strip() == "STOPPED", f"LXC does not load this: {text}"
    unchanged(ct.CONTAINER, {"name": ct.NAME})
    assert config.read_text() == text

    net = next(
        (
            line.split(".")[2]
            for line in ct.run(
                "grep", "-ho", r"lxc\.net\.[0-9]*\.type", str(config), f"{root}/included.conf", check=False
            ).splitlines()
        ),
        "0",
    )
    change, touched = CHANGES[drawn.change]
    wanted = {"name": ct.NAME, **filled(change, root)}
    for item in wanted.get("networks", ()):
        item["name"] = item["name"].replace("net0", f"net{net}")
    prefixes = tuple(prefix.replace("{n}", net) for prefix in touched)
    # LXC draws the digits of an address by chance each time that it reads it.
    is_drawn = "xx:xx" in text + (root / "included.conf").read_text()
    keys = [key for key in keys_of(config, root / "included.conf") if not (is_drawn and key.endswith(".hwaddr"))]
    before = as_lxc_reads(keys)
    check = converge_now(ct.CONTAINER, wanted, dry_run=True)
    run = converge_now(ct.CONTAINER, wanted)
    if check.error is not None or run.error is not None:
        assert check.error is not None and run.error is not None, f"{check.error} | {run.error}"
        assert check.error.message == run.error.message and not run.changed
        assert config.read_text() == text and as_lxc_reads(keys) == before
        return
    assert told(check) == told(run)
    after = as_lxc_reads(keys)
    changed = [key for key in keys if after[key] != before[key]]
    others = [key for key in changed if not (prefixes and key.startswith(prefixes))]
    assert not others, f"{drawn.change} changed {others}"
    assert run.changed == (bool(run.plan.changes)) and (run.changed or config.read_text() == text)
    kept = [line for line in text.splitlines() if not line.strip().startswith(prefixes or "-")]
    assert [line for line in config.read_text().splitlines() if line in kept][: len(kept)] == kept
    unchanged(ct.CONTAINER, wanted)


def test_every_line_and_every_change_is_drawn() -> None:
    text = "\n".join("\n".join((*(drawn := draw(number)).lines, *drawn.included)) for number in range(COUNT))
    assert {draw(number).change for number in range(COUNT)} == set(CHANGES)
    kinds = {card.split("|")[0].partition(" = ")[2] for card in CARDS.values()}
    assert kinds <= {line.partition("=")[2].strip(' "\t') for line in text.splitlines() if ".type" in line}
    assert os.path.exists(shutil.which("lxc-info") or "")
