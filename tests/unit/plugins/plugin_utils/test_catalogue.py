# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.module_utils._image import checksum
from ansible_collections.homelab.hybrid.plugins.module_utils._image.spec import parse
from ansible_collections.homelab.hybrid.plugins.plugin_utils._catalogue import (
    KEYS,
    TOLD,
    CatalogueError,
    all_resolved,
    entries,
    kind_of,
    resolved,
)
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._openpgp import fingerprints
from ansible_collections.homelab.hybrid.plugins.plugin_utils._recommended import image_of

FORMS = ("coreutils", "bsd", "clear-signed", "bare", "digest")
each_entry = pytest.mark.parametrize("name", sorted(entries()))
# Of whom upstream says that they sign; a key of somebody else must not take their place unseen.
SIGNERS = {
    "almalinux-9.asc": "BF18AC2876178908D6E71267D36CB86CB86B3716",
    "almalinux-10.asc": "EE6DB7B98F5BF5EDD9DA0DE5DEE5C11CC2A1E572",
    "arch.asc": "1B9A16984A4E8CB448712D2AE0B78BF4326C6F8F",
    "fedora-43.asc": "C6E7F081CF80E13146676E88829B606631645531",
    "fedora-44.asc": "36F612DCF27F7D1A48A835E4DBFCF71C6D9F90A6",
    "opensuse.asc": "AD485664E901B867051AB15F35A2F86E29B700A4",
    "ubuntu.asc": "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81",
}


@each_entry
def test_an_entry_is_options_of_an_image(name):
    entry = entries()[name]
    assert entry["title"] and entry["kind"] in ("vm", "iso")
    assert entry["content"] in ("qcow2", "raw", "disklabel", "iso")
    assert (entry["kind"] == "iso") == (entry["content"] == "iso")
    if "url" not in entry:
        assert entry["note"]
        options = resolved({"name": "x", "from": "catalogue", "entry": name, "path": "/srv/x.iso"})
    else:
        assert entry["form"] in FORMS and entry["packing"] in ("none", "xz", "bzip2", "zstd")
        assert ("{version}" in entry["url"]) == ("version" in entry)
        options = resolved({"name": "x", "from": "catalogue", "entry": name})
    assert not {*TOLD, "from"} & options.keys() and "{version}" not in str(options)
    spec = parse(options)
    assert spec.entry == name


@each_entry
def test_what_an_entry_names_comes_over_tls_and_can_be_checked(name):
    entry = entries()[name]
    if "url" not in entry:
        return
    declared = checksum.split(checksum.parse("checksum", entry["checksum"].replace("{version}", "1")))
    assert (declared.digest is not None) == (entry["form"] == "digest")
    for address in (entry["url"], declared.url, entry.get("signature", {}).get("url")):
        assert address is None or address.startswith("https://"), address
    assert (entry["form"] == "clear-signed") == ("signature" in entry and "url" not in entry["signature"])


@each_entry
def test_a_machine_gets_of_an_entry_what_it_needs(name):
    presets = entries()[name].get("presets")
    if entries()[name]["kind"] == "vm":
        assert presets is not None and {"firmware", "os_variant", "seed", "bus", "memory", "disk"} <= presets.keys()


def test_the_keys_are_those_of_who_signs():
    used = {entry["signature"]["key"] for entry in entries().values() if "signature" in entry}
    assert used == {path.name for path in KEYS.iterdir()}
    for name, fingerprint in SIGNERS.items():
        assert fingerprints((KEYS / name).read_text(encoding="utf-8")) == [fingerprint]
    others = used - SIGNERS.keys()
    assert others == {"opnsense-26.7.pem"}
    assert "BEGIN PUBLIC KEY" in (KEYS / "opnsense-26.7.pem").read_text(encoding="utf-8")


def test_what_is_written_goes_before_the_entry():
    image = {
        "name": "mine",
        "from": "catalogue",
        "entry": "ubuntu-24.04",
        "url": "https://example.org/ubuntu-24.04-server-cloudimg-amd64.img",
    }
    options = resolved(
        {**image, "presets": {"memory": "4GiB"}, "signature": {"url": "https://example.org/sig"}, "size_limit": None}
    )
    assert options["url"] == image["url"] and options["entry"] == "ubuntu-24.04" and options["name"] == "mine"
    assert options["presets"] == {**entries()["ubuntu-24.04"]["presets"], "memory": "4GiB"}
    assert options["signature"]["url"] == "https://example.org/sig"
    assert options["signature"]["key"].startswith("-----BEGIN PGP")
    assert "signature" not in resolved({**image, "signature": {}})


