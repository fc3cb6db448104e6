#!/bin/bash
# DTLS-SRTP and ICE between the border and a softphone (baresip), in both parts of the handshake, and an agent of WebRTC (aiortc): one leg keyed by DTLS, the
# other by SDES over TLS. What each decoded holds the other's tone; a softphone that shows another certificate than it announced is heard by nobody.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in baresip python3 openssl cc; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done
/usr/bin/python3 -c "import aiortc" 2>/dev/null || { echo "install python3-aiortc first" >&2; exit 2; }

host sbc 10.96.0.1/24
host alice 10.96.0.11/24
host bob 10.96.0.12/24
SET=$WORK/set
cp -r "$HERE/sets/media" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test >/dev/null || exit 2
cp "$SET/peers.toml" "$WORK/peers.toml"
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 120
python3 "$HERE/tone.py" make "$WORK/1000.wav" 1000 120
cc -shared -fPIC -O1 -o "$WORK/ecdsa.so" "$HERE/ecdsa.c" -ldl || exit 2
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=media -keyout "$WORK/dtls.key" -out "$WORK/dtls.crt" 2>/dev/null || exit 2
export DTLS_PEM=$WORK/dtls.pem
cat "$WORK/dtls.crt" "$WORK/dtls.key" >"$DTLS_PEM"

phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }

# phones WHO : both softphones anew; WHO is keyed by DTLS and found by ICE, the other by SDES.
PHONES=()
phones() {
    local pid name
    local -A account sound=([alice]=440 [bob]=1000) uri=([alice]=2001 [bob]=5000) address=([alice]=10.96.0.11 [bob]=10.96.0.12) auto=([bob]=";answermode=auto")
    for pid in ${PHONES[@]+"${PHONES[@]}"}; do stop "$pid"; done
    PHONES=()
    for name in alice bob; do
        rm -rf "${WORK:?}/$name/heard"
        account="<sip:${uri[$name]}@${address[$name]}:5061;transport=tls>${auto[$name]-};regint=0;audio_codecs=pcma"
        if [ "$1" = "$name" ]; then
            RTCP_MUX=yes MODULES="dtls_srtp ice stun" PRELOAD=$WORK/ecdsa.so softphone "$name" "${address[$name]}" 127.0.0.1:4441 "$name.example.test" \
                "$WORK/${sound[$name]}.wav" "$account;mediaenc=dtls_srtp;medianat=ice"
        else
            softphone "$name" "${address[$name]}" 127.0.0.1:4441 "$name.example.test" "$WORK/${sound[$name]}.wav" "$account;mediaenc=srtp-mand"
        fi
        PHONES+=("$PID")
    done
}

# begin WHO : the border, which is to key WHO by DTLS.
begin() {
    sed "s/^name = \"$1\"\$/&\nkeying = \"dtls\"/" "$WORK/peers.toml" >"$SET/peers.toml"
    rm -f "$SET/records.jsonl"
    border sbc "$SET" 5061
}

# call WHO : a call with both tones.
call() {
    local leg=a
    [ "$1" = bob ] && leg=b
    phones "$1"
    begin "$1"
    check "DTLS towards $1: the call is answered" phone alice dial "sip:5000@10.96.0.1:5061" + await 10 CALL_ESTABLISHED
    sleep 3.5
    check "DTLS towards $1: the caller hangs up" phone alice hangup
    sleep 0.5
    check "DTLS towards $1: the log tells of the keys" grep -q "media keyed by DTLS" "$WORK/border.log"
    check "DTLS towards $1: the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
    check "DTLS towards $1: the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK"/alice/heard/*dec.wav
    check "DTLS towards $1: the record has both legs secured, and RTCP" records "$SET/records.jsonl" 1 "r.a.mode == r.b.mode == 'secured'" \
        "r.media.a_to_b.lost == r.media.b_to_a.lost == 0" "r.media.a_to_b.received > 100" "r.media.b_to_a.received > 100"
    stop "$BORDER"
}

call alice
call bob

# In the softphone's place an agent of WebRTC: SAVPF, BUNDLE and candidates offered, the nomination its own.
phones none
stop "${PHONES[0]}"
begin alice
check "WebRTC: the call is answered, keyed and ended" at alice timeout 30 /usr/bin/python3 "$HERE/webrtc.py" 10.96.0.1 5061 "$SET/certs/alice.example.test.pem" \
    "$SET/certs/alice.example.test.key" "$SET/certs/ca.pem" 5000 4 "$WORK/webrtc.wav"
sleep 0.5
check "WebRTC: the callee decoded the caller's tone" python3 "$HERE/tone.py" check 440 2 "$WORK"/bob/heard/*dec.wav
check "WebRTC: the caller decoded the callee's tone" python3 "$HERE/tone.py" check 1000 2 "$WORK/webrtc.wav"
check "WebRTC: the record has both legs secured" records "$SET/records.jsonl" 1 "r.a.mode == r.b.mode == 'secured'" "r.media.a_to_b.received > 100" "r.media.b_to_a.sent > 100"
stop "$BORDER"

export DTLS_LIE=1
phones alice
unset DTLS_LIE
begin alice
check "another certificate than announced: the call is answered" phone alice dial "sip:5000@10.96.0.1:5061" + await 10 CALL_ESTABLISHED
check "another certificate than announced: and released" phone alice await 12 CALL_CLOSED
sleep 0.5
check "another certificate than announced: the log says so" grep -q "the certificate of its DTLS is not the one its signalling announced" "$WORK/border.log"
check "another certificate than announced: nothing of either was heard" records "$SET/records.jsonl" 1 "r.media.a_to_b.sent == 0" "r.media.b_to_a.sent == 0"
stop "$BORDER"
verdict
