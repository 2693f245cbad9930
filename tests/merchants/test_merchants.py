"""Admitting, finding and suspending merchants; demo data and a real account never meet."""

import pytest
from sqlalchemy.orm import Session

from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from merchants import merchants
from merchants.merchants import MerchantExists, MerchantSuspended, OtherAccount
from merchants.models import Merchant, MerchantState
from merchants.wording import link_hosts

HOSTS = link_hosts("https://quan.example.cn")


def admit(session: Session, runtime: Runtime, name: str, *, community: str = "", **fields: str) -> Merchant:
    account_id = merchants.ensure_account(session, runtime.settings)
    community_id = merchants.ensure_community(session, account_id=account_id, name=community)
    return merchants.add(
        session, account_id=account_id, community_id=community_id, name=name, now=runtime.now(), **fields
    )


def test_account_and_community_are_made_once(runtime: Runtime) -> None:
    ids = set()
    for _ in range(2):
        with runtime.transaction(Role.PLATFORM) as session:
            account_id = merchants.ensure_account(session, runtime.settings)
            default = merchants.ensure_community(session, account_id=account_id)
            named = merchants.ensure_community(session, account_id=account_id, name="翠园")
            ids.add((account_id, default, named))
            assert [community.name for community in merchants.list_communities(session, account_id=account_id)] == [
                merchants.DEFAULT_COMMUNITY,
                "翠园",
            ]
    assert len(ids) == 1


def test_account_follows_a_changed_original_id(runtime: Runtime) -> None:
    changed = runtime.settings.model_copy(update={"wechat_account": "gh_changed"})
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        assert merchants.ensure_account(session, changed) == account_id


def test_demo_data_and_a_real_account_never_meet(runtime: Runtime) -> None:
    sandbox = runtime.settings
    real = sandbox.model_copy(update={"wechat_api_url": "https://api.weixin.qq.com", "wechat_app_id": "wxreal"})
    for first, second, sentence in ((sandbox, real, "演示数据"), (real, sandbox, "真实公众号")):
        with runtime.database.engine(Role.PLATFORM).connect() as connection, Session(connection) as session:
            merchants.ensure_account(session, first)
            with pytest.raises(OtherAccount, match=sentence):
                merchants.ensure_account(session, second)


def test_merchant_is_admitted_with_five_fields(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        admitted = admit(
            session,
            runtime,
            " 老张包子铺 ",
            community="翠园",
            kind="早餐",
            contact_name="张师傅",
            phone="0571-8888 6666",
        )
        assert (admitted.name, admitted.kind, admitted.contact_name, admitted.phone, admitted.state) == (
            "老张包子铺",
            "早餐",
            "张师傅",
            "0571-8888 6666",
            MerchantState.ACTIVE,
        )


def test_names_are_unique_within_a_community(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        admit(session, runtime, "花店", community="翠园")
        admit(session, runtime, "花店", community="兰园")
        with pytest.raises(MerchantExists):
            admit(session, runtime, "花店", community="翠园")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "长" * 31),
        ("name", "关注送红包小店"),
        ("name", "好店evil.com"),
        ("phone", "电话"),
        ("phone", "1234567890123456789012"),
        ("kind", "一\n二"),
        ("contact_name", "长" * 21),
    ],
)
def test_bad_fields_are_refused_by_name(runtime: Runtime, field: str, value: str) -> None:
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(Invalid) as refusal:
        admit(session, runtime, **({"name": "花店"} | {field: value}))
    assert refusal.value.field == field


def test_merchant_is_found_by_id_or_by_its_only_name(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        flowers = admit(session, runtime, "花店", community="翠园")
        admit(session, runtime, "书店", community="翠园")
        admit(session, runtime, "书店", community="兰园")
        find = merchants.find
        assert find(session, account_id=flowers.account_id, wanted=str(flowers.id)).id == flowers.id
        assert find(session, account_id=flowers.account_id, wanted="花店").id == flowers.id
        with pytest.raises(Invalid):
            find(session, account_id=flowers.account_id, wanted="书店")
        for unknown in ("没有的店", "0", "-1", "1.0", str(2**63), "٣"):
            with pytest.raises(NotFound):
                find(session, account_id=flowers.account_id, wanted=unknown)


def test_list_is_paged_by_key_and_searched(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        names = [f"{number}号店" for number in range(5)]
        account_id = {admit(session, runtime, name).account_id for name in names}.pop()
        admit(session, runtime, "百分之100%好店", phone="13800001111")
        seen: list[str] = []
        page = merchants.list_merchants(session, account_id=account_id, limit=4)
        seen += [merchant.name for merchant in page.merchants]
        page = merchants.list_merchants(session, account_id=account_id, limit=4, before=page.before)
        seen += [merchant.name for merchant in page.merchants]
        assert seen == ["百分之100%好店", *reversed(names)]
        assert page.before is None
        for search, found in (("%", 1), ("_", 0), ("3800001", 1), ("号店", 5)):
            page = merchants.list_merchants(session, account_id=account_id, search=search)
            assert len(page.merchants) == found
        assert merchants.count_merchants(session, account_id=account_id) == 6


def test_suspended_merchant_may_not_act_until_readmitted(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        merchant_id = admit(session, runtime, "花店").id
        assert merchants.set_state(session, merchant_id=merchant_id, state=MerchantState.SUSPENDED)
        assert not merchants.set_state(session, merchant_id=merchant_id, state=MerchantState.SUSPENDED)
        with pytest.raises(MerchantSuspended):
            merchants.require_active(session, merchant_id)
        merchants.set_state(session, merchant_id=merchant_id, state=MerchantState.ACTIVE)
        assert merchants.require_active(session, merchant_id).name == "花店"
        with pytest.raises(NotFound):
            merchants.set_state(session, merchant_id=merchant_id + 1, state=MerchantState.ACTIVE)
