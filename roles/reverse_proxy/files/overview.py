# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the overview page of a lab: asks its services, reads what the hypervisors tell of their guests, and writes the page.

overview.py LAB HOSTS PAGE: the file with what the lab is, the folder in which hypervisors leave what they know, and the page that is written.

The page has no script. It is a template of Caddy, which knows at each request how old it is: two pages in one, of which the second says that
nothing is known, and is served as soon as nobody writes the first any more.
"""

from __future__ import annotations

import contextlib
import datetime
import html
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import struct
import sys
import threading
import time
import types
import typing as t
import urllib.parse
from pathlib import Path

# How long a service may take for its answer, and all of them together.
ANSWER_SECONDS = 5.0
ROUND_SECONDS = 12.0
# A hypervisor tells each minute. What it told longer ago is not known any more.
TOLD_SECONDS = 300
# The share of a container's disk from which it fills up. Storage pools have an option for that.
FULL = 0.9
MOST_BYTES = 4 << 20
MIB, GIB = 2**20, 2**30
KINDS = {"vm": "virtual machine", "container": "container"}
WELL, ILL, OFF, UNKNOWN = "well", "ill", "off", "unknown"
Facts = t.Mapping[str, t.Any]


class Status(t.NamedTuple):
    """How something is, in a *word* for a person, and in one that the style knows: *kind*."""

    kind: str
    word: str
    why: str = ""


NOT_KNOWN = Status(UNKNOWN, "not known")
# It serves nobody over the network, such as Docker.
NOT_ASKED = Status(UNKNOWN, "not asked")
OFF_WITH_GUEST = Status(OFF, "off")


# ---- asking ------------------------------------------------------------------------------------------------------------


def ask(url: str, host: str) -> str:
    """Why what is at *url* is not well; empty where it is. *host* is the name by which a proxy asks for it."""
    parts = urllib.parse.urlsplit(url)
    address = parts.hostname or ""
    try:
        if parts.scheme == "dns":
            return ask_names(address, parts.port or 53, parts.path.strip("/"))
        if parts.scheme == "tcp":
            with socket.create_connection((address, parts.port or 0), ANSWER_SECONDS):
                return ""
        return ask_page(parts, host)
    except TimeoutError:
        return f"no answer in {ANSWER_SECONDS:g} s"
    except ConnectionRefusedError:
        return "refuses connections"
    except OSError as exc:
        return exc.strerror or str(exc)
    except (http.client.HTTPException, ValueError) as exc:
        return f"answers what is no HTTP ({type(exc).__name__})"


def ask_page(parts: urllib.parse.SplitResult, host: str) -> str:
    """A site that asks for a login is well; so is one that has nothing at its root, but has not failed there."""
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    if parts.scheme == "https":
        # Nothing is told to it, and nothing that it says is shown: it may be certified by whom this guest does not know.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=ANSWER_SECONDS, context=context
        )
    with contextlib.closing(connection):
        path = parts.path or "/"
        headers = {"Host": host or parts.netloc, "User-Agent": "homelab-overview", "Connection": "close"}
        connection.request("GET", f"{path}?{parts.query}" if parts.query else path, headers=headers)
        status = connection.getresponse().status
    is_well = status < 400 or status in (401, 403) or (path == "/" and status < 500)
    return "" if is_well else f"answers {status} at {path}"


def ask_names(address: str, port: int, name: str) -> str:
    """Whether a resolver answers the address of *name*, or that there is none."""
    number = secrets.token_bytes(2)
    labels = b"".join(bytes([len(part)]) + part for part in name.encode("idna").split(b".") if part)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as questions:
        questions.settimeout(ANSWER_SECONDS)
        questions.connect((address, port))
        questions.send(number + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1))
        answer = questions.recv(4096)
    if len(answer) < 12 or answer[:2] != number:
        return "answers what is no name"
    code = answer[3] & 0x0F
    return "" if code in (0, 3) else f"answers names with the error {code}"


class Question(threading.Thread):
    """One service that is asked. Who asks goes on without it when it takes too long."""

    def __init__(self, urls: t.Sequence[str], host: str) -> None:
        super().__init__(daemon=True)
        self.urls = urls
        self.host = host
        self.status: Status | None = None

    def run(self) -> None:
        whys = (ask(url, self.host) for url in self.urls)
        why = next((why for why in whys if why), "")
        self.status = Status(ILL, "does not answer", why) if why else Status(WELL, "answers")


Key = tuple[str, int]


class Asker:
    """Asks all services at once. One that is still being asked from the last time is not asked again beside that."""

    def __init__(self) -> None:
        self.open: dict[Key, Question] = {}

    def ask(self, guests: t.Iterable[Facts]) -> dict[Key, Status]:
        """How each service is that can be asked, by the name of its guest and its place in that."""
        for guest in guests:
            for place, service in enumerate(guest["services"]):
                key = (guest["name"], place)
                if service["asks"] and key not in self.open:
                    host = urllib.parse.urlsplit(service.get("url") or "").netloc
                    self.open[key] = Question(service["asks"], host)
                    self.open[key].start()
        until = time.monotonic() + ROUND_SECONDS
        found = {}
        for key, question in list(self.open.items()):
            question.join(max(0.0, until - time.monotonic()))
            found[key] = question.status or Status(ILL, "does not answer", f"no answer in {ROUND_SECONDS:g} s")
            if not question.is_alive():
                del self.open[key]
        return found


def complete(lab: Facts) -> dict[str, t.Any]:
    """*lab* with what is asked of each service that does not say it: its address for a browser, or its port."""
    guests = [{**guest, "services": [completed(its, guest) for its in guest["services"]]} for guest in lab["guests"]]
    return {**lab, "guests": guests}


def completed(service: Facts, guest: Facts) -> Facts:
    if "asks" in service:
        return service
    address = next((f"[{its}]" if ":" in its else its for its in guest["addresses"]), "")
    at_port = [f"tcp://{address}:{service['port']}"] if service.get("port") and address else []
    return {**service, "asks": [service["url"]] if service.get("url") else at_port}


# ---- what the hypervisors tell -----------------------------------------------------------------------------------------


def read(path: Path) -> t.Any:
    """What a file of JSON says; ``None`` where there is none that can be read."""
    try:
        with path.open("rb") as stream:
            return json.loads(stream.read(MOST_BYTES))
    except (OSError, ValueError):
        return None


def read_hosts(folder: Path) -> dict[str, Facts]:
    """What each hypervisor told last, by its name."""
    found = {}
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob("*.json")):
            told = read(path)
            if isinstance(told, dict) and told.get("schema") == 1:
                found[str(told["host"])] = told
    return found


class Seen(t.NamedTuple):
    """All that is known at *now*: the *lab* as Ansible knows it, how its services answered, and what hypervisors told."""

    lab: Facts
    answers: t.Mapping[Key, Status]
    hosts: t.Mapping[str, Facts]
    now: float
    is_old: bool = False

    @property
    def guests(self) -> list[Facts]:
        return sorted(self.lab["guests"], key=lambda guest: str(guest["name"]))

    @property
    def names(self) -> list[str]:
        """Those of the hypervisors."""
        return sorted({str(guest["hypervisor"]) for guest in self.guests if guest["hypervisor"]})

    def host(self, name: str) -> Facts | None:
        """What the hypervisor *name* tells; ``None`` where it never did, or no longer does."""
        told = self.hosts.get(name)
        is_new = told is not None and not self.is_old and abs(self.now - told["told"]) <= TOLD_SECONDS
        return told if is_new else None

    def told(self, guest: Facts) -> Facts | None:
        """What its hypervisor tells of the *guest*; ``None`` where nothing is known."""
        host = self.host(str(guest["hypervisor"]))
        return host and next(
            (its for its in host["guests"] if its["name"] == guest["name"]), {"state": "absent", "is_absent": True}
        )

    def service(self, guest: Facts, place: int) -> Status:
        """How the service is that the *guest* has at that *place* of its list."""
        if self.is_old:
            return NOT_KNOWN
        if not guest["services"][place]["asks"]:
            return NOT_ASKED
        status = self.answers.get((guest["name"], place), NOT_KNOWN)
        return OFF_WITH_GUEST if status.kind == ILL and is_off(self.told(guest) or {}) else status


def state_of(told: Facts | None) -> Status:
    """How a guest is, in the words of its modules."""
    if told is None or told["state"] == "unknown":
        return NOT_KNOWN
    word = {"started": "running"}.get(told["state"], told["state"])
    return Status(WELL if told["state"] == "started" else OFF, word)


def is_off(told: Facts) -> bool:
    """Whether a guest of which its hypervisor *told* is stopped because somebody wants it so."""
    return told.get("state") == "stopped" and not told.get("autostart")


def troubles(seen: Seen) -> list[tuple[str, str]]:
    """What somebody should look at, each with what it is about."""
    found = []
    for name in seen.names:
        host = seen.host(name)
        if host is None and name in seen.hosts:
            found.append((name, f"has not told anything for {ago(seen.now - seen.hosts[name]['told'])}"))
        elif host is not None:
            found += [(name, text) for text in troubles_of_host(host)]
    for guest in seen.guests:
        told = seen.told(guest)
        for place, service in enumerate(guest["services"]):
            status = seen.service(guest, place)
            if status.kind == ILL:
                found.append((service["name"], f"on {guest['name']} does not answer ({status.why})"))
        found += [(guest["name"], text) for text in troubles_of(told or {})]
    return found


def troubles_of_host(host: Facts) -> t.Iterator[str]:
    if host["restart"] is not None:
        yield "waits for a restart" + (f" ({', '.join(host['restart'])})" if host["restart"] else "")
    for pool in host["pools"]:
        free = pool["capacity"] - pool["used"]
        if free < pool.get("least", 0):
            yield f"has a storage pool that fills up ({pool['name']}: {size(free)} of {size(pool['capacity'])} are free)"


def troubles_of(told: Facts) -> t.Iterator[str]:
    """What is wrong of a guest of which its hypervisor *told*."""
    if told.get("is_absent"):
        yield "is not on its hypervisor"
    elif told.get("state") == "stopped" and not is_off(told):
        yield "is stopped, and starts with its host"
    elif told.get("state") in ("paused", "suspended"):
        yield f"is {told['state']}"
    if told.get("problem"):
        yield str(told["problem"])
    if told.get("restart_required"):
        yield f"waits for a restart ({', '.join(told['restart_required'])})"
    if fills_up(told):
        yield f"has a disk that fills up ({size(told['disk_used'])} of {size(told['disk'])} are used)"
    backup, drill = told.get("backup") or {}, told.get("drill") or {}
    if backup.get("status") in ("failed", "overdue"):
        yield f"has a backup that {'is overdue' if backup['status'] == 'overdue' else 'failed'}"
    if drill.get("result") == "failed":
        yield "has a drill that failed"


def fills_up(told: Facts) -> bool:
    """Whether a container has used almost all of its disk. What a machine has free in its own no host sees."""
    used, most = told.get("disk_used"), told.get("disk")
    return told.get("kind") == "container" and bool(used and most and used >= FULL * most)


# ---- writing the page --------------------------------------------------------------------------------------------------


def safe(text: t.Any) -> str:
    """*text* as it stands in the page, in which neither HTML nor Caddy finds anything of its own."""
    return html.escape(str(text)).replace("{", "&#123;").replace("}", "&#125;")


def ago(seconds: float) -> str:
    """``3 h``: how long ago something was, in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "less than a minute"


