# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for TrueNAS inside its machine: its installer, and once that has been there, its middleware.

The word ``truenas=installer`` or ``truenas=system`` on the kernel's command line says which. Both know their disks by ``/sys/block``, and
write to them: the installer lays the system onto the one that it is told, the middleware keeps what it knows behind it, and a pool lies on its
disks. They are as strict as truenas-installer 26.0 and middleware 25.10 are in their sources: unknown fields are refused, a key that comes
without TLS is revoked, 20 logins in a minute are the most, disks need serials of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

import websockets

VERSION, NEXT = "25.10.7", "25.10.8"
LEAST_BYTES = 8_000_000_000
# Behind the system on the boot disk.
STATE_AT = 1 << 30
POOL_MARK = b"ZPOOL"
SYSTEM = "/run/medium/system.img"
MEDIUM_TYPE = "iso9660"
INVALID, UNKNOWN_METHOD, CALL_ERROR = -32602, -32601, -32001


class Failed(Exception):
    def __init__(self, code: int, message: str, data: t.Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


def disks() -> list[dict[str, t.Any]]:
    found = []
    for path in sorted(Path("/sys/block").iterdir()):
        if path.name.startswith(("loop", "ram", "sr", "zram", "fd")):
            continue
        serial = path / "serial"
        size = int((path / "size").read_text()) * 512
        found.append({"name": path.name, "size": size, "serial": serial.read_text().strip() if serial.exists() else ""})
    return found


def say(text: str) -> None:
    with open("/dev/ttyS0", "w", encoding="utf-8") as console:
        console.write(f"truenas: {text}\r\n")


async def serve(port: int, paths: t.Mapping[str, t.Any], context: ssl.SSLContext | None = None) -> None:
    async def handler(socket: t.Any) -> None:
        # Before and since websockets 13.
        where = getattr(socket, "path", None) or socket.request.path
        session: dict[str, t.Any] = {"socket": socket, "secure": context is not None}
        if where not in paths:
            await socket.close(1008, "no such path")
            return
        async for text in socket:
            asked = json.loads(text)
            answer: dict[str, t.Any] = {"jsonrpc": "2.0", "id": asked.get("id")}
            try:
                answer["result"] = await paths[where](session, asked["method"], asked.get("params") or [])
            except Failed as exc:
                answer["error"] = {"code": exc.code, "message": exc.message, "data": exc.data}
            await socket.send(json.dumps(answer))

    await websockets.serve(handler, "0.0.0.0", port, ssl=context)


# ---- the installer ----------------------------------------------------------------------------------------------------------------


class Installer:
    FIELDS = {"disks", "wipe_disks", "set_pmbr", "authentication", "post_install"}

    def __init__(self) -> None:
        self.key: str | None = None
        self.is_running = self.is_completed = False
        self.sockets: set[t.Any] = set()

    async def call(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
        self.sockets.add(session["socket"])
        if self.key and not session.get("known") and method not in ("is_adopted", "authenticate"):
            raise self.error("You must authenticate before making this call", "EACCES")
        action = getattr(self, f"do_{method}", None)
        if action is None:
            raise Failed(UNKNOWN_METHOD, "The method does not exist / is not available")
        takes = 1 if method in ("authenticate", "install") else 0
        if len(params) != takes:
            raise self.error(f"{takes} parameters required, found {len(params)}")
        say(f"asked {method}")
        return await action(session, *params)

    @staticmethod
    def error(text: str, number: str = "EINVAL") -> Failed:
        return Failed(INVALID, text, {"errno": number})

    async def do_is_adopted(self, session: t.Any) -> bool:
        return self.key is not None

    async def do_adopt(self, session: t.Any) -> str:
        if self.key is not None:
            raise self.error("System is already adopted", "EFAULT")
        self.key, session["known"] = secrets.token_urlsafe(32), True
        return self.key

    async def do_authenticate(self, session: t.Any, key: str) -> bool:
        if self.key is None:
            raise self.error("The system is not adopted", "EFAULT")
        if key != self.key:
            raise self.error("Invalid access key")
        session["known"] = True
        return True

    async def do_system_info(self, session: t.Any) -> t.Any:
        return {
            "installation_running": self.is_running,
            "installation_completed": self.is_completed,
            "installation_error": None,
            "version": VERSION,
            "efi": os.path.exists("/sys/firmware/efi"),
        }

    async def do_list_disks(self, session: t.Any) -> t.Any:
        return [
            {
                "name": disk["name"],
                "size": disk["size"],
                "model": "Unknown Model",
                "label": "",
                "zfs_members": [],
                "removable": False,
            }
            for disk in disks()
            if disk["size"] >= LEAST_BYTES
        ]

    async def do_install(self, session: t.Any, asked: dict[str, t.Any]) -> None:
        if unknown := set(asked) - self.FIELDS:
            raise self.error(f"Additional properties are not allowed ({sorted(unknown)[0]!r} was unexpected)")
        if missing := {"disks", "set_pmbr", "authentication"} - set(asked):
            raise self.error(f"{sorted(missing)[0]!r} is a required property")
        login = asked["authentication"]
        if set(login) != {"username", "password"} or login["username"] not in ("truenas_admin", "root"):
            raise self.error(f"{login['username']!r} is not one of ['truenas_admin', 'root']")
        if len(login["password"]) < 6:
            raise self.error(f"{login['password']!r} is too short")
        known = {disk["name"] for disk in await self.do_list_disks(session)}
        if unknown := set(asked["disks"]) - known:
            raise self.error(f"Disk {sorted(unknown)[0]!r} does not exist", "EFAULT")
        if self.is_running:
            raise self.error("Installation is already running", "EFAULT")
        self.is_running = True
        await self.write(f"/dev/{asked['disks'][0]}", login)
        self.is_running, self.is_completed = False, True

    async def write(self, disk: str, login: dict[str, str]) -> None:
        size = os.path.getsize(SYSTEM)
        done = 0
        with open(SYSTEM, "rb") as source, open(disk, "r+b") as target:
            while piece := source.read(8 << 20):
                target.write(piece)
                target.flush()
                done += len(piece)
                await self.tell(done / size * 0.9, "Extracting")
                await asyncio.sleep(0.3)
            state = {"users": {login["username"]: login["password"]}}
            save(target, state)
            os.fsync(target.fileno())
        say(f"installed on {disk}")
        await self.tell(1.0, "Installation finished")

    async def tell(self, progress: float, message: str) -> None:
        text = {
            "jsonrpc": "2.0",
            "method": "installation_progress",
            "params": [{"progress": progress, "message": message}],
        }
        for socket in list(self.sockets):
            try:
                await socket.send(json.dumps(text))
            except websockets.ConnectionClosed:
                self.sockets.discard(socket)

    async def do_shutdown(self, session: t.Any) -> None:
        asyncio.get_running_loop().call_later(0.2, lambda: subprocess.run(("/bin/poweroff", "-f"), check=False))

    async def do_reboot(self, session: t.Any) -> None:
        asyncio.get_running_loop().call_later(0.2, lambda: subprocess.run(("/bin/reboot", "-f"), check=False))


def save(disk: t.BinaryIO, state: t.Any) -> None:
    data = json.dumps(state).encode()
    disk.seek(STATE_AT)
    disk.write(len(data).to_bytes(8, "big") + data)
    disk.flush()


def load(path: str) -> t.Any:
    with open(path, "rb") as disk:
        disk.seek(STATE_AT)
        size = int.from_bytes(disk.read(8), "big")
        return json.loads(disk.read(size))


# ---- the middleware ---------------------------------------------------------------------------------------------------------------

OPEN = ("core.ping", "core.set_options", "core.subscribe", "auth.login", "auth.login_ex", "auth.login_with_api_key")
SMB_FIELDS = set(
    "purpose name path path_suffix enabled comment readonly browsable access_based_share_enumeration audit options".split()
)
NFS_FIELDS = set(
    "path aliases comment networks hosts ro maproot_user maproot_group mapall_user mapall_group security enabled expose_snapshots".split()
)
USER_FIELDS = set(
    "uid username home shell full_name smb userns_idmap group groups password_disabled ssh_password_enabled sshpubkey locked sudo_commands"
    " sudo_commands_nopasswd email group_create home_create home_mode password random_password".split()
)
POOL_FIELDS = set(
    "name encryption dedup_table_quota deduplication checksum encryption_options topology allow_duplicate_serials".split()
)
DATASET_FIELDS = set(
    "name type comments sync compression exec quota refquota reservation refreservation copies snapdir readonly atime recordsize acltype aclmode"
    " deduplication casesensitivity share_type create_ancestors".split()
)


class Middleware:
    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.state: dict[str, t.Any] = {
            "version": VERSION, "next": None, "keys": [], "datasets": {}, "smb": [], "nfs": [], "jobs": 0, "more_users": [],
            "groups": [{"id": 40, "name": "wheel"}, {"id": 90, "name": "builtin_users"}],
            "services": [{"id": number, "service": name, "enable": False, "state": "STOPPED"} for number, name in ((4, "cifs"), (9, "nfs"))],
            **load(boot),
        }  # fmt: skip
        self.state["version"] = self.state.pop("version_behind_restart", self.state["version"])
        self.jobs: dict[int, dict[str, t.Any]] = {}
        self.logins: list[float] = []
        self.asked_ready = 0

    def keep(self) -> None:
        with open(self.boot, "r+b") as disk:
            save(disk, self.state)
            os.fsync(disk.fileno())

    async def call(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
        action = getattr(self, "do_" + method.replace(".", "_"), None)
        if action is None:
            raise Failed(UNKNOWN_METHOD, "Method does not exist")
        if not session.get("user") and method not in OPEN:
            raise Failed(
                CALL_ERROR,
                "Method call error",
                {"error": 13, "errname": "ENOTAUTHENTICATED", "reason": "Not authenticated"},
            )
        if method.startswith("auth."):
            now = time.monotonic()
            self.logins = [moment for moment in self.logins if moment > now - 60]
            self.logins.append(now)
            if len(self.logins) > 20:
                raise Failed(CALL_ERROR, "Rate limit exceeded", {"error": 16, "reason": "Rate limit exceeded"})
        return action(session, *params)

    @staticmethod
    def wrong(field: str, text: str) -> Failed:
        return Failed(
            INVALID, "Invalid params",
            {"error": 22, "errname": "EINVAL", "reason": f"[EINVAL] {field}: {text}\n", "trace": None, "extra": [[field, text, 22]]},
        )  # fmt: skip

    def check(self, where: str, values: t.Mapping[str, t.Any], fields: set[str], needs: t.Sequence[str] = ()) -> None:
        for key in values:
            if key not in fields:
                raise self.wrong(f"{where}.{key}", "Extra inputs are not permitted")
        for key in needs:
            if key not in values:
                raise self.wrong(f"{where}.{key}", "Field required")

    def job(self, work: t.Callable[[], t.Any]) -> int:
        self.state["jobs"] += 1
        number = int(self.state["jobs"])
        job = {
            "id": number,
            "state": "RUNNING",
            "result": None,
            "error": None,
            "until": time.monotonic() + 1,
            "work": work,
        }
        self.jobs[number] = job
        return number

    def select(
        self, entries: t.Iterable[dict[str, t.Any]], filters: t.Sequence[t.Any] = (), options: t.Any = None
    ) -> t.Any:
        found = [entry for entry in entries if all(entry.get(key) == value for key, operator, value in filters)]
        if (options or {}).get("get"):
            if not found:
                raise Failed(
                    CALL_ERROR, "Method call error", {"error": 2, "errname": "ENOENT", "reason": "No such entry"}
                )
            return found[0]
        return found

    # -- core, auth, system

    def do_core_ping(self, session: t.Any) -> str:
        return "pong"

    def do_core_set_options(self, session: t.Any, options: t.Any) -> None:
        return None

    def do_core_subscribe(self, session: t.Any, name: str) -> str:
        return secrets.token_hex(4)

    def do_core_get_jobs(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        for job in self.jobs.values():
            if job["state"] == "RUNNING" and time.monotonic() > job["until"]:
                try:
                    job["result"], job["state"] = job["work"](), "SUCCESS"
                    self.keep()
                except Failed as exc:
                    job["error"], job["state"] = exc.message, "FAILED"
        told = [
            {key: value for key, value in job.items() if key not in ("work", "until")} for job in self.jobs.values()
        ]
        return self.select(told, filters, options)

    def do_auth_login_ex(self, session: t.Any, asked: dict[str, t.Any]) -> t.Any:
        name = asked.get("username")
        is_known = False
        if asked.get("mechanism") == "PASSWORD_PLAIN":
            is_known = self.state["users"].get(name) == asked.get("password")
        elif asked.get("mechanism") == "API_KEY_PLAIN":
            key = next(
                (key for key in self.state["keys"] if key["key"] == asked.get("api_key") and key["username"] == name),
                None,
            )
            if key is not None and not session["secure"]:
                key.update(revoked=True, revoked_reason="Attempt to use over an insecure transport")
                self.keep()
            is_known = key is not None and not key["revoked"]
        else:
            raise self.wrong("login_data.mechanism", "Input tag does not match any of the expected tags")
        if not is_known:
            return {"response_type": "AUTH_ERR"}
        session["user"] = name
        return {"response_type": "SUCCESS", "user_info": {"pw_name": name, "pw_uid": 950}, "authenticator": "LEVEL_1"}

    def do_auth_login(self, session: t.Any, name: str, password: str, otp: t.Any = None) -> bool:
        asked = {"mechanism": "PASSWORD_PLAIN", "username": name, "password": password}
        return bool(self.do_auth_login_ex(session, asked)["response_type"] == "SUCCESS")

    def do_auth_login_with_api_key(self, session: t.Any, key: str) -> bool:
        owner = next((known["username"] for known in self.state["keys"] if known["key"] == key), None)
        asked = {"mechanism": "API_KEY_PLAIN", "username": owner, "api_key": key}
        return bool(self.do_auth_login_ex(session, asked)["response_type"] == "SUCCESS")

    def do_auth_me(self, session: t.Any) -> t.Any:
        return {"pw_name": session["user"]}

    def do_system_ready(self, session: t.Any) -> bool:
        self.asked_ready += 1
        return self.asked_ready > 2 and "broken" not in self.state["version"]

    def do_system_info(self, session: t.Any) -> t.Any:
        return {"version": self.state["version"], "hostname": "truenas"}

    def do_api_key_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        return self.select(
            [{name: value for name, value in key.items() if name != "key"} for key in self.state["keys"]],
            filters,
            options,
        )

    def do_api_key_create(self, session: t.Any, asked: dict[str, t.Any]) -> t.Any:
        self.check("api_key_create", asked, {"name", "username", "expires_at"}, ["username"])
        number = len(self.state["keys"]) + 1
        key = {
            "id": number,
            **asked,
            "key": f"{number}-{secrets.token_hex(32)}",
            "revoked": False,
            "revoked_reason": None,
        }
        self.state["keys"].append(key)
        self.keep()
        return key

    def do_api_key_update(self, session: t.Any, number: int, asked: dict[str, t.Any]) -> t.Any:
        self.check("api_key_update", asked, {"name", "reset", "expires_at"})
        key = next(key for key in self.state["keys"] if key["id"] == number)
        key.update(key=f"{number}-{secrets.token_hex(32)}", revoked=False, revoked_reason=None)
        self.keep()
        return key

    # -- disks and pools

    def labels(self) -> list[dict[str, t.Any]]:
        found = []
        for disk in disks():
            with open(f"/dev/{disk['name']}", "rb") as stream:
                head = stream.read(4096)
            pool = json.loads(head[len(POOL_MARK) :].rstrip(b"\0")) if head.startswith(POOL_MARK) else {}
            is_boot = f"/dev/{disk['name']}" == self.boot
            imported = "boot-pool" if is_boot else pool.get("name") if pool.get("imported") else None
            exported = pool.get("name") if not pool.get("imported") else None
            other = [{"name": f"{disk['name']}1"}] if any(head) and not pool and not is_boot else []
            found.append(
                {**disk, "imported_zpool": imported, "exported_zpool": exported, "partitions": other, "pool": pool}
            )
        return found

    def do_disk_details(self, session: t.Any, asked: t.Any = None) -> t.Any:
        self.check("data", asked or {}, {"join_partitions", "type"})
        found = [{key: value for key, value in disk.items() if key != "pool"} for disk in self.labels()]
        used = [disk for disk in found if disk["imported_zpool"] or disk["exported_zpool"]]
        return {"used": used, "unused": [disk for disk in found if disk not in used]}

    def do_pool_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        pools = {disk["pool"]["name"]: disk["pool"] for disk in self.labels() if disk["pool"].get("imported")}
        told = [
            {
                "id": number,
                "name": name,
                "guid": pool["guid"],
                "status": "ONLINE",
                "path": f"/mnt/{name}",
                "topology": pool["topology"],
            }
            for number, (name, pool) in enumerate(pools.items(), 1)
        ]
        return self.select(told, filters, options)

    def do_pool_create(self, session: t.Any, asked: dict[str, t.Any]) -> int:
        self.check("pool_create", asked, POOL_FIELDS, ["name", "topology"])
        self.check(
            "pool_create.topology", asked["topology"], {"data", "special", "dedup", "cache", "log", "spares"}, ["data"]
        )
        names = [
            name
            for kind, vdevs in asked["topology"].items()
            for vdev in vdevs
            for name in (vdev["disks"] if kind != "spares" else [vdev])
        ]
        known = {disk["name"]: disk for disk in self.labels()}
        if missing := set(names) - set(known):
            raise self.wrong(
                "pool_create.topology", f"The following disks were not found in system: {','.join(missing)}."
            )
        if used := [name for name in names if known[name]["imported_zpool"]]:
            raise self.wrong("pool_create.topology", f"The following disks are already in use: {','.join(used)}.")
        serials = [known[name]["serial"] for name in names]
        if len(set(serials)) < len(serials) or not all(serials):
            raise self.wrong("pool_create.topology", f"Disks have duplicate serial numbers: {serials[0] or None}")

        def make() -> None:
            pool = {
                "name": asked["name"],
                "guid": secrets.token_hex(8),
                "topology": asked["topology"],
                "imported": True,
            }
            for name in names:
                self.label(name, pool)
            self.state["datasets"][asked["name"]] = {}

        return self.job(make)

    def label(self, name: str, pool: dict[str, t.Any]) -> None:
        with open(f"/dev/{name}", "r+b") as stream:
            stream.write((POOL_MARK + json.dumps(pool).encode()).ljust(4096, b"\0"))
            stream.flush()
            os.fsync(stream.fileno())

    def do_pool_import_find(self, session: t.Any) -> int:
        pools = {disk["pool"]["guid"]: disk["pool"]["name"] for disk in self.labels() if disk["exported_zpool"]}
        return self.job(
            lambda: [{"name": name, "guid": guid, "status": "ONLINE", "hostname": ""} for guid, name in pools.items()]
        )

    def do_pool_import_pool(self, session: t.Any, asked: dict[str, t.Any]) -> int:
        self.check("pool_import", asked, {"guid", "name"}, ["guid"])

        def take() -> bool:
            for disk in self.labels():
                if disk["pool"].get("guid") == asked["guid"]:
                    self.label(disk["name"], {**disk["pool"], "imported": True})
                    self.state["datasets"].setdefault(disk["pool"]["name"], {})
            return True

        return self.job(take)

    # -- what lies in them

    def do_pool_dataset_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        told = []
        for name, values in self.state["datasets"].items():
            properties = {"compression": "LZ4", "atime": "OFF", "quota": None, "comments": ""}
            told.append({"id": name, "name": name, "pool": name.partition("/")[0], "type": "FILESYSTEM", **{
                key: {"parsed": values.get(key, default), "value": None if values.get(key, default) is None else str(values.get(key, default)),
                      "rawvalue": str(values.get(key, default)).lower(), "source": "LOCAL" if key in values else "DEFAULT"}
                for key, default in {**properties, **dict.fromkeys(values)}.items()
            }})  # fmt: skip
        return self.select(told, filters, options)

    def do_pool_dataset_create(self, session: t.Any, asked: dict[str, t.Any]) -> t.Any:
        self.check("pool_dataset_create", asked, DATASET_FIELDS, ["name"])
        parent = asked["name"].rpartition("/")[0]
        if parent not in self.state["datasets"]:
            raise self.wrong("pool_dataset_create.name", f"Parent dataset {parent} does not exist")
        self.limits("pool_dataset_create", asked)
        self.state["datasets"][asked["name"]] = {
            key: value for key, value in asked.items() if key != "name" and value != "INHERIT"
        }
        self.keep()
        return {"id": asked["name"]}

    def limits(self, where: str, asked: dict[str, t.Any]) -> None:
        if asked.get("quota") and (not isinstance(asked["quota"], int) or asked["quota"] < 1 << 30):
            raise self.wrong(f"{where}.quota", "Input should be greater than or equal to 1073741824")
        if isinstance(asked.get("compression", ""), bool) or isinstance(asked.get("atime", ""), bool):
            raise self.wrong(f"{where}.atime", "Input should be 'ON', 'OFF' or 'INHERIT'")

    def do_pool_dataset_update(self, session: t.Any, name: str, asked: dict[str, t.Any]) -> t.Any:
        self.check("pool_dataset_update", asked, DATASET_FIELDS - {"name", "type", "share_type", "casesensitivity"})
        self.limits("pool_dataset_update", asked)
        values = self.state["datasets"][name]
        for key, value in asked.items():
            if value == "INHERIT":
                values.pop(key, None)
            else:
                values[key] = value
        self.keep()
        return {"id": name}

    def shares(self, kind: str, asked: dict[str, t.Any], fields: set[str], where: str) -> None:
        self.check(where, asked, fields)
        path = asked.get("path")
        if path is not None and path.removeprefix("/mnt/") not in self.state["datasets"]:
            raise self.wrong(f"{where}.path", "The path must exist")

    def do_sharing_smb_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        return self.select(self.state["smb"], filters, options)

    def do_sharing_smb_create(self, session: t.Any, asked: dict[str, t.Any]) -> t.Any:
        self.shares("smb", asked, SMB_FIELDS, "sharing_smb_create")
        entry = {"id": len(self.state["smb"]) + 1, "purpose": "DEFAULT_SHARE", "enabled": True, "comment": "", "readonly": False,
                 "options": {"aapl_name_mangling": False}, **asked}  # fmt: skip
        self.state["smb"].append(entry)
        self.keep()
        return entry

    def do_sharing_smb_update(self, session: t.Any, number: int, asked: dict[str, t.Any]) -> t.Any:
        self.shares("smb", asked, SMB_FIELDS, "sharing_smb_update")
        return self.changed("smb", number, asked)

    def do_sharing_nfs_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        return self.select(self.state["nfs"], filters, options)

    def do_sharing_nfs_create(self, session: t.Any, asked: dict[str, t.Any]) -> t.Any:
        self.shares("nfs", asked, NFS_FIELDS, "sharing_nfs_create")
        entry = {
            "id": len(self.state["nfs"]) + 1,
            "comment": "",
            "networks": [],
            "hosts": [],
            "ro": False,
            "enabled": True,
            **asked,
        }
        self.state["nfs"].append(entry)
        self.keep()
        return entry

    def do_sharing_nfs_update(self, session: t.Any, number: int, asked: dict[str, t.Any]) -> t.Any:
        self.shares("nfs", asked, NFS_FIELDS, "sharing_nfs_update")
        return self.changed("nfs", number, asked)

    def changed(self, kind: str, number: int, asked: dict[str, t.Any]) -> t.Any:
        entry = next(entry for entry in self.state[kind] if entry["id"] == number)
        entry.update(asked)
        self.keep()
        return entry

    # -- users, services, updates

    def do_user_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        first = [{"id": 1 + number, "username": name, "group": {"id": 40}, "groups": []} for number, name in enumerate(self.state["users"])
                 if name not in {user["username"] for user in self.state["more_users"]}]  # fmt: skip
        return self.select([*first, *self.state["more_users"]], filters, options)

    def do_group_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        return self.select(self.state["groups"], filters, options)

    def do_user_create(self, session: t.Any, asked: dict[str, t.Any]) -> t.Any:
        self.check("user_create", asked, USER_FIELDS, ["username", "full_name"])
        if not asked.get("group_create") and asked.get("group") is None:
            raise self.wrong("user_create.group", "This field is required")
        if not asked.get("password") and not asked.get("password_disabled"):
            raise self.wrong("user_create.password", "Password is required")
        number = 100 + len(self.state["more_users"])
        if asked.get("group_create"):
            self.state["groups"].append({"id": number, "name": asked["username"]})
        kept = {key: value for key, value in asked.items() if key not in ("password", "group_create", "group")}
        entry = {
            "id": number,
            "groups": [],
            "smb": True,
            "locked": False,
            **kept,
            "group": {"id": asked.get("group") or number},
        }
        self.state["more_users"].append(entry)
        if asked.get("password"):
            self.state["users"][asked["username"]] = asked["password"]
        self.keep()
        return entry

    def do_user_update(self, session: t.Any, number: int, asked: dict[str, t.Any]) -> t.Any:
        self.check("user_update", asked, USER_FIELDS - {"uid", "group_create"})
        entry = next(entry for entry in self.state["more_users"] if entry["id"] == number)
        if password := asked.pop("password", None):
            self.state["users"][entry["username"]] = password
        return self.changed("more_users", number, asked)

    def do_tests_offer(self, session: t.Any, version: str) -> None:
        """No method of TrueNAS: what its upstream offers from now on."""
        self.state["next"] = version
        self.keep()

    def do_update_status(self, session: t.Any) -> t.Any:
        offered = self.state["next"] and {
            "version": self.state["next"],
            "manifest": {},
            "release_notes": None,
            "release_notes_url": "",
        }
        now = {"train": "TrueNAS-SCALE-Goldeye", "profile": "GENERAL", "matches_profile": True}
        status = {"current_version": now, "new_version": offered}
        return {"code": "NORMAL", "status": status, "error": None, "update_download_progress": None}

    def do_update_run(self, session: t.Any, asked: dict[str, t.Any]) -> int:
        self.check("attrs", asked, {"dataset_name", "resume", "train", "version", "reboot"})

        def go() -> bool:
            # It is the old one until it restarts.
            self.state.update(version_behind_restart=self.state["next"], next=None)
            asyncio.get_running_loop().call_later(1, lambda: subprocess.run(("/bin/reboot", "-f"), check=False))
            return True

        return self.job(go)

    def do_service_query(self, session: t.Any, filters: t.Any = (), options: t.Any = None) -> t.Any:
        return self.select(self.state["services"], filters, options)

    def do_service_update(self, session: t.Any, name: str, asked: dict[str, t.Any]) -> t.Any:
        self.check("service_update", asked, {"enable"})
        entry = next(entry for entry in self.state["services"] if name in (entry["service"], entry["id"]))
        return self.changed("services", entry["id"], asked)["id"]

    def do_service_control(self, session: t.Any, verb: str, name: str, options: t.Any = None) -> int:
        def act() -> bool:
            entry = next(entry for entry in self.state["services"] if entry["service"] == name)
            entry["state"] = "RUNNING" if verb == "START" else "STOPPED"
            return True

        return self.job(act)


def boot_disk() -> str:
    return next(f"/dev/{disk['name']}" for disk in disks() if disk["size"] >= LEAST_BYTES and holds_state(disk["name"]))


def holds_state(name: str) -> bool:
    with open(f"/dev/{name}", "rb") as disk:
        disk.seek(STATE_AT)
        return 0 < int.from_bytes(disk.read(8), "big") < 1 << 20


async def main() -> None:
    words = Path("/proc/cmdline").read_text(encoding="ascii").split()
    if "truenas=installer" in words:
        mount_medium()
        installer = Installer()
        await serve(8080, {"/ws": installer.call})
        say("the installer waits")
    else:
        middleware = Middleware(boot_disk())
        paths = {"/api/current": middleware.call, "/api/v25.10.0": middleware.call}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("/etc/truenas.pem")
        await serve(443, paths, context)
        await serve(80, paths)
        say("the middleware answers")
    await asyncio.Event().wait()


def mount_medium() -> None:
    os.makedirs("/run/medium", exist_ok=True)
    while not os.path.exists(SYSTEM):
        for drive in Path("/dev").glob("sr*"):
            command = ("/bin/mount", "-t", MEDIUM_TYPE, "-o", "ro", str(drive), "/run/medium")
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                break
        time.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())
