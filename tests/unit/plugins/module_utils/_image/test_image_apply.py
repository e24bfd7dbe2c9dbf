# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written while an image is fetched, copied or built, and what is left when that fails."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import types
import typing as t
import urllib.error
from pathlib import Path

import pytest
from unit.plugins.module_utils._guest.fake import File

from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError, MissingRequirement
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._image import (
    apply,
    build,
    copier,
    copying,
    downloads,
    fetch,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._image.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._image.state import Remote, SourceFile, State
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import BLOCK, FILESYSTEM, Volume

URL = "https://example.org/root.tar"
MIB = 1 << 20


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# ---- fetching ----------------------------------------------------------------------------------------------------------------


class Answer(io.BytesIO):
    """What a server sends: *body*, of which it says that it has *size* bytes from *start* on."""

    def __init__(
        self, body: bytes, *, size: int | None = None, start: int | None = None, etag: str | None = "e1"
    ) -> None:
        super().__init__(body)
        self.status = 200 if start is None else 206
        self.size, self.etag = size, etag
        self.headers = {} if start is None else {"Content-Range": f"bytes {start}-/{size}"}


def status(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError(URL, code, "no", t.cast(t.Any, {}), None)


class Server:
    """Gives one of *answers* to each request, and notes the headers that it was asked with and how long a run waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *answers: Answer | Exception) -> None:
        self.asked: list[dict[str, str]] = []
        self.waits: list[float] = []
        self.answers = list(answers)
        monkeypatch.setattr(downloads, "FOLDER", str(folder))
        monkeypatch.setattr(fetch.upstream, "ask", self.ask)
        monkeypatch.setattr(fetch.upstream, "size_of", lambda answer: answer.size)
        monkeypatch.setattr(fetch.upstream, "validator_of", lambda answer: answer.etag)
        monkeypatch.setattr(fetch.time, "sleep", self.waits.append)

    def ask(self, url: str, *, headers: dict[str, str], mirrors: dict[str, str]) -> Answer:
        self.asked.append(headers)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def fetched(remote: Remote, limit: int = 100 * MIB) -> tuple[str, list[str]]:
    """The path of what was fetched, and the steps on the way."""
    steps: list[str] = []
    its = fetch.fetch(remote, limit)
    while True:
        try:
            steps.append(next(its).name)
        except StopIteration as done:
            return done.value, steps


def test_a_file_is_fetched_once_and_a_damaged_one_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = Server(monkeypatch, tmp_path / "d", Answer(b"root", size=4), Answer(b"root", size=4))
    remote = Remote(URL, sha256(b"root"))
    path, dummy = fetched(remote)
    assert Path(path).read_bytes() == b"root" and os.listdir(tmp_path / "d") == [os.path.basename(path)]
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    assert fetched(remote)[1] == [f"{downloads.name_of(remote)} was fetched before"]
    Path(path).write_bytes(b"damaged")
    assert fetched(remote)[0] == path and Path(path).read_bytes() == b"root" and server.asked == [{}, {}]


def test_a_cut_is_gone_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = b"x" * (2 * MIB) + b"end"
    first, rest = body[: MIB + 7], body[MIB + 7 :]
    answers = Answer(first, size=len(body)), Answer(rest, size=len(body), start=len(first))
    server = Server(monkeypatch, tmp_path, *answers)
    path, steps = fetched(Remote(URL, sha256(body), size=len(body)))
    assert Path(path).read_bytes() == body
    assert server.asked == [{}, {"Range": f"bytes={len(first)}-", "If-Range": "e1"}] and server.waits == []
    assert [step.split()[0] for step in steps[-2:]] == ["2", downloads.name_of(Remote(URL, sha256(body)))]


def test_a_line_that_brings_nothing_is_given_up_after_longer_and_longer_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = Server(monkeypatch, tmp_path, *(status(503) for dummy in range(fetch._TRIES)))
    with pytest.raises(ApplyError, match="What came is kept"):
        fetched(Remote(URL))
    assert server.waits == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("answer", [status(416), Answer(b"oot", size=4, start=2)])
def test_a_beginning_that_is_none_of_the_file_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Answer | Exception
) -> None:
    server = Server(monkeypatch, tmp_path, answer, Answer(b"root", size=4))
    remote = Remote(URL, sha256(b"root"))
    Path(downloads.part_of(downloads.name_of(remote))).write_bytes(b"r")
    path, dummy = fetched(remote)
    assert Path(path).read_bytes() == b"root" and [each.get("Range") for each in server.asked] == ["bytes=1-", None]


def test_parts_of_two_files_are_not_put_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = Server(monkeypatch, tmp_path, Answer(b"t", size=4, start=3), Answer(b"root", size=4))
    remote = Remote(URL, sha256(b"root"))
    Path(downloads.part_of(downloads.name_of(remote))).write_bytes(b"xxx")
    path, dummy = fetched(remote)
    assert Path(path).read_bytes() == b"root" and [each.get("Range") for each in server.asked] == ["bytes=3-", None]


def test_a_server_that_sends_all_again_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Server(monkeypatch, tmp_path, Answer(b"root", size=4))
    remote = Remote(URL, sha256(b"root"))
    Path(downloads.part_of(downloads.name_of(remote))).write_bytes(b"longer than it")
    assert Path(fetched(remote)[0]).read_bytes() == b"root"


@pytest.mark.parametrize(
    ("remote", "limit", "why"),
    [
        (Remote(URL, sha256(b"other")), MIB, "and must be"),
        (Remote(URL), 3, "is larger than 3 bytes"),
        (Remote(URL, size=3), MIB, "has 4 bytes now, and had 3"),
    ],
)
def test_another_file_than_was_told_of_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, remote: Remote, limit: int, why: str
) -> None:
    Server(monkeypatch, tmp_path, Answer(b"root", size=4))
    with pytest.raises(ApplyError, match=why):
        fetched(remote, limit)
    assert os.listdir(tmp_path) == []


def test_a_part_of_which_nobody_can_tell_whether_it_is_the_same_is_fetched_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote = Remote(URL)
    monkeypatch.setattr(downloads, "FOLDER", str(tmp_path))
    part, note = (Path(of(downloads.name_of(remote))) for of in (downloads.part_of, downloads.note_of))
    for text, expected in (
        ("no json", (0, None)),
        ('{"url": "https://other/", "validator": "e1"}', (0, None)),
        (json.dumps({"url": URL, "validator": "e1"}), (1, "e1")),
    ):
        part.write_bytes(b"r")
        note.write_text(text)
        assert fetch._resumable(remote, downloads.name_of(remote)) == expected
    assert fetch._resumable(remote._replace(digest=sha256(b"")), downloads.name_of(remote)) == (1, "e1")


def test_it_is_told_at_each_tenth_how_far_it_is_and_never_twice() -> None:
    told = fetch._Told(20 * MIB)
    steps = [[step.name for step in told.steps(done * MIB)] for done in (0, 1, 2, 3, 2, 10)]
    assert steps == [[], [], ["2 MiB of 20 MiB fetched"], [], [], ["10 MiB of 20 MiB fetched"]]
    unknown = fetch._Told(None)
    assert [len(list(unknown.steps(done * MIB))) for done in (1, 64, 65, 128)] == [0, 1, 0, 1]


def test_a_download_goes_with_the_last_image_that_is_made_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(downloads, "FOLDER", str(tmp_path))
    monkeypatch.setattr(fetch.lock, "fetching", contextlib.nullcontext)
    for of in (downloads.path_of, downloads.part_of, downloads.note_of):
        Path(of("name")).touch()
    for is_used in (True, False):
        monkeypatch.setattr(downloads, "is_used", lambda name, is_used=is_used: is_used)
        fetch.remove_unused(None)
        fetch.remove_unused("name")
        assert len(os.listdir(tmp_path)) == (3 if is_used else 0)


# ---- copying -----------------------------------------------------------------------------------------------------------------


class Programs:
    """The programs that were started; one that writes a file writes an empty one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, content: bytes = b"") -> None:
        self.told: list[str] = []
        self.packed = io.BytesIO()
        self.content = content
        monkeypatch.setattr(copying, "command", self)
        monkeypatch.setattr(copying.source_file, "size_of_disk", lambda path: 9)

    def run(self, argv: t.Sequence[str], **options: t.Any) -> str:
        self.told.append(" ".join(argv[:-1]).replace(os.path.dirname(argv[-1]) + "/", ""))
        Path(argv[-1]).write_bytes(b"made")
        return ""

    @contextlib.contextmanager
    def reading(self, argv: t.Sequence[str], **options: t.Any) -> t.Iterator[io.BytesIO]:
        yield io.BytesIO(self.content)

    @contextlib.contextmanager
    def writing(self, argv: t.Sequence[str], **options: t.Any) -> t.Iterator[io.BytesIO]:
        yield self.packed


def source(folder: Path, packing: str) -> SourceFile:
    path = folder / "source"
    path.write_bytes(b"source")
    status_of = path.stat()
    return SourceFile(str(path), packing=packing, size=6, mtime_ns=status_of.st_mtime_ns, told="path: /source")


@pytest.mark.parametrize(
    ("packing", "told"),
    [("zstd", "cp --reflink=auto --sparse=auto -- source"), ("tar", "zstd -q -T0 source -o"), ("xz", None)],
)
def test_a_root_of_any_packing_becomes_one_of_zstd(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packing: str, told: str | None
) -> None:
    programs = Programs(monkeypatch, b"unpacked")
    its = source(tmp_path, packing)
    list(copying.copy_container_root(its, str(tmp_path / "root.tar.zst"), MIB, ()))
    assert programs.told == ([told] if told else []) and programs.packed.getvalue() == (b"" if told else b"unpacked")
    with pytest.raises(ApplyError, match="was changed while it was copied"):
        list(copying.copy_container_root(its._replace(size=7), str(tmp_path / "root.tar.zst"), MIB, ()))


def test_what_is_unpacked_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Programs(monkeypatch, b"x" * (3 * MIB))
    with pytest.raises(ApplyError):
        list(copying.copy_container_root(source(tmp_path, "xz"), str(tmp_path / "root.tar.zst"), 2 * MIB, ()))


@pytest.mark.parametrize(
    ("packing", "inner", "told"),
    [
        ("qcow2", None, ["cp --reflink=auto --sparse=auto -- source"]),
        ("raw", None, ["qemu-img convert -q -f raw -O qcow2 source"]),
        ("gzip", "raw", ["qemu-img convert -q -f raw -O qcow2 disk"]),
        ("gzip", "qcow2", []),
    ],
)
def test_a_disk_of_any_packing_becomes_one_file_that_was_looked_at_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packing: str, inner: str | None, told: list[str]
) -> None:
    programs = Programs(monkeypatch, b"unpacked")
    checked: list[str] = []
    monkeypatch.setattr(
        copying.source_file,
        "look",
        lambda path, kind, told: SourceFile(path, packing=inner, size=8, mtime_ns=0, told=told),
    )
    (tmp_path / "attempt").mkdir()
    its, target = source(tmp_path, packing), tmp_path / "attempt" / "disk.qcow2"

    def check(path: str) -> None:
        checked.append(os.path.basename(path))
        assert not target.exists()

    list(copying.copy_vm_disk(its, str(target), MIB, (), check))
    assert os.listdir(tmp_path / "attempt") == ["disk.qcow2"] and checked == ["disk" if inner else "source"]
    assert [each.replace(f"{tmp_path}/", "") for each in programs.told] == told
    with pytest.raises(ApplyError, match="was changed while it was copied"):
        list(copying.copy_vm_disk(its._replace(mtime_ns=7), str(target), MIB, ()))
    monkeypatch.setattr(copying.source_file, "size_of_disk", lambda path: 2 * MIB)
    with pytest.raises(ApplyError):
        list(copying.copy_vm_disk(its, str(target), MIB, ()))


