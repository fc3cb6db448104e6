#!/bin/bash
# sipp has no TLS: socat carries it there, on both sides, with certificates asked for and verified in both directions. Mode sip-secured.
. "$(dirname "$0")/lab.sh"
for program in sipp socat; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

alone lab
SET=$WORK/set
cp -r "$HERE/sets/behind_socat" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name trunk.example.test --name um.example.test >/dev/null || exit 2
CERTS=$SET/certs
border lab "$SET" 5061

start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5061;transport=tls" -m 5 -nostdin
UM=$PID
listening lab 5062
start socat-um lab socat -d "OPENSSL-LISTEN:5061,bind=127.0.0.3,reuseaddr,fork,cert=$CERTS/um.example.test.pem,key=$CERTS/um.example.test.key,cafile=$CERTS/ca.pem,verify=1,commonname=sbc.example.test" TCP:127.0.0.3:5062
start socat-trunk lab socat -d TCP-LISTEN:5060,bind=127.0.0.2,reuseaddr,fork "OPENSSL:127.0.0.1:5061,bind=127.0.0.2,cert=$CERTS/trunk.example.test.pem,key=$CERTS/trunk.example.test.key,cafile=$CERTS/ca.pem,verify=1,commonname=sbc.example.test"
for _ in $(seq 25); do [ "$(at lab ss -Hltn '( sport = :5060 or sport = :5061 )' | wc -l)" -ge 3 ] && break; sleep 0.2; done

check "five calls over mutual TLS: the caller" at lab timeout 50 sipp 127.0.0.2:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5070 -mi 127.0.0.2 -t t1 \
    -s 5000 -d 300 -m 5 -r 5 -nostdin -timeout 40 -trace_err -error_file "$WORK/call.err"
for _ in $(seq 50); do kill -0 "$UM" 2>/dev/null || break; sleep 0.2; done
check "five calls over mutual TLS: the UM side" wait "$UM"
check "the record: TLS on both legs, media in clear" records "$SET/records.jsonl" 5 "r.status == 200 and r.reason == 'call.normal'" \
    "r.a.mode == r.b.mode == 'sip-secured'" "r.a.transport == r.b.transport == 'tls'" "'trunk.example.test' in r.a.tls.names" "'um.example.test' in r.b.tls.names" \
    "r.a.srtp_suite is None and r.b.srtp_suite is None" "all([x.reason == 'call.normal' for x in newest])"
verdict
