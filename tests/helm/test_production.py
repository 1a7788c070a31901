"""docs/production.md, as it stands: its values are rendered and valid, and what comes out is a right configuration."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from tests.helm.chart import ROOT, Manifest, kinds, lint, render
from tests.helm.test_chart import FOREIGN
from tests.support.secured_kafka import listed

PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
MOUNTED = "/etc/ringcloud-gateway/secrets"


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    path = tmp_path_factory.mktemp("production") / "values.yaml"
    path.write_text(block, encoding="utf-8")
    return path


def test_the_values_are_rendered_and_valid(values: Path) -> None:
    lint(values)
    for manifest in render(values, release="ringcloud"):
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, "1.34", strict=True)


def shell_blocks() -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")


def made(folder: Path) -> dict[str, dict[str, bytes]]:
    """The Secrets that the page's commands make, by name: of files made as the page makes them."""
    (making,) = [
        block for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) if "openssl" in block
    ]
    subprocess.run(["/bin/sh", "-e", "-c", making], cwd=folder, check=True, timeout=30)
    for account in ("1000", "2000"):
        (folder / f"{account}-key").write_text(f"{account}_key", encoding="utf-8")
        (folder / f"{account}-password").write_text("hush", encoding="utf-8")
    found: dict[str, dict[str, bytes]] = {}
    users = re.search(r"for user in ([a-z ]+); do", shell_blocks())
    assert users is not None
    for user in users[1].split():
        found[f"kafka-{user}"] = {"username": user.encode(), "password": b"of-it"}
    for line in shell_blocks().splitlines():
        if create := re.search(r"create secret generic ([a-z-]+) (.*)", line):
            names = re.findall(r"--from-file=(\S+)", create[2])
            found[create[1]] = {
                name: (folder / name).read_bytes() if (folder / name).exists() else b"" for name in names
            }
    return found


def test_the_secrets_that_it_makes_are_those_that_are_mounted(values: Path, tmp_path: Path) -> None:
    secrets = made(tmp_path)
    mounted: set[str] = set()
    for one in render(values, release="ringcloud"):
        if one["kind"] in ("Deployment", "Job"):
            volumes = one["spec"]["template"]["spec"]["volumes"]
            mounted |= {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    assert mounted == set(secrets)


def test_each_component_s_user_is_one_of_the_list_s(values: Path) -> None:
    users = {one["name"].removeprefix("kafka-") for one in yaml.safe_load(values.read_text())["secrets"]}
    assert {"topics", "gateway", "streams", "api"} <= users & {acl.user for acl in listed()}


def _pod(manifests: list[Manifest], component: str) -> dict[str, Any]:
    found = {**kinds(manifests, "Deployment"), **kinds(manifests, "Job")}[component]
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("component", ["gateway", "streams", "api", "topics"])
def test_check_finds_what_a_component_reads(values: Path, tmp_path: Path, component: str) -> None:
    """As in the component's pod: what is mounted is there; the one thing put in another place is the folder."""
    manifests = render(values, release="ringcloud")
    secrets = made(tmp_path)
    root = tmp_path / "pod"
    pod = _pod(manifests, component)
    places = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    for volume in pod["volumes"]:
        if "secret" in volume:
            folder = root / Path(places[volume["name"]]).relative_to(MOUNTED)
            folder.mkdir(parents=True)
            for name, value in secrets[volume["secret"]["secretName"]].items():
                (folder / name).write_bytes(value)
    _authority(root / "kafka-ca" / "ca.crt")
    maps = [one["data"] for one in manifests if one["kind"] == "ConfigMap" and f"{component}.toml" in one["data"]]
    config = root / "gateway.toml"
    config.write_text(maps[0][f"{component}.toml"].replace(MOUNTED, str(root)), encoding="utf-8")
    done = CliRunner().invoke(main, ["check", str(config)])
    # The first thing that is not mounted here, which is none of what this component reads.
    unread = {"gateway": "endpoints", "streams": "accounts", "api": "accounts", "topics": "accounts"}[component]
    assert done.exit_code == 1
    assert unread in done.output
    assert "No such file or directory" in done.output
    for secret in secrets.values():
        for name, value in secret.items():
            folder = next((path for path in root.rglob(name)), None)
            if folder is None:
                owner = next(one for one, content in secrets.items() if content is secret)
                (root / _as(values, owner)).mkdir(parents=True, exist_ok=True)
                (root / _as(values, owner) / name).write_bytes(value)
    done = CliRunner().invoke(main, ["check", str(config)])
    assert done.output.endswith("right: 2 accounts, 1 endpoints\n"), done.output


def _as(values: Path, secret: str) -> str:
    listed_ = yaml.safe_load(values.read_text(encoding="utf-8"))["secrets"]
    return next(str(one.get("as", one["name"])) for one in listed_ if one["name"] == secret)


def _authority(path: Path) -> None:
    import trustme

    path.parent.mkdir(parents=True, exist_ok=True)
    trustme.CA().cert_pem.write_to_path(str(path))
