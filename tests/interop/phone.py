#!/usr/bin/env python3
"""phone.py HOST PORT COMMAND [ARGUMENT] [+ await SECONDS EVENT]: one command to a baresip, and the event that must follow it.
phone.py HOST PORT await SECONDS EVENT: the event alone. Exit status 0 if baresip said yes and the event came."""

import json
import sys

from bare import Bare


def main():
    host, port, *words = sys.argv[1:]
    phone = Bare(host, int(port))
    steps = " ".join(words).split(" + ")
    for step in steps:
        name, _, argument = step.partition(" ")
        if name == "await":
            seconds, kind = argument.split(" ")
            event = phone.wait([kind, "CALL_CLOSED"], float(seconds))
            print(json.dumps(event))
            if event is None or event.get("type") != kind:
                sys.exit(kind != "none")
        else:
            answer = phone.command(name, argument)
            print(json.dumps(answer))
            if not answer.get("ok", True):
                sys.exit(1)


main()
