#!/usr/bin/env python3
"""What it costs to record: the same calls through a border that keeps nothing and through one that keeps all, in turns, in one run.

Run by `benches/calls/run telemetry` in a network namespace of its own. sipp (both sides) is pinned to core 0, the border with all its threads to core 1. "nothing": no
log line, no ladder, no record. "records": log lines, the ladders of the last calls in memory, each call in the store with its INVITE, and in the file. "ladders": and
its ladder in the store, as by default only of a call that failed. "and HEP": a copy of each message to a HEP server as well. Metrics are counted in all four.

Arguments, as key=value:
  rate      calls a second
  seconds   how long each measurement lasts
  rounds    how often the three take turns; the median round counts
  ways      those of the four to be compared, separated by commas; the first is what the others are held against
  steps     rates tried for the highest one, separated by commas; none: it is not looked for
"""

import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import compare

NOTHING, RECORDS, LADDERS, HEP = "nothing", "records", "ladders", "and HEP"
SETTINGS = {"rate": 200, "seconds": 8, "rounds": 3, "ways": ",".join([NOTHING, RECORDS, LADDERS, HEP]), "steps": ""}
KEPT = '[records]\nfile = "records.jsonl"\nstore = "records.sqlite"\n'


class Border(compare.Server):
    def command(self):
        policies = self.folder / "set"
        shutil.copytree(compare.ROOT / "policies/unsecured-lab", policies)
        text = (policies / "border.toml").read_text().partition("[records]")[0]
        if self.name == NOTHING:
            text += '[log]\nfilter = "off"\n[ladder]\ncalls = 0\n'
        else:
            text += KEPT
        if self.name in (LADDERS, HEP):
            text += 'ladders = "all"\n'
        if self.name == HEP:
            text += '[hep]\nserver = "127.0.0.1:9060"\ntransport = "udp"\n'
        (policies / "border.toml").write_text(text)
        return [compare.PROGRAM, "run", policies]

    def threads(self):
        """Nanoseconds on a processor of each kind of thread."""
        spent = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            name = (task / "comm").read_text().strip().rstrip("0123456789-")
            spent[name] = spent.get(name, 0) + int((task / "schedstat").read_text().split()[0])
        return spent


def listen():
    """A HEP server that reads and forgets."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    server.bind(("127.0.0.1", 9060))
    threading.Thread(target=lambda: [server.recv(65535) for _ in iter(int, 1)], daemon=True).start()


def measure(border, folder, settings):
    compare.load(folder, "u1", settings["rate"], settings["rate"])
    calls = settings["rate"] * settings["seconds"]
    before = border.threads()
    outcome = compare.load(folder, "u1", settings["rate"], calls)
    # What ends after the last BYE is part of its cost.
    time.sleep(1)
    after = border.threads()
    spent = {name: (after[name] - before.get(name, 0)) / 1e6 / calls for name in after}
    return {"bad": outcome.failed + outcome.again, "all": sum(spent.values()), **spent}


def main():
    settings = compare.arguments(SETTINGS, __doc__)
    os.sched_setaffinity(0, {0})
    listen()
    names = settings["ways"].split(",")
    folder = Path(tempfile.mkdtemp(prefix="telemetry-"))
    rounds = {name: [] for name in names}
    for _ in range(settings["rounds"]):
        for name in names:
            with Border(name, folder) as border:
                rounds[name].append(measure(border, folder, settings))
    print(f"{settings['rate']} calls a second for {settings['seconds']} s, {settings['rounds']} rounds; sipp on core 0, the border on core 1")
    print(f"{'CPU, ms a call':28}" + "".join(f"{name:>12}" for name in names) + f"{'ratio':>9}" * (len(names) - 1))
    kinds = sorted({kind for name in names for found in rounds[name] for kind in found} - {"bad", "all"})
    for kind in ["all", *kinds, "bad"]:
        row = [statistics.median(found.get(kind, 0) for found in rounds[name]) for name in names]
        if max(row) < 0.001 and kind != "bad":
            continue
        what = {"all": "whole process", "bad": "failed or sent again", "portcullis": "signalling (core, network)"}.get(kind, f"thread {kind}")
        ratios = "".join(f"{value / row[0]:9.3f}" for value in row[1:]) if row[0] > 0.001 and kind != "bad" else ""
        print(f"{what:28}" + "".join(f"{value:12.3f}" for value in row) + ratios)
    for name in names if settings["steps"] else []:
        with Border(name, folder) as border:
            rate, beyond = compare.highest(border, folder, "u1", {**settings, "seconds": 4})
            print(f"highest rate, {name:14}{rate:>10}{'+' if beyond else ''}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