def test_holes_stay_holes_and_a_part_of_the_room_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "disk"
    empty = bytes(copying._CHUNK)
    copying._write_sparsely([b"head", empty, b"x", empty], str(target))
    assert target.stat().st_size == 2 * MIB + 5 and target.read_bytes() == b"head" + empty + b"x" + empty
    assert target.stat().st_blocks * 512 < MIB
    monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(f_bavail=10, f_frsize=1))
    copying._write_sparsely([b"12345", empty, b"6789"], str(target))
    with pytest.raises(ApplyError, match="has no room"):
        copying._write_sparsely([b"12345", b"67890"], str(target))


# ---- copies in pools ---------------------------------------------------------------------------------------------------------


def test_a_copy_is_recorded_before_it_is_made_and_goes_with_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    file = File("images", "debian", {"copies": {"old": {"pool": "old", "name": "image+debian", "kind": BLOCK}}})
    there: set[Volume] = set()

    def create(volume: Volume, *, size: int | None, image: str, keep_fds: tuple[int, ...]) -> Volume:
        told.append(f"create {size} {image} {keep_fds} of {sorted(file.data['copies'])}")
        return volume

    def publish(attempt: Volume, *, is_read_only: bool) -> None:
        assert is_read_only
        there.add(attempt)

    driver = types.SimpleNamespace(
        pool="main",
        exists=there.__contains__,
        create=create,
        publish=publish,
        retire=lambda volume: told.append(f"retire {volume}"),
        purge=lambda volume: told.append(f"purge {volume}"),
    )
    held = types.SimpleNamespace(fds=(8,))
    monkeypatch.setattr(copier.lock, "copying", lambda image, pool: contextlib.nullcontext(held))
    monkeypatch.setattr(copier.lock, "allocations", contextlib.nullcontext)
    monkeypatch.setattr(copier.record, "load", lambda kind, name: file)
    image = types.SimpleNamespace(name="debian", kind="vm", path="/i", size_bytes=7)
    for kind, size in ((BLOCK, 7), (FILESYSTEM, None)):
        monkeypatch.setattr(copier, "copy_in", lambda name, of, driver, kind=kind: Volume("main", "image+debian", kind))
        for dummy in range(2):
            list(copier.make(t.cast(t.Any, image), t.cast(t.Any, driver), (9,)))
        assert told.pop() == f"create {size} /i (9, 8) of ['main', 'old']" and told == []
    list(copier.remove("debian", [Volume("main", "image+debian", BLOCK)], {"main": t.cast(t.Any, driver)}))
    assert told == ["retire main/image+debian", "purge main/image+debian"]


