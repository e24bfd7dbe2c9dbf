# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is its own control node: nobody comes anew over the network, and its own look at it decides."""

from __future__ import annotations

import json
import shutil
import typing as t

import pytest

from ansible_collections.homelab.hybrid.tests.harness import wired_host
from ansible_collections.homelab.hybrid.tests.harness.wired_host import (
    ADDRESS,
    CARD,
    COLLECTION,
    CONTROL,
    MAC,
    NETWORKD,
    ROOT,
    WiredHost,
    inside,
)

# Debian 13 has the oldest release that this collection takes.
WITH_ANSIBLE = NETWORKD._replace(name="control node", packages=("ansible-core",))
FIXED = {"10-lan.network": f"[Match]\nName={CARD}\n\n[Network]\nAddress={ADDRESS}/24\nGateway={CONTROL}\n"}
PLACE = ROOT / "usr/share/ansible/collections/ansible_collections/homelab/hybrid"


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WiredHost]:
    try:
        built = WiredHost(tmp_path_factory.mktemp("control"), WITH_ANSIBLE)
        built.build(FIXED)
        for part in ("plugins", "meta"):
            shutil.copytree(COLLECTION / part, PLACE / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(COLLECTION / "galaxy.yml", PLACE)
        yield built
    finally:
        wired_host.remove()


def change_bridge(**options: t.Any) -> dict[str, t.Any]:
    """The result of the module, run by the host itself."""
    bridge = {"name": "vmbr0", "mode": "ports", "ports": [{"name": CARD}], **options}
    argv = ["ansible", "localhost", "-c", "local", "-m", "homelab.hybrid.bridge", "-a", json.dumps(bridge)]
    told = inside("env", "LC_ALL=C.UTF-8", "HOME=/root", "ANSIBLE_NOCOLOR=1", *argv, check=False)
    return t.cast("dict[str, t.Any]", json.loads(told[told.index("=> {") + 3 : told.rindex("}") + 1]))


def test_the_own_look_of_a_host_confirms_what_it_changed_itself(host: WiredHost) -> None:
    before = wired_host.network()
    silent = change_bridge(verify=["10.219.0.98"], confirm_timeout=20)
    assert "verify: 10.219.0.98 does not answer" in silent["msg"], silent
    assert wired_host.network() == before and wired_host.leftovers() == []
    result = change_bridge(verify=[CONTROL])
    assert result["changed"] and result["switch"]["state"] == "confirmed", result
    assert wired_host.network()["links"]["vmbr0"][2:] == (MAC, [f"{ADDRESS}/24"])
    assert host.is_reached() and wired_host.leftovers() == []
    assert not change_bridge(verify=[CONTROL])["changed"]
