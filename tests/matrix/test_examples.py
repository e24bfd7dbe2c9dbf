# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of the modules' pages, of README, of the guides and of the shipped inventories is run as it is written there.

What a host of its own would have is made here: the images, the files, the network cards. An example is refused only for one of
the ``REASONS``, and what no host of tests can run is in ``ELSEWHERE``, with the test that runs it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import pycdlib
import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore.resource import GuestRestore
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._container.resource import LxcContainer
from ansible_collections.homelab.hybrid.plugins.module_utils._core import record
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import aside
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.host import read_host_info
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.plugins.module_utils._quarantine.resource import GuestQuarantine
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.plugins.plugin_utils._catalogue import resolved
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import options_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_services import appliance_of, services_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._networks import bridges_of
from ansible_collections.homelab.hybrid.tests.harness import backups, hand_made, host_networks, installers, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import AnyResource, converge_now, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import command, virsh
from ansible_collections.homelab.hybrid.tests.unit.documents import DOCUMENTS, blocks
from ansible_collections.homelab.hybrid.tests.unit.tree import MODULES, ROOT, constant

# The examples have their own names, and no prefix of a test.
pytestmark = pytest.mark.skipif(
    "HOMELAB_CELL" not in os.environ, reason="runs in a cell: it uses the names of people's hosts"
)

Params = dict[str, t.Any]
FOLDER = Path("/srv/examples")
INVENTORIES = ROOT / "playbooks" / "inventory"
RESOURCES: dict[str, AnyResource] = {
    "bridge": Bridge(),
    "storage_pool": StoragePool(),
    "image": Image(),
    "kvm_vm": KvmVm(),
    "lxc_container": LxcContainer(),
    "guest_snapshot": GuestSnapshot(),
    "guest_quarantine": GuestQuarantine(),
    "guest_restore": GuestRestore(),
}
ASKING = ("guest_info", "host_info")
LISTS = {"hypervisor_bridges": "bridge", "hypervisor_storage_pools": "storage_pool", "hypervisor_images": "image"}
GUESTS = ("kvm_vm", "lxc_container")
# A word of an example, and why an example with it may be refused here: the kernel, the size of this host, or its bridge without an address.
REASONS = {
    "vlan": "VLAN filtering",
    "rate_limit": "which limits are made of",
    "200G": "overcommit.storage",
    "'ip': 'auto'": "that would tell the network",
    "'0000:03:00.0'": "0000:03:00.0",
    "10.20.0.30/24": "has no DHCP server of this host",
}
# What is no module of this collection, or a whole run.
ELSEWHERE = {
    "import_playbook": "tests/playbooks/awx.py",
    "dependencies": "tests/tools/execution-environment",
    "plugin": "tests/matrix/test_inventory_guests.py",
    "all": "tests/playbooks/test_readme.py",
    "guest_startup": "tests/playbooks/test_playbooks.py",
    "guest_services": "tests/playbooks/demo.sh",
    "guest_kind": "tests/matrix/test_site.py",
    "guest_spec": "tests/matrix/test_backup_container.py",
    "hypervisor_backup_repositories": "tests/matrix/test_backup_container.py",
    "ansible_connection": "tests/matrix/test_connection_lxc.py",
    "ansible_become_password": "tests/matrix/test_become.py",
    "ansible_python_interpreter": "tests/playbooks/test_readme.py",
    "include_role": "tests/playbooks/test_bare_host.py",
    "roles": "tests/playbooks/demo.sh",
    "apt": "tests/playbooks/demo.sh",
    "unbound_domain": "tests/playbooks/demo.sh",
    "reverse_proxy_overview_title": "tests/playbooks/demo.sh",
    "hybrid_is_disposable": "tests/playbooks/demo.sh",
    "hypervisor_image_catalogue": "tests/matrix/test_image_catalogue.py",
    "hypervisor_metrics": "tests/services/test_monitoring.py",
    "hypervisor_packages_extra": "tests/recovery/test_files_of_machines.py",
    "hypervisor_mounts": "tests/homelab/test_nas_guest.py",
    "home_assistant_os_address": "tests/appliances/test_home_assistant_os.py",
    "hypervisor_overcommit": "tests/matrix/test_layout.py",
    "hypervisor_networks": "tests/matrix/test_site.py",
    "hypervisor_prefix6": "tests/matrix/test_site.py",
    "hypervisor_replication_jobs": "tests/matrix/test_replication.py",
    # Profiles are part of the guests that name them.
    "guest_profiles": "tests/matrix/test_examples.py",
    "guest_profile_catalog": "tests/matrix/test_examples.py",
}
VARIABLES = {
    "lab_network": "10.30.0",
    "lab_gateway": "10.30.0.1",
    "lab_host": "10.30.0.2",
    "lab_nas": "10.30.0.20",
    "lab_resolver": "10.30.0.53",
    "lab_outer_card": "enp2s0",
    "hybrid_domain": "lab.home.arpa",
    "vault_builder_admin": "$6$a$b",
}
KEY = "ssh-ed25519 AAAA a"
# The image of the catalogue that guests of the examples are made of, and those that lie in their drives.
FETCHED = "fedora-44"
MEDIA = ("virtio-win", "windows-server-2025")
# What a guest has that an example changes.
BASE: dict[str, Params] = {
    "lxc_container": {
        "image": "debian-13",
        "rootfs": {"pool": "main"},
        "networks": [{"name": "lan", "bridge": "br0", "ip": "none"}],
    },
    "kvm_vm": {
        "memory": "64MiB",
        "disks": [
            {"name": "root", "pool": "main", "image": "debian-13-vm"},
            {"name": "data", "pool": "main", "size": "1MiB"},
        ],
        "networks": [{"name": "lan", "bridge": "br0"}],
    },
}
# What a guest with services takes from the lists of its hypervisor.
HYPERVISOR: Params = {
    "hypervisor_bridges": [{"name": "br0"}],
    "hypervisor_storage_pools": [{"name": "main"}],
    "hypervisor_images": [{"name": "debian-13", "kind": "container"}, {"name": "debian-13-vm", "kind": "vm"}],
}
OF_MACHINES = ("builder", "mail", "web", "opnsense", "truenas", "sandbox")


