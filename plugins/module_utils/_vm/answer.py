# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The answer to an installer, on a medium of its own or in an initial RAM disk; and what lies on the medium of an installer."""

from __future__ import annotations

import io
import posixpath
import typing as t

from .._core import libraries
from .._core.errors import ObserveError
from .installer import Kind, Layout

# As the kernel's documentation of initramfs has it: a header of 8 hexadecimal digits each, names and data padded to 4 bytes.
_MAGIC, _TRAILER, _REGULAR = b"070701", "TRAILER!!!", 0o100600


def medium(kind: Kind, text: str) -> bytes:
    """An ISO 9660 image with the answer; Rock Ridge and Joliet carry the names."""
    image = libraries.pycdlib().PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=kind.label, sys_ident="LINUX")
    folder, name = posixpath.split(kind.file)
    if folder:
        image.add_directory(f"/{folder.upper()}", rr_name=folder, joliet_path=f"/{folder}")
    for number, (path, content) in enumerate(((kind.file, text), *((file, "") for file in kind.more))):
        data, name = content.encode(), posixpath.basename(path)
        short = posixpath.join("/", folder.upper() if path == kind.file else "", f"FILE{number}.;1")
        image.add_fp(io.BytesIO(data), len(data), short, rr_name=name, joliet_path=f"/{path}")
    stream = io.BytesIO()
    image.write_fp(stream)
    image.close()
    return stream.getvalue()


def archive(name: str, text: str, *, behind: int, mode: int = _REGULAR) -> bytes:
    """A file for an initial RAM disk of *behind* bytes, behind which it is laid: the kernel unpacks one archive after another."""
    return b"\0" * (-behind % 4) + _entry(1, name, mode, text.encode()) + _entry(0, _TRAILER, 0, b"")


def _entry(inode: int, name: str, mode: int, data: bytes) -> bytes:
    word = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(word), 0)
    head = _MAGIC + b"".join(b"%08x" % number for number in numbers) + word
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


class Medium:
    """The ISO of an installer, opened to be read.

    :raises ObserveError: for what is none.
    """

    def __init__(self, path: str) -> None:
        library = libraries.pycdlib()
        self._failure = (library.pycdlibexception.PyCdlibException, OSError)
        self._image = library.PyCdlib()
        try:
            self._image.open(path)
        except self._failure as exc:
            raise ObserveError(f"install.media: {path} cannot be read as an ISO 9660 image: {exc}") from exc

    def __enter__(self) -> Medium:
        return self

    def __exit__(self, *args: object) -> None:
        self._image.close()

    @property
    def label(self) -> str:
        return str(self._image.pvd.volume_identifier.decode(errors="replace").strip())

    def layout(self, layouts: t.Sequence[Layout]) -> Layout | None:
        """The first of *layouts* that it has."""
        return next((its for its in layouts if self._has(its.kernel) and self._has(its.initrd)), None)

    def copy(self, path: str, target: t.BinaryIO) -> None:
        """Write the file *path* of it into *target*."""
        self._image.get_file_from_iso_fp(target, **self._place(path))

    def _has(self, path: str) -> bool:
        try:
            self._image.get_record(**self._place(path))
        except self._failure:
            return False
        return True

    def _place(self, path: str) -> dict[str, str]:
        if self._image.has_rock_ridge():
            return {"rr_path": path}
        if self._image.has_joliet():
            return {"joliet_path": path}
        return {"iso_path": path.upper() + ("" if "." in posixpath.basename(path) else ".") + ";1"}
