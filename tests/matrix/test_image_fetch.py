# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are fetched, on the real host: from servers on the loopback, judged with sha256sum, gpg, openssl, tar and qemu-img."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image import downloads, source_file
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.fingerprint import differences, fingerprint
from ansible_collections.homelab.hybrid.tests.harness.kill import Child
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_downloads
from ansible_collections.homelab.hybrid.tests.harness.signer import Signer
from ansible_collections.homelab.hybrid.tests.harness.upstream import Upstream, serving

PREFIX = "hlfetch"
NAME = f"{PREFIX}-main"
IMAGE = Image()
FOLDER = Path(paths.IMAGES) / NAME
DOWNLOADS = Path(downloads.FOLDER)
Params = dict[str, t.Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Path]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    clean()
    yield tmp_path
    clean()


@pytest.fixture
def up(folder: Path) -> t.Iterator[Upstream]:
    (folder / "www").mkdir()
    with serving(folder / "www") as upstream:
        yield upstream


def clean() -> None:
    for pattern in (f"{PREFIX}*", f".attempts/{PREFIX}*"):
        for path in Path(paths.IMAGES).glob(pattern):
            shutil.rmtree(path)
    records = Path(paths.record_folder("images"))
    for record in records.glob(f"{PREFIX}*"):
        record.unlink()
    remove_downloads()


def output(*argv: str | Path, **options: t.Any) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    return output(f"{algorithm}sum", path).split()[0]


def make_root(folder: Path, size: int = 50_000) -> Path:
    root = folder / "root"
    for name in ("etc", "usr/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/program").write_bytes(random.Random(1).randbytes(size))
    (root / "etc/owned").write_text("owned")
    os.chown(root / "etc/owned", 33, 65534)
    return root


def publish_root(up: Upstream, name: str = "root.tar.xz", size: int = 50_000) -> str:
    """A root as an upstream has it; its address."""
    root = make_root(up.folder.parent, size)
    target = up.folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    output("tar", "-C", root, "--numeric-owner", "-caf", target, ".")
    return f"{up.url}/{name}"


def publish_disk(up: Upstream, name: str = "disk.img") -> str:
    target = up.folder / name
    output("qemu-img", "create", "-q", "-f", "qcow2", target, "8M")
    output("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", target)
    return f"{up.url}/{name}"


def fetched(url: str, checksum: str | None, kind: str = "container", **more: t.Any) -> Params:
    return {"name": NAME, "kind": kind, "url": url, **({"checksum": checksum} if checksum else {}), **more}


