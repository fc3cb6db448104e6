#!/usr/bin/env python3
"""record.py FILE COUNT EXPRESSION...: waits up to ten seconds until the file holds COUNT call records, then evaluates each expression with `r`
bound to the newest record and `newest` to the list of all, newest last. Prints what does not hold; exit status 0 if everything does."""

import json
import sys
import time


class Record(dict):
    """Keys as attributes: r.a.tls.version."""

    def __getattr__(self, key):
        return self[key]


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line, object_hook=Record) for line in file if line.strip()]
    except FileNotFoundError:
        return []


def main():
    path, count, expressions = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    limit = time.monotonic() + 10
    records = read(path)
    while len(records) < count and time.monotonic() < limit:
        time.sleep(0.1)
        records = read(path)
    if len(records) < count:
        sys.exit(f"{len(records)} call records, {count} wanted")
    failed = []
    for expression in expressions:
        try:
            held = eval(expression, {"r": records[-1], "newest": records})
        except (KeyError, TypeError, AttributeError) as error:
            held, expression = False, f"{expression}: {error!r}"
        if not held:
            failed.append(expression)
    for expression in failed:
        print("does not hold:", expression)
    if failed:
        print(json.dumps(records[-1], indent=1))
    sys.exit(bool(failed))


main()