class Example(t.NamedTuple):
    """The options of one module, and the source that shows them."""

    source: str
    module: str
    params: Params


def filled(text: str) -> str:
    """A text of YAML with what its variables would be, and files of this host for its devices."""
    text = re.sub(r"\{\{ *(.*?) *\}\}", lambda found: VARIABLES.get(found[1], KEY), text)
    return re.sub(r"/dev/disk/by-id/([\w-]+)", rf"{FOLDER}/\1.img", text)


def shown() -> t.Iterator[tuple[str, str | None, t.Any]]:
    """Whatever is shown: its source, the name of the guest whose variables it is, and what it says."""
    for path in MODULES:
        if not path.stem.startswith("_") and (text := constant(path, "EXAMPLES")):
            yield path.stem, None, yaml.safe_load(filled(text))
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language == "yaml":
                source = (
                    document.parent.name if document.name == "README.md" and document.parent != ROOT else document.stem
                )
                yield source, Path(block.file).stem if block.file else None, yaml.safe_load(filled(block.text))
    for inventory in sorted(INVENTORIES.iterdir()):
        for path in sorted(inventory.glob("*_vars/*.yml")):
            found = yaml.safe_load(filled(path.read_text(encoding="utf-8"))) or {}
            yield f"inventory {inventory.name}", path.stem, {**group(inventory, path.stem), **found}


def group(inventory: Path, guest: str) -> Params:
    """The variables that a guest of an inventory has of its groups."""
    if not (inventory / "host_vars" / f"{guest}.yml").exists():
        return {}
    kinds = ("vms",) if guest in OF_MACHINES else ("containers", "services")
    found: Params = {}
    for name in ("all", "guests", *kinds):
        path = inventory / "group_vars" / f"{name}.yml"
        found |= yaml.safe_load(filled(path.read_text(encoding="utf-8"))) or {} if path.exists() else {}
    return found


