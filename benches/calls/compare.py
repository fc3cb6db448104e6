#!/usr/bin/env python3
"""Portcullis beside Kamailio as a stateful proxy with record-route, one after the other in the same run, the same sipp on both sides.

Run by ./run in a network namespace of its own. sipp (both sides) is pinned to core 0, the server to core 1. A call is INVITE, 100, 180, 200, ACK,
100 ms, BYE, 200. The caller comes over UDP, then over TCP; UM's side is TCP both times, since UM speaks nothing weaker.

Arguments, as key=value:
  rate      calls a second while CPU, delay and memory are measured
  seconds   how long each measurement lasts
  rounds    how often the two alternate; the median round counts
  steps     rates tried for the highest one, separated by commas
  held      calls up at once while memory is measured
"""

import csv
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAM = Path(os.environ.get("PORTCULLIS", ROOT / "target/release/portcullis"))
SETTINGS = {"rate": 200, "seconds": 10, "rounds": 3, "steps": "400,600,800,1000,1200,1400,1600,2000", "held": 1000}
# Of failed calls and retransmissions together, of all calls.
TOLERATED = 0.001
TICKS = os.sysconf("SC_CLK_TCK")


def pinned(core, *command):
    return ["taskset", "-c", str(core), *command]


class Server:
    """A server under measurement. Ended when its `with` is left."""

    def __init__(self, name, folder, change=None):
        self.name = name
        # What the policy set is changed by, once it is copied.
        self.change = change
        self.folder = folder / name.lower()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def command(self):
        if self.name == "Kamailio":
            return ["kamailio", "-f", HERE / "kamailio.cfg", "-DD", "-E", "-m", "512", "-M", "16", "-Y", self.folder, "-P", self.folder / "pid"]
        policies = self.folder / "set"
        shutil.copytree(ROOT / "policies/unsecured-lab", policies)
        if self.change:
            self.change(policies)
        return [PROGRAM, "run", policies]

    def __enter__(self):
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(pinned(1, *self.command()), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        await_listener("5060")
        # Worker processes take a moment longer than their sockets.
        time.sleep(1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def processes(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu(self):
        """Seconds of user and system time, all processes together."""
        total = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory(self):
        """Bytes, what is shared between its processes counted once."""
        total = 0
        for pid in self.processes():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total * 1024


def arguments(settings, usage):
    """The settings with what the command line says of them, as key=value, each of the kind it has."""
    settings = dict(settings)
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key not in settings:
            sys.exit(f"no such setting: {key}\n\n{usage}")
        settings[key] = type(settings[key])(value)
    return settings


def await_listener(port):
    limit = time.monotonic() + 10
    while not subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, check=True).stdout.strip():
        if time.monotonic() > limit:
            sys.exit(f"nothing listens on port {port}")
        time.sleep(0.1)


class Outcome:
    def __init__(self, row, calls, delays):
        self.calls = calls
        self.done = int(row.get("SuccessfulCall(C)", 0))
        self.failed = calls - self.done
        self.again = int(row.get("Retransmissions(C)", 0))
        self.delays = sorted(delays)

    def is_good(self):
        return self.failed + self.again <= TOLERATED * self.calls

    def delay(self, share):
        return self.delays[min(len(self.delays) - 1, int(share * len(self.delays)))] if self.delays else float("nan")


def load(folder, transport, rate, calls, pause=100, during=None, caller=HERE / "caller.xml", um=HERE / "um.xml", answered=None):
    """So many calls at that rate through whatever listens on port 5060. `during` is called once they have begun. `answered`: so many reach the UM side, if not as many."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    limit = calls / rate + pause / 1000 + 10
    common = ["-nostdin", "-buff_size", "4194304", "-max_socket", "20000", "-l", "100000"]
    answering = subprocess.Popen(
        pinned(0, "sipp", "-sf", um, "-i", "127.0.0.3", "-p", "5062", "-mi", "127.0.0.3", "-t", "t1", "-m", str(answered or calls), *common),
        cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    await_listener("5062")
    statistic = scratch / "statistic.csv"
    calling = subprocess.Popen(
        pinned(0, "sipp", "127.0.0.1:5060", "-sf", caller, "-i", "127.0.0.2", "-p", "5060", "-mi", "127.0.0.2", "-t", transport,
               "-s", "5000", "-r", str(rate), "-d", str(pause), "-m", str(calls), "-timeout", f"{int(limit)}s", "-trace_stat", "-stf", statistic, "-fd", "1",
               "-trace_rtt", "-rtt_freq", "200", *common),
        cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if during:
        during(calling)
    try:
        calling.wait(limit + 10)
    except subprocess.TimeoutExpired:
        calling.kill()
        calling.wait()
    answering.kill()
    answering.wait()
    with open(statistic, encoding="utf-8") as file:
        row = (list(csv.DictReader(file, delimiter=";")) or [{}])[-1]
    delays = []
    for path in scratch.glob("*_rtt.csv"):
        with open(path, encoding="utf-8") as file:
            delays += [float(line.split(";")[1]) for line in file.readlines()[1:]]
    shutil.rmtree(scratch)
    return Outcome(row, calls, delays)


def measure(server, folder, transport, settings):
    """CPU milliseconds a call, setup delay, whether it went well."""
    load(folder, transport, settings["rate"], settings["rate"])
    calls = settings["rate"] * settings["seconds"]
    before = server.cpu()
    outcome = load(folder, transport, settings["rate"], calls)
    # What ends after the last BYE is part of its cost.
    time.sleep(1)
    return {"cpu": 1000 * (server.cpu() - before) / calls, "p50": outcome.delay(0.5), "p99": outcome.delay(0.99), "bad": outcome.failed + outcome.again}


def memory(server, folder, transport, settings):
    """Bytes a call, while so many are up."""
    held, found = settings["held"], []
    before = server.memory()

    def during(calling):
        time.sleep(held / settings["rate"] + 2)
        found.append(server.memory())

    outcome = load(folder, transport, settings["rate"], held, pause=1000 * (held // settings["rate"] + 4), during=during)
    return (found[0] - before) / held if outcome.failed == 0 else float("nan")


def highest(server, folder, transport, settings):
    """The highest rate of the steps that went well, each at most once more; and whether it was the last step."""
    best = 0
    steps = [int(step) for step in str(settings["steps"]).split(",")]
    for rate in steps:
        calls = rate * min(settings["seconds"], 8)
        if not any(load(folder, transport, rate, calls).is_good() or time.sleep(2) for _ in range(2)):
            return best, False
        best = rate
    return best, True


def main():
    settings = arguments(SETTINGS, __doc__)
    names = ["Portcullis", "Kamailio"]
    folder = Path(tempfile.mkdtemp(prefix="calls-"))
    print(f"{settings['rate']} calls a second for {settings['seconds']} s, {settings['rounds']} rounds; sipp on core 0, the server on core 1\n")
    for transport, title in [("u1", "caller over UDP"), ("t1", "caller over TCP")]:
        rounds = {name: [] for name in names}
        for _ in range(settings["rounds"]):
            for name in names:
                with Server(name, folder) as server:
                    rounds[name].append(measure(server, folder, transport, settings))
        rows = {name: {key: statistics.median(found[key] for found in rounds[name]) for key in ("cpu", "p50", "p99", "bad")} for name in names}
        for name in names:
            with Server(name, folder) as server:
                load(folder, transport, settings["rate"], settings["rate"])
                rows[name]["memory"] = memory(server, folder, transport, settings)
            with Server(name, folder) as server:
                rows[name]["highest"], rows[name]["beyond"] = highest(server, folder, transport, settings)
        report(title, names, rows)
    shutil.rmtree(folder)


def report(title, names, rows):
    print(title)
    print(f"  {'':34}" + "".join(f"{name:>12}" for name in names) + f"{'ratio':>9}")
    for key, what, scale in [
        ("cpu", "CPU, ms a call", 1),
        ("p50", "setup delay, median, ms", 1),
        ("p99", "setup delay, 99th percentile, ms", 1),
        ("memory", "memory, KiB a call that is up", 1 / 1024),
        ("highest", "highest rate, calls a second", 1),
        ("bad", "failed or sent again", 1),
    ]:
        values = [rows[name][key] * scale for name in names]
        # sipp's clock is too coarse for a ratio of delays.
        ratio = f"{values[0] / values[1]:9.2f}" if values[1] and key in ("cpu", "memory", "highest") else ""
        marks = ["+" if key == "highest" and rows[name]["beyond"] else "" for name in names]
        print(f"  {what:34}" + "".join(f"{f'{value:.3g}' if value < 100 else f'{value:.0f}':>{12 - len(mark)}}{mark}" for value, mark in zip(values, marks)) + ratio)
    print(flush=True)


if __name__ == "__main__":
    main()
