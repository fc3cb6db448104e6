#!/bin/bash
# A capture server by others gets the copies: Kamailio's sipcapture, over UDP, TCP and TLS. Two softphones (baresip) call one another by mutual TLS and SRTP: is each
# message there, under one correlation on both legs, are RTCP reports there while the call is up, its record at the end, and no key in any of it? Then sngrep, which
# shows both dialogs.
. "$(dirname "$0")/lab.sh"
. "$HERE/baresip.sh"
for program in kamailio baresip sngrep openssl python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.99.0.1/24 10.99.0.2/24
host alice 10.99.0.11/24
host bob 10.99.0.12/24
host homer 10.99.0.20/24
SET=$WORK/set
cp -r "$HERE/sets/secured" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test --name router.example.test >/dev/null || exit 2
cp "$SET/border.toml" "$WORK/border.toml"
python3 "$HERE/tone.py" make "$WORK/440.wav" 440 60
python3 "$HERE/tone.py" make "$WORK/1000.wav" 1000 60
ACCOUNT="regint=0;mediaenc=srtp-mand;audio_codecs=pcma,pcmu"
softphone alice 10.99.0.11 127.0.0.1:4441 alice.example.test "$WORK/440.wav" "<sip:2001@10.99.0.11:5061;transport=tls>;$ACCOUNT"
softphone bob 10.99.0.12 127.0.0.1:4441 bob.example.test "$WORK/1000.wav" "<sip:5000@10.99.0.12:5061;transport=tls>;answermode=auto;$ACCOUNT"
phone() { at "$1" timeout 30 python3 "$HERE/phone.py" 127.0.0.1 4441 "${@:2}"; }

# A certificate for the server's address, of a CA of its own.
ec() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "$@" 2>/dev/null; }
ec -subj "/CN=capture CA" -keyout "$WORK/capture-ca.key" -out "$SET/certs/capture-ca.pem"
ec -subj "/CN=capture" -addext "subjectAltName=IP:10.99.0.20" -addext "basicConstraints=critical,CA:FALSE" -CA "$SET/certs/capture-ca.pem" -CAkey "$WORK/capture-ca.key" \
    -keyout "$WORK/capture.key" -out "$WORK/capture.pem"
printf '%s\n' "[server:default]" "method = TLSv1.2+" "verify_certificate = no" "require_certificate = no" "certificate = $WORK/capture.pem" "private_key = $WORK/capture.key" >"$WORK/tls.cfg"
mkdir "$WORK/database"
echo "table_name(string) table_version(int)" >"$WORK/database/version"
echo "id(int,auto)" >"$WORK/database/sip_capture"
sed "s#FOLDER#$WORK#" "$HERE/hep.cfg" >"$WORK/hep.cfg"

# a_call TRANSPORT PORT [LINE] [SECONDS] : through a border whose copies go there.
a_call() {
    { cat "$WORK/border.toml"; printf '\n[hep]\nserver = "10.99.0.20:%s"\ntransport = "%s"\ncapture_id = 2001\nreports = "1s"\n%s\n' "$2" "$1" "${3:-}"; } >"$SET/border.toml"
    border sbc "$SET" 5061
    check "$1: a call is answered" phone alice dial "sip:5000@10.99.0.1:5061" + await 10 CALL_ESTABLISHED
    sleep "${4:-2.2}"
    check "$1: and ended" phone alice hangup
    sleep 1
    stop "$BORDER"
}
told() { timeout 20 python3 "$HERE/hep.py" "$WORK/kamailio-$WAY.log" "$@"; }

for WAY in udp tcp tls; do
    start "kamailio-$WAY" homer kamailio -f "$WORK/hep.cfg" -DD -E -m 64 -M 8 -w "$WORK" -Y "$WORK" -P "$WORK/kamailio.pid"
    KAMAILIO=$PID
    listening homer 9061
    PORT=9060 CA= SECONDS_UP=3.2
    [ "$WAY" = tls ] && PORT=9061 CA='ca = "certs/capture-ca.pem"'
    # Softphones report every five seconds.
    [ "$WAY" = udp ] && SECONDS_UP=6.5
    a_call "$WAY" "$PORT" "$CA" "$SECONDS_UP"
    check "$WAY: HEP3, under the border's number, each with a correlation" told "packets" "all(packet['hep'] == 3 and packet['agent'] == 2001 for packet in packets)" \
        "all(packet['correlation'] for packet in packets)"
    check "$WAY: the INVITE on both legs, between the real addresses, under the caller's Call-ID" told "len(sip('INVITE')) == 2" \
        "{call_id(invite) for invite in sip('INVITE')} >= {invite['correlation'] for invite in sip('INVITE')}" \
        "len({call_id(invite) for invite in sip('INVITE')}) == 2 and len({packet['correlation'] for packet in packets if call_id(sip('INVITE')[0]) == packet['correlation']}) == 1" \
        "sip('INVITE')[0]['from'].startswith('10.99.0.11:') and sip('INVITE')[0]['to'] == '10.99.0.1:5061'" \
        "sip('INVITE')[1]['from'].startswith('10.99.0.2:') and sip('INVITE')[1]['to'] == '10.99.0.12:5061'" \
        "sip('SIP/2.0 100')[0]['to'] == sip('INVITE')[0]['from']" "len(sip('BYE')) == 2 and len(sip('ACK')) == 2 and len(sip('SIP/2.0 200')) >= 4" "all(packet['proto'] == 6 for packet in sip('INVITE'))"
    check "$WAY: reports of media while the call is up, of both legs" told "len(reports) >= 6" \
        "reports[0]['at'] < sip('BYE')[0]['at'] - 1" "len({report['at'] for report in reports}) >= 2" "all(report['proto'] == 17 for report in reports)" \
        "{report['to'].split(':')[0] for report in reports} >= {'10.99.0.11', '10.99.0.12'}" "{report['from'].split(':')[0] for report in reports} >= {'10.99.0.1', '10.99.0.2'}" \
        "all(report['says']['report_blocks'][0]['packets_lost'] == 0 for report in reports)" "len({report['correlation'] for report in reports}) == 1"
    [ "$WAY" = udp ] && check "$WAY: what a phone says of what it hears" told "{report['from'].split(':')[0] for report in reports} & {'10.99.0.11', '10.99.0.12'}"
    check "$WAY: the record" told "len(records) == 1 and records[0]['reason'] == 'call.normal' and records[0]['status'] == 200"
    check "$WAY: keys are blotted out" told "all('inline:****' in invite['says'] for invite in sip('INVITE'))" \
        "not any(word in str(packet['says']) for packet in packets for word in ['inline:' + letter for letter in 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'])"
    stop "$KAMAILIO"
done

start sngrep homer env TERM=xterm timeout 30 sngrep -F -N -c -d lo -L udp:10.99.0.20:9062
SNGREP=$PID
sleep 1
a_call udp 9062
stop "$SNGREP"
check "sngrep has a dialog for each leg" bash -c 'tr "\r" "\n" <"$1" | grep -o "Dialog count: [0-9]*" | tail -n 1 | grep -qx "Dialog count: 2"' - "$WORK/sngrep.log"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
