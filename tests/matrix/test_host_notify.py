# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host tells what goes wrong on it, by the program that lies there. Heard by servers of HTTP and SMTP that are none of ours."""

from __future__ import annotations

import datetime
import email.message
import email.policy
import json
import os
import socket
import ssl
import subprocess
import typing as t
from pathlib import Path

import pytest
from prometheus_client import parser

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.units import timer_of
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.alerts import PROGRAM as ALERTS
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.resource import HostNotify
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.units import FOLDER, PROGRAM, texts
from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import (
    check_run_again,
    converge_now,
    refuse,
    told,
    unchanged,
)
from ansible_collections.homelab.hybrid.tests.harness.listeners import Listener, listening

NOTIFY = HostNotify()
TOKEN, HEADER, PASSWORD = "tk_hlnt_0123456789", "hlnt-header-0123456789", "hlnt correct horse"
SECRETS = (TOKEN, HEADER, PASSWORD)
NAMES = ("hlnt-phone", "hlnt-hook", "hlnt-mail")
SENDMAIL = Path("/usr/sbin/sendmail")


@pytest.fixture
def listener() -> t.Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture(autouse=True)
def _nobody() -> t.Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    gone = [{"name": name, "state": "absent"} for name in NAMES]
    watch = [{"name": name, "state": "absent"} for name in (ct.NAME, "hlnt-nobody")]
    outcome = converge_now(NOTIFY, {"targets": gone, "alerts": watch, "metrics": False})
    assert outcome.error is None, outcome.error


def phone(listener: Listener, **more: t.Any) -> dict[str, t.Any]:
    return {"name": NAMES[0], "type": "ntfy", "url": listener.url, "topic": "lab", "token": TOKEN, **more}


def hook(listener: Listener, **more: t.Any) -> dict[str, t.Any]:
    return {"name": NAMES[1], "type": "webhook", "url": f"{listener.url}/hook", "headers": f"X-Token: {HEADER}", **more}


