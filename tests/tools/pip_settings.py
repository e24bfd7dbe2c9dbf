# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine says about pip, in its environment and its files, as one file. As a script: for another machine."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys

# Every Debian has this file; any other path of this machine means nothing on another.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def read() -> configparser.RawConfigParser:
    """The settings; the environment goes before the files, as it does with pip."""
    output = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    settings: dict[tuple[str, str], str] = {}
    for line in output.splitlines():
        key, dummy, value = line.partition("=")
        section, dummy, option = key.rpartition(".")
        value = ast.literal_eval(value)
        if section == ":env:":
            section = "global"
        elif (section, option) in settings:
            continue
        settings[(section, option)] = value
    parser = configparser.RawConfigParser()
    for (section, option), value in settings.items():
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, option, value)
    return parser


def for_another_machine(parser: configparser.RawConfigParser) -> configparser.RawConfigParser:
    """Without what points at files of this one."""
    for section in parser.sections():
        for option, value in parser.items(section):
            words = [word for word in value.split() if word == AUTHORITIES or not word.startswith(("/", "file:", "~"))]
            if words:
                parser.set(section, option, " ".join(words))
            else:
                parser.remove_option(section, option)
    return parser


if __name__ == "__main__":
    for_another_machine(read()).write(sys.stdout)
