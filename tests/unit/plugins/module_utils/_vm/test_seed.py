# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed of cloud-init: what is declared is read back to the letter."""

from __future__ import annotations

import json
import subprocess

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm import seed
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.seed_card import Card
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import acts_early

CARDS = {"lan": Card("52:54:00:00:00:01")}
FULL = {
    "cloud_init.user": "joe",
    "cloud_init.ssh_keys": ("ssh-ed25519 AAAA one", "ssh-rsa BBBB two"),
    "cloud_init.packages": ("vim",),
    "cloud_init.user_data": "#cloud-config\nruncmd: [ls]\n",
    "cloud_init.meta_data": "instance-id: x\n",
    "cloud_init.network_config": "version: 2\n",
}


def said(files):
    """What a seed says of options."""
    return {path: value for path, value in seed.read(files, "vm", "").items() if path != seed.INSTANCE}


@pytest.mark.parametrize("left_out", [None, *FULL])
@pytest.mark.parametrize("is_clone", [False, True])
def test_a_seed_says_what_was_declared(left_out, is_clone):
    values = {path: value for path, value in FULL.items() if path != left_out}
    files = seed.render("vm", values, CARDS, is_clone=is_clone)
    assert {path: value for path, value in said(files).items() if value} == values
    assert files == seed.render("vm", values, CARDS, is_clone=is_clone)


@pytest.mark.parametrize("is_clone", [False, True])
def test_nothing_declared_reads_as_nothing(is_clone):
    assert not any(said(seed.render("vm", {}, CARDS, is_clone=is_clone)).values())


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


SHORT = {path: FULL[path] for path in ("cloud_init.user", "cloud_init.ssh_keys", "cloud_init.packages")}


@pytest.mark.parametrize("reader", ["nuageinit", "cloudbase-init"])
@pytest.mark.parametrize("left_out", [None, "cloud_init.user", "cloud_init.ssh_keys"])
def test_another_reader_is_told_the_same(reader, left_out):
    values = {path: value for path, value in SHORT.items() if path != left_out}
    files = seed.render("vm", values, CARDS, reader=reader)
    assert {path: value for path, value in said(files).items() if value} == values
    assert "vendor-data" not in seed.render("vm", FULL, CARDS, reader=reader, is_clone=True)


def test_freebsd_is_told_of_a_user_as_nuageinit_reads_it():
    files = seed.render("vm", SHORT, CARDS, reader="nuageinit")
    told = json.loads(files["user-data"].removeprefix("#cloud-config\n"))
    (user,) = told["users"]
    assert (user["groups"], user["shell"], told["ssh_pwauth"]) == ("wheel", "/bin/sh", False)
    assert "lock_passwd" not in user
    card = json.loads(files["network-config"])["ethernets"]["lan"]
    assert card == {"match": {"macaddress": CARDS["lan"].mac}, "dhcp4": True}


def test_windows_is_told_of_keys_without_a_user_in_the_meta_data():
    files = seed.render("vm", {"cloud_init.ssh_keys": SHORT["cloud_init.ssh_keys"]}, CARDS, reader="cloudbase-init")
    assert json.loads(files["meta-data"])["public-keys"] == list(SHORT["cloud_init.ssh_keys"])
    assert "network-config" not in files
    user = seed.render("vm", SHORT, CARDS, reader="cloudbase-init")
    assert json.loads(user["user-data"].removeprefix("#cloud-config\n"))["users"][0]["groups"] == "Administrators"
    assert "public-keys" not in user["meta-data"]


def test_another_instance_has_a_name_of_its_own():
    files = seed.render("vm", SHORT, CARDS)
    assert seed.read(files, "vm")[seed.INSTANCE] == "vm"
    other = seed.another_instance("vm", files, "vm")
    assert other == seed.another_instance("vm", files, "vm") != seed.another_instance("vm", files, other)
    again = seed.render("vm", SHORT, CARDS, instance=other)
    assert seed.read(again, "vm")[seed.INSTANCE] == other and said(again) == said(files)
    assert {name for name in files if files[name] != again[name]} == {"meta-data"}


