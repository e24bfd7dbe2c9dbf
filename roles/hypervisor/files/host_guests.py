# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the guests that start with this host, or stop those that run when it is shut down, virtual machines and containers in one row.

``start``: which guests start is what ``virsh autostart`` and ``lxc.start.auto`` say; when they do is in their records. Last come the virtual
machines without an order. The containers without one are left to lxc.service, which comes after this.

``stop SECONDS``: every guest that runs, whoever made it, those without an order first. Each has as long as libvirt-guests would give it
(``SHUTDOWN_TIMEOUT``) and is then ended; all together have SECONDS. Nothing is stopped on a host that is not shut down.

What a guest of this host serves and the host mounts (``hypervisor_mounts`` with ``wait_for_guest``): guests that stand on it start after that
guest and once the mount answers, whatever their orders say; they stop before it, and then it is unmounted.

One that does not start or stop holds up none, and fails the whole in the end.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import guest_order

RECORDS = Path("/var/lib/homelab_hybrid/guests")
MOUNTS = Path("/var/lib/homelab_hybrid/mounts")
# What the kernel has mounted.
MOUNTED = Path("/proc/self/mounts")
MOUNT_TYPES = ("nfs", "nfs4", "cifs", "smb3")
UNMOUNT_SECONDS = 20
MOUNT_SECONDS = 10
# libvirt keeps a file here for each machine that runs.
MACHINES_RUNNING = Path("/run/libvirt/qemu")
STARTS_SIDE_BY_SIDE = 8
# Who stops mostly waits.
STOPS_SIDE_BY_SIDE = 64
CONTAINER_SECONDS = 300
ANSWER_SECONDS = 30
ASK_AGAIN_SECONDS = 5.0
LOOK_SECONDS = 0.5
WORDS = {"vm": "virtual machine", "container": "container"}
VIRSH = ["virsh", "-q", "-c", "qemu:///system"]
# liblxc loads an empty configuration in the place of one that it cannot load, and with it finds the container that runs.
WITHOUT_CONFIG = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && : > "$0/config" && exec "$@"']

Say = t.Callable[[str], None]
Startups = t.Mapping[tuple[str, str], guest_order.Startup]


class GuestError(Exception):
    """Why a guest did not start, or did not stop as it should."""


@dataclasses.dataclass(frozen=True)
class Guest:
    """A guest that is to start or to stop. *act* does it, and answers what became of the guest: nothing where there was nothing to do.
    *stands_on* are the guests, by name, that serve what it finds on this host.

    :raises GuestError: from *act*.
    """

    kind: str
    name: str
    startup: guest_order.Startup
    act: t.Callable[[], str | None] = dataclasses.field(compare=False)
    stands_on: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Mount:
    """What *guest* serves and the host mounts at *path*; who stands on it waits *seconds* for an answer."""

    path: str
    source: str
    guest: str
    seconds: float


def steps(guests: t.Iterable[Guest], *, stops: bool) -> list[list[Guest]]:
    """Those that start, or stop, side by side, the first to do first."""
    known = sorted(guests, key=lambda guest: guest.name)
    places = guest_order.places(
        {guest.name: guest.startup for guest in known}, {guest.name: guest.stands_on for guest in known}, stops=stops
    )
    found: dict[tuple[int, int], list[Guest]] = {}
    for guest in known:
        found.setdefault(places[guest.name], []).append(guest)
    return [found[place] for place in sorted(found)]


