#!/usr/bin/env python3
"""talk.py FIRST... -- NAME=ADDRESS:PORT:MESSAGES...: sound through the border while sipp's scenarios transfer a call.

Every NAME says what bears its name, in RTP from ADDRESS:PORT, to the port the border last told it (read from the messages sipp wrote down). FIRST are the pairs
that have to hear each other before the transfer, as `caller+um`; after it `caller` and `desk` have to, and from then on nobody hears anybody else. Exit status 0
if that is how it was, within twenty seconds."""

import re
import select
import socket
import sys
import time

# Packets of one to another after which he is heard: half a second of it, and a fifth for those who have little time before the transfer.
HEARD, HEARD_BEFORE = 25, 10


class Party:
    def __init__(self, text):
        self.name, where = text.split("=", 1)
        address, port, self.messages = where.split(":", 2)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, int(port)))
        self.socket.setblocking(False)
        self.sound = self.name[0].encode() * 160
        self.number = 0
        self.towards = None

    def look(self):
        """The border's newest description for this party; it signs as "-"."""
        try:
            with open(self.messages, encoding="utf-8", errors="replace") as file:
                text = file.read().replace("\r", "")
        except FileNotFoundError:
            return
        found = re.findall(r"o=- [^\n]*\n(?:(?!o=)[^\n]*\n)*?m=audio (\d+) ", text)
        if found and found[-1] != "0":
            self.towards = ("127.0.0.1", int(found[-1]))

    def say(self):
        if self.towards is None:
            return
        header = bytes([0x80, 8]) + self.number.to_bytes(2, "big") + (self.number * 160).to_bytes(4, "big") + self.sound[:4]
        self.socket.sendto(header + self.sound, self.towards)
        self.number += 1


def main():
    cut = sys.argv.index("--")
    first = [tuple(pair.split("+")) for pair in sys.argv[1:cut]]
    parties = [Party(text) for text in sys.argv[cut + 1 :]]
    by_sound = {party.sound: party.name for party in parties}
    heard = {}

    def turn():
        """Twenty milliseconds."""
        end = time.monotonic() + 0.02
        for party in parties:
            party.say()
        while (left := end - time.monotonic()) > 0:
            for ready in select.select([party.socket for party in parties], [], [], left)[0]:
                listener = next(party for party in parties if party.socket is ready)
                data = ready.recv(2048)
                # RTP and nothing else: RTCP has a port of its own.
                pair = (by_sound.get(data[12:], "?"), listener.name)
                heard[pair] = heard.get(pair, 0) + 1

    def both(one, other, packets):
        return min(heard.get((one, other), 0), heard.get((other, one), 0)) >= packets

    limit = time.monotonic() + 20
    turns = 0
    while not both("caller", "desk", HEARD):
        if time.monotonic() > limit:
            sys.exit(f"caller and desk do not hear each other: {heard}")
        if turns % 5 == 0:
            for party in parties:
                party.look()
        turn()
        turns += 1
    before = dict(heard)
    for _ in range(HEARD):
        turn()
    more = {pair: count - before.get(pair, 0) for pair, count in heard.items() if count > before.get(pair, 0)}
    print("in all", heard, "at the end", more)
    if missing := [pair for pair in first if not both(*pair, HEARD_BEFORE)]:
        sys.exit(f"did not hear each other before: {missing}")
    if strangers := [pair for pair in more if set(pair) != {"caller", "desk"}]:
        sys.exit(f"are still heard: {strangers}")


main()