# ---- building ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The programs that a build starts, in order; each makes what the next one needs."""
    told: list[list[str]] = []
    authority = tmp_path / "lab.crt"
    authority.write_text("lab")

    def run(argv: list[str], **options: t.Any) -> str:
        told.append(argv)
        if "mmdebstrap" in argv:
            folder = Path(options["env"]["TMPDIR"])
            script, files = folder / "finish.sh", folder / "files"
            assert "systemctl" in script.read_text()
            assert (files / str(authority).lstrip("/")).read_text() == "lab"
            assert (files / "etc/systemd/system/ssh-host-keys.service").exists()
            assert {stat.S_IMODE(os.stat(parent).st_mode) for parent, dummy, dummy in os.walk(files)} == {0o755}
            target = folder / ("root" if (files / "etc/fstab").exists() else "root.tar.zst")
            if target.suffix:
                target.touch()
            else:
                assert "console=ttyS0" in (files / "boot/grub/grub.cfg").read_text()
                for path in ("usr/lib/grub/i386-pc/boot.img", "boot/grub/i386-pc/core.img"):
                    (target / path).parent.mkdir(parents=True)
                    (target / path).write_bytes(b"x" * 512)
        elif argv[0] == "sfdisk":
            assert os.path.getsize(argv[-1]) == 2 << 30
            assert f"start={build._ROOT_START}" in options["input"] and f"start={build._BOOT_START}" in options["input"]
        elif argv[0] == "qemu-img":
            with open(argv[-2], "rb") as disk:
                assert disk.read(8) == b"x" * 8, "the boot loader is in its place"
            Path(argv[-1]).touch()
        return ""

    monkeypatch.setattr(build.command, "run", run)
    monkeypatch.setattr(build.sources, "archive_lines", lambda sources, suite: [f"deb {suite}"])
    monkeypatch.setattr(build.sources, "host_sources", list)
    monkeypatch.setattr(build.sources, "apt_settings", lambda: ["Acquire::x 1;"])
    monkeypatch.setattr(build.sources, "local_authorities", lambda: [str(authority)])
    (tmp_path / "attempt").mkdir()
    return told


