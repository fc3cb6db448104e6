"""Looks at the operator's page in headless Chromium as an operator would; run by page.sh. One line for each expectation: `ok WHAT` or `not WHAT: why`.

page.py URL FOLDER-FOR-PICTURES COMMAND... ; the command makes one more call. Tokens in TOKEN (operate) and READER (read)."""

import os
import subprocess
import sys
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

URL, SHOTS, CALL = sys.argv[1], sys.argv[2], sys.argv[3:]
VIEWS = ["Overview", "calls", "History", "Peers", "Bans", "Explain", "Certificates", "Audit"]


def browser():
    options = webdriver.ChromeOptions()
    for option in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900", "--disable-background-networking"]:
        options.add_argument(option)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


def wait(what, limit=8):
    """Until it holds, or its last answer when the time is over."""
    end = time.monotonic() + limit
    while True:
        try:
            found = what()
        except Exception as trouble:  # the page draws itself anew: an element may be gone
            found, last = None, trouble
        if found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def expect(what, holds, why=""):
    print(f"ok {what}" if holds else f"not {what}: {why() if callable(why) else why}", flush=True)


page = browser()
page.set_page_load_timeout(20)


def text():
    return page.find_element(By.TAG_NAME, "main").text


def title():
    return page.find_element(By.CSS_SELECTOR, "main h2").text


def rows():
    return page.find_elements(By.CSS_SELECTOR, "main tbody tr")


def first():
    return page.find_element(By.CSS_SELECTOR, "main tbody a").text


def follow(words):
    """Its view may be drawn anew meanwhile."""
    wait(lambda: page.find_element(By.LINK_TEXT, words).click() or True)


def value(name):
    return page.find_element(By.CSS_SELECTOR, f"main [name={name}]").get_attribute("value")


def press(key):
    page.find_element(By.TAG_NAME, "body").send_keys(key)


def shot(name):
    page.save_screenshot(f"{SHOTS}/{name}.png")


def sign_in(token):
    field = page.find_element(By.ID, "token")
    field.clear()
    field.send_keys(token, Keys.ENTER)


def field(name, value):
    found = page.find_element(By.CSS_SELECTOR, f"main [name={name}]")
    found.clear()
    found.send_keys(value)
    return found


