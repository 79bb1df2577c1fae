"""What a container may do, as the files say; none is started here."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_service_may_do_little(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in service
    assert not service.get("privileged")
    assert not re.search(r":-0?[:}]|root", service["user"])
    assert service["environment"]["RAY_AUTH_MODE"] == "token"


def test_only_downloading_has_a_network():
    assert [name for name, service in SERVICES.items() if service.get("network_mode") != "none"] == ["download"]


def test_service_runs_the_user_of_the_image():
    (uid,) = re.findall(r"useradd --create-home --uid (\d+)", DOCKERFILE)
    assert all(f":-{uid}:{uid}}}" in service["user"] for service in SERVICES.values())


def test_image_opens_no_port_and_holds_no_secret():
    assert "EXPOSE" not in DOCKERFILE
    assert not re.search(r"(TOKEN|PASSWORD|SECRET)\s*=", DOCKERFILE)
    final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "USER kineflow" in final
    assert "g++" not in final
