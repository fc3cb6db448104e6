#!/bin/bash
# REFER executed by the border: sipp as the UM server (TCP), which refers, as the trunk (UDP) and as where the transfers lead (UDP), through
# policies/unsecured-lab; talk.py speaks for them. To a number: done, busy, refused by the toll rules, with a UM server that leaves at once, and failed when it had; attended; to the
# fax server; and a trunk, whose REFER is not taken.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
for peer in gateway:gateway:127.0.0.4 fax:fax:127.0.0.5; do
    IFS=: read -r name kind address <<<"$peer"
    cat >>"$SET/peers.toml" <<PEER

[[peer]]
name = "$name"
kind = "$kind"
hosts = "$address"
transport = "udp"
port = 5060
mode = "unsecured"
listener = "udp"
PEER
done
sed -i 's/^gateways = .*/gateways = ["gateway"]\nfax_server = "fax"/' "$SET/dial_plans.toml"
border lab "$SET" 5060

# side SCENARIO ADDRESS PORT TRANSPORT NAME OPTION... : sipp waiting for one call, messages in $WORK/NAME.messages; its process in $PID.
side() {
    local scenario=$1 address=$2 port=$3 transport=$4 name=$5
    shift 5
    start "$name" lab timeout 60 sipp -sf "$HERE/sipp/$scenario.xml" -i "$address" -p "$port" -mi "$address" -t "$transport" -m 1 -nostdin -timeout 50 \
        -trace_msg -message_file "$WORK/$name.messages" -trace_err -error_file "$WORK/$name.err" "$@"
    for _ in $(seq 25); do at lab ss -Hltun "src $address:$port" | grep -q . && return; sleep 0.2; done
}

# um SCENARIO NAME REFER_TO [OPTION...]
um() {
    local scenario=$1 name=$2 target=$3
    shift 3
    side "$scenario" 127.0.0.3 5062 t1 "$name" -key contact "127.0.0.3:5062;transport=tcp" -key rtp 40006 -key refer_to "$target" "$@"
    UM=$PID
}

# desk SCENARIO ADDRESS NAME
desk() { side "$1" "$2" 5060 u1 "$3" -key rtp 40004 -d 2000; DESK=$PID; }

# caller SCENARIO NAME
caller() {
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/$1.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -d 2000 -m 1 -nostdin -timeout 50 \
        -key rtp 40002 -key refer_to sip:3001@127.0.0.1 -trace_msg -message_file "$WORK/$2.messages" -trace_err -error_file "$WORK/$2.err"
}

# talk CASE ADDRESS PAIR... : the sound of one case, in the background; the desk at this address.
talk() {
    local name=$1 address=$2
    shift 2
    start "$name.talk" lab timeout 40 python3 "$HERE/talk.py" "$@" -- "caller=127.0.0.2:40002:$WORK/$name.caller.messages" \
        "um=127.0.0.3:40006:$WORK/$name.um.messages" "desk=$address:40004:$WORK/$name.desk.messages" ${SECOND:+"second=127.0.0.3:40008:$WORK/$name.second.messages"}
    TALK=$PID
}

# told CASE STATUS... : the NOTIFYs of a case told exactly this, in this order.
told() {
    local name=$1 status
    shift
    for status; do echo "SIP/2.0 $status"; done >"$WORK/$name.expected"
    tr -d '\r' <"$WORK/$name.um.messages" | awk '/^NOTIFY /{head=1} head && /^$/{head=0; body=1; next} body && /^SIP\/2.0 /{print; body=0}' >"$WORK/$name.told"
    diff "$WORK/$name.expected" "$WORK/$name.told"
}

# heard : what was said went where it should.
heard() { ended "$TALK"; local status=$?; cat "$WORK/$1.talk.log"; return $status; }

COUNT=0
record() { local what=$1; shift; COUNT=$((COUNT + 1)); check "$what" records "$SET/records.jsonl" $COUNT "$@"; }