def size(count: float | None) -> str:
    if count is None:
        return ""
    return f"{count / GIB:.1f} GiB".replace(".0 ", " ") if count >= GIB else f"{round(count / MIB)} MiB"


def exactly(seconds: float) -> str:
    then = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f'<time datetime="{then:%Y-%m-%dT%H:%M:%SZ}">{then:%Y-%m-%d %H:%M} UTC</time>'


def moment(seconds: float | None, now: float) -> str:
    """How long ago something was, for a person, and when, for a program and for who points at it."""
    if seconds is None:
        return ""
    then = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    shown = f"{ago(max(0.0, now - seconds))} ago"
    return f'<time datetime="{then:%Y-%m-%dT%H:%M:%SZ}" title="{then:%Y-%m-%d %H:%M} UTC">{shown}</time>'


def pill(status: Status) -> str:
    return f'<span class="state {status.kind}">{safe(status.word)}</span>'


def rows(pairs: t.Iterable[tuple[str, str]]) -> str:
    """A list of what there is to say: names, and HTML."""
    said = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>\n" for name, value in pairs if value)
    return f"<dl>\n{said}</dl>\n" if said else ""


def page(seen: Seen) -> str:
    """The whole page for Caddy: as all is now, and for whoever asks when nobody writes it any more."""
    limit = seen.lab["interval"] * 2 + int(ROUND_SECONDS) + 30
    age = f"{{{{ $age := sub (now | unixEpoch) {int(seen.now)} }}}}"
    new, old = document(seen), document(seen._replace(is_old=True))
    return f"{age}{{{{ if and (lt $age {limit}) (gt $age -{limit}) }}}}{new}{{{{ else }}}}{old}{{{{ end }}}}"