def test_a_built_root_is_alone_in_its_folder(built: list[list[str]], tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        list(
            build.build_container_root(build.Recipe("trixie", ("vim",)), str(tmp_path / "attempt" / "root.tar.zst"), ())
        )
    finally:
        os.umask(mask)
    assert os.listdir(tmp_path / "attempt") == ["root.tar.zst"]
    (argv,) = built
    assert argv[:3] == ["setpriv", "--pdeathsig", "KILL"] and argv[-3:] == [
        "trixie",
        str(tmp_path / "attempt/root.tar.zst"),
        "deb trixie",
    ]
    include = next(each for each in argv if each.startswith("--include="))
    assert "vim" in include and "openssh-server" in include and "--aptopt=Acquire::x 1" in argv


def test_a_built_disk_is_alone_in_its_folder_and_boots_from_its_partitions(
    built: list[list[str]], tmp_path: Path
) -> None:
    list(build.build_vm_disk(build.Recipe("trixie"), str(tmp_path / "attempt" / "disk.qcow2"), ()))
    assert os.listdir(tmp_path / "attempt") == ["disk.qcow2"]
    programs = ["mmdebstrap", "sfdisk", "mke2fs", "qemu-img"]
    assert [next(name for name in argv if name in programs) for argv in built] == programs
    filled = built[2]
    assert filled[filled.index("-d") + 1] == str(
        tmp_path / "attempt/root"
    ) and f"offset={build._ROOT_START * 512}" in " ".join(filled)
    assert filled[-1] == f"{((2 << 30) - build._ROOT_START * 512) // 1024 - 1024}k"
    assert filled[filled.index("-U") + 1] and built[3][-2:] == [
        str(tmp_path / "attempt/disk.raw"),
        str(tmp_path / "attempt/disk.qcow2"),
    ]


def test_a_disk_for_uefi_has_a_system_partition_before_its_root(built: list[list[str]], tmp_path: Path) -> None:
    list(build.build_vm_disk(build.Recipe("trixie", firmware="uefi"), str(tmp_path / "attempt" / "disk.qcow2"), ()))
    assert os.listdir(tmp_path / "attempt") == ["disk.qcow2"]
    programs = [
        "mmdebstrap",
        "mkfs.vfat",
        "mmd",
        "mcopy",
        "mcopy",
        "mcopy",
        "mcopy",
        "sfdisk",
        "mke2fs",
        "dd",
        "qemu-img",
    ]
    assert [next(name for name in argv if name in programs) for argv in built] == programs
    include = next(each for each in built[0] if each.startswith("--include="))
    assert "shim-signed" in include and "grub-efi-amd64-signed" in include
    assert built[2][-3:] == ["::/EFI", "::/EFI/BOOT", "::/EFI/debian"]
    assert [argv[-1] for argv in built[3:7]] == [
        *("::/EFI/BOOT/BOOTX64.EFI", "::/EFI/BOOT/grubx64.efi", "::/EFI/BOOT/mmx64.efi", "::/EFI/debian/grub.cfg")
    ]
    start = build._ROOT_START + build._EFI_SECTORS
    assert f"offset={start * 512}" in " ".join(built[8]) and f"seek={build._ROOT_START // 2048}" in built[9]


def test_the_boot_loader_reads_its_rest_from_a_hard_disk(tmp_path: Path) -> None:
    for name, data in (("boot", b"B" * 512), ("core", b"C" * 600), ("disk", bytes(2 * MIB))):
        (tmp_path / name).write_bytes(data)
    build._write_boot_loader(*(str(tmp_path / name) for name in ("disk", "boot", "core")))
    assert (tmp_path / "disk").read_bytes()[0x66:0x68] == b"\x90\x90"


def test_what_mmdebstrap_says_is_told(built: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str], **options: t.Any) -> str:
        raise CommandError(argv, 2, "E: no such package\n")

    monkeypatch.setattr(build.command, "run", fail)
    with pytest.raises(ApplyError, match="could not build Debian trixie: no such package"):
        list(build.build_container_root(build.Recipe("trixie"), str(tmp_path / "attempt" / "root.tar.zst"), ()))


