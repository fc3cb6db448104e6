"""What hep-js read, asked in Python terms: `decoded.py FILE EXPRESSION...`, of `packets`, each with its `rcinfo` and `payload`; `sip`, `reports`, `records`: of these kinds."""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    packets = [json.loads(line) for line in file]
sip = [packet for packet in packets if packet["rcinfo"]["payloadType"] == 1]
reports = [json.loads(packet["payload"]) for packet in packets if packet["rcinfo"]["payloadType"] == 5]
records = [json.loads(packet["payload"]) for packet in packets if packet["rcinfo"]["payloadType"] == 100]
for expression in sys.argv[2:]:
    if not eval(expression):
        print(json.dumps(packets[:3], indent=1))
        sys.exit(f"not so: {expression}")
