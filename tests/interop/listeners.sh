#!/bin/bash
# Listeners moved by a reload while sipp has calls over them, by UDP, by TCP, and by TLS (socat carries it, sipp has none): the calls end as ever, new ones come by
# the new ports and not by the old ones.
. "$(dirname "$0")/lab.sh"
for program in sipp socat; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

alone lab
# with_control SET : asked over a control socket.
with_control() { printf '\n[control]\nsocket = "control.sock"\n' >>"$1/border.toml"; }
ask() { at lab timeout 20 "$PORTCULLIS" "$@" --socket "$SET/control.sock"; }
# moved OLD NEW : another port for all listeners on this one.
moved() { sed -i "s/^\(address = \".*\):$1\"/\1:$2\"/" "$SET/border.toml" && ask reload; }
leaving() { [ "$(ask show listeners | grep -c 'leaving *[0-9]')" = "$1" ]; }
# soon COMMAND... : within five seconds.
soon() { for _ in $(seq 25); do "$@" && return 0; sleep 0.2; done; return 1; }
# caller LOG PORT TRANSPORT OURS [OPTION...]
caller() {
    local log=$1 port=$2 transport=$3 ours=$4
    shift 4
    timeout 40 sipp "127.0.0.$([ "$transport" = s1 ] && echo 2 || echo 1):$port" -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p "$ours" -mi 127.0.0.2 -mp "$((30000 + ours))" -t "${transport/s1/t1}" \
        -s 5000 -m 1 -nostdin -timeout 30 -trace_err -error_file "$WORK/$log.err" "$@"
}
export -f caller
# held LOG PORT TRANSPORT OURS : a call of six seconds in the background.
held() {
    local log=$1
    HERE=$HERE WORK=$WORK start "$log" lab bash -c 'caller "$@"' caller "$@" -d 6000
}
now() { HERE=$HERE WORK=$WORK at lab bash -c 'caller "$@"' caller "$@" -d 200; }
calls_up() { [ "$(ask show calls | grep -c ' up ')" = "$1" ]; }

SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
with_control "$SET"
border lab "$SET" 5060
start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -nostdin
UM=$PID
listening lab 5062
held udp 5060 u1 5160; UDP=$PID
held tcp 5060 t1 5161; TCP=$PID
check "a call over UDP and one over TCP are up" soon calls_up 2
check "both listeners are moved by a reload" moved 5060 5070
check "the old ones are leaving" leaving 2
check "a new call over UDP" now udp_new 5070 u1 5170
check "a new call over TCP" now tcp_new 5070 t1 5171
refuses "over UDP nothing begins at the old port" now udp_old 5060 u1 5180 -timeout 2
refuses "over TCP nothing either" now tcp_old 5060 t1 5181 -timeout 2
check "the call over UDP ends as ever" ended $UDP
check "the call over TCP ends as ever" ended $TCP
check "the listener for TCP is closed then" soon leaving 1
check "the records" records "$SET/records.jsonl" 4 "all([x.reason == 'call.normal' for x in newest])"
check "the log says why the old port was silent" grep -q listener.removed "$WORK/border.log"
stop $UM
stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK/border.log"

SET=$WORK/secured
cp -r "$HERE/sets/behind_socat" "$SET"
with_control "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name trunk.example.test --name um.example.test >/dev/null || exit 2
CERTS=$SET/certs
border lab "$SET" 5061
tls() { echo "OPENSSL:127.0.0.1:$1,bind=127.0.0.2,cert=$CERTS/trunk.example.test.pem,key=$CERTS/trunk.example.test.key,cafile=$CERTS/ca.pem,verify=1,commonname=sbc.example.test"; }
start um-tls lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5061;transport=tls" -nostdin
UM=$PID
start socat-um lab socat "OPENSSL-LISTEN:5061,bind=127.0.0.3,reuseaddr,fork,cert=$CERTS/um.example.test.pem,key=$CERTS/um.example.test.key,cafile=$CERTS/ca.pem,verify=1,commonname=sbc.example.test" TCP:127.0.0.3:5062
start socat-old lab socat TCP-LISTEN:5090,bind=127.0.0.2,reuseaddr,fork "$(tls 5061)"
start socat-new lab socat TCP-LISTEN:5091,bind=127.0.0.2,reuseaddr,fork "$(tls 5081)"
for port in 5062 5090 5091; do listening lab $port; done
held tls 5090 s1 5162; TLS=$PID
check "a call over TLS is up" soon calls_up 1
check "its listener is moved by a reload" moved 5061 5081
check "the old one is leaving" leaving 1
check "a new call over TLS" now tls_new 5091 s1 5172
refuses "nothing begins at the old port" now tls_old 5090 s1 5182 -timeout 2
check "the call over TLS ends as ever" ended $TLS
check "its listener is closed then" soon leaving 0
check "the records, TLS" records "$SET/records.jsonl" 2 "all([x.reason == 'call.normal' and x.a.transport == 'tls' for x in newest])"
stop $UM
stop "$BORDER"
check "no panic, TLS" fails grep -q panicked "$WORK/border.log"
verdict
