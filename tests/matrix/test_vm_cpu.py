# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU that a machine sees: QEMU's own command line and the guest tell which one it is."""

from __future__ import annotations

import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import make
from ansible_collections.homelab.hybrid.tests.harness.machines import definition, qemu_words, virsh

VM = KvmVm()
NAME = f"{machines.PREFIX}-cpu"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}
NEW: dict[str, t.Any] = {**PLAIN, "memory": "64"}
STARTED: dict[str, t.Any] = {**NEW, "state": "started"}
# What makes an x86-64-v2, as the psABI has it and libvirt calls it.
LEVEL_2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4.1", "sse4.2", "ssse3"}


def runs_with(name: str = NAME) -> str:
    """The CPU in QEMU's command line."""
    words = qemu_words(name)
    return words[words.index("-cpu") + 1]


def count_of_cpus() -> str:
    words = qemu_words(NAME)
    return words[words.index("-smp") + 1]


def test_a_new_machine_that_is_emulated_is_an_x86_64_v2(folder: Path) -> None:
    check_run_again(VM, STARTED)
    assert runs_with() == "Nehalem"
    connection = libvirt.open(machines.URI)
    expand = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    xml = connection.baselineHypervisorCPU(None, None, None, "qemu", ["<cpu><model>Nehalem</model></cpu>"], expand)
    assert not [name for name in LEVEL_2 if f"name='{name}'" not in xml]
    log = Path(f"/var/log/libvirt/qemu/{NAME}.log").read_text(encoding="utf-8")
    assert "warning: TCG" not in log, "QEMU emulates all of it"


@pytest.mark.parametrize(
    ("declared", "started"),
    [
        ({"type": "max"}, "max,migratable=on"),
        ({"type": "Westmere", "flags": ["-aes", "+avx"]}, "Westmere,avx=on,aes=off"),
        ({"flags": ["+svm"]}, "Nehalem,svm=on"),
    ],
    ids=str,
)
def test_a_cpu_is_what_qemu_starts_with(folder: Path, declared: dict[str, t.Any], started: str) -> None:
    check_run_again(VM, {**STARTED, "cpu": declared})
    assert runs_with() == started
    assert not unchanged(VM, {**PLAIN, "cpu": declared}).plan.restart_required


@pytest.mark.parametrize("flags", [[], ["-fma"]], ids=str)
def test_what_the_host_model_became_is_no_other_cpu(folder: Path, flags: list[str]) -> None:
    check_run_again(VM, {**STARTED, "cpu": {"type": "host-model", "flags": flags}})
    assert definition(NAME).find("cpu").get("mode") == "host-model"
    assert not unchanged(VM, {**PLAIN, "cpu": {"type": "host-model", "flags": flags}}).plan.restart_required
    run = check_run_again(VM, {**PLAIN, "cpu": {"type": "Nehalem"}}, ["cpu.type"])
    assert run.plan.restart_required == ["cpu.type"]
    assert not unchanged(VM, {**PLAIN, "cpu": {"flags": flags}}).plan.restart_required
    run = check_run_again(VM, {**PLAIN, "cpu": {"type": "host-model"}}, ["cpu.type"])
    assert not run.plan.restart_required, "it is what runs"
    run = check_run_again(VM, {**PLAIN, "cpu": {"flags": ["+avx", "-fma"]}}, ["cpu.flags"])
    assert run.plan.restart_required == ["cpu.flags"]
    check_run_again(VM, {**PLAIN, "cpu": {"flags": ["+avx", "-fma"]}, "restart_policy": "if_needed"}, ["cpu.flags"])
    assert "fma=off" in runs_with()


def test_what_this_host_has_not_is_refused_with_what_it_has(folder: Path) -> None:
    def told(**cpu: t.Any) -> str:
        return refuse(VM, {**NEW, "cpu": cpu}, "is refused, as")

    assert "host-passthrough is refused, as a machine that is emulated has none such. Take host-model, maximum" in told(
        type="host"
    )
    said = told(type="Haswell")
    assert "the emulation of this host lacks" in said and "hle, invpcid, rtm" in said and "host-model" in said
    assert "libvirt knows no such model. Take host-model, maximum, Nehalem" in told(type="Nehalen")
    assert "cpu.flags: +vmx is refused, as the emulation of this host lacks vmx" in told(flags=["+vmx"])
    assert "libvirt knows no feature nosuch" in told(type="host-model", flags=["-nosuch"])
    check_run_again(VM, {**NEW, "cpu": {"type": "Haswell", "flags": [f"-{name}" for name in lacking(said)]}})
    unchanged(VM, {**PLAIN, "cpu": {"type": "Haswell"}})
    refuse(VM, {**PLAIN, "cpu": {"type": "Skylake-Client"}}, "lacks")


