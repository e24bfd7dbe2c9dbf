# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of a virtual machine, on one that is stopped and on one that runs: how it gets there, and that it does."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import pattern
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import port
from ansible_collections.homelab.hybrid.plugins.module_utils._host import vlans
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.options import OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    BRIDGES,
    PAPER,
    POOL,
    attribute,
    definition,
    device,
    running,
    virsh,
    volume,
)

VM = KvmVm()
STOPPED, RUNNING = f"{machines.PREFIX}-stopped", f"{machines.PREFIX}-running"
Proof = t.Callable[[t.Any], t.Any]


@pytest.fixture(scope="module")
def folder() -> t.Iterator[Path]:
    with machines.surroundings() as folder:
        for name, state in ((STOPPED, "stopped"), (RUNNING, "started")):
            own = files_of(name, folder)
            own.mkdir(mode=0o711)
            (own / "kernel").write_bytes(b"no kernel")
            for file in ("first.img", "second.img"):
                machines.command("qemu-img", "create", "-q", "-f", "raw", str(own / file), "1M")
            outcome = converge_now(VM, {"name": name, "state": state, **PAPER, **given(own)})
            assert outcome.error is None, outcome.error
        yield folder


def files_of(name: str, folder: Path) -> Path:
    """The files of one of the machines: none is given to two."""
    return folder / name.removeprefix(f"{machines.PREFIX}-")


def given(folder: Path) -> dict[str, t.Any]:
    return {
        "cpu": {"cores": 1, "max_cores": 4},
        "memory_max": "128",
        "disks": [
            {"name": "root", "pool": POOL, "size": "4M"},
            {"name": "raw", "pool": POOL, "size": "1M", "format": "raw"},
            {"name": "old", "pool": POOL, "size": "1M"},
            {"name": "iso", "source": str(folder / "first.img")},
        ],
        "cdroms": [{"name": "cd"}],
        "networks": [{"name": "lan", "bridge": BRIDGES[0]}, {"name": "two", "bridge": BRIDGES[0]}],
    }


class Case(t.NamedTuple):
    """*params* change a machine, of which *path* is planned, as *live* on one that runs. *proof* reads *value* from its XML."""

    path: str
    params: t.Callable[[Path], dict[str, t.Any]]
    live: str
    proof: Proof
    value: t.Any

    def __str__(self) -> str:
        return f"{self.path}={self.value}"


def disk(name: str, **keys: t.Any) -> t.Callable[[Path], dict[str, t.Any]]:
    return lambda folder: {"disks": [{"name": name, **keys}]}


def network(name: str, **keys: t.Any) -> t.Callable[[Path], dict[str, t.Any]]:
    return lambda folder: {"networks": [{"name": name, **keys}]}


def plain(**params: t.Any) -> t.Callable[[Path], dict[str, t.Any]]:
    return lambda folder: params


def of(tag: str, name: str, path: str, attribute_: str) -> Proof:
    def read(root: t.Any) -> str | None:
        found = attribute(device(root, tag, name), path, attribute_)
        return found.rpartition("/")[2] if found and attribute_ == "file" else found

    return read


def has(name: str, tag: str) -> Proof:
    return lambda root: device(root, "disk", name).find(tag) is not None


def limit(name: str, word: str) -> Proof:
    return lambda root: device(root, "disk", name).findtext(f"iotune/{word}")


def text(path: str) -> Proof:
    return lambda root: root.findtext(path)


def policy(feature: str) -> Proof:
    return lambda root: attribute(root, f"cpu/feature[@name='{feature}']", "policy")


def screen(name: str) -> Proof:
    return lambda root: attribute(root, "devices/graphics", name)


def watchdog(name: str) -> Proof:
    return lambda root: attribute(root, "devices/watchdog[@model='i6300esb']", name)


def topology(key: str) -> Proof:
    return lambda root: attribute(root, "cpu/topology", key)


def file(path: str) -> Proof:
    return lambda root: (root.findtext(path) or "").rpartition("/")[2]


