#!/bin/bash
# Calls by sipp on both sides through the policy set policies/unsecured-lab: the trunk over UDP, then over TCP, UM over TCP (it speaks nothing
# weaker). Basic call, CANCEL, busy, a redirect followed inside, re-INVITE, BYE from the UM side, PRACK, an offer only in the
# 200; 200 calls at 50 a second.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
# A worker for the redirect to lead to.
cat >>"$SET/peers.toml" <<'PEER'

[[peer]]
name = "um-worker"
kind = "um-server"
hosts = "127.0.0.4"
transport = "tcp"
port = 5062
mode = "unsecured"
listener = "tcp"
PEER
echo 'servers = ["um-worker"]' >>"$SET/um_pools.toml"
border lab "$SET" 5060

# um SCENARIO ADDRESS [OPTION...] : the UM side, in the background; ends after one call unless told otherwise.
um() {
    local scenario=$1 address=$2
    shift 2
    start "um-$scenario" lab timeout 60 sipp -sf "$HERE/sipp/$scenario.xml" -i "$address" -p 5062 -mi "$address" -t t1 \
        -key contact "$address:5062;transport=tcp" -key worker 127.0.0.4:5062 -m 1 -nostdin -trace_err -error_file "$WORK/um-$scenario.err" "$@"
    UM=$PID
    listening lab 5062
}

# caller SCENARIO TRANSPORT [OPTION...]
caller() {
    local scenario=$1 transport=$2
    shift 2
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/$scenario.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t "$transport" -s 5000 -d 200 -m 1 \
        -nostdin -timeout 50 -trace_err -error_file "$WORK/$scenario.err" "$@"
}

COUNT=0
# pair WHAT CALLER UM TRANSPORT EXPRESSION... : one call, both sides' scenarios to their ends, and its record.
pair() {
    local what="$1 ($4)" call=$2 scenario=$3 transport=$4
    shift 4
    um "$scenario" 127.0.0.3
    check "$what: the caller" caller "$call" "$transport"
    check "$what: the UM side" ended "$UM"
    COUNT=$((COUNT + 1))
    check "$what: the record" records "$SET/records.jsonl" $COUNT "$@"
    stop "$UM"
}

for transport in u1 t1; do
    pair "a call" call um $transport "r.status == 200 and r.reason == 'call.normal' and r.released_by == 'caller'" "r.a.mode == r.b.mode == 'unsecured'"
    pair "busy" call_refused um_busy $transport "r.status == 486 and r.reason == 'call.rejected'"
    pair "CANCEL" call_cancelled um_ringing $transport "r.reason == 'call.cancelled'" "r.answered is None"
    pair "re-INVITE" call_changed um_changed $transport "r.status == 200 and r.released_by == 'caller'"
    pair "BYE from UM" call_ended um_ending $transport "r.status == 200 and r.released_by == 'called'"

    pair "PRACK" call_reliable um_reliable $transport "r.status == 200 and r.reason == 'call.normal'"
    pair "offer in the 200" call_delayed um_delayed $transport "r.status == 200 and r.reason == 'call.normal'"

    um um 127.0.0.4
    WORKER=$UM
    start um-redirecting lab timeout 60 sipp -sf "$HERE/sipp/um_redirecting.xml" -i 127.0.0.3 -p 5062 -t t1 -key worker 127.0.0.4:5062 -m 1 -nostdin
    ROUTER=$PID
    for _ in $(seq 25); do [ "$(at lab ss -Hltn 'sport = :5062' | wc -l)" -ge 2 ] && break; sleep 0.2; done
    check "a redirect ($transport): the caller never sees it" caller call $transport
    check "a redirect ($transport): the router was asked" ended $ROUTER
    check "a redirect ($transport): the worker was called" ended $WORKER
    COUNT=$((COUNT + 1))
    check "a redirect ($transport): the record" records "$SET/records.jsonl" $COUNT "r.status == 200" "len(r.redirects) == 1 and r.redirects[0].status == 302" \
        "r.redirects[0].to == '127.0.0.4:5062'" "r.b.peer == 'um-worker'"
    stop $WORKER
    stop $ROUTER

    um um 127.0.0.3 -m 200
    check "200 calls at 50 a second ($transport): the caller" caller call $transport -m 200 -r 50 -d 1000 -trace_stat -stf "$WORK/$transport.csv" -fd 1
    check "200 calls ($transport): the UM side" ended "$UM"
    check "200 calls ($transport): none failed, hardly any message sent twice" python3 "$HERE/sipp_statistics.py" "$WORK/$transport.csv" 200
    COUNT=$((COUNT + 200))
    check "200 calls ($transport): the records" records "$SET/records.jsonl" $COUNT "all([x.reason == 'call.normal' for x in newest[-200:]])"
    stop "$UM"
done
# What each side was sent, headers and bodies, tells nothing of the other.
start um-seen lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -m 1 -nostdin \
    -trace_msg -message_file "$WORK/um.messages"
UM=$PID
listening lab 5062
check "a call, every message written down" caller call u1 -trace_msg -message_file "$WORK/caller.messages"
check "its UM side" ended "$UM"
stop "$UM"
check "the caller was sent messages" grep -q "^Contact: .*127.0.0.1" "$WORK/caller.messages"
check "the UM side too" grep -q "^Contact: .*127.0.0.1" "$WORK/um.messages"
refuses "the caller never sees the UM side's address" grep -F 127.0.0.3 "$WORK/caller.messages"
refuses "the UM side never sees the caller's address" grep -F 127.0.0.2 "$WORK/um.messages"
refuses "nor the caller's Call-ID" grep -F "$(sed -n 's/^Call-ID: //p' "$WORK/caller.messages" | head -n 1 | tr -d '\r')" "$WORK/um.messages"

stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