# 1. To a number, by the gateway; the caller hangs up.
desk desk 127.0.0.4 blind.desk
um um_refers blind.um sip:3001@127.0.0.1
talk blind 127.0.0.4 caller+um
check "to a number: the caller is connected by a re-INVITE, and hangs up" caller call_transferred blind.caller
check "to a number: UM" ended "$UM"
check "to a number: UM hears how it goes" told blind "100 Trying" "200 OK"
check "to a number: the desk" ended "$DESK"
check "to a number: who hears whom" heard blind
check "to a number: the gateway is called for it" grep -q "^INVITE sip:3001@127.0.0.4" "$WORK/blind.desk.messages"
check "to a number: it is told who calls" grep -Eq '^From: "A caller" <sip:2001@' "$WORK/blind.desk.messages"
refuses "to a number: nothing of the inside crosses" grep -E -e corp.example -e ms-opaque -e 127.0.0.3 "$WORK/blind.desk.messages" "$WORK/blind.caller.messages"
record "to a number: the record" "r.status == 200 and r.reason == 'call.normal' and r.released_by == 'caller'" "len(r.transfers) == 1" \
    "r.transfers[0].by == 'um' and r.transfers[0].kind == 'number' and r.transfers[0].status == 200" "r.transfers[0].target.peer == 'gateway'"
stop "$UM"; stop "$DESK"

# The same, and it is the desk that hangs up.
desk desk_ending 127.0.0.4 ending.desk
um um_refers ending.um sip:3001@127.0.0.1
check "to one who hangs up: the caller" caller call_transferred_ended ending.caller
check "to one who hangs up: UM" ended "$UM"
check "to one who hangs up: the desk" ended "$DESK"
record "to one who hangs up: the record" "r.status == 200 and r.released_by == 'called'" "r.transfers[0].status == 200"
stop "$UM"; stop "$DESK"

# 2. Busy: the caller hears nothing of it, and UM ends the call.
desk um_busy 127.0.0.4 busy.desk
um um_refers busy.um sip:3001@127.0.0.1
check "busy: the caller stays until UM hangs up" caller call_ended busy.caller
check "busy: UM" ended "$UM"
check "busy: UM hears of it" told busy "100 Trying" "486 Busy Here"
check "busy: the desk" ended "$DESK"
record "busy: the record" "r.status == 200 and r.released_by == 'called'" "r.transfers[0].status == 486 and r.transfers[0].reason == 'call.rejected'"
stop "$UM"; stop "$DESK"

# 3. Numbers that cost money.
um um_refers_refused toll.um sip:0900123456@127.0.0.1
check "a number the toll rules deny: the caller stays until UM hangs up" caller call_ended toll.caller
check "a number the toll rules deny: UM is refused" ended "$UM"
check "a number the toll rules deny: UM hears nothing more" told toll
record "a number the toll rules deny: the record" "r.status == 200 and r.released_by == 'called' and r.transfers == []"
stop "$UM"

# 4. UM does not wait.
desk desk 127.0.0.4 leaving.desk
um um_refers_leaving leaving.um sip:3001@127.0.0.1
check "UM leaves at once: the caller is connected all the same" caller call_transferred leaving.caller
check "UM leaves at once: UM" ended "$UM"
check "UM leaves at once: it hears how it went" told leaving "100 Trying" "200 OK"
check "UM leaves at once: the desk" ended "$DESK"
record "UM leaves at once: the record" "r.status == 200 and r.released_by == 'caller'" "r.transfers[0].status == 200 and r.transfers[0].target.peer == 'gateway'"
stop "$UM"; stop "$DESK"

# And the desk will not have it: the caller is not lost, but called back to UM.
desk desk_refusing 127.0.0.4 back.desk
um um_called_back back.um sip:3001@127.0.0.1 -m 2
check "UM has left a transfer that fails: the caller is called back to UM" caller call_transferred back.caller
check "UM has left a transfer that fails: UM, called twice" ended "$UM"
check "UM has left a transfer that fails: it hears how it went" told back "100 Trying" "603 Decline"
check "UM has left a transfer that fails: the desk" ended "$DESK"
record "UM has left a transfer that fails: the record" "r.status == 200 and r.released_by == 'caller'" "[t.kind for t in r.transfers] == ['number', 'call_back']" \
    "[t.status for t in r.transfers] == [603, 200]" "r.transfers[1].target.peer == 'um'"