def catalog() -> Params:
    return {
        name: its
        for dummy, dummy, found in shown()
        if isinstance(found, dict)
        for name, its in found.get("guest_profile_catalog", {}).items()
    }


def examples_of(source: str, guest: str | None, found: t.Any) -> t.Iterator[Example]:
    if isinstance(found, list):
        for task in found:
            for key, params in task.items():
                module = key.removeprefix("homelab.hybrid.")
                if module in (*RESOURCES, *ASKING, "layout"):
                    yield Example(source, module, params or {})
        return
    lists = {**found, "hypervisor_bridges": bridges_of("example", found)}
    for variable, module in LISTS.items():
        yield from (Example(source, module, item) for item in lists.get(variable, ()))
    if "guest_spec" in found and guest is not None:
        module = "kvm_vm" if guest in OF_MACHINES else "lxc_container"
        profiles = {**catalog(), **found.get("guest_profile_catalog", {})}
        spec = {"state": "present", **found["guest_spec"]}
        # The playbooks take it from what the services of a guest recommend.
        kind = {"guest_kind": "vm" if guest in OF_MACHINES else "container"}
        variables = {**kind, **found, "guest_spec": spec, "guest_profile_catalog": profiles}
        # What the role of an appliance makes of its guest is known to the playbooks alone.
        if appliance_of(services_of(guest, variables)) is None:
            yield Example(source, module, options_of(guest, variables, HYPERVISOR))


SHOWN = [*shown()]
ALL = [example for it in SHOWN for example in examples_of(*it)]


def of(*modules: str) -> list[str]:
    return list(dict.fromkeys(each.source for each in ALL if each.module in modules))


@pytest.mark.parametrize("number", range(len(SHOWN)), ids=lambda number: f"{SHOWN[number][0]}-{number}")
def test_nothing_is_shown_that_no_test_runs(number: int) -> None:
    source, dummy, found = SHOWN[number]
    entries = found if isinstance(found, list) else [found]
    words = {key.rpartition(".")[2] for entry in entries for task in (entry, *entry.get("tasks", ())) for key in task}
    named = [test for word, test in ELSEWHERE.items() if word in words]
    assert named or [*examples_of(*SHOWN[number])], f"{source}: {found}"
    assert all((ROOT / test).exists() for test in named)


# ---- what the examples stand on ----------------------------------------------------------------------------------------------


def fitted(params: Params) -> Params:
    """*params* for guests of this host: of busybox or without an operating system they answer nothing that could be waited for, and
    nobody has plugged in anything.
    """
    found = {key: value for key, value in params.items() if key != "wait_for"}
    if "devices" in found:
        # No machine starts without its PCI device.
        is_pci = [device.get("type") == "pci" or "address" in device for device in found["devices"]]
        each = zip(found["devices"], is_pci, strict=True)
        found["devices"] = [device if of_pci else {**device, "optional": True} for device, of_pci in each]
    if "vcpus" in found:
        found["vcpus"] = min(found["vcpus"], os.cpu_count() or 1)
    return found


def run_example(module: str, params: Params) -> bool:
    """Run it, and run it again. Whether it was not refused; then it is for the reason that its words allow."""
    done = converge_now(RESOURCES[module], params)
    if done.error is not None:
        reasons = [reason for word, reason in REASONS.items() if word in str(params)]
        assert any(reason in done.error.message for reason in reasons), f"{module} {params}: {done.error}"
        assert not done.changed
        return False
    assert all(change.done for change in done.plan.changes)
    if params.get("state") not in ("restarted", "reverted"):
        unchanged(RESOURCES[module], params)
    return True


