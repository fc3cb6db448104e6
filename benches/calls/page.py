#!/usr/bin/env python3
"""How soon the border answers what its page asks, with many calls up and a store with very many records.

Run by `benches/calls/run page` in a network namespace of its own; before that, once: `cargo bench --bench records -- 1000000 FOLDER`. sipp (both sides) and the one
who asks are pinned to core 0, the border to core 1. Each question is asked twenty times over the control socket while calls begin and end beside those held.

Arguments, as key=value:
  store     the folder of that store (copied); none: an empty one
  held      calls up meanwhile, with four descriptors each as long as there are any; the rest ring, and have no media yet
  rate      calls a second while they are set up
"""

import http.client
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import compare

SETTINGS = {"store": "", "held": 5000, "rate": 250}
# A caller without a description, and a UM server that such a caller hears ring.
RINGING, UM = compare.HERE / "ringing.xml", compare.HERE / "um_ringing.xml"
SIPP = ["-nostdin", "-buff_size", "4194304", "-max_socket", "20000", "-l", "100000"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
QUESTIONS = [
    "/v1/status",
    "/v1/calls?limit=100",
    "/v1/calls?limit=100&number=5000",
    "/v1/calls?limit=100&number=nobody",
    "/v1/calls?limit=10000",
    "/v1/media",
    "/v1/records?limit=100",
    "/v1/records?limit=100&number=*0017",
    "/v1/records?limit=100&number=*1234*",
    "/v1/records?limit=100&peer=trunk1&fault=peer",
    "/v1/records?limit=100&audio_fault=true",
    "/v1/peers",
    "/metrics",
]


class Border(compare.Server):
    def command(self):
        policies = self.folder / "set"
        shutil.copytree(compare.ROOT / "policies/unsecured-lab", policies)
        text = (policies / "border.toml").read_text().partition("[records]")[0].replace("[20000, 39999]", "[10000, 59999]")
        # Nobody speaks, and all stay up.
        text = text.replace('silence = "30s"', 'silence = "0s"')
        self.socket = self.folder / "control.sock"
        text += f'[records]\nstore = "records.sqlite"\nkeep_megabytes = 0\nkeep_days = 0\n[control]\nsocket = "{self.socket}"\n'
        (policies / "border.toml").write_text(text)
        if self.store:
            shutil.copy(self.store, policies / "records.sqlite")
        return [compare.PROGRAM, "run", policies]


class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def caller(scratch, port, rate, pause, *more, scenario=compare.HERE / "caller.xml"):
    command = compare.pinned(0, "sipp", "127.0.0.1:5060", "-sf", scenario, "-i", "127.0.0.2", "-p", str(port), "-mi", "127.0.0.2", "-t", "u1",
                             "-s", "5000", "-r", str(rate), "-d", str(pause), *SIPP, *more)
    return subprocess.Popen(command, cwd=scratch, **QUIET)


def with_media(held, churn=0):
    """Of so many calls, those the border has descriptors for: it leaves a sixteenth of them, 512 at most, to others, and has some of its own. Of those that come and go each is up for a second."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(held, (limit - min(limit // 16, 512) - 100) // 4 - 2 * churn)


def asked(border, path):
    """Seconds, and bytes of the answer."""
    began = time.monotonic()
    asking = http.client.HTTPConnection("127.0.0.1", 9160, timeout=30) if path == "/metrics" else Local(border.socket)
    asking.request("GET", path)
    answer = asking.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status} {body[:200]}")
    asking.close()
    return time.monotonic() - began, body


def main():
    settings = compare.arguments(SETTINGS, __doc__)
    os.sched_setaffinity(0, {0})
    folder = Path(tempfile.mkdtemp(prefix="page-"))
    Border.store = Path(settings["store"]) / "records.sqlite" if settings["store"] else None
    with Border("border", folder) as border:
        held, rate = settings["held"], settings["rate"]
        done, before = threading.Event(), border.memory()

        def during(_):
            limit = time.monotonic() + held / rate + 60
            while json.loads(asked(border, "/v1/status")[1])["calls"] < held and time.monotonic() < limit:
                time.sleep(0.5)
            status = json.loads(asked(border, "/v1/status")[1])
            kept = json.loads(asked(border, "/v1/records-store")[1])
            print(f"{status['calls']} calls up, {kept['held']} records, {kept['size'] >> 20} MB; twenty times each, ms")
            up = border.memory()
            print(f"{'':52}{'median':>9}{'longest':>9}{'KiB':>8}")
            for path in QUESTIONS:
                found = [asked(border, path) for _ in range(20)]
                spans = sorted(1000 * span for span, _ in found)
                print(f"{path:52}{statistics.median(spans):9.1f}{spans[-1]:9.1f}{len(found[-1][1]) / 1024:8.0f}", flush=True)
            megabytes = [memory / 1e6 for memory in (before, up, border.memory())]
            print("\nmemory, MB: {:.0f} with nothing up, {:.0f} with these calls, {:.0f} after the questions".format(*megabytes))
            done.set()

        seconds, sounding = held // rate + 30, with_media(held)
        ringing = []

        def joined(calling):
            if held > sounding:
                print(f"{held - sounding} of the calls ring and have no media: there are no more descriptors")
                ringing.append(caller(folder, 5070, rate, 1_000_000, "-m", str(held - sounding), scenario=RINGING))
            during(calling)

        try:
            compare.load(folder, "u1", rate, sounding, pause=1000 * seconds, during=joined, um=UM, answered=held)
        finally:
            for process in ringing:
                process.kill()
                process.wait()
        if not done.is_set():
            print("it did not come so far")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
