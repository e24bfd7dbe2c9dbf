# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The only file that knows Ansible's module class and its check mode."""

from __future__ import annotations

import importlib.util
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

from .._core.converge import Resource, converge
from .._core.errors import HybridError
from .._core.plan import Change, Step
from . import journal, kept_code, progress

SYSTEM_PYTHON = "/usr/bin/python3"
Arguments = t.Mapping[str, t.Any]


def run(
    resource: Resource[t.Any, t.Any],
    arguments: Arguments,
    *,
    host: t.Callable[[], t.Any],
    libraries: t.Sequence[str] = (),
    **constraints: t.Any,
) -> None:
    """Run one resource as an Ansible module. *libraries* are the Python libraries that it cannot do without."""
    module = AnsibleModule(argument_spec=dict(arguments), supports_check_mode=True, **constraints)
    respawn_where_libraries_are(libraries)
    _open_to_guests()
    name = str(module.params.get("name", module.params.get("path")))
    with progress.telling(os.environ) as tell:
        report = None if tell is None else _reporting(tell, name)
        outcome = converge(resource, module.params, host=host(), dry_run=module.check_mode, report=report)
    result = outcome.result()
    warnings = list(outcome.plan.warnings)
    if outcome.changed and not module.check_mode:
        warnings += journal.note(module._name.rpartition(".")[2], name, result)
    for warning in warnings:
        module.warn(warning)
    finish(module, result, outcome.error)


def _reporting(tell: progress.Tell, name: str) -> t.Callable[[Change | Step], None]:
    def report(step: Change | Step) -> None:
        tell({"item": name, **step.told()})

    return report


def _open_to_guests() -> None:
    """A strict umask of whoever runs Ansible would keep QEMU's user and the roots of containers away from what is made.

    What nobody else may read is written with its mode.
    """
    os.umask(0o022)


class Result(t.Protocol):
    """How a run of more than one resource ended: its own journal is written."""

    warnings: list[str]
    error: HybridError | None

    def result(self) -> dict[str, t.Any]:
        """Everything that the module returns."""


def run_whole(
    converge_whole: t.Callable[..., Result],
    arguments: Arguments,
    *,
    libraries: t.Sequence[str] = (),
    **constraints: t.Any,
) -> None:
    """Run many resources as one Ansible module: *converge_whole* gets the parameters, ``dry_run`` and ``report``."""
    module = AnsibleModule(argument_spec=dict(arguments), supports_check_mode=True, **constraints)
    respawn_where_libraries_are(libraries)
    _open_to_guests()
    with progress.telling(os.environ) as tell:
        outcome = converge_whole(module.params, dry_run=module.check_mode, report=tell)
    for warning in outcome.warnings:
        module.warn(warning)
    finish(module, outcome.result(), outcome.error)


def run_info(
    read: t.Callable[[t.Mapping[str, t.Any], t.Any], dict[str, t.Any]],
    arguments: Arguments,
    *,
    host: t.Callable[[], t.Any],
    libraries: t.Sequence[str] = (),
) -> None:
    """Run a module that only reads: *read* gets the parameters and the host, and returns what the module returns."""
    module = AnsibleModule(argument_spec=dict(arguments), supports_check_mode=True)
    respawn_where_libraries_are(libraries)
    try:
        finish(module, {"changed": False, **read(module.params, host())}, None)
    except HybridError as exc:
        finish(module, {"changed": False, **exc.facts}, exc)


def finish(module: AnsibleModule, result: dict[str, t.Any], error: HybridError | None) -> None:
    """End the module: with an error as a failure that still tells the plan and what was done."""
    kept_code.keep(os.environ)
    if error is not None:
        module.fail_json(**{**result, "msg": error.message})
    module.exit_json(**result)


def respawn_where_libraries_are(libraries: t.Sequence[str]) -> None:
    """Go on under the system's Python when it has what this interpreter lacks: Debian's packages are for it alone."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if not missing or has_respawned():
        return
    if all(probe_interpreters_for_module([SYSTEM_PYTHON], name) for name in missing):
        respawn_module(SYSTEM_PYTHON)