@contextlib.contextmanager
def images() -> t.Iterator[None]:
    """The images that the examples build, of busybox, and of a disk with nothing on it."""
    FOLDER.mkdir()
    FOLDER.chmod(0o711)
    tiny_root.build(FOLDER / "tiny.tar.zst")
    disk = hand_made.image(FOLDER / "disk.qcow2", form="qcow2")
    disk.chmod(0o644)
    try:
        for release in (12, 13):
            tiny_root.store(f"debian-{release}", FOLDER / "tiny.tar.zst")
            data = {"kind": "vm", "format": "qcow2", "path": str(disk), "size_bytes": 1 << 20, "digest": "sha256:0"}
            record.load("images", f"debian-{release}-vm").save(**data)
        record.load("images", FETCHED).save(**data)
        medium = pycdlib.PyCdlib()
        medium.new(vol_ident="MEDIUM")
        medium.write(str(FOLDER / "media.iso"))
        medium.close()
        path = FOLDER / "media.iso"
        path.chmod(0o644)
        for name in MEDIA:
            its = {"kind": "iso", "format": "iso", "path": str(path), "size_bytes": path.stat().st_size}
            record.load("images", name).save(**its, digest="sha256:0")
        yield
    finally:
        for release in (12, 13):
            for name in (f"debian-{release}", f"debian-{release}-vm"):
                record.load("images", name).remove()
        for name in (FETCHED, *MEDIA):
            record.load("images", name).remove()
        shutil.rmtree(FOLDER)


@contextlib.contextmanager
def files() -> t.Iterator[None]:
    """The folders and disks of people, as the examples call them."""
    made = [Path("/srv") / name for name in ("films", "media", "documents", "iso", "old", "downloads")]
    for folder in made:
        folder.mkdir()
        folder.chmod(0o755)
    for name in ("appliance", "opnsense"):
        hand_made.image(made[3] / f"{name}.iso")
    media = set(re.findall(r"/srv/iso/[\w.-]+\.iso", str([each.params.get("install") for each in ALL])))
    for path in sorted(media):
        if not (made[3] / "one").exists():
            installers.kernel_iso(made[3] / "one")
        os.link(made[3] / "one", path)
    for name in ("data", "web"):
        hand_made.image(made[4] / f"{name}.qcow2", form="qcow2")
    hand_made.image(made[5] / "appliance.qcow2", form="qcow2")
    for text in dict.fromkeys(re.findall(rf"{FOLDER}/[\w-]+\.img", str(ALL))):
        with open(text, "wb") as stream:
            stream.truncate(256 << 20)
    try:
        yield
    finally:
        for folder in made:
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def people() -> t.Iterator[None]:
    with images(), files():
        yield


def remove(module: str, name: str, **more: t.Any) -> None:
    outcome = converge_now(RESOURCES[module], {"name": name, "state": "absent", **more})
    assert outcome.error is None, outcome.error


def remove_guest(module: str, name: str) -> None:
    if module == "lxc_container":
        subprocess.run(["lxc-stop", "-k", "-n", name], check=False, capture_output=True)
        remove(module, name, delete=["rootfs", "snapshots"])
    else:
        virsh("destroy", name, check=False)
        remove(module, name, delete=["disks", "seed", "snapshots"], force_stop=True, shutdown_timeout=1)


@pytest.fixture(scope="module")
def surroundings(people: None) -> t.Iterator[None]:
    """The pools and bridges of the examples of guests."""
    bridges = ("br0", "br1", "lan0", "lab0", "labbr0")
    pools: list[Params] = [{"name": name, "path": str(FOLDER / name)} for name in ("main", "guests", "lab")]
    pools.append({"name": "fast", "type": "btrfs", "source": str(FOLDER / "fast.source"), "path": str(FOLDER / "fast")})
    with open(FOLDER / "fast.source", "wb") as stream:
        stream.truncate(512 << 20)
    for bridge in bridges:
        command("ip", "link", "add", bridge, "up", "type", "bridge")
    for pool in pools:
        assert converge_now(RESOURCES["storage_pool"], pool).error is None
    yield
    for pool in pools:
        remove("storage_pool", pool["name"], allow=["delete_data"])
    for bridge in bridges:
        command("ip", "link", "delete", bridge)


