# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.module_utils._guest.options import BACKUP_EXCLUDE, BACKUP_HOOKS
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import (
    GuestRecord,
    RecordedFile,
    RecordedVolume,
    dump,
    load,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume


def root_in(pool: str, *, is_fresh: bool = False) -> RecordedVolume:
    return RecordedVolume(Volume(pool, "web.rootfs", "filesystem"), is_fresh)


def test_what_another_pool_keeps_of_an_item_is_not_forgotten() -> None:
    first = GuestRecord(volumes={"rootfs": root_in("main")})
    second = first.volumes_with({"rootfs": root_in("fast")})
    assert second == {"rootfs": root_in("fast"), "rootfs@main": root_in("main")}
    third = GuestRecord(volumes=second).volumes_with({"rootfs": root_in("slow")})
    assert set(third) == {"rootfs", "rootfs@main", "rootfs@fast"}
    assert GuestRecord(volumes=third).volumes_with({"data": root_in("main")}).items() >= third.items()


def test_what_is_taken_up_again_is_there_once() -> None:
    kept = GuestRecord(volumes={"rootfs": root_in("fast"), "rootfs@main": root_in("main")})
    assert kept.volumes_with({"rootfs": root_in("main")}) == {"rootfs": root_in("main"), "rootfs@fast": root_in("fast")}


def test_what_was_half_made_is_nothing_to_keep() -> None:
    begun = GuestRecord(volumes={"rootfs": root_in("main", is_fresh=True)})
    assert begun.volumes_with({"rootfs": root_in("fast")}) == {"rootfs": root_in("fast")}


def test_a_file_that_is_ours_is_read_as_it_was_written() -> None:
    file = RecordedFile("/var/web_VARS.fd", is_fresh=True)
    for files in ({"nvram": file}, {"nvram": file.settled(), "tpm": RecordedFile("/var/tpm")}, {}):
        assert load(dump(GuestRecord(exists=True, files=files)), exists=True).files == files


def test_which_mounts_are_backed_up_is_read_as_it_was_written() -> None:
    for names in (("data", "media"), ()):
        record = GuestRecord(exists=True, backed_up=names)
        assert load(dump(record), exists=True).backed_up == names and load(dump(record), exists=True).options == {}
    assert dump(GuestRecord())["backed_up"] is None


def test_a_value_in_a_folder_of_a_folder_leaves_the_others_and_the_record_that_it_comes_from() -> None:
    before, after = BACKUP_HOOKS
    exclude = BACKUP_EXCLUDE
    empty = load({}, exists=True)
    both = empty.with_value(before, ("a", "b")).with_value(exclude, ("/tmp",))
    more = both.with_value(after, ("c",))
    assert dump(both)["backup"] == {"hooks": {"before": ["a", "b"]}, "exclude": ["/tmp"]}
    assert dump(more)["backup"] == {"hooks": {"before": ["a", "b"], "after": ["c"]}, "exclude": ["/tmp"]}
    assert (more.value(before), empty.value(before)) == (("a", "b"), ())
    less = more.with_value(before, ()).with_value(after, ())
    assert dump(less)["backup"] == {"exclude": ["/tmp"]}
    assert "backup" not in dump(less.with_value(exclude, ()))
