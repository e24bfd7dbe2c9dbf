# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._image import address, checksum, simplestreams, upstream
from ansible_collections.homelab.hybrid.plugins.module_utils._image.plan import plan_image, stale_paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image.simplestreams import Wanted
from ansible_collections.homelab.hybrid.plugins.module_utils._image.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._image.state import Remote, State, StoredImage

A, B, LONG = "a" * 64, "b" * 64, "c" * 128
URL = "https://example.org/root.tar.xz"


@pytest.mark.parametrize(
    ("text", "algorithm", "expected"),
    [
        (f"{A}  root.tar.xz\n", None, f"sha256:{A}"),
        (f"{A} *root.tar.xz\r\n", None, f"sha256:{A}"),
        (f"{A}  ./root.tar.xz\n", None, f"sha256:{A}"),
        (f"{B}  other/root.tar.xz\n{A}  root.tar.xz\n", None, f"sha256:{A}"),
        (f"{A}  /srv/release/root.tar.xz\n", None, f"sha256:{A}"),
        (f"SHA256 (root.tar.xz) = {A.upper()}\n", None, f"sha256:{A}"),
        (f"SHA2-256(root.tar.xz)= {A}\n", None, f"sha256:{A}"),
        (f"SHA512 (root.tar.xz) = {A}\n", None, None),
        (f"SHA256(root.tar.xz)= {A}\nSHA512(root.tar.xz)= {LONG}\n", None, f"sha512:{LONG}"),
        (f"SHA256(root.tar.xz)= {A}\nSHA512(root.tar.xz)= {LONG}\n", "sha256", f"sha256:{A}"),
        (f"{A}\n", None, f"sha256:{A}"),
        (f"{A}  root.tar.xz.sig\n{A}  my-root.tar.xz\n", None, None),
        (f"# Fedora: 100 bytes\n{A[:-1]}  root.tar.xz\n{'g' * 64}  root.tar.xz\n", None, None),
        ("<html>not found</html>", None, None),
        ("", None, None),
    ],
)
def test_the_digest_of_a_file_in_a_list(text, algorithm, expected):
    assert checksum.find(text, "root.tar.xz", algorithm) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Example.ORG:8443/a%20b/c.tar?x=1", "https://example.org:8443/a%20b/c.tar?x=1"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("https://example.org", "https://example.org/"),
    ],
)
def test_an_address_has_one_form(url, expected):
    assert address.parse_url("url", url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a",
        "file:///etc/passwd",
        "http://",
        "http://u:p@example.org/",
        "http://a b/",
        "http://a/#b",
        "http://a:0/",
        "http://-a/",
    ],
)
def test_what_nothing_is_fetched_from(url):
    with pytest.raises(SpecError, match=r"^url: "):
        address.parse_url("url", url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a/b?c", "http://mirror.lan/of/a/b?c"),
        ("https://example.org:8443/a", "http://other.lan/a"),
        ("https://sub.example.org/a", "https://sub.example.org/a"),
    ],
)
def test_a_mirror_stands_in_for_one_host(url, expected):
    mirrors = {"example.org": "http://mirror.lan/of/", "example.org:8443": "http://other.lan"}
    assert address.mirrored(url, mirrors) == expected


def test_a_file_has_the_name_that_lists_have():
    assert address.file_name("https://example.org/x/root%2B1.tar.xz?download=1") == "root+1.tar.xz"


@pytest.mark.parametrize("path", ["https://evil.example.org/a", "/etc/passwd", "../a", "a/../../b", "a b", ""])
def test_an_index_leads_nowhere_else(path):
    with pytest.raises(SpecError, match="no path below its server"):
        address.joined("https://example.org", path)


@pytest.mark.parametrize(
    ("environment", "text", "expected"),
    [
        ({}, None, {}),
        ({"http_proxy": "http://a"}, "https_proxy=http://b", {"http": "http://a"}),
        ({}, 'export HTTPS_PROXY="http://b"\nno_proxy=.lan\nPATH=/bin\n', {"https": "http://b", "no": ".lan"}),
        ({"all_proxy": "http://a", "https_proxy": "http://s"}, None, {"http": "http://a", "https": "http://s"}),
        ({"HTTP_PROXY": ""}, "http_proxy=http://b", {"http": "http://b"}),
    ],
)
def test_the_proxies_of_a_host(environment, text, expected):
    assert upstream.proxies(environment, text) == expected


@pytest.mark.parametrize(
    ("place", "without", "is_direct"),
    [
        ("example.org:80", "example.org", True),
        ("sub.example.org", "example.org", True),
        ("sub.example.org", ".example.org", True),
        ("sub.example.org", "*.example.org", True),
        ("badexample.org", "example.org", False),
        ("example.org", "", False),
        ("example.org", " , ", False),
        ("example.org", "*", True),
        ("example.org:8080", "example.org:8080", True),
        ("[::1]:80", "::1", True),
    ],
)
def test_who_is_reached_without_a_proxy(place, without, is_direct):
    assert upstream._is_direct(place, without) is is_direct