# ---- the examples ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", of("bridge"))
def test_bridges(people: None, source: str) -> None:
    told = [each.params for each in ALL if each.source == source and each.module == "bridge"]
    with_ports = {params["name"] for params in told if params.get("mode") == "ports"}
    try:
        for params in told:
            if params["name"] not in with_ports:
                run_example("bridge", params)
    finally:
        for name in dict.fromkeys(params["name"] for params in told if params["name"] not in with_ports):
            remove("bridge", name)
    if not with_ports:
        return
    with host_networks.network_of_a_host():
        host_networks.use_ifupdown()
        for port in dict.fromkeys(port["name"] for params in told for port in params.get("ports", ())):
            command("ip", "link", "add", port, "type", "veth", "peer", "name", f"{port}-far")
        for params in told:
            if params["name"] in with_ports:
                run_example("bridge", params)
        for name in with_ports:
            remove("bridge", name)


@pytest.fixture
def mounted_btrfs(people: None) -> t.Iterator[None]:
    """What /data/guests of an example lies in."""
    point, file = Path("/data"), FOLDER / "data.file"
    point.mkdir()
    with open(file, "wb") as stream:
        stream.truncate(256 << 20)
    command("mkfs.btrfs", "-q", str(file))
    command("mount", "-o", "loop", str(file), str(point))
    yield
    command("umount", "-l", str(point))
    point.rmdir()


@pytest.mark.parametrize("source", of("storage_pool"))
def test_storage_pools(mounted_btrfs: None, source: str) -> None:
    told = [each.params for each in ALL if each.source == source and each.module == "storage_pool"]
    for params in told:
        before = {"name": params["name"], "path": f"/srv/pool-{params['name']}"}
        if params.get("state") == "absent":
            assert converge_now(RESOURCES["storage_pool"], before).error is None
            (Path(before["path"]) / "data").touch()
        if "format" in params.get("allow", ()):
            remove("storage_pool", params["name"], allow=["delete_data"])
            command("mkfs.ext4", "-q", "-F", params["source"])
        run_example("storage_pool", params)
        if params.get("state") == "absent":
            assert (Path(before["path"]) / "data").exists() == ("allow" not in params)
    for name in dict.fromkeys(params["name"] for params in told):
        remove("storage_pool", name, allow=["delete_data"])
        shutil.rmtree(f"/srv/pool-{name}", ignore_errors=True)
    for file in FOLDER.glob("nvme-*.img"):
        os.truncate(file, 0)
        os.truncate(file, 256 << 20)


@pytest.mark.parametrize("source", of("image"))
def test_images(people: None, source: str) -> None:
    own = [
        entry
        for *dummy, found in SHOWN
        if isinstance(found, dict)
        for entry in found.get("hypervisor_image_catalogue", ())
    ]
    for params in [resolved(each.params, own) for each in ALL if each.source == source and each.module == "image"]:
        # What a recipe builds is tested in test_image.py, what is fetched in test_image_fetch.py: it would take minutes.
        files_of = {"container": "tiny.tar.zst", "vm": "disk.qcow2", "iso": "media.iso"}
        its = {key: value for key, value in params.items() if key in ("kind", "path", "presets", "state")}
        name = f"{params['name']}-example"
        if ("path" not in params or params["kind"] == "iso") and "kind" in params:
            its["path"] = str(FOLDER / files_of[params["kind"]])
        run_example("image", {**its, "name": name})
        remove("image", name)


