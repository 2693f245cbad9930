"""What states, kinds and failures are called in front of operators."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from merchants.models import EpisodeSource, FollowStatus, MerchantState
from merchants.reviews import ReviewState
from qrcodes import attribution
from qrcodes.counted import AlarmKind
from qrcodes.models import AttributionKind, CodeState, WelcomeVariant
from qrcodes.standing import Verdict
from web.words import CODE_KINDS
from wechat.errors import Misconfigured, OutcomeUnknown, QuotaSpent, TokenRejected, WaitAMinute, WeChatError

EVENT_KINDS: dict[str, Any] = {
    "subscribe": _l("关注"),
    "scan": _l("扫码"),
    "unsubscribe": _l("取消关注"),
    "confirmed": _l("核对：仍在关注"),
    "text": _l("发来文字"),
    "image": _l("发来图片"),
    "voice": _l("发来语音"),
    "video": _l("发来视频"),
    "shortvideo": _l("发来小视频"),
    "location": _l("发来位置"),
    "link": _l("发来链接"),
    "unknown_message": _l("发来其他消息"),
    "click": _l("点了菜单"),
    "view": _l("从菜单打开网页"),
    "view_miniprogram": _l("从菜单打开小程序"),
    "menu_scan": _l("从菜单扫码"),
    "menu_photos": _l("从菜单发图"),
    "menu_location": _l("从菜单发位置"),
    "location_report": _l("上报位置"),
    "mass_send_finished": _l("群发结果"),
    "template_send_finished": _l("模板消息结果"),
    "publish_finished": _l("发布结果"),
    "subscription_answered": _l("订阅通知选择"),
    "subscription_changed": _l("订阅通知变更"),
    "subscription_sent": _l("订阅通知结果"),
    "session_opened": _l("客服接入"),
    "session_closed": _l("客服结束"),
    "session_switched": _l("客服转接"),
    "user_info_modified": _l("资料变更"),
    "authorization_revoked": _l("撤回授权"),
    "authorization_cancelled": _l("取消授权"),
    "account_notice": _l("公众号通知"),
    "unknown_event": _l("其他事件"),
}
EVENT_SOURCES: dict[str, Any] = {
    EpisodeSource.EVENT: _l("微信推送"),
    EpisodeSource.RECONCILE: _l("对账补记"),
    EpisodeSource.IMPLIED: _l("推断"),
    EpisodeSource.PRE_EXISTING: _l("上线前已有"),
}
DEAD_LETTER_REASONS: dict[str, Any] = {
    "not UTF-8": _l("文字编码不对"),
    "not well-formed": _l("XML 不完整"),
    "a document type": _l("XML 里有不该有的声明"),
    "an element has attributes": _l("XML 里有不该有的属性"),
    "an element inside a value": _l("XML 结构不对"),
    "an element comes twice": _l("同一项出现了两次"),
    "too deep or too many elements": _l("XML 太复杂"),
    "too many fields": _l("字段太多"),
    "text between elements": _l("XML 结构不对"),
    "the root is not <xml>": _l("不是微信的格式"),
    "the envelope is not complete": _l("缺少发件人、时间等必填项"),
    "for another account": _l("发给别的公众号的"),
    "MsgType is not a name": _l("消息类型不对"),
    "Event is not a name": _l("事件类型不对"),
    "FromUserName is not an openid": _l("发件人不对"),
    "not an openid": _l("发件人不对"),
    "CreateTime is not a time": _l("时间不对"),
    "CreateTime is too far from now": _l("时间与现在差得太远"),
    "an id is not a number of 64 bits": _l("编号不对"),
    "a place that is not on earth": _l("位置不对"),
}
TASK_KINDS: dict[str, Any] = {
    "create_code": _l("生成二维码"),
    "hand_over": _l("移交二维码"),
    "upload_picture": _l("上传图片"),
    "erase_follower": _l("删除个人资料"),
    "give_birthday_coupons": _l("送生日券"),
    "check_follower": _l("核对是否关注"),
    "forget_old": _l("清理到期内容"),
    "send_follow_up": _l("发送后续消息"),
    "send_notice": _l("发送员工通知"),
    "send_answers": _l("发送商户的回复"),
    "fetch_talk_media": _l("取客人发来的图片和语音"),
    "bind_referral": _l("登记谁介绍来的"),
    "make_invite_code": _l("生成邀请卡的码"),
    "send_hello": _l("发送等下次来访的群发"),
    "create_staff_link": _l("生成登录或绑定用的码"),
    "reconcile": _l("与微信对账"),
    "long_job": _l("批量任务"),
    "count_traffic": _l("统计积压的流量"),
    "count_standings": _l("名次"),
    "freeze_broadcast": _l("准备群发名单"),
    "preview_broadcast": _l("试发群发"),
    "ask_mass_quota": _l("查询当天的群发次数"),
    "prove_ledgers": _l("核对账本"),
    "look_at_menu": _l("看公众号的菜单"),
}
TASK_ERRORS: dict[str, Any] = {
    "later": _l("微信让我们过会儿再试"),
    "WaitAMinute": _l("微信太忙或连不上，稍后再试"),
    "QuotaSpent": _l("微信的当日额度用完了"),
    "Misconfigured": _l("公众号的设置或权限不对，请到“账号体检”查看"),
    "TokenRejected": _l("微信不认我们的凭证，请到“账号体检”查看"),
    "RecipientRefused": _l("对方收不到消息"),
    "BadRequest": _l("微信说请求不对"),
    "OutcomeUnknown": _l("没等到微信的答复，不知道成没成"),
    "Refused": _l("微信拒绝了"),
    "OperationalError": _l("当时数据库不可用"),
    "KeyError": _l("没有程序会做这件事"),
}
TASK_STATES: dict[str, Any] = {"pending": _l("待办"), "dead": _l("放弃了"), "done": _l("已完成")}
QUEUES: dict[str, Any] = {"default": _l("普通"), "messages": _l("消息"), "slow": _l("费时的"), "broadcasts": _l("群发")}
CODE_STATES: dict[str, Any] = {
    CodeState.PLANNED: _l("生成中"),
    CodeState.ACTIVE: _l("使用中"),
    CodeState.RETIRED: _l("已作废"),
}
MERCHANT_STATES: dict[str, Any] = {MerchantState.ACTIVE: _l("营业中"), MerchantState.SUSPENDED: _l("已停用")}
FOLLOW_STATES: dict[str, Any] = {
    FollowStatus.FOLLOWING: _l("关注中"),
    FollowStatus.GONE: _l("已取关"),
    FollowStatus.UNKNOWN: _l("还不清楚"),
    FollowStatus.AMBIGUOUS: _l("等微信核对"),
}
ATTRIBUTION_KINDS: dict[str, Any] = {
    AttributionKind.NEW: _l("新关注"),
    AttributionKind.RETURNING: _l("回归"),
    AttributionKind.PRE_EXISTING: _l("上线前已有"),
    AttributionKind.VOID: _l("作废"),
}
RULES: dict[str, Any] = {
    attribution.FIRST_FOLLOW: _l("第一次关注：归让他关注的那个码"),
    attribution.FORMER_MERCHANT: _l("取关后，在保护期内又关注：仍归原来的商户"),
    attribution.AFTER_PROTECTION: _l("再次关注，保护期已过：归这次扫的码"),
    attribution.PRE_EXISTING: _l("上线前就关注了：不归任何商户"),
    attribution.IMPLIED: _l("从消息推断出已关注，等微信核对：不归任何商户"),
    attribution.VOID: _l("后来知道这段关注属于另一段，作废"),
}
VARIANTS: dict[str, Any] = {
    WelcomeVariant.FIRST: _l("第一次关注"),
    WelcomeVariant.BACK: _l("回来的老朋友"),
    WelcomeVariant.ALREADY: _l("已关注的人再扫"),
}
REVIEWS: dict[str, Any] = {
    ReviewState.PENDING: _l("待审批"),
    ReviewState.APPROVED: _l("已通过"),
    ReviewState.REJECTED: _l("已驳回"),
    ReviewState.WITHDRAWN: _l("已撤回"),
}
ALARMS: dict[str, Any] = {
    AlarmKind.SILENT: _l("没人扫了"),
    AlarmKind.DROP: _l("突然变少"),
    AlarmKind.SPIKE: _l("突然变多"),
}
ACTORS: dict[str, Any] = {
    "operator": _l("运营人员"),
    "merchant": _l("商户"),
    "follower": _l("业主"),
    "system": _l("系统"),
}
FOREIGN_LABELS: dict[str, Any] = {
    "everybody": _l("发给了所有人"),
    "some": _l("只发给一部分人"),
    "not_counted": _l("不算名额"),
}
QUOTA_SORTS: dict[str, Any] = {
    "used": _l("用得最多"),
    "left": _l("剩得最多"),
    "share": _l("份额最大"),
    "calls": _l("今天次数最多"),
}
ACTIONS: dict[str, Any] = {
    "invitation accepted": _l("接受邀请"),
    "signed in": _l("登录"),
    "session ended": _l("退出一处登录"),
    "sign_in.refused": _l("扫码登录数字不对，已取消"),
    "wechat.bind": _l("绑定微信"),
    "wechat.unbind": _l("解除微信绑定"),
    "wechat.bind_refused": _l("绑定核对码不对，已作废"),
    "second_factor.on": _l("打开两步验证"),
    "second_factor.off": _l("关闭两步验证"),
    "second_factor.recovery_used": _l("用了一个恢复码"),
    "password changed": _l("修改密码"),
    "staff.invite": _l("邀请人员"),
    "staff.disable": _l("停用人员"),
    "merchant.add": _l("登记商户"),
    "merchant.suspend": _l("停用商户"),
    "merchant.resume": _l("恢复商户"),
    "code.add": _l("新建二维码"),
    "code.add_batch": _l("批量新建二维码"),
    "code.adopt": _l("接管旧码"),
    "code.retire": _l("作废二维码"),
    "code.edit": _l("修改二维码"),
    "code.try": _l("试扫二维码"),
    "code.hand_over": _l("移交二维码"),
    "handover.offer": _l("提出移交二维码"),
    "handover.accept": _l("接收移交的二维码"),
    "handover.decline": _l("谢绝移交的二维码"),
    "handover.withdraw": _l("撤回移交"),
    "code.edit_many": _l("批量修改二维码"),
    "code.retire_many": _l("批量作废二维码"),
    "welcome.save": _l("修改欢迎语"),
    "welcome.withdraw": _l("撤回欢迎语"),
    "welcome.approve": _l("通过欢迎语"),
    "welcome.reject": _l("驳回欢迎语"),
    "reply_rule.create": _l("新建自动回复"),
    "reply_rule.change": _l("修改自动回复"),
    "reply_rule.copy": _l("复制自动回复"),
    "reply_rule.switch": _l("启用或停用自动回复"),
    "reply_rule.order": _l("调整自动回复的优先级"),
    "reply_rule.delete": _l("删除自动回复"),
    "reply_rule.restore": _l("恢复自动回复"),
    "reply_rule.withdraw": _l("撤回自动回复"),
    "reply_rule.import": _l("导入自动回复"),
    "reply_rule.export": _l("导出自动回复"),
    "reply_rule.approve": _l("通过自动回复"),
    "reply_rule.reject": _l("驳回自动回复"),
    "broadcast.submit": _l("提交群发"),
    "broadcast.withdraw": _l("撤回群发"),
    "broadcast.cancel": _l("取消群发"),
    "broadcast.test": _l("试发群发给员工"),
    "broadcast.approve": _l("通过群发"),
    "broadcast.return": _l("退回群发"),
    "broadcast.export": _l("导出群发的审批依据"),
    "rule.replay": _l("试算归属规则"),
    "rule.adopt": _l("采用归属规则"),
    "rule.withdraw": _l("撤回归属规则"),
    "rank.policy": _l("修改名次公式"),
    "quota.policy": _l("修改群发额度的分法"),
    "ledgers.prove": _l("核对账本"),
    "points.adjusted": _l("手工调整积分"),
    "points.adjust_asked": _l("申请手工调整积分"),
    "points.adjust_approved": _l("确认手工调整积分"),
    "points.adjust_refused": _l("不同意手工调整积分"),
    "points.adjust_limit": _l("修改手工调整积分的限额"),
    "sending.paused": _l("暂停全部群发"),
    "sending.resumed": _l("恢复全部群发"),
    "mass_report.labelled": _l("标注外部群发"),
    "menu.save": _l("保存菜单草稿"),
    "menu.publish": _l("发布菜单"),
    "menu.again": _l("改回以前的菜单"),
    "menu.look": _l("查看公众号上的菜单"),
    "menu.adopt": _l("采用公众号上的菜单"),
    "menu.delete": _l("删除公众号的菜单"),
    "word.add": _l("添加敏感词"),
    "word.remove": _l("删除敏感词"),
    "follower.erase": _l("删除个人资料"),
    "coupon.approve": _l("通过优惠券"),
    "coupon.reject": _l("驳回优惠券"),
    "coupon.pause": _l("暂停优惠券"),
    "coupon.resume": _l("接着发优惠券"),
    "coupon.end": _l("结束优惠券"),
    "coupon.stock": _l("改优惠券的张数和预算"),
    "visit.undo": _l("撤销到店"),
    "benefit.block": _l("停领"),
    "benefit.unblock": _l("恢复领券"),
    "referral.release": _l("放行邀请奖励"),
    "referral.refuse": _l("拒绝邀请奖励"),
    "referral.rules": _l("改邀请规则"),
    "referral.words": _l("改邀请卡上的话"),
    "coupon.submit": _l("提交优惠券"),
    "coupon.tranches": _l("改优惠券的分批"),
    "coupon.keyword": _l("改优惠券的口令"),
    "coupon.stop": _l("停发优惠券"),
    "coupon.give": _l("手工送券"),
    "coupon.revoke": _l("收回一张券"),
    "coupon.export": _l("下载优惠券统计"),
    "redemption.undo": _l("撤销核销"),
    "redemption.export": _l("下载核销记录"),
    "alliance.ask": _l("请邻店收券"),
    "alliance.agree": _l("同意收邻店的券"),
    "alliance.end": _l("不再收券"),
    "alliance.export": _l("下载联盟对账单"),
    "points.rule": _l("改积分规则"),
    "points.levels": _l("改会员等级"),
    "points.offer": _l("改积分兑换"),
    "directory.category": _l("改便民电话的分类"),
    "directory.entry": _l("写便民电话"),
    "directory.move": _l("调整便民电话的次序"),
    "directory.on": _l("启用便民电话"),
    "directory.off": _l("停用便民电话"),
    "directory.remove": _l("删除便民电话"),
    "directory.import": _l("导入便民电话"),
    "notice.write": _l("写公告"),
    "notice.publish": _l("贴出公告"),
    "notice.withdraw": _l("撤下公告"),
    "notice.pin": _l("置顶公告"),
    "notice.unpin": _l("取消置顶公告"),
    "notice.remove": _l("删除公告草稿"),
    "building.add": _l("添加楼栋"),
    "building.rename": _l("给楼栋改名"),
    "building.remove": _l("删除楼栋"),
    "merchant.place": _l("改商户的位置"),
    "task.revive": _l("重新执行任务"),
    "health.check": _l("账号体检"),
    "account.rename": _l("修改公众号名称"),
    "community.add": _l("新增社区"),
    "community.edit": _l("修改社区"),
    "export": _l("导出表格"),
    "job.cancel": _l("停下任务"),
    "reconcile.stopped": _l("对账停下等人处理"),
    "owner.no_identity": _l("微信给出的身份不可用（没有放行）"),
    "event.reused_id": _l("消息编号重复，内容不同（未采用）"),
    "picture.add": _l("上传图片"),
    "card.edit": _l("修改名片"),
    "card.approve": _l("通过名片"),
    "card.reject": _l("驳回名片"),
    "posters.look": _l("修改海报的样子"),
    "desk.save": _l("修改接待设置"),
    "desk.words": _l("送审接待时说的话"),
    "desk_words.approve": _l("通过接待时说的话"),
    "desk_words.reject": _l("驳回接待时说的话"),
    "canned_reply.add": _l("添加常用语"),
    "canned_reply.edit": _l("修改常用语"),
    "canned_reply.move": _l("调整常用语的次序"),
    "canned_reply.remove": _l("删除常用语"),
    "talk.cancel": _l("取消等待发出的回复"),
    "talk.assign": _l("转交聊天"),
    "talk.close": _l("结束接待"),
    "talk.reopen": _l("重新打开聊天"),
    "slogan.approve": _l("通过口号"),
    "slogan.reject": _l("驳回口号"),
    "broadcast.pause": _l("暂停群发"),
    "broadcast.resume": _l("继续群发"),
    "broadcast.still_wanted": _l("过了时间的群发仍要发"),
    "broadcast.ask": _l("核对结果未知的一批"),
    "digest.add": _l("新建合集"),
    "digest.approve": _l("确认合集"),
    "digest.still_wanted": _l("合集照发"),
    "digest.cancel": _l("取消合集"),
    "demo.begun": _l("开始准备演示社区"),
    "demo.settled": _l("演示社区的老住户已住下"),
    "demo.done": _l("演示社区准备好了"),
}
VERDICTS: dict[str, Any] = {
    Verdict.COUNTED: _l("新来并留下"),
    Verdict.BY_STAFF: _l("员工和试扫"),
    Verdict.LEFT_SOON: _l("一天内就走"),
    Verdict.IN_BURST: _l("一下来太多"),
}
TABLES: dict[str, dict[str, Any]] = {
    "event": EVENT_KINDS,
    "source": EVENT_SOURCES,
    "dead_letter": DEAD_LETTER_REASONS,
    "task": TASK_KINDS,
    "task_error": TASK_ERRORS,
    "task_state": TASK_STATES,
    "queue": QUEUES,
    "code_kind": CODE_KINDS,
    "code_state": CODE_STATES,
    "merchant_state": MERCHANT_STATES,
    "follow_state": FOLLOW_STATES,
    "attribution": ATTRIBUTION_KINDS,
    "rule": RULES,
    "variant": VARIANTS,
    "review": REVIEWS,
    "actor": ACTORS,
    "alarm": ALARMS,
    "action": ACTIONS,
    "foreign_label": FOREIGN_LABELS,
    "quota_sort": QUOTA_SORTS,
    "verdict": VERDICTS,
}


def register(app: Flask) -> None:
    """Make the words known to templates: {{ row.kind | word("event") }}."""
    app.add_template_filter(word)


def word(value: str | None, table: str) -> str:
    """What a value is called; one without a name is shown as it is."""
    return str(TABLES[table].get(value or "", value or ""))


def weekdays() -> list[str]:
    """Monday first."""
    return [
        gettext("周一"),
        gettext("周二"),
        gettext("周三"),
        gettext("周四"),
        gettext("周五"),
        gettext("周六"),
        gettext("周日"),
    ]


_NOT_LISTED = _l("服务器的 IP 不在白名单里。请到公众平台“设置与开发 → 基本配置”里加上。")
_NO_RIGHT = _l("公众号没有这个接口的权限，请确认是已认证的服务号。")
_WRONG_SECRET = _l("AppSecret 不对或已重置，请核对设置 WECHAT_APP_SECRET。")
ADVICE_BY_CODE: dict[int, Any] = {
    **dict.fromkeys((40164, 61004, 89503, 89506, 89507), _NOT_LISTED),
    **dict.fromkeys((48001, 48004, 48008), _NO_RIGHT),
    **dict.fromkeys((40001, 40125), _WRONG_SECRET),
    40013: _l("AppID 不对，请核对设置 WECHAT_APP_ID。"),
    40243: _l("AppSecret 被冻结了，请到公众平台解冻。"),
    50002: _l("公众号被限制了，请到公众平台查看通知。"),
}
ADVICE_BY_KIND: dict[type[WeChatError], Any] = {
    WaitAMinute: _l("连不上微信，或者微信太忙。请检查服务器能不能上网，过一分钟再试。"),
    QuotaSpent: _l("今天的调用次数用完了，明天会恢复。"),
    TokenRejected: _l("微信不认我们的凭证。是不是还有别的系统在用同一个公众号？"),
    Misconfigured: _l("公众号的设置不对，请核对 AppID、AppSecret 和 IP 白名单。"),
    OutcomeUnknown: _l("微信没有给出看得懂的答复，过一分钟再试。"),
}


def advice_for(error: WeChatError) -> str:
    """What an operator can do about a refusal of the platform."""
    advice = ADVICE_BY_CODE.get(error.errcode or 0) or ADVICE_BY_KIND.get(type(error))
    return str(advice or gettext("微信拒绝了，代码 %(code)s。", code=error.errcode or "—"))
