# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""homelab-hybrid-switch: confirms a change of this host's network, or takes it back. It lies on the host by itself, and needs nothing of
the collection that laid it there: ``confirm ID [PROOF]``, ``rollback ID`` or ``boot``."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import typing as t

# What a restart must find is on the disk, and everything of a switch is in one folder.
FOLDER = "/var/lib/homelab_hybrid/switch"
NAME = "homelab-hybrid-switch"
PROGRAM = f"{FOLDER}/{NAME}"
STATE, SAVED, ORDER, CODE, LOCK = (
    f"{FOLDER}/{name}" for name in ("state.json", "saved.json", "order.json", "code.zip", "lock")
)
APPLY, ROLLBACK, BOOT = (f"{NAME}-{what}" for what in ("apply", "rollback", "boot"))
UNITS = "/etc/systemd/system"
# Before anybody configures a link, and after the disk is there.
WANTS = f"{UNITS}/sysinit.target.wants/{BOOT}.service"
OPEN = ("armed", "applied", "rolling_back")
FOREVER = 2**32 - 1
# networkd works on its own time: what is repaired must still stand after so many looks.
LOOKS, LOOK_SECONDS, REPAIR_SECONDS = 5, 0.3, 20.0
IFSTATE = "/run/network/ifstate"
ACCEPT_RA = "/proc/sys/net/ipv6/conf/{}/accept_ra"
# What ifup starts lives on in a scope of its own.
IFUP = "homelab-hybrid-ifup"
# How dhcpcd ends the name of its file, which says for which families it is there.
DHCPCD = ("", "-4", "-6")
CLIENT_SECONDS, IFUP_SECONDS = 5.0, 20.0

Data = t.Dict[str, t.Any]  # noqa: UP006  # the Python of the host is at least 3.9
Argv = t.List[str]  # noqa: UP006  # as above


def main(argv: Argv) -> int:
    """Do what *argv* says. Who confirms is told the state as JSON."""
    word, switch, proof = [*argv, "", ""][:3]
    with locked():
        state = read(STATE)
        if word == "confirm" and state.get("id") == switch:
            state = confirm(state, proof)
        elif word == "rollback" and state.get("id") == switch:
            state = roll_back(state)
        elif word == "boot":
            state = boot(state)
    if word == "confirm":
        sys.stdout.write(json.dumps(state) + "\n")
    return 0


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """Nobody else confirms, takes back or arms meanwhile."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: str) -> Data:
    """The JSON object of a file, an empty one where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: str, data: Data) -> None:
    """Replace a file so that a power cut leaves the old or the new one."""
    place(path, json.dumps(data).encode(), 0o600)