def of(up: Upstream, name: str, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{digest_of(up.folder / name, algorithm)}"


def assert_nothing_left() -> None:
    assert not FOLDER.exists()
    assert not Path(paths.record_path("images", NAME)).exists()
    assert not list(Path(paths.IMAGES).glob(f".attempts/{PREFIX}*"))
    assert not left()


def left() -> list[str]:
    return sorted(path.name for path in DOWNLOADS.glob("*"))


def assert_root(size: int = 50_000) -> None:
    """The image holds the root that was published, as tar itself reads it."""
    listing = output("tar", "--numeric-owner", "-tvf", FOLDER / "root.tar.zst")
    assert "33/65534" in listing and str(size) in listing


def failed(params: Params) -> str:
    """What a run says that fails where no check could have known it, and leaves nothing."""
    outcome = converge_now(IMAGE, params)
    assert outcome.error is not None
    assert_nothing_left()
    return outcome.error.message


# ---- checksums ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_root_is_fetched_and_is_what_its_checksum_says(folder, up, algorithm):
    url = publish_root(up)
    params = fetched(url, of(up, "root.tar.xz", algorithm).upper().replace("SHA", "sha"))
    outcome = check_run_again(IMAGE, params, ["state", "kind", "url", "checksum", "download"])
    assert_root()
    (download,) = [change for change in outcome.plan.changes if change.path == "download"]
    size = (up.folder / "root.tar.xz").stat().st_size
    assert download.after == f"{size / 2**20:.1f} MiB, from {url}, {of(up, 'root.tar.xz', algorithm)}"
    assert len(up.fetched("root.tar.xz")) == 1


def test_a_second_run_asks_no_server(folder, up):
    params = fetched(publish_root(up), f"{up.url}/SHA256SUMS")
    up.put("SHA256SUMS", output("sha256sum", "root.tar.xz", cwd=up.folder))
    converge_now(IMAGE, params)
    up.requests.clear()
    assert unchanged(IMAGE, params).facts["image"]["stale"] == []
    assert up.requests == []


LISTS = {
    "coreutils": lambda name, folder: output("sha256sum", name, cwd=folder),
    "binary": lambda name, folder: output("sha256sum", "--binary", name, cwd=folder),
    "sha512": lambda name, folder: output("sha512sum", name, cwd=folder),
    "BSD": lambda name, folder: output("sha256sum", "--tag", name, cwd=folder),
    "dotted": lambda name, folder: output("sha256sum", f"./{name}", cwd=folder),
    "bare": lambda name, folder: output("sha256sum", name, cwd=folder).split()[0],
    "openssl": lambda name, folder: output("openssl", "dgst", "-sha256", name, cwd=folder),
    "both": lambda name, folder: "".join(
        output(f"{its}sum", "--tag", name, cwd=folder) for its in ("md5", "sha256", "sha512")
    ),
}


def test_the_checksum_is_found_in_a_list_of_any_form(folder, up):
    url = publish_root(up, "root+1.tar.xz")
    for form, make in LISTS.items():
        others = "" if form == "bare" else f"{'0' * 64}  other.tar.xz\n{'1' * 64}  1.tar.xz\n"
        where = up.put("SUMS", f"{others}{make('root+1.tar.xz', up.folder)}")
        check = converge_now(IMAGE, fetched(url, where), dry_run=True)
        assert check.error is None, f"{form}: {check.error}"
        expected = of(up, "root+1.tar.xz", "sha512" if form in ("sha512", "both") else "sha256")
        assert expected in check.plan.changes[-1].after, form
    check_run_again(IMAGE, fetched(url, where))
    assert_root()


def test_the_list_of_one_file_counts_whatever_it_calls_it(folder, up):
    url = publish_root(up)
    beside = up.put("root.tar.xz.SHA256", f"{digest_of(up.folder / 'root.tar.xz')}  root-20261001.tar.xz\n")
    check_run_again(IMAGE, fetched(url, beside))
    assert_root()
    two = f"{'0' * 64}  a.tar.xz\n{'1' * 64}  b.tar.xz\n"
    refuse(
        IMAGE,
        {**fetched(url, up.put("root.tar.xz.sums", two)), "name": f"{NAME}2"},
        "has no sha256, sha384, sha512 of root.tar.xz",
    )


def test_a_list_without_the_file_is_refused_before_anything_is_fetched(folder, up):
    url = publish_root(up)
    where = up.put("SHA256SUMS", f"{'0' * 64}  other.tar.xz\n")
    refuse(IMAGE, fetched(url, where), f"checksum: {where} has no sha256, sha384, sha512 of root.tar.xz")
    refuse(IMAGE, fetched(url, f"sha512:{where}"), "has no sha512 of root.tar.xz")
    refuse(IMAGE, fetched(url, f"{up.url}/none"), f"checksum: {up.url}/none: the server says 404")
    assert not up.fetched("root.tar.xz") and not left()


def test_another_file_than_the_checksum_says_makes_no_image(folder, up):
    message = failed(fetched(publish_root(up), f"sha256:{'0' * 64}"))
    assert f"is {of(up, 'root.tar.xz')}, and must be sha256:000" in message


def test_a_file_that_is_not_there_is_refused_by_the_check(folder, up):
    refuse(IMAGE, fetched(f"{up.url}/none.tar", f"sha256:{'0' * 64}"), f"url: {up.url}/none.tar: the server says 404")
    refuse(IMAGE, fetched("http://localhost:9/none.tar", f"sha256:{'0' * 64}"), "cannot be fetched: ")


# ---- signatures -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Signer]:
    made = Signer(tmp_path_factory.mktemp("signer"))
    yield made
    made.stop()


def sums(up: Upstream, name: str = "root.tar.xz") -> str:
    return up.put("SHA256SUMS", output("sha256sum", name, cwd=up.folder))


def test_a_signed_list_counts(folder, up, signer):
    params = fetched(publish_root(up), sums(up))
    signer.gpg("--detach-sign", "--output", up.folder / "SHA256SUMS.gpg", up.folder / "SHA256SUMS")
    params["signature"] = {"url": f"{up.url}/SHA256SUMS.gpg", "key": signer.key}
    check_run_again(IMAGE, params)
    assert_root()


def test_a_key_of_the_host_counts_as_well(folder, up, signer):
    params = fetched(publish_root(up), sums(up))
    signer.gpg("--armor", "--detach-sign", "--output", up.folder / "SHA256SUMS.asc", up.folder / "SHA256SUMS")
    signer.gpg("--output", folder / "ring.gpg", "--export")
    params["signature"] = {"url": f"{up.url}/SHA256SUMS.asc", "key": str(folder / "ring.gpg")}
    check_run_again(IMAGE, params)
    refuse(
        IMAGE,
        {**params, "name": f"{NAME}2", "signature": {**params["signature"], "key": "/none"}},
        "/none cannot be read",
    )


def test_a_list_that_carries_its_signature_counts_as_far_as_it_is_signed(folder, up, signer):
    params = fetched(publish_root(up), sums(up))
    signer.gpg("--clear-sign", "--output", up.folder / "CHECKSUM", up.folder / "SHA256SUMS")
    params["checksum"] = f"{up.url}/CHECKSUM"
    params["signature"] = {"key": signer.key}
    text = (up.folder / "CHECKSUM").read_text()
    up.put("CHECKSUM", f"{'0' * 64}  root.tar.xz\n{text}")
    check_run_again(IMAGE, params)
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    up.put("CHECKSUM", text.replace("root.tar.xz", "other.tar.xz"))
    refuse(IMAGE, params, "its signature is not one of the key in signature.key")
    up.put("CHECKSUM", f"{'0' * 64}  root.tar.xz\n")
    refuse(IMAGE, params, "carries no signature")


def test_a_list_that_somebody_else_signed_or_changed_is_refused(folder, up, signer, tmp_path_factory):
    params = fetched(publish_root(up), sums(up))
    signer.gpg("--detach-sign", "--output", up.folder / "sig", up.folder / "SHA256SUMS")
    other = folder / "other"
    other.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", other, "--batch", "--quiet"]
    output(*gpg, "--passphrase", "", "--quick-gen-key", "Other <o@example.org>", "ed25519", "sign", "never")
    key = output(*gpg, "--armor", "--export")
    output("gpgconf", "--homedir", other, "--kill", "all")
    params["signature"] = {"url": f"{up.url}/sig", "key": key}
    refuse(IMAGE, params, "SHA256SUMS: its signature is not one of the key in signature.key")
    params["signature"]["key"] = signer.key
    up.put("SHA256SUMS", (up.folder / "SHA256SUMS").read_text() + "# more\n")
    refuse(IMAGE, params, "SHA256SUMS: its signature is not one of the key in signature.key")
    assert not up.fetched("root.tar.xz") and not left()


def test_a_key_that_has_expired_signs_nothing_any_more(folder, up, signer):
    params = fetched(publish_root(up), sums(up))
    past = ("--faked-system-time", "20240101T000000!")
    signer.gpg(*past, "--passphrase", "", "--quick-gen-key", "Old <old@example.org>", "ed25519", "sign", "1d")
    signer.gpg(*past, "-u", "old@example.org", "--detach-sign", "--output", up.folder / "sig", up.folder / "SHA256SUMS")
    params["signature"] = {"url": f"{up.url}/sig", "key": signer.gpg("--armor", "--export", "old@example.org")}
    refuse(IMAGE, params, "SHA256SUMS: its signature is not one of the key in signature.key (EXPKEYSIG)")


@pytest.mark.parametrize("form", ["bytes", "base64"])
def test_a_file_that_openssl_signed_needs_no_checksum(folder, up, signer, form):
    url = publish_root(up)
    file, sig = up.folder / "root.tar.xz", up.folder / "root.tar.xz.sig"
    output("openssl", "dgst", "-sha256", "-sign", signer.private, "-out", sig, file)
    if form == "base64":
        sig.write_text(output("openssl", "base64", "-in", sig))
    params = fetched(url, None, signature={"url": f"{url}.sig", "key": signer.pem})
    check_run_again(IMAGE, params, ["state", "kind", "url", "download"])
    assert_root()
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    file.write_bytes(file.read_bytes() + b"\0" * 4)
    assert "its signature is not one of the key in signature.key (openssl)" in failed(params)


def test_the_signature_can_be_of_the_unpacked_disk(folder, up, signer):
    """OPNsense's: the image is signed before it is packed."""
    url = publish_disk(up, "nano.img")
    sig = up.folder / "nano.img.sig"
    output("openssl", "dgst", "-sha256", "-sign", signer.private, "-out", sig, up.folder / "nano.img")
    output("bzip2", up.folder / "nano.img")
    params = fetched(f"{url}.bz2", sums(up, "nano.img.bz2"), "vm")
    params["signature"] = {"url": f"{url}.sig", "key": signer.pem, "of": "content"}
    check_run_again(IMAGE, params)
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    sig.write_bytes(sig.read_bytes()[::-1])
    assert "its signature is not one of the key" in failed(params)


def test_a_program_that_is_missing_is_assumed_by_the_check_and_named_by_the_run(folder, up, signer, monkeypatch):
    params = fetched(publish_root(up), sums(up), signature={"url": sums(up), "key": signer.key})
    monkeypatch.setattr(shutil, "which", lambda *args, **options: None)
    check = converge_now(IMAGE, params, dry_run=True)
    assert check.error is None and check.plan.assumed == ["program gpgv"]
    run = converge_now(IMAGE, params)
    assert run.error is not None and "signature: needs the program gpgv on this host" in run.error.message
    assert not up.fetched("root.tar.xz")


# ---- packings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.bz2", "tar.zst"])
def test_a_root_of_any_packing_is_taken(folder, up, suffix):
    url = publish_root(up, f"root.{suffix}")
    check_run_again(IMAGE, fetched(url, of(up, f"root.{suffix}")))
    assert_root()
    output("zstd", "-tq", FOLDER / "root.tar.zst")


@pytest.mark.parametrize(
    ("packing", "form"), [("gzip", "raw"), ("bzip2", "qcow2"), ("xz", "raw"), ("zstd", "qcow2"), ("zstd", "raw")]
)
def test_a_disk_of_any_packing_is_taken(folder, up, packing, form):
    publish_disk(up, "disk.qcow2")
    plain = up.folder / f"disk.{form}"
    if form == "raw":
        output("qemu-img", "convert", "-O", "raw", up.folder / "disk.qcow2", plain)
        subprocess.run(["sfdisk", "-q", plain], input="label: dos\n,\n", text=True, check=True)
    content = subprocess.run([packing, "-c", plain], capture_output=True, check=True).stdout
    url = up.put("disk.packed", content)
    check_run_again(IMAGE, fetched(url, of(up, "disk.packed"), "vm"))
    disk = FOLDER / "disk.qcow2"
    output("qemu-io", "-f", "qcow2", "-r", "-c", "read -P 7 1M 64k", disk)
    info = json.loads(output("qemu-img", "info", "--output=json", disk))
    assert (info["format"], info["virtual-size"]) == ("qcow2", 8 * 2**20)
    assert [path.name for path in FOLDER.iterdir()] == ["disk.qcow2"]


def test_a_packed_disk_of_the_host_is_taken_as_well(folder, up):
    publish_disk(up)
    output("xz", up.folder / "disk.img")
    check_run_again(IMAGE, {"name": NAME, "kind": "vm", "path": str(up.folder / "disk.img.xz")})
    output("qemu-img", "check", "-q", FOLDER / "disk.qcow2")


# ---- the way --------------------------------------------------------------------------------------------------------

BIG = 600_000


def test_a_cut_is_gone_on_from(folder, up):
    params = fetched(publish_root(up, size=BIG), of(up, "root.tar.xz"))
    up.cuts = 2
    check_run_again(IMAGE, params)
    assert_root(BIG)
    starts = [int(line.split()[2].rstrip("-")) if len(line.split()) > 2 else 0 for line in up.fetched("root.tar.xz")]
    size = (up.folder / "root.tar.xz").stat().st_size
    assert starts == [0, size // 2, size // 2 + (size - size // 2) // 2]


def test_a_list_that_was_cut_is_read_again(folder, up):
    params = fetched(publish_root(up), f"sha256:{sums(up)}")
    up.cuts = 2
    assert of(up, "root.tar.xz") in converge_now(IMAGE, params, dry_run=True).plan.changes[-1].after
    up.cuts = 9
    refuse(IMAGE, params, "SHA256SUMS cannot be fetched: the line broke")


def test_what_came_before_a_line_broke_for_good_is_gone_on_from_by_the_next_run(folder, up, monkeypatch):
    from ansible_collections.homelab.hybrid.plugins.module_utils._image import fetch

    monkeypatch.setattr(fetch, "_TRIES", 1)
    params = fetched(publish_root(up, size=BIG), of(up, "root.tar.xz"))
    up.cuts = 1
    outcome = converge_now(IMAGE, params)
    assert outcome.error is not None and "the next run goes on from there" in outcome.error.message
    assert any(name.endswith(".part") for name in left())
    up.requests.clear()
    check_run_again(IMAGE, params)
    (get,) = up.fetched("root.tar.xz")
    assert int(get.split()[2].rstrip("-")) > 100_000
    assert_root(BIG)


def test_what_came_of_a_file_that_is_not_wanted_any_more_goes(folder, up, monkeypatch):
    from ansible_collections.homelab.hybrid.plugins.module_utils._image import fetch

    monkeypatch.setattr(fetch, "_TRIES", 1)
    params = fetched(publish_root(up, size=BIG), of(up, "root.tar.xz"))
    up.cuts = 1
    converge_now(IMAGE, params)
    check_run_again(IMAGE, {"name": NAME, "state": "absent"}, ["state"])
    assert_nothing_left()


def test_a_file_that_was_changed_between_two_parts_is_not_put_together(folder, up, monkeypatch):
    from ansible_collections.homelab.hybrid.plugins.module_utils._image import fetch

    monkeypatch.setattr(fetch, "_TRIES", 1)
    params = fetched(publish_root(up, size=BIG), sums(up))
    up.cuts, up.never_cut = 1, {"/SHA256SUMS"}
    assert converge_now(IMAGE, params).error is not None
    url = publish_root(up, size=BIG + 1)
    sums(up)
    check_run_again(IMAGE, {**params, "url": url})
    assert_root(BIG + 1)
    assert len(left()) == 1


@pytest.mark.parametrize("without", ["HEAD", "Range", "ETag", "Content-Length"])
def test_a_server_need_not_know_everything(folder, up, without):
    up.without = {without}
    params = fetched(publish_root(up, size=BIG), of(up, "root.tar.xz"))
    up.cuts = 0 if without == "Content-Length" else 1
    check_run_again(IMAGE, params)
    assert_root(BIG)


def test_a_redirect_is_followed(folder, up):
    publish_root(up, "root-1.tar.xz")
    up.redirects["/latest/root.tar.xz"] = f"{up.url}/root-1.tar.xz"
    up.put("latest/SHA256SUMS", f"{digest_of(up.folder / 'root-1.tar.xz')}  root.tar.xz\n")
    check_run_again(IMAGE, fetched(f"{up.url}/latest/root.tar.xz", f"{up.url}/latest/SHA256SUMS"))
    assert_root()


def test_a_file_is_fetched_once_for_all_images_of_it_and_goes_with_the_last(folder, up):
    params = fetched(publish_root(up), of(up, "root.tar.xz"))
    converge_now(IMAGE, params)
    second = check_run_again(IMAGE, {**params, "name": f"{NAME}2"})
    assert any("fetched before" in str(change.after) for change in second.plan.changes)
    assert len(up.fetched("root.tar.xz")) == 1
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    assert left() == [of(up, "root.tar.xz").replace(":", "-")]
    converge_now(IMAGE, {"name": f"{NAME}2", "state": "absent"})
    assert left() == []


def test_a_download_that_was_damaged_on_the_host_is_fetched_again(folder, up):
    params = fetched(publish_root(up), of(up, "root.tar.xz"))
    converge_now(IMAGE, params)
    (DOWNLOADS / left()[0]).write_bytes(b"damaged")
    check_run_again(IMAGE, {**params, "name": f"{NAME}2"})
    assert len(up.fetched("root.tar.xz")) == 2


def test_a_mirror_stands_in_for_a_host(folder, up):
    publish_root(up, "mirror/cloud/root.tar.xz")
    up.put("mirror/cloud/SHA256SUMS", output("sha256sum", "root.tar.xz", cwd=up.folder / "mirror/cloud"))
    base = "https://cloud.example.org/cloud"
    params = fetched(
        f"{base}/root.tar.xz", f"{base}/SHA256SUMS", mirrors=[{"name": "cloud.example.org", "url": f"{up.url}/mirror/"}]
    )
    check_run_again(IMAGE, params)
    assert_root()
    record = json.loads(Path(paths.record_path("images", NAME)).read_text())
    assert record["origin"]["url"] == f"{base}/root.tar.xz"


def test_a_mirror_stands_in_for_the_host_that_a_server_sends_to(folder, up):
    """As the addresses of releases lead to a host of their own; also of lists, and of one that has nothing and sends back."""
    publish_root(up, "mirror/files/root-1.tar.xz")
    up.put("mirror/files/SUMS-1", f"{digest_of(up.folder / 'mirror/files/root-1.tar.xz')}  root.tar.xz\n")
    up.redirects["/releases/root.tar.xz"] = "http://files.example.org/files/root-1.tar.xz"
    up.redirects["/releases/SUMS"] = "http://files.example.org/files/SUMS-1"
    params = fetched(
        f"{up.url}/releases/root.tar.xz",
        f"{up.url}/releases/SUMS",
        mirrors=[{"name": "files.example.org", "url": f"{up.url}/mirror"}],
    )
    check_run_again(IMAGE, params)
    assert_root()
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    up.redirects["/mirror/files/root-1.tar.xz"] = "http://files.example.org/files/root-1.tar.xz"
    sentence = refuse(IMAGE, params, "cannot be fetched")
    assert "loop" not in sentence
    assert_nothing_left()


def test_the_proxy_of_the_host_is_asked(folder, up, monkeypatch):
    publish_root(up)
    monkeypatch.setenv("http_proxy", up.url)
    url = "http://unreachable.example.org/root.tar.xz"
    check_run_again(IMAGE, fetched(url, of(up, "root.tar.xz")))
    assert f"GET {url}" in up.requests
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    monkeypatch.setenv("no_proxy", "localhost")
    up.requests.clear()
    check_run_again(IMAGE, fetched(f"{up.url}/root.tar.xz", of(up, "root.tar.xz")))
    assert "GET /root.tar.xz" in up.requests


def test_the_authorities_of_the_host_are_trusted_and_no_others(folder, monkeypatch):
    (folder / "www").mkdir()
    pem, authority = folder / "server.pem", folder / "ca.pem"
    output(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key", "-out", authority),
    )
    pem.write_text((folder / "key").read_text() + authority.read_text())
    with serving(folder / "www", pem) as up, serving(folder / "www") as plain:
        params = fetched(publish_root(up), of(up, "root.tar.xz"))
        refuse(IMAGE, params, "certificate verify failed")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        up.redirects["/away"] = f"{plain.url}/root.tar.xz"
        refuse(IMAGE, {**params, "url": f"{up.url}/away"}, "it leads from https to http:")
        assert check_run_again(IMAGE, params).plan.warnings == []


def test_a_list_that_anybody_can_have_changed_is_told(folder, up):
    assert "unsigned" in converge_now(IMAGE, fetched(publish_root(up), sums(up)), dry_run=True).plan.warnings[0]
    assert converge_now(IMAGE, fetched(publish_root(up), of(up, "root.tar.xz")), dry_run=True).plan.warnings == []


def test_a_run_that_was_killed_while_it_fetched_is_gone_on_with(folder, up):
    """Every other moment of a fetch is among those of test_kills."""
    params = fetched(publish_root(up, "root.tar", 4_000_000), of(up, "root.tar"))
    stood, result = Child(IMAGE, params, kill_at=3).finish()
    assert result is None and stood[-1].endswith(" of 4 MiB fetched")
    up.requests.clear()
    check_run_again(IMAGE, params)
    assert [int(line.split()[2].rstrip("-")) >= 2**20 for line in up.fetched("root.tar")] == [True]
    assert_root(4_000_000)


def test_a_run_that_was_killed_behind_the_last_byte_fetches_nothing_more(folder, up):
    params = fetched(publish_root(up, "root.tar", 4_000_000), of(up, "root.tar"))
    stood, result = Child(IMAGE, params, kill_at=5).finish()
    assert result is None and stood[-1] == "4 MiB of 4 MiB fetched"
    up.requests.clear()
    assert converge_now(IMAGE, params).error is None
    assert up.fetched("root.tar") == []
    assert_root(4_000_000)


def test_a_layout_fetches_images_side_by_side(folder, up):
    params = fetched(publish_root(up), of(up, "root.tar.xz"))
    both = {"images": [params, {**params, "name": f"{NAME}2"}], "parallel": 2}
    outcome = converge_layout(both, dry_run=False)
    assert outcome.error is None, outcome.error
    assert len(up.fetched("root.tar.xz")) == 1
    assert not converge_layout(both, dry_run=False).result()["changed"]
    assert_root()


# ---- hostile --------------------------------------------------------------------------------------------------------


def archive(folder: Path, *extra: t.Callable[[t.Any], None]) -> bytes:
    """A root with *extra* entries behind it."""
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.add(make_root(folder), "./")
        for add in extra:
            add(made)
    return stream.getvalue()


def entry(
    name: str, kind: str = "file", link: str = "", numbers: tuple[int, int] = (0, 0)
) -> t.Callable[[t.Any], None]:
    import io
    import tarfile

    kinds = {
        "file": tarfile.REGTYPE,
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "char": tarfile.CHRTYPE,
        "block": tarfile.BLKTYPE,
    }

    def add(made: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kinds[kind], link
        info.devmajor, info.devminor = numbers
        info.size = 5 if kind == "file" else 0
        made.addfile(info, io.BytesIO(b"canar") if kind == "file" else None)

    return add


CANARY = f"/run/{PREFIX}-canary"
OUT = f"usr/{PREFIX}-out"
HOSTILE: dict[str, tuple[list[t.Callable[[t.Any], None]], str]] = {
    "absolute": ([entry(CANARY)], "is an absolute path"),
    "dots": ([entry(f"usr/../../../../..{CANARY}")], "leads out of the archive"),
    "behind an absolute link": ([entry(OUT, "link", "/run"), entry(f"{OUT}/{PREFIX}-canary")], "lies behind a link"),
    "behind a relative link": (
        [entry(OUT, "link", "../../../../../../run"), entry(f"{OUT}/{PREFIX}-canary")],
        "behind a link",
    ),
    "behind another name of a link": (
        [entry(OUT, "link", "/run"), entry(f"{OUT}2", "hard", OUT), entry(f"{OUT}2/{PREFIX}-canary")],
        "behind a link",
    ),
    "hard link": ([entry("usr/passwd", "hard", "/etc/passwd")], "is a hard link to '/etc/passwd'"),
    "hard link with dots": ([entry("usr/passwd", "hard", "../../../../etc/passwd")], "is a hard link to"),
    "hard link behind a link": (
        [entry(OUT, "link", "/etc"), entry("usr/p", "hard", f"{OUT}/passwd")],
        "is a hard link to",
    ),
    "disk": ([entry("usr/sda", "block", numbers=(8, 0))], "is a device node (b 8,0)"),
    "memory": ([entry("usr/mem", "char", numbers=(1, 1))], "is a device node (c 1,1)"),
    "line break": ([entry('usr/a" -> "b\n'), entry(f"..{CANARY}")], "leads out of the archive"),
}


@pytest.mark.parametrize("way", ["url", "path"])
def test_an_archive_that_would_reach_its_host_is_refused_and_the_host_stays_as_it_was(folder, up, way):
    converge_now(IMAGE, fetched(publish_root(up), of(up, "root.tar.xz")))  # the folders of the store are there
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    before = fingerprint()
    for case, (extra, sentence) in HOSTILE.items():
        url = up.put("root.tar", archive(folder, *extra))
        source = (
            {"path": str(up.folder / "root.tar")} if way == "path" else {"url": url, "checksum": of(up, "root.tar")}
        )
        message = failed({"name": NAME, "kind": "container", **source})
        assert sentence in message and message.startswith(f"{way}: "), f"{case}: {message}"
        assert not os.path.lexists(CANARY), case
    assert differences(before, fingerprint()) == []


def test_links_and_nodes_that_roots_have_are_taken(folder, up):
    """Debian's alternatives are absolute links; Proxmox's templates bring a /dev; Postfix has nodes of its own."""
    usual = (
        entry("bin", "link", "usr/bin"),
        entry("etc/alternatives/editor", "link", "/usr/bin/vi"),
        entry("usr/lib/up", "link", "../bin"),
        entry("etc/again", "hard", "./etc/owned"),
        entry("dev/sda", "block", numbers=(8, 0)),
        entry("var/spool/postfix/dev/null", "char", numbers=(1, 3)),
    )
    up.put("root.tar", archive(folder, *usual))
    outcome = check_run_again(IMAGE, fetched(f"{up.url}/root.tar", of(up, "root.tar")))
    assert "'/var/spool/postfix/dev/null'" in outcome.plan.warnings[0] and "sda" not in outcome.plan.warnings[0]


@pytest.mark.parametrize("top", [("./etc", "./usr", "./dev"), ("etc", "usr", "dev")], ids=["Proxmox", "bare"])
def test_the_templates_of_others_are_taken(folder, up, top):
    """pveam's begin with ./ or not, and have nodes in /dev."""
    root = make_root(folder)
    (root / "dev").mkdir()
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    name = "debian-12-standard_12.7-1_amd64.tar.zst"
    output("tar", "-C", root, "--numeric-owner", "-caf", up.folder / name, *top)
    sha512 = output("sha512sum", name, cwd=up.folder).split()[0]
    outcome = check_run_again(IMAGE, fetched(f"{up.url}/{name}", f"sha512:{sha512}"))
    assert outcome.plan.warnings == []
    assert_root()


def publish_unified(up: Upstream, name: str, *extra: t.Callable[[t.Any], None]) -> str:
    """An image as `incus image export` writes it."""
    import io
    import tarfile

    with tarfile.open(up.folder / name, "w:gz") as made:
        for told in ("metadata.yaml", "templates/hostname.tpl"):
            info = tarfile.TarInfo(told)
            info.size = 3
            made.addfile(info, io.BytesIO(b"x\n\n"))
        root = make_root(up.folder.parent)
        os.chmod(root / "usr/bin/program", 0o4755)
        made.add(root, "rootfs")
        for add in extra:
            add(made)
    return f"{up.url}/{name}"


@pytest.mark.parametrize("way", ["url", "path"])
def test_the_root_of_a_unified_archive_of_incus_is_taken(folder, up, way):
    usual = (entry("rootfs/etc/again", "hard", "rootfs/etc/owned"), entry("rootfs/bin", "link", "usr/bin"))
    url = publish_unified(up, "incus.tar.gz", *usual, entry("rootfs/dev/sda", "block", numbers=(8, 0)))
    source = (
        {"url": url, "checksum": of(up, "incus.tar.gz")} if way == "url" else {"path": str(up.folder / "incus.tar.gz")}
    )
    check_run_again(IMAGE, {"name": NAME, "kind": "container", **source})
    assert_root()
    listing = output("tar", "--numeric-owner", "-tvf", FOLDER / "root.tar.zst")
    assert "metadata" not in listing and "rootfs" not in listing and "templates" not in listing
    assert "./etc/again link to ./etc/owned" in listing and "-rwsr-xr-x" in listing
    assert output("tar", "-xOf", FOLDER / "root.tar.zst", "./etc/owned") == "owned"


def test_a_unified_archive_that_would_reach_its_host_is_refused(folder, up):
    converge_now(IMAGE, fetched(publish_root(up), of(up, "root.tar.xz")))  # the folders of the store are there
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    before = fingerprint()
    for extra, sentence in (
        ([entry(f"rootfs/../..{CANARY}")], "leads out of the archive"),
        ([entry("rootfs/usr/p", "hard", "/etc/passwd")], "is a hard link to '/etc/passwd', outside of the root"),
        ([entry("rootfs/usr/p", "hard", "metadata.yaml")], "is a hard link to 'metadata.yaml', outside of the root"),
        ([entry(f"rootfs/{OUT}", "link", "/run"), entry(f"rootfs/{OUT}/x")], "lies behind a link"),
        ([entry("rootfs/usr/sda", "block", numbers=(8, 0))], "is a device node (b 8,0)"),
    ):
        message = failed(fetched(publish_unified(up, "bad.tar.gz", *extra), of(up, "bad.tar.gz")))
        assert sentence in message and message.startswith("url: "), message
        assert not os.path.lexists(CANARY)
    publish_unified(up, "incus.tar.gz")
    output("sh", "-c", "head -c 20000 incus.tar.gz > cut.tar.gz", cwd=up.folder)
    failed(fetched(f"{up.url}/cut.tar.gz", of(up, "cut.tar.gz")))
    assert differences(before, fingerprint()) == []


@pytest.fixture
def squash(up: Upstream) -> t.Callable[..., str]:
    """Publishes a root as squashfs."""

    def publish(*more: str, name: str = "rootfs.squashfs") -> str:
        (up.folder / name).unlink(missing_ok=True)
        root = up.folder.parent / "root"
        output(
            "mksquashfs",
            root if root.is_dir() else make_root(up.folder.parent),
            up.folder / name,
            "-quiet",
            "-no-progress",
            *more,
        )
        return f"{up.url}/{name}"

    return publish


@pytest.mark.parametrize("way", ["url", "path"])
def test_a_root_as_squashfs_is_taken(folder, up, squash, way):
    root = make_root(folder)
    os.link(root / "etc/owned", root / "etc/again")
    os.chmod(root / "usr/bin/program", 0o4755)
    output("setcap", "cap_net_raw=ep", root / "etc/owned")
    url = squash("-p", "dev d 755 0 0", "-p", "dev/sda b 660 0 6 8 0", "-p", "usr/null c 666 0 0 1 3")
    source = (
        {"url": url, "checksum": of(up, "rootfs.squashfs")}
        if way == "url"
        else {"path": str(up.folder / "rootfs.squashfs")}
    )
    check_run_again(IMAGE, {"name": NAME, "kind": "container", **source})
    assert_root()
    listing = output("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-tvvf", FOLDER / "root.tar.zst")
    assert "link to ./etc/" in listing and "-rwsr-xr-x" in listing and "security.capability" in listing
    assert left() == ([of(up, "rootfs.squashfs").replace(":", "-")] if way == "url" else [])
    assert [path.name for path in FOLDER.iterdir()] == ["root.tar.zst"]


def test_a_squashfs_that_would_reach_its_host_is_refused(folder, up, squash):
    converge_now(IMAGE, fetched(publish_root(up), of(up, "root.tar.xz")))  # the folders of the store are there
    converge_now(IMAGE, {"name": NAME, "state": "absent"})
    before = fingerprint()
    url = squash("-p", "usr/sda b 660 0 0 8 0")
    assert "is a device node (b 8,0)" in failed(fetched(url, of(up, "rootfs.squashfs")))
    url = squash("-p", "usr/big f 644 0 0 head -c 40000000 /dev/zero")
    message = failed(fetched(url, of(up, "rootfs.squashfs"), size_limit="32MiB"))
    assert "unpacked it is larger than 32MiB. Allow more with size_limit" in message
    content = (up.folder / "rootfs.squashfs").read_bytes()
    up.put("rootfs.squashfs", content[: len(content) // 2])
    assert "unsquashfs" in failed(fetched(url, of(up, "rootfs.squashfs")))
    assert differences(before, fingerprint()) == []


def test_a_host_that_reads_no_squashfs_says_so_before_anything_is_fetched(folder, up, squash, monkeypatch):
    url = squash()
    streams = publish_streams(up, FIRST)
    text = (up.folder / "streams/v1/images.json").read_text()
    up.put(
        "streams/v1/images.json", text.replace("root.tar.xz", "squashfs").replace("rootfs.tar.xz", "rootfs.squashfs")
    )
    place = up.folder / f"images/debian/trixie/amd64/default/{FIRST}"
    (place / "rootfs.tar.xz").rename(place / "rootfs.squashfs")
    real = shutil.which
    monkeypatch.setattr(source_file.shutil, "which", lambda name: None if name == "unsquashfs" else real(name))
    for params in (
        fetched(url, of(up, "rootfs.squashfs")),
        {"name": NAME, "kind": "container", "path": str(up.folder / "rootfs.squashfs")},
        streams,
    ):
        refuse(IMAGE, params, "this host has no unsquashfs to read it. Install squashfs-tools")
    assert not up.fetched("rootfs.squashfs")


def test_a_root_that_grows_without_end_is_refused(folder, up):
    root = make_root(folder)
    with (root / "etc/zeros").open("wb") as stream:
        stream.truncate(40 * 2**20)
    for suffix in ("tar.xz", "tar.zst"):
        output("tar", "-C", root, "-caf", up.folder / f"root.{suffix}", ".")
        params = fetched(f"{up.url}/root.{suffix}", of(up, f"root.{suffix}"), size_limit="20MiB")
        assert "unpacked it is larger than 20MiB" in failed(params)


def test_a_disk_that_grows_without_end_is_refused(folder, up):
    with (up.folder / "disk.raw").open("wb") as stream:
        stream.truncate(40 * 2**20)
    subprocess.run(["sfdisk", "-q", up.folder / "disk.raw"], input="label: dos\n,\n", text=True, check=True)
    output("zstd", "-q", up.folder / "disk.raw")
    assert "larger than 20MiB" in failed(
        fetched(f"{up.url}/disk.raw.zst", of(up, "disk.raw.zst"), "vm", size_limit="20MiB")
    )
    output("qemu-img", "create", "-q", "-f", "qcow2", up.folder / "huge", "1P")
    assert "larger than 64GiB" in failed(fetched(f"{up.url}/huge", of(up, "huge"), "vm"))


def test_a_download_larger_than_the_limit_is_refused_in_the_plan_or_ended(folder, up):
    params = fetched(publish_root(up, "root.tar", 2_000_000), of(up, "root.tar"), size_limit="1MiB")
    refuse(IMAGE, params, "bytes, more than 1MiB")
    up.without = {"Content-Length"}
    assert "is larger than 1048576 bytes" in failed(params)


@pytest.mark.parametrize("packed", [False, True])
def test_a_disk_that_stands_on_a_file_of_the_host_is_refused(folder, up, packed):
    base = folder / "secret.raw"
    base.write_bytes(b"secret" * 1000)
    cases = {
        "backing": ("-b", str(base), "-F", "raw"),
        "data": ("-o", f"data_file={folder}/data.raw,data_file_raw=on", "64M"),
    }
    for name, options in cases.items():
        output(
            "qemu-img", "create", "-q", "-f", "qcow2", *options[:2], up.folder / name, *options[2:][-1:]
        ) if name == "data" else output("qemu-img", "create", "-q", "-f", "qcow2", *options, up.folder / name)
        if packed:
            output("xz", up.folder / name)
        file = f"{name}.xz" if packed else name
        assert "stands on" in failed(fetched(f"{up.url}/{file}", of(up, file), "vm"))


# ---- simplestreams, and what is newer upstream ----------------------------------------------------------------------


def publish_streams(up: Upstream, *serials: str, kind: str = "container") -> Params:
    """A server as images.linuxcontainers.org is, with a root or disk of its own for each serial; what is declared of it."""
    versions = {}
    for number, serial in enumerate(serials):
        name = f"images/debian/trixie/amd64/default/{serial}/"
        if kind == "container":
            publish_root(up, f"{name}rootfs.tar.xz", 10_000 + number)
            file, ftype = up.folder / f"{name}rootfs.tar.xz", "root.tar.xz"
        else:
            (up.folder / name).mkdir(parents=True, exist_ok=True)
            publish_disk(up, f"{name}disk.qcow2")
            file, ftype = up.folder / f"{name}disk.qcow2", "disk-kvm.img"
        item = {"ftype": ftype, "path": f"{name}{file.name}", "sha256": digest_of(file), "size": file.stat().st_size}
        incus = {"ftype": "incus.tar.xz", "path": f"{name}incus.tar.xz", "sha256": "0" * 64, "size": 100}
        versions[serial] = {"items": {file.name: item, "incus.tar.xz": incus}}
    product = {"os": "Debian", "release": "trixie", "arch": "amd64", "variant": "default", "versions": versions}
    images = {"content_id": "images", "format": "products:1.0", "products": {"debian:trixie:amd64:default": product}}
    entry = {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": [*images["products"]]}
    up.put("streams/v1/index.json", json.dumps({"format": "index:1.0", "index": {"images": entry}}))
    up.put("streams/v1/images.json", json.dumps(images))
    streams = {"server": up.url, "distribution": "debian", "release": "trixie", "arch": "amd64"}
    return {"name": NAME, "kind": kind, "simplestreams": streams}


FIRST, SECOND, THIRD = "20260101_05:24", "20260102_05:24", "20260103_05:24"


@pytest.mark.parametrize("kind", ["container", "vm"])
def test_the_newest_of_a_product_is_taken(folder, up, kind):
    params = publish_streams(up, FIRST, SECOND, kind=kind)
    outcome = check_run_again(IMAGE, params)
    assert outcome.facts["image"]["serial"] == SECOND
    assert SECOND in outcome.plan.changes[-1].after and str(digest_of(next(DOWNLOADS.glob("sha256-*")))) in left()[0]
    if kind == "container":
        assert_root(10_001)
    else:
        output("qemu-img", "check", "-q", FOLDER / "disk.qcow2")


def test_a_serial_is_pinned(folder, up):
    params = publish_streams(up, FIRST, SECOND)
    pinned = {**params, "simplestreams": {**params["simplestreams"], "serial": FIRST}}
    assert check_run_again(IMAGE, pinned).facts["image"]["serial"] == FIRST
    assert_root(10_000)
    stale = unchanged(IMAGE, {**params, "simplestreams": {**params["simplestreams"], "serial": SECOND}})
    assert stale.facts["image"]["stale"] == ["simplestreams.serial"]


def test_what_a_server_does_not_have_is_refused_and_what_it_has_told(folder, up):
    params = publish_streams(up, FIRST)
    streams = params["simplestreams"]
    for changed, sentence in (
        (
            {"release": "sid"},
            "the server has no debian/sid/amd64/default. It has of that distribution: trixie/amd64/default",
        ),
        ({"variant": "cloud"}, "the server has no debian/trixie/amd64/cloud"),
        ({"serial": "1999"}, f"there is no '1999' for a container. There are: {FIRST}"),
        ({"server": f"{up.url}/none"}, "the server says 404"),
    ):
        refuse(IMAGE, {**params, "simplestreams": {**streams, **changed}}, sentence)
    refuse(IMAGE, {**params, "kind": "vm"}, "debian/trixie/amd64/default has no file for a vm")
    text = (up.folder / "streams/v1/images.json").read_text()
    up.put("streams/v1/images.json", text.replace("images/debian", "../images/debian"))
    refuse(IMAGE, params, "which is no path below its server")
    up.put("streams/v1/images.json", text.replace('"size": ', '"size": 1'))
    refuse(IMAGE, params, "and the index says")
    assert not left()


def test_an_index_counts_as_far_as_it_is_signed(folder, up, signer):
    params = {**publish_streams(up, FIRST), "signature": {"key": signer.key}}
    for name in ("index", "images"):
        path = up.folder / f"streams/v1/{name}"
        signer.gpg("--clear-sign", "--output", f"{path}.sjson", f"{path}.json")
        os.unlink(f"{path}.json")
    assert converge_now(IMAGE, params, dry_run=True).plan.warnings == []
    check_run_again(IMAGE, params)
    signed = up.folder / "streams/v1/images.sjson"
    signed.write_text(signed.read_text().replace(FIRST, SECOND))
    refuse(IMAGE, {**params, "name": f"{NAME}2"}, "images.sjson: its signature is not one of the key")


def test_a_newer_one_upstream_is_told_when_it_is_asked_for_and_never_taken(folder, up):
    params = publish_streams(up, FIRST)
    converge_now(IMAGE, params)
    publish_streams(up, FIRST, THIRD)
    before = digest_of(FOLDER / "root.tar.zst")
    up.requests.clear()
    assert unchanged(IMAGE, params).facts["image"]["stale"] == [] and up.requests == []
    outcome = unchanged(IMAGE, {**params, "ask_upstream": True})
    assert outcome.facts["image"]["stale"] == ["simplestreams"]
    assert f"upstream has a newer one, of serial {THIRD}" in "".join(outcome.plan.warnings)
    assert digest_of(FOLDER / "root.tar.zst") == before
    assert not up.fetched(f"images/debian/trixie/amd64/default/{THIRD}/rootfs.tar.xz")


def test_a_list_upstream_that_names_another_file_makes_a_url_stale(folder, up):
    params = {**fetched(publish_root(up), sums(up)), "ask_upstream": True}
    assert check_run_again(IMAGE, params).facts["image"]["stale"] == []
    publish_root(up, size=60_000)
    sums(up)
    outcome = unchanged(IMAGE, params)
    assert outcome.facts["image"]["stale"] == ["url"] and "upstream has a newer one" in "".join(outcome.plan.warnings)
    (up.folder / "SHA256SUMS").unlink()
    outcome = unchanged(IMAGE, params)
    assert outcome.facts["image"]["stale"] == [] and "upstream cannot be asked" in "".join(outcome.plan.warnings)
