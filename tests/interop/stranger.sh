#!/bin/bash
# Who is not known is not answered. From an address nobody lives at: silence on UDP, closed on TCP and TLS. With a certificate that is missing,
# expired, of another CA, self-signed, under another name or for another use: refused, as client (openssl s_client) and as server (s_server).
. "$(dirname "$0")/lab.sh"
for program in openssl python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.99.0.1/24 10.99.0.2/24
host alice 10.99.0.11/24
host bob 10.99.0.12/24
host plain 10.99.0.14/24
host stranger 10.99.0.66/24
SET=$WORK/set
cp -r "$HERE/sets/secured" "$SET"
CERTS=$SET/certs
"$PORTCULLIS" certs init "$CERTS" --name sbc.example.test --name alice.example.test --name bob.example.test --name router.example.test >/dev/null || exit 2
border sbc "$SET" 5061

# certificate FILE NAME USE START END [CA CAKEY] : a leaf as bad as wanted, made by openssl. Dates as YYYYMMDDHHMMSSZ.
certificate() {
    local file=$CERTS/$1 ca=${6:-$CERTS/ca.pem} key=${7:-$CERTS/ca.key} folder=$WORK/openssl
    mkdir -p "$folder"
    : >"$folder/index"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$file.key" -out "$folder/request" 2>/dev/null
    printf '%s\n' "[ca]" "default_ca = leaf" "[leaf]" "database = $folder/index" "new_certs_dir = $folder" "rand_serial = yes" "default_md = sha256" \
        "policy = any" "unique_subject = no" "x509_extensions = extensions" "[any]" "commonName = supplied" "[extensions]" "basicConstraints = CA:FALSE" \
        "subjectAltName = DNS:$2" "extendedKeyUsage = $3" >"$folder/config"
    openssl ca -batch -config "$folder/config" -cert "$ca" -keyfile "$key" -in "$folder/request" -startdate "$4" -enddate "$5" -notext -out "$file.pem" 2>"$folder/log" ||
        { cat "$folder/log"; exit 2; }
}
day() { date -u -d "$1" +%Y%m%d%H%M%SZ; }
BOTH=serverAuth,clientAuth
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=another CA" -days 5 -keyout "$CERTS/other.key" -out "$CERTS/other.pem" 2>/dev/null
for name in alice bob; do
    certificate $name-good $name.example.test $BOTH "$(day '1 hour ago')" "$(day '2 days')"
    certificate $name-expired $name.example.test $BOTH "$(day '10 days ago')" "$(day '1 hour ago')"
    certificate $name-early $name.example.test $BOTH "$(day '1 day')" "$(day '2 days')"
    certificate $name-other-ca $name.example.test $BOTH "$(day '1 hour ago')" "$(day '2 days')" "$CERTS/other.pem" "$CERTS/other.key"
    certificate $name-other-name mallory.example.test $BOTH "$(day '1 hour ago')" "$(day '2 days')"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name.example.test" -addext "subjectAltName=DNS:$name.example.test" \
        -addext "extendedKeyUsage=$BOTH" -addext "basicConstraints=critical,CA:FALSE" -days 5 -keyout "$CERTS/$name-self-signed.key" -out "$CERTS/$name-self-signed.pem" 2>/dev/null
done
certificate alice-other-use alice.example.test serverAuth "$(day '1 hour ago')" "$(day '2 days')"
certificate bob-other-use bob.example.test clientAuth "$(day '1 hour ago')" "$(day '2 days')"
BAD="expired early other-ca other-name self-signed other-use"

is() { [ "$1" = "$2" ] || { echo "$2, not $1"; return 1; }; }
probe() { at "$1" timeout 50 python3 "$HERE/probe.py" "${@:2}"; }

