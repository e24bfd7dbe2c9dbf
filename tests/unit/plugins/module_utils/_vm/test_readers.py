# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a seed its reader does not understand is refused before, by its option."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._image import presets
from ansible_collections.homelab.hybrid.plugins.module_utils._image.presets import NO_SEED, SEEDS
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.options import OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.readers import READERS, obstacles

EVERYTHING = {
    "cloud_init.user": "joe",
    "cloud_init.ssh_keys": ("ssh-ed25519 AAAA a",),
    "cloud_init.packages": ("vim",),
    "cloud_init.user_data": "#cloud-config-archive\n- {content: a}\n",
    "cloud_init.meta_data": "instance-id: x\n",
    "cloud_init.network_config": "version: 2\n",
}


def of(seed, **written):
    return obstacles(seed, {f"cloud_init.{key}": value for key, value in written.items()})


def test_every_preset_has_its_reader():
    assert {*READERS, NO_SEED} == {*SEEDS}


@pytest.mark.parametrize("seed", [None, "cloud-init"])
def test_cloud_init_understands_all(seed):
    assert obstacles(seed, EVERYTHING) == {}


def test_nobody_understands_anything():
    assert obstacles(NO_SEED, EVERYTHING).keys() == EVERYTHING.keys()
    assert obstacles(NO_SEED, dict.fromkeys(EVERYTHING, "")) == {}


@pytest.mark.parametrize("seed", [None, NO_SEED, "nuageinit"])
def test_files_are_alone_on_their_medium_whoever_reads_it(seed):
    assert of(seed, files='{"a": "b"}', label="CONFIG") == {} == of("cloud-init", user="joe", label="cidata")
    assert of(seed, files='{"a": "b"}', user="joe").keys() == {"cloud_init.user"}
    assert of(seed, label="CONFIG").keys() == {"cloud_init.label"}


@pytest.mark.parametrize("seed", ["nuageinit", "cloudbase-init"])
def test_what_others_read_has_nothing_beside_user_data(seed):
    assert of(seed, user="joe", ssh_keys=("k",)) == {}
    found = of(seed, user="joe", ssh_keys=("k",), user_data="#cloud-config\nusers: []\n")
    assert found.keys() == {"cloud_init.user", "cloud_init.ssh_keys"}


def test_windows_installs_no_packages():
    assert of("cloudbase-init", packages=("vim",)) == {"cloud_init.packages": "cloudbase-init installs no packages"}
    assert of("nuageinit", packages=("vim",)) == {}


@pytest.mark.parametrize(
    ("seed", "user_data", "named"),
    [
        ("nuageinit", "#cloud-config\nusers: [{name: a, mounts: 1}]\nruncmd:\n  - ls\n", None),
        ("nuageinit", "#cloud-config\nmounts: []\nbootcmd:\n  - ls\n", "bootcmd, mounts"),
        ("nuageinit", '#cloud-config\n{"users": [{"apt": 1}], "packages": ["vim"]}\n', None),
        ("nuageinit", '#cloud-config\n{"users": [], "apt": {"sources": {"a,b": 1}}}\n', "apt"),
        ("nuageinit", "#cloud-config\nsecret-key-of-mine: x\n", "a key in it"),
        ("nuageinit", "#!/bin/sh\nls\n", None),
        ("nuageinit", "#include https://a\n", "begins so"),
        ("nuageinit", "#cloud-config-archive\n- {content: a}\n", "begins so"),
        ("nuageinit", "## template: jinja\n#cloud-config\n", "begins so"),
        ("cloudbase-init", "#ps1_sysnative\nGet-Date\n", None),
        ("cloudbase-init", "#cloud-config\nset_hostname: a\nwrite_files: []\n", None),
        ("cloudbase-init", "#cloud-config\npackages: [vim]\nssh_pwauth: true\n", "packages, ssh_pwauth"),
        ("cloudbase-init", "#cloud-boothook\nls\n", "begins so"),
    ],
)
def test_user_data_is_what_its_reader_knows(seed, user_data, named):
    found = of(seed, user_data=user_data)
    if named is None:
        assert found == {}
        return
    assert len(found) == 1
    sentence = next(iter(found.values()))
    assert named in sentence and "secret" not in sentence


def test_an_image_tells_of_a_machine_what_a_machine_can_be():
    assert set(presets.SYSTEMS) == set(OPTIONS["os_variant"].choices)
    assert set(presets.FIRMWARE) == set(OPTIONS["firmware.type"].choices)
    assert set(presets.BUSES) <= set(OPTIONS["disks[].bus"].choices)
