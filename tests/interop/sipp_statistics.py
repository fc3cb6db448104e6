#!/usr/bin/env python3
"""sipp_statistics.py FILE CALLS: whether sipp's statistics tell of so many successful calls, none failed and no retransmission."""

import csv
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    last = list(csv.DictReader(file, delimiter=";"))[-1]
calls, failed, again = (int(last[key]) for key in ("SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)"))
print(f"{calls} successful, {failed} failed, {again} retransmissions")
sys.exit(not (calls == int(sys.argv[2]) and failed == again == 0))
