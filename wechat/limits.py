"""Windows, quotas and lengths of the platform, as data. When Tencent changes a rule, this file changes."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final


class WindowTrigger(StrEnum):
    """What a person does that lets us write to them."""

    MESSAGE = "message"
    MENU_CLICK = "menu_click"
    FOLLOW = "follow"
    SCAN = "scan"


@dataclass(frozen=True)
class WindowRule:
    """How many customer-service messages one trigger allows, and for how long."""

    messages: int
    lasts: timedelta


# Of the menu, only click, scancode_push and scancode_waitmsg open a window, and so does an item of a menu message.
# A payment opens one according to some pages only, so nothing here counts on it.
WINDOWS: Final[dict[WindowTrigger, WindowRule]] = {
    WindowTrigger.MESSAGE: WindowRule(messages=5, lasts=timedelta(hours=48)),
    WindowTrigger.MENU_CLICK: WindowRule(messages=3, lasts=timedelta(minutes=1)),
    WindowTrigger.FOLLOW: WindowRule(messages=3, lasts=timedelta(minutes=1)),
    WindowTrigger.SCAN: WindowRule(messages=3, lasts=timedelta(minutes=1)),
}

# Sub-QR codes
PERMANENT_CODES: Final = 100_000
CODES_PER_DAY: Final = 100_000
SCENE_PATTERN: Final = r"[A-Za-z0-9_-]{1,64}"
TEMPORARY_CODE_MIN: Final = timedelta(seconds=60)
TEMPORARY_CODE_MAX: Final = timedelta(days=30)

# Followers
USERS_PER_BATCH: Final = 100

# Messages
TEXT_MAX_BYTES: Final = 2_048

# Mass sends
OPENIDS_PER_MASS_SEND: Final = (2, 10_000)
MASS_SENDS_PER_DAY: Final = 100
"""An account may have another number: `WeChatClient.quota` tells."""
MASS_SENDS_PER_MINUTE: Final = 60
MASS_PER_FOLLOWER_MONTH: Final = 4
"""Of the account as a whole, console included, in a Beijing month; beyond, the platform leaves the follower out."""
MASS_PREVIEWS_PER_DAY: Final = 100
CLIENTMSGID_MAX: Final = 32
"""Documented as 64 bytes, yet 34 characters were refused."""
CLIENTMSGID_REMEMBERED: Final = timedelta(hours=24)
MASS_SPEEDS: Final = range(5)

# Articles; lengths in characters
ARTICLES_MAX: Final = 8
ARTICLE_TITLE_MAX: Final = 32
ARTICLE_AUTHOR_MAX: Final = 16
ARTICLE_DIGEST_MAX: Final = 128
ARTICLE_CONTENT_MAX: Final = 19_999
ARTICLE_MAX_BYTES: Final = 1024 * 1024 - 1
CONTENT_IMAGE_MAX_BYTES: Final = 1024 * 1024 - 1

# Material
IMAGE_MAX_BYTES: Final = 10 * 1024 * 1024
MEDIA_MAX_BYTES: Final = 10 * 1024 * 1024
"""What somebody can send as a picture or voice; the platform keeps it for three days."""

# Access token (stable_token)
FORCED_REFRESHES_PER_DAY: Final = 20
FORCED_REFRESH_APART: Final = timedelta(seconds=30)

# OAuth
STATE_PATTERN: Final = r"[A-Za-z0-9]{1,128}"
