# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guestfish is asked about files, and how what it answers is read. The answers are those of guestfish 1.48."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files import inner
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.files.inner import Inner
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError

STAT = """\
st_dev: 2048
st_ino: 20
st_mode: {mode}
st_uid: 1234
st_gid: 2345
st_rdev: {device}
st_size: 6
st_mtime_sec: 1795850690
st_mtime_nsec: 5
"""
NAMES = """\
[0] = {
  attrname: system.posix_acl_access
  attrval: \\x02\\x00
}
[1] = {
  attrname: system.ntfs_attrib
  attrval: x
}
[2] = {
  attrname: user.note
  attrval: st_mode: 0
}
"""


def told(**more: str) -> str:
    """What is printed of one path, where nothing else is said as of a file."""
    said = {"there": "false\n", "file": STAT.format(mode=0o104750, device=0), "folder": "/srv\n", "used": "102\n"}
    said |= {"names": "", "target": "", **more}
    return "".join(f"@ {key}.0\n{text}" for key, text in said.items()) + "@ end\n"


def test_a_word_of_a_script_is_no_more_than_a_word() -> None:
    assert inner.word("/etc/a.b_c-1") == '"/etc/a.b_c-1"'
    assert inner.word('/a "b" $x\n| rm') == '"/a\\x20\\x22b\\x22\\x20\\x24x\\x0a\\x7c\\x20rm"'
    assert inner.word("/\u00e9\udcff") == '"/\\xc3\\xa9\\xff"'


def test_what_is_not_there_is_asked_so_that_the_script_goes_on_and_what_cannot_be_read_ends_it() -> None:
    lines = inner.questions(["/etc/a"])
    assert 'is-dir "/etc/a"' in lines and '-lstatns "/etc/a"' in lines and '-statns "/etc"' in lines
    assert lines[-1] == "echo @ end"


def test_a_file_has_its_own_path_without_links_and_the_attributes_that_are_its_own() -> None:
    found, above = inner.answers(told(names=NAMES, folder="/srv/real\n"), ["/a"])
    moment = 1795850690 * 10**9 + 5
    names = ("system.posix_acl_access", "user.note")
    assert found == {"/a": Inner("/srv/real/a", 0o104750, 1234, 2345, 6, 0, moment, "", names)}
    assert above == {}


def test_a_folder_takes_what_is_in_it_and_a_link_leads_somewhere() -> None:
    (folder,) = inner.answers(told(file=STAT.format(mode=0o40755, device=0)), ["/a"])[0].values()
    assert folder is not None and folder.is_folder and folder.size == 102 * 1024
    link = told(file=STAT.format(mode=0o120777, device=0), target="/no where\n")
    (its,) = inner.answers(link, ["/a"])[0].values()
    assert its is not None and its.target == "/no where" and not its.is_folder


def test_what_is_not_there_is_none_and_the_folders_above_are_told() -> None:
    text = told(file="", folder="").replace("@ end", "@ above.0\n" + STAT.format(mode=0o40750, device=0) + "@ end")
    found, above = inner.answers(text, ["/srv/a"])
    assert found == {"/srv/a": None} and above["/srv"].mode == 0o40750


def test_an_answer_without_its_end_is_none() -> None:
    with pytest.raises(ObserveError, match="did not say all"):
        inner.answers(told().replace("@ end\n", ""), ["/a"])


def test_the_folders_above_come_from_the_outside_in_and_what_lies_in_another_is_not_asked_for_twice() -> None:
    assert inner.folders_of(["/a/b/c", "/a/d", "/e"]) == ["/a", "/a/b"]
    assert inner.outermost(["/a/b", "/a", "/a/b", "/ab"]) == ["/a", "/ab"]


def test_a_folder_comes_as_an_archive_and_all_else_as_it_is() -> None:
    file, folder = Inner("/srv/x y", 0o100644, 0, 0, names=("user.b", "user.a")), Inner("/srv", 0o40755, 0, 0)
    assert inner.content(file, 7) == 'download "/srv/x\\x20y" /dev/fd/7'
    assert inner.content(folder, 8) == 'tar-out "/srv" /dev/fd/8 numericowner:true xattrs:true acls:true'
    assert inner.attributes([file])[1] == 'lgetxattr "/srv/x\\x20y" "user.b" | base64'
    text = "@ value.0.0\nAP9B\n@ value.0.1\n\n@ end\n"
    assert inner.values(text, [file]) == [{"user.b": b"\0\xffA", "user.a": b""}]
