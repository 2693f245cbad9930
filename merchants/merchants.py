"""The account, its communities and their merchants: who is admitted, found, suspended, and what their card says."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.settings import Settings
from merchants import staff
from merchants.models import Community, Merchant, MerchantState, OfficialAccount
from merchants.wording import clean, phone_number, refuse_bad_wording

NAME_MAX: Final = 30
SAME_NAME: Final = Phrase("已经有一个同名的社区。")
DEFAULT_COMMUNITY: Final = "我们的社区"
LARGEST_ID: Final = 2**63 - 1


class OtherAccount(BusinessError):
    """Demo data and a real account's data never meet in one database."""

    code = "other_account"


class MerchantExists(BusinessError):
    code = "merchant_exists"
    message = "这个社区里已经有同名的商户。"


class MerchantSuspended(BusinessError):
    code = "merchant_suspended"
    message = "这个商户已停用。"


def ensure_account(session: Session, settings: Settings) -> int:
    """The id of the configured account's row, made at the first call."""
    known = session.execute(select(OfficialAccount.is_sandbox).distinct()).scalars().all()
    if any(is_sandbox is not settings.is_sandbox for is_sandbox in known):
        raise OtherAccount(
            "这个数据库里是真实公众号的数据，不能接沙盒。请换一个 DATABASE_URL 或 QUANMA_HOME。"
            if settings.is_sandbox
            else "这个数据库里是沙盒的演示数据，不能接真实公众号。请换一个空的 DATABASE_URL 或 QUANMA_HOME。"
        )
    account = insert(OfficialAccount).values(
        app_id=settings.wechat_app_id, original_id=settings.wechat_account, is_sandbox=settings.is_sandbox
    )
    session.execute(account.on_conflict_do_nothing())
    stored = select(OfficialAccount.id, OfficialAccount.original_id).where(
        OfficialAccount.app_id == settings.wechat_app_id
    )
    account_id, original_id = session.execute(stored).one()
    if original_id != settings.wechat_account:
        values = {"original_id": settings.wechat_account}
        session.execute(update(OfficialAccount).where(OfficialAccount.id == account_id).values(values))
    return account_id


def ensure_community(session: Session, *, account_id: int, name: str = "") -> int:
    """The id of the community of this name, made if there is none; without a name, the account's first one."""
    wanted = clean(name, name=Phrase("社区名称"), field="community", longest=NAME_MAX)
    named = select(Community.id).where(Community.account_id == account_id).order_by(Community.id).limit(1)
    if wanted:
        named = named.where(Community.name == wanted)
    if (found := session.scalar(named)) is not None:
        return found
    refuse_bad_wording(wanted, field="community")
    new = insert(Community).values(account_id=account_id, name=wanted or DEFAULT_COMMUNITY)
    session.execute(new.on_conflict_do_nothing())
    return session.execute(named).scalar_one()


def add_community(session: Session, *, account_id: int, name: str, intro: str) -> int:
    """One more community; raises `Invalid` where there is one of this name."""
    values = _described(session, account_id=account_id, name=name, intro=intro)
    new = insert(Community).values(account_id=account_id, **values).on_conflict_do_nothing()
    added: int | None = session.scalar(new.returning(Community.id))
    if added is None:
        raise Invalid(SAME_NAME, field="community")
    return added


def edit_community(session: Session, *, account_id: int, community_id: int, name: str, intro: str) -> None:
    """What a community is called and what is said about it; names are unique within the account."""
    values = _described(session, account_id=account_id, name=name, intro=intro, but=community_id)
    statement = update(Community).where(Community.id == community_id, Community.account_id == account_id)
    if not rows_changed(session.execute(statement.values(values))):
        raise NotFound("没有这个社区。")


def _described(session: Session, *, account_id: int, name: str, intro: str, but: int | None = None) -> dict[str, str]:
    """Name and introduction as they are stored; raises `Invalid`, also where another community has the name."""
    values = {
        "name": clean(name, name=Phrase("社区名称"), field="community", longest=NAME_MAX, is_required=True),
        "intro": clean(intro, name=Phrase("介绍"), field="intro", longest=500, lines=True),
    }
    refuse_bad_wording(values["name"], field="community")
    refuse_bad_wording(values["intro"], field="intro")
    namesake = session.scalar(
        select(Community.id).where(Community.account_id == account_id, Community.name == values["name"])
    )
    if namesake not in (None, but):
        raise Invalid(SAME_NAME, field="community")
    return values


def name_account(session: Session, *, account_id: int, name: str) -> None:
    """What pages and replies call the account."""
    cleaned = clean(name, name=Phrase("名称"), field="account_name", longest=NAME_MAX, is_required=True)
    refuse_bad_wording(cleaned, field="account_name")
    session.execute(update(OfficialAccount).where(OfficialAccount.id == account_id).values(name=cleaned))


