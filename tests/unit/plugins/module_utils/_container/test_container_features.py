# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Features: what each stands for, its lines with and without AppArmor, and what does not go together."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import docker, nesting
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import Config
from ansible_collections.homelab.hybrid.plugins.module_utils._container.plan import plan_container
from ansible_collections.homelab.hybrid.plugins.module_utils._container.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._container.state import Definition, HostState, State
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Item

FREE, OWN, OTHER = (
    "lxc.apparmor.profile = unconfined\n",
    "lxc.apparmor.profile = generated\nlxc.apparmor.allow_nesting = 1\n",
    "lxc.uts.name = one\n",
)
MOUNTS = [
    "lxc.mount.entry = proc dev/.lxc/proc proc create=dir,optional 0 0",
    "lxc.mount.entry = sys dev/.lxc/sys sysfs create=dir,optional 0 0",
]
DEBIAN_12, DEBIAN_13 = "1:5.0.2-1+deb12u4", "1:6.0.4-4+deb13u4"


@pytest.mark.parametrize("text", [FREE, OWN, OTHER])
def test_nesting_comes_and_goes_without_a_trace(text):
    config = nesting.write_nesting(Config.parse(text), True)
    assert nesting.is_nesting(config) and all(line in config.text for line in MOUNTS)
    assert nesting.write_nesting(config, False).text == text


def test_a_profile_that_allows_no_mounts_is_replaced_by_the_one_of_lxc_for_nesting():
    assert "lxc-container-default-with-nesting" in nesting.write_nesting(Config.parse(OTHER), True).text
    closed = Config.parse("lxc.apparmor.profile = generated\n")
    assert "lxc.apparmor.allow_nesting = 1" in nesting.write_nesting(closed, True).text
    assert not nesting.is_nesting(Config.parse("\n".join([*MOUNTS, "lxc.apparmor.profile = generated"])))


def test_nesting_of_a_file_that_is_included_is_seen_and_named():
    path = "/usr/share/lxc/config/nesting.conf"
    lines = tuple((path, line) for line in [*MOUNTS, "lxc.apparmor.profile = lxc-container-default-with-nesting"])
    config = Config.parse(f"lxc.include = {path}\n", {path: lines})
    assert nesting.is_nesting(config) and nesting.origin_of(config) == path


@pytest.mark.parametrize(
    ("version", "is_mended"),
    [
        (DEBIAN_12, False),
        ("1:6.0.4-4", False),
        ("1:6.0.4-4+deb13u3", False),
        (DEBIAN_13, True),
        ("1:6.0.4-5", True),
        ("1:6.0.6-1", True),
        ("1:7.0.0-1", True),
        ("", False),
    ],
)
def test_which_lxc_goes_together_with_every_runc(version, is_mended):
    assert docker.lets_runc(version) is is_mended


@pytest.mark.parametrize(
    ("package", "version", "is_strict"),
    [
        ("runc", "1.1.15+ds1-2+deb13u1", False),
        ("runc", "1.2.7-1", False),
        ("runc", "1.2.8-1", True),
        ("runc", "1.3.2-1", False),
        ("runc", "1.3.3-0ubuntu1", True),
        ("containerd.io", "1.7.28-1~debian.12~bookworm", False),
        ("containerd.io", "1.7.28-2~debian.12~bookworm", True),
        ("containerd.io", "2.2.0-1~debian.13~trixie", True),
        ("busybox", "9.9.9-1", False),
    ],
)
def test_which_runc_is_strict(package, version, is_strict):
    paragraphs = (
        f"Package: {name}\nStatus: install ok installed\nVersion: {its}\n"
        for name, its in (("base-files", "13"), (package, version))
    )
    status = "\n".join(paragraphs)
    assert (docker.strict_engine(status) is not None) is is_strict
    assert docker.strict_engine(status.replace("install ok installed", "deinstall ok config-files")) is None


def planned(*, engine=None, text=OWN, has_apparmor=True, lxc_version=DEBIAN_12):
    state = State(
        power="stopped",
        exists=True,
        persistent=Definition(Config.parse(text)),
        host=HostState(has_apparmor=has_apparmor),
        lxc_version=lxc_version,
        engine=engine,
    )
    return plan_container(parse({"name": "one", "features": {"docker": True}}), state)


def test_docker_that_cannot_start_anything_is_refused_and_one_that_might_not_is_warned_of():
    plan = planned()
    assert not plan.get("features.docker") and "docker.io of Debian" in plan.warnings[0]
    change = planned(engine="runc 1.3.3-1").get("features.docker")
    assert (
        change.how.value == "refused"
        and "runc 1.3.3-1 starts no container under LXC 1:5.0.2-1+deb12u4" in change.reason
    )


@pytest.mark.parametrize("fine", [{"text": FREE}, {"has_apparmor": False}, {"lxc_version": DEBIAN_13}], ids=str)
def test_docker_is_neither_refused_nor_warned_of_where_nothing_is_in_its_way(fine):
    plan = planned(engine="runc 1.3.3-1", **fine)
    assert not plan.warnings and not plan.get("features.docker") and plan.get("features.nesting")


def test_what_features_stand_for():
    spec = parse({"name": "one", "features": {"docker": True, "tun": True, "fuse": False, "keyctl": True}})
    assert spec.get("features.nesting") is True
    tun = {"type": "node", "path": "/dev/net/tun", "mode": "0666", "gid": 0}
    assert spec.items("devices") == (Item("fuse", False), Item("tun", True, tun))


@pytest.mark.parametrize(
    ("params", "saying"),
    [
        ({"features": {"mknod": True}}, "Write those that it needs in devices"),
        ({"features": {"docker": True, "nesting": False}}, "needs nesting"),
        ({"features": {"tun": True}, "devices": [{"name": "tun", "path": "/dev/net/tun"}]}, "is written too"),
        ({"devices": [{"name": "a", "id": "x", "path": "/dev/a"}]}, "is known by its path"),
        ({"devices": [{"name": "a", "path": "/dev/null"}]}, "every guest has of its own"),
        ({"devices": [{"name": "a", "path": "/dev/../etc/x"}]}, "a path below /dev"),
        ({"devices": [{"name": "a", "path": "/dev/a b"}]}, "a path below /dev"),
        ({"devices": [{"name": "a", "path": "/dev/a$(b)"}]}, "a path below /dev"),
        ({"devices": [{"name": "a", "path": "/dev/a", "mode": "432"}]}, "in quotes such as '0660'"),
        ({"devices": [{"name": "a", "path": "/dev/a", "gid": "70000"}]}, "0 to 65535"),
        ({"devices": [{"name": "a", "path": "/dev/a"}, {"name": "b", "path": "/dev/a"}]}, "Each needs one of its own"),
    ],
)
def test_what_cannot_be_is_refused(params, saying):
    with pytest.raises(SpecError, match=saying.replace("(", "\\(").replace(")", "\\)")):
        parse({"name": "one", **params})
