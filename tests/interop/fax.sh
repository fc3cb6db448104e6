#!/bin/bash
# Faxes by sipp on both sides, UDPTL by fax.py, through policies/unsecured-lab: a call that a re-INVITE turns to T.38 and another back to sound, over UDP and
# TCP; and the same where the peer's fax is g711, which refuses it and leaves the sound as it was.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
border lab "$SET" 5060

um() {
    start "$1" lab timeout 60 sipp -sf "$HERE/sipp/$1.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -m 1 -nostdin \
        -trace_msg -message_file "$WORK/um.$2.messages" -trace_err -error_file "$WORK/$1.err"
    UM=$PID
    listening lab 5062
}

caller() {
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/$1.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t "$2" -s 5000 -d 200 -m 1 -nostdin -timeout 50 \
        -trace_msg -message_file "$WORK/caller.$3.messages" -trace_err -error_file "$WORK/$1.err"
}

COUNT=0
for transport in u1 t1; do
    um um_fax "$transport"
    start "udptl-$transport" lab timeout 40 python3 "$HERE/fax.py" "$WORK/caller.$transport.messages" "$WORK/um.$transport.messages"
    UDPTL=$PID
    check "sound, T.38, sound ($transport): the gateway" caller call_fax "$transport" "$transport"
    check "sound, T.38, sound ($transport): the voicemail server" ended "$UM"
    check "the fax itself both ways, and nothing else ($transport)" ended "$UDPTL"
    COUNT=$((COUNT + 1))
    check "its record ($transport)" records "$SET/records.jsonl" $COUNT "r.status == 200 and r.reason == 'call.normal'" "r.fax.t38 is True" \
        "r.media.a_to_b.fax.received == r.media.a_to_b.fax.sent == 100" "r.media.b_to_a.fax.received == r.media.b_to_a.fax.sent == 100" \
        "r.media.a_to_b.fax.lost == 0" "r.media.a_to_b.refused.malformed == 20" "r.media.a_to_b.refused.source == 10"
    refuses "nothing of the gateway's crosses ($transport)" grep -F -e 127.0.0.2 -e o=caller "$WORK/um.$transport.messages"
    stop "$UM"
done

stop "$BORDER"
check "the log says that the call became a fax" grep -q "the call is a fax over T.38 from now on" "$WORK/border.log"
check "no panic" fails grep -q panicked "$WORK/border.log"

# The voicemail server takes faxes as sound alone.
sed -i 's/^kind = "um-server"/&\nfax = "g711"/' "$SET/peers.toml"
border lab "$SET" 5060
um um g711
check "T.38 towards a peer of g711 is refused, and the call goes on" caller call_fax_refused u1 g711
check "which has heard nothing of it" ended "$UM"
COUNT=$((COUNT + 1))
check "its record" records "$SET/records.jsonl" $COUNT "r.status == 200 and r.reason == 'call.normal'" "'fax' not in r"
refuses "no fax was offered to it" grep -q m=image "$WORK/um.g711.messages"
stop "$BORDER"
check "the log says why" grep -q "media.fax" "$WORK/border.log"
verdict
