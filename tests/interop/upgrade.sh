#!/bin/bash
# One process of the border takes over from another, twice, in the middle of calls by sipp: over UDP, over TCP with a connection for each call, and over
# one TCP connection for all, on which calls begin in the new one while the old one still has it, and which goes over as it stands when that ends. Every call is answered and ended right, none lost;
# over UDP hardly anything is even sent twice.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
printf '\n[control]\nsocket = "control.sock"\n' >>"$SET/border.toml"
# What is tried is whether calls are lost, not how fast this machine is: under other work beside it none is held back.
printf 'version = 1\noccupancy = 100\n' >"$SET/admission.toml"
border lab "$SET" 5060

start um lab timeout 100 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -nostdin \
    -trace_err -error_file "$WORK/um.err"
listening lab 5062

# caller NAME TRANSPORT CALLS RATE OPTION... : in the background; its process number in $PID.
caller() {
    local name=$1 transport=$2 calls=$3 rate=$4
    shift 4
    start "$name" lab timeout 90 sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -mi 127.0.0.2 -t "$transport" -s 5000 -d 2000 -m "$calls" -r "$rate" \
        -nostdin -timeout 80 -trace_err -error_file "$WORK/$name.err" -trace_stat -stf "$WORK/$name.csv" -fd 1 "$@"
}

caller udp u1 480 20 -p 5060
UDP=$PID
caller each tn 240 10 -p 5070 -max_socket 1000
EACH=$PID
caller one t1 240 20 -p 5080
ONE=$PID
sleep 3
check "another process takes over" take_over border-second lab
check "the old one ends with its last call" ended "$OLD" 25
check "a third takes over" take_over border-third lab
check "the second one ends with its last call" ended "$OLD" 25
check "the callers over UDP" ended $UDP 60
check "none failed over UDP, hardly any message sent twice" python3 "$HERE/sipp_statistics.py" "$WORK/udp.csv" 480
check "the callers with a connection for each call" ended $EACH 60
check "none failed with a connection for each call" python3 "$HERE/sipp_statistics.py" "$WORK/each.csv" 240
check "the callers with one connection" ended $ONE 60
check "none failed with one connection" python3 "$HERE/sipp_statistics.py" "$WORK/one.csv" 240
check "the records" records "$SET/records.jsonl" 960 "len(newest) == 960" "all([x.reason == 'call.normal' and x.status == 200 for x in newest])" \
    "len({x.call for x in newest}) == 960"
stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK"/border*.log
verdict
