# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a server has: asked with the proxies and the certificate authorities of this host, before anything is fetched."""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import re
import ssl
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._core import atomic
from .._core.errors import ObserveError, SpecError
from . import address, checksum, signature, simplestreams, source_file
from .spec import Signature, Spec, Streams
from .state import Remote

# A server that says nothing for so long is gone.
SILENCE_SECONDS = 30.0
ENVIRONMENT = "/etc/environment"
# Lists of checksums are small; that of linuxcontainers.org is 2 MiB, Ubuntu's 10.
_LONGEST_TEXT = 64 << 20
_TRIES = 3
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}
Mirrors = t.Mapping[str, str]
_PROXY = re.compile(r"\s*(?:export\s+)?(?P<name>(?:https?|all|no)_proxy)=(?P<value>.*)", re.IGNORECASE)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows where a server sends, or to the mirror of that; but not from https to http, where anybody could answer."""

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors = mirrors

    def redirect_request(self, req: t.Any, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str) -> t.Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it leads from https to {newurl[:100]}")
        place = address.mirrored(newurl, self._mirrors)
        # A mirror that sends back to the host that it stands in for does not have it.
        newurl = newurl if place == req.full_url else place
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        # urllib makes a GET of it.
        if following is not None and req.get_method() == "HEAD":
            following.method = "HEAD"
        return following


def proxies(environment: t.Mapping[str, str], text: str | None) -> dict[str, str]:
    """The proxies that *environment* names, or else the *text* of /etc/environment, which a run with sudo does not see; ``no`` too."""
    named = {key.lower(): value for key, value in environment.items() if key.lower().endswith("_proxy") and value}
    if not named.keys() & {"http_proxy", "https_proxy", "all_proxy"}:
        for line in (text or "").splitlines():
            if match := _PROXY.fullmatch(line):
                named.setdefault(match["name"].lower(), match["value"].strip().strip("\"'"))
    found = {name.removesuffix("_proxy"): value for name, value in named.items() if value}
    every = found.pop("all", None)
    return {**({"http": every, "https": every} if every else {}), **found}


def _is_direct(place: str, without: str) -> bool:
    """Whether no proxy is asked for the host and port *place*. *without* is what curl and apt take as ``no_proxy``."""
    host = place.lower().partition(":")[0] if not place.startswith("[") else place.lower().partition("]")[0][1:]
    ends = [word.strip().lower().removeprefix("*").lstrip(".") for word in without.split(",")]
    return "*" in without.split(",") or any(
        end and (host == end or place.lower() == end or host.endswith(f".{end}")) for end in ends
    )


def _opener(url: str, mirrors: Mirrors) -> urllib.request.OpenerDirector:
    """What opens *url*, and nothing but http and https."""
    told = proxies(os.environ, atomic.read_text(ENVIRONMENT))
    host = urllib.parse.urlsplit(url).netloc
    is_direct = _is_direct(host, told.get("no", ""))
    opener = urllib.request.OpenerDirector()
    for handler in (
        # Without a dictionary urllib would look into the environment itself.
        urllib.request.ProxyHandler({} if is_direct else {key: its for key, its in told.items() if key != "no"}),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirect(mirrors),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "homelab.hybrid")]
    return opener


def ask(
    url: str, *, method: str = "GET", headers: t.Mapping[str, str] | None = None, mirrors: Mirrors | None = None
) -> t.Any:
    """The answer of the server to a request for *url*, with its headers read; where it sends to a host that has one of the *mirrors*,
    of that.

    :raises OSError, http.client.HTTPException: ``urllib.error.HTTPError`` for one that says no.
    """
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}))
    return _opener(url, mirrors or {}).open(request, timeout=SILENCE_SECONDS)


def said(key: str, url: str, exc: BaseException) -> str:
    """The sentence for what went wrong with *url*, which *key* names."""
    if isinstance(exc, urllib.error.HTTPError):
        return f"{key}: {url}: the server says {exc.code} {exc.reason}"
    reason = getattr(exc, "reason", None) or exc
    return f"{key}: {url} cannot be fetched: {reason}"


def read(key: str, url: str, mirrors: Mirrors | None = None) -> bytes:
    """A small file, whole.

    :raises ObserveError: when it cannot be had, or is not small.
    """
    content = b""
    problem: BaseException = EOFError("the line broke")
    for dummy in range(_TRIES):
        try:
            with contextlib.closing(ask(url, mirrors=mirrors)) as answer:
                content = bytes(answer.read(_LONGEST_TEXT + 1))
                # Who asks for more than there is gets what came, and no error when the line broke.
                if not answer.length or len(content) > _LONGEST_TEXT:
                    break
                problem = EOFError("the line broke")
        except urllib.error.HTTPError as exc:
            raise ObserveError(said(key, url, exc)) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            problem = exc
    else:
        raise ObserveError(said(key, url, problem)) from problem
    if len(content) > _LONGEST_TEXT:
        raise ObserveError(f"{key}: {url} is larger than anything that is looked for there")
    return content


def find(spec: Spec) -> Remote:
    """What *spec* is fetched from, and what its checksums, signatures and server say of it.

    :raises ObserveError: when a server cannot be reached, has no such file, or a signature is not that of the key.
    :raises SpecError: when a list or an index has nothing for what was declared.
    """
    key = signature.read_key(spec.signature) if spec.signature else None
    missing = (signature.program(key),) if key is not None and not signature.is_there(key) else ()
    if spec.simplestreams is not None:
        remote = _of_streams(spec, spec.simplestreams, None if missing else key)
        is_trusted = key is not None or spec.simplestreams.server.startswith("https:")
    else:
        url = address.mirrored(t.cast(str, spec.url), spec.mirrors)
        digest, listed = _declared_digest(spec, None if missing else key)
        remote = Remote(url, digest)
        is_trusted = key is not None or listed is None or (listed.startswith("https:") and not _may_be_open(spec))
    if address.file_name(remote.url).endswith(".squashfs"):
        # Otherwise only what was fetched would tell.
        source_file.check_squashfs(f"url: {remote.url}")
    size, validator = _head(remote.url, spec.mirrors)
    if remote.size is not None and size is not None and size != remote.size:
        raise ObserveError(f"simplestreams: {remote.url} has {size} bytes, and the index says {remote.size}")
    detached = None
    if spec.signature is not None and spec.signature.url is not None and spec.signature.of != "checksum":
        detached = read("signature.url", address.mirrored(spec.signature.url, spec.mirrors), spec.mirrors)
    return remote._replace(
        size=size or remote.size,
        validator=validator,
        signature=detached,
        missing=missing,
        is_trusted=is_trusted,
        mirrors=spec.mirrors,
    )


def _may_be_open(spec: Spec) -> bool:
    """Whether a server may have sent to a mirror that anybody can answer for."""
    return any(not mirror.startswith("https:") for mirror in spec.mirrors.values())


def _declared_digest(spec: Spec, key: bytes | None) -> tuple[str | None, str | None]:
    """The digest that the file must have, and the address of the list that it stands in."""
    if spec.checksum is None:
        return None, None
    declared = checksum.split(spec.checksum)
    if declared.url is None:
        return f"{declared.algorithm}:{declared.digest}", None
    where = address.mirrored(declared.url, spec.mirrors)
    text = read("checksum", where, spec.mirrors)
    if key is not None and spec.signature is not None and spec.signature.of == "checksum":
        text = _checked(text, spec.signature, key, where, spec.mirrors)
    name = address.file_name(t.cast(str, spec.url))
    listed = text.decode(errors="replace")
    found = checksum.find(listed, name, declared.algorithm)
    if found is None and address.file_name(declared.url).startswith(f"{name}."):
        found = checksum.find_beside(listed, declared.algorithm)
    if found is None:
        kinds = declared.algorithm or ", ".join(checksum.LENGTHS)
        raise SpecError(f"checksum: {where} has no {kinds} of {name}", key="checksum")
    return found, where


def _checked(text: bytes, declared: Signature, key: bytes, where: str, mirrors: Mirrors) -> bytes:
    """What is signed of *text*."""
    if declared.url is None:
        return signature.signed_text(text, key, where)
    detached = read("signature.url", address.mirrored(declared.url, mirrors), mirrors)
    signature.check_text(text, detached, key, where)
    return text


def _of_streams(spec: Spec, streams: Streams, key: bytes | None) -> Remote:
    server = address.mirrored(streams.server, spec.mirrors)
    wanted = streams.wanted
    if wanted.arch is None:
        wanted = wanted._replace(arch=_ARCHITECTURES.get(platform.machine(), platform.machine()))

    def fetched(path: str) -> str:
        where = address.joined(server, path)
        if spec.signature is None:
            return read("simplestreams", where, spec.mirrors).decode(errors="replace")
        # What is signed lies beside, with a name of its own, and has the signature in it.
        where = f"{where.removesuffix('.json').removesuffix('.sjson')}.sjson"
        text = read("simplestreams", where, spec.mirrors)
        return (text if key is None else signature.signed_text(text, key, where)).decode(errors="replace")

    lists = []
    for path in simplestreams.product_lists(fetched(f"{simplestreams.INDEX}.json")):
        lists.append(fetched(path))
        found = simplestreams.choose(lists[-1], str(spec.kind), wanted)
        if found is not None:
            return Remote(address.joined(server, found.path), found.digest, found.size, found.serial)
    raise simplestreams.missing(wanted, lists)


def _head(url: str, mirrors: Mirrors) -> tuple[int | None, str | None]:
    """The size and the validator of the file at *url*.

    :raises ObserveError: when the server cannot be reached or has no such file.
    """
    try:
        try:
            answer = ask(url, method="HEAD", mirrors=mirrors)
        except urllib.error.HTTPError as exc:
            if exc.code in (404, 410):
                raise
            # Signed addresses are good for one method alone, and some servers know only one.
            answer = ask(url, headers={"Range": "bytes=0-0"}, mirrors=mirrors)
        with contextlib.closing(answer):
            return size_of(answer), validator_of(answer)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise ObserveError(said("url", url, exc)) from exc


def size_of(answer: t.Any) -> int | None:
    """The size of the whole file, of an *answer* that may be a part of it."""
    whole = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", answer.headers.get("Content-Range", ""))
    if whole:
        return int(whole[1])
    length = str(answer.headers.get("Content-Length", ""))
    return int(length) if length.isdecimal() and answer.status == 200 else None


def validator_of(answer: t.Any) -> str | None:
    """What says that the file is still the same: a strong ETag, else its time of change."""
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(answer.headers.get("Last-Modified", "")) or None
