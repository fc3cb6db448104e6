#!/usr/bin/env python3
"""sipp_statistics.py FILE CALLS: whether sipp's statistics tell of so many successful calls, none failed, and no more than one
retransmission in a hundred calls: what a busy machine answers late is sent again after half a second, what is lost is sent again for many calls."""

import csv
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    last = list(csv.DictReader(file, delimiter=";"))[-1]
calls, failed, again = (int(last[key]) for key in ("SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)"))
print(f"{calls} successful, {failed} failed, {again} retransmissions")
sys.exit(not (calls == int(sys.argv[2]) and failed == 0 and again <= calls // 100))
