"""The chart: rendered from every variant of its values, valid for Kubernetes, and what it is said to be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import msgspec
import pytest
import yaml

from gateway.config import Config, load
from tests.helm.chart import CHART, ROOT, VARIANTS, Manifest, kinds, lint, render, run_helm, variant
from tests.helm.crds import FOREIGN
from tests.helm.crds import validate as validate_foreign
from tools.chart import renewed

# The oldest that Chart.yaml lets in, the newest that there are schemas for, and one between.
VERSIONS = ("1.25", "1.31", "1.37")
EVERY = [pytest.param(path, id=path.stem) for path in VARIANTS]


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pods' specs by component."""
    found = {**kinds(manifests, "Deployment"), **kinds(manifests, "Job")}
    return {name: one["spec"]["template"]["spec"] for name, one in found.items()}


def test_there_are_variants() -> None:
    assert len(VARIANTS) >= 6


@pytest.mark.parametrize("path", EVERY)
def test_lint_finds_nothing(path: Path) -> None:
    assert "0 chart(s) failed" in lint(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", EVERY)
def test_what_is_rendered_is_valid(path: Path, version: str) -> None:
    manifests = render(path, kubernetes=f"{version}.0")
    checked = 0
    for manifest in manifests:
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)
            checked += 1
    assert checked >= 4


def test_what_operators_read_is_valid_by_their_own_definitions() -> None:
    manifests = [one for one in render(variant("scaled")) if one["kind"] in FOREIGN]
    assert {one["kind"] for one in manifests} == set(FOREIGN)
    for manifest in manifests:
        validate_foreign(manifest)
        for wrong in (
            {**manifest, "spec": {**manifest["spec"], "wrong": 1}},
            {**manifest, "spec": {**manifest["spec"], next(iter(manifest["spec"])): "wrong"}},
        ):
            with pytest.raises(jsonschema.ValidationError):
                validate_foreign(wrong)


@pytest.mark.parametrize("path", EVERY)
def test_names_are_unique_and_selectors_meet_their_pods(path: Path) -> None:
    manifests = render(path)
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)
    labels = {
        component: one["spec"]["template"]["metadata"]["labels"]
        for component, one in {**kinds(manifests, "Deployment"), **kinds(manifests, "Job")}.items()
    }
    for kind, where in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        for component, one in kinds(manifests, kind).items():
            wanted = one["spec"][where]["matchLabels"].items()
            assert [name for name, of in labels.items() if wanted <= of.items()] == [component]
    for component, one in kinds(manifests, "Service").items():
        wanted = one["spec"]["selector"].items()
        assert [name for name, of in labels.items() if wanted <= of.items()] == [component]


@pytest.mark.parametrize("path", EVERY)
def test_pods_run_as_nobody_and_write_nowhere(path: Path) -> None:
    for pod in pods(render(path)).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        # Faust wants a directory: the one place that can be written.
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108
        mounted = {one["name"] for one in container["volumeMounts"]}
        assert mounted == {one["name"] for one in pod["volumes"]}


@pytest.mark.parametrize("path", EVERY)
def test_probes_ask_the_port_that_the_configuration_listens_on(path: Path, tmp_path: Path) -> None:
    manifests = render(path)
    for name, pod in pods(manifests).items():
        (container,) = pod["containers"]
        if name == "topics":
            assert "ports" not in container
            continue
        (port,) = container["ports"]
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": port["name"]}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
        if path.stem != "own-configmap":
            config = config_of(manifests, name, tmp_path)
            listen = config.api.listen if name == "api" else getattr(config.metrics, name)
            assert listen == f":{port['containerPort']}"


def config_of(manifests: list[Manifest], component: str, folder: Path) -> Config:
    """The configuration of a component as the gateway reads it."""
    maps = [one for one in manifests if one["kind"] == "ConfigMap" and f"{component}.toml" in one["data"]]
    path = folder / f"{component}.toml"
    path.write_text(maps[0]["data"][f"{component}.toml"], encoding="utf-8")
    return load(path)


