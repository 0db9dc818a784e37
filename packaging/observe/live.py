"""Holds every query of the dashboards and alerts against a live mesh: live.py SHOAL NVML PROMETHEUS, the last two may be empty."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from mesh import Mesh, free_ports, until

HERE = os.path.dirname(os.path.abspath(__file__))
ALERTS = os.path.join(HERE, "../prometheus/alerts.yaml")
DASHBOARDS = sorted(glob.glob(os.path.join(HERE, "../grafana/*.json")))
ROOT = os.path.join(HERE, "../..")

METRIC = re.compile(r"\b((?:shoal|gen_ai|llm_d)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(?:=~|!=|!~|=)"')
# What only a GPU tells that there is, be it made up.
GPU = re.compile(r"shoal_gpu_(?!memory_total)")
# What Grafana puts in; the interval is longer than the time in which all happens.
VARIABLES = {"$mesh": "shoal", "$endpoint": ".+", "$node": ".+", "$__rate_interval": "60s"}
# Seconds until all panels show something.
PATIENCE = 20


def fail(message):
    raise SystemExit(f"FAILED: {message}")


def need(truth, message):
    if not truth:
        fail(message)


def dashboards():
    """(where, query) of every panel, whose form is checked on the way."""
    queries, uids = [], set()
    for path in DASHBOARDS:
        with open(path) as file:
            dashboard = json.load(file)
        name, taken, ids = os.path.basename(path), set(), set()
        uids.add(dashboard["uid"])
        for panel in dashboard["panels"]:
            where = f"{name}: {panel['title']}"
            for needed in ("title", "description"):
                need(panel.get(needed), f"{where} has no {needed}")
            need(panel["fieldConfig"]["defaults"].get("unit"), f"{where} has no unit")
            need(panel["datasource"]["uid"] == "${datasource}", f"{where} is bound to one data source")
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            need(not taken & cells, f"{where} lies over another panel")
            need(at["x"] + at["w"] <= 24, f"{where} is beyond the edge")
            need(panel["id"] not in ids, f"{where} has the id of another panel")
            taken |= cells
            ids.add(panel["id"])
            queries += [(where, target["expr"]) for target in panel["targets"]]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
                queries.append((f"{name}: ${variable['name']}", f"count by ({label}) ({metric})"))
    need(len(uids) == len(DASHBOARDS) == 3, "three dashboards, each with a uid of its own")
    return queries


def alerts(shoal):
    """(name, query) of every alert; what it says to do is held against the program and the documentation."""
    with open(ALERTS) as file:
        text = file.read()
    with open(os.path.join(HERE, "../prometheus/alerts_test.yaml")) as file:
        scenarios = file.read()
    with open(os.path.join(ROOT, "docs/failure-modes.md")) as file:
        failure_modes = file.read()
    found, verbs = [], set()
    for block in text.split("- alert: ")[1:]:
        name = block.split("\n", 1)[0].strip()
        expr = re.search(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", block)
        severity = re.search(r"severity: (\w+)", block)
        need(severity and severity[1] in ("critical", "warning", "info"), f"{name} has no severity")
        for needed in ("summary", "description", "action"):
            need(f"\n          {needed}: " in block, f"{name} has no {needed}")
        need(f'alertname="{name}"' in scenarios, f"{name} is in no scenario of alerts_test.yaml")
        need(f"`{name}`" in failure_modes, f"{name} is not in docs/failure-modes.md")
        verbs |= set(re.findall(r"`shoal ([a-z]+)", block))
        found.append((name, expr[1] or expr[2]))
    for verb in sorted(verbs):
        done = subprocess.run([shoal, verb, "--help"], capture_output=True)
        need(done.returncode == 0, f"an alert says `shoal {verb}`, and there is no such verb")
    return found


def parse(text):
    """Names of the series in metrics text, each with the labels that it has, and of families without any."""
    series = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
            for suffix in suffixes:
                series.setdefault(name + suffix, set())
        elif line and not line.startswith("#"):
            name, labels = re.match(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})? ", line).groups()
            series.setdefault(name, set()).update(MATCHER.findall(labels or ""))
    return series


def check_names(queries, series):
    """Every name in a query is one of /metrics, and so is every label that it is asked by."""
    for where, expr in queries:
        for name, matchers in METRIC.findall(expr):
            need(name in series, f"{where} asks for {name}, which no node tells")
            for label in MATCHER.findall(matchers):
                known = label in ("job", "instance") or label in series[name] or not series[name]
                need(known, f"{where} asks {name} by {label}; it has {sorted(series[name])}")


def check_documented(series):
    """Whatever nodes tell is told of in docs/."""
    text = "".join(open(path).read() for path in glob.glob(os.path.join(ROOT, "docs/*.md")))
    for name in sorted(series):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        need(family in text, f"/metrics has {family}, and no page of docs/ tells of it")


class Prometheus:
    """One that scrapes `targets` every second, with the alerts."""

    def __init__(self, program, directory, targets):
        self.port = free_ports(1)[0]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [os.path.realpath(ALERTS)],
            "scrape_configs": [{"job_name": "shoal", "static_configs": [{"targets": targets}]}],
        }
        path = os.path.join(directory, "prometheus.yml")
        with open(path, "w") as file:
            json.dump(config, file)  # which is YAML as well
        self.log = open(os.path.join(directory, "prometheus.log"), "w")
        self.process = subprocess.Popen(
            [program, f"--config.file={path}", f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=self.log, stderr=self.log)

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            fail(f"{parameters}: {error.read().decode()}")

    def query(self, expr):
        """What comes of it, without what is no number."""
        return [one for one in self.get("/api/v1/query", query=expr)["result"] if one["value"][1] != "NaN"]

    def has_scraped(self, count):
        try:
            return len(self.query("up == 1")) == count
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()


def filled(expr):
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr


def show_nothing(prometheus, panels, with_gpus):
    """Panels without a value, but for those of GPUs where there are none."""
    due = [(where, expr) for where, expr in panels if with_gpus or not GPU.search(expr)]
    return [f"{where}: {expr}" for where, expr in due if not prometheus.query(filled(expr))]


def evaluate(prometheus, panels, rules, with_gpus):
    """Panels must all show something; of alerts, those that must fire, and all must have what they compare."""
    # A rate needs two scrapes of what has just happened.
    end = time.monotonic() + PATIENCE
    while (empty := show_nothing(prometheus, panels, with_gpus)) and time.monotonic() < end:
        time.sleep(0.5)
    need(not empty, "these panels show nothing:\n  " + "\n  ".join(empty))
    health = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    need(len(health) == len(rules), f"{len(health)} of {len(rules)} rules are loaded")
    for rule in health:
        need(rule["health"] == "ok", f"{rule['name']} is {rule['health']}: {rule.get('lastError')}")
    seen = {one["metric"]["alertname"] for one in prometheus.query("ALERTS")}
    expected = {"ShoalScrapeMissing", "ShoalNodeSilent"} | ({"ShoalGpuFault"} if with_gpus else set())
    need(expected <= seen, f"of a killed node and an ill GPU, alerts tell {sorted(seen)}, not {sorted(expected)}")
    never = {"ShoalNoIssuer", "ShoalCertificateEnds", "ShoalIssuerCertificateEnds", "ShoalVersionsMixed", "ShoalRecordsLost"} & seen
    need(not never, f"{sorted(never)} although there is no such trouble")
    print(f"{len(panels)} queries of dashboards show something, {len(rules)} alerts are evaluated; pending or firing: {sorted(seen)}")


def has_happened(series, with_gpus):
    """Whether all that was done to the mesh has been told by some node."""
    wanted = ["shoal_ingress_resumes_total", "shoal_ingress_failed_attempts_total", "shoal_ingress_held_seconds_bucket",
              "shoal_ingress_retries_total", "shoal_ingress_key_requests_total"]
    return all(series.get(name) for name in wanted + (["shoal_gpu_fault"] if with_gpus else []))


def main():
    shoal, nvml, program = sys.argv[1:4]
    begun = time.monotonic()
    panels, rules = dashboards(), alerts(shoal)
    with tempfile.TemporaryDirectory() as directory:
        mesh, prometheus = Mesh(shoal, nvml, directory), None
        try:
            mesh.start()
            if program:
                prometheus = Prometheus(program, directory, mesh.targets)
                until("Prometheus has scraped all nodes", lambda: prometheus.has_scraped(len(mesh.targets)))
            mesh.trouble(bool(nvml))
            tell = lambda: parse("\n".join(map(mesh.metrics, mesh.targets)))
            until("all trouble is told by metrics", lambda: has_happened(tell(), bool(nvml)))
            series = tell()
            check_names([*panels, *rules], series)
            check_documented(series)
            print(f"{len(panels) + len(rules)} queries ask for what /metrics has; all of its {len(series)} names are documented")
            if prometheus:
                until("the killed node is missed", lambda: prometheus.query('ALERTS{alertname="ShoalNodeSilent"}'))
                evaluate(prometheus, panels, rules, bool(nvml))
            else:
                print("SKIPPED: evaluating the queries: there is no prometheus, and it cannot be installed")
            if not nvml:
                print("SKIPPED: panels of GPUs with values: there is no libmock_nvml.so (cargo build -p mock-nvml)")
        finally:
            if prometheus:
                prometheus.stop()
            mesh.stop()
    print(f"observe: done in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
