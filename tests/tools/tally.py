# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the checks of a tier, keep count, and print the closing table of `make test`, or the closing line of a long suite.

A tier is a word (lint, sanity, unit, ...); that of a long suite is no part of `make test`. With SIDE_BY_SIDE=1 in the environment, where
several run at once, what they print goes into .build/logs only, of a failure the end is shown, and the others stop at the first failure.
The records of a tier are JSON lines in .build/summary:
{"tier", "name", "passed", "failed", "skipped", "seconds", "reasons": {reason: count}, "unsteady": [test]}.

Of pytest on the host, where some thousand tests share two cores with all other tiers, up to UNSTEADY failed tests are run again
when the rest has ended, and so is side by side a command that is one of the tiers REPEATED. What passes then is unsteady: it is shown
with its failure and named in the closing table.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
import typing as t
import xml.etree.ElementTree
from pathlib import Path

BUILD = Path(".build")
SUMMARY = BUILD / "summary"
IS_SIDE_BY_SIDE = os.environ.get("SIDE_BY_SIDE") == "1"
TAIL_LINES = 100
ENDED_BY_ANOTHER = 3
UNSTEADY = 3
REPEATED = ("integration", "molecule")
TIERS = ("lint", "sanity", "unit", "matrix", "integration", "molecule")
LONG = ("services", "applications", "labs", "appliances", "homelab", "recovery")

Record = dict[str, t.Any]


def read() -> list[Record]:
    if not SUMMARY.exists():
        return []
    return [json.loads(line) for line in SUMMARY.read_text(encoding="utf-8").splitlines() if line]


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """The records, for this process alone."""
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    with SUMMARY.with_name("summary.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def append(
    tier: str,
    name: str,
    seconds: float,
    passed: int,
    failed: int,
    reasons: dict[str, int],
    unsteady: t.Sequence[str] = (),
) -> None:
    record = {
        "tier": tier,
        "name": name,
        "passed": passed,
        "failed": failed,
        "skipped": sum(reasons.values()),
        "seconds": round(seconds, 1),
        "reasons": reasons,
        "unsteady": list(unsteady),
    }
    with locked(), SUMMARY.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")


def start(tier: str) -> None:
    """Forget what an earlier run of the tier left."""
    with locked():
        records = [record for record in read() if record["tier"] != tier]
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
        ended = end_with_the_others(child) if IS_SIDE_BY_SIDE else None
        for line in child.stdout or ():
            lines.append(line)
            handle.write(line)
            handle.flush()
            if stream:
                print(line, end="", flush=True)
        child.wait()
    if ended is not None and ended.is_set():
        return ENDED_BY_ANOTHER, "".join(lines)
    return child.returncode, "".join(lines)


def end_with_the_others(child: subprocess.Popen[str]) -> threading.Event:
    """End *child* when another test has failed meanwhile. The event is set when that happened."""
    ended = threading.Event()

    def watch() -> None:
        while child.poll() is None:
            time.sleep(1)
            with locked():
                has_failed = any(record["failed"] for record in read())
            if has_failed:
                ended.set()
                child.terminate()
                return

    threading.Thread(target=watch, daemon=True).start()
    return ended


def announce(tier: str, name: str, log: Path) -> None:
    if IS_SIDE_BY_SIDE:
        print(f"---- {tier}: {name} begins; its output is in {log}", flush=True)


def close(tier: str, name: str, seconds: float, status: int, output: str, log: Path) -> None:
    """Say how it ended, and of what was not shown as it came, why."""
    if status == ENDED_BY_ANOTHER and IS_SIDE_BY_SIDE:
        print(f"---- {tier}: {name} was ended, as another has failed", flush=True)
        return
    if status and IS_SIDE_BY_SIDE:
        print("".join(f"{tier}: {name} | {line}\n" for line in output.splitlines()[-TAIL_LINES:]), end="")
    print(f"{'FAIL' if status else 'ok  '} {tier}: {name} ({seconds:.1f} s)", flush=True)
    if status:
        print(f"     the output is kept in {log}", flush=True)


def check(arguments: argparse.Namespace, is_shown: bool, log: Path) -> tuple[int, str, int]:
    """The status of the command, of 1 also where its output shows a failure, its output, and how many tests that has."""
    status, output = execute(arguments.command, is_shown, log)
    count = len(re.findall(arguments.count, output, re.MULTILINE)) if arguments.count else 1
    if not status and (not count or (arguments.refuse and re.search(arguments.refuse, output, re.MULTILINE))):
        status = 1
    return status, output, count


