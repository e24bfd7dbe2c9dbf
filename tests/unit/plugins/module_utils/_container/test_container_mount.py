# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which line a mount of a container gets, and whose the files are that it maps."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import (
    ENTRY,
    HOOK,
    MOUNT_PROGRAM,
    Config,
    MountEntry,
    parse_entry,
    parse_program,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._container.mapping import mapped_extents
from ansible_collections.homelab.hybrid.plugins.module_utils._container.mount import (
    Source,
    bind_entries,
    claim_mounts,
    foreign_options,
    innermost,
    wanted_entry,
    write_mount,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Item

NEW = {"source": "/srv/my media", "path": "/srv/media", "readonly": False}
BELOW = Source(below=("/srv/my media/nas",))
PARTIAL = Source(below=("/srv/my media/nas",), unmapped=("/srv/my media/nas",))
PLAIN = Source(unmapped=("/srv/my media",))
IDS = Source(ids=("gid 100 105", "uid 1000 105"))
PROGRAM = f"{MOUNT_PROGRAM} /srv/my%20media /srv/media rbind"
LINE = "/srv/my\\040media srv/media none rbind,create=dir"


def entry_of(
    source: Source, entry: MountEntry | None = None, *, unprivileged: bool = True, **keys: object
) -> MountEntry:
    item = Item("media", True, keys if entry else {**NEW, **keys})
    return wanted_entry(entry, item, {}, source, is_file=False, is_unprivileged=unprivileged)


@pytest.mark.parametrize(
    ("source", "keys", "line"),
    [
        (Source(), {}, f"{LINE},idmap=container 0 0"),
        (Source(), {"unprivileged": False}, f"{LINE} 0 0"),
        (Source(), {"mapped": False}, f"{LINE} 0 0"),
        (PLAIN, {"readonly": True}, f"{LINE},ro 0 0"),
        (BELOW, {"readonly": True}, f"{LINE},ro,idmap=container 0 0"),
        (BELOW, {"readonly": True, "mapped": False}, f"{PROGRAM},ro"),
        (BELOW, {"readonly": True, "unprivileged": False}, f"{PROGRAM},ro"),
        (PARTIAL, {}, f"{PROGRAM},idmap=container"),
        (Source(holds_root=True), {"readonly": True}, f"{PROGRAM},ro,idmap=container"),
        (PARTIAL, {"mapped": False}, f"{LINE} 0 0"),
        (IDS, {}, f"{PROGRAM},idmap=container,gid=100:105,uid=1000:105"),
        (IDS, {"unprivileged": False}, f"{PROGRAM},idmap=container,gid=100:105,uid=1000:105"),
    ],
)
def test_our_program_mounts_what_liblxc_cannot(source, keys, line):
    entry = entry_of(source, **keys)
    assert entry.text == line and entry.key == (HOOK if line.startswith(MOUNT_PROGRAM) else ENTRY)


def test_a_line_of_the_program_is_read_as_it_was_written():
    entry = MountEntry("/srv/a 'b'$c;é", "/d%20", "none", ("rbind", "ro", "uid=1:2"), key=HOOK)
    found = parse_program(entry.text)
    assert found is not None and found.replace(line="") == entry and found.ids == ("uid 1 2",)
    assert all(character not in entry.text for character in "'$;\\")
    for other in ("/bin/true", f"{MOUNT_PROGRAM} /a", f"{MOUNT_PROGRAM}x /a /b rbind"):
        assert parse_program(other) is None


def test_a_line_becomes_one_of_the_program_and_goes_as_that():
    config = Config.parse("lxc.mount.entry = /srv/a b none ro,bind,create=dir 0 0\n# kept\n")
    (old,) = bind_entries(config)
    new = entry_of(IDS, old, map_ids=("both media 105",))
    edited = write_mount(config, old, new)
    expected = f"{HOOK} = {MOUNT_PROGRAM} /srv/a /b rbind,ro,idmap=container,gid=100:105,uid=1000:105"
    assert edited.text == f"# kept\n{expected}\n"
    (found,) = bind_entries(edited)
    assert write_mount(edited, found, entry_of(Source(), found, readonly=True)) is edited
    assert write_mount(edited, found, None).text == "# kept\n"


def test_options_of_somebody_stay_or_are_told():
    entry = parse_entry("/srv/a b none bind,optional,nosuid,create=dir 0 0")
    assert entry is not None and foreign_options(entry) == ["optional"]
    assert entry_of(Source(), entry, readonly=True).options == ("bind", "optional", "nosuid", "create=dir", "ro")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({}, [(0, 100000, 65536)]),
        ({1000: 1000}, [(0, 100000, 1000), (1000, 101000, 1), (1001, 101001, 64535)]),
        (
            {1000: 105},
            [(0, 100000, 105), (106, 100106, 894), (1000, 100105, 1), (1001, 101001, 64535)],
        ),
        ({70000: 0}, [(1, 100001, 65535), (70000, 100000, 1)]),
        ({0: 1, 1: 0}, [(0, 100001, 1), (1, 100000, 1), (2, 100002, 65534)]),
    ],
)
def test_each_id_of_the_host_and_inside_stands_for_one(ids, expected):
    assert mapped_extents([(0, 100000, 65536)], ids) == expected


def test_an_id_that_the_container_does_not_have_cannot_be_meant():
    with pytest.raises(ValueError, match="no id 65536"):
        mapped_extents([(0, 100000, 65536)], {5: 65536})


def test_what_is_backed_up_stands_in_the_record_and_changes_no_line():
    config = Config().append(ENTRY, "/srv/a a none bind,create=dir 0 0").append(ENTRY, "/srv/b b none bind 0 0")
    mounts = claim_mounts((), config, {"data": "/a"}, ["data"])
    assert {name: entry.is_backed_up for name, entry in mounts.items()} == {"data": True, "mount1": False}
    for wanted in (True, False):
        new = entry_of(Source(), mounts["data"], backup=wanted)
        assert new.is_backed_up is wanted and new.source == "/srv/a"
        assert write_mount(config, mounts["data"], new) is config
    assert entry_of(Source(), mounts["data"], readonly=True).is_backed_up
    assert not entry_of(Source()).is_backed_up


def test_a_path_lies_in_the_innermost_mount_above_it():
    points = {"outer": "/srv", "inner": "/srv/data", "other": "/srv/database"}
    paths = ("/srv/data", "/srv/data/a", "/srv/database/a", "/srv/dat", "/etc", "/srvx")
    assert [innermost(path, points) for path in paths] == ["inner", "inner", "other", "outer", None, None]