def product(release="trixie", variant="default", arch="amd64", versions=None, os="Debian"):
    return {"os": os, "release": release, "arch": arch, "variant": variant, "versions": versions or {}}


def version(*types, sha=A):
    return {"items": {name: {"ftype": name, "path": f"images/{name}", "sha256": sha, "size": 10} for name in types}}


PRODUCTS = json.dumps(
    {
        "products": {
            "debian:trixie:amd64:default": product(
                versions={
                    "20260101_05:24": version("root.tar.xz", "disk-kvm.img"),
                    "20260102_05:24": version("root.tar.xz", sha=B),
                    "20260103_05:24": version("squashfs"),
                }
            ),
            "debian:trixie:arm64:default": product(arch="arm64"),
            "debian:trixie:amd64:cloud": product(variant="cloud", versions={"1": version("root.tar.xz")}),
            "incus": product(
                "jammy", "incus", os="ubuntu", versions={"2": version("squashfs", "incus_combined.tar.gz")}
            ),
            "squashed": product("jammy", "squashed", os="ubuntu", versions={"3": version("squashfs")}),
            "com.ubuntu.cloud:server:24.04:amd64": {
                **product("noble", os="ubuntu"),
                "version": "24.04",
                "versions": {"20260101": version("disk1.img", "root.tar.xz")},
            },
        }
    }
)


@pytest.mark.parametrize(
    ("kind", "wanted", "expected"),
    [
        ("container", Wanted("debian", "trixie", "amd64"), ("images/root.tar.xz", f"sha256:{B}", 10, "20260102_05:24")),
        ("vm", Wanted("Debian", "trixie", "amd64"), ("images/disk-kvm.img", f"sha256:{A}", 10, "20260101_05:24")),
        (
            "container",
            Wanted("debian", "trixie", "amd64", serial="20260101_05:24"),
            ("images/root.tar.xz", f"sha256:{A}", 10, "20260101_05:24"),
        ),
        ("container", Wanted("debian", "trixie", "amd64", "cloud"), ("images/root.tar.xz", f"sha256:{A}", 10, "1")),
        ("vm", Wanted("ubuntu", "24.04", "amd64"), ("images/disk1.img", f"sha256:{A}", 10, "20260101")),
        ("vm", Wanted("ubuntu", "noble", "amd64"), ("images/disk1.img", f"sha256:{A}", 10, "20260101")),
        ("vm", Wanted("ubuntu", "jammy", "amd64"), None),
        (
            "container",
            Wanted("debian", "trixie", "amd64", serial="20260103_05:24"),
            ("images/squashfs", f"sha256:{A}", 10, "20260103_05:24"),
        ),
        (
            "container",
            Wanted("ubuntu", "jammy", "amd64", "incus"),
            ("images/incus_combined.tar.gz", f"sha256:{A}", 10, "2"),
        ),
        ("container", Wanted("ubuntu", "jammy", "amd64", "squashed"), ("images/squashfs", f"sha256:{A}", 10, "3")),
    ],
)
def test_the_file_of_a_product(kind, wanted, expected):
    assert simplestreams.choose(PRODUCTS, kind, wanted) == expected


def test_what_an_index_does_not_have_is_told_beside_what_it_has():
    with pytest.raises(
        SpecError,
        match=r"there is no '1999' for a container\. There are: 20260101_05:24, 20260102_05:24, 20260103_05:24",
    ):
        simplestreams.choose(PRODUCTS, "container", Wanted("debian", "trixie", "amd64", serial="1999"))
    with pytest.raises(SpecError, match="debian/trixie/arm64/default has no file for a vm"):
        simplestreams.choose(PRODUCTS, "vm", Wanted("debian", "trixie", "arm64"))
    error = simplestreams.missing(Wanted("debian", "sid", "amd64"), [PRODUCTS])
    assert "no debian/sid/amd64/default" in error.message and "trixie/amd64/cloud" in error.message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"products": []}', '{"products": 1}', "\x00"])
