"""The chart, rendered by helm and held against Kubernetes' schemas: chart.py HELM KUBERNETES-VALIDATE SHOAL."""

import pathlib
import subprocess
import sys
import tempfile

import yaml

HELM, VALIDATE, SHOAL = sys.argv[1:]
PACKAGING = pathlib.Path(__file__).resolve().parent.parent
CHART = str(PACKAGING / "helm" / "shoal")
# The oldest that the chart takes, and the newest whose schemas there are.
VERSIONS = ["1.27", "1.37"]
# Seconds after a notice that the daemon takes for itself (`LEAVE_DEADLINE` and `JOIN_DEADLINE` of the daemon).
LEAVING = 50

VARIANTS = {
    "exclusive": {},
    "cooperative": {"gpus": {"mode": "cooperative", "count": 4}, "resources": {"limits": {"memory": "64Gi"}}},
    "without GPUs": {"gpus": {"mode": "none"}, "node": {"labelsFromKubernetes": False}},
    "everything": {
        "engineImage": "vllm/vllm-openai:v0.11.0",
        "join": {"firstNode": "gpu-1"},
        "node": {"cluster": "onprem-a", "labels": {"zone": "rack-3", "capacityType": "spot", "price": "2.10"}},
        "ingress": {"tlsSecretName": "shoal-tls"},
        "config": {"engines": {"vllm": {}, "gateway": {"allow": ["http://llm-d.example/v1"]}}, "mesh": {"gossipInterval": "200ms"}},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "gpu-hosts",
        "nodeSelector": {"pool": "gpu"},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "serviceAccount": {"name": "mine", "annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "runAsUser": 0,
        "terminationGracePeriodSeconds": 900,
        "maxUnavailable": "10%",
        "extraEnv": [{"name": "HF_TOKEN_PATH", "value": "/run/secrets/hub"}],
        "extraVolumes": [{"name": "models", "hostPath": {"path": "/data"}}],
        "extraVolumeMounts": [{"name": "models", "mountPath": "/data"}],
    },
}

# What is refused, and the words that say where.
REFUSED = [
    ({"gpu": {"mode": "exclusive"}}, "gpu"),
    ({"gpus": {"modus": "exclusive"}}, "modus"),
    ({"gpus": {"mode": "shared"}}, "mode"),
    ({"gpus": {"count": 0}}, "count"),
    ({"ingress": {"auth": "open"}}, "auth"),
    ({"ingress": {"port": 70000}}, "port"),
    ({"admin": {"address": "10.0.0.1"}}, "address"),
    ({"mesh": {"port": "7700/udp"}}, "port"),
    ({"config": {"ingress": {"listen": "0.0.0.0:1"}}}, "ingress"),
    ({"config": {"node": {"labels": {"zone": "a"}}}}, "node"),
    ({"node": {"labels": {"cluster": "twice"}}}, "labels"),
    ({"config": {"notices": {"sigterm": {"warning": "1h"}}}}, "sigterm"),
    ({"statePath": "relative"}, "statePath"),
    ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
    ({"join": {"secretName": "Not A Name"}}, "secretName"),
    ({"podMonitor": {"enabled": "yes"}}, "enabled"),
    ({"serviceAccount": {"token": "x"}}, "token"),
]


def helm(*arguments, values=None):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        file.flush()
        return subprocess.run([HELM, *arguments, "--values", file.name], capture_output=True, text=True, timeout=60)


def render(values):
    done = helm("template", "shoal", CHART, "--namespace", "llm", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def one(objects, kind):
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def check_schemas(text):
    """All but what Kubernetes itself does not know."""
    objects = [each for each in yaml.safe_load_all(text) if each]
    builtin = [each for each in objects if not each["apiVersion"].startswith("monitoring.coreos.com/")]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(builtin, file)
        file.flush()
        for version in VERSIONS:
            done = subprocess.run([VALIDATE, "-k", version, "--strict", file.name], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return objects


def check_pod(objects, values):
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    env = {each["name"]: each for each in main["env"]}
    mode = values.get("gpus", {}).get("mode", "exclusive")
    assert pod["hostNetwork"] is True and pod["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert pod.get("runtimeClassName") == (None if mode == "none" else "nvidia")
    asked = main.get("resources", {}).get("limits", {}).get("nvidia.com/gpu")
    assert asked == (values["gpus"]["count"] if mode == "cooperative" else None), asked
    visible = env.get("NVIDIA_VISIBLE_DEVICES", {}).get("value")
    assert visible == {"exclusive": "all", "cooperative": None, "none": "void"}[mode], "the device plugin decides"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert ("affinity" in pod) == (mode != "none")
    # Nothing is asked of a probe that a peer has part in.
    paths = [main[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert paths == ["/livez", "/livez", "/readyz"], paths
    assert all(main[probe]["httpGet"]["host"] == "127.0.0.1" for probe in ("startupProbe", "livenessProbe", "readinessProbe"))
    sigterm = yaml.safe_load(one(objects, "ConfigMap")["data"]["shoal.yaml"])["notices"]["sigterm"]
    assert sigterm["means"] == "host", "SIGTERM is the drain"
    assert pod["terminationGracePeriodSeconds"] >= int(sigterm["warning"].removesuffix("s")) + LEAVING
    token = next(volume for volume in pod["volumes"] if volume["name"] == "join-token")
    (source,) = token["projected"]["sources"]
    assert source["secret"]["optional"] is True and token["projected"]["defaultMode"] == 0o440
    asks = values.get("node", {}).get("labelsFromKubernetes", True)
    assert pod["automountServiceAccountToken"] is asks and ("SHOAL_KUBERNETES_NODE" in env) is asks
    assert any(each["kind"] == "ClusterRole" for each in objects) is asks
    assert "USER" in env, "vLLM asks for the name of its user, which the image need not know"
    check_first_steps({each["name"]: each for each in pod["initContainers"]}, values)
    assert main["securityContext"]["runAsNonRoot"] is (pod["securityContext"]["runAsUser"] != 0)


def check_first_steps(steps, values):
    """What makes the state directory the daemon's, and the first node, run here with other paths and a `shoal` that only says so."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        (root / "state").mkdir()
        (root / "bin").mkdir()
        for name in ("chown", "shoal"):
            (root / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
            (root / "bin" / name).chmod(0o755)

        def said(step, **env):
            shell, flag, script = steps[step]["command"]
            script = script.replace("/var/lib/shoal", f"{root}/state").replace("/run/secrets/shoal", directory)
            env["PATH"] = f"{root}/bin:/usr/bin:/bin"
            return subprocess.run([shell, flag, script], env=env, capture_output=True, text=True, check=True).stdout

        owner = (root / "state").stat().st_uid
        assert said("state", OWNER=str(owner)) == "", "what is right stays"
        assert said("state", OWNER=str(owner + 1)).startswith(f"chown -Rh {owner + 1}:{owner + 1} "), "all of it changes hands"
        if "join" not in values:
            return
        mounts = {mount["name"]: mount["mountPath"] for mount in steps["init"]["volumeMounts"]}
        assert mounts["join-token"] == "/run/secrets/shoal", mounts
        first = {"NODE_NAME": "gpu-1", "FIRST_NODE": "gpu-1"}
        assert said("init", **first) == "shoal init\n"
        assert said("init", NODE_NAME="gpu-2", FIRST_NODE="gpu-1") == ""
        (root / "join-token").write_text("shoal1_x")
        assert said("init", **first) == "", "there is a mesh already"
        (root / "join-token").unlink()
        (root / "state" / "identity").mkdir()
        assert said("init", **first) == "", "it is a node already"


def check_config(objects):
    """The daemon takes it: what it then misses is only an identity."""
    text = one(objects, "ConfigMap")["data"]["shoal.yaml"]
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "shoal.yaml"
        file.write_text(text)
        arguments = [SHOAL, "agent", "--config", str(file), "--state-dir", directory]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "no identity in" in done.stderr, f"{text}\n{done.returncode} {done.stderr}"


def main():
    lint = helm("lint", CHART, "--strict")
    assert lint.returncode == 0, lint.stdout
    chart = yaml.safe_load((PACKAGING / "helm" / "shoal" / "Chart.yaml").read_text())
    version = subprocess.run([SHOAL, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert chart["version"] == chart["appVersion"] == version, f"the chart is {chart['version']}, shoal {version}"
    for name, values in VARIANTS.items():
        objects = check_schemas(render(values))
        check_pod(objects, values)
        check_config(objects)
        print(f"{name}: {len(objects)} objects are right for Kubernetes {' and '.join(VERSIONS)}, their configuration for shoal")
    monitor = one(objects, "PodMonitor")["spec"]
    names = [port["name"] for port in one(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["ports"]]
    assert monitor["podMetricsEndpoints"][0]["port"] in names, names
    print("SKIPPED: the PodMonitor's own schema is not Kubernetes'; that its port is one of the pod's is checked")

    for values, where in REFUSED:
        done = helm("template", "shoal", CHART, values=values)
        assert done.returncode != 0, f"{values} is taken"
        assert where in done.stderr, f"{values}: {done.stderr}"
    print(f"{len(REFUSED)} kinds of bad values are refused, each by name")

    notes = helm("install", "shoal", CHART, "--namespace", "llm", "--dry-run=client")
    assert "curl http://127.0.0.1:8080/v1/models" in notes.stdout, notes.stdout + notes.stderr
    (test,) = [each for each in yaml.safe_load_all(render({})) if each and each["kind"] == "Pod"]
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    print("NOTES have the curl line; SKIPPED: running `helm test` needs a cluster")

    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([str(PACKAGING / "render"), HELM, directory], check=True)
        for rendered in sorted(pathlib.Path(directory).iterdir()):
            kept = PACKAGING / "manifests" / rendered.name
            assert kept.read_text() == rendered.read_text(), f"{kept} is not what the chart renders: packaging/render HELM"
            check_schemas(kept.read_text())
    print("the plain manifests are what the chart renders")


main()
