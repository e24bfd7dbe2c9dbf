# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether KVM works on this host. That /dev/kvm exists proves nothing: a CPU that virtualizes does, and a virtual CPU that starts."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import typing as t

from .._core import atomic, command, paths
from .._core.value import Value

DEVICE = "/dev/kvm"
CACHE = os.path.join(paths.RUN, "kvm.json")
MACHINES = {"x86_64": "q35", "aarch64": "virt"}
PROBE_SECONDS = 30.0


class Accelerator(Value):
    """What QEMU runs guests with. *kind* is ``kvm`` or ``tcg`` (emulation), *reason* the sentence why."""

    __slots__ = ("kind", "reason")

    def __init__(self, kind: t.Literal["kvm", "tcg"], reason: str) -> None:
        self.kind = kind
        self.reason = reason

    @property
    def is_kvm(self) -> bool:
        return self.kind == "kvm"


def probe() -> Accelerator:
    """What this host can do. The start of a virtual CPU is tried once per boot, QEMU and node, and remembered."""
    emulator = find_emulator()
    if emulator is None:
        return Accelerator("tcg", f"QEMU for {platform.machine()} is not installed")
    if not os.path.exists(DEVICE):
        return Accelerator(
            "tcg", f"there is no {DEVICE}: no virtualization by the CPU, or its kernel module is not loaded"
        )
    if not can_virtualize(platform.machine(), atomic.read_text("/proc/cpuinfo") or ""):
        return Accelerator(
            "tcg",
            f"there is {DEVICE}, but the CPU shows neither vmx nor svm: without them it runs firmware, and kernels hang",
        )
    key = cache_key(emulator)
    known = read_cache(key)
    if known is not None:
        return known
    found = start_cpu(emulator)
    if found is None:
        return Accelerator("tcg", f"QEMU did not answer within {PROBE_SECONDS:g} s when it was started with KVM")
    write_cache(key, found)
    return found


def can_virtualize(machine: str, cpuinfo: str) -> bool:
    """Whether the CPU has what KVM needs, by the text of /proc/cpuinfo.

    A KVM that its host's hypervisor emulates (PVM) has the device without the flags. A virtual CPU starts there, also
    with the host's own model, but a kernel that knows nothing of it stops in its first steps.
    """
    if machine != "x86_64":
        return True
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is not None and not {"vmx", "svm"}.isdisjoint(flags.group(1).split())


def find_emulator() -> str | None:
    """QEMU for the architecture of this host."""
    return shutil.which(f"qemu-system-{platform.machine()}", path="/usr/local/bin:/usr/bin:/bin")


def cache_key(emulator: str) -> list[t.Any]:
    """What the answer holds for: this boot, this QEMU, this device node."""
    boot = (atomic.read_text("/proc/sys/kernel/random/boot_id") or "").strip()
    return [boot, emulator, os.stat(emulator).st_mtime_ns, os.stat(DEVICE).st_rdev]


def read_cache(key: list[t.Any]) -> Accelerator | None:
    try:
        stored = json.loads(atomic.read_text(CACHE) or "null")
        return Accelerator(stored["kind"], stored["reason"]) if stored["key"] == key else None
    except (TypeError, KeyError, ValueError):
        return None


def write_cache(key: list[t.Any], found: Accelerator) -> None:
    try:
        atomic.write_file(CACHE, json.dumps({"key": key, "kind": found.kind, "reason": found.reason}) + "\n")
    except OSError:
        # Only a cache: an unprivileged reader probes each time.
        return


def start_cpu(emulator: str) -> Accelerator | None:
    """Start a virtual CPU of the host's own model, held before its first instruction. ``None``: no answer in time.

    Where KVM is only half there (nested, or without all model specific registers) QEMU aborts here at once, and kernels of
    guests would hang. A crash leaves no core file.
    """
    machine = MACHINES.get(platform.machine(), "none")
    argv = ["prlimit", "--core=0", "--", emulator, "-accel", "kvm", "-cpu", "host", "-machine", machine]
    argv += ["-m", "16", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-monitor", "stdio"]
    try:
        command.run(argv, input="quit\n", timeout=PROBE_SECONDS)
    except command.CommandError as exc:
        if exc.rc == 124:
            return None
        said = [line.strip() for line in exc.stderr.splitlines() if line.strip()]
        first = said[0] if said else f"QEMU ended with {exc.rc}"
        return Accelerator("tcg", f"{DEVICE} exists, but no virtual CPU starts with it: {first}")
    return Accelerator("kvm", "a virtual CPU of the host's own model starts with KVM")
