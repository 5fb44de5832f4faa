"""Hypothesis: the same examples in every run of `make test`; `--hypothesis-profile=fuzz` looks further."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tilewire", derandomize=True, deadline=None, database=None, max_examples=100)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=20_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile") is None:
        settings.load_profile("tilewire")
