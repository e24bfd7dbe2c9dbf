# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start page of a lab in a real browser: what it says is what the host and its guests say."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.harness.browser import Browser

PROGRAM = "/var/lib/homelab_hybrid/programs/homelab-hybrid-overview"
PAGE = "https://overview.home.arpa/"
FILMS = f"http://{guest.SECOND_ADDRESS}:8080/"
VARIABLES = {
    "reverse_proxy_sites": [{"name": "films.test", "upstreams": [FILMS.rstrip("/")]}],
    "reverse_proxy_overview_interval": 5,
    "reverse_proxy_overview_hidden": ["Secret"],
    "guest_cards": [{"name": "Secret", "port": 9}],
}
SECOND = {
    **guest.GUEST,
    "guest_services": ["mosquitto", "unbound"],
    "guest_cards": [{"name": "Films {{ '{{' }} env", "url": "https://films.test/", "asks": [FILMS]}],
}
RESOLVER = "DNS resolver (unbound)"
# How long the page may take until it says what has become of a service: a round, and what is asked at once.
ROUND_SECONDS = 30


class Lab(guest.Lab):
    """The proxy, and a second guest with services behind it."""

    def _command(self, playbook: str, *argv: str, **variables: t.Any) -> tuple[list[str], dict[str, str]]:
        command = super()._command(playbook, *argv, **variables)
        inventory = self.folder / "hosts.yml"
        hosts = yaml.safe_load(inventory.read_text(encoding="utf-8"))
        hosts["all"]["children"]["guests"]["hosts"][guest.SECOND] = SECOND
        inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
        return command


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Lab]:
    try:
        guest.set_up("overview.img")
        guest.add_second()
        limits = {"memory": "384MiB", "rootfs": {"size": "3GiB"}}
        guest.converge(containers=[{"name": guest.SECOND, "autostart": True, **limits}])
        yield Lab(tmp_path, "reverse_proxy", VARIABLES)
    finally:
        guest.tear_down()


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    names = {"overview.home.arpa": guest.ADDRESS, "films.test": guest.ADDRESS}
    return Browser(tmp_path, guest.ROOT / ".build" / "pictures", names)


def second(*argv: str, check: bool = True) -> str:
    return guest.inside(*argv, check=check, name=guest.SECOND)


class Page:
    """What stands in the page: of each card the words below its heading."""

    def __init__(self, browser: Browser) -> None:
        self.dom = browser.page(PAGE)
        self.title = self.dom.findtext(".//title")
        self.attention = " ".join(self.dom.get_element_by_id("attention").text_content().split())
        self.cards = {card.findtext("h3") or card.findtext("h3/a"): card for card in self.dom.find_class("card")}

    def state(self, name: str) -> str:
        (state,) = self.cards[name].find_class("state")
        return str(state.text_content())

    def said(self, name: str) -> dict[str, str]:
        """The list of a guest."""
        found = {row.findtext("dt"): row.find("dd") for row in self.cards[name].iterfind("dl/div")}
        return {str(key): " ".join(value.text_content().split()) for key, value in found.items()}


def tell() -> None:
    """What the timer of a host does each minute. This one has no systemd."""
    guest.run(PROGRAM, "tell")


def state_of(name: str) -> str:
    return guest.run("lxc-info", "-n", name, "-sH").lower()


