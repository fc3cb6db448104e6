#!/bin/bash
# Two softphones (baresip) talk while one process of the border takes over from another: over mutual TLS with SRTP, with the shared receive socket, and with the kernel carrying the
# packets. Each decodes the other's tone, nothing is lost, both phones end the call as ever; and another call begins in the new process while the old one still has the first.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in baresip python3 ethtool; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.96.0.1/24
host alice 10.96.0.11/24
host bob 10.96.0.12/24
for space in alice bob; do at $space ethtool -K eth0 tx off >/dev/null; done
for port in sbc alice bob; do ip netns exec "$LAB-switch" ethtool -K "v-$port" gro on >/dev/null; done
at sbc sysctl -q -w net.ipv4.ip_forward=1
SET=$WORK/set
cp -r "$HERE/sets/media" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test >/dev/null || exit 2
cp "$SET/border.toml" "$WORK/border.toml"
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 120
python3 "$HERE/tone.py" make "$WORK/1000.wav" 1000 120

phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }

# phones CALLED ENCRYPTION PORT TRANSPORT-A TRANSPORT-B : both softphones anew.
phones() {
    local pid account="regint=0;audio_codecs=pcma;mediaenc=$2"
    for pid in ${PHONES[@]+"${PHONES[@]}"}; do stop "$pid"; done
    softphone alice 10.96.0.11 127.0.0.1:4441 alice.example.test "$WORK/440.wav" "<sip:2001@10.96.0.11:$3;transport=$4>;$account"
    PHONES=("$PID")
    softphone bob 10.96.0.12 127.0.0.1:4441 bob.example.test "$WORK/1000.wav" "<sip:$1@10.96.0.12:$3;transport=$5>;answermode=auto;$account"
    PHONES+=("$PID")
}

# taken_over NAME : another process in the place of $BORDER, waited for; the old one is $OLD.
taken_over() {
    OLD=$BORDER
    start "$1" sbc "$PORTCULLIS" run "$SET" --take-over
    BORDER=$PID
    for _ in $(seq 75); do grep -q "in force from here on" "$WORK/$1.log" && return 0; sleep 0.2; done
    cat "$WORK/$1.log"
    return 1
}

# ended PID SECONDS : whether it came to its own end in that time, and well.
ended() {
    for _ in $(seq $(($2 * 5))); do kill -0 "$1" 2>/dev/null || { wait "$1"; return; }; sleep 0.2; done
    return 1
}

# through WHAT URI MODE WAY NEXT SETTING... : a call through a take-over; WAY is what the old process carries it by, NEXT what the new one carries its own by.
through() {
    local what=$1 uri=$2 mode=$3 way=$4 next=$5
    shift 5
    { cat "$WORK/border.toml"; printf '%s\n' "$@"; } >"$SET/border.toml"
    rm -f "$SET/records.jsonl" "$WORK"/*/heard/*.wav
    border sbc "$SET" 5061
    check "$what: the call is answered" phone alice dial "$uri" + await 10 CALL_ESTABLISHED
    sleep 1
    check "$what: another process takes over" taken_over "new-$way"
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
