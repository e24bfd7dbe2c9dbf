# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the guests that start with this host, the lowest order first, virtual machines and containers alike.

Which guests start is what ``virsh autostart`` and ``lxc.start.auto`` say; when they do is in their records. Last come the virtual machines
without an order. The containers without one are left to lxc.service, which comes after this. One that does not start holds up none, and fails
the whole in the end.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import subprocess
import sys
import time
import typing as t
from pathlib import Path

RECORDS = Path("/var/lib/homelab_hybrid/guests")
SIDE_BY_SIDE = 8
CONTAINER_SECONDS = 300
LOAD_SECONDS = 30
WORDS = {"vm": "virtual machine", "container": "container"}

Startup = t.Mapping[str, t.Any]


class NotStartedError(Exception):
    """Why a guest did not start."""


@dataclasses.dataclass(frozen=True)
class Guest:
    """A guest that starts with the host. *up_delay* in seconds; *start* answers whether it was to start and did.

    :raises NotStartedError: from *start*.
    """

    kind: str
    name: str
    order: int | None
    up_delay: int
    start: t.Callable[[], bool] = dataclasses.field(compare=False)


def steps(guests: t.Iterable[Guest]) -> list[list[Guest]]:
    """Those that start side by side, in the order of the starts; the last are those without an order."""
    found: dict[float, list[Guest]] = {}
    for guest in sorted(guests, key=lambda guest: guest.name):
        found.setdefault(float("inf") if guest.order is None else guest.order, []).append(guest)
    return [found[order] for order in sorted(found)]


def run(guests: t.Iterable[Guest], say: t.Callable[[str], None], sleep: t.Callable[[float], None]) -> bool:
    """Start all of them, each step when the one before was started and the longest of its delays is over. Answers whether all did."""
    has_failed = False
    for step in steps(guests):
        delay = 0
        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            starts = [(guest, pool.submit(guest.start)) for guest in step]
        for guest, start in starts:
            what = f"{WORDS[guest.kind]} {guest.name}"
            try:
                if start.result():
                    say(f"{what}: started" + ("" if guest.order is None else f", order {guest.order}"))
                    delay = max(delay, guest.up_delay)
            except NotStartedError as exc:
                has_failed = True
                say(f"<3>{what}: did not start: {exc}")
        if delay and step[0].order is not None:
            sleep(delay)
    return not has_failed


def read_startups(records: Path, say: t.Callable[[str], None]) -> dict[tuple[str, str], Startup]:
    """What the records say, by kind and name."""
    found = {}
    for path in sorted(records.glob("*.json")):
        try:
            if not path.is_file():
                raise ValueError("it is no file")
            data = json.loads(path.read_text(encoding="utf-8"))
            found[str(data.get("kind")), path.stem] = dict(data.get("startup") or {})
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as exc:
            say(f"<4>{path} cannot be read, so its guest has no order: {exc}")
    return found


def guest(kind: str, name: str, startup: Startup, start: t.Callable[[], bool]) -> Guest:
    return Guest(kind, name, startup.get("order"), startup.get("up_delay", 0), start)


# The two libraries are there on a hypervisor alone; what is pure above is tested without one.


def virtual_machines(startups: t.Mapping[tuple[str, str], Startup]) -> list[Guest]:
    """Those that libvirt would start with the host.

    :raises NotStartedError: when libvirt does not answer.
    """
    import libvirt

    libvirt.registerErrorHandler(lambda *_told: None, None)
    try:
        domains = libvirt.open("qemu:///system").listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        marked = [domain for domain in domains if domain.autostart() or is_marked_once(domain)]
    except libvirt.libvirtError as exc:
        raise NotStartedError(f"libvirt does not answer: {exc}") from exc
    return [
        guest("vm", domain.name(), startups.get(("vm", domain.name()), {}), functools.partial(start_domain, domain))
        for domain in marked
    ]


def is_marked_once(domain: t.Any) -> bool:
    """``virsh autostart --once``, since libvirt 11.2."""
    return hasattr(domain, "autostartOnce") and bool(domain.autostartOnce())


def start_domain(domain: t.Any) -> bool:
    import libvirt

    try:
        if is_marked_once(domain):
            domain.setAutostartOnce(0)
        if domain.isActive():
            return False
        domain.create()
    except libvirt.libvirtError as exc:
        raise NotStartedError(str(exc)) from exc
    return True


def containers(startups: t.Mapping[tuple[str, str], Startup]) -> list[Guest]:
    """Those with an order that LXC would start with the host."""
    import lxc

    ordered = {
        name: startup for (kind, name), startup in startups.items() if kind == "container" and "order" in startup
    }
    return [
        guest("container", name, ordered[name], functools.partial(start_container, name))
        for name in lxc.list_containers(active=False)
        if name in ordered and is_to_start(name)
    ]


def is_to_start(name: str) -> bool:
    """Whether LXC would start it with the host. One that it cannot load is among them: its start tells why it fails."""
    try:
        return ask_lxc(name, "-c", "lxc.start.auto").partition("=")[2].strip() == "1"
    except NotStartedError:
        return True


def ask_lxc(name: str, *question: str) -> str:
    """What lxc-info says. A program of its own: liblxc waits for ever for a pipe in the place of a file, and can end who calls it.

    :raises NotStartedError:
    """
    argv = ["lxc-info", "--name", name, *question]
    try:
        done = subprocess.run(argv, check=True, timeout=LOAD_SECONDS, capture_output=True, text=True)
    except subprocess.CalledProcessError as exc:
        raise NotStartedError(exc.stderr.strip() or str(exc)) from exc
    except (OSError, subprocess.SubprocessError) as exc:
        raise NotStartedError(str(exc)) from exc
    return done.stdout


def start_container(name: str) -> bool:
    if ask_lxc(name, "-s", "-H").strip() != "STOPPED":
        return False
    try:
        # What liblxc says of an error goes to the journal by itself.
        subprocess.run(["lxc-start", "--name", name], check=True, timeout=CONTAINER_SECONDS)
    except (OSError, subprocess.SubprocessError) as exc:
        raise NotStartedError(str(exc)) from exc
    return True


def main() -> int:
    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    startups = read_startups(RECORDS, say)
    found = containers(startups)
    is_complete = True
    try:
        found += virtual_machines(startups)
    except NotStartedError as exc:
        say(f"<3>no virtual machine is started: {exc}")
        is_complete = False
    return 0 if run(found, say, time.sleep) and is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