# ---- the store ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Callable[..., tuple[list[str], File]]:
    """Carry out a wish: what was done, in order, and the record."""

    def carry_out(
        there: State, /, *, data: dict[str, t.Any] | None = None, fails_at: str = "", **wish: t.Any
    ) -> tuple[list[str], File]:
        told: list[str] = []
        file = File("images", "debian", data)
        save, remove = file.save, file.remove

        def note(what: str) -> None:
            told.append(what)
            if fails_at and what.startswith(fails_at):
                raise ApplyError("no")

        def note_saved(**changes: t.Any) -> None:
            save(**changes)
            note("record building" if file.data.get("building") else f"record {file.data.get('digest')}")

        def note_removed() -> None:
            remove()
            note("record removed")

        def fetch_file(remote: Remote, limit: int) -> t.Iterator[str]:
            note("fetched")
            yield from ()
            return "/download"  # as fetch does

        file.save, file.remove = note_saved, note_removed  # type: ignore[method-assign]  # of this test
        for name in ("withdraw", "remove_left_overs"):
            monkeypatch.setattr(apply.attempts, name, lambda image, name=name: note(name))
        monkeypatch.setattr(apply.attempts, "begin", lambda name: note("begun") or "/attempt")
        monkeypatch.setattr(apply.attempts, "publish", lambda attempt, name, kind: note(f"published {attempt}"))
        monkeypatch.setattr(apply.fetch, "fetch", fetch_file)
        monkeypatch.setattr(apply.fetch, "remove_unused", lambda name: note(f"unused {name}"))
        monkeypatch.setattr(
            apply.lock, "fetching", lambda name: contextlib.nullcontext(types.SimpleNamespace(fds=(7,)))
        )
        monkeypatch.setattr(apply.signatures, "read_key", lambda declared: "key")
        monkeypatch.setattr(apply.signatures, "check_file", lambda path, *given: note(f"signed {path}"))
        monkeypatch.setattr(
            apply.source_file,
            "look",
            lambda path, kind, its: SourceFile(path, packing="raw", size=4, mtime_ns=5, told=its),
        )
        root = types.SimpleNamespace(devices=("/dev/sda",), size=11, largest_id=65534)
        monkeypatch.setattr(apply.source_file, "read_root", lambda *given: root)
        monkeypatch.setattr(apply.source_file, "size_of_disk", lambda path: 12)
        monkeypatch.setattr(apply.source_file, "digest_of", lambda path: f"digest of {path}")
        monkeypatch.setattr(
            apply.copying,
            "copy_container_root",
            lambda source, target, limit, fds: iter([note(f"copied {target} {fds}")]),
        )

        def copy_disk(
            source: SourceFile, target: str, limit: int, fds: t.Any, check: t.Callable[[str], None]
        ) -> t.Iterator[t.Any]:
            check("/unpacked")
            note(f"copied {target} {fds}")
            yield from ()

        monkeypatch.setattr(apply.copying, "copy_vm_disk", copy_disk)
        monkeypatch.setattr(
            apply.build, "build_vm_disk", lambda recipe, target, fds: iter([note(f"built {recipe.suite}")])
        )
        monkeypatch.setattr(
            apply.build, "build_container_root", lambda recipe, target, fds: iter([note(f"built {recipe.suite}")])
        )
        monkeypatch.setattr(apply.copier, "remove", lambda image, copies, drivers: iter([note("copies removed")]))
        monkeypatch.setattr(apply, "drivers_of", lambda host: {})
        host = types.SimpleNamespace(record=lambda kind, name: file)
        work = types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=(9,)))
        plan = Plan([Change("state", "absent", "present", How.LIVE)])
        try:
            for step in apply.apply_image(parse({"name": "debian", **wish}), there, plan, t.cast(t.Any, work)):
                told.extend([f"stands {step.path}"] if isinstance(step, Change) else [])
        except ApplyError:
            told.append("failed")
        told.extend(f"warned {len(each)}" for each in plan.warnings)
        return told, file

    return carry_out