def document(seen: Seen) -> str:
    guests = seen.guests
    states = [state_of(seen.told(guest)).kind for guest in guests]
    running, unknown = states.count(WELL), states.count(UNKNOWN)
    summary = f"{running} of {len(guests)} guests running" + (f", {unknown} not known" if unknown else "")
    title = f"{safe(seen.lab['title'])}: {summary}"
    refresh = max(15, int(seen.lab["interval"]))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{refresh}">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{safe(seen.lab["title"])}</h1>
<p class="soft">{summary}. {checked(seen)}</p>
</header>
{attention(seen)}{services(seen)}{cards_of_guests(seen)}{cards_of_hosts(seen)}<footer class="soft">
<p>Services are asked over the network, from where this page is served. What is said of guests their hypervisors tell.</p>
{authority(seen)}</footer>
</main>
</body>
</html>
"""


def checked(seen: Seen) -> str:
    if seen.is_old:
        return f"Nothing is known since {exactly(seen.now)}."
    return "Checked {{ $age }} s ago."


def attention(seen: Seen) -> str:
    if seen.is_old:
        return '<section class="banner unknown" id="attention">\n<h2>Nobody looks after this page any more</h2>\n</section>\n'
    found = troubles(seen)
    if not found:
        kind, words = calm(seen)
        return f'<section class="banner {kind}" id="attention">\n<h2>{words}</h2>\n</section>\n'
    items = "".join(f"<li><strong>{safe(what)}</strong> {safe(text)}</li>\n" for what, text in found)
    count = f"{len(found)} thing{'' if len(found) == 1 else 's'} to look at"
    return f'<section class="banner {ILL}" id="attention">\n<h2>{count}</h2>\n<ul>\n{items}</ul>\n</section>\n'


def calm(seen: Seen) -> tuple[str, str]:
    """What there is to say where nothing is wrong."""
    told = [seen.host(name) is not None for name in seen.names]
    if not any(told) and not any(its.kind == WELL for its in seen.answers.values()):
        return UNKNOWN, "Nothing is known yet"
    return WELL, "Nothing needs a look" if all(told) else "Nothing needs a look, of what is known"


def services(seen: Seen) -> str:
    items = [
        (service, guest, seen.service(guest, place))
        for guest in seen.guests
        for place, service in enumerate(guest["services"])
    ]
    cards = "".join(card_of_service(*each) for each in sorted(items, key=lambda each: str(each[0]["name"]).casefold()))
    return f'<section>\n<h2>Services</h2>\n<ul class="cards">\n{cards}</ul>\n</section>\n' if cards else ""


def card_of_service(service: Facts, guest: Facts, status: Status) -> str:
    name, url = safe(service["name"]), service.get("url")
    where = (
        safe(urllib.parse.urlsplit(url).netloc)
        if url
        else f"port {safe(service['port'])}"
        if service.get("port")
        else ""
    )
    head = f'<a href="{safe(url)}">{name}</a>' if url else name
    place = f'{where} on <a class="quiet" href="#guest-{safe(guest["name"])}">{safe(guest["name"])}</a>'.strip()
    why = f'<p class="why">{safe(status.why)}</p>\n' if status.why else ""
    return f"""<li class="card service">