try:
    page.get(URL)
    expect("a browser is asked who is there", wait(lambda: page.find_element(By.ID, "sign-in").is_displayed()))
    sign_in("wrong")
    expect("a wrong token is refused in words", wait(lambda: "not known" in page.find_element(By.ID, "sign-in-trouble").text))
    # Refusals of the token are the browser's to tell: they are all it may have told.
    complaints = [entry for entry in page.get_log("browser") if "401" not in entry["message"]]
    shot("0-sign-in")
    sign_in(os.environ["TOKEN"])
    expect("the overview comes after signing in", wait(lambda: title() == "Overview" and "calls up" in text()), lambda: text())
    expect("it tells that copies do not arrive, where to and why", wait(lambda: "127.0.0.1:9060 takes no copies of SIP messages" in text() and "refused" in text()), lambda: text())
    expect("it tells of the calls that are up", wait(lambda: any(tile.text.startswith("120") for tile in page.find_elements(By.CLASS_NAME, "tile"))), lambda: text())
    expect("and of the one that failed", "call.rejected" in text(), lambda: text())

    for number, name in enumerate(VIEWS, 1):
        press(str(number))
        expect(f"key {number} shows {name}", wait(lambda: name in title()), lambda: title())
        time.sleep(0.3)
        shot(f"{number}-{name.lower()}")
        wide = page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        expect(f"{name} fits a window of 1280", wide <= 0, f"{wide} pixels too wide")

    press("2")
    expect("of 120 calls a hundred are listed", wait(lambda: title() == "120 calls" and len(rows()) == 100, 20), lambda: f"{title()}, {len(rows())} rows")
    follow("Next hundred")
    expect("and then the others", wait(lambda: len(rows()) == 20 and int(first()) > 100), lambda: first())
    follow("First")
    wait(lambda: len(rows()) == 100)
    address = page.execute_script("const link = document.querySelectorAll('main tbody a')[3]; link.focus(); return link.getAttribute('href')")
    held = subprocess.Popen(CALL[:-1] + ["3000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    expect("a call that begins appears by itself", wait(lambda: title() == "121 calls", 6), lambda: title())
    kept = page.execute_script("return document.activeElement.getAttribute('href')")
    expect("and what had the focus has it still", kept == address, f"{kept} in place of {address}")
    expect("it goes when it ends", wait(lambda: title() == "120 calls", 10), lambda: title())
    held.wait(20)
    # Whoever types is not interrupted by what begins and ends meanwhile.
    field("number", "20")
    held = subprocess.Popen(CALL[:-1] + ["500"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    held.wait(20)
    time.sleep(1.5)
    page.switch_to.active_element.send_keys("01", Keys.ENTER)
    expect("a number is typed while calls come and go", wait(lambda: page.current_url.endswith("number=2001") and len(rows()) == 100), lambda: page.current_url)
    field("number", "nobody").send_keys(Keys.ENTER)
    expect("of a number nobody has no call is up", wait(lambda: "No call is up" in text()), lambda: text()[:300])
    page.execute_script("location.hash = 'calls'")
    wait(lambda: title() == "120 calls" and len(rows()) == 100)
    page.execute_script("getSelection().selectAllChildren(document.querySelector('main tbody td:nth-child(4)'))")
    subprocess.run(CALL[:-1] + ["500"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=20, check=False)
    time.sleep(1.5)
    expect("what is marked to be copied stays marked", page.execute_script("return getSelection().toString() && getSelection().anchorNode.isConnected"))
    page.execute_script("getSelection().removeAllRanges()")
    wait(lambda: page.find_element(By.CSS_SELECTOR, "main tbody a").click() or True)
    expect("a live call has its ladder", wait(lambda: "INVITE" in text() and "Signalling" in text()), lambda: text())
    arrows = page.find_elements(By.CSS_SELECTOR, "main svg .arrow")
    expect("the ladder is a picture with an arrow for each message", len(arrows) >= 10, lambda: str(len(arrows)))
    time.sleep(0.3)
    shot("call")
    webdriver.ActionChains(page).move_to_element(arrows[0].find_element(By.CSS_SELECTOR, "text")).click().perform()
    expect("an arrow shows its message", wait(lambda: "INVITE sip:5000@" in page.find_element(By.CSS_SELECTOR, "main .message").text), lambda: text()[-500:])
    shot("message")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    arrow = page.execute_script("const arrow = document.querySelectorAll('main svg .arrow')[2]; arrow.focus(); return arrow.dataset.message")
    time.sleep(4)
    kept = page.execute_script("return document.activeElement.dataset.message")
    expect("an arrow keeps the focus while the ladder is drawn anew", kept == arrow, f"{kept} in place of {arrow}")

    press("6")
    wait(lambda: title() == "Explain")
    field("from", "127.0.0.2")
    field("caller", "2001")
    field("called", "5000").send_keys(Keys.ENTER)
    expect("explain says what would become of a call", wait(lambda: "Let in from trunk" in text()), lambda: text()[:800])
    expect("and by which rules", "hunt_group" in text() and "routing" in text(), lambda: text()[:800])
    shot("explained")
    field("from", "203.0.113.9").send_keys(Keys.ENTER)
    expect("a stranger would meet silence", wait(lambda: "Refused with silence: peer.stranger_address" in text()), lambda: text()[:800])

    press("3")
    wait(lambda: title() == "History")
    field("reason", "call.rejected").send_keys(Keys.ENTER)
    expect("the history is searched by reason", wait(lambda: len(rows()) == 1), lambda: text())
    field("from", "yesterday").send_keys(Keys.ENTER)
    expect("a time that is none is refused in words, and what was typed stays", wait(lambda: "write a time as" in text() and value("from") == "yesterday" and value("reason") == "call.rejected"), lambda: text()[:300])
    field("from", "2020-01-01T00:00:00Z")
    field("number", "*001").send_keys(Keys.ENTER)
    expect("by reason, time and the end of a number at once", wait(lambda: len(rows()) == 1), lambda: text()[:500])
    field("number", "+49*").send_keys(Keys.ENTER)
    expect("and what no call has is told", wait(lambda: "No such call" in text()), lambda: text()[:300])
    field("number", "").send_keys(Keys.ENTER)
    wait(lambda: len(rows()) == 1)
    newest = page.find_element(By.CSS_SELECTOR, "main tbody a").get_attribute("href").rsplit("/", 1)[1]
    page.find_element(By.CSS_SELECTOR, "main tbody a").click()
    expect("a record says why in words, and has its ladder", wait(lambda: "released by" in text() and "486" in text() and "INVITE" in text()), lambda: text())
    time.sleep(0.3)
    shot("record")

    press("5")
    wait(lambda: title() == "Bans")
    field("source", "203.0.113.0/24")
    field("reason", "<b>scans</b>").send_keys(Keys.ENTER)
    expect("a source is shut out, and the reason stands there as it was written", wait(lambda: "203.0.113.0/24" in text() and "<b>scans</b>" in text()), lambda: text())
    page.find_element(By.CSS_SELECTOR, "main td button").click()
    expect("and let in again", wait(lambda: "203.0.113.0/24" not in text()), lambda: text())
    press("8")
    expect("the audit names who did it", wait(lambda: "alice" in text() and "/v1/bans" in text()), lambda: text())
    press("3")
    wait(lambda: title() == "History")
    press("/")
    expect("/ goes to the search", wait(lambda: page.switch_to.active_element.get_attribute("name") == "number"))

    light = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    dark = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    expect("it is dark where the system is", light != dark, light)
    page.get(f"{URL}#record/{newest}")
    wait(lambda: page.find_elements(By.CSS_SELECTOR, "main svg .arrow"))
    time.sleep(0.3)
    shot("dark-record")
    page.find_element(By.CSS_SELECTOR, "nav a").click()
    wait(lambda: title() == "Overview")
    time.sleep(0.3)
    shot("dark")

    # The refused search was asked for.
    complaints += [entry for entry in page.get_log("browser") if "from=yesterday" not in entry["message"]]
    expect("the browser has nothing to complain of", not complaints, lambda: str(complaints[:3]))

    page.find_element(By.ID, "leave").click()
    expect("signing out asks again", wait(lambda: page.find_element(By.ID, "sign-in").is_displayed()))
    sign_in(os.environ["READER"])
    wait(lambda: title() == "Overview")
    press("5")
    wait(lambda: title() == "Bans")
    field("source", "203.0.113.0/24").send_keys(Keys.ENTER)
    refused = wait(lambda: page.switch_to.alert.text)
    expect("who may only read is told so", bool(refused) and "operate" in refused, refused)
    page.switch_to.alert.accept()
finally:
    page.quit()
