"""docs/production.md, as it stands: its values are valid, and what only a cluster can do names what is rendered."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.helm.chart import Manifest, kinds, lint, render
from tests.helm.crds import FOREIGN
from tests.helm.crds import validate as validate_foreign
from tests.helm.page import NAMESPACE, RELEASE, blocks, elsewhere, script, values
from tests.support.secured_kafka import listed


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    path = tmp_path_factory.mktemp("production") / "values.yaml"
    path.write_text(values(), encoding="utf-8")
    lint(path)
    return render(path, release=RELEASE)


def test_the_values_are_rendered_and_valid(rendered: list[Manifest]) -> None:
    assert set(FOREIGN) & {one["kind"] for one in rendered} == {"ServiceMonitor", "PrometheusRule"}
    for manifest in rendered:
        if manifest["kind"] in FOREIGN:
            validate_foreign(manifest)
        else:
            kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_the_pods_let_in_what_the_page_asks_of_them_and_reach_the_brokers(rendered: list[Manifest]) -> None:
    ports = {port.rpartition(":")[2] for port in yaml.safe_load(values())["config"]["kafka"]["bootstrap"].split(",")}
    for policy in kinds(rendered, "NetworkPolicy").values():
        open_ = {str(port["port"]) for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert ports <= open_


def test_each_component_has_a_user_of_its_own_on_the_list() -> None:
    (users,) = set(re.findall(r"for user in ([a-z ]+); do", script()))
    (allowed,) = re.findall(r"\^\(([a-z|]+)\),", script())
    assert set(users.split()) == set(allowed.split("|")) == {"topics", "gateway", "streams", "api"}
    assert set(users.split()) <= {acl.user for acl in listed()}


def test_what_only_a_cluster_can_do_names_what_is_rendered(rendered: list[Manifest]) -> None:
    deployments = {one["metadata"]["name"]: one for one in rendered if one["kind"] == "Deployment"}
    services = {one["metadata"]["name"]: one for one in rendered if one["kind"] == "Service"}
    image = next(iter(deployments.values()))["spec"]["template"]["spec"]["containers"][0]["image"]
    local = set()
    for line in elsewhere():
        words = shlex.split(line.removesuffix("&"))
        match words:
            case ["docker", "build", "--tag", name, "."] | ["docker", "push", name]:
                assert name == image
            case ["helm", "upgrade", "--install", release, chart, "--namespace", namespace, *options]:
                template = next(one for one in script().splitlines() if one.startswith("helm template "))
                assert (release, namespace, options) == (RELEASE, NAMESPACE, ["--values", "values.yaml", "--wait"])
                assert shlex.split(template)[2:-2] == [release, chart, "--namespace", namespace, *options[:2]]
            case ["kubectl", "-n", namespace, "exec", pod, "--", "ringcloud-gateway", "check", "--service", of, config]:
                (container,) = deployments[pod.removeprefix("deploy/")]["spec"]["template"]["spec"]["containers"]
                assert (namespace, container["args"]) == (NAMESPACE, [of, config])
            case ["kubectl", "-n", namespace, "port-forward", service, port]:
                asked = services[service.removeprefix("svc/")]["spec"]["ports"]
                assert (namespace, [str(one["port"]) for one in asked]) == (NAMESPACE, [port])
                local.add(port)
            case ["kubectl", "-n", namespace, "logs", "-l", label]:
                name, _, value = label.partition("=")
                (job,) = kinds(rendered, "Job").values()
                assert (namespace, job["spec"]["template"]["metadata"]["labels"][name]) == (NAMESPACE, value)
            case ["kubectl", "-n", namespace, "get", "pods"]:
                assert namespace == NAMESPACE
            case ["curl", "-s", *_, url]:
                assert url.removeprefix("http://127.0.0.1:").partition("/")[0] in local
            case _:
                raise AssertionError(f"nothing is known of: {line}")


def test_every_block_is_a_command_or_the_values() -> None:
    assert {one.language for one in blocks()} == {"sh", "yaml"}


def test_files_that_commands_read_are_made_or_asked_for() -> None:
    before = {"ca.crt", "admin.properties"} | {
        f"{account}-{what}" for account in (1000, 2000) for what in ("key", "password")
    }
    text = (Path(__file__).parents[2] / "docs" / "production.md").read_text(encoding="utf-8")
    asked = text[text.index("## Before") : text.index("## 1.")]
    assert [name for name in before if f"`{name}`" not in asked] == []
