# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker makes of an item on a mount that does not answer, where the services of its server come after the run."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host import remote
from ansible_collections.homelab.hybrid.plugins.module_utils._host.mount_record import MountRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import FOLDER, GUEST, POOL, Host
from ansible_collections.homelab.hybrid.plugins.module_utils._layout import run
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.spec import Kind

MEDIA = MountRecord(path="/srv/media", source="nas:/tank", wait_for_guest="nas", wait_timeout=6)
WAITS = "waits for nas:/tank at /srv/media, which nas serves"


class Thing:
    """An item that stands on folders. The params say what it requires and whether something is to be done."""

    def parse(self, params: t.Any) -> t.Any:
        return params

    def requires(self, spec: t.Any) -> list[Reference]:
        kinds = {"folder": FOLDER, "pool": POOL}
        return [Reference(kinds[kind], name) for kind, name in map(str.split, spec["requires"])]

    def provides(self, spec: t.Any) -> tuple[()]:
        return ()

    def observe(self, spec: t.Any, host: t.Any) -> None:
        return None

    def plan(self, spec: t.Any, state: t.Any) -> Plan:
        return Plan(changes=[Change("memory", "1MiB", "2MiB", How.LIVE)] if spec.get("differs", True) else [])

    def facts(self, spec: t.Any, state: t.Any) -> dict[str, t.Any]:
        return {}

    def waiting(self, spec: t.Any, facts: t.Any) -> None:
        return None


class Its(Host):
    @property
    def containers(self) -> t.Any:
        return {"nas": types.SimpleNamespace(is_running=True)}

    @property
    def pools(self) -> t.Any:
        return {}


class Away:
    """The mount, which does not answer, and how often it was waited for."""

    def __init__(self) -> None:
        self.waited = 0

    def wait(self, its: t.Any, is_served: t.Any) -> bool:
        assert is_served()
        self.waited += 1
        return False


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    its = Away()
    monkeypatch.setattr(remote, "remotes", lambda: (MEDIA,))
    monkeypatch.setattr(remote, "_has_answered", lambda point: False)
    monkeypatch.setattr(remote, "wait_until_it_answers", its.wait)
    return its


def worked(requires: t.Sequence[str], serve_later: dict[str, bool] | None, **params: t.Any) -> dict[str, t.Any]:
    kind = Kind("vm", "vms", "kvm_vm", GUEST, Thing(), "guest", {})
    order = {"kind": "vm", "name": "films", "params": {"requires": requires, **params}}
    if serve_later is not None:
        order["serve_later"] = serve_later
    return run._work(order, lambda message: None, [kind], Its)


def test_what_a_guest_serves_that_is_only_made_is_left_for_later_without_waiting(away: Away) -> None:
    assert worked(["folder /srv/media/films"], {"nas": False}) == {"deferred": WAITS}
    assert away.waited == 0


def test_what_a_guest_serves_that_was_there_is_waited_for_and_then_left_for_later(away: Away) -> None:
    assert worked(["folder /srv/media/films", "folder /srv/media"], {"nas": True}) == {"deferred": WAITS}
    assert away.waited == 2


@pytest.mark.parametrize("serve_later", [None, {"other": True}])
def test_what_nobody_serves_later_fails(away: Away, serve_later: dict[str, bool] | None) -> None:
    told = worked(["folder /srv/media/films"], serve_later)
    assert "does not answer, and /srv/media/films lies there" in told["msg"] and away.waited == 1


def test_what_lacks_something_else_too_fails(away: Away) -> None:
    told = worked(["folder /srv/media/films", "pool main"], {"nas": False})
    assert "there is no storage pool main" in told["msg"]


def test_what_is_as_declared_is_not_left_for_later(away: Away) -> None:
    told = worked(["folder /srv/media/films"], {"nas": False}, differs=False)
    assert "deferred" not in told and "msg" not in told and not told["changed"]
    assert ["does not answer" in warning for warning in told["warnings"]] == [True]
