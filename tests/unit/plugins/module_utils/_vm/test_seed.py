# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed of cloud-init: what is declared is read back to the letter."""

from __future__ import annotations

import json
import subprocess

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm import seed
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import acts_early

CARDS = {"lan": "52:54:00:00:00:01"}
FULL = {
    "cloud_init.user": "joe",
    "cloud_init.ssh_keys": ("ssh-ed25519 AAAA one", "ssh-rsa BBBB two"),
    "cloud_init.packages": ("vim",),
    "cloud_init.user_data": "#cloud-config\nruncmd: [ls]\n",
    "cloud_init.meta_data": "instance-id: x\n",
    "cloud_init.network_config": "version: 2\n",
}


@pytest.mark.parametrize("left_out", [None, *FULL])
@pytest.mark.parametrize("is_clone", [False, True])
def test_a_seed_says_what_was_declared(left_out, is_clone):
    values = {path: value for path, value in FULL.items() if path != left_out}
    files = seed.render("vm", values, CARDS, is_clone=is_clone)
    assert {path: value for path, value in seed.read(files, "vm").items() if value} == values
    assert files == seed.render("vm", values, CARDS, is_clone=is_clone)


@pytest.mark.parametrize("is_clone", [False, True])
def test_nothing_declared_reads_as_nothing(is_clone):
    assert not any(seed.read(seed.render("vm", {}, CARDS, is_clone=is_clone), "vm").values())


@pytest.mark.parametrize("user_data", ["", "#cloud-config\nruncmd: [ls]\n"])
def test_only_the_seed_of_a_clone_makes_an_identity(user_data):
    values = {"cloud_init.user": "joe", "cloud_init.user_data": user_data}
    files = seed.render("vm", values, CARDS, is_clone=True)
    hook = seed._parts(files["vendor-data"])[-1]
    assert hook.startswith("#cloud-boothook\n#!/bin/sh\n") and "cloud-init-per instance" in hook
    assert subprocess.run(["sh", "-n"], input=hook, text=True, capture_output=True, check=True).stderr == ""
    assert json.loads(files["meta-data"])["dsmode"] == "local"
    plain = seed.render("vm", values, CARDS)
    assert "boothook" not in plain.get("vendor-data", "") and "dsmode" not in plain["meta-data"]


@pytest.mark.parametrize(
    ("written", "is_early"),
    [
        ({}, True),
        ({"user": "joe", "packages": ("vim",)}, True),
        ({"user_data": "#cloud-config\nruncmd: [ls]\nwrite_files: [{path: /a, content: b}]\n"}, True),
        ({"user_data": "#cloud-config\nbootcmd: [ls]\n"}, False),
        ({"user_data": '#cloud-config\n{"mounts": []}\n'}, False),
        ({"user_data": "#cloud-config\nwrite_files:\n  - {path: /a, source: {uri: 'https://a'}}\n"}, False),
        ({"user_data": "#cloud-config-archive\n- {content: a}\n"}, False),
        ({"user_data": "#include https://a\n"}, False),
        ({"user_data": "## template: jinja\n#cloud-config\n"}, False),
        ({"meta_data": "instance-id: x\n"}, False),
    ],
)
def test_what_may_need_the_network_gets_it(written, is_early):
    values = {f"cloud_init.{key}": value for key, value in written.items()}
    assert acts_early(values) is is_early
    assert ("dsmode" in seed.render("vm", values, CARDS, is_clone=True)["meta-data"]) is is_early


def test_a_change_keeps_the_rest():
    merged = seed.merged({"cloud_init.user": "ann"}, FULL, ["cloud_init.packages"])
    assert merged == {
        **{path: value for path, value in FULL.items() if path != "cloud_init.packages"},
        "cloud_init.user": "ann",
    }


def test_the_image_holds_the_files():
    pytest.importorskip("pycdlib")
    files = seed.render("vm", FULL, CARDS)
    assert seed.unpack(seed.build(files)) == files
    assert seed.unpack(b"no image") is None
