# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""OPNsense from variables: the configuration with which it starts for the first time, and the items that its API knows later.

What is in both is made once: an item of the API has the fields that its element in ``config.xml`` has (models of opnsense/core, 25.7 to 26.7).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import typing as t
from xml.etree import ElementTree

from ..module_utils._opnsense.compare import MARK
from ..module_utils._opnsense.first_start import settings_of
from ._sha512_crypt import sha512_crypt, stable_salt

Values = t.Mapping[str, t.Any]
Item = dict[str, str]

# The kinds of items, with the field of their description.
DESCRIPTIONS = {
    "vlans": "descr",
    "dhcp_ranges": "description",
    "dhcp_hosts": "descr",
    "dns_hosts": "description",
    "rules": "description",
}
# What follows where an item does not say it.
_DEFAULTS: dict[str, dict[str, t.Any]] = {
    "interfaces": {
        "network": "",
        "vlan": "",
        "address": "none",
        "gateway": "",
        "block_private": False,
        "block_bogons": False,
        "description": "",
    },
    "vlans": {},
    "dhcp_ranges": {},
    "dhcp_hosts": {},
    "dns_hosts": {},
    "rules": {
        "action": "pass",
        "direction": "in",
        "family": "inet",
        "protocol": "any",
        "source": "any",
        "destination": "any",
        "port": "",
        "log": False,
    },
    "users": {"password": "", "full_name": "", "ssh_keys": [], "admin": False},
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,62}")
_USER = re.compile(r"[a-z0-9._-]{1,32}", re.IGNORECASE)
# Shorter ones would be masked in words that have nothing to do with them; of longer ones bcrypt, by which OPNsense keeps them, reads 72 bytes.
_PASSWORD_LENGTHS = (8, 72)
_KEY_BYTES = 60
_PASSWORD_LETTERS = 24


class OPNsenseError(Exception):
    """Something is declared that makes no configuration."""


def items(wanted: Values) -> dict[str, list[Item]]:
    """The items of each kind, with the fields that the API knows. Fields that are not named keep what they have.

    :raises OPNsenseError:
    """
    keys = _interface_keys(wanted)
    found = {
        "vlans": [_vlan(wanted, each) for each in wanted["vlans"]],
        "dhcp_ranges": [_range(wanted, keys, each) for each in wanted["dhcp_ranges"]],
        "dhcp_hosts": [_dhcp_host(each) for each in wanted["dhcp_hosts"]],
        "dns_hosts": [_dns_host(wanted, each) for each in wanted["dns_hosts"]],
        "rules": [_rule(keys, each, place) for place, each in enumerate(wanted["rules"], 1)],
    }
    for kind, field in DESCRIPTIONS.items():
        for its, each in zip(found[kind], wanted[kind], strict=True):
            its[field] = f"{_named(kind, each)} {MARK}"
        names = [its[field] for its in found[kind]]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise OPNsenseError(f"opnsense_{kind}: {doubled[0].removesuffix(MARK).strip()} is there twice")
    return found


def secrets(wanted: Values) -> dict[str, str]:
    """The key and the secret of the API, and root's password where none is given: always the same of the same secret."""
    material, name = str(wanted["secret"]).encode(), str(wanted["name"])
    if len(material) < 16:
        raise OPNsenseError("opnsense_secret: it must have at least 16 characters")

    def derived(what: str) -> str:
        digest = hmac.new(material, f"opnsense {name} {what}".encode(), hashlib.sha512).digest()
        return base64.b64encode(digest[:_KEY_BYTES]).decode()

    letters = re.sub(r"[^A-Za-z0-9]", "", derived("root"))
    return {
        "key": derived("key"),
        "secret": derived("secret"),
        "password": wanted["root_password"] or letters[:_PASSWORD_LETTERS],
    }


def users(wanted: Values) -> list[dict[str, t.Any]]:
    """Root and the users beside it, with the fields that the API knows. What nobody says of root is as it is.

    :raises OPNsenseError:
    """
    found: list[dict[str, t.Any]] = [{"name": "root"}]
    if wanted["ssh_keys"]:
        found[0]["authorizedkeys"] = "\n".join(wanted["ssh_keys"])
    for each in wanted["users"]:
        name = str(each["name"])
        if not _USER.fullmatch(name) or name == "root":
            raise OPNsenseError(
                f"opnsense_users: {name!r} is no name: up to 32 letters, digits, _, - and dots, and not root"
            )
        if name in [other["name"] for other in found]:
            raise OPNsenseError(f"opnsense_users: {name} is there twice")
        said = str(each["full_name"] or name)
        if "\n" in said or len(said) > 200:
            raise OPNsenseError(f"opnsense_users: full_name of {name} must be one line of 200 characters at most")
        its = {"name": name, "descr": f"{said} {MARK}", "is_admin": bool(each["admin"])}
        found.append({**its, "authorizedkeys": "\n".join(each["ssh_keys"])})
    return found