check "a peer over UDP is answered" is answered "$(probe plain udp 10.99.0.1 5060)"
check "a stranger over UDP hears nothing" is silent "$(probe stranger udp 10.99.0.1 5060)"
check "a TLS peer's address over UDP hears nothing" is silent "$(probe alice udp 10.99.0.1 5060)"
check "a stranger over TCP is closed" is closed "$(probe stranger tcp 10.99.0.1 5060)"
check "a TLS peer's address over TCP is closed" is closed "$(probe alice tcp 10.99.0.1 5060)"
check "a stranger at the TLS port is closed" is closed "$(probe stranger tcp 10.99.0.1 5061)"

OPTIONS='OPTIONS sip:10.99.0.1:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 10.99.0.11:5061;branch=z9hG4bKs%s;rport\r\nMax-Forwards: 70\r\nFrom: <sip:2001@10.99.0.11>;tag=s\r\nTo: <sip:10.99.0.1>\r\nCall-ID: s%s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n'
# answered HOST ADDRESS [OPTION...] : whether an OPTIONS over TLS gets its 200.
answered() {
    local from=$1 to=$2
    shift 2
    # shellcheck disable=SC2059
    { printf "$OPTIONS" $RANDOM $RANDOM; sleep 1.5; } |
        at "$from" timeout 6 openssl s_client -connect "$to:5061" -CAfile "$CERTS/ca.pem" -verify_return_error -quiet "$@" 2>&1 | tee "$WORK/s_client.log" | grep -q "^SIP/2.0 200"
}
for version in -tls1_2 -tls1_3; do
    check "client${version/-tls1_/, TLS 1.}: the right certificate is let in" answered alice 10.99.0.1 $version -cert "$CERTS/alice-good.pem" -key "$CERTS/alice-good.key"
    refuses "client${version/-tls1_/, TLS 1.}: none is not" answered alice 10.99.0.1 $version
    for bad in $BAD; do
        refuses "client${version/-tls1_/, TLS 1.}: $bad is not" answered alice 10.99.0.1 $version -cert "$CERTS/alice-$bad.pem" -key "$CERTS/alice-$bad.key"
    done
    refuses "client${version/-tls1_/, TLS 1.}: the right certificate from a stranger's address is not" \
        answered stranger 10.99.0.1 $version -cert "$CERTS/alice-good.pem" -key "$CERTS/alice-good.key"
    refuses "client${version/-tls1_/, TLS 1.}: nor another peer's" answered alice 10.99.0.1 $version -cert "$CERTS/bob-good.pem" -key "$CERTS/bob-good.key"
done
refuses "TLS 1.1 is not spoken" answered alice 10.99.0.1 -tls1_1 -cipher ALL:@SECLEVEL=0 -cert "$CERTS/alice-good.pem" -key "$CERTS/alice-good.key"

# server CERTIFICATE : an openssl server in the UM server's place, and a call to it; the caller's final status in $STATUS.
server() {
    start "server-$1" bob sh -c "sleep 60 | openssl s_server -accept 10.99.0.12:5061 -cert '$CERTS/bob-$1.pem' -key '$CERTS/bob-$1.key' -CAfile '$CERTS/ca.pem' -Verify 2 -verify_return_error -quiet"
    local group=$PID
    listening bob 5061
    STATUS=$(probe alice call 10.99.0.1 5061 "$CERTS/alice-good.pem" "$CERTS/alice-good.key" "$CERTS/ca.pem" 5000)
    # The shell's children first: they are in the namespace, and of this process.
    for child in $(ps -o pid= --ppid "$group"); do kill "$child" 2>/dev/null; done
    stop "$group"
}
COUNT=0
for bad in good $BAD good; do
    server $bad
    COUNT=$((COUNT + 1))
    if [ $bad = good ]; then
        check "server: the right certificate gets the call" grep -q "^INVITE sip:5000@" "$WORK/server-$bad.log"
    else
        refuses "server: $bad gets nothing" grep -qi "sip" "$WORK/server-$bad.log"
        check "server: $bad: the caller is told 503" is 503 "$STATUS"
        check "server: $bad: the record names the certificate" records "$SET/records.jsonl" $COUNT "r.reason == 'failover.certificate'"
    fi
done
stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
