# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role of the guide "Add a service", as it stands there, in a collection of a user."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest

GUIDE = guest.ROOT / "docs" / "docsite" / "rst" / "guide_services.rst"
ROLE = Path("my/home/roles/board")
SECRET = "/var/lib/homelab_hybrid/secrets/board/anna"


def files_of_the_guide() -> dict[Path, str]:
    """The files that the guide shows, by their paths below ``ansible_collections``."""
    found = {}
    for block in re.findall(
        r"^\.\. code-block:: text\n\n((?:  .*\n|\n)+)", GUIDE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        first, dummy, text = re.sub(r"^  ", "", block, flags=re.MULTILINE).partition("\n")
        if path := re.match(r"(?:#|\{#) (my/home/\S+)", first):
            found[Path(path[1])] = text
    main = found[ROLE / "tasks/main.yml"]
    for entry in ("check", "update", "remove"):
        name = "    name: homelab.hybrid._service\n"
        found[ROLE / "tasks" / f"{entry}.yml"] = main.replace(name, f"{name}    tasks_from: {entry}\n")
    return found


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    shown = files_of_the_guide()
    assert sum(len(text.strip().splitlines()) for text in shown.values()) < 60
    for path, text in shown.items():
        (tmp_path / "ansible_collections" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ansible_collections" / path).write_text(text, encoding="utf-8")
    try:
        guest.set_up("own.img")
        yield guest.Lab(tmp_path, "my.home.board", {"board_text": "Tea at five", "board_users": ["anna"]})
    finally:
        guest.tear_down()


def answer(password: str) -> str:
    """What the page of the house answers to the user of the lab."""
    return guest.run("curl", "-sS", "-u", f"anna:{password}", f"http://{guest.ADDRESS}/house/")


def test_a_role_of_a_user_is_a_service_of_the_lab(lab: guest.Lab) -> None:
    assert lab.playbook("services", "--check").succeeded().changed
    lab.playbook("services").succeeded()
    assert lab.playbook("services").succeeded().changed == 0
    assert lab.playbook("services", "--check", board_text="Tea at six", board_port=81).succeeded().changed
    assert lab.playbook("services", "--check").succeeded().changed == 0
    assert "Tea at five" in answer(guest.inside("cat", SECRET))
    assert "401" in answer("") and "401" in answer("anna")
    guest.inside("systemctl", "stop", "lighttpd")
    assert lab.playbook("services").succeeded().changed and "401" in answer("")
    away = '{"hypervisor_bridges": [{"name": "hlsv-away", "mode": "nat", "address": "10.93.65.1/24"}]}'
    told = lab.playbook("services", "-e", away).failed()
    assert re.search(r"msg: .?hlsv-away: ", told.printed), "the services stand, and the run does not end well"
    lab.entry("update").succeeded()
    lab.entry("remove").succeeded()
    assert guest.status("systemctl", "cat", "lighttpd") != 0
