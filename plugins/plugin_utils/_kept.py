# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A module whose code its host keeps."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from ansible.constants import config
from ansible.plugins.action import ActionBase

from ..module_utils._run import kept_code
from . import _shared_code

Result = dict[str, t.Any]
Vars = dict[str, t.Any]

_KEPT = "homelab.hybrid._kept"


class KeptAction(ActionBase):
    """Runs the module of the same name with code that the host keeps, and sends the code where there is none."""

    TRANSFERS_FILES = False
    # What every result of the module has that did its work, also where it refuses.
    TOLD = "plan"
    _is_small = False

    def _execute_kept(self, task_vars: Vars) -> Result:
        return self.execute(self._module, None, task_vars)

    def execute(self, module: str, options: t.Mapping[str, t.Any] | None, task_vars: Vars) -> Result:
        """What *module* of this collection, by its short name, returns with *options*; ``None`` are those of the task."""
        told = self._tell(module, options, task_vars)
        # Without the code, with options that are refused, and where sudo wants a terminal, it tells nothing.
        if self.TOLD in told:
            return told
        with self._environment(kept_code.VARIABLE, _place(module)):
            return t.cast(
                Result, self._execute_module(f"homelab.hybrid.{module}", _given(options), task_vars=task_vars)
            )

    def _tell_kept(self, task_vars: Vars) -> Result:
        """What the code that the host keeps tells; without code nothing."""
        return self._tell(self._module, None, task_vars)

    def _tell(self, module: str, options: t.Mapping[str, t.Any] | None, task_vars: Vars) -> Result:
        with self._environment(kept_code.VARIABLE, _place(module)):
            self._is_small = True
            try:
                return t.cast(Result, self._execute_module(_KEPT, _given(options), task_vars=task_vars))
            finally:
                self._is_small = False

    @property
    def _module(self) -> str:
        return str(self._task.action).rpartition(".")[2]

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        """As ansible-core has it; what is a page long is piped wherever it can be, and needs no folder, no copy and no cleaning."""
        if super()._is_pipelining_enabled(module_style, wrap_async):
            return True
        become = self._connection.become
        can_pipe = self._connection.has_pipelining and (become is None or become.pipelining)
        return bool(self._is_small and can_pipe and not config.get_config_value("DEFAULT_KEEP_REMOTE_FILES"))

    @contextlib.contextmanager
    def _environment(self, variable: str, value: str) -> t.Iterator[None]:
        self._task.environment.append({variable: value})
        try:
            yield
        finally:
            self._task.environment.pop()


@functools.cache
def _place(module: str) -> str:
    """The file in which a host keeps the code of *module*."""
    return kept_code.file(_shared_code.digest(module), module)


def _given(options: t.Mapping[str, t.Any] | None) -> Result | None:
    return None if options is None else dict(options)
