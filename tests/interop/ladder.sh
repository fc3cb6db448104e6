#!/bin/bash
# The capture file of a ladder, read by an independent analyser: what came by mutual TLS is there message by message, every checksum is right, no octet of a
# connection is missing, and decisions are comments. sipp speaks through socat, as in sipp_socat.
. "$(dirname "$0")/lab.sh"
for program in sipp socat tshark; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

alone lab
SET=$WORK/set
cp -r "$HERE/sets/behind_socat" "$SET"
printf '\n[control]\nsocket = "control.sock"\n' >>"$SET/border.toml"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name trunk.example.test --name um.example.test >/dev/null || exit 2
CERTS=$SET/certs
border lab "$SET" 5061

start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5061;transport=tls" -m 1 -nostdin
listening lab 5062
start socat-um lab socat -d "OPENSSL-LISTEN:5061,bind=127.0.0.3,reuseaddr,fork,cert=$CERTS/um.example.test.pem,key=$CERTS/um.example.test.key,cafile=$CERTS/ca.pem,verify=1,commonname=sbc.example.test" TCP:127.0.0.3:5062
start socat-trunk lab socat -d TCP-LISTEN:5060,bind=127.0.0.2,reuseaddr,fork "OPENSSL:127.0.0.1:5061,bind=127.0.0.2,cert=$CERTS/trunk.example.test.pem,key=$CERTS/trunk.example.test.key,cafile=$CERTS/ca.pem,verify=1,commonname=sbc.example.test"
for _ in $(seq 25); do [ "$(at lab ss -Hltn '( sport = :5060 or sport = :5061 )' | wc -l)" -ge 3 ] && break; sleep 0.2; done

check "a call over mutual TLS" at lab timeout 50 sipp 127.0.0.2:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5070 -mi 127.0.0.2 -t t1 \
    -s 5000 -d 300 -m 1 -nostdin -timeout 40 -trace_err -error_file "$WORK/call.err"
check "its record" records "$SET/records.jsonl" 1 "r.status == 200"
CALL=$(sed -n 's/^{"call":\([0-9]*\),.*/\1/p' "$SET/records.jsonl" | tail -n 1)
CAPTURE=$WORK/call.pcapng
asked() { timeout 20 "$PORTCULLIS" ladder "$CALL" --socket "$SET/control.sock" "$@"; }
check "its capture file" asked --pcapng "$CAPTURE"
asked --json >"$WORK/call.json"
MESSAGES=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["messages"]))' "$WORK/call.json")

# dissected FILTER : how many packets fit, with every checksum looked at.
dissected() { tshark -r "$CAPTURE" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE -Y "$1" 2>"$WORK/tshark.err" | wc -l; }
same() { echo "$1, wanted $2"; [ "$1" = "$2" ]; }
some() { echo "$1"; [ "$1" -gt 0 ]; }
check "twelve messages or more" test "$MESSAGES" -ge 12
check "each is one of SIP" same "$(dissected sip)" "$MESSAGES"
check "the INVITE on either side" same "$(dissected 'sip.Method == INVITE && sip.Request-Line contains "INVITE" && sdp')" 2
check "no checksum is wrong" same "$(dissected 'ip.checksum.status == 0 || tcp.checksum.status == 0')" 0
check "all of them were looked at" same "$(dissected 'tcp.checksum.status == 1')" "$MESSAGES"
check "no octet is missing or there twice" same "$(dissected 'tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment || tcp.analysis.retransmission || tcp.analysis.out_of_order')" 0
check "nothing is malformed" same "$(dissected _ws.malformed)" 0
check "decisions are comments" some "$(dissected 'frame.comment contains "hunt_group"')"
check "that it was deciphered as well" same "$(dissected 'frame.comment contains "by TLS, deciphered by the border"')" "$MESSAGES"
asked --svg "$WORK/call.svg" >"$WORK/svg.log"
check "its picture is whole XML" python3 -c 'import sys, xml.etree.ElementTree as tree; assert len(tree.parse(sys.argv[1]).getroot()) > 20' "$WORK/call.svg"
refuses "a call that is not held" timeout 20 "$PORTCULLIS" ladder 4711 --socket "$SET/control.sock" --pcapng "$WORK/none.pcapng"
verdict
