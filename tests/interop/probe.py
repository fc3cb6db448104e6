#!/usr/bin/env python3
"""probe.py udp|tcp HOST PORT: an OPTIONS request to the border; says in one word what came back: answered, silent, closed or refused.
probe.py call HOST PORT CERTIFICATE KEY CA NUMBER: an INVITE with SRTP over mutual TLS; prints the final status."""

import os
import socket
import ssl
import sys
import time

SECONDS = float(os.environ.get("PROBE_SECONDS", 2))


def written(host):
    return f"[{host}]" if ":" in host else host


def request(method, target, via, local, body=""):
    local = (written(local[0]), local[1])
    token = f"{time.monotonic_ns():x}"
    lines = [
        f"{method} {target} SIP/2.0",
        f"Via: SIP/2.0/{via} {local[0]}:{local[1]};branch=z9hG4bK{token}",
        "Max-Forwards: 70",
        f"From: <sip:2001@{local[0]}>;tag={token}",
        f"To: <{target}>",
        f"Call-ID: {token}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:2001@{local[0]}:{local[1]};transport={via.lower()}>",
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]) + body).encode()


def udp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.connect((host, port))
        peer.settimeout(SECONDS)
        for _ in range(2):
            peer.send(request("OPTIONS", f"sip:{written(host)}:{port}", "UDP", peer.getsockname()))
            # What no parser could read must make no difference.
            peer.send(b"\x00\xff nonsense\r\n\r\n")
        try:
            return "answered" if peer.recv(4096).startswith(b"SIP/2.0") else "nonsense"
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"


def tcp(host, port):
    try:
        with socket.create_connection((host, port), SECONDS) as peer:
            try:
                peer.sendall(request("OPTIONS", f"sip:{written(host)}:{port}", "TCP", peer.getsockname()))
                answer = peer.recv(4096)
            except ConnectionError:
                return "closed"
            return "answered" if answer else "closed"
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"


def call(host, port, certificate, key, authority, number):
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    plain = socket.create_connection((host, port), SECONDS)
    with context.wrap_socket(plain, server_hostname="sbc.example.test") as peer:
        local = peer.getsockname()
        description = [
            "v=0",
            f"o=- 1 1 IN IP4 {local[0]}",
            "s=-",
            f"c=IN IP4 {local[0]}",
            "t=0 0",
            "m=audio 10000 RTP/SAVP 8",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
            "",
        ]
        target = f"sip:{number}@{host}:{port};transport=tls"
        peer.sendall(request("INVITE", target, "TLS", local, "\r\n".join(description)))
        peer.settimeout(40)
        received = b""
        while more := peer.recv(65536):
            received += more
            for line in received.split(b"\r\n"):
                if line.startswith(b"SIP/2.0 ") and not line.startswith(b"SIP/2.0 1"):
                    return line.split()[1].decode()
    return "closed"


def main():
    what, host, port, *rest = sys.argv[1:]
    print({"udp": udp, "tcp": tcp, "call": call}[what](host, int(port), *rest))


main()
