# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all unit tests."""

from __future__ import annotations

import typing as t

import hypothesis
import pytest
from ansible.utils.vars import load_extra_vars

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
