#!/usr/bin/env python3
"""dns_server.py ADDRESS PORT ZONE: an authoritative DNS server whose zone file is read anew for every question, so that a script changes what
the world says by writing a file. Over UDP and TCP. Lines of the zone, `#` begins a comment:

    NAME TTL A|AAAA ADDRESS       NAME TTL SRV PRIORITY WEIGHT PORT TARGET       NAME TTL CNAME TARGET
    NAME nxdomain|servfail|refused|silent

What is not in the zone does not exist; negative answers carry an SOA with a minimum of one second. Each question is printed with the time."""

import ipaddress
import socket
import struct
import sys
import threading
import time

TYPES = {"A": 1, "CNAME": 5, "SOA": 6, "AAAA": 28, "SRV": 33}
CODES = {"nxdomain": 3, "servfail": 2, "refused": 5}
MINIMUM = 1


def wire_name(name):
    labels = [label for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def wire_data(kind, words):
    if kind == "SRV":
        return struct.pack(">HHH", *map(int, words[:3])) + wire_name(words[3])
    if kind == "CNAME":
        return wire_name(words[0])
    return ipaddress.ip_address(words[0]).packed


def record(name, kind, ttl, data):
    return wire_name(name) + struct.pack(">HHIH", TYPES[kind], 1, ttl, len(data)) + data


def read_zone(path):
    with open(path, encoding="ascii") as file:
        lines = [line.split("#")[0].split() for line in file]
    return [line for line in lines if line]


def question(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    return ".".join(labels).lower(), struct.unpack(">H", query[at + 1 : at + 3])[0], query[12 : at + 5]


def answer(query, zone, room):
    """The reply, or None for silence."""
    name, wanted, asked = question(query)
    lines = [line for line in zone if line[0].lower() == name]
    print(f"{time.time():.3f} {name} {wanted}", flush=True)
    for line in lines:
        if line[1] == "silent":
            return None
        if line[1] in CODES:
            return reply(query, asked, CODES[line[1]], [], [])
    answers = [record(name, line[2], int(line[1]), wire_data(line[2], line[3:])) for line in lines if TYPES[line[2]] in (wanted, 5)]
    soa = record("test", "SOA", MINIMUM, wire_name("ns.test") + wire_name("root.test") + struct.pack(">IIIII", 1, 60, 60, 60, MINIMUM))
    if answers:
        whole = reply(query, asked, 0, answers, [])
        return whole if len(whole) <= room else reply(query, asked, 0, [], [], truncated=True)
    return reply(query, asked, 0 if lines else 3, [], [soa])


def reply(query, asked, code, answers, authority, truncated=False):
    flags = 0x8400 | (0x0200 if truncated else 0) | code
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(answers), len(authority), 0) + asked + b"".join(answers) + b"".join(authority)


def serve_tcp(listener, path):
    while True:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(2)
            try:
                length = struct.unpack(">H", peer.recv(2, socket.MSG_WAITALL))[0]
                whole = answer(peer.recv(length, socket.MSG_WAITALL), read_zone(path), 65535)
                if whole:
                    peer.sendall(struct.pack(">H", len(whole)) + whole)
            except (OSError, struct.error, IndexError):
                pass


def main(address, port, path):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((address, port))
    listener = socket.create_server((address, port), family=family)
    threading.Thread(target=serve_tcp, args=(listener, path), daemon=True).start()
    while True:
        query, source = udp.recvfrom(4096)
        try:
            whole = answer(query, read_zone(path), 1232)
        except (IndexError, struct.error, ValueError) as error:
            print(f"unreadable: {error}", flush=True)
            continue
        if whole:
            udp.sendto(whole, source)


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
