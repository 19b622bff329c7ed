"""Whether a dataset says what a metric needs to know."""

from api.core.errors import RuleError
from api.models.dataset_models import Dataset
from api.models.metric_models import (
    AnyMetric,
    WeightedMetrics,
    needs_expected,
)


def check_expected(
    metric: AnyMetric | WeightedMetrics, dataset: Dataset
) -> None:
    """Make sure that all items can be scored.

    Raises:
        RuleError: some do not say what is expected, which the metric needs.
    """
    missing = dataset.count - dataset.expected_count
    if missing and needs_expected(metric):
        raise RuleError(
            f"The metric needs to know what is expected, and {missing} of "
            f"the dataset's {dataset.count} items do not say it"
        )