def second_image(folder: Path) -> dict[str, t.Any]:
    return {"disks": [{"name": "iso", "source": str(folder / "second.img")}], "allow": ["replace_disk"]}


def medium(file: str, name: str = "cd", **keys: str) -> t.Callable[[Path], dict[str, t.Any]]:
    return lambda folder: {"cdroms": [{"name": name, "source": file and str(folder / file), **keys}]}


CASES = [
    Case("description", plain(description="<b> & ]]>\n two"), "live", text("description"), "<b> & ]]>\n two"),
    Case("description", plain(unset=["description"]), "live", text("description"), None),
    Case("vcpus", plain(vcpus=2), "live", lambda root: root.find("vcpu").get("current"), "2"),
    Case("cpu.cores", plain(cpu={"cores": 3}), "live", lambda root: root.find("vcpu").get("current"), "3"),
    Case("cpu.cores", plain(cpu={"cores": 1}), "next_boot", lambda root: root.find("vcpu").get("current"), "1"),
    Case("cpu.type", plain(cpu={"type": "Westmere"}), "next_boot", text("cpu/model"), "Westmere"),
    Case("cpu.flags", plain(cpu={"flags": ["+avx", "-vme"]}), "next_boot", policy("vme"), "disable"),
    Case("cpu.flags", plain(unset=["cpu.flags"]), "next_boot", policy("vme"), None),
    Case("cpu.topology.sockets", plain(cpu={"topology": {"sockets": 1, "cores": 4}}), "next_boot", topology("sockets"), "1"),
    Case("cpu.topology.dies", plain(cpu={"topology": {"dies": 2, "cores": 2}}), "next_boot", topology("dies"), "2"),
    Case("cpu.topology.threads", plain(cpu={"topology": {"dies": 1, "threads": 2}}), "next_boot", topology("threads"), "2"),
    Case("cpu.topology.cores", plain(cpu={"topology": {"cores": 4, "threads": 1}}), "next_boot", topology("cores"), "4"),
    Case("cpu.topology.cores", plain(unset=["cpu.topology"]), "next_boot", topology("cores"), None),
    Case("cpu.max_cores", plain(cpu={"max_cores": 6}), "next_boot", text("vcpu"), "6"),
    Case("cpu.cores", plain(cpu={"cores": 8}), "next_boot", text("vcpu"), "8"),
    Case("memory_max", plain(memory_max="256"), "next_boot", text("memory"), str(256 * 1024)),
    Case("memory", plain(memory="512"), "next_boot", text("currentMemory"), str(512 * 1024)),
    Case("boot.cmdline", plain(boot={"cmdline": "a=\"b\" <c>"}), "next_boot", text("os/cmdline"), 'a="b" <c>'),
    Case("boot.kernel", lambda folder: {"boot": {"kernel": str(folder / "kernel")}}, "next_boot", file("os/kernel"), "kernel"),
    Case("boot.kernel", plain(unset=["boot.kernel"]), "next_boot", text("os/kernel"), None),
    Case("boot.initrd", lambda folder: {"boot": {"initrd": str(folder / "kernel")}}, "next_boot", file("os/initrd"), "kernel"),
    Case("boot.initrd", plain(unset=["boot.initrd", "boot.cmdline"]), "next_boot", text("os/initrd"), None),
    Case("boot.order", plain(boot={"order": ["lan", "root"]}), "next_boot", of("disk", "root", "boot", "order"), "2"),
    Case("boot.order", plain(boot={"order": ["root"]}), "next_boot", of("disk", "root", "boot", "order"), "1"),
    Case("boot.order", plain(unset=["boot.order"]), "next_boot", of("disk", "root", "boot", "order"), None),
    Case("graphics.type", plain(graphics={"type": "vnc"}), "next_boot", lambda root: attribute(root, "devices/graphics", "listen"), "127.0.0.1"),
    Case("graphics.type", plain(graphics={"type": "none"}), "next_boot", lambda root: root.find("devices/video") is None, True),
    Case("os_variant", plain(os_variant="windows"), "next_boot", lambda root: attribute(root, "clock", "offset"), "localtime"),
    Case("os_variant", plain(unset=["os_variant"]), "next_boot", lambda root: attribute(root, "clock", "offset"), "utc"),
    Case("graphics.type", plain(graphics={"type": "vnc", "password": "12345678"}), "next_boot", screen("type"), "vnc"),
    Case("graphics.listen", plain(graphics={"listen": "127.0.0.2"}), "next_boot", screen("listen"), "127.0.0.2"),
    Case("graphics.port", plain(graphics={"port": 5990}), "next_boot", screen("port"), "5990"),
    Case("graphics.password", plain(graphics={"password": "87654321"}), "next_boot", screen("passwd"), "87654321"),
    Case("video", plain(video="bochs"), "next_boot", lambda root: attribute(root, "devices/video/model", "type"), "bochs"),
    Case("video", plain(unset=["video"]), "next_boot", lambda root: attribute(root, "devices/video/model", "type") or "none", "none"),
    Case("graphics.port", plain(unset=["graphics"]), "next_boot", screen("port"), None),
    Case("tablet", plain(tablet=True), "live", lambda root: root.find("devices/input[@type='tablet']") is not None, True),
    Case("tablet", plain(tablet=False), "next_boot", lambda root: root.find("devices/input[@type='tablet']") is not None, False),
    Case("rng", plain(unset=["rng"]), "next_boot", lambda root: root.find("devices/rng") is None, True),
    Case("rng", plain(rng=True), "live", lambda root: attribute(root, "devices/rng", "model"), "virtio"),
    Case("watchdog.model", plain(watchdog={"model": "i6300esb"}), "next_boot", watchdog("model"), "i6300esb"),
    Case("watchdog.action", plain(watchdog={"action": "poweroff"}), "next_boot", watchdog("action"), "poweroff"),
    Case("watchdog.model", plain(unset=["watchdog"]), "next_boot", watchdog("model"), None),
    Case("serial", plain(serial=False), "next_boot", lambda root: root.find("devices/serial") is None, True),
    Case("serial", plain(serial=True), "next_boot", lambda root: attribute(root, "devices/serial", "type"), "pty"),
    Case("agent", plain(agent=False), "next_boot", lambda root: root.find("devices/channel") is None, True),
    Case("agent", plain(agent=True), "live", lambda root: attribute(root, "devices/channel", "type"), "unix"),
    Case("disks[data]", disk("data", pool=POOL, size="2M", serial="S 1"), "live", lambda xml: device(xml, "disk", "data").findtext("serial"), "S 1"),
    Case("disks[copy]", disk("copy", pool=POOL, image=machines.IMAGE, format="raw", bus="scsi"), "live", of("disk", "copy", "driver", "type"), "raw"),
    Case("disks[scsi]", disk("scsi", pool=POOL, size="1M", bus="scsi"), "live", of("disk", "scsi", "target", "bus"), "scsi"),
    Case("disks[sata]", disk("sata", pool=POOL, size="1M", bus="sata"), "next_boot", of("disk", "sata", "target", "bus"), "sata"),
    Case("disks[linked]", disk("linked", pool=POOL, image=machines.IMAGE), "live", of("disk", "linked", "driver", "type"), "qcow2"),
    Case("disks[root].serial", disk("root", serial="abc.1"), "next_boot", lambda root: device(root, "disk", "root").findtext("serial"), "abc.1"),
    Case("disks[root].serial", plain(unset=["disks[root].serial"]), "next_boot", lambda root: device(root, "disk", "root").findtext("serial"), None),
    Case("disks[root].cache", disk("root", cache="writethrough"), "next_boot", of("disk", "root", "driver", "cache"), "writethrough"),
    Case("disks[root].cache", plain(unset=["disks[root].cache"]), "next_boot", of("disk", "root", "driver", "cache"), None),
    Case("disks[root].limits.iops", disk("root", limits={"iops": 100}), "live", limit("root", "total_iops_sec"), "100"),
    Case("disks[root].limits.bytes", disk("root", limits={"bytes": "2MiB"}), "live", limit("root", "total_bytes_sec"), str(2 << 20)),
    Case("disks[root].limits.iops", plain(unset=["disks[root].limits.iops"]), "live", limit("root", "total_iops_sec"), None),
    Case("disks[root].limits.bytes", plain(unset=["disks[root].limits"]), "live", lambda root: device(root, "disk", "root").find("iotune"), None),
    Case("disks[root].limits.read_iops", disk("root", limits={"read_iops": 70}), "live", limit("root", "read_iops_sec"), "70"),
    Case("disks[root].limits.write_iops", disk("root", limits={"write_iops": 60}), "live", limit("root", "write_iops_sec"), "60"),
    Case("disks[root].limits.read_bytes", disk("root", limits={"read_bytes": "1MiB"}), "live", limit("root", "read_bytes_sec"), str(1 << 20)),
    Case("disks[root].limits.write_bytes", disk("root", limits={"write_bytes": 512}), "live", limit("root", "write_bytes_sec"), "512"),
    Case("disks[limited]", disk("limited", pool=POOL, size="1M", bus="scsi", limits={"iops": 5}), "live", limit("limited", "total_iops_sec"), "5"),
    Case("disks[root].discard", disk("root", discard=False), "next_boot", of("disk", "root", "driver", "discard"), None),
    Case("disks[usb]", disk("usb", pool=POOL, size="1M", bus="usb"), "live", of("disk", "usb", "target", "bus"), "usb"),
    Case("disks[root].iothread", disk("root", iothread=3), "next_boot", of("disk", "root", "driver", "iothread"), "3"),
    Case("disks[root].iothread", disk("root", iothread=1), "next_boot", of("disk", "root", "driver", "iothread"), "1"),
    Case("disks[root].iothread", plain(unset=["disks[root].iothread"]), "next_boot", of("disk", "root", "driver", "iothread"), None),
    Case("disks[root].io", disk("root", io="native", cache="none"), "next_boot", of("disk", "root", "driver", "io"), "native"),
    Case("disks[root].io", disk("root", io="threads"), "next_boot", of("disk", "root", "driver", "io"), "threads"),
    Case("disks[root].io", plain(unset=["disks[root].io", "disks[root].cache"]), "next_boot", of("disk", "root", "driver", "io"), None),
    Case("disks[raw].shareable", disk("raw", shareable=True, cache="none"), "next_boot", has("raw", "shareable"), True),
    Case("disks[raw].shareable", plain(unset=["disks[raw].shareable"]), "next_boot", has("raw", "shareable"), False),
    Case("disks[raw].bus", disk("raw", bus="scsi"), "next_boot", of("disk", "raw", "target", "bus"), "scsi"),
    Case("disks[raw].rotation_rate", disk("raw", rotation_rate=1), "next_boot", of("disk", "raw", "target", "rotation_rate"), "1"),
    Case("disks[raw].rotation_rate", disk("raw", rotation_rate=7200), "next_boot", of("disk", "raw", "target", "rotation_rate"), "7200"),
    Case("disks[raw].rotation_rate", plain(unset=["disks[raw].rotation_rate"]), "next_boot", of("disk", "raw", "target", "rotation_rate"), None),
    Case("disks[iso].readonly", disk("iso", readonly=True), "next_boot", lambda root: device(root, "disk", "iso").find("readonly") is not None, True),
    Case("disks[iso].source", second_image, "next_boot", of("disk", "iso", "source", "file"), "second.img"),
    Case("cdroms[cd].source", medium("kernel"), "live", of("disk", "cd", "source", "file"), "kernel"),
    Case("cdroms[cd].source", medium(""), "live", of("disk", "cd", "source", "file"), None),
    Case("cdroms[cd].source", medium("kernel"), "live", of("disk", "cd", "source", "file"), "kernel"),
    Case("cdroms[cd].source", plain(unset=["cdroms[cd].source"]), "live", of("disk", "cd", "source", "file"), None),
    Case("cdroms[cd].bus", plain(cdroms=[{"name": "cd", "bus": "scsi"}]), "next_boot", of("disk", "cd", "target", "bus"), "scsi"),
    Case("cdroms[dvd]", medium("kernel", name="dvd", bus="usb"), "live", of("disk", "dvd", "target", "bus"), "usb"),
    Case("cdroms[blu]", plain(cdroms=[{"name": "blu"}]), "next_boot", of("disk", "blu", "target", "bus"), "sata"),
    Case("networks[dmz]", network("dmz", bridge=BRIDGES[1], link="down", mtu=1400), "live", of("interface", "dmz", "link", "state"), "down"),
    Case("networks[dmz].link", network("dmz", link="up"), "live", of("interface", "dmz", "link", "state"), None),
    Case("networks[dmz].mtu", network("dmz", mtu=1300), "next_boot", of("interface", "dmz", "mtu", "size"), "1300"),
    Case("networks[dmz].mtu", plain(unset=["networks[dmz].mtu"]), "next_boot", of("interface", "dmz", "mtu", "size"), None),
    Case("networks[lan].bridge", network("lan", bridge=BRIDGES[1]), "live", of("interface", "lan", "source", "bridge"), BRIDGES[1]),
    Case("networks[lan].link", network("lan", link="down"), "live", of("interface", "lan", "link", "state"), "down"),
    Case("networks[lan].link", plain(unset=["networks[lan].link"]), "live", of("interface", "lan", "link", "state"), None),
    Case("networks[lan].queues", network("lan", queues=2), "next_boot", of("interface", "lan", "driver", "queues"), "2"),
    Case("networks[lan].queues", plain(unset=["networks[lan].queues"]), "next_boot", of("interface", "lan", "driver", "queues"), None),
    Case("networks[two].queues", network("two", queues=4), "next_boot", of("interface", "two", "driver", "queues"), "4"),
    Case("networks[two].model", network("two", model="vmxnet3"), "next_boot", of("interface", "two", "model", "type"), "vmxnet3"),
    Case("networks[lan].model", network("lan", model="e1000e"), "next_boot", of("interface", "lan", "model", "type"), "e1000e"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_stopped(folder: Path, case: Case) -> None:
    run = check_run_again(VM, {"name": STOPPED, **PAPER_TIMES, **case.params(files_of(STOPPED, folder))})
    change = run.plan.get(case.path)
    assert change is not None and change.how.value == "offline"
    assert not run.plan.restart_required
    assert case.proof(definition(STOPPED)) == case.value
    assert virsh("domstate", STOPPED) == "shut off"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_running(folder: Path, case: Case) -> None:
    before = case.proof(running(RUNNING)) if case.live == "next_boot" and not is_item(case.path) else None
    pid = Path(f"/run/libvirt/qemu/{RUNNING}.pid").read_text()
    run = check_run_again(VM, {"name": RUNNING, **PAPER_TIMES, **case.params(files_of(RUNNING, folder))})
    change = run.plan.get(case.path)
    # What runs already as declared needs its definition alone.
    expected = "live" if case.live == "next_boot" and not is_item(case.path) and before == case.value else case.live
    assert change is not None and change.how.value == expected
    assert case.proof(definition(RUNNING)) == case.value
    if expected == "live":
        assert case.proof(running(RUNNING)) == case.value
    elif not is_item(case.path):
        assert case.proof(running(RUNNING)) == before
        assert case.path in run.plan.restart_required
    assert Path(f"/run/libvirt/qemu/{RUNNING}.pid").read_text() == pid, "it was restarted"


PAPER_TIMES = {"shutdown_timeout": 0, "force_stop": True}


def is_item(path: str) -> bool:
    return path.endswith("]")


@pytest.mark.parametrize("name", [STOPPED, RUNNING])
def test_flags_and_words(folder: Path, name: str) -> None:
    run = check_run_again(VM, {"name": name, "tags": ["b", "a"], "autostart": True, "protection": True})
    assert {change.path: change.how.value for change in run.plan.changes}.keys() == {"tags", "autostart", "protection"}
    assert not run.plan.restart_required
    assert "enable" in virsh("dominfo", name).split("Autostart:")[1].splitlines()[0]
    unchanged(VM, {"name": name, "tags": ["a", "b"]})
    record = json.loads(Path(f"/var/lib/homelab_hybrid/guests/{name}.json").read_text())
    assert record["tags"] == ["a", "b"]
    check_run_again(VM, {"name": name, "autostart": False, "unset": ["tags", "protection"]})
    assert "tags" not in json.loads(Path(f"/var/lib/homelab_hybrid/guests/{name}.json").read_text())


@pytest.mark.parametrize("name", [STOPPED, RUNNING])
def test_startup(folder: Path, name: str) -> None:
    def changed(paths: list[str], **params: t.Any) -> t.Any:
        """What the record keeps after it."""
        run = check_run_again(VM, {"name": name, **params}, [f"startup.{path}" for path in paths])
        assert not run.plan.restart_required
        return json.loads(Path(f"/var/lib/homelab_hybrid/guests/{name}.json").read_text()).get("startup")

    before = virsh("dumpxml", name)
    kept = {"order": 2, "up_delay": 5, "down_delay": 7}
    assert changed(["order", "up_delay", "down_delay"], startup=kept) == kept
    (guest,) = read_guests({"name": [name]}, Host())["guests"]
    assert guest["startup"] == kept
    assert changed(["order", "up_delay"], startup={"order": 0}, unset=["startup.up_delay"]) == {
        "order": 0,
        "down_delay": 7,
    }
    unchanged(VM, {"name": name, "startup": {"order": 0, "up_delay": 0}})
    assert changed(["order", "down_delay"], unset=["startup"]) is None
    assert virsh("dumpxml", name) == before


@pytest.mark.parametrize("name", [STOPPED, RUNNING])
def test_a_disk_grows(folder: Path, name: str) -> None:
    for disk_name, size, path in (("root", "6M", f"{name}.root.qcow2"), ("raw", "3M", f"{name}.raw.raw")):
        run = check_run_again(
            VM, {"name": name, "disks": [{"name": disk_name, "size": size}]}, [f"disks[{disk_name}].size"]
        )
        assert run.plan.changes[0].how.value == ("live" if name == RUNNING else "offline")
        assert volume(folder / path)["virtual-size"] == int(size[:-1]) << 20
    assert "6291456" in virsh("domblkinfo", name, "vda")


def test_a_disk_that_waits_to_be_plugged_in_grows(folder: Path) -> None:
    late = {"name": "late", "pool": POOL, "size": "1M", "bus": "sata"}
    check_run_again(VM, {"name": RUNNING, "disks": [late]}, ["disks[late]"])
    check_run_again(VM, {"name": RUNNING, "disks": [{**late, "size": "2M"}]}, ["disks[late].size"])
    assert volume(folder / f"{RUNNING}.late.qcow2")["virtual-size"] == 2 << 20
    gone = {"name": RUNNING, "disks": [{"name": "late", "state": "absent"}]}
    assert not check_run_again(VM, gone, ["disks[late]"]).plan.restart_required


def test_a_disk_is_unplugged_and_kept(folder: Path) -> None:
    params = {"name": STOPPED, "disks": [{"name": "old", "state": "absent"}]}
    run = check_run_again(VM, params, ["disks[old]"])
    file = folder / f"{STOPPED}.old.qcow2"
    assert run.plan.kept == [str(file)] and file.exists()
    assert device(definition(STOPPED), "disk", "old") is None
    check_run_again(VM, {"name": STOPPED, "disks": [{"name": "old", "pool": POOL}]}, ["disks[old]"])
    assert attribute(device(definition(STOPPED), "disk", "old"), "source", "file") == str(file)


def test_what_a_guest_does_not_let_go_is_pending(folder: Path) -> None:
    params = {
        "name": RUNNING,
        "disks": [{"name": "old", "state": "absent"}],
        "networks": [{"name": "two", "state": "absent"}],
    }
    run = converge_now(VM, params)
    assert run.error is None and run.changed
    assert device(definition(RUNNING), "disk", "old") is None and device(running(RUNNING), "disk", "old") is not None
    again = unchanged(VM, params)
    assert set(again.plan.restart_required) == {"disks[old]", "networks[two]"}
    balloon = {"name": RUNNING, "memory": "32"}
    assert converge_now(VM, balloon).error is None
    assert unchanged(VM, balloon).plan.restart_required == ["memory"]


@pytest.mark.parametrize(("name", "mac"), [(STOPPED, "52-54-00-00-CC-01"), (RUNNING, "52:54:00:00:cc:02")])
def test_a_mac_is_changed_with_the_next_boot(folder: Path, name: str, mac: str) -> None:
    run = check_run_again(VM, {"name": name, "networks": [{"name": "lan", "mac": mac}]}, ["networks[lan].mac"])
    assert run.plan.changes[0].how.value == ("next_boot" if name == RUNNING else "offline")
    plain = mac.lower().replace("-", ":")
    assert attribute(device(definition(name), "interface", "lan"), "mac", "address") == plain


@pytest.mark.parametrize("name", [STOPPED, RUNNING])
def test_a_vlan_is_refused_where_libvirt_is_old_or_the_bridge_knows_none(folder: Path, name: str) -> None:
    version = libvirt.open(machines.URI).getLibVersion()
    old = f"libvirt {version // 1_000_000}.{version // 1000 % 1000}.{version % 1000} of this host has no VLANs on Linux bridges"
    for item in ({"name": "lan", "vlan": 10}, {"name": "new", "bridge": BRIDGES[1], "vlan": 10}):
        why = old if version < 11_000_000 else f"the bridge {item.get('bridge', BRIDGES[0])} knows no VLANs"
        saying = f"networks[{item['name']}].vlan: 10 is refused, as {why}"
        refuse(VM, {"name": name, "description": "not written", "networks": [item]}, saying)


@pytest.mark.parametrize("name", [STOPPED, RUNNING])
def test_a_vlan_that_somebody_wrote_is_told_and_taken_off(folder: Path, name: str) -> None:
    root = definition(name)
    card = device(root, "interface", "lan")
    assert card is not None
    card.append(ElementTree.fromstring("<vlan><tag id='10'/></vlan>"))
    (folder / "with-vlan.xml").write_text(ElementTree.tostring(root, encoding="unicode"))
    virsh("define", str(folder / "with-vlan.xml"))
    run = check_run_again(VM, {"name": name, "unset": ["networks[lan].vlan"]}, ["networks[lan].vlan"])
    (change,) = run.plan.changes
    assert (change.before, change.after) == (10, None)
    assert change.how.value == ("live" if name == RUNNING else "offline")
    card = device(definition(name), "interface", "lan")
    assert card is not None and card.find("vlan") is None


def test_a_port_that_somebody_brought_into_a_vlan_is_brought_back(folder: Path, monkeypatch: t.Any) -> None:
    """As a kernel with VLANs would tell it, for this one may have none."""
    tap = str(attribute(device(running(RUNNING), "interface", "lan"), "target", "dev"))
    ports = {tap: 30}
    monkeypatch.setattr(vlans, "default_vlan", lambda bridge, known: 1)
    monkeypatch.setattr(Host, "port_vlans", ports)
    monkeypatch.setattr(port, "put_into_vlan", lambda port, vlan: ports.update({port: vlan or 1}))
    run = check_run_again(VM, {"name": RUNNING, "unset": ["networks[lan].vlan"]}, ["networks[lan].vlan"])
    (change,) = run.plan.changes
    assert (change.before, change.after, change.how.value) == (30, None, "live") and ports == {tap: 1}


def test_exact_lists_unplug_what_is_not_named(folder: Path) -> None:
    params = {"name": STOPPED, "networks": [{"name": "lan"}], "exact": ["networks"]}
    listed = unchanged(VM, {"name": STOPPED, "networks": [{"name": "lan"}]}).plan.unmanaged
    assert "networks[two]" in listed
    check_run_again(VM, params, listed)
    assert [attribute(node, "alias", "name") for node in definition(STOPPED).iterfind("devices/interface")] == [
        "ua-lan"
    ]


def test_a_rate_is_refused_naming_the_queue_that_the_kernel_lacks(folder: Path) -> None:
    queues = {"htb": ["handle", "1:", "htb"], "sfq": ["sfq"]}
    apart = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root"]
    missing = [name for name, words in queues.items() if subprocess.run([*apart, *words], check=False).returncode]
    if not missing:
        pytest.skip("this kernel has the queues that libvirt limits cards with")
    for name in (STOPPED, RUNNING):
        params = {"name": name, "networks": [{"name": "lan", "rate_limit": {"in": "10Mbit"}}]}
        refuse(
            VM,
            params,
            f"networks[lan].rate_limit.in: 10Mbit is refused, as the kernel of this host has no {missing[0]}",
        )


@pytest.mark.parametrize("name", [STOPPED, RUNNING])
def test_what_a_backup_asks(folder: Path, name: str) -> None:
    def kept() -> t.Any:
        return json.loads(Path(f"/var/lib/homelab_hybrid/guests/{name}.json").read_text()).get("backup")

    before = virsh("dumpxml", name)
    wanted = {"hooks": {"before": ["sync"], "after": ["rm /run/x"]}, "data_paths": ["/srv"], "health": ["tcp:80"]}
    paths = ["backup.hooks.before", "backup.hooks.after", "backup.data_paths", "backup.health"]
    run = check_run_again(VM, {"name": name, "backup": wanted}, paths)
    assert not run.plan.restart_required and kept() == wanted
    refuse(VM, {"name": name, "backup": {"exclude": ["/tmp"]}}, "the disks of a machine whole")
    windows = {"name": name, "os_variant": "windows", "backup": {"hooks": {"before": ["sync"]}}}
    refuse(VM, windows, "Windows has no /bin/sh")
    check_run_again(VM, {"name": name, "unset": ["backup"]}, paths)
    assert kept() is None and virsh("dumpxml", name) == before


def test_live_drift_is_repaired_live(folder: Path) -> None:
    target = attribute(device(running(RUNNING), "interface", "lan"), "target", "dev")
    virsh("domif-setlink", RUNNING, str(target), "down")
    run = check_run_again(VM, {"name": RUNNING, "networks": [{"name": "lan", "link": "up"}]}, ["networks[lan].link"])
    assert run.plan.changes[0].how.value == "live"


def test_if_needed_restarts_once_for_what_waits(folder: Path) -> None:
    pid = Path(f"/run/libvirt/qemu/{RUNNING}.pid").read_text()
    params = {
        "name": RUNNING,
        "disks": [{"name": "old", "state": "absent"}],
        "networks": [{"name": "lan", "model": "virtio"}],
        **PAPER,
    }
    params["memory"] = "512"
    run = check_run_again(VM, {**params, "restart_policy": "if_needed"})
    assert not unchanged(VM, params).plan.restart_required
    assert run.plan.has("disks[old]", "networks[lan].model")
    assert Path(f"/run/libvirt/qemu/{RUNNING}.pid").read_text() != pid
    assert running(RUNNING).findtext("memory") == str(512 * 1024)


# What other files are about.
WHOLE = ("backup.", "cloud_init.", "startup.", "devices[]", "shares[]", "firmware.", "tpm.")


def test_every_option_has_a_case() -> None:
    elsewhere = {
        "tags",
        "protection",
        "autostart",
        "template",
        "vsock",
        "machine",
        "disks[].size",
        "disks[].pool",
        "disks[].format",
        "networks[].mac",
    }
    elsewhere |= {
        "networks[].ip",
        "networks[].ip6",
        "networks[].gateway",
        "networks[].gateway6",
        "networks[].dns",
        "networks[].vlan",
        "networks[].rate_limit.in",
        "networks[].rate_limit.out",
    }
    compared = {option.path for option in OPTIONS if option.is_compared}
    # What comes of the host: see test_vm_passthrough.py and test_vm_shares.py.
    elsewhere |= {path for path in compared if path.startswith(("devices[]", "shares[]"))}
    whole = {path for path in compared if path.startswith(WHOLE)}
    covered = {pattern(case.path) for case in CASES}
    assert compared - covered == elsewhere | whole
