# Sourced after lab.sh: a border and two softphones (baresip), each at a host of its own, by sets/media; their tones, and how they are told what to do.
. "$HERE/baresip.sh"
for program in baresip python3 ethtool; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.96.0.1/24
host alice 10.96.0.11/24
host bob 10.96.0.12/24
# Packets arrive as from a wire, with their checksums, and the switch takes what a program in the kernel redirects.
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
