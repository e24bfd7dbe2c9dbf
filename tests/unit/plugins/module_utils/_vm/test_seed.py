# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed of cloud-init: what is declared is read back to the letter."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm import seed

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
def test_a_seed_says_what_was_declared(left_out):
    values = {path: value for path, value in FULL.items() if path != left_out}
    files = seed.render("vm", values, CARDS)
    assert {path: value for path, value in seed.read(files, "vm").items() if value} == values
    assert files == seed.render("vm", values, CARDS)


def test_nothing_declared_reads_as_nothing():
    assert not any(seed.read(seed.render("vm", {}, CARDS), "vm").values())


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
