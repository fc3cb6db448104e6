#!/bin/bash
# Certificates rotate under load: sipp behind socat places 200 calls a second over mutual TLS while the CA changes with an overlap, our own
# certificate is renewed three times and a broken file comes along; no call is lost and no connection dropped. Then the old CA goes: exactly the
# connections it proved end. RATE and SECONDS_OF_LOAD may be set for a slower machine.
. "$(dirname "$0")/lab.sh"
for program in sipp socat openssl python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done
ulimit -n "$(ulimit -Hn)"
RATE=${RATE:-200}
SECONDS_OF_LOAD=${SECONDS_OF_LOAD:-15}
CALLS=$((RATE * SECONDS_OF_LOAD))

alone lab
SET=$WORK/set
cp -r "$HERE/sets/behind_socat" "$SET"
CERTS=$SET/certs
# Two CAs, and a certificate of each for everybody.
for ca in old new; do
    "$PORTCULLIS" certs init "$WORK/$ca" --name sbc.example.test --name trunk.example.test --name um.example.test --name second.example.test >/dev/null || exit 2
done
cat "$WORK/old/ca.pem" "$WORK/new/ca.pem" >"$WORK/both.pem"
mkdir -p "$CERTS"
# put FROM TO : by a rename, as it should be done.
put() { cp -p "$1" "$2.new" && mv "$2.new" "$2"; }
# wears CA : the border's own certificate is of this CA, and a new one each time.
wears() {
    rm -f "$WORK/$1/sbc.example.test."*
    "$PORTCULLIS" certs init "$WORK/$1" --name sbc.example.test >/dev/null || exit 2
    put "$WORK/$1/sbc.example.test.key" "$CERTS/sbc.key"
    put "$WORK/$1/sbc.example.test.pem" "$CERTS/sbc.pem"
}
wears old
put "$WORK/old/ca.pem" "$CERTS/peers-ca.pem"
sed -i -e 's|certs/sbc.example.test|certs/sbc|; s|certs/ca.pem|certs/peers-ca.pem|; s|\[20000, 20999\]|[20000, 27999]|' "$SET"/*.toml
cat >>"$SET/border.toml" <<TOML

[certificates]
watch = "1s"

[admin]
listen = "127.0.0.1:9160"

[control]
socket = "$WORK/control.sock"
TOML
cat >>"$SET/peers.toml" <<'TOML'

[[peer]]
name = "second"
kind = "trunk"
hosts = "127.0.0.4"
transport = "tls"
mode = "sip-secured"
tls_names = ["second.example.test"]
ca = "certs/peers-ca.pem"
listener = "outside"
TOML
cat >>"$SET/hunt_groups.toml" <<'TOML'

[[hunt_group]]
name = "second"
peer = "second"
dial_plan = "um"
TOML
border lab "$SET" 5061

# metric NAME : its value, 0 where there is none.
metric() {
    at lab timeout 5 python3 -c '
import sys, urllib.request
name = sys.argv[1] + " "
text = urllib.request.urlopen("http://127.0.0.1:9160/metrics", timeout=4).read().decode()
print(next((int(float(line[len(name):])) for line in text.splitlines() if line.startswith(name)), 0))' "$1"
}
network() { metric "portcullis_network_total{event=\"$1\"}"; }
# equals WANTED FOUND ; becomes WANTED COMMAND... : within ten seconds.
equals() { echo "$2, wanted $1"; [ "$1" = "$2" ]; }
becomes() {
    local wanted=$1 found=
    shift
    for _ in $(seq 50); do found=$("$@") && [ "$found" = "$wanted" ] && return 0; sleep 0.2; done
    equals "$wanted" "$found"
}
generation() { metric portcullis_certificates_generation; }
rotate() { at lab timeout 10 "$PORTCULLIS" rotate --socket "$WORK/control.sock"; }

start um lab timeout 100 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5061;transport=tls" -nostdin \
    -buff_size 4194304 -trace_err -error_file "$WORK/um.err"
UM=$PID
listening lab 5062
# um_wears CA : the UM side shows a certificate of this CA from now on; connections that are open stay.
um_wears() {
    start "um-$1" lab socat -d "OPENSSL-LISTEN:5061,bind=127.0.0.3,reuseaddr,fork,cert=$WORK/$1/um.example.test.pem,key=$WORK/$1/um.example.test.key,cafile=$WORK/both.pem,verify=1,commonname=sbc.example.test" TCP:127.0.0.3:5062
    UM_TLS=$PID
}
um_wears old
# trunk NAME ADDRESS CA : its socat, which takes TCP on port 5060 and carries it to the border over TLS.
trunk() {
    start "socat-$1" lab socat -d "TCP-LISTEN:5060,bind=$2,reuseaddr,fork" \
        "OPENSSL:127.0.0.1:5061,bind=$2,cert=$WORK/$3/$1.example.test.pem,key=$WORK/$3/$1.example.test.key,cafile=$WORK/both.pem,verify=1,commonname=sbc.example.test"
}
trunk trunk 127.0.0.2 old
trunk second 127.0.0.4 new
for _ in $(seq 25); do [ "$(at lab ss -Hltn '( sport = :5060 or sport = :5061 )' | wc -l)" -ge 4 ] && break; sleep 0.2; done

# calls NAME ADDRESS PORT COUNT RATE : in the background; its process number in $PID.
calls() {
    start "calls-$1" lab timeout 90 sipp "$2:5060" -sf "$HERE/sipp/call.xml" -i "$2" -p "$3" -mi "$2" -t t1 -s 5000 -d 300 -m "$4" -r "$5" -nostdin \
        -buff_size 4194304 -l 2000 -timeout 80 -trace_err -error_file "$WORK/$1.err" -trace_stat -stf "$WORK/$1.csv" -fd 1
}
# ends PID SECONDS : whether it ends by itself, and well.
ends() {
    for _ in $(seq $(($2 * 5))); do kill -0 "$1" 2>/dev/null || { wait "$1"; return; }; sleep 0.2; done
    return 1
}

calls trunk 127.0.0.2 5070 $CALLS "$RATE"
LOAD=$PID
sleep 2
put "$WORK/both.pem" "$CERTS/peers-ca.pem"
check "the new CA beside the old one, by command" rotate
check "it is in force" becomes 2 generation
# A peer whose certificate the new CA has issued: a call each half second until the end of this script.
calls second 127.0.0.4 5071 60 2
SECOND=$PID
sleep 1
wears new
check "our own certificate of the new CA, watched" becomes 3 generation
printf -- '-----BEGIN PRIVATE KEY-----\nMIGH' >"$CERTS/sbc.key"
check "a key half written is refused" becomes 1 metric portcullis_certificates_refused_total
refuses "also by command" rotate
check "the log says which file and what to do" grep -q "sbc.key: it holds no usable private key" "$WORK/border.log"
wears new
check "renewed again, watched" becomes 4 generation
sleep 1
wears new
kill -HUP "$BORDER"
check "and once more, by SIGHUP" becomes 5 generation
check "the load came to its end" ends $LOAD $((SECONDS_OF_LOAD + 20))
check "calls lost: none of $CALLS" python3 "$HERE/sipp_statistics.py" "$WORK/trunk.csv" "$CALLS"
check "connections accepted: one for each trunk" equals 2 "$(network connections_accepted)"
check "connections made: one" equals 1 "$(network connections_made)"
check "connections no longer trusted: none" equals 0 "$(network connections_untrusted)"

# The old CA goes. It proved two connections that are open: one of the trunk, which is idle, and ours to UM, which shows a new certificate by now.
start idle lab socat "OPENSSL:127.0.0.1:5061,bind=127.0.0.2,cert=$WORK/old/trunk.example.test.pem,key=$WORK/old/trunk.example.test.key,cafile=$WORK/both.pem,verify=1,commonname=sbc.example.test" \
    EXEC:"sleep 80"
IDLE=$PID
check "an idle connection of the trunk" becomes 3 network connections_accepted
stop "$UM_TLS"
um_wears new
sleep 1
put "$WORK/new/ca.pem" "$CERTS/peers-ca.pem"
check "the old CA goes, by command" rotate
check "exactly what it proved is no longer trusted" becomes 2 network connections_untrusted
# The two CAs have one name: what is left has another key than the certificate was signed with.
check "the trunk's connection" equals 1 "$(metric 'portcullis_connections_untrusted_total{peer="trunk",reason="tls.bad_certificate"}')"
check "and ours to UM" equals 1 "$(metric 'portcullis_connections_untrusted_total{peer="um",reason="tls.bad_certificate"}')"
check "the idle one is closed" ends "$IDLE" 5
check "a new one to UM is made" becomes 2 network connections_made
check "both are told to be closed" becomes 2 grep -c "connection no longer trusted closed" "$WORK/border.log"
check "the other trunk's calls came to their end" ends $SECOND 40
check "none of them lost, also across the change of UM's connection" python3 "$HERE/sipp_statistics.py" "$WORK/second.csv" 60
check "all over the connection it had" equals 3 "$(network connections_accepted)"
check "the records" records "$SET/records.jsonl" $((CALLS + 60)) "all([x.status == 200 and x.reason == 'call.normal' for x in newest])"
check "no panic" fails grep -q panicked "$WORK/border.log"
stop "$UM"
verdict