def test_what_is_no_index(text):
    with pytest.raises(SpecError, match="holds no"):
        simplestreams.choose(text, "vm", Wanted("debian", "trixie"))
    with pytest.raises(SpecError, match="holds no"):
        simplestreams.product_lists(text)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"url": URL}, "url: checksum or signature is needed with it"),
        ({"url": URL, "checksum": f"md5:{'0' * 32}"}, "checksum: md5 says nothing"),
        ({"url": URL, "checksum": f"sha256:{A[:-1]}"}, "checksum: 'sha256:"),
        ({"url": URL, "checksum": A}, "checksum: "),
        ({"checksum": f"sha256:{A}"}, "checksum: belongs to url, or to path"),
        ({"path": "/a", "checksum": "https://a/SUMS"}, "checksum: of a path it is the digest itself"),
        ({"signature": {"key": "/key"}}, "signature: belongs to url"),
        ({"url": URL, "signature": {"url": URL}}, "signature.key: is needed"),
        ({"url": URL, "signature": {"key": "/key"}}, "signature.url: is needed"),
        ({"url": URL, "signature": {"key": "key", "url": URL}}, "signature.key: 'key' is not allowed"),
        (
            {"url": URL, "checksum": f"sha256:{A}", "signature": {"key": "/k", "of": "checksum"}},
            "checksum needs the URL of a list",
        ),
        (
            {"kind": "container", "url": URL, "signature": {"key": "/k", "url": URL, "of": "content"}},
            "belongs to the disk of a vm",
        ),
        ({"url": URL, "path": "/a", "checksum": URL}, "path, url: an image comes from one of them"),
        ({"simplestreams": {"server": URL, "release": "x"}}, "simplestreams.distribution: is needed"),
        (
            {
                "simplestreams": {"server": URL, "release": "x", "distribution": "y"},
                "signature": {"key": "/k", "url": URL},
            },
            "of simplestreams the index is signed",
        ),
        ({"mirrors": [{"name": "a.org"}]}, "mirrors[a.org].url: is needed"),
        ({"path": "/a", "ask_upstream": True}, "ask_upstream: belongs to url or simplestreams"),
        ({"url": URL, "checksum": URL, "size_limit": "1K"}, "size_limit: '1K' is not allowed"),
    ],
)
def test_bad_input_of_what_is_fetched_is_refused(params, sentence):
    with pytest.raises(SpecError) as caught:
        parse({"name": "debian", **params})
    assert sentence in caught.value.message


STORED = StoredImage("debian", "container", "tar.zst", "/store/debian/root.tar.zst", 1000, f"sha256:{A}")


def stands(remote=None, **origin):
    made = {"url": URL, "declared": f"sha256:{A}", "digest": f"sha256:{A}", "size": 10, "validator": "x", **origin}
    return State(image=STORED, origin=made, is_recorded=True, remote=remote)


STREAMS = {"server": "https://example.org/", "distribution": "debian", "release": "trixie"}
MADE_OF_STREAMS = {"simplestreams": {**STREAMS, "serial": "1"}, "url": None}


@pytest.mark.parametrize(
    ("state", "params", "stale", "warning"),
    [
        (stands(), {"url": URL, "checksum": f"sha256:{A}"}, [], None),
        (stands(), {"url": "https://mirror.org/a", "checksum": f"sha256:{A}"}, [], None),
        (stands(), {"url": URL, "checksum": f"sha256:{B}"}, ["checksum"], "is not what it was made of"),
        (stands(), {"url": URL, "checksum": "https://example.org/SUMS"}, [], None),
        (stands(), {"url": "https://example.org/b", "checksum": "https://example.org/SUMS"}, ["url"], "is not what"),
        (stands(), {"path": "/a"}, ["path"], "is not what"),
        (stands(), {"build": {"suite": "trixie"}}, ["build"], "is not what"),
        (stands(Remote(URL, f"sha256:{A}")), {"url": URL, "checksum": URL}, [], None),
        (stands(Remote(URL, f"sha256:{B}")), {"url": URL, "checksum": URL}, ["url"], "upstream has a newer one"),
        (stands(Remote(URL, f"sha512:{LONG}", 10, validator="x")), {"url": URL, "checksum": URL}, [], None),
        (
            stands(Remote(URL, None, 10, validator="y")),
            {"url": URL, "signature": {"url": URL, "key": "/k"}},
            ["url"],
            "newer",
        ),
        (stands(**MADE_OF_STREAMS), {"simplestreams": STREAMS}, [], None),
        (
            stands(**MADE_OF_STREAMS),
            {"simplestreams": {**STREAMS, "release": "sid"}},
            ["simplestreams.release"],
            "is not",
        ),
        (stands(**MADE_OF_STREAMS), {"simplestreams": {**STREAMS, "serial": "2"}}, ["simplestreams.serial"], "is not"),
        (
            stands(Remote(URL, serial="2"), **MADE_OF_STREAMS),
            {"simplestreams": STREAMS},
            ["simplestreams"],
            "of serial 2",
        ),
        (stands(Remote(URL, serial="1"), **MADE_OF_STREAMS), {"simplestreams": STREAMS}, [], None),
        (stands(), {"simplestreams": STREAMS}, ["simplestreams"], "is not"),
        (
            stands()._replace(unreachable="no route"),
            {"url": URL, "checksum": URL},
            [],
            "upstream cannot be asked: no route",
        ),
    ],
)
def test_a_newer_one_upstream_is_stale_and_never_a_change(state, params, stale, warning):
    spec = parse({"name": "debian", **params})
    assert stale_paths(spec, state) == stale
    found = plan_image(spec, state)
    assert not found.changed
    assert [warning in text for text in found.warnings] == ([True] if warning else [])


@pytest.mark.parametrize(
    ("remote", "free", "reason"),
    [
        (Remote(URL, size=2**40), 2**50, "bytes, more than 64GiB"),
        (Remote(URL, size=2**30), 2**20, "and the image store has room for 1048576"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_fetched(remote, free, reason):
    spec = parse({"name": "debian", "kind": "container", "url": URL, "checksum": f"sha256:{A}"})
    (refused,) = plan_image(spec, State(remote=remote, free_bytes=free)).refused
    assert reason in refused.reason
