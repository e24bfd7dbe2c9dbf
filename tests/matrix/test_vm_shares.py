# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of the host that a machine shares by virtiofs: in its definition, while it runs, and in a guest that mounts one."""

from __future__ import annotations

import base64
import json
import subprocess
import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import sharing
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import make
from ansible_collections.homelab.hybrid.tests.harness.machines import attribute, definition, device, running, virsh

VM = KvmVm()
NAME = f"{machines.PREFIX}-shares"
PLAIN: dict[str, t.Any] = {"name": NAME, **machines.PAPER}


@pytest.fixture
def media(folder: Path) -> Path:
    """A folder of the host with a file in it."""
    path = folder / "media"
    path.mkdir(mode=0o755, exist_ok=True)
    (path / "film").write_text("a film\n")
    return path


def shares(*items: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {**PLAIN, "shares": list(items), **more}


def tags(root: t.Any) -> list[str]:
    return [str(node.get("dir")) for node in root.iterfind("devices/filesystem/target")]


def has_shared_memory(root: t.Any) -> bool:
    return (attribute(root, "memoryBacking/source", "type"), attribute(root, "memoryBacking/access", "mode")) == (
        "memfd",
        "shared",
    )


def inside(script: str) -> str:
    """What a shell in the guest says."""

    def agent(command: str, **arguments: t.Any) -> t.Any:
        request = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(virsh("qemu-agent-command", NAME, request))["return"]

    pid = agent("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
    told: dict[str, t.Any] = {}

    def has_ended() -> bool:
        # It is told once.
        told.update(agent("guest-exec-status", pid=pid))
        return bool(told["exited"])

    wait_until("the script to end", has_ended, timeout_seconds=60)
    return base64.b64decode(told.get("out-data", "")).decode()


def test_a_share_brings_the_memory_that_it_needs(media: Path) -> None:
    run = check_run_again(VM, shares({"name": "media", "source": str(media)}))
    assert run.facts["guest"]["shares"] == [{"name": "media", "source": str(media), "readonly": False}]
    root = definition(NAME)
    assert tags(root) == ["media"] and has_shared_memory(root)
    assert attribute(device(root, "filesystem", "media"), "driver", "type") == "virtiofs"
    check_run_again(VM, shares({"name": "media", "cache": "always"}), ["shares[media].cache"])
    assert attribute(definition(NAME), "devices/filesystem/binary/cache", "mode") == "always"
    check_run_again(VM, {**PLAIN, "unset": ["shares[media].cache"]}, ["shares[media].cache"])
    assert definition(NAME).find("devices/filesystem/binary/cache") is None
    other = media.parent / "other"
    other.mkdir(exist_ok=True)
    check_run_again(VM, shares({"name": "media", "source": str(other)}), ["shares[media].source"])
    assert attribute(definition(NAME), "devices/filesystem/source", "dir") == str(other)
    assert unchanged(VM, shares()).plan.unmanaged == ["shares[media]"]
    check_run_again(VM, shares(exact=["shares"]), ["shares[media]"])
    assert tags(definition(NAME)) == []


def test_a_share_comes_and_goes_while_memory_is_shared(media: Path) -> None:
    both = [{"name": name, "source": str(media)} for name in ("media", "more")]
    assert converge_now(VM, shares(both[0], state="started")).error is None
    check_run_again(VM, shares(*both), ["shares[more]"])
    assert tags(running(NAME)) == ["media", "more"] == tags(definition(NAME))
    refuse(VM, shares(state="suspended"), "shares[media], shares[more], and is not saved to disk")
    saved = subprocess.run(
        ["virsh", "-c", machines.URI, "managedsave", NAME], capture_output=True, text=True, check=False
    )
    assert "virtiofs" in saved.stderr or "vhost-user" in saved.stderr, saved
    run = check_run_again(VM, shares({"name": "more", "state": "absent"}), ["shares[more]"])
    # Firmware answers no request to let go.
    assert run.plan.restart_required in ([], ["shares[more]"]) and tags(definition(NAME)) == ["media"]
    run = check_run_again(VM, shares({"name": "media", "cache": "none"}), ["shares[media].cache"])
    assert run.plan.restart_required[-1] == "shares[media].cache"


def test_the_first_share_of_a_running_machine_waits_for_its_next_start(media: Path) -> None:
    assert converge_now(VM, {**PLAIN, "state": "started"}).error is None
    run = check_run_again(VM, shares({"name": "media", "source": str(media)}), ["shares[media]"])
    assert run.plan.restart_required == ["shares[media]"] and tags(running(NAME)) == []
    check_run_again(VM, shares({"name": "media", "source": str(media)}, restart_policy="if_needed"), ["shares[media]"])
    assert tags(running(NAME)) == ["media"] and has_shared_memory(running(NAME))


def test_what_cannot_be_shared_is_refused(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(VM, shares({"name": "media", "source": str(media / "film")}), "is no folder")
    refuse(VM, shares({"name": "media"}), "shares[media].source: is needed")
    refuse(VM, shares({"name": "m" * 37, "source": str(media)}), "at most 36 characters")
    check = converge_now(VM, shares({"name": "media", "source": "/nowhere"}), dry_run=True)
    assert check.error is None and check.plan.assumed == ["path /nowhere"]
    run = converge_now(VM, shares({"name": "media", "source": "/nowhere"}))
    assert run.error is not None and not run.changed and "there is no path /nowhere" in run.error.message
    if libvirt.getVersion() < sharing.LEAST_LIBVIRT_TO_READ_ONLY:
        read_only = {"name": "media", "source": str(media), "readonly": True}
        assert refuse(VM, shares(read_only), "shares no folder read-only").startswith("shares[media].readonly")
    gone = tmp_path / "gone.json"
    gone.write_text(json.dumps({"type": "fs", "binary": "/nowhere/virtiofsd"}))
    monkeypatch.setattr(sharing, "DESCRIPTIONS", (str(gone),))
    refuse(VM, shares({"name": "media", "source": str(media)}), "this host has no virtiofsd")


THEIRS = (
    "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='1024'/><source dir='{}'/>"
    "<target dir='their tag'/></filesystem><filesystem type='mount'><source dir='/srv'/><target dir='by-9p'/></filesystem>"
)
SHARED = "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>"


def test_a_share_made_by_hand_has_a_place_until_it_gets_a_name(media: Path) -> None:
    make(NAME, THEIRS.format(media), rest=SHARED)
    theirs = {"name": NAME, "exact": ["shares"]}
    assert unchanged(VM, {"name": NAME, "shares": []}).plan.unmanaged == ["shares[share0]"]
    unchanged(VM, {**theirs, "shares": [{"name": "films", "source": str(media)}]})
    new = {"name": "more", "source": str(media)}
    check_run_again(VM, {**theirs, "shares": [{"name": "films"}, new]}, ["shares[more]"])
    assert tags(definition(NAME)) == ["their tag", "by-9p", "more"] or sorted(tags(definition(NAME))) == sorted(
        ["their tag", "by-9p", "more"]
    )
    assert attribute(definition(NAME), "memoryBacking/source", "type") == "file"
    check_run_again(VM, {**theirs, "shares": []}, ["shares[films]", "shares[more]"])
    assert tags(definition(NAME)) == ["by-9p"]


def test_a_guest_reads_and_writes_files_of_its_host(media: Path) -> None:
    tiny = tiny_vm.tiny_vm()
    boot = {"kernel": str(tiny.kernel), "initrd": str(tiny.initrd), "cmdline": tiny.cmdline}
    share = {"name": "media", "source": str(media)}
    params = {**PLAIN, "memory": "256", "boot": boot, "state": "started", "shares": [share], "wait_for": ["agent"]}
    check_run_again(VM, params)
    said = inside(
        "modprobe virtiofs; mkdir -p /media; until mount -t virtiofs media /media; do sleep 1; done; cat /media/film",
    )
    assert said == "a film\n"
    more = media.parent / "more"
    more.mkdir(exist_ok=True)
    check_run_again(VM, {**params, "shares": [share, {"name": "more", "source": str(more)}]}, ["shares[more]"])
    inside("mkdir -p /more; until mount -t virtiofs more /more; do sleep 1; done; echo seen > /more/seen")
    assert (more / "seen").read_text() == "seen\n"