def notify(*words: str, input: str | None = None, rc: int = 0, **env: str) -> str:
    """What the program on the host says, which is what the journal gets."""
    done = subprocess.run(
        [PROGRAM, *words], input=input, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    assert done.returncode == rc, done.stderr
    assert not [secret for secret in SECRETS if secret in done.stderr + done.stdout]
    return done.stderr


def test_who_is_told_is_declared_and_taken_back(listener: Listener) -> None:
    before = sorted(str(path) for path in Path(FOLDER).rglob("*"))
    run = check_run_again(
        NOTIFY, {"targets": [phone(listener), hook(listener)]}, [f"targets[{name}]" for name in NAMES[:2]] + ["program"]
    )
    assert not [secret for secret in (*SECRETS, listener.url) if secret in json.dumps(told(run))]
    files = [path for path in Path(paths.NOTIFY).rglob("*") if path.is_file()]
    assert len(files) == 3 and not [path for path in (*files, Path(paths.NOTIFY)) if path.stat().st_mode & 0o077]
    units = {path: Path(FOLDER, path).read_text(encoding="utf-8") for path in texts({})}
    assert not [secret for secret in (*SECRETS, listener.url) if secret in "".join(units.values())]
    assert f"LoadCredential={NAMES[0]}:{paths.notify_secrets(NAMES[0])}" in units["homelab-hybrid-notify@.service"]
    verified = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            f"{FOLDER}/homelab-hybrid-notify@watch.service",
            f"{FOLDER}/homelab-hybrid-notify.timer",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "homelab-hybrid-notify" not in verified.stderr, verified.stderr
    changed = check_run_again(
        NOTIFY, {"targets": [phone(listener, token="tk_hlnt_other_one", on=["failure", "success"])]}
    )
    assert [its.path for its in changed.plan.changes] == [f"targets[{NAMES[0]}].on", f"targets[{NAMES[0]}].token"]
    assert "tk_hlnt_other_one" not in json.dumps(told(changed))
    forget()
    assert sorted(str(path) for path in Path(FOLDER).rglob("*")) == before
    assert not Path(PROGRAM).exists() and not [path for path in Path(paths.NOTIFY).rglob("*") if path.is_file()]


def test_what_somebody_broke_of_it_is_mended(listener: Listener) -> None:
    wanted = {"targets": [phone(listener)]}
    converge_now(NOTIFY, wanted)
    Path(paths.notify_secrets(NAMES[0])).chmod(0o644)
    check_run_again(NOTIFY, wanted, [f"targets[{NAMES[0]}]"])
    Path(FOLDER, "homelab-hybrid-notify.timer").unlink()
    check_run_again(NOTIFY, wanted, ["units"])
    Path(PROGRAM).write_bytes(b"")
    check_run_again(NOTIFY, wanted, ["program"])
    unchanged(NOTIFY, wanted)


def test_a_word_reaches_each_target_and_its_secret_nobody_else(listener: Listener) -> None:
    converge_now(NOTIFY, {"targets": [phone(listener), hook(listener)]})
    assert "was told" in notify("test")
    by_path = {its.path: its for its in listener.take()}
    assert by_path["/"].headers["Authorization"] == f"Bearer {TOKEN}"
    assert (by_path["/"].body["topic"], by_path["/"].body["message"]) == ("lab", "This is a test: nothing happened.")
    assert by_path["/hook"].headers["X-Token"] == HEADER
    assert by_path["/hook"].body["host"] == os.uname().nodename and by_path["/hook"].body["status"] == "success"
    assert PROGRAM in by_path["/"].command_lines
    assert not [secret for secret in SECRETS for its in by_path.values() if secret in its.command_lines]


def test_the_credentials_that_systemd_hands_over_are_taken(listener: Listener, tmp_path: Path) -> None:
    converge_now(NOTIFY, {"targets": [phone(listener)]})
    (tmp_path / NAMES[0]).write_text(json.dumps({"url": listener.url, "token": "tk_hlnt_of_systemd"}), encoding="utf-8")
    notify("test", CREDENTIALS_DIRECTORY=str(tmp_path))
    assert [its.headers["Authorization"] for its in listener.take()] == ["Bearer tk_hlnt_of_systemd"]


@pytest.mark.parametrize("status", [500, 403, 302])
def test_what_could_not_be_told_is_loud_and_told_later(listener: Listener, status: int) -> None:
    converge_now(NOTIFY, {"targets": [hook(listener)]})
    with listening() as elsewhere:
        listener.status, listener.place = status, elsewhere.url if status == 302 else None
        said = notify("drift", input="web: memory 1GiB -> 2GiB\n", rc=1)
        assert f"<3>{NAMES[1]} was not told: the server answered {status}" in said and listener.url not in said
        assert elsewhere.heard == [] and len(listener.take()) == 1
    listener.status, listener.place = 200, None
    notify("look")
    (its,) = listener.take()
    assert its.body["text"] == "The host is not as it is declared: web: memory 1GiB -> 2GiB"
    notify("look")
    assert listener.take() == []
    notify("drift", input="")
    assert [its.body["over"] for its in listener.take()] == [
        ["The host is not as it is declared: web: memory 1GiB -> 2GiB"]
    ]


def test_a_target_that_is_away_does_not_keep_the_others_from_hearing(listener: Listener) -> None:
    converge_now(NOTIFY, {"targets": [phone(listener, url="http://127.0.0.1:9"), hook(listener)]})
    assert "cannot be reached" in notify("drift", input="web: memory\n", rc=1)
    assert [its.path for its in listener.take()] == ["/hook"]


def test_a_backup_that_fails_and_one_that_does_not_run_are_told_and_when_they_are_over(
    listener: Listener, tmp_path: Path
) -> None:
    # Of no guest that somebody has.
    backups.set_up(tmp_path / "restic", tags=["hlnt-nobody"], drill={"schedule": "daily"})
    try:
        converge_now(NOTIFY, {"targets": [phone(listener, on=["failure", "success"])]})
        notify("look")
        assert listener.take() == []
        backups.backup("run", backups.JOB)
        notify("look")
        (its,) = listener.take()
        assert f"The backup job {backups.JOB} went well" in its.body["message"] and its.body["priority"] == 3
        (tmp_path / "restic").rename(tmp_path / "away")
        backups.backup("run", backups.JOB, check=False)
        notify("look")
        (its,) = listener.take()
        assert f"The backup job {backups.JOB} failed" in its.body["message"] and its.body["priority"] == 4
        (tmp_path / "away").rename(tmp_path / "restic")
        backups.backup("run", backups.JOB)
        notify("look")
        assert [f"Over: The backup job {backups.JOB} failed" in its.body["message"] for its in listener.take()] == [
            True
        ]
        # Silence: the last run, and the timer, are of the day before yesterday.
        long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
        report = backups.report() | {"began": long_ago.strftime("%Y-%m-%dT%H:%M:%SZ")}
        Path(paths.backup_report(backups.JOB)).write_text(json.dumps(report), encoding="utf-8")
        os.utime(timer_of(backups.JOB), (long_ago.timestamp(),) * 2)
        assert f"The backup job {backups.JOB} did not run" in notify_dry() and "were not tried" not in notify_dry()
        drills = timer_of(backups.JOB, paths.DRILL_UNIT)
        os.utime(drills, (long_ago.timestamp(),) * 2)
        assert f"The backups of {backups.JOB} were not tried: that was due at" in notify_dry()
        os.utime(drills)
        notify("look")
        assert [f"The backup job {backups.JOB} did not run" in its.body["message"] for its in listener.take()] == [True]
        notify("look")
        assert listener.take() == []
        backups.backup("run", backups.JOB)
        notify("look")
        assert "Over: The backup job" in listener.take()[0].body["message"]
    finally:
        backups.tear_down(tmp_path / "restic")


APT = """\
#!/bin/sh
echo 'Inst hlnt-library [1.0-1] (1.0-1+deb13u1 Debian-Security:13/stable-security [amd64])'
echo 'Inst hlnt-tool [1.0-1] (1.1-1 Debian:13.2/stable [amd64])'
"""


def test_updates_of_the_host_and_of_guests_are_told_to_whom_asks_for_them(listener: Listener) -> None:
    ct.set_up(disk="updates.img")
    try:
        ct.make(state="started")
        (ct.rootfs() / "var/lib/apt/lists").mkdir(parents=True)
        (ct.rootfs() / "usr/bin").mkdir(parents=True, exist_ok=True)
        for applet in ("stat", "sort", "tail"):
            (ct.rootfs() / "usr/bin" / applet).symlink_to("/bin/busybox")
        (ct.rootfs() / "usr/bin/apt-get").write_text(APT, encoding="utf-8")
        (ct.rootfs() / "usr/bin/apt-get").chmod(0o755)
        converge_now(NOTIFY, {"targets": [phone(listener), hook(listener, on=["updates"])]})
        notify("look")
        (its,) = [its for its in listener.take() if "hlnt-library" in json.dumps(its.body)]
        assert its.path == "/hook" and f"{ct.NAME} (hlnt-library)" in json.dumps(its.body)
        # As Debian's own list has it.
        listed = ct.run("apt", "list", "--upgradable", check=False).splitlines()
        waits = sorted(line.partition("/")[0] for line in listed if "-security" in line)
        assert ("the host itself" in json.dumps(its.body)) == bool(waits)
        assert not waits or f"the host itself ({', '.join(waits[:5])}" in json.dumps(its.body)
    finally:
        ct.tear_down()


def notify_dry() -> str:
    return subprocess.run([PROGRAM, "look", "--dry-run"], capture_output=True, text=True, check=True).stdout


def mail(**more: t.Any) -> dict[str, t.Any]:
    return {"name": NAMES[2], "type": "mail", "to": ["me@example.net", "you@example.net"], **more}


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_a_mail_reaches_a_server_that_asks_for_a_password(tmp_path: Path, security: str) -> None:
    smtp = pytest.importorskip("aiosmtpd.smtp", reason="make venv installs it")
    controller = pytest.importorskip("aiosmtpd.controller", reason="make venv installs it")
    context = certificate(tmp_path)
    taken: list[t.Any] = []
    asked: list[t.Any] = []

    class Sink:
        async def handle_DATA(self, server: t.Any, session: t.Any, envelope: t.Any) -> str:  # noqa: N802  # aiosmtpd's own name
            taken.append((session.ssl is not None or security != "starttls", envelope))
            return "250 OK"

    def asks(server: t.Any, session: t.Any, envelope: t.Any, mechanism: str, data: t.Any) -> t.Any:
        asked.append((data.login.decode(), data.password.decode()))
        return smtp.AuthResult(success=data.password.decode() == PASSWORD, handled=False)

    words: dict[str, t.Any] = {"hostname": "127.0.0.1", "port": 0, "authenticator": asks, "auth_required": True}
    if security == "starttls":
        words |= {"tls_context": context, "require_starttls": True}
    elif security == "tls":
        words |= {"ssl_context": context, "auth_require_tls": False}
    else:
        words |= {"auth_require_tls": False}
    server = controller.Controller(Sink(), **words)
    server.port = free_port()
    server.start()
    try:
        target = mail(server="127.0.0.1", port=server.port, security=security, username="me", password=PASSWORD)
        check_run_again(NOTIFY, {"targets": [target]})
        trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem")}
        notify("drift", input="naïve: memory\n", **trusted)
        if security != "none":
            assert "was not told" in notify("test", rc=1)  # nobody vouches for the server
        converge_now(NOTIFY, {"targets": [{**target, "password": "not the right one"}]})
        assert "refuses the name and the password (535)" in notify("test", rc=1, **trusted)
    finally:
        server.stop()
    ((is_hidden, envelope),) = taken
    assert is_hidden and asked[0] == ("me", PASSWORD)
    assert envelope.rcpt_tos == ["me@example.net", "you@example.net"]
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert message["Subject"] == f"{os.uname().nodename}: The host is not as it is declared: naïve: memory"
    assert message.get_content().strip() == "The host is not as it is declared: naïve: memory"


def test_a_mail_goes_through_the_sendmail_of_the_host(tmp_path: Path) -> None:
    if SENDMAIL.exists():
        pytest.skip("this host has one of its own")
    refuse(NOTIFY, {"targets": [mail()]}, "this host has no sendmail")
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    # What belongs to the programs of the host is for reading alone where the tests run.
    layers = f"lowerdir={SENDMAIL.parent},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "none", str(SENDMAIL.parent)], check=True)
    try:
        SENDMAIL.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/mail\n', encoding="utf-8")
        SENDMAIL.chmod(0o755)
        check_run_again(NOTIFY, {"targets": [mail(**{"from": "alpha@example.net"})]})
        notify("test")
    finally:
        subprocess.run(["umount", str(SENDMAIL.parent)], check=True)
    assert (tmp_path / "words").read_text() == "-oi -t\n"
    message = email.message_from_bytes((tmp_path / "mail").read_bytes(), policy=email.policy.default)
    assert (message["From"], message["To"]) == ("alpha@example.net", "me@example.net, you@example.net")


def certificate(folder: Path) -> t.Any:
    """A server's context with a certificate that it signed itself."""
    words = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {folder}/key.pem -out {folder}/cert.pem -subj /CN=127.0.0.1"
    )
    subprocess.run(
        ["openssl", *words.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def samples() -> dict[tuple[str, ...], float]:
    """What the host measured, as Prometheus' own client reads it."""
    text = Path(paths.host_metrics_file()).read_text(encoding="utf-8")
    found = [its for family in parser.text_string_to_metric_families(text) for its in family.samples]
    return {(its.name.removeprefix("homelab_hybrid_"), *its.labels.values()): its.value for its in found}


@pytest.fixture
def exporter() -> t.Iterator[Path]:
    """The folder that Debian's exporter brings."""
    folder = Path(paths.METRICS)
    folder.mkdir(parents=True)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.usefixtures("container_host")
def test_a_host_measures_itself_and_what_its_containers_use(exporter: Path) -> None:
    check_run_again(NOTIFY, {"metrics": True}, ["metrics", "program"])
    ct.make(memory="64MiB", autostart=True)
    notify("measure")
    found = samples()
    assert (found["guest_running", ct.NAME, "container"], found["guest_autostart", ct.NAME, "container"]) == (1, 1)
    assert found["container_memory_limit_bytes", ct.NAME] == 64 << 20
    assert 0 < found["container_memory_bytes", ct.NAME] < 64 << 20
    assert found["container_processes", ct.NAME] >= 1
    before = found["container_cpu_seconds_total", ct.NAME]
    ct.inside("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
    notify("measure")
    assert samples()["container_cpu_seconds_total", ct.NAME] > before
    room = os.statvfs(ct.FOLDER / "pool")
    assert samples()["pool_capacity_bytes", ct.POOL] == room.f_blocks * room.f_frsize
    assert (found["drift_entries",], found["switch_taken_back",]) == (0, 0)
    ct.make(state="stopped", memory="64MiB", autostart=True)
    notify("measure")
    found = samples()
    assert found["guest_running", ct.NAME, "container"] == 0 and ("container_memory_bytes", ct.NAME) not in found
    assert Path(paths.host_metrics_file()).stat().st_mode & 0o777 == 0o644
    check_run_again(NOTIFY, {"metrics": False}, ["metrics"])
    assert list(exporter.iterdir()) == [] and not Path(PROGRAM).exists()


def test_a_host_without_an_exporter_says_so() -> None:
    converge_now(NOTIFY, {"metrics": True})
    assert "Debian's prometheus-node-exporter brings it" in notify("measure", rc=1)


def alerts_of(*summaries: str) -> None:
    """What the program in the guest prints from now on."""
    found = [
        {"fingerprint": text, "labels": {"alertname": "A"}, "annotations": {"summary": text}} for text in summaries
    ]
    script = f"#!/bin/sh\necho '{json.dumps(found)}'\n"
    ct.inside(
        "sh", "-c", f'mkdir -p /etc/homelab_hybrid; printf "%s" "$1" > {ALERTS}; chmod 700 {ALERTS}', "sh", script
    )


@pytest.mark.usefixtures("container_host")
def test_the_alerts_of_a_guest_are_told_and_when_they_are_over_and_when_it_is_silent(listener: Listener) -> None:
    ct.make()
    alerts_of("web does not run", "the door is silent")
    converge_now(NOTIFY, {"targets": [hook(listener)]})
    check_run_again(NOTIFY, {"alerts": [{"name": ct.NAME}]}, [f"alerts[{ct.NAME}]"])
    assert Path(FOLDER, "homelab-hybrid-alerts.timer").exists()
    notify("alerts")
    (its,) = listener.take()
    assert its.body["text"] == "web does not run\nthe door is silent"
    alerts_of("web does not run")
    notify("alerts")
    assert [its.body["over"] for its in listener.take()] == [["the door is silent"]]
    notify("look")
    # What the host looks for itself is another matter.
    assert "web does not run" not in json.dumps([its.body for its in listener.take()])
    ct.make(state="stopped")
    notify("alerts")
    assert listener.take() == [], "a guest that restarts is silent for a while"
    since = json.loads(Path(paths.ALERTS_SILENT).read_text(encoding="utf-8"))
    Path(paths.ALERTS_SILENT).write_text(json.dumps({ct.NAME: since[ct.NAME] - 601}), encoding="utf-8")
    notify("alerts")
    (its,) = listener.take()
    assert its.body["text"] == f"The monitoring in {ct.NAME} does not answer: it does not run"
    ct.make()
    alerts_of()
    notify("alerts")
    (its,) = listener.take()
    assert sorted(its.body["over"]) == [
        f"The monitoring in {ct.NAME} does not answer: it does not run",
        "web does not run",
    ]
    forget()
    assert not Path(FOLDER, "homelab-hybrid-alerts.timer").exists() and not Path(paths.ALERTS_TOLD).exists()


def test_a_guest_that_is_not_there_is_told_after_a_while(listener: Listener) -> None:
    converge_now(NOTIFY, {"targets": [hook(listener)], "alerts": [{"name": "hlnt-nobody"}]})
    notify("alerts")
    assert listener.take() == []
    Path(paths.ALERTS_SILENT).write_text(json.dumps({"hlnt-nobody": 1}), encoding="utf-8")
    notify("alerts")
    assert "there is no such guest on this host" in listener.take()[0].body["text"]
