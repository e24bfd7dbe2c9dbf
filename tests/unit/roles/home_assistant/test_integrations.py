# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the forms of an integration are answered, and what is said where they end otherwise."""

from __future__ import annotations

import runpy
import typing as t

import pytest
from unit.tree import ROOT

SCRIPT = runpy.run_path(str(ROOT / "roles/home_assistant/files/home_assistant_api.py"), run_name="home_assistant_api")
FORM = {
    "type": "form",
    "flow_id": "f1",
    "step_id": "broker",
    "data_schema": [{"name": "broker", "required": True}, {"name": "port", "required": True, "default": 1883}],
}
MENU = {"type": "menu", "flow_id": "f1", "step_id": "user", "menu_options": ["broker", "addon"]}
MADE = {"type": "create_entry", "flow_id": "f1", "result": {"entry_id": "e1"}}
WRONG = {**FORM, "errors": {"base": "invalid_auth"}}


class Program:
    """An API that tells *answers* one after another, and keeps what it was asked."""

    def __init__(self, *answers: dict[str, t.Any]) -> None:
        self.answers = list(answers)
        self.asked_for: list[tuple[str, str, t.Any]] = []

    def asked(self, method: str, path: str, body: t.Any = None) -> t.Any:
        self.asked_for.append((method, path.rpartition("/")[2], body))
        return self.answers.pop(0)

    def call(self, method: str, path: str) -> None:
        self.asked_for.append((method, path.rpartition("/")[2], None))


def setup(program: Program) -> t.Any:
    made = SCRIPT["Setup"]({"url": "http://home", "is_check": False})
    made.api = program
    return made


def test_forms_are_answered_by_the_names_of_their_fields() -> None:
    program = Program(MENU, FORM, MADE)
    data = {"next_step_id": "broker", "broker": "mosquitto", "colour": "blue"}
    assert setup(program).flow("mqtt", data) == "e1"
    assert program.asked_for[1:] == [
        ("POST", "f1", {"next_step_id": "broker"}),
        ("POST", "f1", {"broker": "mosquitto"}),
    ]


@pytest.mark.parametrize(
    ("answers", "data", "said"),
    [
        ((FORM, WRONG), {"broker": "mosquitto"}, "mqtt: it ends with {'base': 'invalid_auth'}"),
        ((FORM,), {"port": 8883}, "mqtt: data lacks broker"),
        ((MENU,), {"broker": "mosquitto"}, "mqtt: say in data which next_step_id of broker, addon is meant"),
        (({**MADE, "type": "abort", "reason": "single_instance_allowed"},), {}, "it ends with single_instance_allowed"),
    ],
)
def test_forms_that_end_otherwise_are_taken_back_and_told(
    answers: tuple[dict[str, t.Any], ...], data: dict[str, t.Any], said: str
) -> None:
    program = Program(*answers)
    with pytest.raises(SCRIPT["Failed"]) as failed:
        setup(program).flow("mqtt", data)
    assert said in str(failed.value)
    assert program.asked_for[-1] == ("DELETE", "f1", None), "no form is left open"
