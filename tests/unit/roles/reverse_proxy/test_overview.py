# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the overview page says of what is known, and whom it finds well."""

from __future__ import annotations

import contextlib
import http.server
import re
import runpy
import socket
import threading
import typing as t

import lxml.html
import pytest
from unit.tree import ROOT

SCRIPT = runpy.run_path(str(ROOT / "roles/reverse_proxy/files/overview.py"), run_name="overview")
NOW = 1_800_000_000.0
GUEST = {
    "name": "films",
    "kind": "container",
    "hypervisor": "alpha",
    "addresses": ["10.0.0.4"],
    "cpus": 2,
    "memory": "512MiB",
    "disk": "8GiB",
    "pool": "main",
    "description": "Films",
    "services": [{"name": "Jellyfin", "url": "https://films.lab/", "asks": ["http://10.0.0.4:8096/health"]}],
}
TOLD = {
    "name": "films",
    "kind": "container",
    "state": "started",
    "problem": None,
    "autostart": True,
    "memory": 512 << 20,
    "memory_used": 128 << 20,
    "disk": 8 << 30,
    "disk_used": 3 << 30,
    "uptime": 7200,
    "updated": NOW - 86400 * 2,
    "restart_required": [],
    "backup": {"status": "ok", "made": NOW - 3600 * 5},
    "drill": {"result": "ok", "ended": NOW - 86400 * 3},
}
LAB = {"title": "Homelab", "interval": 30, "authority": True, "guests": [GUEST]}


def host(*guests: dict[str, t.Any], **more: t.Any) -> dict[str, dict[str, t.Any]]:
    its = {"schema": 1, "host": "alpha", "told": NOW - 20, "memory": 8 << 30, "memory_used": 2 << 30, "restart": None}
    pools = [{"name": "main", "capacity": 4 << 30, "used": 1 << 30, "least": 1 << 29}]
    return {"alpha": {**its, "pools": pools, "guests": guests, **more}}


def seen(lab: dict[str, t.Any] | None = None, hosts: t.Any = None, status: t.Any = None, now: float = NOW) -> t.Any:
    answers = {("films", 0): status or SCRIPT["Status"]("well", "answers")}
    return SCRIPT["Seen"](LAB if lab is None else lab, answers, host(TOLD) if hosts is None else hosts, now)


def document(its: t.Any) -> lxml.html.HtmlElement:
    return lxml.html.fromstring(SCRIPT["document"](its))


def text(dom: lxml.html.HtmlElement, name: str) -> str:
    return " ".join(dom.get_element_by_id(name).text_content().split())


def states(dom: lxml.html.HtmlElement) -> list[str]:
    return [state.text_content() for state in dom.find_class("state")]


def test_a_lab_that_is_well_says_so() -> None:
    dom = document(seen())
    assert dom.findtext(".//title") == "Homelab: 1 of 1 guests running"
    assert text(dom, "attention") == "Nothing needs a look"
    assert states(dom) == ["answers", "running", "running"]
    said = text(dom, "guest-films")
    for words in ("128 MiB of 512 MiB", "3 GiB of 8 GiB in main", "2 h ago", "2 d ago", "5 h ago"):
        assert words in said, said
    assert "3 d ago, came to life" in said
    assert [link.get("href") for link in dom.xpath("//h3/a")] == ["https://films.lab/"]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"state": "stopped"}, "films is stopped, and starts with its host"),
        ({"state": "paused"}, "films is paused"),
        ({"problem": "LXC cannot load it"}, "films LXC cannot load it"),
        (
            {"restart_required": ["cpu.cores", "features.nesting"]},
            "films waits for a restart (cpu.cores, features.nesting)",
        ),
        ({"disk_used": 7.5 * 2**30}, "films has a disk that fills up (7.5 GiB of 8 GiB are used)"),
        ({"backup": {"status": "failed", "made": None}}, "films has a backup that failed"),
        ({"backup": {"status": "overdue", "made": 5.0}}, "films has a backup that is overdue"),
        ({"drill": {"result": "failed", "ended": 5.0}}, "films has a drill that failed"),
    ],
)
def test_what_needs_a_look_is_named(told: dict[str, t.Any], says: str) -> None:
    assert says in text(document(seen(hosts=host({**TOLD, **told}))), "attention")


@pytest.mark.parametrize(
    "told",
    [
        {"state": "stopped", "autostart": False},
        {"backup": {"status": "none", "made": None}},
        {"kind": "vm", "disk_used": 8 << 30},
    ],
)
def test_what_somebody_wants_needs_no_look(told: dict[str, t.Any]) -> None:
    assert text(document(seen(hosts=host({**TOLD, **told}))), "attention") == "Nothing needs a look"


