#!/usr/bin/env python3
"""keys.py HOST PORT SECONDS: the keys a baresip hears in that time, in one line."""

import sys
import time

from bare import Bare

host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
phone, limit, keys = Bare(host, port), time.monotonic() + seconds, ""
while (left := limit - time.monotonic()) > 0 and (event := phone.wait(["CALL_DTMF_START"], left)) is not None:
    print(event)
    keys += event.get("param", "?")
print(keys)
