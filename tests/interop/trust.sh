#!/bin/bash
# Who may talk follows DNS: an address that appears is let in by kernel and policy, one that goes is shut out, calls that are up go on; a name that is
# not answered is kept for its grace, one that does not exist is not; two names on one address, SRV, floods and forbidden addresses; liveness.
. "$(dirname "$0")/lab.sh"
for program in sipp python3 nft; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.98.0.1/24
host old 10.98.0.11/24
host new 10.98.0.42/24
host um 10.98.0.20/24
host dns 10.98.0.53/24
SET=$WORK/set
cp -r "$HERE/sets/trust" "$SET"
ZONE=$WORK/zone
# zone LINE... : what DNS says from now on.
zone() { printf '%s\n' "$@" >"$ZONE.new" && mv "$ZONE.new" "$ZONE"; }
# The rest of the world stays as it is.
REST=("other.test 2 A 10.98.0.30" "public.test 2 A 10.98.0.31")

zone "carrier.test 2 A 10.98.0.11" "${REST[@]}"
start dns dns python3 "$HERE/dns_server.py" 10.98.0.53 53 "$ZONE"
listening dns 53
start um um sipp -sn uas -aa -i 10.98.0.20 -p 5060 -nostdin
UM=$PID
border sbc "$SET" 5060

