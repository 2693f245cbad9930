"""A street with invitation cards."""

import pytest

from core.runtime import Runtime
from tests.campaigns.referrals.cards import Street


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street(runtime)
