# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the checks of a tier, keep count, and print the closing table of `make test`.

A tier is a word (lint, sanity, unit, ...). Its records are JSON lines in .build/summary:
{"tier", "name", "passed", "failed", "skipped", "seconds", "reasons": {reason: count}}.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree
from pathlib import Path

BUILD = Path(".build")
SUMMARY = BUILD / "summary"
TIERS = ("lint", "sanity", "unit", "matrix", "integration", "molecule")

Record = dict[str, t.Any]


def read() -> list[Record]:
    if not SUMMARY.exists():
        return []
    return [json.loads(line) for line in SUMMARY.read_text(encoding="utf-8").splitlines() if line]


def append(tier: str, name: str, seconds: float, passed: int, failed: int, reasons: dict[str, int]) -> None:
    record = {
        "tier": tier,
        "name": name,
        "passed": passed,
        "failed": failed,
        "skipped": sum(reasons.values()),
        "seconds": round(seconds, 1),
        "reasons": reasons,
    }
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    with SUMMARY.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")


def start(tier: str) -> None:
    """Forget what an earlier run of the tier left."""
    records = [record for record in read() if record["tier"] != tier]
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def execute(command: list[str], stream: bool, log: Path) -> tuple[int, str]:
    """The command's status and its output, which is also kept in a file and, when asked, shown as it comes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with (
        log.open("w", encoding="utf-8") as handle,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as child,
    ):
        for line in child.stdout or ():
            lines.append(line)
            handle.write(line)
            handle.flush()
            if stream:
                print(line, end="", flush=True)
    return child.returncode, "".join(lines)


def run(arguments: argparse.Namespace) -> int:
    """One command is one test, or as many as its output has lines that match `count`."""
    log = BUILD / "logs" / f"{arguments.tier}-{re.sub(r'[^a-z0-9]+', '-', arguments.name.lower())}.log"
    if arguments.stream:
        print(f"---- {arguments.tier}: {arguments.name}", flush=True)
    began = time.monotonic()
    status, output = execute(arguments.command, arguments.stream, log)
    seconds = time.monotonic() - began
    refused = arguments.refuse and re.search(arguments.refuse, output, re.MULTILINE)
    failed = 1 if status or refused else 0
    count = len(re.findall(arguments.count, output, re.MULTILINE)) if arguments.count else 1
    if arguments.count and not count:
        failed = 1
    append(arguments.tier, arguments.name, seconds, max(count - failed, 0), failed, {})
    if failed and not arguments.stream:
        print(output, end="" if output.endswith("\n") else "\n")
    print(f"{'FAIL' if failed else 'ok  '} {arguments.tier}: {arguments.name} ({seconds:.1f} s)", flush=True)
    if failed:
        print(f"     the output is kept in {log}", flush=True)
    return status or failed


def read_junit(path: Path) -> tuple[int, int, dict[str, int]]:
    passed = failed = 0
    reasons: collections.Counter[str] = collections.Counter()
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None:
            reasons[skipped.get("message") or "no reason given"] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        else:
            passed += 1
    return passed, failed, dict(reasons)


def run_pytest(arguments: argparse.Namespace) -> int:
    report = BUILD / "reports" / f"{arguments.tier}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments.command]
    environment = {**os.environ, "PYTHONPATH": str(BUILD.resolve())}
    began = time.monotonic()
    status = subprocess.run(command, env=environment, check=False).returncode
    passed, failed, reasons = read_junit(report) if report.exists() else (0, 1, {})
    append(
        arguments.tier,
        "pytest",
        time.monotonic() - began,
        passed,
        failed or (1 if status else 0),
        reasons,
    )
    return status


def report(arguments: argparse.Namespace) -> int:
    """The table of tiers, the reasons of what was skipped, and the closing line."""
    records = read()
    totals: collections.Counter[str] = collections.Counter()
    print(f"\n{'tier':<14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for tier in TIERS:
        mine = [record for record in records if record["tier"] == tier]
        if not mine:
            print(f"{tier:<14}{'not run':>8}")
            continue
        sums = {key: sum(record[key] for record in mine) for key in ("passed", "failed", "skipped", "seconds")}
        totals.update({key: value for key, value in sums.items() if key != "seconds"})
        print(
            f"{tier:<14}{sums['passed']:>8}{sums['failed']:>8}{sums['skipped']:>9}{sums['seconds']:>9.0f}", flush=True
        )
    reasons: collections.Counter[tuple[str, str]] = collections.Counter()
    for record in records:
        for reason, count in record["reasons"].items():
            reasons[(record["tier"], reason)] += count
    if reasons:
        print("\nskipped:")
        for (tier, reason), count in sorted(reasons.items()):
            print(f"  {tier}: {count} x {reason}")
    for record in records:
        if record["failed"]:
            print(f"failed in {record['tier']}: {record['name']}")
    print(f"\ntests: {totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped", flush=True)
    return 1 if totals["failed"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    verb = verbs.add_parser("start", help="begin a tier")
    verb.add_argument("tier", choices=TIERS)

    verb = verbs.add_parser("run", help="run the command that follows -- as a check of a tier")
    verb.add_argument("--count", help="regular expression: each matching line of the output is one test")
    verb.add_argument("--refuse", help="regular expression: output that matches is a failure")
    verb.add_argument("--stream", action="store_true", help="show the output as it comes")
    verb.add_argument("tier", choices=TIERS)
    verb.add_argument("name")

    verb = verbs.add_parser("pytest", help="run pytest as a tier; its arguments follow --")
    verb.add_argument("tier", choices=TIERS)

    verbs.add_parser("report", help="print the table and the closing line")

    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:end], argparse.Namespace(command=words[end + 1 :]))
    if arguments.verb == "start":
        start(arguments.tier)
        return 0
    return {"run": run, "pytest": run_pytest, "report": report}[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
