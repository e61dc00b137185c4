"""The main suite switches pytest-benchmark off; asking for this folder switches it on."""

import pytest

import bench.environment  # noqa: F401  (before numpy)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "benchmark_disable"):
        config.option.benchmark_disable = False
