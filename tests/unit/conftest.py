# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all unit tests."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import hypothesis
import pytest
from ansible.utils.vars import load_extra_vars

from ansible_collections.homelab.hybrid.plugins.plugin_utils import _guest_services

# A busy machine is slow, and says nothing of the code.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")


@pytest.fixture
def given_for_a_run(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Makes variables extra variables of the run, as ``-e`` does."""

    def give(**variables: t.Any) -> None:
        monkeypatch.setattr(load_extra_vars, "extra_vars", variables, raising=False)

    give()
    return give


@pytest.fixture
def a_role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Callable[..., None]:
    """Makes roles of services in the collection ``my.lab`` of a user."""
    own = _guest_services.roles_of
    monkeypatch.setattr(_guest_services, "roles_of", lambda name: tmp_path / "roles" if name == "my.lab" else own(name))

    def make(name: str, declaration: str = "{}", defaults: t.Mapping[str, t.Any] | None = None) -> None:
        role = tmp_path / "roles" / name
        for folder in ("meta", "vars"):
            (role / folder).mkdir(parents=True)
        lines = declaration.replace("\n", "\n  ")
        (role / "vars" / "main.yml").write_text(f"__{name}_service:\n  {lines}\n")
        options = {key: {"default": value} for key, value in (defaults or {}).items()}
        (role / "meta" / "argument_specs.yml").write_text(
            json.dumps({"argument_specs": {"main": {"options": options}}})
        )

    return make