def passwords(wanted: Values) -> dict[str, str]:
    """The passwords that are given, by the names of their users.

    :raises OPNsenseError:
    """
    given = {"root": wanted["root_password"], **{str(each["name"]): each["password"] for each in wanted["users"]}}
    found = {name: str(password) for name, password in given.items() if password}
    least, most = _PASSWORD_LENGTHS
    for name, password in found.items():
        if len(password) < least or len(password.encode()) > most or not password.isprintable():
            where = "opnsense_root_password" if name == "root" else f"opnsense_users: the password of {name}"
            raise OPNsenseError(
                f"{where}: it must have {least} characters at least, {most} bytes at most, and be one line"
            )
    return found


def declared(wanted: Values, text: str) -> dict[str, dict[str, str]]:
    """What of the configuration *text* the API does not change: its ``settings``, and the ``names`` of its interfaces by what it calls them."""
    return {
        "settings": settings_of(ElementTree.fromstring(text)),
        "names": {key: name for name, key in _interface_keys(wanted).items()},
    }


def config(wanted: Values) -> str:
    """The text of ``config.xml`` for the first start.

    :raises OPNsenseError:
    """
    its_items, known = items(wanted), secrets(wanted)
    root = ElementTree.Element("opnsense")
    _add(root, "theme", "opnsense")
    _write_system(_add(root, "system"), wanted, known)
    _write_interfaces(root, wanted)
    vlans = _add(root, "vlans")
    for number, its in enumerate(its_items["vlans"], 1):
        _fill(_add(vlans, "vlan"), {**its, "vlanif": _vlan_device(number)})
    _write_gateways(root, wanted)
    dhcp = _add(root, "dnsmasq")
    # Unbound has the port of DNS, as upstream's own configuration has it. Without an interface that is named it gives addresses on those of the
    # ranges, of which the API may get more.
    _fill(dhcp, {"enable": "1", "port": "53053"})
    for its in its_items["dhcp_ranges"]:
        _fill(_add(dhcp, "dhcp_ranges"), its)
    for its in its_items["dhcp_hosts"]:
        _fill(_add(dhcp, "hosts"), its)
    _add(_add(root, "unbound"), "enable", "1")
    _add(_add(_add(root, "nat"), "outbound"), "mode", "automatic")
    _add(root, "filter")
    _add(_add(root, "rrd"), "enable")
    # Where 26.7 has its rules; 25.7 and 26.1 read them there as well, beside those of the older form.
    rules = _add(_add(_add(_add(root, "OPNsense"), "Firewall"), "Filter"), "rules")
    for its in its_items["rules"]:
        _fill(_add(rules, "rule"), its)
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _write_system(system: ElementTree.Element, wanted: Values, known: t.Mapping[str, str]) -> None:
    _fill(
        system,
        {
            "optimization": "normal",
            "hostname": wanted["hostname"],
            "domain": wanted["domain"],
            "timezone": wanted["timezone"],
            "timeservers": " ".join(wanted["timeservers"]),
        },
    )
    for server in wanted["dns_servers"]:
        _add(system, "dnsserver", _address("opnsense_dns_servers", server))
    if not wanted["dns_servers"]:
        _add(system, "dnsallowoverride", "1")
    group = {"name": "admins", "description": "System Administrators", "scope": "system", "gid": "1999", "member": "0"}
    _fill(_add(system, "group"), {**group, "priv": "page-all"})
    user = _add(system, "user")
    _fill(user, {"name": "root", "descr": "System Administrator", "scope": "system", "groupname": "admins", "uid": "0"})
    # Whatever crypt(3) makes is taken for the console, ssh and the pages alike (password_verify of PHP).
    _add(user, "password", _hashed(known["password"], wanted, "root"))
    _add(user, "apikeys", f"{known['key']}|{_hashed(known['secret'], wanted, 'key')}")
    if wanted["ssh_keys"]:
        _add(user, "authorizedkeys", base64.b64encode("\n".join([*wanted["ssh_keys"], ""]).encode()).decode())
    _add(_add(system, "webgui"), "protocol", "https")
    _fill(
        system,
        {
            "disablenatreflection": "yes",
            "usevirtualterminal": "1",
            # Whoever has the console of the machine logs in all the same.
            "disableconsolemenu": "1",
            "ipv6allow": "1",
            "serialspeed": "115200",
            "primaryconsole": "serial",
            "secondaryconsole": "video",
            "pf_share_forward": "1",
            "lb_use_sticky": "1",
        },
    )
    ssh = _add(system, "ssh")
    _fill(ssh, {"group": "admins", "noauto": "1"})
    # The presence of an element is what counts there: passwordauth would let passwords in with any value.
    if wanted["ssh_keys"]:
        _fill(ssh, {"enabled": "enabled", "permitrootlogin": "1", "interfaces": "lan"})