def test_the_page_of_layout(people: None) -> None:
    small = {"shutdown_timeout": 1, "force_stop": True}
    guests: dict[str, str] = {}
    try:
        for example in (each for each in ALL if each.module == "layout"):
            params = dict(example.params)
            for key, module in (("vms", "kvm_vm"), ("containers", "lxc_container")):
                if key in params:
                    params[key] = [{**fitted(item), **small} for item in params[key]]
                    guests |= {item["name"]: module for item in params[key]}
            params.pop("images", None)  # they are there, and building them takes minutes
            outcome = converge_layout(params, dry_run=False)
            if outcome.error is not None:
                assert any(reason in str(outcome.error) for word, reason in REASONS.items() if word in str(params)), (
                    outcome.error
                )
            else:
                again = converge_layout(params, dry_run=False)
                assert again.error is None and not again.told["changed"]
    finally:
        for name, module in guests.items():
            remove_guest(module, name)
        remove("storage_pool", "main", allow=["delete_data"])
        remove("bridge", "lab0")


def prepare(example: Example) -> None:
    """The guest that an example changes; one that it makes is not there."""
    name = example.params["name"]
    if example.params.get("allow") == ["adopt"]:
        hand_made.image(FOLDER / "main" / f"{name}.root.qcow2", form="qcow2")
        return
    if name == "web":
        disk = hand_made.disk("/srv/old/web.qcow2", form="qcow2")
        hand_made.make(name, disk + hand_made.card("52:54:00:aa:bb:cc", "br0"))
    elif "clone_from" in example.params:
        make_origin(example.module, **example.params["clone_from"])
    elif not is_creation(example.params):
        base = BASE[example.module]
        own = example.params.get("rootfs")
        base = {**base, "rootfs": {"pool": own["pool"]}} if own else base
        outcome = converge_now(RESOURCES[example.module], {**base, "name": name})
        assert outcome.error is None, outcome.error


def make_origin(module: str, guest: str, snapshot: str | None = None, **how: t.Any) -> None:
    """What an example clones."""
    outcome = converge_now(RESOURCES[module], {**BASE[module], "name": guest})
    assert outcome.error is None, outcome.error
    if snapshot is not None:
        outcome = converge_now(GuestSnapshot(), {"guest": guest, "name": snapshot})
        assert outcome.error is None, outcome.error


def is_creation(params: Params) -> bool:
    """Whether a guest can be made of these alone."""
    return "image" in params or {"memory", "disks"} <= {*params}


def start(module: str, name: str) -> None:
    outcome = converge_now(RESOURCES[module], {"name": name, "state": "started"})
    assert outcome.error is None, outcome.error
    told = command("lxc-info", "-n", name, "-s", "-H") if module == "lxc_container" else virsh("domstate", name)
    assert told.strip() in ("RUNNING", "running")


@pytest.mark.parametrize(
    "number",
    [number for number, each in enumerate(ALL) if each.module in GUESTS and each.source not in GUESTS],
    ids=lambda number: f"{ALL[number].source}-{number}",
)
def test_guests(surroundings: None, number: int) -> None:
    example = ALL[number]
    name = example.params["name"]
    try:
        prepare(example)
        is_run = run_example(example.module, fitted(example.params))
        is_shipped = example.source.startswith("inventory") or example.module == "lxc_container"
        if is_run and is_shipped and example.params.get("state") != "absent" and not example.params.get("template"):
            start(example.module, name)
    finally:
        remove_guest(example.module, name)
        if "clone_from" in example.params:
            remove_guest(example.module, example.params["clone_from"]["guest"])


@pytest.mark.parametrize("module", GUESTS)
def test_the_page_of_a_module_from_top_to_bottom(surroundings: None, module: str) -> None:
    told = [each for each in ALL if each.source == module]
    small = {"shutdown_timeout": 1, "force_stop": True}
    made: set[str] = set()
    try:
        for example in told:
            name = example.params["name"]
            if name not in made:
                prepare(example)
            made.add(name)
            is_run = run_example(module, {**fitted(example.params), **small})
            if is_run and example.params.get("state") != "absent":
                start(module, name)
    finally:
        for name in made:
            remove_guest(module, name)


