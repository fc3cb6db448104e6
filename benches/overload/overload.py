#!/usr/bin/env python3
"""What becomes of calls when there are too many of them, and when strangers flood the border.

Run by ./run in a network namespace of its own. sipp (both sides) and the flood are pinned to core 0, the border to core 1, where it gets a share of the
core (`quota`), so that sipp can offer several times what it carries. A call is INVITE, 100, 180, 200, ACK, 100 ms, BYE, 200, the caller over UDP.
A stranger's flood is of INVITEs over UDP, of TCP connections that each bring an INVITE, or of TCP connections to the TLS port that each bring a ClientHello. The border has no
firewall in the kernel, so that all of it reaches the process.

Arguments, as key=value:
  quota     percent of core 1 that the border gets while it is overloaded
  rates     calls a second offered, separated by commas
  seconds   how long each is offered
  calm      calls a second of the trusted peer during the flood
  floods    what strangers send, separated by commas: udp, tcp, tls
  flood     datagrams or connections a second from strangers, at most, separated by commas
  overload  0: the floods alone
"""

import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "calls"))
import compare  # noqa: E402

SETTINGS = {"quota": 20, "rates": "50,100,200,400,800", "seconds": 8, "calm": 50, "floods": "udp,tcp,tls", "flood": "0,5000,20000,50000", "overload": 1}
GROUPS = Path("/sys/fs/cgroup/cpu") if Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists() else Path("/sys/fs/cgroup")
# Short, so that a border that has used its share waits a moment only.
PERIOD = 5000
# Milliseconds. Whoever waits longer sends again (RFC 3261 timer A), and makes it worse.
IN_TIME = 500

FLOOD = b"\r\n".join([
    b"INVITE sip:100@127.0.0.1 SIP/2.0", b"Via: SIP/2.0/UDP 127.0.0.66:5060;branch=z9hG4bK-stranger", b"From: <sip:100@127.0.0.66>;tag=1",
    b"To: <sip:100@127.0.0.1>", b"Call-ID: stranger", b"CSeq: 1 INVITE", b"Max-Forwards: 70", b"User-Agent: friendly-scanner", b"Content-Length: 0", b"", b""])


def share(process, percent):
    """Gives the process so much of a core. The group is removed with `free`."""
    group = GROUPS / f"overload{os.getpid()}"
    group.mkdir(exist_ok=True)
    quota = max(1000, PERIOD * percent // 100)
    if GROUPS.name == "cpu":
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group / "cpu.max").write_text(f"{quota} {PERIOD}")
    (group / "cgroup.procs").write_text(str(process.pid))
    return group


def set_occupancy(percent):
    def change(policies):
        with open(policies / "admission.toml", "w", encoding="utf-8") as file:
            file.write(f"version = 1\noccupancy = {percent}\n")
    return change


def patient_caller(folder):
    """The caller of benches/calls, to whom a 503 is an answer: it gets its ACK, as from any trunk."""
    text = (Path(compare.HERE) / "caller.xml").read_text(encoding="utf-8")
    ack = text[text.index("ACK [next_url]"):]
    ack = ack[:ack.index("]]>")].replace("[next_url]", "sip:[service]@[remote_ip]:[remote_port];transport=[transport]").replace("[routes]\n", "")
    text = text.replace('  <recv response="200" rtd="setup"', '  <recv response="503" optional="true" next="1"/>\n  <recv response="200" rtd="setup"', 1)
    refused = f'  <nop next="2"/>\n  <label id="1"/>\n  <send><![CDATA[\n{ack}]]></send>\n  <label id="2"/>\n'
    path = folder / "caller.xml"
    path.write_text(text.replace("</scenario>", refused + "</scenario>"), encoding="utf-8")
    return path