def _hashed(text: str, wanted: Values, what: str) -> str:
    return sha512_crypt(text, stable_salt(f"{wanted['secret']} {wanted['name']} {what}"))


def _write_interfaces(root: ElementTree.Element, wanted: Values) -> None:
    interfaces, keys = _add(root, "interfaces"), _interface_keys(wanted)
    for each in wanted["interfaces"]:
        node = _add(interfaces, keys[each["name"]])
        _fill(node, {"enable": "1", "if": _device(wanted, each), "descr": each["description"] or each["name"].upper()})
        address = each["address"]
        if address == "dhcp":
            _add(node, "ipaddr", "dhcp")
        elif address != "none":
            its = _interface_address(each)
            _fill(node, {"ipaddr": str(its.ip), "subnet": str(its.network.prefixlen)})
        if each["gateway"]:
            _add(node, "gateway", _gateway_name(each))
        # As with ssh, an element that is there is switched on.
        for word, option in (("blockpriv", "block_private"), ("blockbogons", "block_bogons")):
            if each[option]:
                _add(node, word, "1")


def _write_gateways(root: ElementTree.Element, wanted: Values) -> None:
    found = [each for each in wanted["interfaces"] if each["gateway"]]
    if not found:
        return
    gateways, keys = _add(_add(root, "OPNsense"), "Gateways"), _interface_keys(wanted)
    for each in found:
        gateway = _address(f"opnsense_interfaces: the gateway of {each['name']}", each["gateway"])
        its = {"disabled": "0", "name": _gateway_name(each), "interface": keys[each["name"]], "ipprotocol": "inet"}
        more = {"gateway": gateway, "defaultgw": "1", "priority": "255", "weight": "1", "monitor_disable": "1"}
        _fill(_add(gateways, "gateway_item"), {**its, **more})


def _gateway_name(each: Values) -> str:
    return f"{each['name'].upper()}_GW"


def _interface_keys(wanted: Values) -> dict[str, str]:
    """What the configuration calls each interface: wan, lan, and opt1 and so on for all others."""
    keys: dict[str, str] = {}
    for each in wanted["interfaces"]:
        name = each["name"]
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,15}", name) or re.fullmatch(r"opt\d+", name):
            raise OPNsenseError(
                f"opnsense_interfaces: {name!r} is no name: lower case letters, digits and _, and not opt with a number"
            )
        if name in keys:
            raise OPNsenseError(f"opnsense_interfaces: {name} is there twice")
        others = sum(1 for other in keys if other not in ("wan", "lan"))
        keys[name] = name if name in ("wan", "lan") else f"opt{others + 1}"
    if "lan" not in keys:
        raise OPNsenseError("opnsense_interfaces: lan is needed: the firewall lets its own administration in there")
    return keys


def _device(wanted: Values, each: Values) -> str:
    """What FreeBSD calls the device of an interface: virtio cards are numbered in the order in which the machine has them."""
    if bool(each["network"]) == bool(each["vlan"]):
        raise OPNsenseError(f"opnsense_interfaces: {each['name']} needs one of network and vlan")
    if each["vlan"]:
        names = [its["name"] for its in wanted["vlans"]]
        if each["vlan"] not in names:
            raise OPNsenseError(
                f"opnsense_interfaces: {each['name']} is on the VLAN {each['vlan']}, which opnsense_vlans does not have"
            )
        return _vlan_device(names.index(each["vlan"]) + 1)
    return _card(wanted, each["network"])


def _card(wanted: Values, network: str) -> str:
    names = list(wanted["networks"])
    if network not in names:
        raise OPNsenseError(f"opnsense: the guest has no network {network}. It has {', '.join(names) or 'none'}")
    return f"vtnet{names.index(network)}"


def _vlan_device(number: int) -> str:
    return f"vlan0{number}"


def _vlan(wanted: Values, each: Values) -> Item:
    return {"if": _card(wanted, each["network"]), "tag": str(each["tag"]), "pcp": "0"}