ask() { "$PORTCULLIS" "$@" --socket "$SET/control.sock"; }
# shows PYTHON : an expression about `show peers --json`, with p a function from a peer's name to what is shown of it.
shows() { ask show peers --json | python3 -c "
import json, sys
shown = json.load(sys.stdin)
p = lambda name: next(peer for peer in shown['peers'] if peer['name'] == name)
sys.exit(not ($1) and (json.dump(shown, sys.stdout, indent=1) or 1))"; }
# until SECONDS COMMAND... : tried ten times a second.
until_() {
    local tries=$(($1 * 10))
    shift
    for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
    "$@"
}
probe() { at "$1" timeout 20 python3 "$HERE/probe.py" udp 10.98.0.1 5060; }
answered() { [ "$(probe "$1")" = answered ]; }
silent() { [ "$(probe "$1")" = silent ]; }
# in_kernel ADDRESS : whether our table lets it in.
in_kernel() { at sbc nft list set inet portcullis udp4 | grep -q "$1\b"; }
said() { grep -q "$@" "$WORK/border.log"; }

check "the address that DNS gives is let in" until_ 5 answered old
check "another is not" silent new
check "and is not in the kernel's set" fails in_kernel 10.98.0.42
check "the state is shown" shows "p('carrier')['names'][0]['state'] == 'fresh' and p('carrier')['addresses'][0]['address'] == '10.98.0.11'"

# A change under a call that is up.
start caller old timeout 20 sipp -sn uac 10.98.0.1:5060 -i 10.98.0.11 -p 5060 -s 5000 -m 1 -d 6000 -nostdin
CALLER=$PID
sleep 1.5
python3 - "$ZONE" <<'END' >"$WORK/began"
import time, os, sys
path = sys.argv[1]
text = open(path).read().replace("10.98.0.11", "10.98.0.42")
open(path + ".new", "w").write(text)
os.rename(path + ".new", path)
print(time.time())
END
check "the new address is let in" until_ 5 answered new
check "and is in the kernel's set" in_kernel 10.98.0.42
check "the old one makes no new calls" shows "[a['address'] for a in p('carrier')['addresses']] == ['10.98.0.42']"
wait "$CALLER"
check "the call that was up ended as its caller wished" [ $? = 0 ]
check "and its record says so" records "$SET/records.jsonl" 1 "r.reason == 'call.normal'" "r.released_by == 'caller'"
check "then the old address is a stranger" until_ 5 silent old
check "in the kernel too" until_ 5 fails in_kernel 10.98.0.11
python3 - "$WORK/began" "$WORK/dns.log" "$WORK/border.log" <<'END'
import sys
from datetime import datetime
began = float(open(sys.argv[1]).read())
asked = next(float(line.split()[0]) for line in open(sys.argv[2]) if "carrier.test 1" in line and float(line.split()[0]) > began)
at = lambda line: datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()
agreed = next(at(line) for line in open(sys.argv[3]) if "go by the same peer table" in line and at(line) > began)
print(f"       DNS changed; asked {asked - began:.3f} s later (TTL 2 s); kernel and core agreed {1000 * (agreed - asked):.1f} ms after the question")
END

# DNS falls silent: kept for the grace, then a stranger.
zone "carrier.test silent" "${REST[@]}"
check "a name that is not answered is stale" until_ 6 shows "p('carrier')['names'][0]['state'] == 'stale'"
check "and its peer is let in" answered new
check "until the grace is over" until_ 12 shows "p('carrier')['names'][0]['state'] == 'unresolved'"
check "then it is a stranger" until_ 3 silent new
zone "carrier.test 2 A 10.98.0.42" "${REST[@]}"
check "and let in again when DNS is back" until_ 12 answered new
zone "carrier.test nxdomain" "${REST[@]}"
check "a name that does not exist is a stranger without the grace" until_ 5 shows "p('carrier')['names'][0]['state'] == 'unresolved'"

# Two names on one address (Exchange's event 1175).
zone "carrier.test 2 A 10.98.0.11" "other.test 2 A 10.98.0.11" "public.test 2 A 10.98.0.31"
check "two peers on one address are told with the event's number" until_ 12 said "event=1175"
check "and both are strangers" until_ 3 silent old
check "which explain explains" said "peer.ambiguous"
zone "carrier.test 2 A 10.98.0.11" "${REST[@]}"
check "until they part" until_ 8 answered old

# What DNS should not say.
check "a private address of a public peer is refused" said "refused=10.98.0.31 (private)"
check "and the peer is a stranger" shows "p('public')['addresses'] == [] and p('public')['names'][0]['state'] == 'unresolved'"
zone "carrier.test 2 A 10.98.0.11" "${REST[@]}" "_sip._udp.services.test 2 SRV 0 1 5060 a.services.test" "_sip._udp.services.test 2 SRV 1 1 5070 b.services.test" \
    "a.services.test 2 A 10.98.0.42" "b.services.test 2 A 10.98.0.47"
check "SRV names expand to their hosts" until_ 12 shows "sorted(a['address'] for a in p('services')['addresses']) == ['10.98.0.42', '10.98.0.47']"
check "which are let in" answered new
zone "carrier.test 2 CNAME loop.test" "loop.test 2 CNAME carrier.test" "${REST[@]}"
check "a loop of names is no answer" until_ 8 shows "p('carrier')['names'][0]['state'] in ('stale', 'unresolved')"
{ printf '%s\n' "${REST[@]}"; for n in $(seq 3000); do echo "carrier.test 2 A 10.$((n / 250 + 100)).$((n % 250)).7"; done; } >"$ZONE.new" && mv "$ZONE.new" "$ZONE"
check "three thousand addresses are not all taken" until_ 12 shows "0 < len(p('carrier')['addresses']) <= 256"
check "and disturb no other name" shows "p('other')['names'][0]['state'] == 'fresh'"

# Liveness: the UM server stops answering, and comes back.
zone "carrier.test 2 A 10.98.0.11" "${REST[@]}"
check "a UM server that answers OPTIONS is up" until_ 5 shows "p('um')['addresses'][0]['liveness']['state'] == 'up'"
stop "$UM"
check "one that does not is down" until_ 15 shows "p('um')['addresses'][0]['liveness']['state'] == 'down'"
start um2 um sipp -sn uas -aa -i 10.98.0.20 -p 5060 -nostdin
check "and up again when it does" until_ 15 shows "p('um')['addresses'][0]['liveness']['state'] == 'up'"

stop "$BORDER"
check "no panic" fails said panicked
verdict
