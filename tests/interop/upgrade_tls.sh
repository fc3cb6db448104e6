#!/bin/bash
# One process of the border takes over from another while a peer over TLS never pauses: the state of TLS cannot go over, so that its connection is closed between two messages. Every
# request of it is answered: on that connection, on the next, or on one to the port its Via names; but for those under way as it is closed, eight at most, whose answers may come too
# late for it.
. "$(dirname "$0")/lab.sh"
for program in sipp python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.97.0.1/24 fd97::1/48
host udp 10.97.0.11/24
host um 10.97.0.12/24
host tls 10.97.0.13/24
SET=$WORK/set
cp -r "$HERE/sets/firewall" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name peer.example.test >/dev/null || exit 2
at sbc ping -6 -c 1 -W 3 fd97::1 >/dev/null 2>&1
sed -i 's/mode = "on"/mode = "off"/; s/^drain = .*/drain = "30s"/; /^notrack/d; /^ban/d' "$SET/border.toml"
# What is tried is whether anything is lost, not how fast this machine is.
printf 'version = 1\noccupancy = 100\n' >"$SET/admission.toml"
border sbc "$SET" 5061
told() { grep -q "$2" "$WORK/$1.log"; }
soon() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; "$@"; }

start um um timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 10.97.0.12 -p 5062 -mi 10.97.0.12 -t t1 -key contact "10.97.0.12:5062;transport=tcp" -nostdin
listening um 5062
CERTS=$SET/certs
start busy tls timeout 60 python3 "$HERE/tls_busy.py" "$CERTS/peer.example.test.pem" "$CERTS/peer.example.test.key" "$CERTS/ca.pem" 10.97.0.1 5061 5061 22
BUSY=$PID
start caller udp timeout 60 sipp 10.97.0.1:5060 -sf "$HERE/sipp/call.xml" -i 10.97.0.11 -p 5060 -mi 10.97.0.11 -t u1 -s 5000 -d 5000 -m 1 -nostdin -timeout 50
CALLER=$PID
sleep 2
check "another process takes over" take_over border-second sbc
check "the call of the old one is carried" wait "$CALLER"
# Asked to end it waits for no pause longer than five seconds.
kill "$OLD"
check "the old one ends" ended "$OLD" 25
check "which found no pause" told border "never paused for so long"
check "the busy peer comes to its end" ended "$BUSY" 40
said() { python3 -c "import json,sys; said = json.loads(open('$WORK/busy.log').read().splitlines()[-1]); print(said); sys.exit(0 if ($1) else 1)"; }
check "it connected anew, once" said 'said["connections"] == 2 and said["closed"] == 1 and said["refused"] == 0'
check "it never paused" said 'said["sent"] > 2000 and said["silent"] == 0'
check "every request was answered, but for those under way as it was closed" said 'said["lost"] <= 8 and said["here"] + said["elsewhere"] + said["lost"] == said["sent"]'
check "and not refused" said 'set(said["statuses"]) == {"200"}'
tail -n 1 "$WORK/busy.log"
stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK"/border*.log
verdict