def lacking(said: str) -> list[str]:
    return said.partition("lacks ")[2].partition(". ")[0].split(", ")


def test_a_flag_is_not_refused_for_a_model_that_stands(folder: Path) -> None:
    make(NAME, rest="<cpu mode='custom' match='exact' check='none'><model fallback='allow'>Haswell</model></cpu>")
    check_run_again(VM, {**PLAIN, "cpu": {"flags": ["-hle"]}}, ["cpu.flags"])
    refuse(VM, {**PLAIN, "cpu": {"flags": ["+vmx"]}}, "lacks vmx")


BY_HAND = (
    "<cpu mode='custom' match='strict' check='full'><model fallback='allow'>Westmere</model><vendor>Intel</vendor>"
    "<topology sockets='1' dies='1' cores='2' threads='2'/><cache level='3' mode='emulate'/>"
    "<feature policy='force' name='avx'/><feature policy='optional' name='vmx'/><feature policy='forbid' name='aes'/>"
    "<numa><cell id='0' cpus='0-3' memory='65536' unit='KiB'/></numa></cpu>"
)


def test_a_cpu_of_somebody_else_is_read_and_kept(folder: Path) -> None:
    make(NAME, rest=BY_HAND, vcpu="<vcpu>4</vcpu>")
    before = virsh("dumpxml", NAME)
    shape = {"sockets": 1, "dies": 1, "cores": 2, "threads": 2}
    unchanged(VM, {**PLAIN, "cpu": {"type": "Westmere", "flags": ["-aes", "+avx"], "topology": shape}})
    assert virsh("dumpxml", NAME) == before
    check_run_again(VM, {**PLAIN, "cpu": {"flags": ["+avx", "-aes", "-vme"]}}, ["cpu.flags"])
    node = definition(NAME).find("cpu")
    policies = {its.get("name"): its.get("policy") for its in node.iterfind("feature")}
    assert policies == {"avx": "force", "vmx": "optional", "aes": "forbid", "vme": "disable"}
    check_run_again(VM, {**PLAIN, "cpu": {"type": "maximum"}}, ["cpu.type"])
    node = definition(NAME).find("cpu")
    assert node.get("mode") == "maximum" and node.find("vendor") is None and node.find("numa/cell") is not None
    assert node.find("topology").attrib["threads"] == "2"


def test_cores_lie_together_as_they_are_told(folder: Path) -> None:
    check_run_again(VM, {**STARTED, "cpu": {"topology": {"sockets": 2, "cores": 2, "threads": 1}}})
    assert count_of_cpus().startswith("4,") and "sockets=2,dies=1,cores=2,threads=1" in count_of_cpus()
    more = {"max_cores": 8, "topology": {"sockets": 1, "dies": 2, "cores": 4}}
    run = check_run_again(VM, {**PLAIN, "cpu": more, "restart_policy": "if_needed"})
    assert not run.plan.warnings and "maxcpus=8,sockets=1,dies=2,cores=4,threads=1" in count_of_cpus()
    run = check_run_again(VM, {**PLAIN, "cpu": {"max_cores": 16}}, ["cpu.max_cores"])
    assert run.plan.warnings == [f"cpu.max_cores: the topology of {NAME} gets 2 sockets"]
    refuse(VM, {**PLAIN, "cpu": {"topology": {"threads": 2}}}, "multiply to 32, and cpu.max_cores is 16")
    refuse(VM, {**PLAIN, "cpu": {"max_cores": 8, "topology": {"threads": 1}}}, "multiply to 16")
    refuse(VM, {**PLAIN, "unset": ["cpu.topology.threads"]}, "goes as a whole")
    gone = {**PLAIN, "cpu": {"max_cores": 7}, "unset": ["cpu.topology"]}
    check_run_again(
        VM, gone, ["cpu.max_cores", *(f"cpu.topology.{key}" for key in ("sockets", "dies", "cores", "threads"))]
    )
    assert definition(NAME).find("cpu/topology") is None


def test_a_new_machine_does_not_get_cpus_that_do_not_lie_together(folder: Path) -> None:
    shape = {"sockets": 1, "cores": 2}
    refuse(VM, {**NEW, "cpu": {"cores": 3, "topology": shape}}, "multiply to 2, and cpu.max_cores is 3")
    refuse(VM, {**NEW, "cpu": {"max_cores": 3, "topology": shape}}, "multiply to 2")
    check_run_again(VM, {**NEW, "cpu": {"cores": 1, "topology": shape}})
    assert attribute_of_vcpu() == ("1", "2")


def attribute_of_vcpu() -> tuple[str | None, str | None]:
    node = definition(NAME).find("vcpu")
    return (None, None) if node is None else (node.get("current"), node.text)
