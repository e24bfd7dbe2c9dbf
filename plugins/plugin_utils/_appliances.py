# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the role of an appliance makes of its guest: the fact ``guest_appliance`` of its ``tasks/guest.yml``, found out on the control node.

A play has no tasks for a guest that a limit leaves out, and its hypervisor plans it nevertheless. So the file is not included, but read and done
here: it has ``set_fact``, ``assert`` and ``fail``, in blocks or not, each with ``when`` and ``vars``.
"""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ._guest_services import Service

Variables = dict[str, t.Any]

FACT = "guest_appliance"
# Why the role refuses the guest, in the place of the other.
REFUSED = "guest_appliance_refused"
_DONE = ("set_fact", "assert", "fail")
# What says nothing of what is done.
_ASIDE = ("name", "no_log", "tags")


def made_of_guest(name: str, service: Service, hostvars: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options of ``kvm_vm`` that the role of an appliance gives the guest *name* by its variables; none where it has no such file.

    :raises AnsibleFilterError: for what the role refuses, and for a file with other tasks.
    """
    if not (service.folder / "tasks" / "guest.yml").is_file():
        return {}
    return _Run(name, service, hostvars).made()


class _Run:
    """One reading of the file for one guest."""

    def __init__(self, name: str, service: Service, hostvars: t.Mapping[str, t.Any]) -> None:
        self._where = f"{service.name} of {name}"
        self._folder = service.folder
        self._loader = DataLoader()
        known = getattr(hostvars, "raw_get", hostvars.__getitem__)(name)
        self._variables: Variables = {
            **self._file("defaults/main.yml"),
            **known,
            **self._file("vars/main.yml"),
            "hostvars": hostvars,
            "role_name": service.role,
            "role_path": str(service.folder),
            "ansible_search_path": [str(service.folder), str(service.folder / "tasks")],
        }

    def made(self) -> dict[str, t.Any]:
        self._check_arguments()
        self._do(self._file("tasks/guest.yml", []), {})
        found = self._variables.get(FACT) or {}
        if not isinstance(found, t.Mapping):
            raise AnsibleFilterError(
                f"{self._where}: tasks/guest.yml sets {FACT} to no dictionary of options of kvm_vm"
            )
        return dict(found)

    def _file(self, path: str, empty: t.Any = None) -> t.Any:
        whole = self._folder / path
        found = self._loader.load_from_file(str(whole), trusted_as_template=True) if whole.is_file() else None
        return found or ({} if empty is None else empty)

    def _check_arguments(self) -> None:
        """As Ansible does it before the tasks of a role.

        :raises AnsibleFilterError: for a value of another form.
        """
        specs = self._file("meta/argument_specs.yml").get("argument_specs") or {}
        options = (specs.get("guest") or specs.get("main") or {}).get("options") or {}
        given = {key: self._template(key, self._variables[key], {}) for key in options if key in self._variables}
        if messages := ArgumentSpecValidator(options).validate(given).error_messages:
            raise AnsibleFilterError(f"{self._where}: {'; '.join(messages)}")

    def _do(self, tasks: t.Any, above: Variables) -> None:
        for task in tasks if isinstance(tasks, list) else [tasks]:
            own = {**above, **(task.get("vars") or {})}
            what = {key.removeprefix("ansible.builtin."): value for key, value in task.items()}
            kinds = [key for key in what if key not in (*_ASIDE, "vars", "when")]
            if len(kinds) != 1 or kinds[0] not in ("block", *_DONE):
                raise AnsibleFilterError(
                    f"{self._where}: tasks/guest.yml has {', '.join(kinds) or 'nothing'} in {task.get('name', 'a task')!r}. It is read where "
                    f"there is no connection: it may have {', '.join(_DONE)} and block, with when and vars"
                )
            if not self._hold(task.get("when", True), own):
                continue
            (kind,) = kinds
            if kind == "block":
                self._do(what[kind], own)
            elif kind == "set_fact":
                facts = {str(key): self._template(str(key), value, own) for key, value in what[kind].items()}
                self._variables.update(facts)
            elif kind == "fail" or not self._hold(what[kind].get("that", True), own):
                arguments = what[kind] or {}
                said = self._template("msg", arguments.get("fail_msg") or arguments.get("msg") or task.get("name"), own)
                raise AnsibleFilterError(f"{self._where}: {str(said).strip()}")

    def _hold(self, conditions: t.Any, own: Variables) -> bool:
        templar = self._templar(own)
        each = conditions if isinstance(conditions, list) else [conditions]
        return all(templar.evaluate_conditional(condition) for condition in each)

    def _template(self, what: str, value: t.Any, own: Variables) -> t.Any:
        return _plain(self._templar(own).template(value))

    def _templar(self, own: Variables) -> Templar:
        return Templar(loader=self._loader, variables={**self._variables, **own})


def _plain(value: t.Any) -> t.Any:
    """*value* filled in to its end: what a template leaves is filled in when it is looked at, by variables that may be others by then."""
    if isinstance(value, t.Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