Stored = t.Callable[..., tuple[list[str], File]]
BEGUN = ["withdraw", "remove_left_overs", "begun"]
SOURCE = SourceFile("/source", packing="tar", size=4, mtime_ns=5, told="path: /source")


def test_an_image_is_recorded_before_it_is_copied_and_whole_when_it_is_in_its_place(stored: Stored) -> None:
    told, file = stored(State(source=SOURCE), kind="container", path="/source")
    assert [each for each in told if not each.startswith("warned")] == [
        "record building",
        *BEGUN,
        "copied /attempt/root.tar.zst (9,)",
        "published /attempt",
        "record digest of /attempt/root.tar.zst",
        "stands state",
    ]
    assert told[-1].startswith("warned")
    assert (file.data["size_bytes"], file.data["largest_id"]) == (11, 65534)
    assert file.data["origin"] == {"path": "/source", "size": 4, "mtime_ns": 5, "digest": "digest of /source"}


def test_an_image_is_built_in_an_attempt_of_its_own(stored: Stored) -> None:
    for kind, size in (("vm", 12), ("container", 11)):
        told, file = stored(State(), kind=kind, build={"suite": "trixie", "packages": ["vim"]})
        assert told[:5] == ["record building", *BEGUN, "built trixie"] and file.data["size_bytes"] == size
        assert file.data["origin"]["build"]["packages"] == ["vim"]


