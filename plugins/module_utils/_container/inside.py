# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Files inside a container, written from the host without ever following a symbolic link of the guest."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import typing as t

from .._core.errors import ApplyError
from .._core.options import split
from .._core.plan import Change
from .._core.removal import remove_tree
from .._guest.options import DHCP, NO_ADDRESS
from . import guest_files
from .card import ADDRESSING
from .tree import Tree, network_manager
from .wanted import Wanted

Owner = tuple[int, int]


class WritableTree(Tree):
    """The root of a container in which files are written. *root* is the uid and gid of the host that root inside is."""

    def __init__(self, path: str, root: Owner = (0, 0)) -> None:
        super().__init__(path)
        self.root = root

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
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self.folder_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def remove_all(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens where there is none. Of a guest that does not run."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self.folder_of(path) as (folder, name):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                remove_tree(f"/proc/self/fd/{folder}/{name}")
            else:
                os.unlink(name, dir_fd=folder)

    @contextlib.contextmanager
    def _made_folder(self, path: str, mode: int) -> t.Iterator[tuple[int, str]]:
        try:
            with self.folder_of(path, lambda parent, part: self._make(parent, part, mode)) as found:
                yield found
        except OSError as exc:
            raise ApplyError(f"{path} cannot be written in {self.path}: {exc.strerror}") from exc

    def _make(self, parent: int, name: str, mode: int) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent)
            os.chown(name, *self.root, dir_fd=parent, follow_symlinks=False)


# ---- each option that stands inside: one function, of what its file says after the run -----------------------------------


def write_hostname(tree: WritableTree, wanted: Wanted) -> None:
    hostname = wanted.value("hostname")
    tree.write("/etc/hostname", hostname + "\n")
    tree.write("/etc/hosts", guest_files.hosts(tree.read("/etc/hosts"), hostname))


def write_resolver(tree: WritableTree, wanted: Wanted) -> None:
    """The servers and search domains; a new container has those of the host where neither the user nor its image names any."""
    old = tree.read(guest_files.RESOLV_CONF)
    servers, search = (
        kept if (declared := wanted.spec.get(path)) is None and path not in wanted.spec.unset else declared or ()
        for path, kept in zip(("dns.servers", "dns.search"), guest_files.resolver(old), strict=True)
    )
    if not wanted.state.exists and not servers:
        servers = wanted.state.host.servers
    tree.write(guest_files.RESOLV_CONF, guest_files.resolv_conf(old, servers, search))


def write_keys(tree: WritableTree, wanted: Wanted) -> None:
    """Root's authorized keys: those declared are there, those declared before and no longer go, all others stay."""
    keys, old = wanted.spec.get("ssh_keys") or (), tree.read(guest_files.KEYS)
    if old is None and not keys:
        return
    # Those of the guest that it is cloned from came with its root.
    source = wanted.state.source
    ours = (*wanted.state.record.ssh_keys, *(source.ssh_keys if source else ()))
    tree.write(guest_files.KEYS, guest_files.authorized_keys(old, keys, ours), mode=0o600, folder_mode=0o700)


WRITE: dict[str, t.Callable[[WritableTree, Wanted], None]] = {
    "hostname": write_hostname,
    "dns.servers": write_resolver,
    "dns.search": write_resolver,
    "ssh_keys": write_keys,
}


def write_card(tree: WritableTree, wanted: Wanted, name: str) -> None:
    """What the guest itself needs to know of an interface, in the files of what it configures its network with.

    :raises ApplyError: for DHCP in a guest that has no client that is known here.
    """
    card = wanted.cards.get(name)
    if card is None:
        tree.remove(guest_files.networkd_path(name))
        tree.remove(guest_files.ifupdown_path(name))
        return
    net = guest_files.Net(name, card.device, card["ip"], card["gateway"], card["ip6"], card["gateway6"])
    manager = network_manager(tree)
    if manager == "networkd":
        _write_or_remove(tree, guest_files.networkd_path(name), guest_files.networkd(net))
        for link, target in guest_files.NETWORKD_LINKS if net.ip != NO_ADDRESS else ():
            tree.link(link, target)
    elif manager == "ifupdown":
        if not wanted.state.exists:
            _take_over(tree, card.device)
        _write_or_remove(tree, guest_files.ifupdown_path(name), guest_files.ifupdown(net))
        interfaces = tree.read("/etc/network/interfaces")
        if net.ip != NO_ADDRESS and (interfaces is None or "interfaces.d" not in interfaces):
            tree.write("/etc/network/interfaces", guest_files.ifupdown_main(interfaces))
    elif net.ip == DHCP:
        raise ApplyError(
            f"networks[{name}].ip: dhcp needs systemd-networkd or ifupdown in the image, and neither is there. "
            "Write an address, or none and configure it inside"
        )


def _take_over(tree: WritableTree, device: str) -> None:
    """What a new root's own file says of an interface that is declared counts no more: it would have two configurations."""
    path = guest_files.INTERFACES
    text = tree.read(path)
    left = guest_files.without_interface(text, device) if text else text
    if left is not None and left != text:
        tree.write(path, left)


def _write_or_remove(tree: WritableTree, path: str, text: str | None) -> None:
    if text is None:
        tree.remove(path)
    else:
        tree.write(path, text)


def is_inside(path: str) -> bool:
    """Whether a change of *path* is one of the files of the guest."""
    area, dummy, key = split(path)
    return area in WRITE or (area == "networks" and key in ("", *ADDRESSING))


def write_files(tree: WritableTree, wanted: Wanted, changes: t.Iterable[Change]) -> None:
    """The files of the guest after *changes*.

    :raises ApplyError:
    """
    paths = [change.path for change in changes if is_inside(change.path)]
    for write in dict.fromkeys(WRITE[path] for path in paths if path in WRITE):
        write(tree, wanted)
    for name in dict.fromkeys(split(path)[1] for path in paths if path not in WRITE):
        write_card(tree, wanted, name)
    if not wanted.state.exists and not tree.has(guest_files.RESOLV_CONF):
        host = wanted.state.host
        tree.write(guest_files.RESOLV_CONF, guest_files.resolv_conf(None, host.servers, host.search))