stop "$UM"; stop "$DESK"

# 5. Nobody outside.
um um refers.um -
check "a trunk may not transfer" caller call_refers refers.caller
check "a trunk may not transfer: UM hears nothing of it" ended "$UM"
refuses "a trunk may not transfer: no REFER crosses" grep -q "^REFER " "$WORK/refers.um.messages"
record "a trunk may not transfer: the record" "r.status == 200 and r.reason == 'call.normal' and r.transfers == []"
stop "$UM"

# 6. Attended: UM has called the desk, and makes one call of the two. Replaces names its own dialog with the border.
desk desk_joined 127.0.0.4 attended.desk
start attended.second lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/um_calls.xml" -i 127.0.0.3 -p 5063 -mi 127.0.0.3 -t t1 -s 3001 -m 1 -nostdin -timeout 50 \
    -key rtp_second 40008 -trace_msg -message_file "$WORK/attended.second.messages" -trace_err -error_file "$WORK/attended.second.err"
UM_SECOND=$PID
SECOND=yes talk attended 127.0.0.4 second+desk caller+um
answered() { for _ in $(seq 50); do grep -q '^ACK sip:' "$WORK/attended.second.messages" 2>/dev/null && return; sleep 0.2; done; return 1; }
check "attended: UM calls the desk first" answered
tag() { tr -d '\r' <"$WORK/attended.second.messages" | sed -n "/^ACK sip:/,\$s/^$1: .*tag=//p" | head -n 1; }
CALL_ID=$(tr -d '\r' <"$WORK/attended.second.messages" | sed -n 's/^Call-ID: //p' | head -n 1)
REPLACES="${CALL_ID/@/%40}%3Bto-tag%3D$(tag To)%3Bfrom-tag%3D$(tag From)"
um um_refers attended.um "sip:3001@127.0.0.1?Replaces=$REPLACES"
check "attended: the caller is connected by a re-INVITE, and hangs up" caller call_transferred attended.caller
check "attended: UM" ended "$UM"
check "attended: UM hears how it goes" told attended "100 Trying" "200 OK"
check "attended: UM's other call is ended by us" ended "$UM_SECOND"
check "attended: the desk, whose call went on" ended "$DESK"
check "attended: who hears whom" heard attended
COUNT=$((COUNT + 1))
record "attended: the records" "r.status == 200 and r.released_by == 'caller' and r.transfers[0].kind == 'attended' and r.transfers[0].status == 200" \
    "r.transfers[0].target.peer == 'gateway'" "newest[-2].reason == 'call.transferred' and newest[-2].released_by == 'border'"
stop "$UM"; stop "$UM_SECOND"; stop "$DESK"

# 7. To the fax server; UM waits for our BYE.
desk desk 127.0.0.5 fax.desk
um um_refers_waiting fax.um "sip:127.0.0.5:5060"
talk fax 127.0.0.5 caller+um
check "to the fax server: the caller is connected by a re-INVITE, and hangs up" caller call_transferred fax.caller
check "to the fax server: UM, hung up on after its time" ended "$UM"
check "to the fax server: UM hears how it goes" told fax "100 Trying" "200 OK"
check "to the fax server: it" ended "$DESK"
check "to the fax server: who hears whom" heard fax
record "to the fax server: the record" "r.status == 200 and r.released_by == 'caller' and r.transfers[0].kind == 'fax' and r.transfers[0].target.peer == 'fax'"
stop "$UM"; stop "$DESK"

stop "$BORDER"
check "the log says that transfers were done" grep -q "transfer done" "$WORK/border.log"
check "the log says why one was refused" grep -q "transfer refused: the call goes on as it was.*toll" "$WORK/border.log"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
