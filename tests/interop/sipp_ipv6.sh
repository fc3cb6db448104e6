#!/bin/bash
# Calls by sipp over IPv6 alone: the trunk over UDP, UM over TCP.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
for address in fd99::1 fd99::2 fd99::3; do at lab ip addr add $address/128 dev lo nodad; done
SET=$WORK/set
cp -r "$HERE/sets/ipv6" "$SET"
border lab "$SET" 5060

start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i fd99::3 -p 5062 -mi fd99::3 -t t1 -key contact "[fd99::3]:5062;transport=tcp" -m 3 -nostdin
UM=$PID
listening lab 5062
check "three calls: the caller" at lab timeout 50 sipp "[fd99::1]:5060" -sf "$HERE/sipp/call.xml" -i fd99::2 -p 5060 -mi fd99::2 -t u1 -s 5000 -d 200 -m 3 -r 10 \
    -nostdin -timeout 40 -trace_err -error_file "$WORK/call.err"
for _ in $(seq 50); do kill -0 "$UM" 2>/dev/null || break; sleep 0.2; done
check "three calls: the UM side" wait "$UM"
check "the records" records "$SET/records.jsonl" 3 "r.status == 200 and r.reason == 'call.normal'" "r.a.remote == '[fd99::2]:5060' and r.b.remote == '[fd99::3]:5062'" \
    "all([x.reason == 'call.normal' for x in newest])"
verdict
