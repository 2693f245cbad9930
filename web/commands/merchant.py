"""`quanma merchant …` and `quanma operator …`: who is admitted, and their one-time sign-in links."""

import click

from core import audit
from core.database import Role
from merchants import merchants, staff
from merchants.models import StaffRole
from web.commands.desk import Answer, answers, open_runtime

MOST_LISTED = 10_000


def in_words_link(answer: Answer) -> str:
    return f"一次性登录链接（72 小时内有效，只能用一次）：\n{answer['url']}"


@click.group()
def merchant() -> None:
    """商户：登记、查看、邀请登录。"""


@merchant.command("add")
@click.argument("name")
@click.option("--kind", default="", help="行业，例如：早餐。")
@click.option("--contact", default="", help="联系人。")
@click.option("--phone", default="", help="联系电话。")
@click.option("--community", default="", help="社区名称，没有就新建；不填为第一个社区。")
@answers(lambda answer: f"已登记商户 {answer['name']}，编号 {answer['id']}。")
def add(name: str, kind: str, contact: str, phone: str, community: str) -> Answer:
    """登记一个商户。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        admitted = merchants.add(
            session,
            account_id=account_id,
            community_id=merchants.ensure_community(session, account_id=account_id, name=community),
            name=name,
            kind=kind,
            contact_name=contact,
            phone=phone,
            now=runtime.now(),
        )
        audit.record(
            session,
            actor_kind="operator",
            action="merchant.add",
            subject=f"merchant:{admitted.id}",
            merchant_id=admitted.id,
        )
        return {"id": str(admitted.id), "name": admitted.name}


@merchant.command("list")
@click.option("--search", default="", help="只列出名称、行业、联系人或电话里有这些字的。")
@answers(
    lambda answer: (
        "\n".join(f"{row['id']}\t{row['name']}\t{row['community']}\t{row['state']}" for row in answer["merchants"])
        or "还没有商户。"
    )
)
def list_(search: str) -> Answer:
    """列出商户，新登记的在前。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        communities = {
            community.id: community.name for community in merchants.list_communities(session, account_id=account_id)
        }
        page = merchants.list_merchants(session, account_id=account_id, search=search, limit=MOST_LISTED)
        return {
            "merchants": [
                {
                    "id": str(row.id),
                    "name": row.name,
                    "kind": row.kind,
                    "community": communities[row.community_id],
                    "state": row.state,
                }
                for row in page.merchants
            ]
        }


@merchant.command("invite")
@click.argument("merchant_")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([StaffRole.OWNER.value, StaffRole.CLERK.value]), default=StaffRole.OWNER.value
)
@answers(in_words_link)
def invite(merchant_: str, name: str, role: str) -> Answer:
    """给商户的人（NAME）一个一次性登录链接；MERCHANT 是编号或名称。"""
    from web.auth.pages import invitation_url

    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        merchant_id = merchants.find(session, account_id=account_id, wanted=merchant_).id
        merchants.require_active(session, merchant_id)
        token = staff.invite(session, name=name, role=StaffRole(role), merchant_id=merchant_id, now=runtime.now())
        audit.record(
            session,
            actor_kind="operator",
            action="staff.invite",
            subject=f"merchant:{merchant_id}",
            merchant_id=merchant_id,
            detail={"role": role},
        )
        return {"url": invitation_url(runtime.settings, token)}


@click.group()
def operator() -> None:
    """运营者：邀请登录。"""


@operator.command("invite")
@click.argument("name")
@answers(in_words_link)
def invite_operator(name: str) -> Answer:
    """给一位运营者（NAME）一个一次性登录链接。"""
    from web.auth.pages import invitation_url

    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        merchants.ensure_account(session, runtime.settings)
        token = staff.invite(session, name=name, role=StaffRole.OPERATOR, now=runtime.now())
        audit.record(session, actor_kind="operator", action="staff.invite", detail={"role": StaffRole.OPERATOR})
        return {"url": invitation_url(runtime.settings, token)}
