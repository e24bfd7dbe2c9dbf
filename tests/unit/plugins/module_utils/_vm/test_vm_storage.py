# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import types

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm import storage


class PoolHandle:
    """Fails as libvirt's does while another run is at work in the pool."""

    def __init__(self, failures):
        self.failures = failures
        self.calls = 0

    def refresh(self, flags):
        library = pytest.importorskip("libvirt")
        self.calls += 1
        if self.calls <= self.failures:
            # An error's text is the last one that the library had in this thread, if there was any (libvirt 9).
            library.virResetLastError()
            raise library.libvirtError("pool 'main' has asynchronous jobs running.")


def refreshed(handle, *pools, is_active=True):
    pool = types.SimpleNamespace(is_active=is_active, handle=handle)
    return storage.refresh(types.SimpleNamespace(host=types.SimpleNamespace(pools={"main": pool})), pools)


def test_a_pool_that_is_busy_for_a_moment_is_refreshed_without_a_word():
    handle = PoolHandle(failures=2)
    assert refreshed(handle, "main", None, "main") == []
    assert handle.calls == 3


def test_a_pool_that_stays_busy_is_told(monkeypatch):
    monkeypatch.setattr(storage, "_REFRESH_SECONDS", 0.2)
    (told,) = refreshed(PoolHandle(failures=99), "main")
    assert told.startswith(
        "libvirt has not seen yet what changed in the storage pool main: pool 'main' has asynchronous"
    )


def test_a_pool_that_is_stopped_or_gone_is_not_asked():
    handle = PoolHandle(failures=99)
    assert refreshed(handle, "main", is_active=False) == refreshed(handle, "other") == []
    assert handle.calls == 0
