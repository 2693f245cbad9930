"""What can happen on the official account, one type for each kind: past the edge nobody sees XML.

`match` on these types. Every kind of the platform's documentation has its type; what we do not know becomes
`UnknownEvent` or `UnknownMessage` and is stored all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, once, however often it is delivered (EV-2).

    `openid` is whom it is about; for kinds without a sender it may be empty and must not be used.
    `occurred_at` is the platform's CreateTime, in whole seconds. `fields` are its whitelisted leaves as flat
    texts, safe to store and to show; the openid is never among them.
    """

    kind: ClassVar[str]
    proves_follow: ClassVar[bool] = False
    """Only somebody who follows at that moment can cause it."""
    has_sender: ClassVar[bool] = True
    """It is about one person. Job results and notices to the account are not: they never touch a follower."""

    openid: str
    occurred_at: datetime
    dedupe_key: str
    fields: Mapping[str, str]


# ---- Messages people write -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Event):
    """Something a person sent in the chat: it opens the long answer window."""

    proves_follow: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage(Message):
    kind: ClassVar[str] = "text"
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMessage(Message):
    kind: ClassVar[str] = "image"
    media_id: str
    picture_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMessage(Message):
    kind: ClassVar[str] = "voice"
    media_id: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMessage(Message):
    kind: ClassVar[str] = "video"
    media_id: str
    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortVideoMessage(Message):
    kind: ClassVar[str] = "shortvideo"
    media_id: str
    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationMessage(Message):
    """A place somebody picked and sent; degrees."""

    kind: ClassVar[str] = "location"
    latitude: float
    longitude: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMessage(Message):
    kind: ClassVar[str] = "link"
    title: str
    description: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMessage(Message):
    """A kind of message the documentation does not name."""

    kind: ClassVar[str] = "unknown_message"
    type: str


# ---- Following, scanning, leaving ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed(Event):
    """Somebody followed. `scene` is what the code carried, None without a code or when it is not well formed."""

    kind: ClassVar[str] = "subscribe"
    proves_follow: ClassVar[bool] = True
    scene: str | None
    ticket: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned(Event):
    """A follower scanned a code of ours. `scene` is None when it is not well formed."""

    kind: ClassVar[str] = "scan"
    proves_follow: ClassVar[bool] = True
    scene: str | None
    ticket: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribed(Event):
    kind: ClassVar[str] = "unsubscribe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed(Event):
    """The platform's user info says that the person follows: our own finding, never a delivery."""

    kind: ClassVar[str] = "confirmed"
    proves_follow: ClassVar[bool] = True


# ---- The menu, and where people are ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuClicked(Event):
    kind: ClassVar[str] = "click"
    proves_follow: ClassVar[bool] = True
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuViewed(Event):
    kind: ClassVar[str] = "view"
    proves_follow: ClassVar[bool] = True
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniProgramOpened(Event):
    kind: ClassVar[str] = "view_miniprogram"
    proves_follow: ClassVar[bool] = True
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuScanned(Event):
    """A code was scanned from a menu button; with `wait` the phone shows that it is waiting for our reply."""

    kind: ClassVar[str] = "menu_scan"
    proves_follow: ClassVar[bool] = True
    key: str
    wait: bool
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuPhotos(Event):
    """Pictures were chosen from a menu button; they arrive as messages of their own."""

    kind: ClassVar[str] = "menu_photos"
    proves_follow: ClassVar[bool] = True
    key: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuLocation(Event):
    """A place was picked from a menu button; degrees, None where the phone gave none."""

    kind: ClassVar[str] = "menu_location"
    proves_follow: ClassVar[bool] = True
    key: str
    latitude: float | None
    longitude: float | None
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationReported(Event):
    """The phone told where it is, by consent: when the chat is opened, or every five seconds."""

    kind: ClassVar[str] = "location_report"
    proves_follow: ClassVar[bool] = True
    latitude: float
    longitude: float


# ---- Results of our own sends ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MassSendFinished(Event):
    """A mass send ended, ours or one from the console. Counts are as given, however odd.

    Followers beyond their month's allowance, or gone, are in `total` and not in `filtered`.
    """

    kind: ClassVar[str] = "mass_send_finished"
    has_sender: ClassVar[bool] = False
    msg_id: int
    status: str
    total: int
    filtered: int
    sent: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSendFinished(Event):
    kind: ClassVar[str] = "template_send_finished"
    has_sender: ClassVar[bool] = False
    msg_id: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFinished(Event):
    kind: ClassVar[str] = "publish_finished"
    has_sender: ClassVar[bool] = False
    publish_id: str
    status: int


# ---- Subscription notices --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAnswer:
    """What somebody decided about one template."""

    template_id: str
    is_accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionReceipt:
    """What became of one notice."""

    template_id: str
    msg_id: str
    error_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAnswered(Event):
    """Somebody answered the question whether notices may come."""

    kind: ClassVar[str] = "subscription_answered"
    answers: tuple[SubscriptionAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChanged(Event):
    """Somebody changed the answer later, in the settings of the chat."""

    kind: ClassVar[str] = "subscription_changed"
    answers: tuple[SubscriptionAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSent(Event):
    kind: ClassVar[str] = "subscription_sent"
    receipts: tuple[SubscriptionReceipt, ...]


# ---- Sessions with human service -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(Event):
    kind: ClassVar[str] = "session_opened"
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    kind: ClassVar[str] = "session_closed"
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSwitched(Event):
    kind: ClassVar[str] = "session_switched"
    from_agent: str
    to_agent: str


# ---- Privacy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInfoModified(Event):
    """Name or picture changed: drop what is stored of them."""

    kind: ClassVar[str] = "user_info_modified"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRevoked(Event):
    """Somebody took back a consent; `info` is the platform's number for what."""

    kind: ClassVar[str] = "authorization_revoked"
    info: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCancelled(Event):
    """Somebody closed the WeChat account: their data goes."""

    kind: ClassVar[str] = "authorization_cancelled"


# ---- About the account itself ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNotice(Event):
    """News about our verification, by the platform's `name` for it, such as `verify_expired`."""

    kind: ClassVar[str] = "account_notice"
    has_sender: ClassVar[bool] = False
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """An event the documentation does not name; nobody knows whom it is about."""

    kind: ClassVar[str] = "unknown_event"
    has_sender: ClassVar[bool] = False
    name: str