def place(path: str, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    # Who writes has the lock: what one that was killed left of it is written over.
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        if owner is not None:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync(os.path.dirname(path))


def sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def move_on(state: Data, word: str, **more: t.Any) -> Data:
    """The state from now on is *word*."""
    state = {**state, "state": word, "time": now(), **more}
    write(STATE, state)
    return state


def confirm(state: Data, proof: str) -> Data:
    """What stands is to stay, where all of it stands and it was not taken back.

    The *proof* is told since all of it stands: who brings it has asked before, and came in again. A connection of before the change may
    begin this program when the address that it came to is gone, and says nothing of the way in.
    """
    if state.get("state") != "applied" or not proof or proof != state.get("proof"):
        return state
    state = move_on(state, "confirmed")
    tidy()
    return state


def boot(state: Data) -> Data:
    """The host was restarted before anybody confirmed: nobody has configured a link yet, and the files are all there is to take back."""
    if state.get("state") in OPEN:
        restore_files(read(SAVED))
        reason = state.get("reason") or "the host was restarted before the change was confirmed"
        state = move_on(state, "rolled_back", reason=reason)
        note(state)
    tidy()
    return state


def roll_back(state: Data) -> Data:
    """The host becomes what it was. Begun again, it goes on."""
    if state.get("state") not in OPEN:
        return state
    late = {
        "armed": "the change had not ended after {} s",
        "applied": "nobody confirmed the change within {} s over a new connection",
    }.get(str(state["state"]), "")
    state = move_on(state, "rolling_back", reason=state.get("reason") or late.format(state.get("confirm_timeout")))
    run("systemctl", "kill", "--signal=KILL", f"{APPLY}.service")
    saved = read(SAVED)
    take_down(saved)
    restore_files(saved)
    for argv in saved.get("reload", ()):
        run(*argv)
    bring_up(saved)
    left = repair(saved)
    if start_clients(saved):
        left = repair(saved)
    state = move_on(state, "rolled_back", left=left)
    note(state)
    tidy()
    return state


def note(state: Data) -> None:
    """Tell the journal of the host, which has said already that the bridge was changed."""
    entry: Data = {
        "time": now(),
        "user": "root",
        "uid": 0,
        "module": "bridge",
        "name": state.get("bridge"),
        "plan": [],
        "restart_required": [],
        "result": "failed",
        "msg": f"taken back: {state.get('reason')}",
    }
    with contextlib.suppress(OSError):
        folder = f"{os.path.dirname(FOLDER)}/journal"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(f"{folder}/journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as stream:
            stream.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")


def tidy() -> None:
    """Leave nothing that would start by itself, and nothing but the state to read."""
    begun = [f"{path}.new" for path in (STATE, SAVED, ORDER, CODE)]
    for path in (WANTS, f"{UNITS}/{BOOT}.service", SAVED, ORDER, CODE, *begun):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    # Stopping the timer does not stop the service that it has started, which may be this one.
    run("systemctl", "stop", f"{ROLLBACK}.timer")


def run(*argv: str) -> str:
    """What a program prints; one that fails, is missing or hangs says nothing, and what it should have done is looked at again."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            list(argv), capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
        return done.stdout if done.returncode == 0 else ""
    return ""


def tell(*argv: str) -> t.Any:
    return json.loads(run(*argv) or "[]")


# ---- what is saved --------------------------------------------------------------------------------------------------


def save(files: t.Iterable[str], folders: t.Iterable[str], links: t.Iterable[str]) -> Data:
    """What brings back the *files* and all files in *folders*, and of *links* what the kernel has."""
    found = list(files)
    for folder in folders:
        found += [entry.path for entry in os.scandir(folder) if not entry.is_dir(follow_symlinks=False)]
    return {"files": {path: save_file(path) for path in found}, "folders": list(folders), "live": live(list(links))}


def save_file(path: str) -> Data | None:
    """A file, a symbolic link, or ``None`` for what is not there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if os.path.islink(path):
        return {"target": os.readlink(path)}
    with open(path, "rb") as stream:
        text = base64.b64encode(stream.read()).decode()
    return {"text": text, "mode": status.st_mode & 0o7777, "owner": [status.st_uid, status.st_gid]}


def live(names: Argv) -> Data:
    """What the kernel has of the links *names* that are there: the links, their routes as words, and their VLANs."""
    links = {
        link["ifname"]: {**link, "accept_ra": accepts(link["ifname"])}
        for link in tell("ip", "-j", "-d", "address", "show")
        if link.get("ifname") in names
    }
    routes = [[family, *words] for name in links for family in ("-4", "-6") for words in routes_of(name, family)]
    vlans = {
        it["ifname"]: it.get("vlans", []) for it in tell("bridge", "-j", "vlan", "show") if it.get("ifname") in links
    }
    return {"names": names, "links": links, "routes": routes, "vlans": vlans}


def accepts(name: str) -> str:
    """Whether the kernel itself takes what routers announce at a link: 0, 1, or 2 also where it forwards; "" without IPv6."""
    try:
        with open(ACCEPT_RA.format(name), encoding="ascii") as setting:
            return setting.read().strip()
    except OSError:
        return ""


def routes_of(name: str, family: str) -> t.Iterator[Argv]:
    """The routes of a link as words that ``ip route`` takes again, without those that the kernel makes with an address."""
    for line in run("ip", family, "route", "show", "table", "all", "dev", name).splitlines():
        words = line.split()
        # ifupdown2 (3.3) says that the way out is the kernel's, which makes none through a gateway.
        is_kernels = "kernel" in words and words[words.index("kernel") - 1] == "proto" and "via" not in words
        if not words or line[0].isspace() or is_kernels or words[0] in ("local", "broadcast", "multicast", "anycast"):
            continue
        yield [*(word.removesuffix("sec") for word in words if word not in ("linkdown", "dead")), "dev", name]


# ---- what is taken back ---------------------------------------------------------------------------------------------


def restore_files(saved: Data) -> None:
    """Each file that was saved as it was, and none beside them in the folders that were saved."""
    files: Data = saved.get("files", {})
    for folder in saved.get("folders", ()):
        for entry in os.scandir(folder):
            if entry.path not in files and not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
        sync(folder)
    for path, kept in files.items():
        if save_file(path) == kept:
            continue
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path) if kept is None or "target" in kept else None
        if kept is not None and "target" in kept:
            os.symlink(kept["target"], path)
        elif kept is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            place(path, base64.b64decode(kept["text"]), kept["mode"], (kept["owner"][0], kept["owner"][1]))


def repair(saved: Data) -> Argv:
    """Bring the kernel to what was saved. Returns the lines of iproute2 that did not come to stand."""
    before: Data = saved.get("live", {})
    made: Argv = saved.get("made", [])
    ends, looks = time.monotonic() + REPAIR_SECONDS, 0
    left: list[Argv] = []
    while looks < LOOKS and time.monotonic() < ends:
        left = list(differences(before, live(before.get("names", [])), made))
        looks = 0 if left else looks + 1
        for argv in left:
            run(*argv)
        time.sleep(LOOK_SECONDS)
    return [" ".join(argv) for argv in left] if looks < LOOKS else []


def differences(before: Data, after: Data, made: t.Collection[str] = ()) -> t.Iterator[Argv]:
    """The commands that bring what the kernel has *after* to what it had *before*; links that were *made* go."""
    old, new = before.get("links", {}), after.get("links", {})
    for name in made:
        if name in new and name not in old:
            yield ["ip", "link", "delete", "dev", name]
    for name, link in old.items():
        if name not in new:
            if link.get("linkinfo", {}).get("info_kind") == "bridge":
                yield ["ip", "link", "add", "name", name, "type", "bridge"]
            continue
        yield from link_differences(name, link, new[name])
    for name, link in old.items():
        if name in new:
            yield from address_differences(name, link.get("addr_info", []), new[name].get("addr_info", []))
    known = [drop_time(words) for words in after.get("routes", ())]
    for words in before.get("routes", ()):
        if drop_time(words) not in known and words[-1] in new:
            yield ["ip", words[0], "route", "replace", *words[1:]]
    for words in after.get("routes", ()):
        if (
            drop_time(words) not in [drop_time(it) for it in before.get("routes", ())]
            and words[-1] in old
            and not is_leased(words)
        ):
            yield ["ip", words[0], "route", "delete", *words[1:]]
    for name, vlans in before.get("vlans", {}).items():
        if name in new:
            yield from vlan_differences(name, vlans, after.get("vlans", {}).get(name, []))


def drop_time(words: Argv) -> Argv:
    """A route without how long it is still good."""
    return [word for at, word in enumerate(words) if word != "expires" and (at == 0 or words[at - 1] != "expires")]


def is_leased(words: Argv) -> bool:
    """A way that a client or a router announced anew may have another metric or source than before."""
    return any(words[at : at + 2] in (["proto", "dhcp"], ["proto", "ra"]) for at in range(len(words)))


def link_differences(name: str, old: Data, new: Data) -> t.Iterator[Argv]:
    if new.get("master") != old.get("master"):
        yield ["ip", "link", "set", "dev", name, *(["master", old["master"]] if old.get("master") else ["nomaster"])]
    for key, word in (("mtu", "mtu"), ("address", "address")):
        if key in old and new.get(key) != old[key]:
            yield ["ip", "link", "set", "dev", name, word, str(old[key])]
    bridge, other = (link.get("linkinfo", {}).get("info_data", {}) for link in (old, new))
    for key in ("stp_state", "vlan_filtering", "forward_delay"):
        if old.get("linkinfo", {}).get("info_kind") == "bridge" and key in bridge and other.get(key) != bridge[key]:
            yield ["ip", "link", "set", "dev", name, "type", "bridge", key, str(int(bridge[key]))]
    if old.get("accept_ra") and new.get("accept_ra") != old["accept_ra"]:
        yield ["sh", "-c", 'echo "$0" > "$1"', old["accept_ra"], ACCEPT_RA.format(name)]
    if ("UP" in old.get("flags", ())) != ("UP" in new.get("flags", ())):
        yield ["ip", "link", "set", "dev", name, "up" if "UP" in old.get("flags", ()) else "down"]


def address_differences(name: str, old: list[Data], new: list[Data]) -> t.Iterator[Argv]:
    """A lease of now stands for one of before: the client may have been given another."""
    for family in ("inet", "inet6"):
        wanted = [it for it in old if it.get("family") == family and not it.get("temporary")]
        there = [it for it in new if it.get("family") == family and not it.get("temporary")]
        fixed, now_fixed = ([address_of(it) for it in side if not it.get("dynamic")] for side in (wanted, there))
        surplus = [it for it in now_fixed if it not in fixed]
        if family == "inet" and not surplus and now_fixed != fixed and sorted(now_fixed) == sorted(fixed):
            surplus = now_fixed  # the first one is the source of what the host sends: their order counts
        for address in surplus:
            yield ["ip", "address", "delete", address, "dev", name]
        has_lease = any(it.get("dynamic") for it in there)
        for it in wanted:
            address = address_of(it)
            is_there = address in [address_of(other) for other in there] and address not in surplus
            if not is_there and not (it.get("dynamic") and has_lease):
                yield ["ip", "address", "replace", address, *address_words(it), "dev", name]


def address_of(entry: Data) -> str:
    return f"{entry.get('local')}/{entry.get('prefixlen')}"


def address_words(entry: Data) -> Argv:
    words = ["broadcast", str(entry["broadcast"])] if entry.get("broadcast") else []
    words += ["scope", str(entry["scope"])] if entry.get("scope") else []
    for key, word in (("valid_life_time", "valid_lft"), ("preferred_life_time", "preferred_lft")):
        if entry.get(key, FOREVER) != FOREVER:
            words += [word, str(entry[key])]
    return [
        *words,
        *(["noprefixroute"] if entry.get("noprefixroute") else []),
        *(["nodad"] if entry.get("family") == "inet6" else []),
    ]


def vlan_differences(name: str, old: list[Data], new: list[Data]) -> t.Iterator[Argv]:
    for entry in new:
        if entry not in old:
            yield ["bridge", "vlan", "delete", "dev", name, "vid", vid_of(entry)]
    for entry in old:
        if entry not in new:
            flags = [{"PVID": "pvid", "Egress Untagged": "untagged"}.get(flag, "") for flag in entry.get("flags", ())]
            yield ["bridge", "vlan", "add", "dev", name, "vid", vid_of(entry), *filter(None, flags)]


def vid_of(entry: Data) -> str:
    return f"{entry['vlan']}-{entry['vlanEnd']}" if entry.get("vlanEnd") else str(entry["vlan"])


# ---- what ifupdown has beside its files ------------------------------------------------------------------------------


def save_ifupdown(told: t.Mapping[str, t.Any]) -> Data:
    """What ifupdown notes of the ``links`` of *told* now, and which of them have a DHCP client."""
    links: Argv = list(told["links"])
    return {
        **told,
        "up": [name for name in links if is_noted(name)],
        "leased": [name for name in links if clients(name)],
    }


def take_down(saved: Data) -> None:
    """The clients of links that had none end, and what was not up before goes down as ifupdown takes it down."""
    told: Data = saved.get("ifupdown", {})
    run("systemctl", "kill", "--signal=KILL", f"{IFUP}-{told.get('id')}-*.scope")
    for name in told.get("links", ()):
        if name not in told["leased"]:
            stop_client(name)
    for name, text in told.get("texts", {}).items():
        if name not in told["up"] and is_noted(name):
            with_text(text, "ifdown", "--force", "--ignore-errors", name)


def bring_up(saved: Data) -> None:
    """What was up before and was taken down comes up, where that needs no answer of a DHCP server; ifupdown notes what it noted."""
    told: Data = saved.get("ifupdown", {})
    for name, text in told.get("texts", {}).items():
        if name in told["up"] and not is_noted(name):
            # A script of bridge-utils leaves a port without a way to make addresses of its own.
            mode = saved["live"]["links"].get(name, {}).get("inet6_addr_gen_mode", "eui64")
            run("ip", "link", "set", "dev", name, "addrgenmode", mode)
            with_text(text, "ifup", "--force", "--ignore-errors", name)
    for name in told.get("links", ()):
        note_up(name, is_up=name in told["up"])


def start_clients(saved: Data) -> bool:
    """Whether a link had a DHCP client and has none now: then it has one again, which may wait for its server as long as it likes."""
    told: Data = saved.get("ifupdown", {})
    missing = [name for name in told.get("leased", ()) if not clients(name)]
    for name in missing:
        with_text(told["clients"].get(name, ""), "ifup", "--force", "--no-scripts", name)
    return bool(missing)


def clients(name: str) -> list[int]:
    """The processes that lease an address for the link *name*, as the programs that ifupdown knows note them."""
    found = []
    for path in (
        f"/run/dhclient.{name}.pid",
        f"/run/udhcpc.{name}.pid",
        *(f"/run/dhcpcd/{name}{it}.pid" for it in DHCPCD),
    ):
        with contextlib.suppress(OSError, ValueError):
            with open(path, encoding="ascii") as stream:
                process = int(stream.read())
            with open(f"/proc/{process}/comm", encoding="utf-8") as stream:
                # The number may be another program's by now.
                found += [process] if stream.read().strip() in ("dhclient", "udhcpc", "busybox", "dhcpcd") else []
    return found


def stop_client(name: str) -> None:
    """Without giving the lease back: it is another link's from now on."""
    if not clients(name):
        return
    if os.path.exists(f"/run/dhclient.{name}.pid"):
        run("dhclient", "-x", "-pf", f"/run/dhclient.{name}.pid", name)
    elif any(os.path.exists(f"/run/dhcpcd/{name}{it}.pid") for it in DHCPCD):
        run("dhcpcd", "-x", name)
    ends = time.monotonic() + CLIENT_SECONDS
    while (left := clients(name)) and time.monotonic() < ends:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        time.sleep(LOOK_SECONDS)
    for process in clients(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def with_text(text: str, word: str, *argv: str) -> None:
    """ifup or ifdown with the definition *text* alone. A client that it starts goes on beyond this unit, and is waited for a little."""
    path = f"{FOLDER}/interfaces.{word}"
    place(path, text.encode(), 0o600)
    scope = ["systemd-run", "--quiet", "--collect", "--scope", f"--unit={IFUP}-{time.monotonic_ns()}"]
    with contextlib.suppress(OSError):
        # What it starts may keep its descriptors.
        begun = subprocess.Popen(  # pylint: disable=consider-using-with
            [*scope, word, "--interfaces", path, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            begun.wait(IFUP_SECONDS)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def is_noted(name: str) -> bool:
    """Whether ifupdown notes that the link is up."""
    with contextlib.suppress(OSError), open(IFSTATE, encoding="utf-8") as stream:
        return any(line.partition("=")[0] == name for line in stream.read().splitlines())
    return False


def note_up(name: str, *, is_up: bool) -> None:
    """ifupdown takes down only what it notes as up, and brings up the rest once more."""
    folder, own = os.path.dirname(IFSTATE), f"{IFSTATE}.{name}"
    if is_noted(name) == is_up or not os.path.isdir(folder):
        return
    descriptor = os.open(f"{folder}/.ifstate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        text = ""
        with contextlib.suppress(FileNotFoundError), open(IFSTATE, encoding="utf-8") as stream:
            text = stream.read()
        lines = [line for line in text.splitlines() if line.partition("=")[0] != name]
        lines += [f"{name}={name}"] if is_up else []
        place(IFSTATE, "".join(line + "\n" for line in lines).encode(), 0o644)
        if is_up:
            place(own, f"{name}\n".encode(), 0o644)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(own)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