def overloaded(folder, settings):
    print(f"Offered more than the border carries on {settings['quota']} % of a core, for {settings['seconds']} s each: calls a second answered within half a second (setup delay of all, median and 99th percentile, ms)\n")
    caller = patient_caller(folder)
    rates = [int(rate) for rate in str(settings["rates"]).split(",")]
    print(f"  {'offered a second':22}" + "".join(f"{rate:>22}" for rate in rates))
    for percent, title in [(100, "nothing held back"), (90, "occupancy 90 %")]:
        cells = []
        for rate in rates:
            with compare.Server("Portcullis", folder, set_occupancy(percent)) as server:
                group = share(server.process, settings["quota"])
                outcome = compare.load(folder, "u1", rate, rate * settings["seconds"], caller=caller)
                in_time = sum(delay <= IN_TIME for delay in outcome.delays)
                cells.append(f"{in_time / settings['seconds']:.0f} ({outcome.delay(0.5):.0f}, {outcome.delay(0.99):.0f})")
            group.rmdir()
        print(f"  {title:22}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    print()


def with_tls(policies):
    """A TLS listener beside the others, with a certificate of its own."""
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=sbc.lab.example", "-addext", "subjectAltName=DNS:sbc.lab.example", "-addext", "basicConstraints=critical,CA:FALSE",
            "-keyout", policies / "tls.key", "-out", policies / "tls.pem"]
    subprocess.run(make, check=True, capture_output=True)
    text = (policies / "border.toml").read_text(encoding="utf-8")
    listener = '[[listener]]\nname = "tls"\ntransport = "tls"\naddress = "127.0.0.1:5061"\nadvertised = "sbc.lab.example"\ncertificate = "tls.pem"\nkey = "tls.key"\n\n'
    (policies / "border.toml").write_text(text.replace("[media]", listener + "[media]", 1), encoding="utf-8")


def hello():
    """The first octets of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="sbc.lab.example")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def datagrams():
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("127.0.0.66", 0))
    sender.connect(("127.0.0.1", 5060))

    def send():
        try:
            sender.send(FLOOD)
        except ConnectionRefusedError:
            pass
    return send


def connections(port, first):
    """Each is made, says something and is left behind when sixty-four younger ones are there; reset, so that no port rests."""
    kept = []

    def send():
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        one.bind(("127.0.0.66", 0))
        one.connect_ex(("127.0.0.1", port))
        try:
            one.send(first)
        except OSError:
            # Closed at once, or not taken yet.
            pass
        kept.append(one)
        if len(kept) > 64:
            kept.pop(0).close()
    return send


def flood(kind, rate, seconds):
    """From an address where nobody lives, spread evenly. Returns how many were sent a second."""
    send = {"udp": datagrams, "tcp": lambda: connections(5060, FLOOD), "tls": lambda: connections(5061, hello())}[kind]()
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * rate)
        while sent < due and time.monotonic() - began < seconds:
            send()
            sent += 1
        time.sleep(0.001)
    return sent / seconds


def turned_away(border):
    """Datagrams and connections that the border has counted as a stranger's: some of the first, of one it has banned since then."""
    text = urllib.request.urlopen("http://127.0.0.1:9160/metrics", timeout=10).read().decode()
    return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(("portcullis_network_total{event=\"strangers_", "portcullis_network_total{event=\"banned")))


def flooded(folder, settings):
    print(f"{settings['calm']} trusted calls a second over UDP for {settings['seconds']} s while a stranger sends\n")
    print(f"  {'':>6}{'sent a second':>14}{'turned away':>13}{'calls failed':>14}{'sent again':>12}{'setup ms, median':>18}{'99th':>8}{'CPU, % of a core':>18}{'grown, MB':>11}")
    for kind in str(settings["floods"]).split(","):
        for rate in [int(rate) for rate in str(settings["flood"]).split(",")]:
            with compare.Server("Portcullis", folder, with_tls) as server:
                found = []

                def during(_):
                    cpu, memory, counted = server.cpu(), server.memory(), turned_away(server)
                    child = os.fork()
                    if child == 0:
                        os.sched_setaffinity(0, {0})
                        sent = flood(kind, rate, settings["seconds"]) if rate else 0
                        (folder / "sent").write_text(str(sent))
                        os._exit(0)
                    os.waitpid(child, 0) if rate else time.sleep(settings["seconds"])
                    found.extend([(server.cpu() - cpu) / settings["seconds"], server.memory() - memory, (turned_away(server) - counted) / settings["seconds"]])

                outcome = compare.load(folder, "u1", settings["calm"], settings["calm"] * settings["seconds"], during=during)
                sent = float((folder / "sent").read_text()) if (folder / "sent").exists() else 0
                (folder / "sent").unlink(missing_ok=True)
                print(f"  {kind:>6}{sent:>14.0f}{found[2]:>13.0f}{outcome.failed:>14}{outcome.again:>12}{outcome.delay(0.5):>18.0f}{outcome.delay(0.99):>8.0f}{100 * found[0]:>18.0f}{found[1] / 1e6:>11.1f}", flush=True)


def main():
    settings = compare.arguments(SETTINGS, __doc__)
    folder = Path(tempfile.mkdtemp(prefix="overload-"))
    try:
        if settings["overload"]:
            overloaded(folder, settings)
        flooded(folder, settings)
    finally:
        shutil.rmtree(folder)


main()
