"""What is shared by the tests of one group is started once: they run in one process."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("groups")
def test_tests_are_distributed_by_their_group(request: pytest.FixtureRequest) -> None:
    is_grouped = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@groups") == is_grouped
