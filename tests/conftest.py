import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Once: the tests' networks are tiny, and two threads that fight for one CPU are far slower than one.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long reproductions and soaks too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="long: run it with --slow"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets, or a skip that says why."""
    folder = Path(os.environ.get("GANFEAT_DATA", Path(__file__).parents[1] / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder}; set GANFEAT_DATA to their folder")
    return folder


@pytest.fixture
def threads() -> Iterator[None]:
    """For tests that change torch's number of threads: it is as before afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