@pytest.mark.parametrize("source", of("guest_snapshot"))
def test_snapshots(surroundings: None, source: str) -> None:
    told = [each.params for each in ALL if each.source == source and each.module == "guest_snapshot"]
    guests = {params["guest"]: "kvm_vm" if params["guest"] in OF_MACHINES else "lxc_container" for params in told}
    try:
        for name, module in guests.items():
            outcome = converge_now(RESOURCES[module], {**BASE[module], "name": name})
            assert outcome.error is None, outcome.error
        for params in told:
            assert run_example("guest_snapshot", params)
    finally:
        for name, module in guests.items():
            remove_guest(module, name)


@pytest.mark.parametrize("source", of("guest_quarantine"))
def test_what_lies_in_the_quarantine(surroundings: None, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [each.params for each in ALL if each.source == source and each.module == "guest_quarantine"]
    monkeypatch.setattr(aside, "_free_name", lambda guest, host: f"{guest}@{moments[guest]}")
    moments = {params["name"]: params.get("moment", "latest") for params in told}
    moments = {name: which if which[0].isdecimal() else "20261127T221501Z" for name, which in moments.items()}
    for params in told:
        name, module = params["name"], "kvm_vm" if params["name"] in OF_MACHINES else "lxc_container"
        try:
            outcome = converge_now(RESOURCES[module], {**BASE[module], "name": name})
            assert outcome.error is None, outcome.error
            words = ["disks"] if module == "kvm_vm" else ["rootfs"]
            remove(module, name, delete=words, quarantine=True)
            assert run_example("guest_quarantine", params)
        finally:
            remove_guest(module, name)


@pytest.mark.parametrize("source", of("guest_restore"))
def test_restores(surroundings: None, source: str) -> None:
    told = [each.params for each in ALL if each.source == source and each.module == "guest_restore"]
    # Copies of another host are what tests/matrix/test_replication.py brings back.
    told = [params for params in told if not params.get("replica")]
    small = {"shutdown_timeout": 1, "force_stop": True}
    for params in told:
        name = params["name"]
        try:
            guest = {**BASE["lxc_container"], "name": name}
            assert converge_now(RESOURCES["lxc_container"], guest).error is None
            fill(name, params.get("paths", ()))
            declared = backups.declared(FOLDER / "restic", guests=[name])
            declared["repositories"][0]["name"] = declared["jobs"][0]["repository"] = params["repository"]
            assert converge_now(backups.BACKUP, declared).error is None
            backups.backup("run", backups.JOB)
            (its,) = backups.listed(FOLDER / "restic")
            if not {"as", "allow"} & {*params}:
                remove_guest("lxc_container", name)
            # What was backed up here has another id, and was made at another moment.
            meant = {"backup": its["id"]} if "backup" in params else {"at": its["time"]} if "at" in params else {}
            assert run_example("guest_restore", {**params, **meant, **small})
        finally:
            for each in sorted({name, params.get("as", name)}):
                remove_guest("lxc_container", each)
            shutil.rmtree(params.get("to", FOLDER / "nothing"), ignore_errors=True)
            backups.tear_down(FOLDER / "restic")
            gone = [{"name": params["repository"], "state": "absent"}]
            assert converge_now(backups.BACKUP, {"repositories": gone}).error is None


def fill(name: str, folders: t.Sequence[str]) -> None:
    """Make what of *folders* is not in the container, as its own root would."""
    told = subprocess.run(["lxc-info", "-n", name, "-c", "lxc.rootfs.path"], capture_output=True, text=True, check=True)
    root = Path(told.stdout.partition("=")[2].strip().removeprefix("dir:"))
    for folder in folders:
        place = root
        for part in Path(folder).relative_to("/").parts:
            place /= part
            if not place.exists():
                place.mkdir()
                os.chown(place, root.stat().st_uid, root.stat().st_gid)


def test_what_is_asked(people: None) -> None:
    for example in ALL:
        if example.module == "host_info":
            assert read_host_info({"journal": 0, **example.params}, Host())["host"]
        elif example.module == "guest_info":
            assert read_guests({"name": [], "kind": None, **example.params}, Host())["guests"] == []
