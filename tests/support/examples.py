"""How many examples the tests of invariants try.

Every day some, and the same in every run; `make test-long` tries four times
as many, new ones each time. Importing this chooses the everyday ones.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EVERYDAY, THOROUGH = "everyday", "thorough"
_THOROUGH_EXAMPLES = 100

# A busy machine is no failure.
settings.register_profile(
    THOROUGH,
    max_examples=_THOROUGH_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    EVERYDAY,
    settings.get_profile(THOROUGH),
    max_examples=_THOROUGH_EXAMPLES // 4,
    derandomize=True,
)
settings.load_profile(EVERYDAY)


def examples(thorough: int) -> int:
    """Scale a number of examples to the profile that is in use."""
    used = settings().max_examples
    return max(thorough * used // _THOROUGH_EXAMPLES, 1)


def exact_seconds(most: int) -> st.SearchStrategy[float]:
    """Give times of whole eighths, whose sums and differences are exact."""
    return st.integers(0, 8 * most).map(lambda eighths: eighths / 8)