@pytest.mark.parametrize(
    "meta",
    [
        '{"instance-id": "other", "local-hostname": "vm"}',
        '{"instance-id": "vm-1", "local-hostname": "vm"}',
        '{"instance-id": "vm", "local-hostname": "vm", "more": 1}',
        "instance-id: vm\nlocal-hostname: vm\n",
    ],
)
def test_meta_data_of_the_user_is_read_as_such(meta):
    files = seed.render("vm", {"cloud_init.meta_data": meta}, CARDS)
    assert said(files)["cloud_init.meta_data"] == meta
    if meta.startswith("{"):
        text = json.dumps(json.loads(meta), indent=1, sort_keys=True) + "\n"
        assert said(seed.render("vm", {"cloud_init.meta_data": text}, CARDS))["cloud_init.meta_data"] == text


@pytest.mark.parametrize(
    "card",
    [
        Card("52:54:00:00:00:01"),
        Card("52:54:00:00:00:01", "none"),
        Card("52:54:00:00:00:01", "192.0.2.5/24"),
        Card("52:54:00:00:00:01", "192.0.2.5/24", "192.0.2.1", ("192.0.2.53", "2001:db8::53")),
        Card("52:54:00:00:00:01", ip6="2001:db8::5/64"),
        Card("52:54:00:00:00:01", "none", ip6="2001:db8::5/64", gateway6="fe80::1"),
        Card("52:54:00:00:00:01", "192.0.2.5/24", "192.0.2.1", (), "2001:db8::5/64", "2001:db8::1"),
    ],
)
def test_what_a_seed_tells_a_card_is_read_back_and_is_no_text_of_the_user(card):
    files = seed.render("vm", {}, {"lan": card, "two": Card("52:54:00:00:00:02")})
    assert seed.read_cards(files) == {card.mac: card, "52:54:00:00:00:02": Card("52:54:00:00:00:02")}
    assert said(files)["cloud_init.network_config"] == ""


@pytest.mark.parametrize(
    "text", ["version: 1", "{}", '{"version": 2, "ethernets": {"lan": {"dhcp4": true}}}', '{"ethernets": {"lan": []}}']
)
def test_what_the_user_wrote_tells_no_card_of_ours(text):
    assert seed.read_cards({"network-config": text}) is None


def test_an_address_stands_in_the_words_of_cloud_init():
    cards = {"lan": Card("52:54:00:00:00:01", "192.0.2.5/24", "192.0.2.1", ("192.0.2.53",))}
    assert json.loads(seed.render("vm", {}, cards)["network-config"])["ethernets"]["lan"] == {
        "match": {"macaddress": "52:54:00:00:00:01"},
        "dhcp4": False,
        "addresses": ["192.0.2.5/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}],
        "nameservers": {"addresses": ["192.0.2.53"]},
    }


def test_an_address_of_ipv6_stands_beside_what_is_said_of_ipv4():
    cards = {"lan": Card("52:54:00:00:00:01", ip6="2001:db8::5/64")}
    assert json.loads(seed.render("vm", {}, cards)["network-config"])["ethernets"]["lan"] == {
        "match": {"macaddress": "52:54:00:00:00:01"},
        "dhcp4": True,
        "addresses": ["2001:db8::5/64"],
        "accept-ra": True,
    }
    cards = {"lan": Card("52:54:00:00:00:01", "192.0.2.5/24", "192.0.2.1", (), "2001:db8::5/64", "fe80::1")}
    assert json.loads(seed.render("vm", {}, cards)["network-config"])["ethernets"]["lan"] == {
        "match": {"macaddress": "52:54:00:00:00:01"},
        "dhcp4": False,
        "addresses": ["192.0.2.5/24", "2001:db8::5/64"],
        "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "::/0", "via": "fe80::1"}],
    }


FILES = {
    "authorized_keys": "ssh-ed25519 AAAA one\n",
    "network/my-network": "[ipv4]\nmethod=auto\n",
    "network/other": "",
}


def test_a_medium_of_files_is_read_back_with_its_label():
    values = {"cloud_init.files": json.dumps(FILES, sort_keys=True), "cloud_init.label": "CONFIG"}
    files = seed.render("vm", values, CARDS)
    data = seed.build(files, seed.label_in(values))
    assert seed.unpack(data) == FILES and seed.label_of(data) == "CONFIG"
    assert {path: value for path, value in seed.read(FILES, "vm", "CONFIG").items() if value} == values
    assert seed.read_cards(FILES) is None and data == seed.build(files, "CONFIG")
    # busybox reads as far as reiserfs keeps its mark, whatever is on the medium.
    assert len(seed.build({"a": ""}, "A")) > 0x11000
    plain = seed.build(seed.render("vm", {}, CARDS))
    assert seed.label_of(plain) == "cidata" and set(seed.unpack(plain)) == {"meta-data", "network-config", "user-data"}
