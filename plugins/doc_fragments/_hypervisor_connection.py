# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  inventory_name:
    description:
      - The name of the inventory host. Set by Ansible.
    type: str
    vars:
      - name: inventory_hostname
  delegated_name:
    description:
      - The name of the host that a task is delegated to. Set by Ansible, whose C(inventory_hostname) stays that of the other host.
    type: str
    keyword:
      - name: delegate_to
  guest_hypervisor:
    description:
      - The name of the hypervisor in the inventory.
      - It is used as the address of the hypervisor where neither O(hypervisor) nor O(host) has one. Without it the hypervisor is the control node.
    type: str
    vars:
      - name: guest_hypervisor
  hypervisor:
    description:
      - The connection variables of the hypervisor, as its own inventory entry has them, such as C(ansible_host), C(ansible_port),
        C(ansible_user), C(ansible_connection) and C(ansible_ssh_private_key_file).
      - A plugin sees only the variables of its own host, so set this once for all guests, with the filter
        P(homelab.hybrid.connection_vars#filter). See the examples.
    type: dict
    default: {}
    vars:
      - name: ansible_hypervisor
  transport:
    description:
      - How the hypervisor is reached. V(local) when it is the control node, V(ssh) otherwise.
      - Goes before C(ansible_connection) in O(hypervisor).
    type: str
    choices: [local, ssh]
    vars:
      - name: ansible_hypervisor_transport
  host:
    description:
      - The address of the hypervisor. Goes before C(ansible_host) in O(hypervisor).
    type: str
    vars:
      - name: ansible_hypervisor_host
  port:
    description:
      - The port of the SSH server of the hypervisor.
    type: int
    vars:
      - name: ansible_hypervisor_port
  user:
    description:
      - The user on the hypervisor. Who is not root there needs C(sudo).
    type: str
    vars:
      - name: ansible_hypervisor_user
  default_user:
    description:
      - The user on the hypervisor where neither O(user) nor O(hypervisor) has one.
    type: str
    cli:
      - name: remote_user
        option: --user
    env:
      - name: ANSIBLE_REMOTE_USER
    ini:
      - section: defaults
        key: remote_user
  private_key_file:
    description:
      - The private key for the hypervisor.
    type: path
    vars:
      - name: ansible_hypervisor_private_key_file
  default_private_key_file:
    description:
      - The private key for the hypervisor where neither O(private_key_file) nor O(hypervisor) has one.
    type: path
    cli:
      - name: private_key_file
        option: --private-key
    env:
      - name: ANSIBLE_PRIVATE_KEY_FILE
    ini:
      - section: defaults
        key: private_key_file
  ssh_executable:
    description:
      - The C(ssh) program on the control node.
    type: str
    vars:
      - name: ansible_hypervisor_ssh_executable
    env:
      - name: ANSIBLE_SSH_EXECUTABLE
  ssh_args:
    description:
      - Arguments of C(ssh) instead of C(-o ControlMaster=auto -o ControlPersist=60s).
    type: str
    vars:
      - name: ansible_hypervisor_ssh_args
  default_ssh_args:
    description:
      - The same where neither O(ssh_args) nor O(hypervisor) has them, as Ansible itself reads them.
    type: str
    env:
      - name: ANSIBLE_SSH_ARGS
    ini:
      - section: ssh_connection
        key: ssh_args
  ssh_common_args:
    description:
      - Further arguments of C(ssh).
    type: str
    vars:
      - name: ansible_hypervisor_ssh_common_args
  default_ssh_common_args:
    description:
      - The same where neither O(ssh_common_args) nor O(hypervisor) has them, as Ansible itself reads them.
    type: str
    cli:
      - name: ssh_common_args
    env:
      - name: ANSIBLE_SSH_COMMON_ARGS
    ini:
      - section: ssh_connection
        key: ssh_common_args
  ssh_extra_args:
    description:
      - Further arguments of C(ssh), after all others.
    type: str
    vars:
      - name: ansible_hypervisor_ssh_extra_args
  default_ssh_extra_args:
    description:
      - The same where neither O(ssh_extra_args) nor O(hypervisor) has them, as Ansible itself reads them.
    type: str
    cli:
      - name: ssh_extra_args
    env:
      - name: ANSIBLE_SSH_EXTRA_ARGS
    ini:
      - section: ssh_connection
        key: ssh_extra_args
  become_password:
    description:
      - The password that C(sudo) on the hypervisor asks for. Goes before C(ansible_become_password) in O(hypervisor).
      - Without one C(sudo) must ask for none.
    type: str
    vars:
      - name: ansible_hypervisor_become_password
  host_key_checking:
    description:
      - Whether the key of the hypervisor must be known.
    type: bool
    default: true
    vars:
      - name: ansible_hypervisor_host_key_checking
      - name: ansible_host_key_checking
    env:
      - name: ANSIBLE_HOST_KEY_CHECKING
    ini:
      - section: defaults
        key: host_key_checking
  timeout:
    description:
      - How many seconds the hypervisor may take to answer.
    type: int
    default: 10
    vars:
      - name: ansible_hypervisor_timeout
    env:
      - name: ANSIBLE_TIMEOUT
    ini:
      - section: defaults
        key: timeout
"""
