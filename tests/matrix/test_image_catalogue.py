# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every entry of the catalogue, on the real host: fetched from a stand-in of its upstream that has the same paths, lists and signatures.

The stand-ins are mirrors, as users have them; their keys and contents are made for the test.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import typing as t
import urllib.parse
from pathlib import Path

import pycdlib
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image import store
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.plugin_utils._catalogue import entries, resolved
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_downloads
from ansible_collections.homelab.hybrid.tests.harness.signer import Signer
from ansible_collections.homelab.hybrid.tests.harness.upstream import Upstream, serving

PREFIX = "hlcatalogue"
NAME = f"{PREFIX}-main"
IMAGE = Image()
FETCHED = sorted(name for name, entry in entries().items() if "url" in entry)
OWN_MEDIA = sorted(name for name, entry in entries().items() if "url" not in entry)
PACKERS = {"xz": "xz", "bzip2": "bzip2", "zstd": "zstd"}
Params = dict[str, t.Any]


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Upstream]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    clean()
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as upstream:
        yield upstream
    clean()


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Signer]:
    made = Signer(tmp_path_factory.mktemp("signer"))
    yield made
    made.stop()


def clean() -> None:
    for pattern in (f"{PREFIX}*", f".attempts/{PREFIX}*"):
        for path in Path(paths.IMAGES).glob(pattern):
            shutil.rmtree(path)
    for record in Path(paths.record_folder("images")).glob(f"{PREFIX}*"):
        record.unlink()
    remove_downloads()


