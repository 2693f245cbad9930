"""One call gives coupons: to whom, how many, because of what, and what is said to the others."""

import pytest

from campaigns.coupons import giving
from campaigns.coupons.giving import NotGiven
from campaigns.coupons.models import Channel
from core.database import Role
from core.runtime import Runtime
from tests.couponing import Street


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street.open(runtime)


def refused(street: Street, template_id: int, follower_id: int, **options: object) -> NotGiven:
    with pytest.raises(NotGiven) as refusal:
        street.grant(template_id, follower_id, **options)  # type: ignore[arg-type]
    return refusal.value


@pytest.mark.parametrize("role", [Role.FAN, Role.MERCHANT, Role.PLATFORM])
def test_a_coupon_is_given_under_every_role_that_gives(street: Street, role: Role) -> None:
    shop = street.shop()
    ann, template_id = street.fan(shop), street.live(shop)
    tenant = {Role.FAN: {"follower_id": ann}, Role.MERCHANT: {"merchant_id": shop}, Role.PLATFORM: {}}[role]
    with street.runtime.transaction(role, **tenant) as session:
        given = giving.grant(
            session, template_id=template_id, follower_id=ann, cause="scan:1", channel=Channel.SCAN, now=street.now,
        )  # fmt: skip
    assert given.is_new
    assert given.seq == 1
    template = street.template(template_id)
    assert (template.issued, template.committed_fen) == (1, 2_000)
