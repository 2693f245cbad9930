"""The menus of the staff pages: what is in them, and which entry the current page belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, g, request
from flask_babel import gettext as _

from bot.rules import reading as rules
from bot.talks import desk
from bot.talks.reading import waiting
from campaigns.broadcasts import approval
from campaigns.broadcasts.usage import foreign_unlabelled
from campaigns.coupons import templates
from campaigns.points import adjustments, proof
from campaigns.referrals import review
from merchants import cards
from qrcodes import welcomes
from qrcodes.posters import slogans
from web.auth.access import shop_name


@dataclass(frozen=True)
class Entry:
    """One line of a menu."""

    label: str
    icon: str
    path: str
    waiting: int = 0
    """How much there is to decide; shown beside the label."""
    also: tuple[str, ...] = ()
    """Rooms that belong to it, too."""

    @property
    def is_current(self) -> bool:
        """The page is this entry's, or lies below it; the first page of a room only stands for itself."""
        if self.path == "/operator/":
            return request.path == self.path or request.path.startswith("/operator/traffic/")
        if self.path == "/merchant/":
            return request.path == self.path
        return any(request.path == path or request.path.startswith(f"{path}/") for path in (self.path, *self.also))


@dataclass(frozen=True)
class Group:
    """Entries under one small heading."""

    label: str
    entries: tuple[Entry, ...]


def register(app: Flask) -> None:
    """Make the menus known to the layouts."""
    app.add_template_global(operator_menu)
    app.add_template_global(merchant_menu)
    app.add_template_global(benefits_waiting)
    app.add_template_global(shop_name)


def operator_menu() -> tuple[Group, ...]:
    """Everything an operator can open."""
    return (
        Group(
            "",
            (
                Entry(_("总览与流量"), "chart-line", "/operator/"),
                Entry(_("商户"), "building-store", "/operator/merchants"),
                Entry(_("二维码"), "qrcode", "/operator/codes"),
                Entry(_("任务与下载"), "list-check", "/operator/jobs"),
                Entry(_("审批"), "clipboard-check", "/operator/approvals", waiting_approvals()),
                Entry(_("所有群发"), "send", "/operator/broadcasts/all"),
                Entry(_("合集"), "file-text", "/operator/digests"),
                Entry(_("优惠与积分"), "ticket", "/operator/benefits", benefits_waiting().all),
            ),
        ),
        Group(
            _("社区"),
            (
                Entry(_("便民电话"), "phone", "/operator/directory"),
                Entry(_("公告"), "note", "/operator/notices"),
            ),
        ),
        Group(
            _("来往"),
            (
                Entry(_("最新事件"), "activity", "/operator/events"),
                Entry(_("自动回复"), "message-circle", "/operator/reply-rules"),
                Entry(_("粉丝归属"), "users", "/operator/followers"),
                Entry(_("对话观察"), "chart-bar", "/operator/conversation"),
                Entry(_("公众号菜单"), "device-mobile", "/operator/menu"),
                Entry(_("未识别扫码"), "help-circle", "/operator/unmatched"),
                Entry(_("死信与发件箱"), "mailbox", "/operator/queues"),
            ),
        ),
        Group(
            _("平台"),
            (
                Entry(_("额度"), "calendar-stats", "/operator/quota", foreign_sends()),
                Entry(_("账号体检"), "stethoscope", "/operator/health"),
                Entry(_("审计日志"), "history", "/operator/audit"),
                Entry(_("归属规则"), "shield-check", "/operator/rules"),
                Entry(_("用语规则"), "ban", "/operator/wording"),
                Entry(_("运营人员"), "key", "/operator/team"),
                Entry(_("设置"), "settings", "/operator/settings"),
            ),
        ),
    )


def waiting_approvals() -> int:
    """How many of the merchants' texts wait for an operator; asked once a request."""
    if "waiting_approvals" not in g:
        g.waiting_approvals = sum(
            kind.count_waiting(g.session) for kind in (welcomes, cards, slogans, approval, templates, rules, desk)
        )
    return int(g.waiting_approvals)


@dataclass(frozen=True)
class Benefits:
    """What about coupons and points waits for an operator."""

    adjustments: int = 0
    """Points by hand that want a second person."""
    rewards: int = 0
    """Rewards of referrals that are held."""
    is_wrong: bool = False
    """The last proof of the ledgers found something."""

    @property
    def ledgers(self) -> int:
        return self.adjustments + self.is_wrong

    @property
    def all(self) -> int:
        return self.ledgers + self.rewards


def benefits_waiting() -> Benefits:
    """Asked once a request."""
    if "benefits_waiting" not in g:
        latest = proof.latest(g.session)
        g.benefits_waiting = Benefits(
            adjustments.count_waiting(g.session),
            review.count_held(g.session),
            latest is not None and not proof.is_right(latest),
        )
    waiting: Benefits = g.benefits_waiting
    return waiting


def foreign_sends() -> int:
    """How many mass sends that were not ours wait for a label; asked once a request."""
    if "foreign_sends" not in g:
        g.foreign_sends = foreign_unlabelled(g.session)
    return int(g.foreign_sends)


def waiting_customers() -> int:
    """How many customers wait for somebody of the merchant's to answer; asked once a request."""
    if "waiting_customers" not in g:
        g.waiting_customers = waiting(g.session, merchant_id=g.staff.merchant_id)
    return int(g.waiting_customers)


def merchant_menu() -> tuple[Entry, ...]:
    """The seven tabs of a merchant; what the account says for it belongs to its talks."""
    return (
        Entry(_("今日"), "home", "/merchant/"),
        Entry(
            _("消息"),
            "message-circle",
            "/merchant/talks",
            waiting_customers(),
            also=("/merchant/welcome", "/merchant/rules"),
        ),
        Entry(_("二维码"), "qrcode", "/merchant/codes"),
        Entry(
            _("会员"),
            "ticket",
            "/merchant/coupons",
            also=(
                "/merchant/points",
                "/merchant/redemptions",
                "/merchant/alliance",
                "/merchant/till",
                "/merchant/referrals",
            ),
        ),
        Entry(_("粉丝"), "users", "/merchant/fans"),
        Entry(_("群发"), "send", "/merchant/broadcasts"),
        Entry(_("我的"), "user", "/merchant/me"),
    )
