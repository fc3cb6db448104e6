#!/usr/bin/env python3
"""webrtc.py BORDER PORT CERTIFICATE KEY CA NUMBER SECONDS WAV: a call over mutual TLS by an agent of WebRTC (aiortc of Debian: OpenSSL's DTLS, ICE by aioice),
which says 440 Hz for so long and writes what it hears to WAV, 8000 Hz. Exit status 0 if the call was answered, keyed and ended with a 200."""

import asyncio
import fractions
import math
import re
import ssl
import sys
import wave

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

RATE, FRAME = 8000, 160


class Tone(MediaStreamTrack):
    kind = "audio"

    def __init__(self):
        super().__init__()
        self.at = 0
        self.began = asyncio.get_event_loop().time()

    async def recv(self):
        await asyncio.sleep(max(0, self.began + self.at / RATE - asyncio.get_event_loop().time()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        samples = (int(12000 * math.sin(2 * math.pi * 440 * (self.at + i) / RATE)) for i in range(FRAME))
        frame.planes[0].update(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
        frame.pts, frame.sample_rate, frame.time_base = self.at, RATE, fractions.Fraction(1, RATE)
        self.at += FRAME
        return frame


class Dialog:
    """The caller's side of one call, as far as it is needed."""

    def __init__(self, reader, writer, number):
        self.reader, self.writer = reader, writer
        self.local = "%s:%d" % writer.get_extra_info("sockname")[:2]
        self.target = self.to = f"<sip:{number}@{writer.get_extra_info('peername')[0]}>"
        self.uri = self.target[1:-1]

    def send(self, method, number, body=""):
        lines = [
            f"{method} {self.uri} SIP/2.0",
            f"Via: SIP/2.0/TLS {self.local};branch=z9hG4bKwebrtc{method}{number}",
            "Max-Forwards: 70",
            f"From: <sip:2001@{self.local}>;tag=webrtc",
            f"To: {self.to}",
            f"Call-ID: webrtc-{self.local}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:2001@{self.local};transport=tls>",
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        self.writer.write(("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]) + body).encode())

    async def answered(self):
        """The final response: its status and body."""
        while True:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
            body = (await self.reader.readexactly(int(length.group(1)) if length else 0)).decode()
            status = re.match(r"SIP/2\.0 (\d+)", head)
            if status and int(status.group(1)) >= 200:
                self.to = re.search(r"(?im)^to\s*:\s*(.+?)\r$", head).group(1)
                contact = re.search(r"(?im)^contact\s*:\s*<([^>]+)>", head)
                self.uri = contact.group(1) if contact else self.uri
                return int(status.group(1)), body


async def hear(track, path):
    with wave.open(path, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        try:
            while True:
                frame = await track.recv()
                out.writeframes(bytes(frame.planes[0])[: frame.samples * 2])
        except MediaStreamError:
            pass


async def main():
    border, port, certificate, key, authority, number, seconds, path = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    context.load_cert_chain(certificate, key)
    dialog = Dialog(*await asyncio.open_connection(border, int(port), ssl=context), number)
    # No server is asked for an address: there is no network but the lab's.
    agent = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    hearing, states = [], []
    agent.on("track", lambda track: hearing.append(asyncio.ensure_future(hear(track, path))))
    agent.on("connectionstatechange", lambda: states.append(agent.connectionState))
    agent.addTrack(Tone())
    await agent.setLocalDescription(await agent.createOffer())
    dialog.send("INVITE", 1, agent.localDescription.sdp)
    status, answer = await dialog.answered()
    dialog.send("ACK", 1)
    if status != 200:
        sys.exit(f"not answered: {status}")
    print(answer)
    # aiortc finds an m-line by its name only, which a border that takes no part in BUNDLE does not repeat; and it reads no a=rtcp without an address.
    answer = re.sub(r"(?m)^a=rtcp:\d+\r\n", "a=mid:0\r\n", answer)
    await agent.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.sleep(float(seconds))
    dialog.send("BYE", 2)
    status, _ = await dialog.answered()
    await agent.close()
    print(states, status)
    if "connected" not in states or status != 200:
        sys.exit(1)


asyncio.run(asyncio.wait_for(main(), 25))
