"""Dashboard, rules and documentation name what is really exported."""

import json
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client import Metric

import main_app
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.monitoring.observer import OK, CallEnd, Observer
from api.services.queue.job_work import Failed, Requeued
from config import ModelKeys
from tests.support.live_server import make_settings
from tests.support.paths import ROOT
from tests.support.samples import claimed_job

DASHBOARD = ROOT / "deploy/grafana/metasync.json"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"
RULES = ROOT / "deploy/prometheus/metasync-alerts.yml"
PAGE = ROOT / "docs/monitoring.md"

_METRIC = re.compile(r"\b(?:metasync|process)_[a-z_]+\b")
# `{label="x"}` after a name, and what is grouped by.
_SELECTED = re.compile(r"\b(metasync_[a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_ADDED_BY_PROMETHEUS = {"job", "instance", "role", "le"}
Exported = dict[str, frozenset[str]]
_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "info": ("_info",),
}


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """Give the names of all samples, with their labels."""
    application = main_app.build(
        make_settings(tmp_path_factory.mktemp("data")),
        ModelKeys({}),
        "mongodb://127.0.0.1:9",
    )
    metrics = application.services.metrics
    _use_all(metrics.observer)
    return {
        family.name + suffix: _labels(family)
        for family in metrics.registry.collect()
        for suffix in _SUFFIXES.get(family.type, ("",))
    }


def _use_all(observer: Observer) -> None:
    """Make every counter show its labels."""
    model = cast(
        "ModelWithKey", SimpleNamespace(model_id="i", name="m", sdk="s")
    )
    used = Metrics(1, 1, 1.0, 10**10, 10**10, frozenset({"USD"}))
    observer.call_ended(CallEnd(model, OK, 1.0, used, 0.5))
    observer.request_began()
    observer.request_ended("GET", "/", 200, 0.1)
    for outcome in (Failed({}), Requeued(0, counted=False, reason="")):
        observer.job_ended(claimed_job(), outcome)


def _labels(family: Metric) -> frozenset[str]:
    declared = getattr(family, "_labelnames", ())
    return frozenset(declared).union(*(each.labels for each in family.samples))


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = [
        target["expr"]
        for panel in panels
        for target in panel.get("targets", ())
    ]
    return [*shown, *(rule["expr"] for rule in rules())]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_dashboard_and_the_rules_ask_for_what_there_is(
    exported: Exported,
) -> None:
    asked = {
        name
        for expression in expressions()
        for name in _METRIC.findall(expression)
    }
    assert asked <= exported.keys()


def test_they_select_by_labels_that_there_are(
    exported: Exported,
) -> None:
    for expression in expressions():
        for name, selection in _SELECTED.findall(expression):
            wanted = set(_LABEL.findall(selection)) - _ADDED_BY_PROMETHEUS
            assert wanted <= exported[name], expression


def test_the_dashboard_shows_every_family(
    exported: Exported,
) -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    ours = {name for name in exported if name.startswith("metasync_")}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in ours}
    assert {name for name in families if name not in text} == set()


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert panels[0]["type"] == "row"
    variables = {each["name"] for each in board["templating"]["list"]}
    assert variables == {"datasource", "job", "model"}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["targets"]
    for expression in expressions():
        used = set(re.findall(r"\$(\w+)", expression))
        assert used <= variables | {"__rate_interval"}
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_rule_says_what_is_wrong_and_how_badly() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 5
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule.keys() <= {
            *("alert", "expr", "for", "labels", "annotations"),
        }


def test_the_scrape_configuration_loads_the_rules() -> None:
    config = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    assert config["rule_files"] == [RULES.name]
    (scrape,) = config["scrape_configs"]
    assert scrape["job_name"] == "metasync"
    assert scrape["metrics_path"] == "/metrics"
    assert scrape["authorization"]["type"] == "Bearer"


def test_the_page_lists_every_metric_and_every_alert(
    exported: Exported,
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    ours = {name for name in exported if name.startswith("metasync_")}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in ours}
    named = set(re.findall(r"`(metasync_[a-z_]+)`", text))
    assert named == families
    alerts = set(re.findall(r"`(Metasync\w+)`", text))
    assert alerts == {rule["alert"] for rule in rules()}
