#!/bin/bash
# A softphone (baresip) that wants RTCP on the port of RTP calls one that has two ports, over mutual TLS with SRTP: each is spoken to in its own way. What
# passes is counted in the softphones' own network namespaces, by the kernel.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in baresip python3 nft; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.97.0.1/24
host alice 10.97.0.11/24
host bob 10.97.0.12/24
SET=$WORK/set
cp -r "$HERE/sets/media" "$SET"
sed -i 's/10\.96\.0\./10.97.0./g' "$SET"/*.toml
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test >/dev/null || exit 2
cp "$SET/peers.toml" "$WORK/peers.toml"
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 120
python3 "$HERE/tone.py" make "$WORK/1000.wav" 1000 120

phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }

# SRTCP has its packet type in the clear. Even ports are those of RTP.
for space in alice bob; do
    at $space nft -f - <<'END'
table inet seen {
    counter one_in { }
    counter one_out { }
    counter two_in { }
    counter two_out { }
    chain input {
        type filter hook input priority 0;
        ip saddr 10.97.0.1 udp dport 10000-10099 udp sport & 1 == 0 @th,72,8 200-207 counter name one_in
        ip saddr 10.97.0.1 udp dport 10000-10099 udp sport & 1 == 1 counter name two_in
    }
    chain output {
        type filter hook output priority 0;
        ip daddr 10.97.0.1 udp sport 10000-10099 udp dport & 1 == 0 @th,72,8 200-207 counter name one_out
        ip daddr 10.97.0.1 udp sport 10000-10099 udp dport & 1 == 1 counter name two_out
    }
}
END
done
seen() { at "$1" nft list counter inet seen "$2" | sed -n 's/.*packets \([0-9]*\) .*/\1/p'; }
zero() { at "$1" nft reset counters table inet seen >/dev/null; }

account="regint=0;audio_codecs=pcma;mediaenc=srtp-mand"
RTCP_MUX=yes softphone alice 10.97.0.11 127.0.0.1:4441 alice.example.test "$WORK/440.wav" "<sip:2001@10.97.0.11:5061;transport=tls>;$account"
softphone bob 10.97.0.12 127.0.0.1:4441 bob.example.test "$WORK/1000.wav" "<sip:5000@10.97.0.12:5061;transport=tls>;answermode=auto;$account"

# call WHAT SHARED : one call; SHARED says by how many ports the caller is to be spoken to.
call() {
    local what=$1 shared=$2 space
    rm -f "$SET/records.jsonl" "$WORK"/*/heard/*.wav
    for space in alice bob; do zero $space; done
    border sbc "$SET" 5061
    check "$what: the call is answered" phone alice dial "sip:5000@10.97.0.1:5061" + await 10 CALL_ESTABLISHED
    sleep 7
    check "$what: the caller hangs up" phone alice hangup
    sleep 0.5
    if [ "$shared" = one ]; then
        check "$what: RTCP reaches the caller on the one port ($(seen alice one_in))" test "$(seen alice one_in)" -gt 0
        check "$what: and leaves it there ($(seen alice one_out))" test "$(seen alice one_out)" -gt 0
        check "$what: and nowhere else" test "$(seen alice two_in) $(seen alice two_out)" = "0 0"
    else
        check "$what: RTCP reaches the caller on its own port ($(seen alice two_in))" test "$(seen alice two_in)" -gt 0
        check "$what: and leaves it there ($(seen alice two_out))" test "$(seen alice two_out)" -gt 0
        check "$what: and nowhere else" test "$(seen alice one_in) $(seen alice one_out)" = "0 0"
    fi
    check "$what: the callee's has a port of its own" test "$(seen bob two_in)" -gt 0 -a "$(seen bob two_out)" -gt 0
    check "$what: and nothing on the other" test "$(seen bob one_in) $(seen bob one_out)" = "0 0"
    check "$what: the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
    check "$what: the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK"/alice/heard/*dec.wav
    check "$what: the record lost nothing" records "$SET/records.jsonl" 1 "r.a.mode == r.b.mode == 'secured'" \
        "r.media.a_to_b.lost == r.media.b_to_a.lost == 0" "r.media.a_to_b.received > 100" "r.media.b_to_a.received > 100"
    stop "$BORDER"
}

call "offered, and not allowed" two
sed 's/^name = "alice"$/&\nrtcp_mux = true/' "$WORK/peers.toml" >"$SET/peers.toml"
call "offered and allowed" one
verdict