def test_a_guest_that_is_gone_and_a_host_that_waits_need_a_look() -> None:
    said = text(document(seen(hosts=host(restart=["linux-image-amd64"]))), "attention")
    assert "films is not on its hypervisor" in said and "alpha waits for a restart (linux-image-amd64)" in said


def test_a_storage_pool_that_fills_up_needs_a_look() -> None:
    pool = {"name": "main", "capacity": 4 << 30, "used": (4 << 30) - (100 << 20), "least": 1 << 29}
    dom = document(seen(hosts=host(TOLD, pools=[pool])))
    says = "alpha has a storage pool that fills up (main: 100 MiB of 4 GiB are free)"
    assert says in text(dom, "attention") and len(dom.find_class("full")) == 1


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "3 GiB of 8 GiB in main"),
        ({"disk_used": None}, "8 GiB in main"),
        ({"disk": None}, "3 GiB used in main"),
        ({"disk": None, "disk_used": None}, "as large as main"),
        ({"kind": "vm"}, "8 GiB in main, 3 GiB written"),
        ({"kind": "vm", "disk_used": None}, "8 GiB in main"),
    ],
)
def test_a_disk_says_what_is_known_of_it(told: dict[str, t.Any], says: str) -> None:
    guest = {**GUEST, "disk": "" if "disk" in told else "8GiB"}
    dom = document(seen({**LAB, "guests": [guest]}, host({**TOLD, **told})))
    (disk,) = dom.xpath("//*[@id='guest-films']//dt[.='Disk']/../dd")
    assert disk.text_content() == says


def test_the_services_of_a_guest_that_somebody_turned_off_are_off() -> None:
    ill = SCRIPT["Status"]("ill", "does not answer", "refuses connections")
    for told, state in (({"autostart": False}, "off"), ({}, "does not answer")):
        dom = document(seen(hosts=host({**TOLD, "state": "stopped", **told}), status=ill))
        assert states(dom)[0] == state and ("Jellyfin" in text(dom, "attention")) == (state != "off")
    assert states(document(seen(hosts={}, status=ill)))[0] == "does not answer", "nobody knows whether it is off"


def test_a_service_that_does_not_answer_says_why() -> None:
    dom = document(seen(status=SCRIPT["Status"]("ill", "does not answer", "refuses connections")))
    assert "Jellyfin on films does not answer (refuses connections)" in text(dom, "attention")
    assert states(dom)[0] == "does not answer"


def test_what_a_host_told_long_ago_is_not_known() -> None:
    dom = document(seen(hosts=host(TOLD, told=NOW - 3600)))
    assert dom.findtext(".//title") == "Homelab: 0 of 1 guests running, 1 not known"
    assert states(dom) == ["answers", "not known", "not known"]
    assert "alpha has not told anything for 1 h" in text(dom, "attention")


def test_of_a_host_that_never_told_anything_nothing_is_known_and_nothing_is_wrong() -> None:
    dom = document(seen(hosts={}))
    assert states(dom) == ["answers", "not known", "not known"]
    assert text(dom, "attention") == "Nothing needs a look, of what is known"
    assert "512 MiB" in text(dom, "guest-films")


def test_a_service_that_nobody_asks_is_not_said_to_be_well() -> None:
    lab = {**LAB, "guests": [{**GUEST, "services": [{"name": "Docker", "asks": []}]}]}
    assert states(document(SCRIPT["Seen"](lab, {}, host(TOLD), NOW)))[0] == "not asked"


def test_the_page_has_itself_for_when_nobody_writes_it_any_more() -> None:
    whole = SCRIPT["page"](seen())
    match = re.fullmatch(
        r"\{\{ \$age := sub \(now \| unixEpoch\) 1800000000 \}\}\{\{ if and \(lt \$age (\d+)\) \(gt \$age -\1\) \}\}"
        r"(.*)\{\{ else \}\}(.*)\{\{ end \}\}",
        whole,
        re.DOTALL,
    )
    assert match and 90 <= int(match[1]) <= 120
    old = lxml.html.fromstring(match[3])
    assert set(states(old)) == {"not known"} and "Nobody looks after this page" in text(old, "attention")
    assert "{{ $age }} s ago" in match[2] and "{{" not in match[3]
    assert " ago" not in old.text_content() and "does not tell this page" not in old.text_content()


