#!/bin/bash
# The operator's page in a real browser, headless: signing in, every view by its key, more live calls than a window of the list holds, changes that come while somebody types, marks
# or walks through the page, the history searched, a failed call's ladder, bans and the audit, light and dark, and that the browser has nothing to
# complain of, such as a script or style that the Content-Security-Policy forbids. PAGE_SHOTS=FOLDER keeps the pictures.
. "$(dirname "$0")/lab.sh"
for tool in sipp chromium chromedriver; do command -v "$tool" >/dev/null || { echo "install sip-tester, chromium and chromium-driver first" >&2; exit 2; }; done
/usr/bin/python3 -c "import selenium" 2>/dev/null || { echo "install python3-selenium first" >&2; exit 2; }

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
TOKEN=$("$PORTCULLIS" token alice --role operate 2>&1 | sed -n 's/^# The token.*: //p')
READER=$("$PORTCULLIS" token rita --role read 2>&1 | sed -n 's/^# The token.*: //p')
digest() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
sed -i 's|^\[records\]|[records]\nladders = "all"|' "$SET/border.toml"
cat >>"$SET/border.toml" <<CONFIG

# Nobody is there.
[hep]
server = "127.0.0.1:9060"
transport = "tcp"

[api]
listen = "127.0.0.1:9161"

[[api.token]]
name = "alice"
role = "operate"
sha256 = "$(digest "$TOKEN")"

[[api.token]]
name = "rita"
role = "read"
sha256 = "$(digest "$READER")"
CONFIG
border lab "$SET" 5060
listening lab 9161 || { cat "$WORK/border.log"; exit 2; }

# um SCENARIO OPTION... : in the background.
um() { start "um-$1" lab timeout 100 sipp -sf "$HERE/sipp/$1.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -nostdin "${@:2}"; UM=$PID; listening lab 5062; }
CALLER=(timeout 100 sipp 127.0.0.1:5060 -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -nostdin -timeout 90)

um um_busy -m 1
check "a call that fails" at lab "${CALLER[@]}" -sf "$HERE/sipp/call_refused.xml" -m 1
stop "$UM"
um um -m 400
start held lab "${CALLER[@]}" -sf "$HERE/sipp/call.xml" -m 120 -r 20 -d 70000
SHOTS=${PAGE_SHOTS:-$WORK/shots}
mkdir -p "$SHOTS"
# More than the list shows at once; so many in an instant would be held back for their rate.
sleep 6
# A browser keeps its profile where HOME says, and sipp beside it calls once more while the page is looked at.
start page lab env HOME="$WORK" TOKEN="$TOKEN" READER="$READER" timeout 100 /usr/bin/python3 "$HERE/page.py" http://127.0.0.1:9161/ "$SHOTS" \
    sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5070 -mi 127.0.0.2 -t u1 -s 5000 -nostdin -m 1 -d 200
wait "$PID"
STATUS=$?
while IFS= read -r line; do
    case $line in
        "ok "*) check "${line#ok }" true ;;
        "not "*) FAILED=$((FAILED + 1)) && echo "FAILED $NAME: ${line#not }" ;;
        *) echo "       | $line" ;;
    esac
done <"$WORK/page.log"
check "the browser's script came to its end" test "$STATUS" = 0
verdict
