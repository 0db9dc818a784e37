"""A mesh of four nodes to which everything happens that /metrics can tell of."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

# `asleep` has no replica before its first request, which therefore has to wait, and answers one at a time. `busy` has a replica in
# each of the two zones, each second request goes to either, and an answer takes some ten seconds.
ENDPOINTS = """
apiVersion: shoal/v1
kind: Endpoint
metadata: {name: asleep}
spec:
  model: shoal/asleep
  engine: {kind: sim}
  replicas: {min: 0, max: 1}
  routing: {maxInflight: 1}
---
apiVersion: shoal/v1
kind: Endpoint
metadata: {name: busy}
spec:
  model: shoal/busy
  engine: {kind: sim, interTokenLatency: 200ms}
  resources: {gpus: 1}
  replicas: {min: 2}
  placement: {spread: zone}
  routing: {policy: round-robin}
"""
# The only node of `shoal dev` that is in the second zone.
VICTIM = 2


def free_ports(count):
    """TCP ports that are free now, below those that the kernel gives to clients."""
    ports = []
    for port in range(20000 + os.getpid() % 9000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                ports.clear()  # `dev` takes consecutive ones
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise SystemExit("no ports are free")


def until(what, check, patience=30):
    """Waits until `check` gives something, and returns it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.2)
    raise SystemExit(f"in {patience} s it did not happen: {what}")


class Mesh:
    """Three nodes of `shoal dev`, and one more that speaks TLS to clients and has neither engines nor GPUs."""

    def __init__(self, shoal, nvml, directory):
        self.shoal, self.dir, self.joined = shoal, os.path.join(directory, "mesh"), None
        self.home, self.clients = os.path.join(directory, "node-3"), []
        self.base, *_, self.tls_port, self.admin_port = free_ports(5)
        gpus = ["--gpus", "mock", "--mock-nvml", nvml] if nvml else []
        self.dev = ["dev", "--detach", "--json", "--http-base", str(self.base), "--dir", self.dir, *gpus]

    def start(self):
        self.report = json.loads(self.run(*self.dev, socket=False))
        self.join(self.home)
        # Where each node tells its metrics.
        self.targets = [node["dashboard"].split("/")[2] for node in self.report["nodes"]]
        self.targets.append(f"127.0.0.1:{self.admin_port}")

    def run(self, *args, socket=True, text=None):
        where = ["--socket", self.report["nodes"][0]["socket"]] if socket else []
        done = subprocess.run([self.shoal, *args, *where], input=text, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise SystemExit(f"shoal {' '.join(args)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def join(self, home):
        os.makedirs(home)
        path = lambda name: os.path.join(home, name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-keyout", path("tls.key"), "-out", path("tls.crt")],
            check=True, capture_output=True)
        with open(path("token"), "w") as file:
            file.write(self.run("token", "create"))
        with open(path("shoal.yaml"), "w") as file:
            file.write(
                f"node: {{name: node-3}}\nstateDir: {home}/state\nmesh: {{listen: '127.0.0.1:0'}}\n"
                f"ingress: {{listen: '127.0.0.1:{self.tls_port}', tls: {{cert: {home}/tls.crt, key: {home}/tls.key}}}}\n"
                f"admin: {{socket: {home}/admin.sock, listen: '127.0.0.1:{self.admin_port}'}}\n"
                "gpus: {library: /nonexistent}\n")
        self.run("join", path("token"), "--state-dir", path("state"), socket=False)
        with open(path("agent.log"), "w") as log:
            self.joined = subprocess.Popen([self.shoal, "agent", "--config", path("shoal.yaml")], stdout=log, stderr=log)
        until("node-3 has joined", lambda: "node/node-3" in self.run("get", "nodes", "-o", "name").split())

    def ask(self, node, model, tokens, key=None):
        """One streamed answer, read to its end; False if it was none."""
        body = {"model": model, "stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        url = f"http://127.0.0.1:{self.base + node}/v1/chat/completions"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=40) as answer:
                return b"[DONE]" in answer.read()
        except (OSError, http.client.HTTPException):
            return False

    def later(self, *args):
        self.clients.append(threading.Thread(target=self.ask, args=args, daemon=True))
        self.clients[-1].start()

    def trouble(self, with_gpus):
        """Requests that wait, keys, a node that is killed while its replica streams, and a GPU that falls ill."""
        self.run("apply", "-f", "-", text=ENDPOINTS)
        self.run("wait", "endpoint/busy")
        key = self.run("key", "create", "team").strip()
        for node in range(3):
            assert self.ask(node, "hello", 8, key), f"node {node} answers"
        assert self.ask(0, "asleep", 8), "who waits for a first replica is answered"
        for _ in range(3):
            self.later(0, "asleep", 60)
        for _ in range(4):
            for node in (0, 1):
                self.later(node, "busy", 60)
        begun = re.compile(r'shoal_ingress_first_byte_seconds_count\{endpoint="busy",stream="true"\} 4\b')
        until("all streams have begun", lambda: all(begun.search(self.metrics(target)) for target in self.targets[:2]))
        os.kill(self.report["nodes"][VICTIM]["pid"], signal.SIGKILL)
        for _ in range(2):
            for node in (0, 1):
                self.later(node, "busy", 8)
        if with_gpus:
            self.break_gpu(1)

    def break_gpu(self, node):
        """The last GPU of a node, which its first replicas do not take, reports that its memory is broken."""
        path = os.path.join(self.dir, f"node-{node}", "libnvidia-ml.so.1.json")
        with open(path) as file:
            state = json.load(file)
        state["events"].append({"gpu": len(state["gpus"]) - 1, "xid": 48})
        with open(path + ".new", "w") as file:
            json.dump(state, file)
        os.rename(path + ".new", path)

    def metrics(self, target):
        """What a node tells; nothing if it is gone."""
        try:
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def stop(self):
        for client in self.clients:
            client.join(timeout=20)
        if self.joined:
            self.joined.send_signal(signal.SIGINT)
            try:
                self.joined.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.joined.kill()
        subprocess.run([self.shoal, "dev", "stop", "--dir", self.dir], timeout=60)