def test_nothing_that_somebody_wrote_is_a_part_of_the_page_or_of_its_template() -> None:
    evil = '<script>alert(1)</script>{{ env "HOME" }}"><img src=x>'
    service = {"name": evil, "url": f"https://x/{evil}", "asks": []}
    guest = {**GUEST, "name": evil, "description": evil, "hypervisor": evil, "addresses": [evil], "services": [service]}
    told = {**TOLD, "name": evil, "state": evil, "problem": evil, "restart_required": [evil]}
    hosts = {evil: {**host(told)["alpha"], "restart": [evil], "pools": [{"name": evil, "capacity": 1, "used": 1}]}}
    whole = SCRIPT["page"](SCRIPT["Seen"]({**LAB, "title": evil, "guests": [guest]}, {}, hosts, NOW))
    assert len(re.findall(r"\{\{", whole)) == 5, "its age, if, its age in words, else, end"
    assert not lxml.html.fromstring(whole).xpath("//script | //img")


@pytest.mark.parametrize(
    ("service", "asks"),
    [
        ({"name": "a", "url": "https://a.lab/"}, ["https://a.lab/"]),
        ({"name": "a", "port": 1883}, ["tcp://10.0.0.4:1883"]),
        ({"name": "a"}, []),
        ({"name": "a", "url": "https://a.lab/", "asks": []}, []),
    ],
)
def test_a_card_that_does_not_say_whom_to_ask_is_asked_where_it_leads(
    service: dict[str, t.Any], asks: list[str]
) -> None:
    lab = SCRIPT["complete"]({**LAB, "guests": [{**GUEST, "services": [service]}]})
    assert lab["guests"][0]["services"][0]["asks"] == asks


@pytest.fixture
def server() -> t.Iterator[t.Callable[[int], str]]:
    """Answers every path with the status that it is, and notes for which host."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.strip("/") or statuses[-1]))
            self.send_header("Content-Length", "0")
            self.end_headers()
            hosts.append(str(self.headers["Host"]))

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    statuses: list[int] = [200]
    hosts: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()

        def root(status: int) -> str:
            statuses.append(status)
            return f"http://127.0.0.1:{web.server_address[1]}"

        yield root
        web.shutdown()
        assert set(hosts) <= {"films.lab"}


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("/", 200, ""),
        ("/", 302, ""),
        ("/", 404, ""),
        ("/", 401, ""),
        ("/", 502, "answers 502 at /"),
        ("/401", 0, ""),
        ("/204", 0, ""),
        ("/404", 0, "answers 404 at /404"),
        ("/500", 0, "answers 500 at /500"),
    ],
)
def test_a_site_is_well_by_what_it_answers(server: t.Callable[[int], str], path: str, status: int, why: str) -> None:
    assert SCRIPT["ask"](server(status) + path, "films.lab") == why


def test_what_listens_is_well_and_what_refuses_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert SCRIPT["ask"](f"tcp://127.0.0.1:{port}", "") == ""
    assert SCRIPT["ask"](f"tcp://127.0.0.1:{port}", "") == "refuses connections"
    assert SCRIPT["ask"](f"http://127.0.0.1:{port}/", "a") == "refuses connections"


@pytest.mark.parametrize(
    ("flags", "why"),
    [(b"\x81\x80", ""), (b"\x81\x83", ""), (b"\x81\x82", "answers names with the error 2")],
)
def test_a_resolver_is_well_where_it_knows_a_name_or_that_there_is_none(flags: bytes, why: str) -> None:
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 0))

        def answer() -> None:
            question, where = resolver.recvfrom(4096)
            asked.append(question)
            resolver.sendto(question[:2] + flags + question[4:], where)

        thread = threading.Thread(target=answer)
        thread.start()
        assert SCRIPT["ask"](f"dns://127.0.0.1:{resolver.getsockname()[1]}/a.lab", "") == why
        thread.join()
    assert asked[0][12:] == b"\1a\3lab\0\0\1\0\1"


def test_one_that_says_nothing_holds_nobody_up() -> None:
    slow = SCRIPT["ask_page"].__globals__
    with contextlib.ExitStack() as ends:
        before = slow["ROUND_SECONDS"]
        ends.callback(lambda: slow.__setitem__("ROUND_SECONDS", before))
        slow["ROUND_SECONDS"] = 0.2
        listener = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        asker = SCRIPT["Asker"]()
        guests = [{**GUEST, "services": [{"name": "slow", "asks": [url]}]}]
        for dummy in range(2):
            assert asker.ask(guests)["films", 0].why == "no answer in 0.2 s"
        assert len(asker.open) == 1, "it is asked once, however often"
