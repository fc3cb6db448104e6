#!/bin/bash
# Waiting messages by sipp as the UM server (TCP) and as two telephone systems (UDP), through policies/unsecured-lab: told, refused, told to the second
# where the first is gone, and taken from nobody but the UM server.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
cat >>"$SET/peers.toml" <<'PEERS'

[[peer]]
name = "pbx"
kind = "pbx"
hosts = "127.0.0.4"
transport = "udp"
port = 5060
mode = "unsecured"
listener = "udp"

[[peer]]
name = "spare-pbx"
kind = "pbx"
hosts = "127.0.0.5"
transport = "udp"
port = 5060
mode = "unsecured"
listener = "udp"
PEERS
sed -i 's/^gateways = .*/gateways = ["pbx", "spare-pbx"]/' "$SET/dial_plans.toml"
border lab "$SET" 5060

# pbx ADDRESS STATUS LOG : answers one NOTIFY with this status.
pbx() {
    sed "s/200 Answered/$2 Answered/" "$HERE/sipp/pbx_notify.xml" >"$WORK/$3.xml"
    start "$3" lab timeout 60 sipp -sf "$WORK/$3.xml" -i "127.0.0.$1" -p 5060 -t u1 -m 1 -nostdin \
        -trace_msg -message_file "$WORK/$3.messages"
    PBX=$PID
    for _ in $(seq 25); do at lab ss -Hlun "src 127.0.0.$1:5060" | grep -q . && return; sleep 0.2; done
}

# notify SCENARIO ADDRESS TRANSPORT LOG
notify() {
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/$1.xml" -i "127.0.0.$2" -p 5071 -t "$3" -s 2001 -m 1 -nostdin -timeout 40 \
        -trace_msg -message_file "$WORK/$4.messages"
}

pbx 4 200 told
check "told, and UM hears it" notify um_notify 3 t1 um.told
check "the telephone system has it" ended "$PBX"
check "for the number it knows" grep -q "^NOTIFY sip:2001@127.0.0.4:5060" "$WORK/told.messages"
check "with the summary" grep -q "^Voice-Message: 2/1 (0/0)" "$WORK/told.messages"
check "and the event" grep -q "^Event: message-summary" "$WORK/told.messages"
refuses "nothing of the inside crosses" grep -E -e corp.example -e ms-opaque -e RTCC -e X-Mailbox -e 127.0.0.3 "$WORK/told.messages"

pbx 4 405 refused
check "refused, and UM hears that" notify um_notify_refused 3 t1 um.refused
check "by the telephone system itself" ended "$PBX"

# Nobody is at the first address any more: the second telephone system is told.
pbx 5 200 second
check "the second is told where the first is gone" notify um_notify 3 t1 um.second
check "and has it" ended "$PBX"

check "nothing is taken from a trunk" notify um_notify_refused 2 u1 trunk
stop "$BORDER"
check "the log names Exchange's event" grep -q "waiting messages not told.*1344" "$WORK/border.log"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