@pytest.mark.parametrize("path", [one for one in EVERY if one.id != "own-configmap"])
def test_the_configuration_is_what_the_values_say(path: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted = msgspec.convert({"log": {"format": "json"}, **values["config"]}, Config)
    for component in ("gateway", "streams", "api", "topics"):
        found = config_of(render(path), component, tmp_path)
        assert msgspec.structs.replace(found, metrics=wanted.metrics, api=wanted.api) == wanted


def test_a_component_has_settings_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("streams: {config: {kafka: {session_timeout: 30}}}\n", encoding="utf-8")
    manifests = render(variant("scram"), own)
    assert config_of(manifests, "streams", tmp_path).kafka.session_timeout == 30
    assert config_of(manifests, "gateway", tmp_path).kafka.session_timeout == 12.5
    # Who gets another configuration is started anew, and nobody else.
    before, after = kinds(render(variant("scram")), "Deployment"), kinds(manifests, "Deployment")
    assert [name for name in before if before[name] != after[name]] == ["streams"]


def test_the_topics_job_has_another_name_when_it_does_another_thing(tmp_path: Path) -> None:
    def name(*more: str) -> str:
        paths = []
        for at, text in enumerate(more):
            (tmp_path / f"{at}.yaml").write_text(text, encoding="utf-8")
            paths.append(tmp_path / f"{at}.yaml")
        render.cache_clear()
        found: str = kinds(render(variant("scram"), *paths), "Job")["topics"]["metadata"]["name"]
        return found

    assert name() == name("gateway: {replicas: 5}")
    assert len({name(), name("image: {tag: other}"), name("config: {kafka: {partitions: 6}}")}) == 3


def test_each_component_has_its_own_secrets() -> None:
    found = {
        component: {
            one["secret"]["secretName"]: next(
                mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == one["name"]
            )
            for one in pod["volumes"]
            if "secret" in one
        }
        for component, pod in pods(render(variant("scram"))).items()
    }
    at = "/etc/ringcloud-gateway/secrets"
    common = {"kafka-cluster-ca": f"{at}/kafka-ca"}
    assert found == {
        "gateway": {**common, "kafka-gateway": f"{at}/kafka", "ringcloud": f"{at}/ringcloud"},
        "streams": {**common, "kafka-streams": f"{at}/kafka", "crm": f"{at}/crm"},
        "api": {**common, "kafka-api": f"{at}/kafka", "crm": f"{at}/crm"},
        "topics": {**common, "kafka-topics": f"{at}/kafka"},
    }


def test_no_secret_is_in_what_is_rendered() -> None:
    assert not kinds(render(variant("scram")), "Secret")


def test_a_projected_token_is_where_the_configuration_looks_for_it(tmp_path: Path) -> None:
    manifests = render(variant("oauthbearer"))
    reference = config_of(manifests, "gateway", tmp_path).kafka.token
    for pod in pods(manifests).values():
        (volume,) = [one for one in pod["volumes"] if "projected" in one]
        (source,) = volume["projected"]["sources"]
        (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == volume["name"]]
        token = source["serviceAccountToken"]
        assert reference == f"file:{mount['mountPath']}/{token['path']}"
        assert token["audience"] == "kafka.example.com"


def test_what_scales_by_itself_has_no_number_of_replicas() -> None:
    manifests = render(variant("scaled"))
    deployments = kinds(manifests, "Deployment")
    assert "replicas" not in deployments["gateway"]["spec"]
    assert "replicas" not in deployments["streams"]["spec"]
    assert deployments["api"]["spec"]["replicas"] == 3
    hpa = kinds(manifests, "HorizontalPodAutoscaler")["gateway"]["spec"]
    assert hpa["scaleTargetRef"]["name"] == deployments["gateway"]["metadata"]["name"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (3, 12)
    keda = kinds(manifests, "ScaledObject")["streams"]["spec"]
    assert keda["scaleTargetRef"]["name"] == deployments["streams"]["metadata"]["name"]
    followed = {(one["metadata"]["consumerGroup"], one["metadata"]["topic"]) for one in keda["triggers"]}
    assert followed == {
        ("pbx-fanout", "pbx.calls.v1"),
        ("pbx-webhook-delivery", "pbx.webhook-deliveries.v1"),
    }
    for trigger in keda["triggers"]:
        assert trigger["metadata"]["sasl"] == "scram_sha256"
        assert trigger["metadata"]["tls"] == "enable"
        assert trigger["authenticationRef"] == {"name": "kafka-for-keda"}
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_image_is_the_one_that_is_asked_for() -> None:
    for pod in pods(render(variant("scaled"))).values():
        image = pod["containers"][0]["image"]
        assert re.fullmatch(r"registry\.example\.com:5000/telephony/ringcloud-gateway@sha256:[0-9a-f]{64}", image)
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    for pod in pods(render(variant("minimal"))).values():
        assert pod["containers"][0]["image"] == f"ringcloud-gateway:{version}"


def test_the_chart_has_the_package_s_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    assert chart["appVersion"] == project["version"]


def test_metrics_are_scraped_by_the_port_s_name() -> None:
    manifests = render(variant("scaled"))
    (monitor,) = [one for one in manifests if one["kind"] == "ServiceMonitor"]
    (endpoint,) = monitor["spec"]["endpoints"]
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    for component in expression["values"]:
        service = kinds(manifests, "Service")[component]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_rules_and_dashboards_are_those_of_the_repository() -> None:
    manifests = render(variant("scaled"))
    rules = {
        path.stem: document["groups"]
        for path in (ROOT / "deploy" / "prometheus").glob("*.yaml")
        if "groups" in (document := yaml.safe_load(path.read_text(encoding="utf-8")))
    }
    dashboards = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "grafana").glob("*.json")}
    assert rules
    assert dashboards
    made = [one for one in manifests if one["kind"] == "PrometheusRule"]
    assert {one["metadata"]["name"].rpartition("gateway-")[2]: one["spec"]["groups"] for one in made} == rules
    found: dict[str, str] = {}
    for one in manifests:
        if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            found |= one["data"]
    assert {name: yaml.safe_load(text) for name, text in found.items()} == {
        name: yaml.safe_load(text) for name, text in dashboards.items()
    }