def _range(wanted: Values, keys: t.Mapping[str, str], each: Values) -> Item:
    start, end = (_address(f"opnsense_dhcp_ranges: {word} of {each['name']}", each[word]) for word in ("start", "end"))
    if int(ipaddress.ip_address(start)) > int(ipaddress.ip_address(end)):
        raise OPNsenseError(f"opnsense_dhcp_ranges: {each['name']} ends before it begins")
    interface = _key(keys, "opnsense_dhcp_ranges", each["interface"])
    its = next(other for other in wanted["interfaces"] if other["name"] == each["interface"])
    if its["address"] in ("dhcp", "none"):
        raise OPNsenseError(
            f"opnsense_dhcp_ranges: {each['name']} is of {its['name']}, which has no address of its own"
        )
    network = _interface_address(its).network
    if any(ipaddress.ip_address(address) not in network for address in (start, end)):
        raise OPNsenseError(f"opnsense_dhcp_ranges: {each['name']} is not in {network}, the network of {its['name']}")
    return {"interface": interface, "start_addr": start, "end_addr": end}


def _dhcp_host(each: Values) -> Item:
    mac = str(each["mac"]).lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
        raise OPNsenseError(f"opnsense_dhcp_hosts: {mac} of {each['name']} is no MAC address")
    return {
        "host": each["name"],
        "ip": _address(f"opnsense_dhcp_hosts: {each['name']}", each["address"]),
        "hwaddr": mac,
    }


def _dns_host(wanted: Values, each: Values) -> Item:
    address = _address(f"opnsense_dns_hosts: {each['name']}", each["address"])
    kind = "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
    host, _dot, domain = each["name"].partition(".")
    return {"enabled": "1", "hostname": host, "domain": domain or wanted["domain"], "rr": kind, "server": address}


def _rule(keys: t.Mapping[str, str], each: Values, place: int) -> Item:
    port = str(each["port"] or "")
    if port and each["protocol"].upper() not in ("TCP", "UDP", "TCP/UDP"):
        raise OPNsenseError(f"opnsense_rules: {each['name']} has a port, and the protocol {each['protocol']} has none")
    return {
        "enabled": "1",
        "sequence": str(place * 10),
        "action": each["action"],
        "quick": "1",
        "interface": _key(keys, "opnsense_rules", each["interface"]),
        "direction": each["direction"],
        "ipprotocol": each["family"],
        "protocol": each["protocol"] if each["protocol"] == "any" else each["protocol"].upper(),
        "source_net": _net(keys, each["source"]),
        "destination_net": _net(keys, each["destination"]),
        "destination_port": port,
        "log": "1" if each["log"] else "0",
    }


def _net(keys: t.Mapping[str, str], text: str) -> str:
    """An address, a network, any, the firewall itself, the network of an interface by our name for it, or an alias of OPNsense."""
    return "(self)" if text == "self" else keys.get(text, text)


def _key(keys: t.Mapping[str, str], where: str, name: str) -> str:
    if name not in keys:
        raise OPNsenseError(f"{where}: there is no interface {name} in opnsense_interfaces")
    return keys[name]


def _named(kind: str, each: Values) -> str:
    name = str(each["name"])
    if not _NAME.fullmatch(name):
        raise OPNsenseError(f"opnsense_{kind}: {name!r} is no name: letters, digits, _, -, dots and spaces")
    return name


def _address(what: str, text: t.Any) -> str:
    try:
        return str(ipaddress.ip_address(str(text)))
    except ValueError:
        raise OPNsenseError(f"{what}: {text!r} is no address") from None


def _interface_address(each: Values) -> ipaddress.IPv4Interface:
    try:
        if "/" not in each["address"]:
            raise ValueError(each["address"])
        return ipaddress.IPv4Interface(each["address"])
    except ValueError:
        raise OPNsenseError(
            f"opnsense_interfaces: {each['address']!r} of {each['name']} must be dhcp, none, or an IPv4 address with its prefix"
        ) from None


def _add(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    """The element *tag* below *parent*. That of the newer settings is there once."""
    node = parent.find(tag) if tag == "OPNsense" else None
    if node is None:
        node = ElementTree.SubElement(parent, tag)
    if text is not None:
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
            raise OPNsenseError(f"opnsense: {tag} has a character that no XML may have")
        node.text = text
    return node


def _fill(parent: ElementTree.Element, values: t.Mapping[str, str]) -> None:
    for tag, text in values.items():
        _add(parent, tag, text)


def _whole(wanted: Values) -> dict[str, t.Any]:
    """*wanted* with what its items leave open."""
    lists = {kind: [{**open_, **each} for each in wanted[kind]] for kind, open_ in _DEFAULTS.items()}
    return {**wanted, **lists}


def made(wanted: Values) -> dict[str, t.Any]:
    """All that is made of the variables: ``config``, ``items``, ``passwords``, ``secrets``, and what is ``declared`` for its own pages alone.

    :raises OPNsenseError:
    """
    wanted = _whole(wanted)
    text = config(wanted)
    return {
        "config": text,
        "items": {**items(wanted), "users": users(wanted)},
        "passwords": passwords(wanted),
        "secrets": secrets(wanted),
        "declared": declared(wanted, text),
    }