<h3>{head}</h3>
{pill(status)}
<p class="soft">{place}</p>
{why}</li>
"""


def cards_of_guests(seen: Seen) -> str:
    cards = "".join(card_of_guest(seen, guest) for guest in seen.guests)
    return f'<section>\n<h2>Guests</h2>\n<ul class="cards">\n{cards}</ul>\n</section>\n' if cards else ""


def card_of_guest(seen: Seen, guest: Facts) -> str:
    told = seen.told(guest)
    its: Facts = told or {}
    restart = ", ".join(its.get("restart_required") or ())
    kind = KINDS.get(guest["kind"], guest["kind"])
    where = f"{kind} on {guest['hypervisor']}" if guest["hypervisor"] else kind
    about = f"<p>{safe(guest['description'])}</p>\n" if guest["description"] else ""
    said = rows(
        (
            ("Memory", used(its.get("memory_used"), its.get("memory") or None, guest["memory"])),
            ("Disk", disk(its, guest)),
            ("CPUs", safe(guest["cpus"])),
            ("Address", " ".join(f"<code>{safe(address)}</code>" for address in guest["addresses"])),
            ("Started", since(its.get("uptime"), seen.now)),
            ("Last update", moment(its.get("updated"), seen.now) if told else ""),
            ("Last backup", backup(its.get("backup"), seen.now)),
            ("Last drill", drill(its.get("drill"), seen.now)),
            ("Waits for a restart", f'<span class="warn">{safe(restart)}</span>' if restart else ""),
        )
    )
    silent = "" if told or seen.is_old else '<p class="soft">Its hypervisor does not tell this page how it is.</p>\n'
    return f"""<li class="card" id="guest-{safe(guest["name"])}">
