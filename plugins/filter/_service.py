# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The filters of this collection's service roles. Each has a file of its name for ansible-doc; its code says the rest."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils import _immich, _jellyfin, _nas_share, _opnsense, _windows_setup
from ..plugin_utils._compose import compose_images, compose_preset, same_images
from ..plugin_utils._monitoring import monitoring_targets
from ..plugin_utils._openpgp import fingerprints
from ..plugin_utils._services import mosquitto_hash, pools_overlapping, ports_taken


class FilterModule:
    """The filters of this file, each with an underscore before its name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "_compose_images": compose_images,
            "_compose_preset": compose_preset,
            "_compose_same_images": same_images,
            "_immich_requests": _told(_immich.requests, _immich.ImmichError),
            "_jellyfin_requests": _told(_jellyfin.requests, _jellyfin.JellyfinError),
            "_monitoring_targets": monitoring_targets,
            "_mosquitto_hash": mosquitto_hash,
            "_nas_share_outdated": _nas_share.outdated,
            "_nas_share_wrong": _nas_share.wrong,
            "_opnsense_made": _told(_opnsense.made, _opnsense.OPNsenseError),
            "_openpgp_fingerprints": _told(fingerprints, ValueError),
            "_pools_overlapping": pools_overlapping,
            "_ports_taken": ports_taken,
            "_windows_answer": _told(_windows_setup.answer_file, _windows_setup.WindowsError),
        }


def _told(function: t.Callable[..., t.Any], errors: type[Exception]) -> t.Callable[..., t.Any]:
    """*function*, of whose *errors* the user is told without a trace."""

    @functools.wraps(function)
    def call(*arguments: t.Any) -> t.Any:
        try:
            return function(*arguments)
        except errors as error:
            raise AnsibleFilterError(str(error)) from None

    return call
