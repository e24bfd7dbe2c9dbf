# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run permits, and which guests have options that cannot be read."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import (
    guest_errors,
    options_of,
    read_guest,
)

WEB: dict[str, t.Any] = {"guest_kind": "container", "guest_spec": {"memory": "1GiB"}}
BUILDER: dict[str, t.Any] = {"guest_kind": "vm", "guest_spec": {"memory": "1GiB", "boot": {"order": ["root"]}}}
Give = t.Callable[..., None]


@pytest.mark.parametrize(("variable", "option"), [("guest_allow", "allow"), ("guest_delete", "delete")])
def test_a_permission_counts_as_an_extra_variable_of_the_run_alone(
    given_for_a_run: Give, variable: str, option: str
) -> None:
    words = {"guest_allow": ["adopt"], "guest_delete": ["rootfs"]}[variable]
    with pytest.raises(AnsibleFilterError, match=f"^{variable} of web: permission is given for a run"):
        options_of("web", {**WEB, variable: words}, {})
    assert option not in options_of("web", {**WEB, variable: []}, {})
    given_for_a_run(**{variable: words})
    assert options_of("web", {**WEB, variable: words}, {})[option] == words
    assert options_of("web", {**WEB, variable: ",".join(words)}, {})[option] == words


def test_what_is_deleted_for_good_is_said_by_the_run_alone(given_for_a_run: Give) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^guest_quarantine of web: .* Give it as -e guest_quarantine=false"):
        options_of("web", {**WEB, "guest_quarantine": False}, {})
    with pytest.raises(
        AnsibleFilterError, match=r"^guest_spec of web: quarantine: what is deleted for good is said for a run"
    ):
        options_of("web", {**WEB, "guest_spec": {"quarantine": False}}, {})
    assert "quarantine" not in options_of("web", WEB, {})
    given_for_a_run(guest_quarantine="false")
    assert options_of("web", {**WEB, "guest_quarantine": "false"}, {})["quarantine"] is False


def test_guests_that_can_be_read_have_no_error() -> None:
    assert guest_errors(["web", "builder"], {"web": WEB, "builder": BUILDER}) == {}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"guest_spec": {"memmory": 1}}, "guest_spec of web: there is no option memmory. Is memory meant?"),
        ({"guest_spec": {"zzz": 1}}, "guest_spec of web: there is no option zzz"),
        (
            {"guest_spec": {"networks": [{"name": "lan", "brige": "b"}]}},
            "there is no option networks.brige. Is bridge meant?",
        ),
        ({"guest_spec": {"vcpus": "many"}}, "argument 'vcpus' is of type str"),
        ({"guest_spec": {"state": "runing"}}, "value of state must be one of"),
        ({"guest_spec": {"disks": []}}, "there is no option disks"),
        ({"guest_spec": {"allow": ["adopt"]}}, "guest_spec of web: allow: permission is given for a run"),
        ({"guest_profiles": ["x"]}, "guest_profiles of web: there is no profile 'x'"),
        ({"guest_kind": "jail"}, "web: guest_kind is 'jail', it must be one of vm, container"),
    ],
)
def test_a_guest_that_cannot_be_read_is_named_with_its_own_word(variables: dict[str, t.Any], said: str) -> None:
    error = read_guest("web", {**WEB, **variables}, {})[1]
    assert error is not None and said in error and "web" in error
    assert "Supported parameters" not in error
