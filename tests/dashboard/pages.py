"""Every page of the dashboard, in a browser, with a mesh that lives: `pages.py SHOAL CHROMIUM SHOTS`."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from playwright.sync_api import expect, sync_playwright

PATIENCE_MS = 45_000
NARROW = {"width": 375, "height": 740}
WIDE = {"width": 1360, "height": 860}
ENDPOINT = """\
apiVersion: shoal/v1
kind: Endpoint
metadata: {name: chat}
spec:
  model: test/chat
  engine: {kind: sim, timeToFirstToken: 60ms, interTokenLatency: 8ms}
  resources: {gpus: 1}
  replicas: {min: 3}
  placement: {replaceAfter: 1s}
"""


def free_base(count=3):
    def free(port):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    bases = (random.randrange(20000, 60000) for _ in range(1000))
    return next(base for base in bases if all(free(base + i) for i in range(count)))


@contextlib.contextmanager
def mesh(shoal):
    """A mesh of `shoal dev`; gives its report, and ends with the block."""
    with tempfile.TemporaryDirectory() as home:
        args = [shoal, "dev", "--json", "--http-base", str(free_base()), "--dir", os.path.join(home, "mesh")]
        dev = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            yield json.loads(dev.stdout.readline())
        finally:
            dev.send_signal(signal.SIGINT)
            dev.wait(timeout=60)


class Clients(threading.Thread):
    """Asks one node after the other until it is told to stop; what fails is no matter here."""

    def __init__(self, urls):
        super().__init__(daemon=True)
        self.urls, self.stop = urls, threading.Event()

    def run(self):
        count = 0
        while not self.stop.wait(random.uniform(0.05, 0.25)):
            count += 1
            model = "nobody" if count % 23 == 0 else random.choice(["hello", "chat"])
            body = {"model": model, "stream": True, "max_tokens": random.randrange(4, 60), "stream_options": {"include_usage": True},
                    "messages": [{"role": "user", "content": "word " * random.randrange(5, 200)}]}
            request = urllib.request.Request(f"{self.urls[count % len(self.urls)]}/chat/completions", json.dumps(body).encode(),
                                             {"content-type": "application/json"})
            with contextlib.suppress(OSError, http.client.HTTPException):
                urllib.request.urlopen(request, timeout=20).read()


class Browser:
    """One tab, and whatever went wrong in it."""

    def __init__(self, browser, url, shots, **options):
        self.context = browser.new_context(viewport=WIDE, **options)
        self.page, self.url, self.shots, self.wrong = self.context.new_page(), url, shots, []
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self.check_request)
        self.page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('CSP: ' + e.violatedDirective))")

    def check_request(self, request):
        if not request.url.startswith(self.url.removesuffix("/ui/")):
            self.wrong.append(f"asks elsewhere: {request.url}")

    def sign_in(self, secret):
        self.page.goto(self.url)
        self.page.fill("#secret", secret)
        self.page.press("#secret", "Enter")

    def open(self, path, *texts):
        """The page at `path`, once all of `texts` are in it."""
        self.page.evaluate("(path) => { location.hash = path; }", f"#/{path}")
        for text in texts:
            expect(self.page.locator("#main")).to_contain_text(text, timeout=PATIENCE_MS)

    def shot(self, name):
        self.page.screenshot(path=os.path.join(self.shots, f"{name}.png"), full_page=True)

    def fits(self, name):
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= NARROW["width"], f"{name} is {wide} px wide on a screen of {NARROW['width']}"


PAGES = {
    "overview": ("", ["3 nodes, all there", "2 endpoints, all served", "GPUs by zone", "curl -N http://127.0.0.1"]),
    "topology": ("topology", ["Round trips", "node-2", "burst-1"]),
    "nodes": ("nodes", ["node-0", "node-1", "node-2", "burst / burst-1"]),
    "node": ("nodes/node-1", ["Where it stands", "simulated", "Connections", "Round trip"]),
    "endpoints": ("endpoints", ["hello", "chat", "3 / 3"]),
    "endpoint": ("endpoints/chat", ["3 of 3 ready", "Rollout", "complete"]),
    "latency": ("endpoints/chat/latency", ["streams", "p99"]),
    "why": ("endpoints/chat/why", ["What placement thinks", "chat"]),
    "spec": ("endpoints/chat/spec", ["What differs"]),
    "logs": ("endpoints/chat/logs", ["follow"]),
    "happened": ("endpoints/chat/events", ["EndpointApplied", "ReplicaReady", "uid 0"]),
    "events": ("events", ["DaemonStarted", "Scaled", "steward node-", "KeyCreated"]),
    "requests": ("requests", ["Served by", "chat", "model_not_found"]),
    "keys": ("keys", ["Used, by key and endpoint", "tester"]),
    "playground": ("playground", ["Nothing said yet"]),
}


@contextlib.contextmanager
def told(*tabs):
    """What went wrong in a tab is told even where a check fails before it is looked at."""
    try:
        yield
    except BaseException:
        print(*(line for tab in tabs for line in tab.wrong), sep="\n", file=sys.stderr)
        raise


def administrator(browser, report, shots, node=0):
    tab = Browser(browser, report["nodes"][node]["dashboard"], shots)
    tab.sign_in("0123456789abcdef0123456789abcdef")
    expect(tab.page.get_by_role("alert")).to_contain_text("not this node's token", timeout=PATIENCE_MS)
    # The refusal itself is told by the browser.
    tab.wrong.clear()
    tab.sign_in(open(report["adminToken"], encoding="utf-8").read())
    tab.open("", "3 nodes")
    return tab


def every_page(tab):
    for name, (path, texts) in PAGES.items():
        tab.open(path, *texts)
        tab.page.wait_for_timeout(250)  # charts are measured, and drawn again
        tab.shot(name)
        print(f"  {name}")


def every_page_narrow_and_dark(tab):
    for name, (path, texts) in PAGES.items():
        tab.page.set_viewport_size(NARROW)
        tab.page.emulate_media(color_scheme="light")
        tab.open(path, *texts[:1])
        tab.page.wait_for_timeout(150)
        tab.fits(name)
        tab.shot(f"{name}-narrow")
        tab.page.set_viewport_size(WIDE)
        tab.page.emulate_media(color_scheme="dark")
        tab.page.wait_for_timeout(150)
        dark = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark == "rgb(15, 19, 23)", dark
        tab.shot(f"{name}-dark")
    tab.page.emulate_media(color_scheme="light")


def talks(tab):
    tab.open("playground", "Model")
    tab.page.get_by_label("Message").fill("Say something")
    tab.page.keyboard.press("Enter")
    turn = tab.page.locator(".turn.assistant")
    expect(turn).to_contain_text("first token after", timeout=PATIENCE_MS)
    expect(turn).to_contain_text("served by node-", timeout=PATIENCE_MS)
    expect(turn).to_contain_text("tokens/s", timeout=PATIENCE_MS)
    tab.shot("playground-talk")
    turn.get_by_role("link", name="why there").click()
    expect(tab.page.locator("#main")).to_contain_text("Choice 1 of 1", timeout=PATIENCE_MS)
    tab.shot("request")


def changes_a_spec(tab):
    tab.open("endpoints/chat/spec", "YAML")
    yaml = tab.page.get_by_label("YAML")
    tab.page.wait_for_function("document.querySelector('textarea').value.includes('test/chat')")
    yaml.fill(yaml.input_value().replace("min: 3", "min: 2"))
    expect(tab.page.locator("pre .del")).to_contain_text("min: 3")
    tab.page.get_by_role("button", name="Plan").click()
    expect(tab.page.locator("#main")).to_contain_text("changes without new processes", timeout=PATIENCE_MS)
    tab.shot("spec-plan")
    tab.page.get_by_role("button", name="Apply").click()
    expect(tab.page.locator("#main")).to_contain_text("chat: configured.", timeout=PATIENCE_MS)


def drains_a_node(tab):
    tab.page.on("dialog", lambda dialog: dialog.accept())
    tab.open("nodes/node-1", "Where it stands")
    tab.page.get_by_role("button", name="Drain…").click()
    expect(tab.page.locator(".head")).to_contain_text("draining", timeout=PATIENCE_MS)
    expect(tab.page.locator("#main")).to_contain_text("DrainAsked", timeout=PATIENCE_MS)
    tab.shot("node-draining")
    tab.page.get_by_role("button", name="Undrain").click()
    expect(tab.page.locator(".head")).to_contain_text("alive", timeout=PATIENCE_MS)


def goes_by_keyboard(tab):
    tab.open("", "3 nodes")
    tab.page.locator("#main").focus()
    tab.page.keyboard.press("g")
    tab.page.keyboard.press("n")
    expect(tab.page.locator("h1")).to_have_text("Nodes")
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("node-2")
    expect(tab.page.locator("tbody tr")).to_have_count(1)


def sees_a_node_die(tab, report):
    tab.open("nodes", "node-2")
    os.kill(report["nodes"][2]["pid"], signal.SIGKILL)
    expect(tab.page.locator("#main")).to_contain_text("gone for", timeout=PATIENCE_MS)
    tab.shot("node-gone")
    tab.open("", "1 of 3 nodes gone")
    tab.shot("overview-gone")
    tab.open("topology", "gone")
    tab.shot("topology-gone")
    tab.open("events", "NodeSilent", "Without node-2")
    tab.shot("events-gone")


def with_a_key(browser, report, key, shots):
    tab = Browser(browser, report["nodes"][1]["dashboard"], shots)
    tab.sign_in(key)
    expect(tab.page.locator("nav a")).to_have_count(2, timeout=PATIENCE_MS)
    tab.open("keys", "What this key has used")
    tab.open("playground", "Nothing said yet")
    tab.shot("key")
    return tab


def main(shoal, chromium, shots):
    with mesh(shoal) as report, sync_playwright() as playwright:
        socket_path = report["nodes"][0]["socket"]

        def run(*args, **options):
            return subprocess.run([shoal, *args, "--socket", socket_path], check=True, text=True, capture_output=True, **options).stdout

        run("apply", "--wait", "-f", "-", input=ENDPOINT)
        key = run("key", "create", "tester").strip()
        urls = [node["url"] for node in report["nodes"]]
        keyed = urllib.request.Request(f"{urls[0]}/chat/completions", json.dumps({"model": "chat", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}).encode(),
                                       {"content-type": "application/json", "authorization": f"Bearer {key}"})
        urllib.request.urlopen(keyed, timeout=20).read()
        clients = [Clients(urls) for _ in range(4)]
        for client in clients:
            client.start()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = administrator(browser, report, shots)
        started = time.monotonic()
        tab.page.get_by_role("button", name="5 min", exact=True).click()
        # Charts with a few points in them.
        tab.page.wait_for_timeout(float(os.environ.get("SHOAL_DASHBOARD_WATCH", "12")) * 1000)
        with told(tab):
            every_page(tab)
            every_page_narrow_and_dark(tab)
            talks(tab)
            changes_a_spec(tab)
            drains_a_node(tab)
            goes_by_keyboard(tab)
            visitor = with_a_key(browser, report, key, shots)
            sees_a_node_die(tab, report)
        for client in clients:
            client.stop.set()
        wrong = tab.wrong + visitor.wrong
        assert not wrong, "\n".join(wrong)
        print(f"all pages, wide, narrow and dark, with a node that died, in {time.monotonic() - started:.0f} s; screenshots in {shots}")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
