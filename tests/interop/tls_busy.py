#!/usr/bin/env python3
"""A peer over mutual TLS that never pauses: WINDOW requests are under way on one connection all the time, the next goes out with every answer. When that is closed it connects anew at once.
It listens too, for answers that find their connection gone (RFC 3261 §18.2.2).

tls_busy.py CERTIFICATE KEY CA HOST PORT OWN-PORT SECONDS: prints in JSON how many requests were `sent`, answered `here` (on the connection they went out on), `elsewhere`, or never (`lost`), on
how many `connections`, and `status`es."""

import asyncio
import json
import re
import ssl
import sys
import time
from collections import Counter

CERTIFICATE, KEY, CA, HOST, PORT, OWN_PORT, SECONDS = sys.argv[1:]
WINDOW = 8
# For an answer that comes another way.
PATIENCE = 5

under_way, seen = set(), Counter()
statuses, number = Counter(), 0


def context(purpose):
    tls = ssl.create_default_context(purpose, cafile=CA)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(CERTIFICATE, KEY)
    return tls


def request(local):
    global number
    number += 1
    under_way.add(number)
    lines = [
        f"OPTIONS sip:{HOST}:{PORT} SIP/2.0",
        f"Via: SIP/2.0/TLS {local}:{OWN_PORT};branch=z9hG4bKbusy{number}",
        "Max-Forwards: 70",
        f"From: <sip:2001@{local}>;tag=busy{number}",
        f"To: <sip:{HOST}:{PORT}>",
        f"Call-ID: busy{number}",
        f"CSeq: {number} OPTIONS",
        f"Contact: <sip:2001@{local}:{OWN_PORT};transport=tls>",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def answer(reader):
    """Number and status of the next answer; a request of the border's has none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"^Content-Length:\s*(\d+)", head, re.M | re.I)
    await reader.readexactly(int(length[1]) if length else 0)
    found = re.search(r"z9hG4bKbusy(\d+)", head)
    return (int(found[1]), head.split(" ", 2)[1]) if found and head.startswith("SIP/2.0 ") else (None, None)


def take(which, status, where):
    if which in under_way:
        under_way.discard(which)
        seen[where] += 1
        statuses[status] += 1
        return True
    return False


async def elsewhere(reader, writer):
    try:
        while True:
            take(*await answer(reader), "elsewhere")
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ssl.SSLError):
        writer.close()


async def busy(end):
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection(HOST, int(PORT), ssl=context(ssl.Purpose.SERVER_AUTH), server_hostname="sbc.example.test")
        except OSError:
            seen["refused"] += 1
            await asyncio.sleep(0.1)
            continue
        seen["connections"] += 1
        local = writer.get_extra_info("sockname")[0]
        mine = WINDOW
        try:
            writer.write(b"".join(request(local) for _ in range(WINDOW)))
            while mine and time.monotonic() < end + PATIENCE:
                which, status = await asyncio.wait_for(answer(reader), PATIENCE)
                mine -= take(which, status, "here")
                if time.monotonic() < end:
                    writer.write(request(local))
                    mine += 1
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            seen["closed"] += 1
        except asyncio.TimeoutError:
            seen["silent"] += 1
        writer.close()


async def main():
    server = await asyncio.start_server(elsewhere, None, int(OWN_PORT), ssl=context(ssl.Purpose.CLIENT_AUTH))
    await busy(time.monotonic() + float(SECONDS))
    end = time.monotonic() + PATIENCE
    while under_way and time.monotonic() < end:
        await asyncio.sleep(0.1)
    server.close()
    keys = ["here", "elsewhere", "connections", "closed", "refused", "silent"]
    print(json.dumps({"sent": number, "lost": len(under_way), **{key: seen[key] for key in keys}, "statuses": statuses}))


asyncio.run(main())
