#!/bin/bash
# Two softphones (baresip) call one another through the border: mutual TLS with mandatory SRTP on both legs. Tones are recognised in what each
# decoded; hold and resume, DTMF (RFC 4733), BYE from the caller, then from the callee.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in baresip python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.99.0.1/24 10.99.0.2/24
host alice 10.99.0.11/24
host bob 10.99.0.12/24
SET=$WORK/set
cp -r "$HERE/sets/secured" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test --name router.example.test >/dev/null || exit 2
border sbc "$SET" 5061
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 60
python3 "$HERE/tone.py" make "$WORK/1000.wav" 1000 60
ACCOUNT="regint=0;mediaenc=srtp-mand;audio_codecs=pcma,pcmu"
softphone alice 10.99.0.11 127.0.0.1:4441 alice.example.test "$WORK/440.wav" "<sip:2001@10.99.0.11:5061;transport=tls>;$ACCOUNT"
softphone bob 10.99.0.12 127.0.0.1:4441 bob.example.test "$WORK/1000.wav" "<sip:5000@10.99.0.12:5061;transport=tls>;answermode=auto;$ACCOUNT"

phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }

check "the call is answered" phone alice dial "sip:5000@10.99.0.1:5061" + await 10 CALL_ESTABLISHED
sleep 3
check "the caller holds" phone alice hold
sleep 1.5
check "the caller resumes" phone alice resume
sleep 1.5
phone bob await 6 CALL_DTMF_START >"$WORK/dtmf.log" 2>&1 &
DTMF=$!
sleep 0.5
check "the caller keys 5" phone alice sndcode 5
check "DTMF arrives" wait $DTMF
check "it is the key 5" grep -q '"param": *"5"' "$WORK/dtmf.log"
phone bob await 6 CALL_CLOSED >"$WORK/closed.log" 2>&1 &
CLOSED=$!
sleep 0.5
check "the caller hangs up" phone alice hangup
check "the callee sees the end" wait $CLOSED
sleep 1
check "the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
check "the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK"/alice/heard/*dec.wav
SECURED=("r.a.mode == r.b.mode == 'secured'" "r.a.tls.version.startswith('TLSv1.')" "r.b.tls.version.startswith('TLSv1.')"
    "'alice.example.test' in r.a.tls.names" "r.a.srtp_suite.startswith('AES_CM_128')"
    "r.b.srtp_suite.startswith('AES_CM_128')" "r.reason == 'call.normal'" "r.status == 200" "r.a.call_id != r.b.call_id"
    "r.media.a_to_b.lost == 0" "r.media.b_to_a.lost == 0" "r.media.a_to_b.received > 100" "r.media.b_to_a.received > 100"
    "r.media.a_to_b.sent == r.media.a_to_b.received" "r.media.b_to_a.sent == r.media.b_to_a.received"
    "r.media.a_to_b.refused.authentication == r.media.b_to_a.refused.authentication == 0")
check "the record: secured on both legs, no loss, the caller hung up" records "$SET/records.jsonl" 1 "${SECURED[@]}" "r.released_by == 'caller'"

rm -f "$WORK"/*/heard/*.wav
check "a second call is answered" phone alice dial "sip:5000@10.99.0.1:5061" + await 10 CALL_ESTABLISHED
sleep 2
check "the callee holds" phone bob hold
sleep 1
check "the callee resumes" phone bob resume
sleep 2
phone alice await 6 CALL_CLOSED >"$WORK/closed.log" 2>&1 &
CLOSED=$!
sleep 0.5
check "the callee hangs up" phone bob hangup
check "the caller sees the end" wait $CLOSED
sleep 1
check "the callee decoded the caller's tone again" python3 "$HERE/tone.py" check 440 1 "$WORK"/bob/heard/*dec.wav
check "the caller decoded the callee's tone again" python3 "$HERE/tone.py" check 1000 1 "$WORK"/alice/heard/*dec.wav
check "the record: secured on both legs, no loss, the callee hung up" records "$SET/records.jsonl" 2 "${SECURED[@]}" "r.released_by == 'called'"
verdict