def test_the_network_is_closed_but_for_what_is_needed() -> None:
    policies = kinds(render(variant("scaled")), "NetworkPolicy")
    assert set(policies) == {"gateway", "streams", "api", "topics"}
    for name, policy in policies.items():
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        asked = [rule["from"] for rule in spec["ingress"]]
        where = {"api": "ingress", "topics": ""}.get(name, "monitoring")
        namespaces = [
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peers in asked for peer in peers
        ]
        assert namespaces == ([where] if where else [])
        out: dict[int, Any] = {port["port"]: rule.get("to") for rule in spec["egress"] for port in rule["ports"]}
        # RingCloud and the endpoints; the API and the Job speak to Kafka alone.
        web = name in ("gateway", "streams")
        assert set(out) == {53, 9094, 3128} | ({443} if web else set())
        assert out[9094] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kafka"}}}]
        if web:
            blocks = {one["ipBlock"]["cidr"]: one["ipBlock"].get("except", []) for one in out[443]}
            assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(blocks["0.0.0.0/0"])
            assert blocks["10.20.0.0/16"] == []


def test_a_configmap_of_somebody_else_s_is_used() -> None:
    manifests = render(variant("own-configmap"))
    assert set(kinds(manifests, "Deployment")) == {"gateway", "streams"}
    assert not kinds(manifests, "ConfigMap")
    assert not kinds(manifests, "ServiceAccount")
    for pod in pods(manifests).values():
        (volume,) = [one for one in pod["volumes"] if one["name"] == "config"]
        assert volume["configMap"]["name"] == "gateway-configuration"
        assert pod["serviceAccountName"] == "calls"


def test_the_schema_of_values_is_current() -> None:
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert text == renewed(), "`make schemas` renews it"


def test_a_package_of_the_chart_has_all_of_it(tmp_path: Path) -> None:
    """Its rules and dashboards are links to those of the repository, which a package can't follow."""
    made = run_helm("package", str(CHART), "--destination", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (package,) = tmp_path.glob("*.tgz")
    assert render(variant("scaled"), chart=package) == render(variant("scaled"))
