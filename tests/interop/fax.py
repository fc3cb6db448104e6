#!/usr/bin/env python3
"""fax.py CALLER_MESSAGES UM_MESSAGES: the UDPTL of a T.38 fax on both sides of the border, once sipp's two scenarios have agreed on it.

The border's ports are read from the messages sipp wrote down. Each side sends a hundred datagrams of a fax, as a gateway would (T.38 section 9.1, each with the
packet before it as redundancy), and between them what must not pass: sound, bytes that are no UDPTL, and a fax from a stranger. Exit status 0 if each
side got exactly what the other sent, from the port it was told."""

import re
import select
import socket
import sys
import time

PACKETS = 100


def border_port(path):
    """From the newest description of the border's that has a fax; it signs as "-"."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            text = ""
        found = re.findall(r"o=- [^\n]*\n(?:(?!o=)[^\n]*\n)*?m=image (\d+) udptl t38", text.replace("\r", ""))
        if found and found[-1] != "0":
            return int(found[-1])
        time.sleep(0.05)
    sys.exit(f"no fax was agreed in {path}")


def udptl(number, side):
    primary = lambda n: bytes([0xC0, side]) + n.to_bytes(2, "big") * 20
    packet, before = primary(number), primary(number - 1) if number else b""
    recovery = bytes([0, 1, len(before)]) + before if before else bytes([0, 0])
    return number.to_bytes(2, "big") + bytes([len(packet)]) + packet + recovery


def bound(address, port):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.setblocking(False)
    return made


def main():
    sides = [bound("127.0.0.2", 40002), bound("127.0.0.3", 40004)]
    stranger = bound("127.0.0.9", 40006)
    ports = [("127.0.0.1", border_port(path)) for path in sys.argv[1:3]]
    time.sleep(0.3)
    sent, got = [[], []], [[], []]
    voice = bytes([0x80, 8]) + bytes(10) + bytes([0xD5]) * 160

    def receive(seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for ready in select.select(sides, [], [], left)[0]:
                data, source = ready.recvfrom(2048)
                index = sides.index(ready)
                if source != ports[index]:
                    sys.exit(f"from {source}, not from {ports[index]}")
                got[index].append(data)

    for number in range(PACKETS):
        for index, side in enumerate(sides):
            datagram = udptl(number, index)
            side.sendto(datagram, ports[index])
            sent[index].append(datagram)
            if number % 10 == 0:
                side.sendto(voice, ports[index])
                side.sendto(datagram + b"\0", ports[index])
                stranger.sendto(udptl(number, 7), ports[index])
        receive(0.01)
    receive(0.3)
    for index in (0, 1):
        if got[1 - index] != sent[index]:
            sys.exit(f"side {index}: {len(sent[index])} sent, {len(got[1 - index])} arrived at the other")
    print(f"{PACKETS} datagrams each way")


main()
