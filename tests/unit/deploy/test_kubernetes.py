"""The manifests fit Kubernetes' own schemas, and Metasync's needs."""

from itertools import chain
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config import Settings
from tests.support.paths import ROOT

_DIRECTORY = ROOT / "deploy/kubernetes"
# The oldest that knows every field, and the newest that is known.
_VERSIONS = ("1.32", kubernetes_validate.latest_version())
_FILES = sorted(
    path
    for path in _DIRECTORY.glob("*.yaml")
    if path.name != "kustomization.yaml"
)
_OBJECTS: list[dict[str, Any]] = list(
    chain.from_iterable(
        yaml.safe_load_all(path.read_text(encoding="utf-8")) for path in _FILES
    )
)
_PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in _OBJECTS
    if "template" in each.get("spec", {})
}


def _name(item: dict[str, Any]) -> str:
    return f"{item['kind']}-{item['metadata']['name']}"


def _settings() -> dict[str, str]:
    found: dict[str, str] = next(
        each["data"] for each in _OBJECTS if each["kind"] == "ConfigMap"
    )
    return found


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("item", _OBJECTS, ids=_name)
def test_every_object_fits_its_schema(
    item: dict[str, Any], version: str
) -> None:
    kubernetes_validate.validate(item, version, strict=True)


def test_the_validator_would_tell() -> None:
    item = {**_OBJECTS[0], "dta": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, _VERSIONS[0], strict=True)


def test_the_list_for_kustomize_is_complete() -> None:
    text = (_DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["resources"] == [
        "config.yaml",
        "api.yaml",
        "workers.yaml",
        "network.yaml",
    ]
    assert {path.name for path in _FILES} == {
        "config.yaml",
        "api.yaml",
        "workers.yaml",
        "network.yaml",
    }


def test_the_settings_are_settings() -> None:
    secrets = dict.fromkeys(
        ("admin_api_key", "api_key_pepper", "docs_secret"), "x"
    )
    given = {name.lower(): value for name, value in _settings().items()}
    assert given.keys() <= Settings.model_fields.keys()
    Settings(_env_file=None, **secrets, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", _PODS)
def test_nobody_is_killed_before_the_grace_is_over(name: str) -> None:
    pod = _PODS[name]
    own = {
        each["name"]: each["value"]
        for each in pod["containers"][0].get("env", ())
    }
    grace = float({**_settings(), **own}["STOP_GRACE_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= 2 * grace + 15


@pytest.mark.parametrize("name", _PODS)
def test_pods_have_no_rights_and_write_to_volumes_only(name: str) -> None:
    pod = _PODS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    container = pod["containers"][0]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert mounted == {"/data", "/tmp"}


@pytest.mark.parametrize("name", _PODS)
def test_pods_have_limits(name: str) -> None:
    pod = _PODS[name]
    resources = pod["containers"][0]["resources"]
    assert resources["requests"].keys() >= {"cpu", "memory"}
    assert resources["limits"].keys() >= {"memory", "ephemeral-storage"}
    for volume in pod["volumes"]:
        assert volume["emptyDir"].keys() == {"sizeLimit"}
    assert pod["automountServiceAccountToken"] is False


def test_a_first_start_of_20_seconds_is_not_killed() -> None:
    probe = _PODS["metasync-api"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def _policies() -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each["spec"]
        for each in _OBJECTS
        if each["kind"] == "NetworkPolicy"
    }


def test_what_no_policy_allows_is_refused_for_every_pod() -> None:
    nothing = _policies()["metasync-nothing"]
    assert set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    assert not nothing.keys() & {"ingress", "egress"}
    selected = nothing["podSelector"]["matchLabels"].items()
    for each in _OBJECTS:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert selected <= labels.items()


def test_calls_go_to_names_the_database_and_the_internet_only() -> None:
    rules = _policies()["metasync-calls"]["egress"]
    ports = [{port["port"] for port in rule["ports"]} for rule in rules]
    assert ports == [{53}, {27017}, {443}]
    private = {
        network
        for block in rules[2]["to"]
        for network in block["ipBlock"]["except"]
    }
    assert {"10.0.0.0/8", "169.254.0.0/16", "fc00::/7"} <= private


def test_selectors_select_what_they_are_for() -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]
        for each in _OBJECTS
        if each["metadata"]["name"] in _PODS
        and each["kind"] in {"Deployment", "StatefulSet"}
    }
    for each in _OBJECTS:
        if each["kind"] == "PodDisruptionBudget":
            selected = each["spec"]["selector"]["matchLabels"]
            assert selected == labels[each["metadata"]["name"]]["labels"]
        if each["kind"] == "HorizontalPodAutoscaler":
            assert each["spec"]["scaleTargetRef"]["name"] in _PODS
