# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Signatures: OpenPGP's through gpgv, RSA's and the like through openssl. Keys and texts are handed over in memory."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import shutil
import typing as t

from .._core import command
from .._core.errors import ObserveError
from .spec import Signature

_ARMOR = re.compile(rb"-----BEGIN PGP (?P<what>[A-Z ]+)-----\r?\n(?P<body>.*?)-----END PGP", re.DOTALL)
_PEM = b"BEGIN PUBLIC KEY-----"
_CLEAR = b"-----BEGIN PGP SIGNED MESSAGE-----"
# gpgv ends well for some of these.
_BAD = ("BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG")


def program(key: bytes) -> str:
    """The program that checks signatures of *key*."""
    return "openssl" if _PEM in key else "gpgv"


def is_there(key: bytes) -> bool:
    return shutil.which(program(key), path="/usr/local/bin:/usr/bin:/bin") is not None


def read_key(signature: Signature) -> bytes:
    """The public key of *signature*.

    :raises ObserveError: when the file that it names is not there or holds no key.
    """
    if not signature.key.startswith("/"):
        return signature.key.encode()
    try:
        with open(signature.key, "rb") as stream:
            key = stream.read(1 << 20)
    except OSError as exc:
        raise ObserveError(f"signature.key: {signature.key} cannot be read: {exc.strerror}") from exc
    if not key:
        raise ObserveError(f"signature.key: {signature.key} is empty")
    return key


def check_file(path: str, signature: bytes, key: bytes, told: str) -> None:
    """The file *path* bears the detached *signature* of *key*.

    :raises ObserveError: when it does not; *told* names the file.
    """
    if program(key) == "openssl":
        _check_openssl(path, signature, key, told)
    else:
        _run_gpgv(key, signature, told, path)


def check_text(text: bytes, signature: bytes, key: bytes, told: str) -> None:
    """See ``check_file``."""
    with _in_memory(text) as place:
        descriptor, path = place
        if program(key) == "openssl":
            _check_openssl(path, signature, key, told, descriptor)
        else:
            _run_gpgv(key, signature, told, path, descriptor)


def signed_text(text: bytes, key: bytes, told: str) -> bytes:
    """What *key* has signed of a *text* that carries its own signature: nothing before, behind or between counts.

    :raises ObserveError: when it is not signed, or by another key.
    """
    if _CLEAR not in text or program(key) == "openssl":
        raise ObserveError(f"{told} carries no signature of OpenPGP's. Write signature.url where it lies beside it")
    return _run_gpgv(key, text, told).encode(errors="surrogateescape")


@contextlib.contextmanager
def _in_memory(content: bytes) -> t.Iterator[tuple[int, str]]:
    descriptor = os.memfd_create("signed", os.MFD_CLOEXEC)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        yield descriptor, f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _run_gpgv(key: bytes, signature: bytes, told: str, *data: t.Any) -> str:
    """What is signed, where *signature* holds that as well; else *data* are the file and its descriptor."""
    with _in_memory(_binary(key)) as ring, _in_memory(signature) as signed, _in_memory(b"") as status:
        argv = ["gpgv", "--status-fd", str(status[0]), "--output", "-", "--keyring", ring[1], signed[1], *data[:1]]
        if data:
            del argv[3:5]
        try:
            found = command.run(argv, keep_fds=[ring[0], signed[0], status[0], *data[1:]])
        except command.CommandError as exc:
            if exc.rc == 127:
                raise
            raise ObserveError(
                f"{told}: its signature is not one of the key in signature.key ({_reason(exc)})"
            ) from exc
        lines = _lines_of(status[0])
    words = {line.split()[1] for line in lines if len(line.split()) > 1}
    if not {"GOODSIG", "VALIDSIG"} <= words or words & {*_BAD}:
        bad = ", ".join(sorted(words & {*_BAD})) or "no good one"
        raise ObserveError(f"{told}: its signature is not one of the key in signature.key ({bad})")
    return found


def _lines_of(descriptor: int) -> list[str]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as stream:
        return stream.read().decode(errors="replace").splitlines()


def _reason(exc: command.CommandError) -> str:
    lines = [line.removeprefix("gpgv: ").strip() for line in exc.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"gpgv ended with {exc.rc}"


def _binary(key: bytes) -> bytes:
    """The key without its armor, which gpgv does not read."""
    armored = _ARMOR.search(key)
    if armored is None:
        return key
    body = re.split(rb"\r?\n\r?\n", armored["body"], maxsplit=1)[-1]
    lines = [line for line in body.split() if not line.startswith(b"=")]
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error as exc:
        raise ObserveError("signature.key: the armor of the key is damaged") from exc


def _check_openssl(path: str, signature: bytes, key: bytes, told: str, *keep: int) -> None:
    # Upstreams publish both, the bare bytes and base64.
    with contextlib.suppress(binascii.Error):
        signature = base64.b64decode(b"".join(signature.split()), validate=True)
    with _in_memory(key) as public, _in_memory(signature) as signed:
        argv = ["openssl", "dgst", "-sha256", "-verify", public[1], "-signature", signed[1], path]
        try:
            command.run(argv, keep_fds=[public[0], signed[0], *keep])
        except command.CommandError as exc:
            if exc.rc == 127:
                raise
            raise ObserveError(f"{told}: its signature is not one of the key in signature.key (openssl)") from exc
