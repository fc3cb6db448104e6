#!/bin/bash
# Two softphones (baresip) talk while one process of the border takes over from another: over mutual TLS with SRTP, with the shared receive socket, and with the kernel carrying the
# packets. Each decodes the other's tone, nothing is lost, both phones end the call as ever; and another call begins in the new process while the old one still has the first.
. "$(dirname "$0")/lab.sh"
. "$HERE/softphones.sh"

# through WHAT URI MODE WAY NEXT SETTING... : a call through a take-over; WAY is what the old process carries it by, NEXT what the new one carries its own by.
through() {
    local what=$1 uri=$2 mode=$3 way=$4 next=$5
    shift 5
    { cat "$WORK/border.toml"; printf '%s\n' "$@"; } >"$SET/border.toml"
    rm -f "$SET/records.jsonl" "$WORK"/*/heard/*.wav
    border sbc "$SET" 5061
    check "$what: the call is answered" phone alice dial "$uri" + await 10 CALL_ESTABLISHED
    sleep 1
    check "$what: another process takes over" take_over "new-$way" sbc
    check "$what: the old one carries it on" at sbc sh -c "'$PORTCULLIS' show media 1 --socket '$SET/control.sock.'* | grep -E 'carried by +$way '"
    sleep 2
    check "$what: the caller hangs up" phone alice hangup
    check "$what: a new call is the new process's" phone alice dial "$uri" + await 10 CALL_ESTABLISHED
    sleep 1
    check "$what: the new one carries it by $next" at sbc sh -c "'$PORTCULLIS' show media 2 --socket '$SET/control.sock' | tee /dev/stderr | grep -E 'carried by +$next '"
    check "$what: the old one ends with its last call" ended "$OLD" 25
    check "$what: the new call goes on" phone alice hangup
    sleep 0.5
    check "$what: the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
    check "$what: the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK"/alice/heard/*dec.wav
    check "$what: no record lost a packet" records "$SET/records.jsonl" 2 "len(newest) == 2" \
        "all([x.reason == 'call.normal' and x.a.mode == x.b.mode == '$mode' and x.media.a_to_b.lost == x.media.b_to_a.lost == 0 for x in newest])" \
        "all([x.media.a_to_b.received > 100 and x.media.b_to_a.received > 100 for x in newest])"
    stop "$BORDER"
    check "$what: no panic" fails grep -q panicked "$WORK/border.log" "$WORK/new-$way.log"
}

PHONES=()
phones 5000 srtp-mand 5061 tls tls
through "secured" "sip:5000@10.96.0.1:5061" secured sockets sockets
through "secured, by shared sockets" "sip:5000@10.96.0.1:5061" secured frames frames 'frames = "auto"'
phones 5001 "" 5060 udp tcp
through "unsecured, in the kernel" "sip:5001@10.96.0.1:5060" unsecured kernel sockets 'kernel = "xdp"'
verdict
