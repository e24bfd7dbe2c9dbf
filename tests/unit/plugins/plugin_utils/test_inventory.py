# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what hypervisors tell to inventory hosts."""

from __future__ import annotations

import json
import shlex
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._listing.listing import MARKER, private_bridges
from ansible_collections.homelab.hybrid.plugins.plugin_utils._inventory import (
    BadAnswer,
    BadConfiguration,
    Filter,
    Source,
    Ways,
    jump_args,
    name_guests,
    parse_answer,
    parse_sources,
    preferred,
    variables_of,
)
from ansible_collections.homelab.hybrid.plugins.plugin_utils._transport import Hypervisor


def sources(*entries: t.Any, **defaults: t.Any) -> list[Source]:
    return parse_sources(list(entries), defaults, 10, True)


def guest(name: str = "web", kind: str = "vm", state: str = "started", **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "kind": kind, "state": state, "tags": [], "networks": [], "addresses": [], **more}


def test_a_hypervisor_by_its_name_alone() -> None:
    (found,) = sources("alpha", user="ops", port=None)
    assert found.variables == {"ansible_user": "ops"}
    assert (found.hypervisor.host, found.hypervisor.user) == ("alpha", "ops")


def test_what_an_entry_says_goes_before_the_defaults() -> None:
    (found,) = sources({"name": "beta", "host": "192.0.2.11", "port": 2222, "user": "root"}, user="ops")
    assert found.variables == {"ansible_host": "192.0.2.11", "ansible_port": 2222, "ansible_user": "root"}
    assert found.hypervisor.port == 2222


@pytest.mark.parametrize("entry", ["local", "localhost", {"name": "lab", "connection": "local"}])
def test_the_control_node_itself(entry: t.Any) -> None:
    (found,) = sources(entry, user="ops")
    assert found.hypervisor.host is None
    assert found.variables == {"ansible_connection": "local"}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([3], r"hypervisors\[0\]: it is int"),
        ([{"host": "a"}], r"hypervisors\[0\].name: None"),
        (["ok", {"name": "-oProxyCommand=x"}], r"hypervisors\[1\].name"),
        ([{"name": "a\nb"}], "name"),
        ([{"name": "a", "host": "-x"}], "host: '-x' is not allowed"),
        ([{"name": "a", "adress": "b"}], "there is no adress. Allowed: name, host"),
        ([{"name": "a", "connection": "winrm"}], "Allowed: local, ssh"),
        ([{"name": "a", "port": 70000}], "1 to 65535"),
        (["a", {"name": "a"}], "a stands there twice"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(entries: list[t.Any], said: str) -> None:
    with pytest.raises(BadConfiguration, match=said):
        sources(*entries)


def test_an_answer_after_a_banner() -> None:
    text = f"Welcome to alpha!\n{MARKER}{json.dumps({'guests': [guest()], 'private_bridges': ['virbr0']})}\n"
    assert parse_answer(text.encode()) == {"guests": [guest()], "private_bridges": ["virbr0"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "something else"),
        ("hello", "something else"),
        (f"{MARKER}nonsense", "something else"),
        (f"{MARKER}[]", "something else"),
        (f'{MARKER}{{"error": "libvirt does not answer"}}', "libvirt does not answer"),
    ],
)
def test_other_answers(text: str, said: str) -> None:
    with pytest.raises(BadAnswer, match=said):
        parse_answer(text.encode())


@pytest.mark.parametrize(
    ("wanted", "is_in"),
    [
        (Filter(), True),
        (Filter(kinds=frozenset({"vm"})), True),
        (Filter(kinds=frozenset({"container"})), False),
        (Filter(states=frozenset({"stopped", "paused"})), False),
        (Filter(tags=frozenset({"web", "db"})), True),
        (Filter(tags=frozenset({"db"})), False),
    ],
)
def test_filters(wanted: Filter, is_in: bool) -> None:
    named, clashes = name_guests({"alpha": {"guests": [guest(tags=["web", "prod"])]}}, wanted, False, ("alpha", "beta"))
    assert (list(named) == ["web"]) is is_in
    assert not clashes


@pytest.mark.parametrize(
    ("first", "second", "chosen", "left_out"),
    [
        ("started", "started", "alpha", "beta"),
        ("stopped", "started", "beta", "alpha"),
        ("stopped", "stopped", "alpha", "beta"),
    ],
)
def test_of_two_guests_with_one_name_the_running_one_bears_it(
    first: str, second: str, chosen: str, left_out: str
) -> None:
    answers = {"alpha": {"guests": [guest(state=first)]}, "beta": {"guests": [guest(state=second)]}}
    named, clashes = name_guests(answers, Filter(), False, ("alpha", "beta"))
    assert named["web"][0] == chosen
    assert len(clashes) == 1
    assert f"the one on {left_out} is left out" in clashes[0]
    both, clashes = name_guests(answers, Filter(), True, ("alpha", "beta"))
    assert sorted(both) == ["web.alpha", "web.beta"]
    assert not clashes


def test_no_guest_bears_the_name_of_a_hypervisor() -> None:
    answers = {"alpha": {"guests": [guest("alpha"), guest("web")]}, "beta": {"guests": [guest("alpha", "container")]}}
    named, clashes = name_guests({"alpha": answers["alpha"]}, Filter(), False, ("alpha", "beta"))
    assert named.keys() == {"web"}
    assert clashes == ["alpha is a hypervisor and a guest on it: the guest is left out. hostnames=qualified has both"]
    for hypervisors in (("alpha", "beta"), ("beta", "alpha", "silent")):
        named, clashes = name_guests(answers, Filter(), False, hypervisors)
        assert named.keys() == {"web"}
        assert "alpha is a hypervisor and a guest on beta: the guest is left out" in clashes[1]
    assert name_guests(answers, Filter(), True, ("alpha", "beta"))[0].keys() == {
        "alpha.alpha",
        "web.alpha",
        "alpha.beta",
    }


