#!/bin/bash
# A call router that is Kamailio, over mutual TLS, sends the call on with a 302; the border follows inside to the worker, a softphone (baresip).
# Functional only.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in kamailio baresip python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.99.0.1/24 10.99.0.2/24
host alice 10.99.0.11/24
host bob 10.99.0.12/24
host router 10.99.0.13/24
SET=$WORK/set
cp -r "$HERE/sets/secured" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test --name router.example.test >/dev/null || exit 2
border sbc "$SET" 5061
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 60
python3 "$HERE/tone.py" make "$WORK/1000.wav" 1000 60
ACCOUNT="regint=0;mediaenc=srtp-mand;audio_codecs=pcma,pcmu"
softphone alice 10.99.0.11 127.0.0.1:4441 alice.example.test "$WORK/440.wav" "<sip:2001@10.99.0.11:5061;transport=tls>;$ACCOUNT"
softphone bob 10.99.0.12 127.0.0.1:4441 bob.example.test "$WORK/1000.wav" "<sip:5000@10.99.0.12:5061;transport=tls>;answermode=auto;$ACCOUNT"

sed "s#TLS_CONFIG#$WORK/tls.cfg#" "$HERE/kamailio.cfg" >"$WORK/kamailio.cfg"
for role in server:default client:default; do
    printf '%s\n' "[$role]" "method = TLSv1.2+" "verify_certificate = yes" "require_certificate = yes" "certificate = $SET/certs/router.example.test.pem" \
        "private_key = $SET/certs/router.example.test.key" "ca_list = $SET/certs/ca.pem"
done >"$WORK/tls.cfg"
start kamailio router kamailio -f "$WORK/kamailio.cfg" -DD -E -m 64 -M 8 -Y "$WORK" -P "$WORK/kamailio.pid"
listening router 5061

phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }
check "the call is answered behind the redirect" phone alice dial "sip:5001@10.99.0.1:5061" + await 10 CALL_ESTABLISHED
sleep 3
check "the caller hangs up" phone alice hangup
sleep 1
check "Kamailio verified the border's certificate" grep -q "INVITE from .* verified 1" "$WORK/kamailio.log"
check "the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
check "the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK"/alice/heard/*dec.wav
check "the record: one redirect, secured on both legs" records "$SET/records.jsonl" 1 "r.status == 200 and r.reason == 'call.normal'" \
    "len(r.redirects) == 1 and r.redirects[0].status == 302" "r.redirects[0]['from'] == '10.99.0.13:5061' and r.redirects[0].to == '10.99.0.12:5061'" \
    "r.b.peer == 'bob' and 'bob.example.test' in r.b.tls.names" "r.a.mode == r.b.mode == 'secured'" "r.media.a_to_b.lost == r.media.b_to_a.lost == 0"
verdict