def output(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def place_of(up: Upstream, url: str) -> Path:
    """Where the stand-in has what lies at *url*."""
    parts = urllib.parse.urlsplit(url)
    path = up.folder / parts.netloc / urllib.parse.unquote(parts.path).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def mirrors_of(up: Upstream, *urls: str) -> list[dict[str, str]]:
    hosts = {urllib.parse.urlsplit(url).netloc for url in urls}
    return [{"name": host, "url": f"{up.url}/{host}"} for host in sorted(hosts)]


def make_content(kind: str, path: Path) -> None:
    if kind == "qcow2":
        output("qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
        output("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", path)
    elif kind == "iso":
        medium = pycdlib.PyCdlib()
        medium.new(vol_ident="MEDIUM")
        medium.add_fp(io.BytesIO(b"content"), 7, "/CONTENT.;1")
        medium.write(str(path))
        medium.close()
    else:
        label = {"raw": (510, b"\x55\xaa"), "disklabel": (512, bytes.fromhex("57455682"))}[kind]
        with path.open("wb") as disk:
            disk.truncate(8 << 20)
            disk.seek(label[0])
            disk.write(label[1])


def list_of(form: str, file: Path) -> str:
    """A list of checksums in an upstream's *form*, with another file before the one that counts."""
    tool = "sha512sum" if form == "bare" and not file.name.endswith(".iso") else "sha256sum"
    if form == "bare":
        return output(tool, file.name, cwd=file.parent).split()[0] + "\n"
    other = f"{'0' * 64}  another-{file.name}\n"
    if form == "coreutils":
        return other + output(tool, file.name, cwd=file.parent)
    return f"# {file.name}: {file.stat().st_size} bytes\nSHA256 (another-{file.name}) = {'0' * 64}\n" + output(
        tool, "--tag", file.name, cwd=file.parent
    )


def publish(name: str, up: Upstream, signer: Signer) -> Params:
    """The entry *name* as its upstream has it; the options of an image of it."""
    entry = entries()[name]
    options = t.cast(Params, resolved({"name": NAME, "from": "catalogue", "entry": name}))
    file = place_of(up, options["url"])
    plain = file.with_name(file.name + ".plain") if entry["packing"] != "none" else file
    make_content(entry["content"], plain)
    if entry["packing"] != "none":
        packed = subprocess.run([PACKERS[entry["packing"]], "-c", str(plain)], capture_output=True, check=True)
        file.write_bytes(packed.stdout)
    if entry["form"] == "digest":
        # What stands in the entry itself is that of upstream's file.
        options["checksum"] = f"sha256:{output('sha256sum', file).split()[0]}"
        lists = file
    else:
        lists = place_of(up, options["checksum"].removeprefix("sha256:").removeprefix("sha512:"))
        lists.write_text(list_of(entry["form"], file))
    urls = [
        options["url"],
        options["checksum"].partition("https://")[2] and "https://" + options["checksum"].partition("https://")[2],
    ]
    if "signature" in options:
        options["signature"] = {
            **options["signature"],
            "key": sign(options["signature"], lists, file, plain, up, signer),
        }
        urls.append(options["signature"].get("url") or "")
    options["mirrors"] = mirrors_of(up, *filter(None, urls))
    return options


def sign(declared: Params, lists: Path, file: Path, plain: Path, up: Upstream, signer: Signer) -> str:
    """Sign what the entry says is signed, in its place and form. Returns the key that counts here."""
    signed = {"checksum": lists, "file": file, "content": plain}[declared["of"]]
    if "BEGIN PUBLIC KEY" in declared["key"]:
        output("openssl", "dgst", "-sha256", "-sign", signer.private, "-out", place_of(up, declared["url"]), signed)
        return signer.pem
    if "url" in declared:
        signer.gpg("--armor", "--detach-sign", "--output", place_of(up, declared["url"]), signed)
    else:
        signer.gpg("--clear-sign", "--output", signed.with_name("signed"), signed)
        signed.with_name("signed").replace(signed)
    return signer.key


@pytest.mark.parametrize("name", FETCHED)
def test_an_entry_is_fetched_as_its_upstream_has_it(up, signer, name):
    entry, params = entries()[name], publish(name, up, signer)
    outcome = check_run_again(IMAGE, params)
    facts = outcome.facts["image"]
    assert (facts["kind"], facts["entry"]) == (entry["kind"], name)
    kept = Path(facts["path"])
    if entry["kind"] == "iso":
        assert output("blkid", "-p", "-o", "value", "-s", "LABEL", kept).strip() == "MEDIUM"
    else:
        told = json.loads(output("qemu-img", "info", "--output=json", kept))
        assert (told["format"], told["virtual-size"]) == ("qcow2", 8 << 20)
    record = json.loads(Path(paths.record_path("images", NAME)).read_text())
    assert record["origin"]["entry"] == name
    wanted = entry.get("presets", {})
    assert {key: value for key, value in facts["presets"].items() if value is not None} == wanted
    assert store.find(NAME).presets.bus == wanted.get("bus")
    up.requests.clear()
    converge_now(IMAGE, params)
    assert up.requests == [], "the second run asked upstream"


SIGNED = sorted(name for name in FETCHED if "signature" in entries()[name])


@pytest.mark.parametrize("name", SIGNED)
def test_what_another_key_signed_is_no_image(up, signer, name):
    params = publish(name, up, signer)
    params["signature"]["key"] = resolved({"name": NAME, "from": "catalogue", "entry": name})["signature"]["key"]
    outcome = converge_now(IMAGE, params)
    assert outcome.error is not None and "its signature is not one of the key in signature.key" in outcome.error.message
    assert not (Path(paths.IMAGES) / NAME).exists()


@pytest.mark.parametrize("name", OWN_MEDIA)
def test_an_entry_without_a_file_takes_that_of_its_user(up, tmp_path, name):
    make_content("iso", tmp_path / "own.iso")
    params = resolved({"name": NAME, "from": "catalogue", "entry": name, "path": str(tmp_path / "own.iso")})
    facts = check_run_again(IMAGE, params).facts["image"]
    assert (facts["kind"], facts["presets"]["seed"], facts["presets"]["bus"]) == ("iso", "cloudbase-init", "sata")


def test_upstream_may_move_on_and_the_image_stays_what_was_fetched(up, signer):
    params = publish("debian-13", up, signer)
    digest = check_run_again(IMAGE, params).facts["image"]["digest"]
    output("qemu-io", "-f", "qcow2", "-c", "write -P 9 2M 64k", place_of(up, params["url"]))
    lists = place_of(up, params["checksum"])
    lists.write_text(list_of("coreutils", place_of(up, params["url"])))
    up.requests.clear()
    same = check_run_again(IMAGE, params, []).facts["image"]
    assert (same["digest"], same["stale"], up.requests) == (digest, [], [])
    asked = check_run_again(IMAGE, {**params, "ask_upstream": True}, []).facts["image"]
    assert (asked["digest"], asked["stale"]) == (digest, ["url"])
    another = check_run_again(IMAGE, {**params, "name": f"{PREFIX}-next"}).facts["image"]
    assert another["digest"] != digest


def test_a_newer_build_of_an_entry_is_fetched_under_another_name(up, signer):
    publish("fedora-44", up, signer)
    params = resolved(
        {
            "name": NAME,
            "from": "catalogue",
            "entry": "fedora-44",
            "version": "44-1.8",
            "mirrors": mirrors_of(up, "https://download.fedoraproject.org/"),
        }
    )
    refuse(
        IMAGE,
        {**params, "signature": {**params["signature"], "key": signer.key}},
        "Fedora-Cloud-44-1.8-x86_64-CHECKSUM: the server says 404",
    )


# ---- the control node -------------------------------------------------------------------------------------------------


def task(module: str, options: Params, *more: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """One task on this host, as a user writes it."""
    ansible = str(Path(sys.executable).with_name("ansible"))
    given = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3", **variables}
    argv = [
        ansible,
        "all",
        "-i",
        "alpha,",
        "-m",
        f"homelab.hybrid.{module}",
        "-a",
        json.dumps(options),
        "-e",
        json.dumps(given),
    ]
    return subprocess.run([*argv, *more], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["image", "layout"])
def test_a_task_names_an_entry_and_the_host_gets_its_options(up, signer, module):
    params = publish("ubuntu-24.04", up, signer)
    image = {"name": NAME, "from": "catalogue", "entry": "ubuntu-24.04", "mirrors": params["mirrors"]}
    options = image if module == "image" else {"images": [image]}
    own = [{"name": "ubuntu-24.04", "signature": {"key": signer.key}, "presets": {"memory": "3GiB"}}]
    check = task(module, options, "--check", hypervisor_image_catalogue=own)
    assert check.returncode == 0 and "CHANGED" in check.stdout, check.stdout + check.stderr
    assert not (Path(paths.IMAGES) / NAME).exists()
    done = task(module, options, hypervisor_image_catalogue=own)
    assert done.returncode == 0 and "CHANGED" in done.stdout, done.stdout + done.stderr
    record = json.loads(Path(paths.record_path("images", NAME)).read_text())
    assert record["origin"]["entry"] == "ubuntu-24.04" and record["origin"]["url"] == params["url"]
    assert record["presets"]["memory"] == 3 << 30 and record["presets"]["user"] == "ubuntu"
    again = task(module, options, hypervisor_image_catalogue=own)
    assert again.returncode == 0 and "SUCCESS" in again.stdout, again.stdout + again.stderr


def test_a_task_that_names_no_entry_is_refused_before_the_host_is_asked(up):
    done = task("image", {"name": NAME, "from": "catalogue", "entry": "fedora-4"}, ansible_connection="ssh")
    assert done.returncode != 0 and "entry: the catalogue has no fedora-4. Is fedora-4" in done.stdout, done.stdout
    done = task("layout", {"images": [{"name": "windows-11", "from": "catalogue"}]}, ansible_connection="ssh")
    assert done.returncode != 0 and "images[windows-11].entry: windows-11 has no file to fetch" in done.stdout, (
        done.stdout
    )