<h3>{safe(guest["name"])}</h3>
{pill(state_of(told))}
<p class="soft">{safe(where)}</p>
{about}{said}{silent}</li>
"""


def used(count: float | None, most: float | None, declared: str, where: str = "", is_full: bool = False) -> str:
    """How much of it is used, with a bar where it has a limit."""
    whole = size(most) if most else spaced(declared)
    if count is None or not most:
        return safe(f"{whole}{where}" if count is None else f"{size(count)} used{where}")
    share = min(100, round(100 * count / most))
    kind = "bar full" if is_full else "bar"
    gauge = f'<span class="{kind}" aria-hidden="true"><span style="width:{share}%"></span></span>'
    return f"{safe(f'{size(count)} of {whole}{where}')}{gauge}"


def disk(told: Facts, guest: Facts) -> str:
    """How large the disks of a guest are together, what of them is used, and where they lie.

    What is written to the disks of a machine may be in use no more; so that is no share of them. The root of a container may have no limit but its
    pool.
    """
    whole, most, count = size(told.get("disk")) or spaced(guest["disk"]), told.get("disk"), told.get("disk_used")
    where = f" in {guest['pool']}" if guest["pool"] else ""
    if told.get("kind") == "vm" and count:
        return safe(f"{whole}{where}, {size(count)} written")
    if not whole and count is None:
        return safe(f"as large as {guest['pool']}") if where else ""
    return used(count, most, guest["disk"], where, fills_up(told))


def spaced(text: str) -> str:
    """``512MiB`` as it stands beside the others."""
    digits = "".join(letter for letter in text if letter in "0123456789.")
    return f"{digits} {text[len(digits) :]}" if digits and text.startswith(digits) else text


def since(uptime: float | None, now: float) -> str:
    return moment(now - uptime, now) if uptime is not None else ""


def backup(its: Facts | None, now: float) -> str:
    if its is None:
        return ""
    made = moment(its["made"], now)
    words = {
        "failed": '<span class="warn">the last one failed</span>',
        "overdue": '<span class="warn">overdue</span>',
        "waits": "waits for the first",
        "none": "none",
        "no longer": "in no job any more",
    }
    return ", ".join(part for part in (made, words.get(its["status"], "")) if part)


def drill(its: Facts | None, now: float) -> str:
    if its is None:
        return ""
    word = "came to life" if its["result"] == "ok" else '<span class="warn">failed</span>'
    return f"{moment(its['ended'], now)}, {word}"


def cards_of_hosts(seen: Seen) -> str:
    cards = "".join(card_of_host(seen, name) for name in seen.names)
    return f'<section>\n<h2>Hypervisors</h2>\n<ul class="cards">\n{cards}</ul>\n</section>\n' if cards else ""


def card_of_host(seen: Seen, name: str) -> str:
    host = seen.host(name)
    if host is None:
        last = seen.hosts.get(name)
        # A page that nobody writes any more does not know how long ago that is.
        why = (
            f"It told something last {exactly(last['told']) if seen.is_old else moment(last['told'], seen.now)}."
            if last
            else "It does not tell this page anything."
        )
        return f'<li class="card">\n<h3>{safe(name)}</h3>\n{pill(NOT_KNOWN)}\n<p class="soft">{why}</p>\n</li>\n'
    restart = ", ".join(host["restart"] or ()) or "an update asks for it"
    said = rows(
        (
            ("Memory", used(host["memory_used"], host["memory"], "")),
            *((f"Pool {safe(its['name'])}", room(its)) for its in host["pools"]),
            ("Told", moment(host["told"], seen.now)),
            ("Waits for a restart", "" if host["restart"] is None else f'<span class="warn">{safe(restart)}</span>'),
        )
    )
    return f'<li class="card">\n<h3>{safe(name)}</h3>\n{pill(Status(WELL, "running"))}\n{said}</li>\n'


def room(pool: Facts) -> str:
    is_full = pool["capacity"] - pool["used"] < pool.get("least", 0)
    return used(pool["used"], pool["capacity"], "", is_full=is_full)


def authority(seen: Seen) -> str:
    if not seen.lab["authority"]:
        return ""
    return '<p>The lab certifies its sites itself: <a href="/authority.crt">its authority</a> is for browsers to trust.</p>\n'


STYLE = """
  :root {
    --page: #f5f6f8; --card: #ffffff; --line: #dfe3ea; --text: #1b2130; --soft: #566074; --accent: #2455c3; --track: #e4e8ef;
    --well: #17703a; --well-back: #e0f3e6; --ill: #a3261c; --ill-back: #fde6e3; --off: #744d00; --off-back: #fbeed0;
    --unknown: #4b5568; --unknown-back: #e6e9ef;
  }
  @media (prefers-color-scheme: dark) {
    :root {
      --page: #10131a; --card: #181d27; --line: #2a3140; --text: #e6e9f0; --soft: #a0aabd; --accent: #93b3ff; --track: #2a3140;
      --well: #82dda2; --well-back: #15311e; --ill: #ffa69c; --ill-back: #3d1a17; --off: #f0c674; --off-back: #382a0f;
      --unknown: #b5bdcc; --unknown-back: #2a3140;
    }
  }
  * { box-sizing: border-box; }
  body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
  main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
  h1 { margin: 0 0 .25rem; font-size: 1.9rem; line-height: 1.2; }
  h2 { margin: 2.25rem 0 .9rem; font-size: 1.15rem; }
  h3 { margin: 0; font-size: 1.05rem; line-height: 1.35; overflow-wrap: anywhere; }
  p { margin: 0; }
  a { color: var(--accent); text-underline-offset: .15em; }
  a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: .2rem; }
  a.quiet { color: inherit; }
  .soft { color: var(--soft); }
  .card .soft { font-size: .9rem; overflow-wrap: anywhere; }
  .banner { margin-top: 1.25rem; border-radius: .75rem; padding: .8rem 1.1rem; }
  .banner h2 { margin: 0; font-size: 1rem; }
  .banner ul { margin: .4rem 0 0; padding-left: 1.2rem; color: var(--text); overflow-wrap: anywhere; }
  .banner.well { background: var(--well-back); } .banner.well h2 { color: var(--well); }
  .banner.ill { background: var(--ill-back); } .banner.ill h2 { color: var(--ill); }
  .banner.unknown { background: var(--unknown-back); } .banner.unknown h2 { color: var(--unknown); }
  .cards { list-style: none; margin: 0; padding: 0; display: grid; gap: .9rem;
    grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); }
  .card { position: relative; display: grid; grid-template-columns: 1fr auto; gap: .15rem .75rem; align-content: start; align-items: start;
    background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem 1.1rem; }
  .card > p, .card > dl { grid-column: 1 / -1; }
  .card:target { border-color: var(--accent); }
  .service h3 a::after { content: ""; position: absolute; inset: 0; border-radius: .75rem; }
  .service h3 a { text-decoration: none; }
  .service:hover h3 a { text-decoration: underline; }
  .service a.quiet { position: relative; z-index: 1; }
  .service:has(h3 a):hover { border-color: var(--accent); }
  .why { color: var(--ill); font-size: .9rem; overflow-wrap: anywhere; }
  .state { display: inline-flex; align-items: center; gap: .4rem; font-size: .8rem; font-weight: 600; line-height: 1.3; padding: .15rem .6rem;
    border-radius: 1rem; white-space: nowrap; }
  .state::before { content: ""; width: .55rem; height: .55rem; border-radius: 50%; background: currentColor; }
  .state.unknown::before { background: none; border: 2px solid currentColor; }
  .state.off::before { border-radius: .1rem; }
  .state.ill::before { border-radius: 0; width: 0; height: 0; background: none; border: .32rem solid transparent; border-top-width: 0;
    border-bottom: .58rem solid currentColor; }
  .state.well { color: var(--well); background: var(--well-back); } .state.ill { color: var(--ill); background: var(--ill-back); }
  .state.off { color: var(--off); background: var(--off-back); } .state.unknown { color: var(--unknown); background: var(--unknown-back); }
  dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem .9rem; margin: .6rem 0 0; padding-top: .6rem;
    border-top: 1px solid var(--line); font-size: .9rem; }
  dl div { display: contents; }
  dl + p { margin-top: .5rem; }
  dt { color: var(--soft); }
  dd { margin: 0; overflow-wrap: anywhere; }
  .bar { display: block; height: .3rem; margin: .2rem 0 .15rem; border-radius: .15rem; background: var(--track); }
  .bar span { display: block; height: 100%; border-radius: .15rem; background: var(--accent); }
  .bar.full span { background: var(--ill); }
  .warn { color: var(--off); font-weight: 600; }
  code { font: .92em ui-monospace, monospace; }
  dd code { display: block; line-height: inherit; }
  footer { margin-top: 2.5rem; font-size: .85rem; }
"""


# ---- going on ----------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    """All of it at once: whoever reads has the old page or the new one."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(path)


def tell(word: str) -> None:
    """Tell systemd, where it listens (sd_notify)."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, contextlib.suppress(OSError):
            notices.sendto(word.encode(), place.replace("@", "\0", 1) if place.startswith("@") else place)


def main() -> None:
    lab_file, folder, target = (Path(word) for word in sys.argv[1:4])
    again = threading.Event()

    def on_reload(dummy: int, frame: types.FrameType | None) -> None:
        again.set()

    signal.signal(signal.SIGHUP, on_reload)
    asker = Asker()
    while True:
        lab = complete(json.loads(lab_file.read_text(encoding="utf-8")))
        if not target.exists():
            # The page is among what is asked: it answers before anything else is known.
            write(target, page(Seen(lab, {}, read_hosts(folder), time.time())))
        answers = asker.ask(lab["guests"])
        write(target, page(Seen(lab, answers, read_hosts(folder), time.time())))
        tell("READY=1\nWATCHDOG=1")
        if again.wait(lab["interval"]):
            # By itself, since an update brings another program, too.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
