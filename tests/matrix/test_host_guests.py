# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host that is shut down stops a guest; in which order, on hosts with systemd, is a story of molecule's fleet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import host_guests
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

MACHINE = f"{machines.PREFIX}-a"


def stop(kind: str, name: str, *, saves: bool = False) -> str | None:
    """Stop one guest as the host finds it, within a second."""
    found = host_guests.containers_to_stop({}, 1) + host_guests.machines_to_stop({}, 1, saves=saves)
    (guest,) = [guest for guest in found if (guest.kind, guest.name) == (kind, name)]
    return guest.act()


def leave_as_it_is() -> None:
    pass


def freeze() -> None:
    ct.run("lxc-freeze", "-n", ct.NAME)


def break_its_configuration() -> None:
    with (ct.LXC / ct.NAME / "config").open("a") as config:
        config.write("lxc.include = /nowhere\n")


@pytest.mark.usefixtures("container_host", "no_container")
class TestContainer:
    @pytest.mark.parametrize("do", [leave_as_it_is, freeze, break_its_configuration])
    def test_it_shuts_down_whatever_is_the_matter_with_it(self, do: t.Callable[[], None]) -> None:
        ct.make()
        pid = ct.pid()
        do()
        assert stop("container", ct.NAME) == "stopped"
        assert not Path(f"/proc/{pid}").exists() and ct.NAME not in ct.run("lxc-ls", "--active", "-1", check=False)

    def test_one_that_does_not_shut_down_in_time_is_ended_and_told(self) -> None:
        ct.make()
        # An init that is stopped does not see the signal.
        os.kill(ct.pid(), signal.SIGSTOP)
        with pytest.raises(host_guests.GuestError, match="did not shut down within 1 s, and was ended"):
            stop("container", ct.NAME)
        assert ct.state() == "STOPPED"


@pytest.mark.usefixtures("container_host", "no_container")
def test_a_start_that_is_told_to_end_ends_whole_and_what_it_started_is_stopped() -> None:
    """systemd ends it so where the host is shut down meanwhile."""
    later = f"{ct.NAME}-b"
    for name, order in ((ct.NAME, 1), (later, 2)):
        startup = {"order": order, "up_delay": 600}
        made = converge_now(
            ct.CONTAINER, {**ct.BASE, "name": name, "state": "stopped", "autostart": True, "startup": startup}
        )
        assert made.error is None, made.error
    with subprocess.Popen([sys.executable, host_guests.__file__, "start"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line == f"container {ct.NAME}: started, order 1\n":
                run.terminate()
                break
        assert run.stdout.read() == "told to end: the others are not started\n"
    assert run.returncode == 1 and ct.state() == "RUNNING"
    assert later not in ct.run("lxc-ls", "--active", "-1")
    assert stop("container", ct.NAME) == "stopped"


class TestMachine:
    @pytest.fixture(autouse=True)
    def _made(self, folder: Path) -> None:
        machine = {"name": MACHINE, "state": "started", **machines.PAPER}
        assert converge_now(KvmVm(), machine).error is None

    def test_one_that_does_not_shut_down_in_time_is_switched_off_and_told(self) -> None:
        with pytest.raises(host_guests.GuestError, match="did not shut down within 1 s, and was switched off"):
            stop("vm", MACHINE)
        assert machines.state_of(MACHINE) == "shut off"

    def test_it_is_saved_where_libvirt_guests_would_save_it(self) -> None:
        machines.virsh("suspend", MACHINE)
        assert stop("vm", MACHINE, saves=True) == "saved"
        assert machines.state_of(MACHINE) == "shut off"
        assert "Managed save:   yes" in machines.virsh("dominfo", MACHINE)
        machines.virsh("managedsave-remove", MACHINE)
