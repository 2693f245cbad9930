"""What the platform forbids cannot be said, on cards or on coupons (RF-8)."""

import pytest

from campaigns.coupons import templates
from campaigns.referrals import wording
from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime

FORBIDDEN = (
    "转发领券",
    "转发有奖",
    "分享得积分",
    "拉人头有奖",
    "关注送豆浆",
    "集赞换券",
    "邀请三位好友返现十元",
    "帮我砍一刀",
)


@pytest.mark.parametrize("words", FORBIDDEN)
def test_neither_a_card_nor_a_coupon_says_it(runtime: Runtime, words: str) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        with pytest.raises(Invalid) as refused:
            wording.checked(session, words)
        assert refused.value.status == 422
        for field in ("name", "terms", "refusal_sold_out"):
            with pytest.raises(Invalid) as refused:
                templates.refuse_words(session, {field: words})
            assert (refused.value.status, refused.value.field) == (422, field)


@pytest.mark.parametrize("words", ["请转发", "发到朋友圈", "关注我们", "发展下线", "交入会费", "ＳＨＡＲＥ", "转.发"])
def test_a_card_does_not_even_mention_it(runtime: Runtime, words: str) -> None:
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(Invalid):
        wording.checked(session, words)


@pytest.mark.parametrize("words", ["", "每天现磨的豆浆，七点开门", "会员到店有积分", "老邻居带新邻居，来坐坐"])
def test_what_a_shop_is_like_may_be_said(runtime: Runtime, words: str) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        assert wording.checked(session, words) == words