def names_path(text: str, path: str) -> bool:
    """Whether the definition of a guest, an XML document or a configuration of LXC, names *path* or what lies in it."""
    # A blank is &#32; or as it is in the one, and \\040, or %20 for our program, in the other.
    plain = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
    plain = html.unescape(re.sub(r"%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), plain))
    return re.search(rf"(?:^|[\s\"'=:,]){re.escape(path)}(?:$|[/\s\"',:])", plain, re.MULTILINE) is not None


def stood_on(name: str, text: str, mounts: t.Iterable[Mount]) -> list[Mount]:
    """Those of *mounts* that the guest *name* with the definition *text* stands on; nobody stands on what it serves itself."""
    return [mount for mount in mounts if mount.guest != name and names_path(text, mount.path)]


def never() -> bool:
    return False


def take(
    step: t.Sequence[Guest], workers: int, say: Say, is_over: t.Callable[[], bool] = never
) -> tuple[list[Guest], bool]:
    """Act on all of a step, and on none more once *is_over*. Returns those of which something became, and whether all went well."""
    is_whole = True
    acted = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [
            (guest, pool.submit(lambda act=guest.act: None if is_over() else act()))  # type: ignore[misc]
            for guest in step
        ]
    for guest, future in futures:
        what = f"{WORDS[guest.kind]} {guest.name}"
        try:
            became = future.result()
        except GuestError as exc:
            is_whole = False
            say(f"<3>{what}: {exc}")
            continue
        if became is not None:
            acted.append(guest)
            say(f"{what}: {became}" + (f", order {guest.startup['order']}" if "order" in guest.startup else ""))
    return acted, is_whole


def start_all(
    guests: t.Iterable[Guest], say: Say, sleep: t.Callable[[float], object], is_over: t.Callable[[], bool]
) -> bool:
    """Start all of them, each step when the one before was started and the longest of its delays is over. Answers whether all did.

    Once *is_over* nothing more is started; *sleep* ends then.
    """
    is_complete = True
    for step in steps(guests, stops=False):
        if is_over():
            say("told to end: the others are not started")
            return False
        started, is_whole = take(step, STARTS_SIDE_BY_SIDE, say, is_over)
        is_complete = is_complete and is_whole
        delay = guest_order.delay((guest.startup for guest in started), stops=False)
        # After the last order lxc.service goes on.
        if delay and any("order" in guest.startup for guest in step):
            sleep(delay)
    return is_complete


def stop_all(
    guests: t.Iterable[Guest],
    say: Say,
    sleep: t.Callable[[float], None],
    now: t.Callable[[], float],
    each_seconds: float,
    all_seconds: float,
) -> bool:
    """Stop all of them, each step when the one before has stopped and the longest of its delays is over. Answers whether all did.

    Where the time of all together would end before two more steps had theirs, those that are left stop at once: so each is asked
    and has *each_seconds*.
    """
    end = now() + all_seconds
    left = steps(guests, stops=True)
    is_complete = True
    while left:
        if now() + 2 * each_seconds > end:
            left = [[guest for step in left for guest in step]]
        stopped, is_whole = take(left.pop(0), STOPS_SIDE_BY_SIDE, say)
        is_complete = is_complete and is_whole
        delay = min(guest_order.delay((guest.startup for guest in stopped), stops=True), end - now() - each_seconds)
        if left and delay > 0:
            sleep(delay)
    return is_complete


def read_startups(records: Path, say: Say) -> dict[tuple[str, str], guest_order.Startup]:
    """What the records say, by kind and name."""
    found = {}
    for path in sorted(records.glob("*.json")):
        try:
            if not path.is_file():
                raise ValueError("it is no file")
            data = json.loads(path.read_text(encoding="utf-8"))
            startup = dict(data.get("startup") or {})
            if not all(isinstance(value, int) for value in startup.values()):
                raise ValueError(f"its startup is {startup!r}")
            found[str(data.get("kind")), path.stem] = startup
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as exc:
            say(f"<4>{path} cannot be read, so its guest has no order: {exc}")
    return found


def read_mounts(records: Path, say: Say) -> list[Mount]:
    """What guests of this host serve and it mounts, by the records."""
    found = []
    for path in sorted(records.glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("wait_for_guest"):
                seconds = float(data.get("wait_timeout") or 0)
                found.append(Mount(str(data["path"]), str(data.get("source")), str(data["wait_for_guest"]), seconds))
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
            say(f"<4>{path} cannot be read, so nobody waits for its mount: {exc}")
    return found


def waiting_for(
    guest: Guest,
    mounts: t.Sequence[Mount],
    runs: t.Callable[[str], bool],
    sleep: t.Callable[[float], object],
    is_over: t.Callable[[], bool],
) -> Guest:
    """*guest*, which starts once all of *mounts* answer. Whose guest does not run is not waited for."""

    def act() -> str | None:
        for mount in mounts:
            end = time.monotonic() + mount.seconds
            while not answers(mount.path):
                if is_over():
                    raise GuestError(f"is not started, as the host is shut down before {mount.path} answered")
                if not runs(mount.guest):
                    raise GuestError(
                        f"is not started: {mount.source} at {mount.path} does not answer, as {mount.guest} does not run"
                    )
                if time.monotonic() > end:
                    raise GuestError(
                        f"is not started: {mount.source} at {mount.path} did not answer within {mount.seconds:.0f} s"
                    )
                sleep(ASK_AGAIN_SECONDS)
        return guest.act()

    return dataclasses.replace(guest, act=act, stands_on=tuple(mount.guest for mount in mounts)) if mounts else guest


def answers(path: str) -> bool:
    """Whether something is mounted at *path*, by itself as soon as it is asked for, and its server answers."""
    try:
        return ask(["stat", "--file-system", "--format=%T", path], MOUNT_SECONDS).strip() in ("nfs", "cifs", "smb2")
    except GuestError:
        return False


def unmounting(guest: Guest, mounts: t.Sequence[Mount], say: Say) -> Guest:
    """*guest*, before whose stop *mounts*, which it serves, are unmounted."""

    def act() -> str | None:
        for mount in mounts:
            unmount(mount, say)
        return guest.act()

    return dataclasses.replace(guest, act=act) if mounts else guest


def unmount(mount: Mount, say: Say) -> None:
    """Unmount it, in a bounded time: what is written reaches its server as long as that runs. What still holds it keeps it from nobody."""
    # systemd would wait for this program to end. No path is looked up, and no server is told, which may be gone.
    command = ["umount", "--no-canonicalize", "--internal-only"]
    if not is_mounted(mount.path, MOUNTED.read_text(encoding="utf-8", errors="surrogateescape")):
        return
    try:
        ask([*command, mount.path], UNMOUNT_SECONDS)
    except GuestError as exc:
        say(f"<4>{mount.path} is let go of, as it could not be unmounted: {exc}")
        try:
            ask([*command, "--force", "--lazy", mount.path], UNMOUNT_SECONDS)
        except GuestError as worse:
            say(f"<3>{mount.path} could not be let go of: {worse}")
            return
    say(f"{mount.path}: unmounted")


def is_mounted(path: str, table: str) -> bool:
    """Whether *table*, as the kernel writes it, has a file system of another machine at *path*."""
    fields = (line.split(" ") for line in table.split("\n"))
    points = [each[1] for each in fields if len(each) > 2 and each[2] in MOUNT_TYPES]
    return path in (re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point) for point in points)


def ask(argv: t.Sequence[str], seconds: float = ANSWER_SECONDS) -> str:
    """What a program prints. Programs, where a library would do: one that hangs or crashes takes nobody along.

    :raises GuestError: when it fails, or does not end in time.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, check=True, timeout=seconds, capture_output=True, text=True, env=environment)
    except subprocess.CalledProcessError as exc:
        raise GuestError(exc.stderr.strip() or str(exc)) from exc
    except (OSError, subprocess.SubprocessError) as exc:
        raise GuestError(str(exc)) from exc
    return done.stdout


# The two libraries are there on a hypervisor alone; what is pure above is tested without one.


def runs(name: str) -> bool:
    """Whether the guest does, of whichever kind."""
    for argv, word in (([*VIRSH, "domstate", name], "running"), (["lxc-info", "--name", name, "-s", "-H"], "RUNNING")):
        try:
            if ask(argv).strip() == word:
                return True
        except GuestError:
            continue
    return False


def config_of(name: str) -> str:
    """The configuration of a container; nothing of one that cannot be read."""
    import lxc

    try:
        path = Path(lxc.get_global_config_item("lxc.lxcpath"), name, "config")
        return path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    except OSError:
        return ""


def definition_of(kind: str, name: str) -> str:
    if kind == "container":
        return config_of(name)
    try:
        return ask([*VIRSH, "dumpxml", name])
    except GuestError:
        return ""


def machines_to_start(startups: Startups) -> list[Guest]:
    """Those that libvirt would start with the host.

    :raises GuestError: when libvirt does not answer.
    """
    import libvirt

    libvirt.registerErrorHandler(lambda *_told: None, None)
    try:
        domains = libvirt.open("qemu:///system").listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        marked = [domain for domain in domains if domain.autostart() or is_marked_once(domain)]
    except libvirt.libvirtError as exc:
        raise GuestError(f"libvirt does not answer: {exc}") from exc
    return [
        Guest("vm", domain.name(), startups.get(("vm", domain.name()), {}), functools.partial(start_domain, domain))
        for domain in marked
    ]


def is_marked_once(domain: t.Any) -> bool:
    """``virsh autostart --once``, since libvirt 11.2."""
    return hasattr(domain, "autostartOnce") and bool(domain.autostartOnce())


def start_domain(domain: t.Any) -> str | None:
    import libvirt

    try:
        if is_marked_once(domain):
            domain.setAutostartOnce(0)
        if domain.isActive():
            return None
        domain.create()
    except libvirt.libvirtError as exc:
        raise GuestError(f"did not start: {exc}") from exc
    return "started"


def containers_to_start(startups: Startups, mounts: t.Sequence[Mount] = ()) -> list[Guest]:
    """Those that LXC would start with the host and that have an order, serve one of *mounts* or stand on one."""
    import lxc

    servers = {mount.guest for mount in mounts}
    return [
        Guest("container", name, startup, functools.partial(start_container, name))
        for name in lxc.list_containers(active=False)
        for startup in [startups.get(("container", name), {})]
        if ("order" in startup or name in servers or (mounts and stood_on(name, config_of(name), mounts)))
        and is_to_start(name)
    ]


def is_to_start(name: str) -> bool:
    """Whether LXC would start it with the host. One that it cannot load is among them: its start tells why it fails."""
    try:
        return ask(["lxc-info", "--name", name, "-c", "lxc.start.auto"]).partition("=")[2].strip() == "1"
    except GuestError:
        return True


def state_of_container(name: str) -> str:
    """:raises GuestError: for one that LXC cannot load, also for ever: liblxc waits for a pipe in the place of a file."""
    return ask(["lxc-info", "--name", name, "-s", "-H"]).strip()


def start_container(name: str) -> str | None:
    try:
        if state_of_container(name) != "STOPPED":
            return None
        # What liblxc says of an error goes to the journal by itself.
        subprocess.run(["lxc-start", "--name", name], check=True, timeout=CONTAINER_SECONDS)
    except (GuestError, OSError, subprocess.SubprocessError) as exc:
        raise GuestError(f"did not start: {exc}") from exc
    return "started"


def machines_to_stop(startups: Startups, seconds: float, *, saves: bool) -> list[Guest]:
    """Those that run.

    :raises GuestError: when libvirt does not answer.
    """
    # A libvirtd without machines has ended, and systemd starts nothing any more on a host that is shut down.
    if not any(MACHINES_RUNNING.glob("*.xml")):
        return []
    try:
        listed = ask([*VIRSH, "list", "--uuid", "--name"])
    except GuestError as exc:
        raise GuestError(f"libvirt does not answer: {exc}") from exc
    pairs = [line.split(None, 1) for line in listed.splitlines() if line.strip()]
    return [
        Guest("vm", name, startups.get(("vm", name), {}), functools.partial(stop_domain, uuid, seconds, saves=saves))
        for uuid, name in ((uuid, name.strip()) for uuid, name in pairs)
    ]


def stop_domain(uuid: str, seconds: float, *, saves: bool) -> str | None:
    """Let the machine shut down, or with *saves* save it to disk where that can be; switch it off when its time is over."""
    if saves:
        try:
            ask([*VIRSH, "managedsave", uuid], seconds)
            return "saved"
        except GuestError:
            # It is transient, or has a device of the host.
            pass
    if ask([*VIRSH, "domstate", uuid]).strip() == "paused":
        ask([*VIRSH, "resume", uuid])
    begin, asked = time.monotonic(), float("-inf")
    while time.monotonic() - begin < seconds:
        # A guest that has only begun to boot loses the first request.
        if time.monotonic() - asked >= ASK_AGAIN_SECONDS:
            asked = time.monotonic()
            try:
                # A deaf agent holds libvirt up for a minute.
                ask([*VIRSH, "shutdown", uuid], ASK_AGAIN_SECONDS)
            except GuestError:
                pass
        if uuid not in ask([*VIRSH, "list", "--uuid"]).split():
            return "stopped"
        time.sleep(LOOK_SECONDS)
    ask([*VIRSH, "destroy", uuid])
    raise GuestError(f"did not shut down within {seconds:.0f} s, and was switched off")


def containers_to_stop(startups: Startups, seconds: float) -> list[Guest]:
    """Those that run, also one that LXC cannot load any more."""
    import lxc

    return [
        Guest(
            "container", name, startups.get(("container", name), {}), functools.partial(stop_container, name, seconds)
        )
        for name in lxc.list_containers(active=True, defined=False)
    ]


def stop_container(name: str, seconds: float) -> str | None:
    """Let the container shut down by its signal; end it when its time is over."""
    before: list[str] = []
    try:
        state = state_of_container(name)
    except GuestError:
        before, state = [*WITHOUT_CONFIG, f"/var/lib/lxc/{name}"], "unknown"
    if state == "STOPPED":
        return None
    if state == "FROZEN":
        ask(["lxc-unfreeze", "--name", name])
    stop = [*before, "lxc-stop", "--name", name]
    try:
        ask([*stop, "--nokill", "--timeout", f"{seconds:.0f}"], seconds + ANSWER_SECONDS)
    except GuestError:
        ask([*stop, "--kill"])
        raise GuestError(f"did not shut down within {seconds:.0f} s, and was ended") from None
    return "stopped"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def start() -> bool:
    startups, mounts = read_startups(RECORDS, say), read_mounts(MOUNTS, say)
    found = containers_to_start(startups, mounts)
    is_complete = True
    try:
        found += machines_to_start(startups)
    except GuestError as exc:
        say(f"<3>no virtual machine is started: {exc}")
        is_complete = False
    # systemd ends a start that goes on while the host is shut down, and then stops what runs: what begins to start must run by then.
    is_over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_told: is_over.set())
    if mounts:
        found = [
            waiting_for(
                guest,
                stood_on(guest.name, definition_of(guest.kind, guest.name), mounts),
                runs,
                is_over.wait,
                is_over.is_set,
            )
            for guest in found
        ]
    return start_all(found, say, is_over.wait, is_over.is_set) and is_complete


def stop(all_seconds: float, environment: t.Mapping[str, str]) -> bool:
    # What libvirt-guests is told holds here too. There 0 stands for no limit.
    each_seconds = min(float(environment.get("SHUTDOWN_TIMEOUT") or 300) or all_seconds, all_seconds)
    startups, mounts = read_startups(RECORDS, say), read_mounts(MOUNTS, say)
    found = containers_to_stop(startups, each_seconds)
    is_complete = True
    try:
        found += machines_to_stop(startups, each_seconds, saves=environment.get("ON_SHUTDOWN") == "suspend")
    except GuestError as exc:
        say(f"<3>no virtual machine is shut down: {exc}")
        is_complete = False
    if mounts:
        found = [
            dataclasses.replace(
                unmounting(guest, [mount for mount in mounts if mount.guest == guest.name], say),
                stands_on=tuple(
                    mount.guest for mount in stood_on(guest.name, definition_of(guest.kind, guest.name), mounts)
                ),
            )
            for guest in found
        ]
    return stop_all(found, say, time.sleep, time.monotonic, each_seconds, all_seconds) and is_complete


def is_shut_down() -> bool:
    """Whether the host is on its way down. A unit may be stopped or restarted on one that stays."""
    # It exits with 1 for everything but "running".
    done = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "stopping"


def main(arguments: t.Sequence[str]) -> int:
    if arguments[0] == "start":
        return 0 if start() else 1
    if not is_shut_down():
        say("the host stays up, and so do its guests")
        return 0
    return 0 if stop(float(arguments[1]), os.environ) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
