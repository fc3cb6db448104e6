#!/usr/bin/env python3
"""What it costs each RTP packet that everything is recorded: the same packets through a border that keeps nothing and through one that keeps all, in turns, in one run.

Run by `benches/calls/run packets` in a network namespace of its own. Calls are set up by sipp and held; both peers then send 50 packets a second of 172 bytes for each
(G.711, 20 ms), from here, on core 0; the border has core 1. Counted is each packet that came out at the other side.

Arguments, as key=value:
  calls     up at once
  seconds   how long packets are sent
  rounds    how often the two take turns; the median round counts
"""

import os
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import compare
from telemetry import HEP, NOTHING, RECORDS, Border, listen

SETTINGS = {"calls": 200, "seconds": 4, "rounds": 3}
RATE = 100
# The addresses that descriptions name, for all calls: sipp has its own ports for itself.
PORT = 7000
CALLER, UM, BORDER = ("127.0.0.2", PORT), ("127.0.0.3", PORT), "127.0.0.1"


def opened(address):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    end.bind(address)
    end.setblocking(False)
    return end


def drained(end):
    """What has come."""
    packets = []
    try:
        while True:
            packets.append(end.recv(2048))
    except BlockingIOError:
        return packets


def rtp(tick, source, payload=bytes(160)):
    return struct.pack("!BBHII", 0x80, 8, tick & 0xFFFF, tick * 160 & 0xFFFFFFFF, source) + payload


def ports_of(caller, um):
    """The border's ports towards the caller, and towards the UM server: a packet to each port says at the other side which it was."""
    bound = [int(line.split()[1].rpartition(":")[2], 16) for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    even = [port for port in bound if 20000 <= port < 40000 and port % 2 == 0]
    found = []
    for sender, receiver in [(caller, um), (um, caller)]:
        for port in even:
            sender.sendto(rtp(0, 1, struct.pack("!H158x", port)), (BORDER, port))
            time.sleep(0.0005)
        time.sleep(0.2)
        found.append([struct.unpack("!H", packet[12:14])[0] for packet in drained(receiver)])
    return found


def sent(caller, um, ports, seconds):
    """Packets that came through."""
    through, began = 0, time.monotonic()
    for tick in range(1, seconds * 50):
        for sender, of, source in [(caller, ports[0], 1), (um, ports[1], 2)]:
            packet = rtp(tick, source)
            for port in of:
                sender.sendto(packet, (BORDER, port))
            through += len(drained(caller)) + len(drained(um))
        time.sleep(max(0, began + tick * 0.02 - time.monotonic()))
    time.sleep(0.2)
    return through + len(drained(caller)) + len(drained(um))


def scenario(folder, name):
    """sipp's, with our port in its description."""
    written = folder / name
    written.write_text((compare.HERE / name).read_text().replace("[media_port]", str(PORT)))
    return written


def measure(border, folder, settings):
    found = {}
    scenarios = {"caller": scenario(folder, "caller.xml"), "um": scenario(folder, "um.xml")}

    def during(_):
        time.sleep(settings["calls"] / RATE + 1.5)
        caller, um = opened(CALLER), opened(UM)
        ports = ports_of(caller, um)
        before = border.threads()
        packets = sent(caller, um, ports, settings["seconds"])
        after = border.threads()
        caller.close()
        um.close()
        wanted = (len(ports[0]) + len(ports[1])) * (settings["seconds"] * 50 - 1)
        spent = {name: (after[name] - before.get(name, 0)) / 1e3 / max(packets, 1) for name in after}
        found.update({"calls": min(map(len, ports)), "lost %": 100 * (1 - packets / max(wanted, 1)), "all": sum(spent.values()), **spent})

    probing = settings["calls"] * 2 * 2 * 0.0006
    pause = settings["calls"] / RATE + 3 + probing + settings["seconds"] + 2
    compare.load(folder, "u1", RATE, settings["calls"], pause=int(1000 * pause), during=during, **scenarios)
    return found


def main():
    settings = compare.arguments(SETTINGS, __doc__)
    os.sched_setaffinity(0, {0})
    listen()
    names = [NOTHING, RECORDS, HEP]
    folder = Path(tempfile.mkdtemp(prefix="packets-"))
    rounds = {name: [] for name in names}
    for _ in range(settings["rounds"]):
        for name in names:
            with Border(name, folder) as border:
                rounds[name].append(measure(border, folder, settings))
    calls = min(found["calls"] for name in names for found in rounds[name])
    if calls < settings["calls"]:
        sys.exit(f"only {calls} calls carried packets")
    print(f"{calls} calls, {calls * 100} packets a second for {settings['seconds']} s, {settings['rounds']} rounds; sender on core 0, the border on core 1")
    print(f"{'CPU, µs a packet':28}" + "".join(f"{name:>12}" for name in names) + f"{'ratio':>9}{'ratio':>9}")
    kinds = sorted({kind for name in names for found in rounds[name] for kind in found} - {"calls", "all", "lost %"})
    for kind in ["all", *kinds, "lost %"]:
        row = [statistics.median(found.get(kind, 0) for found in rounds[name]) for name in names]
        if max(row) < 0.001 and kind != "lost %":
            continue
        what = {"all": "whole process", "lost %": "lost, %", "portcullis": "signalling (core, network)"}.get(kind, f"thread {kind}")
        ratios = "".join(f"{value / row[0]:9.3f}" for value in row[1:]) if row[0] > 0.05 and kind != "lost %" else ""
        print(f"{what:28}" + "".join(f"{value:12.3f}" for value in row) + ratios)
    shutil.rmtree(folder)


main()
