# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the entries of a unified archive of Incus."""

from __future__ import annotations

import io
import tarfile

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._image import unified

CAPABILITY = b"\x01\x00\x00\x02\x00\x20\xff\x00".decode("utf-8", "surrogateescape")


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(*entries: tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for info in entries:
            made.addfile(info, io.BytesIO(b"x" * info.size))
    return io.BytesIO(stream.getvalue())


def rewritten(*entries: tarfile.TarInfo) -> dict[str, tarfile.TarInfo]:
    target = io.BytesIO()
    unified.write_root(archive(*entries), target, "path: /a")
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as found:
        return {info.name: info for info in found}


@pytest.mark.parametrize("before", ["", "./"])
def test_what_lies_in_the_root_is_kept_as_it_is(before):
    long = "deep/" * 60 + "\udcff"
    found = rewritten(
        entry(f"{before}metadata.yaml", size=9),
        entry(f"{before}rootfs", tarfile.DIRTYPE, mode=0o711),
        entry(f"{before}rootfs/{long}", size=3, uid=3_000_000_000, gid=7, mode=0o4755, mtime=5),
        entry(f"{before}rootfs/ping", pax_headers={"SCHILY.xattr.security.capability": CAPABILITY}),
        entry(f"{before}rootfs/hard", tarfile.LNKTYPE, linkname=f"{before}rootfs/ping"),
        entry(f"{before}rootfs/link", tarfile.SYMTYPE, linkname="../rootfs/ping"),
        entry(f"{before}templates/hostname.tpl", size=1),
        entry(f"{before}rootfsx", size=1),
    )
    assert list(found) == [".", f"./{long}", "./ping", "./hard", "./link"]
    deep = found[f"./{long}"]
    assert (deep.size, deep.uid, deep.gid, deep.mode, deep.mtime) == (3, 3_000_000_000, 7, 0o4755, 5)
    assert found["./ping"].pax_headers["SCHILY.xattr.security.capability"] == CAPABILITY
    assert found["./hard"].linkname == "./ping" and found["./link"].linkname == "../rootfs/ping"


def test_a_link_to_what_is_not_in_the_root_is_refused():
    with pytest.raises(ApplyError, match=r"is a hard link to 'metadata\.yaml', outside of the root"):
        rewritten(entry("rootfs/a", tarfile.LNKTYPE, linkname="metadata.yaml"))


def test_a_damaged_archive_is_told():
    content = archive(entry("rootfs/a", size=5000)).getvalue()
    with pytest.raises(ApplyError, match="path: /a: the archive is damaged"):
        unified.write_root(io.BytesIO(content[:5000]), io.BytesIO(), "path: /a")
