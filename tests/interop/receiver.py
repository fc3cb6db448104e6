#!/usr/bin/env python3
"""receiver.py ADDRESS PORT CERTIFICATE KEY FILE: takes notices of missed calls over HTTPS and appends each to FILE as a line of JSON, with the
Idempotency-Key it came under. The first is taken, but its answer is a 503: it must come again, under the same key and the same to the byte."""

import http.server
import json
import ssl
import sys

ADDRESS, PORT, CERTIFICATE, KEY, FILE = sys.argv[1:6]
TAKEN = []


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(FILE, "a", encoding="utf-8") as file:
            line = {"key": self.headers["Idempotency-Key"], "token": self.headers["Authorization"], "body": body.decode()}
            file.write(json.dumps(line) + "\n")
        TAKEN.append(body)
        self.send_response(503 if len(TAKEN) == 1 else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()


server = http.server.HTTPServer((ADDRESS, int(PORT)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
