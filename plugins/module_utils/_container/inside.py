# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Files inside a container, read and written from the host without ever following a symbolic link of the guest."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import typing as t

from .._core.errors import ApplyError
from . import guest_files

Owner = tuple[int, int]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """The root of a container on the host. *root* is the uid and gid of the host that root inside is."""

    def __init__(self, path: str, root: Owner = (0, 0)) -> None:
        self.path = path
        self.root = root

    def read(self, path: str) -> str | None:
        """The text of a regular file; ``None`` where there is none."""
        try:
            with self._folder(path) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return None
            return stream.read(1 << 20).decode(errors="surrogateescape")

    def has(self, path: str) -> bool:
        """Whether there is an entry of any kind at *path*."""
        try:
            with self._folder(path) as (folder, name):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def write(self, path: str, content: str, *, mode: int = 0o644, folder_mode: int = 0o755) -> None:
        """Replace *path*, a link among others, by a file of root inside. Missing folders get *folder_mode*.

        :raises ApplyError: where the way to *path* is no folder.
        """
        with self._made_folder(path, folder_mode) as (folder, name):
            temporary = f".{secrets.token_hex(8)}.new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content.encode(errors="surrogateescape"))
                    os.fchown(stream.fileno(), *self.root)
                    os.fchmod(stream.fileno(), mode)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def link(self, path: str, target: str) -> None:
        """A symbolic link at *path*, unless something is there.

        :raises ApplyError: where the way to *path* is no folder.
        """
        with self._made_folder(path, 0o755) as (folder, name), contextlib.suppress(FileExistsError):
            os.symlink(target, name, dir_fd=folder)
            os.chown(name, *self.root, dir_fd=folder, follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._folder(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    @contextlib.contextmanager
    def _made_folder(self, path: str, mode: int) -> t.Iterator[tuple[int, str]]:
        try:
            with self._folder(path, make=mode) as found:
                yield found
        except OSError as exc:
            raise ApplyError(f"{path} cannot be written in {self.path}: {exc.strerror}") from exc

    @contextlib.contextmanager
    def _folder(self, path: str, make: int | None = None) -> t.Iterator[tuple[int, str]]:
        *folders, name = [part for part in path.split("/") if part]
        descriptor = os.open(self.path, _FOLDER)
        try:
            for part in folders:
                if make is not None:
                    self._make(descriptor, part, make)
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor, name
        finally:
            os.close(descriptor)

    def _make(self, parent: int, name: str, mode: int) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent)
            os.chown(name, *self.root, dir_fd=parent, follow_symlinks=False)


def set_hostname(tree: Tree, hostname: str) -> None:
    tree.write("/etc/hostname", hostname + "\n")
    tree.write("/etc/hosts", guest_files.hosts(tree.read("/etc/hosts"), hostname))


def set_resolver(tree: Tree, servers: t.Sequence[str], search: t.Sequence[str]) -> None:
    tree.write(guest_files.RESOLV_CONF, guest_files.resolv_conf(tree.read(guest_files.RESOLV_CONF), servers, search))


def set_keys(tree: Tree, keys: t.Sequence[str], ours: t.Sequence[str]) -> None:
    """Root's authorized keys: *keys* are there, those of *ours* that are not among them go, all others stay."""
    old = tree.read(guest_files.KEYS)
    if old is None and not keys:
        return
    tree.write(guest_files.KEYS, guest_files.authorized_keys(old, keys, ours), mode=0o600, folder_mode=0o700)


def set_network(tree: Tree, net: guest_files.Net) -> None:
    """What the guest itself needs to know of an interface, in the files of what it configures its network with.

    :raises ApplyError: for DHCP in a guest that has no client that is known here.
    """
    manager = network_manager(tree)
    if manager == "networkd":
        path = guest_files.networkd_path(net.name)
        text = guest_files.networkd(net)
        if text is None:
            tree.remove(path)
            return
        tree.write(path, text)
        for link, target in guest_files.NETWORKD_LINKS:
            tree.link(link, target)
    elif manager == "ifupdown":
        path = guest_files.ifupdown_path(net.name)
        text = guest_files.ifupdown(net)
        if text is None:
            tree.remove(path)
            return
        tree.write(path, text)
        interfaces = tree.read("/etc/network/interfaces")
        if interfaces is None or "interfaces.d" not in interfaces:
            tree.write("/etc/network/interfaces", guest_files.ifupdown_main(interfaces))
    elif net.ip == "dhcp":
        raise ApplyError(
            f"networks[{net.name}].ip: dhcp needs systemd-networkd or ifupdown in the image, and neither is there. "
            "Write an address, or none and configure it inside"
        )


def remove_network(tree: Tree, name: str) -> None:
    tree.remove(guest_files.networkd_path(name))
    tree.remove(guest_files.ifupdown_path(name))


def asks_dhcp(tree: Tree, name: str) -> bool:
    """Whether the file that we keep of the interface *name* makes the guest ask for its address."""
    text = tree.read(guest_files.networkd_path(name)) or tree.read(guest_files.ifupdown_path(name)) or ""
    return "DHCP=yes" in text or " inet dhcp" in text


def network_manager(tree: Tree) -> str | None:
    """``networkd`` or ``ifupdown``, whichever the guest has; networkd where it has both and ifupdown has nothing to do."""
    has_networkd = tree.has("/usr/lib/systemd/systemd-networkd") or tree.has("/lib/systemd/systemd-networkd")
    has_ifupdown = tree.has("/usr/sbin/ifup") or tree.has("/sbin/ifup")
    if has_networkd and has_ifupdown:
        return "ifupdown" if guest_files.names_interfaces(tree.read("/etc/network/interfaces")) else "networkd"
    return "networkd" if has_networkd else "ifupdown" if has_ifupdown else None