REMOTE_SUM = f"sha256:{'a' * 64}"
REMOTE = Remote(URL, "sha256:aa", size=4, signature=b"s")


def test_a_file_is_fetched_under_a_record_that_names_it_and_its_signature_checked(stored: Stored) -> None:
    signed = {"url": f"{URL}.sig", "key": "/key", "of": "file"}
    told, file = stored(State(remote=REMOTE), data={"download": "old"}, kind="vm", url=URL, signature=signed)
    name = downloads.name_of(REMOTE)
    assert told[:4] == ["record building", "unused old", "fetched", "signed /download"]
    assert "copied /attempt/disk.qcow2 (9, 7)" in told and told[-1] == "stands state" and file.data["download"] == name
    assert file.data["origin"]["declared"] == file.data["origin"]["digest"] == "sha256:aa"
    told, dummy = stored(State(remote=REMOTE), kind="vm", url=URL, signature={**signed, "of": "content"})
    assert "signed /unpacked" in told and "signed /download" not in told


@pytest.mark.parametrize("fails_at", ["copied", "published", "record digest"])
def test_of_an_image_that_could_not_be_made_nothing_is_left(stored: Stored, fails_at: str) -> None:
    told, file = stored(State(source=SOURCE), fails_at=fails_at, kind="vm", path="/source")
    assert told[-5:] == ["withdraw", "remove_left_overs", "record removed", "unused None", "failed"] and not file.exists


def test_the_beginning_of_a_download_is_kept_with_the_record_that_names_it(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = os.path.exists
    monkeypatch.setattr(apply.os.path, "exists", lambda path: path.endswith(".part") or exists(path))
    told, file = stored(State(remote=REMOTE), fails_at="fetched", kind="vm", url=URL, checksum=REMOTE_SUM)
    assert told[-3:] == ["withdraw", "remove_left_overs", "failed"] and file.exists


def test_programs_without_which_no_signature_can_be_checked_are_named(stored: Stored) -> None:
    with pytest.raises(MissingRequirement, match="needs the program gpgv, program openssl"):
        stored(State(remote=REMOTE._replace(missing=("gpgv", "openssl"))), kind="vm", url=URL, checksum=REMOTE_SUM)


def test_an_image_goes_with_its_copies_and_its_download(stored: Stored) -> None:
    told, dummy = stored(State(), data={"download": "d"}, state="absent")
    assert told == ["copies removed", "withdraw", "remove_left_overs", "record removed", "unused d", "stands state"]
    told, dummy = stored(State(), state="absent")
    assert told == ["copies removed", "remove_left_overs", "record removed", "unused None", "stands state"]