def run(arguments: argparse.Namespace) -> int:
    """One command is one test, or as many as its output has lines that match `count`."""
    log = BUILD / "logs" / f"{arguments.tier}-{re.sub(r'[^a-z0-9]+', '-', arguments.name.lower())}.log"
    is_shown = arguments.stream and not IS_SIDE_BY_SIDE
    if is_shown:
        print(f"---- {arguments.tier}: {arguments.name}", flush=True)
    announce(arguments.tier, arguments.name, log)
    began = time.monotonic()
    status, output, count = check(arguments, is_shown, log)
    unsteady: list[str] = []
    if status and status != ENDED_BY_ANOTHER and IS_SIDE_BY_SIDE and arguments.tier in REPEATED:
        close(arguments.tier, arguments.name, time.monotonic() - began, status, output, log)
        print(f"---- {arguments.tier}: again {arguments.name}", flush=True)
        status, output, count = check(arguments, is_shown, log.with_name(f"{log.stem}-again.log"))
        unsteady = [] if status else [arguments.name]
    seconds = time.monotonic() - began
    if status != ENDED_BY_ANOTHER or not IS_SIDE_BY_SIDE:
        failed = 1 if status else 0
        append(arguments.tier, arguments.name, seconds, max(count - failed, 0), failed, {}, unsteady)
    if status and not is_shown and not IS_SIDE_BY_SIDE:
        print(output, end="" if output.endswith("\n") else "\n")
    close(arguments.tier, arguments.name, seconds, status, output, log)
    return status


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


def failed_tests(output: str) -> list[str]:
    """The names of the tests that the summary of pytest says to have failed."""
    found = re.findall(r"^(?:FAILED|ERROR) (\S+?::[^\s\[]+(?:\[.*?\])?)(?= - |$)", output, re.MULTILINE)
    return list(dict.fromkeys(found))


def run_pytest(arguments: argparse.Namespace) -> int:
    report = BUILD / "reports" / f"{arguments.tier}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments.command]
    os.environ["PYTHONPATH"] = str(BUILD.resolve())
    log = BUILD / "logs" / f"{arguments.tier}-pytest.log"
    announce(arguments.tier, "pytest", log)
    began = time.monotonic()
    status, output = execute(command, not IS_SIDE_BY_SIDE, log)
    passed, failed, reasons = read_junit(report) if report.exists() else (0, 1, {})
    unsteady: list[str] = []
    again = failed_tests(output)
    if status == 1 and arguments.tier != "unit" and 0 < len(again) == failed <= UNSTEADY:
        if IS_SIDE_BY_SIDE:
            print("".join(f"{arguments.tier}: pytest | {line}\n" for line in output.splitlines()[-TAIL_LINES:]), end="")
        print(f"---- {arguments.tier}: again {', '.join(again)}", flush=True)
        words = [word for word in arguments.command if not Path(word.partition("::")[0]).exists()]
        status, output = execute(
            [sys.executable, "-m", "pytest", *words, *again],
            not IS_SIDE_BY_SIDE,
            log.with_name(f"{log.stem}-again.log"),
        )
        if not status:
            passed, failed, unsteady = passed + failed, 0, again
    seconds = time.monotonic() - began
    if status != ENDED_BY_ANOTHER or not IS_SIDE_BY_SIDE:
        append(arguments.tier, "pytest", seconds, passed, failed or (1 if status else 0), reasons, unsteady)
    if IS_SIDE_BY_SIDE:
        close(arguments.tier, "pytest", seconds, status, output, log)
    return status


def report(arguments: argparse.Namespace) -> int:
    """The table of tiers, the reasons of what was skipped, and the closing line."""
    tiers = arguments.tiers or TIERS
    records = [record for record in read() if record["tier"] in tiers]
    totals: collections.Counter[str] = collections.Counter()
    print(f"\n{'tier':<14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for tier in tiers:
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
        for test in record.get("unsteady", ()):
            print(f"unsteady, it failed beside all others and passed when it was run again: {record['tier']}: {test}")
        if record["failed"]:
            print(f"failed in {record['tier']}: {record['name']}")
    print(f"\ntests: {totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped", flush=True)
    return 1 if totals["failed"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    verb = verbs.add_parser("start", help="begin a tier")
    verb.add_argument("tier", choices=(*TIERS, *LONG))

    verb = verbs.add_parser("run", help="run the command that follows -- as a check of a tier")
    verb.add_argument("--count", help="regular expression: each matching line of the output is one test")
    verb.add_argument("--refuse", help="regular expression: output that matches is a failure")
    verb.add_argument("--stream", action="store_true", help="show the output as it comes")
    verb.add_argument("tier", choices=(*TIERS, *LONG))
    verb.add_argument("name")

    verb = verbs.add_parser("pytest", help="run pytest as a tier; its arguments follow --")
    verb.add_argument("tier", choices=(*TIERS, *LONG))

    verb = verbs.add_parser("report", help="print the table and the closing line")
    verb.add_argument("tiers", nargs="*", help="those that were run; without, those of `make test`")

    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:end], argparse.Namespace(command=words[end + 1 :]))
    if arguments.verb == "start":
        start(arguments.tier)
        return 0
    return {"run": run, "pytest": run_pytest, "report": report}[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
