#!/bin/bash
# Digits between INFO and telephone-events (dtmf = "info"): a softphone (baresip) that presses keys by telephone-events under SRTP is heard by another as
# INFO; sipp, which knows INFO alone and sends no sound, is heard by a softphone as telephone-events. Each key once and in order.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in baresip sipp python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.96.0.1/24
host alice 10.96.0.11/24
host bob 10.96.0.12/24
SET=$WORK/set
cp -r "$HERE/sets/media" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test >/dev/null || exit 2
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 60
# By INFO alone: bob over TLS, and who calls in clear.
sed -i -e 's/^name = "bob"$/&\ndtmf = "info"/' -e 's/^name = "alice-plain"$/&\ndtmf = "info"/' "$SET/peers.toml"
border sbc "$SET" 5061

phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }

# hears HOST KEYS COMMAND... : the softphone there hears these keys, each once and in order, while the command runs.
hears() {
    local name=$1 keys=$2 log=$WORK/keys.$RANDOM listener
    shift 2
    ip netns exec "$LAB-$name" timeout 25 python3 "$HERE/keys.py" 127.0.0.1 4441 8 >"$log" 2>&1 </dev/null &
    listener=$!
    sleep 0.5
    "$@" || { wait $listener; return 1; }
    wait $listener
    cat "$log"
    [ "$(tail -n 1 "$log")" = "$keys" ]
}

# Presses one key after the other, as a person does.
presses() { local key; for key in "$@"; do phone alice sndcode "$key" || return 1; sleep 0.4; done; }

account="regint=0;audio_codecs=pcma;mediaenc=srtp-mand"
softphone alice 10.96.0.11 127.0.0.1:4441 alice.example.test "$WORK/440.wav" "<sip:2001@10.96.0.11:5061;transport=tls>;$account"
ALICE=$PID
softphone bob 10.96.0.12 127.0.0.1:4441 bob.example.test "$WORK/440.wav" "<sip:5000@10.96.0.12:5061;transport=tls>;answermode=auto;$account"
BOB=$PID
check "events under SRTP to INFO: the call is answered" phone alice dial "sip:5000@10.96.0.1:5061" + await 10 CALL_ESTABLISHED
sleep 1
check "events under SRTP to INFO: each key is heard once, in order" hears bob "159*" presses 1 5 9 '*'
check "events under SRTP to INFO: the caller hangs up" phone alice hangup
sleep 0.5
check "events under SRTP to INFO: the record counts them" records "$SET/records.jsonl" 1 "r.digits.by_events == 4" "r.digits.by_info == r.digits.lost == 0"
stop "$ALICE"
stop "$BOB"

softphone bob 10.96.0.12 127.0.0.1:4441 bob.example.test "$WORK/440.wav" "<sip:5001@10.96.0.12:5060;transport=tcp>;answermode=auto;regint=0;audio_codecs=pcma"
check "INFO to events: each key is heard once, in order" hears bob "4#" at alice timeout 30 sipp 10.96.0.1:5060 -sf "$HERE/sipp/call_digits.xml" \
    -i 10.96.0.11 -p 5060 -mi 10.96.0.11 -t u1 -s 5001 -m 1 -nostdin -timeout 20 -trace_err -error_file "$WORK/call_digits.err"
sleep 0.5
check "INFO to events: the record counts them" records "$SET/records.jsonl" 2 "r.digits.by_info == 2" "r.digits.by_events == r.digits.lost == 0"
stop "$BORDER"
verdict
