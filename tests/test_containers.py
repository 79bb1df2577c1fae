"""What a container may do, as the files say; none is started here."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
FINAL_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
(UID,) = re.findall(r"useradd --create-home --uid (\d+)", DOCKERFILE)

KUBERNETES = {
    document["kind"]: document for document in yaml.safe_load_all((ROOT / "docker" / "kuberay.yaml").read_text())
}
RAY_CLUSTER = KUBERNETES["RayCluster"]["spec"]
PODS = {
    "head": RAY_CLUSTER["headGroupSpec"]["template"]["spec"],
    "worker": RAY_CLUSTER["workerGroupSpecs"][0]["template"]["spec"],
    "job": KUBERNETES["Job"]["spec"]["template"]["spec"],
}


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_service_may_do_little(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert not re.search(r":-0?[:}]|root", service["user"])
    assert service["environment"]["RAY_AUTH_MODE"] == "token"


def test_only_the_pages_are_published_and_on_this_machine_alone():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"serve": ["127.0.0.1:8765:8765"]}


def test_pages_ask_for_a_token_that_is_no_part_of_the_image():
    serve = SERVICES["serve"]
    assert serve["secrets"] == ["token"]
    assert serve["command"].endswith(" --token-file /run/secrets/token")


def test_only_downloading_and_the_pages_have_a_network():
    networked = {name for name, service in SERVICES.items() if service.get("network_mode") != "none"}
    assert networked == {"download", "serve"}


def test_service_runs_the_user_of_the_image():
    assert all(f":-{UID}:{UID}}}" in service["user"] for service in SERVICES.values())


def test_image_opens_no_port_and_holds_no_secret():
    assert "EXPOSE" not in DOCKERFILE
    assert not re.search(r"(TOKEN|PASSWORD|SECRET)\s*=", DOCKERFILE)


def test_image_runs_an_ordinary_user_without_a_compiler():
    # by number, which is what Kubernetes can check
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [f"{UID}:{UID}"]
    assert f"\nUSER {UID}" in FINAL_STAGE
    assert "HEALTHCHECK" in FINAL_STAGE
    assert "g++" in DOCKERFILE
    assert not re.search(r"g\+\+|python3-dev|pip install", FINAL_STAGE)


def test_both_stages_begin_with_one_image_named_by_its_digest():
    assert re.search(r"^ARG BASE=\S+:\S+-runtime-\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_builder_gets_what_is_copied_and_nothing_else():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(" ".join(sources).split())
    # what was compiled here must not stand in for what is compiled there
    assert {"**/*.so", "**/__pycache__"} <= set(ignored)


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pod_may_do_little(pod):
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {int(UID)}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all({"persistentVolumeClaim", "emptyDir"} & volume.keys() for volume in pod["volumes"])
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "ports" not in container
    assert container["resources"]["limits"] == container["resources"]["requests"]


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pod_has_what_ray_writes_to(pod):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (container,) = pod["containers"]
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounted.keys() == {"/data", "/tmp", "/dev/shm"}
    assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"
    assert {"name": "HOME", "value": "/tmp"} in container["env"]
    claim = KUBERNETES["PersistentVolumeClaim"]["metadata"]["name"]
    assert mounted["/data"]["persistentVolumeClaim"]["claimName"] == claim


def test_pods_have_the_versions_of_the_project():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert RAY_CLUSTER["rayVersion"] == pinned["ray"]
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    images = {pod["containers"][0]["image"] for pod in PODS.values()}
    assert images == {f"registry.example.com/kineflow:{setup['metadata']['version']}"}


def test_ray_on_kubernetes_asks_for_a_token_and_has_no_dashboard():
    assert RAY_CLUSTER["authOptions"] == {"mode": "token"}
    start = RAY_CLUSTER["headGroupSpec"]["rayStartParams"]
    assert start["include-dashboard"] == "false"
    assert start["dashboard-host"] == "127.0.0.1"
    environment = {entry["name"]: entry for entry in PODS["job"]["containers"][0]["env"]}
    assert environment["RAY_AUTH_MODE"]["value"] == "token"
    # the Secret that KubeRay makes has the name of the cluster
    secret = {"name": KUBERNETES["RayCluster"]["metadata"]["name"], "key": "auth_token"}
    assert environment["RAY_AUTH_TOKEN"]["valueFrom"] == {"secretKeyRef": secret}


def test_job_reaches_the_cluster_by_the_name_that_kuberay_gives_its_head():
    command = PODS["job"]["containers"][0]["command"][-1]
    assert f"--address={KUBERNETES['RayCluster']['metadata']['name']}-head-svc:6379 " in command
    workers = RAY_CLUSTER["workerGroupSpecs"][0]["replicas"]
    assert f"--gpus {workers} --address auto" in command


def test_pods_of_the_namespace_talk_to_each_other_and_to_dns_alone():
    policy = KUBERNETES["NetworkPolicy"]["spec"]
    every_pod = {"podSelector": {}}
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"from": [every_pod]}]
    inside, names = policy["egress"]
    assert inside == {"to": [every_pod]}
    assert {port["port"] for port in names["ports"]} == {53}
    names_of_objects = {document["metadata"].get("namespace", "kineflow") for document in KUBERNETES.values()}
    assert names_of_objects == {KUBERNETES["Namespace"]["metadata"]["name"]}
