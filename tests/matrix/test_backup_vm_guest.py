# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a machine with an agent that freezes a file system, and of one that shuts down when it is asked. One boot for all."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.capture import Captured, Hooks, Wish
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import capture
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.machines import POOL, command, state_of, virsh
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import tiny_vm

NAME = f"{machines.PREFIX}-tiny"
FOLDER = Path(paths.capture_folder(NAME))


@pytest.fixture(scope="module", autouse=True)
def _guest() -> t.Iterator[None]:
    tiny = tiny_vm()
    with machines.surroundings():
        params = {
            "name": NAME,
            "state": "started",
            "memory": "256",
            "boot": {"kernel": str(tiny.kernel), "initrd": str(tiny.initrd), "cmdline": tiny.cmdline},
            "disks": [{"name": "data", "pool": POOL, "size": "64M"}, {"name": "more", "pool": POOL, "size": "8M"}],
            "wait_for": ["agent"],
            "wait_timeout": 120,
        }
        outcome = converge_now(KvmVm(), params)
        assert outcome.error is None, outcome.error
        inside(
            "until grep -qw ext4 /proc/filesystems; do sleep 1; done; mke2fs /dev/vda && mount -t ext4 /dev/vda /mnt"
        )
        yield


def ask(request: str, **arguments: t.Any) -> t.Any:
    words = json.dumps({"execute": request, "arguments": arguments})
    return json.loads(virsh("qemu-agent-command", NAME, words))["return"]


def inside(script: str) -> str:
    """What a shell in the guest prints, which must end well."""
    pid = ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
    while not (told := ask("guest-exec-status", pid=pid))["exited"]:
        time.sleep(0.1)
    out, err = (base64.b64decode(told.get(key, "")).decode() for key in ("out-data", "err-data"))
    assert told["exitcode"] == 0, (script, out, err)
    return out.strip()


def is_frozen() -> bool:
    return bool(ask("guest-fsfreeze-status") == "frozen")


@contextlib.contextmanager
def shown(mode: str = "snapshot", hooks: Hooks = Hooks()) -> t.Iterator[Captured]:  # noqa: B008  # it is a constant
    FOLDER.mkdir(parents=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, FOLDER)
        wish = Wish(NAME, str(FOLDER), mode, hooks)
        yield stack.enter_context(capture.captured(wish, Host(), lambda **begun: None, ()))


def text_in(disk: Path, path: str) -> str:
    """A file of the file system on *disk*, which nothing mounts."""
    return command("debugfs", "-R", f"cat {path}", str(disk), check=False)


def test_what_the_guest_writes_while_it_is_read_is_not_in_the_copy() -> None:
    inside("echo before > /mnt/file; sync")
    inside("dd if=/dev/zero bs=1M count=1 | tr '\\0' a | dd of=/dev/vdb bs=1M conv=fsync")
    with shown() as its:
        assert its.consistent == "application" and its.warnings == () and not is_frozen()
        inside("echo since > /mnt/file; dd if=/dev/zero bs=1M count=8 of=/dev/vdb; sync")
        assert inside("head -c 1 /dev/vdb | od -An -c") == "\\0"
        with (FOLDER / "disks/more.raw").open("rb") as stream:
            assert stream.read(1 << 20) == b"a" * (1 << 20)
        assert text_in(FOLDER / "disks/data.raw", "/file") == "before\n"
        # Its file system was frozen, and not only still: nothing is left to be replayed.
        assert "clean" in command("dumpe2fs", "-h", str(FOLDER / "disks/data.raw"))
    assert inside("cat /mnt/file") == "since" and not is_frozen()


def test_hooks_run_inside_before_and_after_and_one_that_fails_ends_it() -> None:
    with shown(hooks=Hooks(("echo dumped > /mnt/dump; sync",), ("rm /mnt/dump",))):
        assert text_in(FOLDER / "disks/data.raw", "/dump") == "dumped\n"
        # It is undone as soon as all is captured, and not when all is stored.
        assert inside("ls /mnt/dump 2> /dev/null || echo gone") == "gone"
    why = r"'echo no disk >&2; false' ended with 1 inside hlvm-tiny: no disk"
    with pytest.raises(HybridError, match=why), shown(hooks=Hooks(("echo no disk >&2; false",), ())):
        raise AssertionError("it was shown")
    assert not is_frozen() and "None" in virsh("domjobinfo", NAME)


def test_services_write_down_what_they_know_and_one_that_nobody_asks_makes_it_crash_consistent() -> None:
    hook = "/etc/homelab_hybrid/backup.d/web"
    inside("mkdir -p /etc/homelab_hybrid/backup.d /var/lib/homelab_hybrid/services")
    inside(f"printf '#!/bin/sh\\necho $1 >> /mnt/order; sync\\n' > {hook}; chmod 700 {hook}")
    with shown() as its:
        assert its.consistent == "application" and its.trouble == ""
        assert (
            text_in(FOLDER / "disks/data.raw", "/order") == "before\n" and inside("cat /mnt/order") == "before\nafter"
        )
    inside("echo '\"in_force\"' > /var/lib/homelab_hybrid/services/db.json")
    with shown() as its:
        assert its.consistent == "crash"
    inside("rm /var/lib/homelab_hybrid/services/db.json")
    inside(f"printf '#!/bin/sh\\necho no disk >&2; test $1 = before\\n' > {hook}")
    with shown() as its:
        assert "web after failed" in its.trouble and its.trouble.endswith("no disk")
    inside(f"rm {hook}")


def test_a_capture_that_fails_while_the_guest_is_frozen_thaws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fail(*dummy: t.Any) -> None:
        seen.append(is_frozen())
        raise HybridError("no")

    monkeypatch.setattr(capture.serving, "begin", fail)
    with pytest.raises(HybridError, match="no"), shown():
        raise AssertionError("it was shown")
    assert seen == [True] and not is_frozen()


def test_a_silent_agent_makes_a_backup_as_of_a_power_cut() -> None:
    words = {"path": "/bin/kill", "arg": ["-STOP", inside("cat /run/qemu-ga.pid")]}
    virsh("qemu-agent-command", NAME, json.dumps({"execute": "guest-exec", "arguments": words}), check=False)
    with shown() as its:
        assert its.consistent == "crash" and "were not frozen" in its.warnings[0] and state_of(NAME) == "running"


def test_mode_stop_shuts_it_down_and_starts_it_again() -> None:
    number = virsh("domid", NAME)
    with shown("stop") as its:
        assert its.consistent == "application" and state_of(NAME) == "running" and virsh("domid", NAME) != number
        assert text_in(FOLDER / "disks/data.raw", "/file") == "since\n"
    assert state_of(NAME) == "running" and "None" in virsh("domjobinfo", NAME)