def test_a_file_of_the_user_is_not_checked_as_that_of_the_entry():
    options = resolved({"name": "debian-13", "from": "catalogue", "path": "/srv/disk.qcow2"})
    assert not {"url", "checksum", "signature"} & options.keys()
    assert options["presets"]["user"] == "debian"


def test_a_build_is_named_where_an_entry_has_a_place_for_it():
    options = resolved({"name": "fedora-44", "from": "catalogue", "version": "44-1.8"})
    assert options["url"].endswith("Fedora-Cloud-Base-Generic-44-1.8.x86_64.qcow2")
    assert options["checksum"].endswith("Fedora-Cloud-44-1.8-x86_64-CHECKSUM")
    with pytest.raises(CatalogueError, match=r"^version: debian-13 of the catalogue has no place for it"):
        resolved({"name": "debian-13", "from": "catalogue", "version": "13.2"})


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (
            {"name": "fedora-4"},
            r"entry: the catalogue has no fedora-4\. Is fedora-4[34] meant\? There are: almalinux-10, ",
        ),
        (
            {"name": "debian-13", "kind": "container"},
            r"kind: debian-13 of the catalogue is of the kind vm, not container",
        ),
        (
            {"name": "windows-11"},
            r"entry: windows-11 has no file to fetch\. Microsoft gives its media .* Write path, or url",
        ),
    ],
)
def test_what_the_catalogue_cannot_give_is_refused(image, sentence):
    with pytest.raises(CatalogueError, match=f"^{sentence}"):
        resolved({**image, "from": "catalogue"})
    with pytest.raises(CatalogueError, match=rf"^images\[{image['name']}\]\.{sentence}"):
        all_resolved([{"name": "own", "path": "/x"}, {**image, "from": "catalogue"}])


def test_what_is_not_of_the_catalogue_stays_as_it_is():
    for image in ({"name": "a", "url": "https://example.org/a"}, "a", {"name": "a", "from": "elsewhere"}, None):
        assert resolved(image) == image
    assert resolved({"name": "debian-13", "from": "catalogue", "state": "absent"}) == {
        "name": "debian-13",
        "state": "absent",
    }


OWN = [
    {
        "name": "corp",
        "kind": "vm",
        "url": "https://images.example.org/corp-{version}.qcow2",
        "version": 7,
        "checksum": "https://images.example.org/SUMS",
    },
    {"name": "debian-13", "presets": {"memory": "2GiB"}},
]
HOST = {
    "inventory_hostname": "alpha",
    "hypervisor_image_catalogue": OWN,
    "hypervisor_image_mirrors": [
        {"name": "cloud.debian.org", "url": "http://mirror/debian"},
        {"name": "images.example.org", "url": "http://mirror/own"},
    ],
}


def test_an_inventory_has_entries_and_mirrors_of_its_own():
    own = [
        {"name": "corp", "from": "catalogue", "mirrors": [{"name": "images.example.org", "url": "http://other"}]},
        {"name": "debian-13", "from": "catalogue"},
        {"name": "built", "kind": "vm", "build": {"suite": "trixie"}},
    ]
    corp, debian, built = host_options({**HOST, "hypervisor_images": own}, "images")
    assert corp["url"] == "https://images.example.org/corp-7.qcow2" and corp["entry"] == "corp"
    assert corp["mirrors"] == [
        HOST["hypervisor_image_mirrors"][0],
        {"name": "images.example.org", "url": "http://other"},
    ]
    assert debian["presets"] == {**entries()["debian-13"]["presets"], "memory": "2GiB"}
    assert debian["mirrors"] == HOST["hypervisor_image_mirrors"]
    assert built == own[2]
    with pytest.raises(AnsibleFilterError, match=r"hypervisor_images\[x\] of alpha: entry: the catalogue has no x"):
        host_options({**HOST, "hypervisor_images": [{"name": "x", "from": "catalogue"}]}, "images")


def test_an_image_of_the_catalogue_is_none_for_containers():
    images = [
        {"name": "debian-13", "from": "catalogue"},
        {"name": "corp", "from": "catalogue"},
        {"name": "roots", "kind": "container"},
    ]
    assert [kind_of(image, OWN) for image in images] == ["vm", "vm", "container"]
    host = {**HOST, "hypervisor_images": images}
    assert (image_of("container", host), image_of("vm", host)) == ("roots", "debian-13")


def test_each_address_of_an_entry_can_have_a_mirror():
    for name, entry in entries().items():
        hosts = set(
            re.findall(r"https://([^/]+)/", str({key: entry.get(key) for key in ("url", "checksum", "signature")}))
        )
        assert len(hosts) <= 1, f"{name}: {hosts}"
