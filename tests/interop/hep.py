"""What a capture server of others was told, asked in Python terms: `hep.py LOG EXPRESSION...`, of `packets`, those of the last call, each with its chunks; of SIP
`says` is the text, else what the JSON says. `sip(BEGIN)`: messages that begin so; `reports`, `records`: of these kinds."""
import json
import sys

packets = []
for line in open(sys.argv[1], errors="replace"):
    at = line.find('{"hep": ')
    if at >= 0:
        packet = json.loads(line[at:])
        if packet["type"] == 1:
            packet["says"] = bytes.fromhex(packet["says"]).decode(errors="replace")
        packets.append(packet)


def sip(begin):
    return [packet for packet in packets if packet["type"] == 1 and packet["says"].startswith(begin)]


def call_id(packet):
    return next(line.split(":", 1)[1].strip() for line in packet["says"].splitlines() if line.lower().startswith("call-id:"))


reports = [packet for packet in packets if packet["type"] == 5]
records = [packet["says"] for packet in packets if packet["type"] == 100]
for expression in sys.argv[2:]:
    if not eval(expression):
        for packet in packets:
            print({**packet, "says": str(packet["says"])[:300]})
        sys.exit(f"not so: {expression}")