def test_the_page_says_of_services_and_guests_what_is_so(lab: Lab, browser: Browser) -> None:
    second("systemd-run", "--unit=films", "--working-directory=/srv", "/usr/bin/python3", "-m", "http.server", "8080")
    lab.playbook("services").succeeded()

    # All is well. Where nobody tells each minute, what was told while the page was made may be too old by now: the page that says so too is
    # there until this is told. What btrfs has not written out is in no figure that a host tells.
    disk = disk_of(guest.SECOND)
    tell()
    page = wait_for(
        browser,
        lambda page: (
            page.title == "Homelab: 2 of 2 guests running"
            and said_disk(page.said(guest.SECOND)["Disk"]) in range(disk - 32, disk + 32)
        ),
    )
    names = [guest.NAME, guest.SECOND]
    assert [page.state(name) for name in names] == ["running", "running"]
    assert [state_of(name) for name in names] == ["running", "running"]
    assert {name: page.state(name) for name in page.cards if name not in (*names, "alpha")} == {
        "Mosquitto": "answers",
        RESOLVER: "answers",
        "Films {{ env": "answers",
        "Overview of the lab (Caddy)": "answers",
    }
    assert page.attention == "Nothing needs a look"
    said = page.said(guest.SECOND)
    assert said["Address"] == guest.SECOND_ADDRESS
    told = re.fullmatch(r"(\d+) MiB of 384 MiB", said["Memory"])
    assert told and abs(int(told[1]) - memory_of(guest.SECOND)) < 24, said
    assert guest.run("lxc-cgroup", "-n", guest.SECOND, "memory.limit_in_bytes") == str(384 << 20)
    assert said["Last update"].endswith((" minute ago", " min ago"))
    changed = page.cards[guest.SECOND].xpath(".//dt[.='Last update']/..//time/@datetime")
    assert changed == [second("date", "--utc", "--reference=/var/lib/dpkg/status", "+%Y-%m-%dT%H:%M:%SZ")]
    link = page.cards["Films {{ env"].find(".//h3/a")
    assert "Directory listing" in browser.page(link.get("href")).text_content()
    # Nothing of it comes from elsewhere, and nothing of it runs.
    assert not page.dom.xpath("//script | //img | //link | //iframe | //*[@src]")
    assert page.dom.get("lang") == "en" and len(page.dom.xpath("//main")) == len(page.dom.xpath("//h1")) == 1
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 360), ("dark", 360)):
        assert browser.picture(PAGE, f"well-{scheme}-{width}", scheme=scheme, width=width).stat().st_size > 20_000
    assert browser.width(PAGE, 360) == 360, "nothing of it is cut off on a telephone"
    assert lab.playbook("services").succeeded().changed == 0

    # Services stop.
    second("systemctl", "stop", "mosquitto", "films", "unbound")
    assert [second("systemctl", "is-active", unit, check=False) for unit in ("mosquitto", "films")] == ["inactive"] * 2
    for name in ("Mosquitto", "Films {{ env", RESOLVER):
        page = wait_for(browser, lambda page, name=name: page.state(name) == "does not answer")
        assert f"{name} on {guest.SECOND} does not answer" in page.attention
    assert "refuses connections" in page.attention and page.state("Overview of the lab (Caddy)") == "answers"
    for scheme, width in (("dark", 1200), ("light", 360)):
        browser.picture(PAGE, f"ill-{scheme}-{width}", scheme=scheme, width=width)
    assert browser.width(PAGE, 360) == 360
    second("systemctl", "start", "mosquitto", "unbound")
    wait_for(browser, lambda page: page.state("Mosquitto") == page.state(RESOLVER) == "answers")

    # Something waits for a restart, until there was one.
    guest.converge(containers=[{"name": guest.SECOND, "features": {"nesting": True}}])
    tell()
    page = wait_for(browser, lambda page: "Waits for a restart" in page.said(guest.SECOND))
    assert page.said(guest.SECOND)["Waits for a restart"] == "features.nesting"
    assert f"{guest.SECOND} waits for a restart (features.nesting)" in page.attention

    # A guest stops.
    guest.run("lxc-stop", "-n", guest.SECOND)
    tell()
    page = wait_for(browser, lambda page: page.state(guest.SECOND) == state_of(guest.SECOND) == "stopped")
    assert page.title == "Homelab: 1 of 2 guests running"
    assert f"{guest.SECOND} is stopped, and starts with its host" in page.attention
    assert "Waits for a restart" not in page.said(guest.SECOND)
    assert "Mosquitto" in page.attention

    # Its hypervisor is silent.
    words = json.loads(guest.inside("cat", "/run/homelab_hosts/alpha.json"))
    assert guest.ADDRESS not in json.dumps(words) and str(guest.FOLDER) not in json.dumps(words)
    words["told"] -= 3600
    (guest.rootfs() / "root/old.json").write_text(json.dumps(words), encoding="utf-8")
    guest.inside("sh", "-c", "cat /root/old.json > /run/homelab_hosts/alpha.json")
    page = wait_for(browser, lambda page: page.state(guest.NAME) == "not known")
    assert page.title == "Homelab: 0 of 2 guests running, 2 not known"
    assert page.state("alpha") == "not known" and "alpha has not told anything for 1 h" in page.attention
    assert page.said(guest.SECOND)["Memory"] == "384 MiB" and "Started" not in page.said(guest.SECOND)

    # Nobody writes the page any more, and then there is none.
    guest.inside("systemctl", "kill", "--signal=STOP", "homelab-overview.service")
    page = wait_for(browser, lambda page: "Nobody" in page.attention, seconds=120)
    assert {page.state(name) for name in page.cards} == {"not known"}
    browser.picture(PAGE, "old-light-1200")
    guest.inside("systemctl", "kill", "--signal=KILL", "homelab-overview.service")
    wait_for(browser, lambda page: page.state("Overview of the lab (Caddy)") == "answers")
    guest.inside("systemctl", "stop", "homelab-overview.service")
    assert "Nobody looks after the overview" in browser.page(PAGE).text_content()

    # It is brought back, hidden, and taken away.
    lab.playbook("services").succeeded()
    wait_for(browser, lambda page: page.state("Overview of the lab (Caddy)") == "answers")
    here = ("--limit", guest.NAME)
    lab.entry("main", *here, reverse_proxy_overview=False, reverse_proxy_check_name="films.test").succeeded()
    assert guest.status("systemctl", "is-active", "--quiet", "homelab-overview.service") != 0
    assert not Path(PROGRAM).exists()
    lab.entry("main", *here).succeeded()
    assert Path(PROGRAM).exists()
    lab.entry("remove", *here).succeeded()
    assert not Path(PROGRAM).exists() and guest.status("test", "-e", "/etc/homelab-overview/lab.json") != 0


def wait_for(browser: Browser, is_so: t.Callable[[Page], bool], seconds: float = ROUND_SECONDS) -> Page:
    """The first page of which that is so."""
    found: list[Page] = []

    def look() -> bool:
        # While what makes it starts anew there is none.
        with contextlib.suppress(KeyError):
            found.append(Page(browser))
            return is_so(found[-1])
        return False

    wait_until("the page", look, timeout_seconds=seconds)
    return found[-1]


def disk_of(name: str) -> int:
    """What the root of a container refers to, in MiB, as btrfs counts it."""
    lines = guest.run("btrfs", "qgroup", "show", "--sync", "--raw", "-f", str(guest.rootfs(name))).splitlines()
    return int(lines[-1].split()[1]) >> 20


def said_disk(words: str) -> int | None:
    """How full the page says that the disk of the second guest is, in MiB."""
    told = re.fullmatch(rf"(\d+) MiB of 3 GiB in {guest.POOL}", words)
    return int(told[1]) if told else None


def memory_of(name: str) -> int:
    """What no reclaim can free of the memory of a container, in MiB, as its control group has it."""
    lines = guest.run("lxc-cgroup", "-n", name, "memory.stat").splitlines()
    found = {key: int(value) for key, value in (line.split() for line in lines)}
    return (found["total_rss"] + found.get("total_shmem", 0)) >> 20