def list_communities(session: Session, *, account_id: int) -> list[Community]:
    """All communities of the account, oldest first."""
    statement = select(Community).where(Community.account_id == account_id).order_by(Community.id)
    return list(session.scalars(statement))


def add(
    session: Session,
    *,
    account_id: int,
    community_id: int,
    name: str,
    now: datetime,
    kind: str = "",
    contact_name: str = "",
    phone: str = "",
) -> Merchant:
    """Admit a merchant; names are unique within a community."""
    fields = {
        "name": clean(name, name=Phrase("商户名称"), field="name", longest=NAME_MAX, is_required=True),
        "kind": clean(kind, name=Phrase("行业"), field="kind", longest=20),
        "contact_name": clean(contact_name, name=Phrase("联系人"), field="contact_name", longest=20),
        "phone": phone_number(phone, field="phone"),
    }
    refuse_bad_wording(fields["name"], field="name")
    # The community's row lock puts two admissions of one name in order.
    community = select(Community.id).where(Community.account_id == account_id, Community.id == community_id)
    if session.scalar(community.with_for_update()) is None:
        raise Invalid("没有这个社区。", field="community")
    if session.scalar(select(Merchant.id).filter_by(community_id=community_id, name=fields["name"])) is not None:
        raise MerchantExists
    merchant = Merchant(account_id=account_id, community_id=community_id, created_at=now, **fields)
    session.add(merchant)
    session.flush()
    session.refresh(merchant)
    return merchant


def find(session: Session, *, account_id: int, wanted: str) -> Merchant:
    """The merchant a person means: an id, or a name that only one merchant has."""
    mine = select(Merchant).where(Merchant.account_id == account_id)
    if wanted.isascii() and wanted.isdecimal() and int(wanted) <= LARGEST_ID:
        merchant = session.scalar(mine.where(Merchant.id == int(wanted)))
        if merchant is not None:
            return merchant
    named = session.scalars(mine.where(Merchant.name == wanted.strip()).limit(2)).all()
    if len(named) > 1:
        raise Invalid("有好几个商户叫这个名字，请用编号。", field="merchant")
    if not named:
        raise NotFound("没有这个商户。")
    return named[0]


def require_active(session: Session, merchant_id: int) -> Merchant:
    """The merchant, kept from being suspended until this transaction ends.

    Raises `NotFound` for one that is missing or somebody else's, `MerchantSuspended` for one that may not act.
    """
    merchant = session.get(Merchant, merchant_id, with_for_update={"read": True})
    if merchant is None:
        raise NotFound("没有这个商户。")
    if merchant.state != MerchantState.ACTIVE:
        raise MerchantSuspended
    return merchant


@dataclass(frozen=True)
class MerchantPage:
    """Some merchants, newest first; `before` asks for the next page, None on the last one."""

    merchants: list[Merchant]
    before: int | None


def list_merchants(
    session: Session,
    *,
    account_id: int,
    search: str = "",
    state: MerchantState | None = None,
    community_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> MerchantPage:
    """One page of the merchants whose name, kind, contact or phone holds `search`."""
    statement = select(Merchant).where(Merchant.account_id == account_id)
    if words := search.strip():
        columns = (Merchant.name, Merchant.kind, Merchant.contact_name, Merchant.phone)
        found = [column.icontains(words, autoescape=True) for column in columns]
        statement = statement.where(found[0] | found[1] | found[2] | found[3])
    if state is not None:
        statement = statement.where(Merchant.state == state)
    if community_id is not None:
        statement = statement.where(Merchant.community_id == community_id)
    if before is not None:
        statement = statement.where(Merchant.id < before)
    rows = list(session.scalars(statement.order_by(Merchant.id.desc()).limit(limit + 1)))
    return MerchantPage(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def names_of(session: Session, merchant_ids: Collection[int | None]) -> dict[int, str]:
    """What merchants are called, by id: those of them that the session may see."""
    rows = session.execute(select(Merchant.id, Merchant.name).where(Merchant.id.in_(merchant_ids)))
    return {row[0]: row[1] for row in rows}


def count_merchants(session: Session, *, account_id: int) -> int:
    statement = select(func.count()).select_from(Merchant).where(Merchant.account_id == account_id)
    return session.execute(statement).scalar_one()


def set_state(session: Session, *, merchant_id: int, state: MerchantState) -> bool:
    """Suspend or readmit; False when the merchant was in that state already. Suspending signs its people out.

    What suspending means for the merchant's codes is the business of `qrcodes.codes.suspend_merchant`.
    """
    statement = update(Merchant).where(Merchant.id == merchant_id, Merchant.state != state).values(state=state)
    if rows_changed(session.execute(statement)):
        if state == MerchantState.SUSPENDED:
            staff.end_sessions_of_merchant(session, merchant_id=merchant_id)
        return True
    if session.get(Merchant, merchant_id) is None:
        raise NotFound("没有这个商户。")
    return False
