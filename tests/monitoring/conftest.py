"""promtool, where it can be had."""

import pytest

from harness.runner import Shell
from tests.monitoring.promtool import NoPromtoolError, Promtool, find_promtool


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    try:
        return Promtool(find_promtool(Shell()))
    except NoPromtoolError as error:
        pytest.skip(str(error))
