#!/bin/bash
# Two softphones (baresip) through every way the packets of media can take: over mutual TLS with SRTP on both legs, then unsecured, once for each
# setting of [media]. What each decoded holds the other's tone and nothing else, and the call record lost nothing.
. "$(dirname "$0")/lab.sh"
. "$HERE/softphones.sh"

# counted EVENT : what the border's workers have counted of it.
counted() { at sbc python3 -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9160/metrics', timeout=5).read().decode())" |
    sed -n "s/^portcullis_media_plane_total{event=\"$1\"} //p"; }

# shows PATTERN : what `show media` says of the call that is up matches it.
shows() { at sbc "$PORTCULLIS" show media 1 --socket "$SET/control.sock" >"$WORK/shown" 2>&1 && grep -Eq "$1" "$WORK/shown" || { cat "$WORK/shown"; false; }; }

# call WHAT URI MODE WAY SETTING... : one call with these lines in [media]; WAY is what most of its packets have to be carried by.
call() {
    local what=$1 uri=$2 mode=$3 way=$4 packets carrier
    shift 4
    { cat "$WORK/border.toml"; printf '%s\n' "$@"; } >"$SET/border.toml"
    rm -f "$SET/records.jsonl" "$WORK"/*/heard/*.wav
    border sbc "$SET" 5061
    check "$what: the call is answered" phone alice dial "$uri" + await 10 CALL_ESTABLISHED
    sleep 3
    check "$what: show media says how it is carried" shows "carried by +$way \\("
    check "$what: show media says that each hears the other" shows '^alice[a-z-]* -> bob[a-z-]*: heard, [0-9]+ packets from 10\.96\.0\.11'
    check "$what: the caller hangs up" phone alice hangup
    sleep 0.5
    for carrier in kernel frames; do
        packets=$(counted in_$carrier)
        if [ "$way" = $carrier ]; then
            check "$what: most packets went that way ($packets)" test "${packets:-0}" -gt 200
        else
            check "$what: none went by $carrier" test "${packets:-0}" = 0
        fi
    done
    check "$what: the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
    check "$what: the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK"/alice/heard/*dec.wav
    check "$what: the record lost nothing" records "$SET/records.jsonl" 1 "r.a.mode == r.b.mode == '$mode'" \
        "r.media.a_to_b.lost == r.media.b_to_a.lost == 0" "r.media.a_to_b.received > 100" "r.media.b_to_a.received > 100" \
        "r.media.a_to_b.sent == r.media.a_to_b.received" "r.media.b_to_a.sent == r.media.b_to_a.received"
    stop "$BORDER"
}

PHONES=()
phones 5000 srtp-mand 5061 tls tls
call "secured, as it is unasked" "sip:5000@10.96.0.1:5061" secured sockets
call "secured, by epoll" "sip:5000@10.96.0.1:5061" secured sockets 'io = "epoll"'
call "secured, though the kernel may carry" "sip:5000@10.96.0.1:5061" secured sockets 'kernel = "xdp"'
call "secured, by shared sockets" "sip:5000@10.96.0.1:5061" secured frames 'frames = "auto"'
phones 5001 "" 5060 udp tcp
call "unsecured, as it is unasked" "sip:5001@10.96.0.1:5060" unsecured sockets
call "unsecured, in the kernel" "sip:5001@10.96.0.1:5060" unsecured kernel 'kernel = "xdp"'

# The callee's firewall lets none of its sound out: who is not heard, and where it stops, in one sentence.
cp "$WORK/border.toml" "$SET/border.toml"
rm -f "$SET/records.jsonl"
border sbc "$SET" 5061
at bob nft "table inet hush { chain output { type filter hook output priority 0; ip daddr 10.96.0.1 udp dport 20000-20999 drop; }; }"
check "a callee whose sound is lost: the call is answered" phone alice dial "sip:5001@10.96.0.1:5060" + await 10 CALL_ESTABLISHED
sleep 3
check "a callee whose sound is lost: show media says who is not heard" shows '^bob-plain -> alice-plain: silent'
check "a callee whose sound is lost: and that nothing shows that he hears" shows '^alice-plain -> bob-plain: perhaps not heard, [0-9]+ packets went to 10\.96\.0\.12'
check "a callee whose sound is lost: the caller hangs up" phone alice hangup
sleep 0.5
at bob nft delete table inet hush
check "a callee whose sound is lost: the record ends with it" records "$SET/records.jsonl" 1 "r.audio.b_to_a.cause == 'source.nothing'" "r.audio.a_to_b.cause == 'latch.none'"
stop "$BORDER"

# A rule of this machine's own against what it sends: the sentence must not blame the network.
rm -f "$SET/records.jsonl"
border sbc "$SET" 5061
at sbc nft "table inet own { chain output { type filter hook output priority 0; ip daddr 10.96.0.12 udp sport 20000-20999 drop; }; }"
check "a border forbidden to send: the call is answered" phone alice dial "sip:5001@10.96.0.1:5060" + await 10 CALL_ESTABLISHED
sleep 3
check "a border forbidden to send: show media says so" shows '^alice-plain -> bob-plain: not sent, this machine refused to send [0-9]+ packets to bob-plain'
check "a border forbidden to send: the caller hangs up" phone alice hangup
sleep 0.5
at sbc nft delete table inet own
check "a border forbidden to send: the record ends with it" records "$SET/records.jsonl" 1 "r.audio.a_to_b.cause == 'network.not_sent'" "r.audio.b_to_a.cause == 'audio.heard'"
stop "$BORDER"
verdict
