"""Drives baresip through its control port: JSON in netstrings, one command at a time, events in between."""

import json
import socket
import time


class Bare:
    def __init__(self, host, port):
        limit = time.monotonic() + 10
        while True:
            try:
                self.socket = socket.create_connection((host, port), 2)
                break
            except OSError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.2)
        self.unread = b""
        self.events = []

    def _next(self, limit):
        """The next message, or None at the limit."""
        while True:
            head, colon, rest = self.unread.partition(b":")
            if colon and len(rest) > int(head):
                self.unread = rest[int(head) + 1 :]
                return json.loads(rest[: int(head)])
            left = limit - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None
            if not more:
                return None
            self.unread += more

    def command(self, name, parameters="", seconds=5):
        text = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self.socket.sendall(b"%d:%s," % (len(text), text))
        limit = time.monotonic() + seconds
        while (message := self._next(limit)) is not None:
            if message.get("response"):
                return message
            self.events.append(message)
        raise TimeoutError(f"baresip does not answer {name}")

    def wait(self, kinds, seconds):
        """The next event of one of these kinds, or None. Others before it are dropped."""
        limit = time.monotonic() + seconds
        while True:
            message = self.events.pop(0) if self.events else self._next(limit)
            if message is None or message.get("type") in kinds:
                return message
