"""What an invitation may say: stricter than any other words of a merchant, because the occasion is a tempting one.

Nothing is given for following or for passing a card on, so a card's words do not speak of either at all (RF-8).
"""

import re
from typing import Final

from sqlalchemy.orm import Session

from core.errors import Invalid, Phrase
from merchants import sensitive_words
from merchants.wording import clean, comparable, refuse_bad_wording

LONGEST: Final = 60

_ADVICE: Final = Phrase("微信禁止用好处换关注、转发或拉人，邀请卡上请只写店里有什么、会员到店有什么。")
_NEVER: Final = re.compile(
    r"关注|关註|加粉|转发|分享|转给|朋友圈|发到群|发群|集赞|点赞|助力|砍价|砍一刀|拼团|裂变"
    r"|拉人|拉新|人头|下线|上线|代理|分销|团队|提成|佣金|返利|返现|入会费|会费|加盟|躺赚"
    r"|follow|share|forward|repost|moments",
    re.IGNORECASE,
)


def checked(session: Session, words: str, *, field: str = "words") -> str:
    """The words as they are kept; raises `Invalid`."""
    text = clean(words, name=Phrase("卡上的话"), field=field, longest=LONGEST)
    refuse_bad_wording(text, field=field, listed=sensitive_words.listed(session))
    if (found := _NEVER.search(comparable(text))) is not None:
        raise Invalid(Phrase("“%(words)s”不能写：%(advice)s"), field=field, words=found[0], advice=_ADVICE)
    return text