@pytest.mark.parametrize(
    ("addresses", "wanted"),
    [
        ([], None),
        (["fe80::1"], None),
        (["2001:db8::1", "192.0.2.5/24"], "192.0.2.5"),
        (["fe80::1", "2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_address_to_use(addresses: list[str], wanted: str | None) -> None:
    assert preferred(addresses) == wanted


def on_bridge(bridge: str) -> dict[str, t.Any]:
    networks = [
        {"name": "lan", "bridge": "br9", "addresses": []},
        {"name": "in", "bridge": bridge, "addresses": ["10.0.0.5"]},
    ]
    return guest(networks=networks, addresses=["10.0.0.5"])


@pytest.mark.parametrize(
    ("jump", "bridge", "goes_through"),
    [
        ("auto", "virbr0", True),
        ("auto", "br0", False),
        ("always", "br0", True),
        ("never", "virbr0", False),
    ],
)
def test_the_way_to_a_virtual_machine(jump: str, bridge: str, goes_through: bool) -> None:
    (source,) = sources({"name": "alpha", "user": "ops"})
    found = variables_of(on_bridge(bridge), source, ["virbr0", "br9"], Ways(jump=jump))
    assert found["ansible_connection"] == "ssh"
    assert found["ansible_host"] == "10.0.0.5"
    assert found.get("ansible_ssh_common_args") == ("-o ProxyJump=ops@alpha" if goes_through else None)
    assert (found["guest_hypervisor"], found["guest_kind"], found["guest_state"]) == ("alpha", "vm", "started")


def test_no_jump_from_the_hypervisor_itself() -> None:
    (source,) = sources("local")
    assert "ansible_ssh_common_args" not in variables_of(on_bridge("virbr0"), source, ["virbr0"], Ways(jump="always"))


@pytest.mark.parametrize(("kind", "vm", "plugin"), [("container", "ssh", "lxc"), ("vm", "qemu_ga", "qemu_ga")])
def test_connections_through_the_hypervisor(kind: str, vm: str, plugin: str) -> None:
    (source,) = sources({"name": "alpha", "host": "192.0.2.1"})
    ways = Ways(vm=vm, prefix="hv_", checks_host_key=False)
    found = variables_of(guest("db", kind), source, [], ways)
    assert found["ansible_connection"] == f"homelab.hybrid.{plugin}"
    assert found[f"ansible_{plugin}_name"] == "db"
    assert found["ansible_hypervisor"] == {"ansible_host": "192.0.2.1"}
    assert found["ansible_hypervisor_host_key_checking"] is False
    assert (found["hv_state"], found["guest_hypervisor"]) == ("started", "alpha")


@pytest.mark.parametrize("vm", ["ssh", "qemu_ga"])
def test_windows_has_its_own_shell_whichever_way_it_is_reached(vm: str) -> None:
    (source,) = sources("alpha")
    for system, shell in (("windows", "powershell"), ("linux", None)):
        found = variables_of(guest(os_variant=system), source, [], Ways(vm=vm))
        assert found.get("ansible_shell_type") == shell and found["guest_os_variant"] == system


def test_no_fact_is_taken_for_what_an_inventory_declares() -> None:
    (source,) = sources("alpha")
    told = guest(startup={"order": None, "up_delay": 0, "down_delay": 0})
    assert "guest_startup" not in variables_of(told, source, (), Ways())
    assert variables_of(told, source, (), Ways(prefix="lab_"))["lab_startup"] == told["startup"]


def test_a_jump_host_with_settings_of_its_own() -> None:
    far = Hypervisor(
        host="alpha", port=2222, user="ops", private_key_file="/keys/a b%", common_args="-o IdentitiesOnly=yes"
    )
    option, command = shlex.split(jump_args(far))
    assert option == "-o"
    words = shlex.split(command.removeprefix("ProxyCommand="))
    assert words[:3] == ["ssh", "-o", "BatchMode=yes"]
    assert words[-9:] == ["-p", "2222", "-l", "ops", "-i", "/keys/a b%%", "-W", "[%h]:%p", "--", "alpha"][-9:]
    assert "IdentitiesOnly=yes" in words


@pytest.mark.parametrize(
    ("far", "wanted"),
    [
        (Hypervisor(host="alpha"), "ProxyJump=alpha"),
        (Hypervisor(host="alpha", port=22, user="ops"), "ProxyJump=ops@alpha:22"),
        (Hypervisor(host="2001:db8::1", port=22), "ProxyJump=[2001:db8::1]:22"),
    ],
)
def test_a_plain_jump_host(far: Hypervisor, wanted: str) -> None:
    assert shlex.split(jump_args(far)) == ["-o", wanted]


def link(kind: str = "", master: str | None = None) -> dict[str, t.Any]:
    return {"linkinfo": {"info_kind": kind} if kind else {}, "master": master}


def test_which_bridges_only_the_hypervisor_reaches() -> None:
    links = {
        "lo": link(),
        "br0": link("bridge"),
        "eth0": link(master="br0"),
        "vnet0": link("tun", "br0"),
        "br1": link("bridge"),
        "vnet1": link("tun", "br1"),
        "veth1": link("veth", "br1"),
        "br2": link("bridge"),
        "eth0.5": link("vlan", "br2"),
        "virbr0": link("bridge"),
    }
    assert private_bridges(links, ["virbr0", None]) == ["br1", "virbr0"]
