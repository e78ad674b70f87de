"""promtool, where it can be had."""

import pytest

from e2e.prometheus import NoPrometheusError, programs
from e2e.runner import Shell
from tests.monitoring.promtool import Promtool


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    try:
        return Promtool(programs(Shell()) / "promtool")
    except NoPrometheusError as error:
        pytest.skip(str(error))
