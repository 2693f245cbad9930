"""From the XML of an authentic delivery to one typed event.

Strict where a mistake could credit the wrong person: one sender, no attributes, no document types, no doubles, our
own account, a believable time. Generous where nothing hangs on it: elements we do not know are passed over, and
texts are cleaned instead of refused, because people paste anything into a chat.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from xml.parsers import expat

from bot import events
from bot.events import Event

OLDEST = timedelta(days=7)
NEWEST = timedelta(minutes=5)
MOST_DEPTH = 4
MOST_ELEMENTS = 512
MOST_FIELDS = 64
MOST_CHARACTERS = 2_048

SCENE = re.compile(r"[A-Za-z0-9_-]{1,64}")
SCENE_PREFIX = "qrscene_"

_OPENID = re.compile(r"[A-Za-z0-9_-]{20,64}")
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_TIME = re.compile(r"[0-9]{1,10}")
_ID = re.compile(r"[0-9]{1,20}")
_COUNT = re.compile(r"-?[0-9]{1,18}")
_DEGREES = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]{1,20})?")

# XML has no way to say these, yet people paste them: as raw bytes and as character references.
_CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r")
_CONTROL_REFERENCES = re.compile(
    rb"&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|5529[6-9]|55[3-9][0-9]{2}|56[0-9]{3}|57[0-2][0-9]{2}|573[0-3][0-9]|5734[0-3])"
    rb"|x0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]|[dD][89a-fA-F][0-9a-fA-F]{2}));"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
# What can reorder or hide text on a screen. A joiner stays between two emoji, which it turns into one.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    "|(?<![\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d"
    "|\u200d(?![\u2190-\u2bff\U0001f000-\U0001faff])"
)


class Unusable(Exception):
    """An authentic delivery that no event can be made of; the reason is a fixed sentence without any of its content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# ---- Which elements are read -----------------------------------------------------------------------------------------

_Tree = dict[str, "_Tree | None"]


def _leaves(names: str) -> _Tree:
    return dict.fromkeys(names.split())


_UNKNOWN: _Tree = {}
_SUBSCRIPTIONS: _Tree = {
    "List": _leaves("TemplateId SubscribeStatusString PopupScene MsgID ErrorCode ErrorStatus"),
}
_READ: _Tree = {
    **_leaves("ToUserName FromUserName CreateTime MsgType MsgId"),
    **_leaves("Content bizmsgmenuid MsgDataId Idx PicUrl MediaId MediaId16K Format Recognition ThumbMediaId"),
    **_leaves("Location_X Location_Y Scale Label Title Description Url"),
    **_leaves("Event EventKey Ticket MenuId Latitude Longitude Precision"),
    **_leaves("MsgID Status TotalCount FilterCount SentCount ErrorCount"),
    **_leaves("KfAccount FromKfAccount ToKfAccount CloseType"),
    **_leaves("OpenID AppID RevokeInfo ExpiredTime FailTime FailReason"),
    "ScanCodeInfo": _leaves("ScanType ScanResult"),
    "SendPicsInfo": {"Count": None, "PicList": {"item": _leaves("PicMd5Sum")}},
    "SendLocationInfo": _leaves("Location_X Location_Y Scale Label Poiname"),
    "CopyrightCheckResult": _leaves("CheckState"),
    "PublishEventInfo": {
        **_leaves("publish_id publish_status article_id fail_idx"),
        "article_detail": {"count": None, "item": _leaves("idx article_url")},
    },
    "SubscribeMsgPopupEvent": _SUBSCRIPTIONS,
    "SubscribeMsgChangeEvent": _SUBSCRIPTIONS,
    "SubscribeMsgSentEvent": _SUBSCRIPTIONS,
}
# The documentation's own samples differ in how they write these two.
_SPELLINGS = {"openid": "OpenID", "appid": "AppID"}
_REPEATED = frozenset({"item", "List", "fail_idx"})
# Known elsewhere in the event, or about a person and therefore not for the stored fields.
_ENVELOPE = frozenset({"ToUserName", "FromUserName", "CreateTime", "MsgType", "OpenID", "AppID"})


class _Reader:
    """Collects the leaves we read, by path; everything else is passed over and not kept."""

    __slots__ = ("_elements", "_open", "_repeats", "leaves", "texts")

    def __init__(self) -> None:
        self.leaves: dict[str, str] = {}
        self.texts: list[str] = []
        self._elements = 0
        self._open: list[tuple[_Tree | None, str]] = [(_READ, "")]
        self._repeats: dict[str, int] = {}

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if attributes:
            raise Unusable("an element has attributes")
        self._elements += 1
        if len(self._open) > MOST_DEPTH or self._elements > MOST_ELEMENTS:
            raise Unusable("too deep or too many elements")
        tree, prefix = self._open[-1]
        if tree is None:
            raise Unusable("an element inside a value")
        if self.texts:
            self._refuse_text(tree)
        name = _SPELLINGS.get(name, name)
        below = tree.get(name, _UNKNOWN)
        path = prefix + name
        if name in _REPEATED:
            self._repeats[path] = number = self._repeats.get(path, 0) + 1
            path = f"{path}.{number}"
        if below is None:
            if path in self.leaves:
                raise Unusable("an element comes twice")
            if len(self.leaves) == MOST_FIELDS:
                raise Unusable("too many fields")
            self.leaves[path] = ""
            self._open.append((None, path))
        else:
            self._open.append((below, path + "."))

    def end(self, _name: str) -> None:
        tree, path = self._open.pop()
        if self.texts:
            if tree is None:
                self.leaves[path] = "".join(self.texts)
                self.texts.clear()
            else:
                self._refuse_text(tree)

    def _refuse_text(self, tree: _Tree) -> None:
        """Text where only elements belong is an error, unless we do not know the element it stands in."""
        if tree is not _UNKNOWN and not "".join(self.texts).isspace():
            raise Unusable("text between elements")
        self.texts.clear()


def _read(xml: bytes) -> dict[str, str]:
    """The leaves of a delivery by path, as written."""
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")

    def root(name: str, attributes: Mapping[str, str]) -> None:
        if name != "xml" or attributes:
            raise Unusable("the root is not <xml>")
        # Replaced, not remembered in a flag: a parser that is part of a cycle would burden the garbage collector.
        parser.StartElementHandler = reader.start

    parser.buffer_text = True
    parser.XmlDeclHandler = _declared
    parser.StartDoctypeDeclHandler = _document_type
    parser.StartElementHandler = root
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.texts.append
    try:
        parser.Parse(_as_utf8(xml), True)
    except expat.ExpatError:
        raise Unusable("not well-formed") from None
    return reader.leaves


def _declared(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        raise Unusable("not UTF-8")


def _document_type(*_: object) -> None:
    raise Unusable("a document type")


def _as_utf8(xml: bytes) -> bytes:
    """The same XML without what XML cannot hold."""
    xml = xml.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in xml[:4]:
        raise Unusable("not UTF-8")
    try:
        xml.decode()
    except UnicodeDecodeError:
        # Half an emoji, as some phones send it, is no reason to lose a message.
        try:
            xml = _SURROGATES.sub("", xml.decode("utf-8", "surrogatepass")).encode()
        except UnicodeDecodeError:
            raise Unusable("not UTF-8") from None
    xml = xml.translate(None, _CONTROL_BYTES)
    return _CONTROL_REFERENCES.sub(b"", xml) if b"&#" in xml else xml


# ---- From leaves to an event -----------------------------------------------------------------------------------------


class _Envelope(TypedDict):
    openid: str
    occurred_at: datetime
    dedupe_key: str
    fields: Mapping[str, str]


def parse(xml: bytes, *, account: str, now: datetime) -> Event:
    """The event in a decrypted delivery to `account` (our gh_ id); raises `Unusable`, and nothing else."""
    leaves = _read(xml)
    if not leaves.keys() >= {"ToUserName", "FromUserName", "CreateTime", "MsgType"}:
        raise Unusable("the envelope is not complete")
    if leaves["ToUserName"] != account:
        raise Unusable("for another account")
    type_ = leaves["MsgType"].lower()
    if _NAME.fullmatch(type_) is None:
        raise Unusable("MsgType is not a name")
    occurred_at = _time(leaves["CreateTime"], now)
    fields = {path: clean(value) for path, value in leaves.items() if value and path not in _ENVELOPE}
    if type_ != "event":
        envelope = _Envelope(
            openid=_openid(leaves["FromUserName"]),
            occurred_at=occurred_at,
            dedupe_key=f"m:{_id(leaves.get('MsgId', ''))}",
            fields=fields,
        )
        return _message(type_, envelope, leaves)

    name = leaves.get("Event", "").lower()
    if _NAME.fullmatch(name) is None:
        raise Unusable("Event is not a name")
    leaves["Event"] = fields["Event"] = name
    sender = leaves["FromUserName"]
    is_known_sender = _OPENID.fullmatch(sender) is not None
    envelope = _Envelope(
        openid=sender if is_known_sender else "",
        occurred_at=occurred_at,
        dedupe_key=_event_key(leaves),
        fields=fields,
    )
    if name in _ABOUT_ANOTHER:
        # These come from the platform's push service; the person is named inside.
        envelope["openid"] = _openid(leaves.get("OpenID", ""))
    event = _event(name, envelope, leaves)
    if event.has_sender and not event.openid:
        raise Unusable("FromUserName is not an openid")
    return event


_ABOUT_ANOTHER = frozenset({"user_info_modified", "user_authorization_revoke", "user_authorization_cancellation"})
_NOTICES = frozenset(
    {
        "qualification_verify_success",
        "qualification_verify_fail",
        "naming_verify_success",
        "naming_verify_fail",
        "annual_renew",
        "verify_expired",
    }
)


def _message(type_: str, envelope: _Envelope, leaves: Mapping[str, str]) -> Event:  # noqa: PLR0911  one per kind
    fields = envelope["fields"]

    def text(path: str) -> str:
        return fields.get(path, "")

    match type_:
        case "text":
            return events.TextMessage(**envelope, content=text("Content"))
        case "image":
            return events.ImageMessage(**envelope, media_id=text("MediaId"), picture_url=text("PicUrl"))
        case "voice":
            return events.VoiceMessage(**envelope, media_id=text("MediaId"), format=text("Format"))
        case "video":
            return events.VideoMessage(**envelope, media_id=text("MediaId"), thumb_media_id=text("ThumbMediaId"))
        case "shortvideo":
            return events.ShortVideoMessage(**envelope, media_id=text("MediaId"), thumb_media_id=text("ThumbMediaId"))
        case "location":
            return events.LocationMessage(
                **envelope,
                latitude=_degrees(leaves.get("Location_X", ""), 90),
                longitude=_degrees(leaves.get("Location_Y", ""), 180),
                label=text("Label"),
            )
        case "link":
            return events.LinkMessage(**envelope, title=text("Title"), description=text("Description"), url=text("Url"))
        case _:
            return events.UnknownMessage(**envelope, type=type_)


def _event(name: str, envelope: _Envelope, leaves: Mapping[str, str]) -> Event:  # noqa: PLR0911, PLR0912  one per kind
    fields = envelope["fields"]

    def text(path: str) -> str:
        return fields.get(path, "")

    match name:
        case "subscribe":
            key = leaves.get("EventKey", "")
            scene = _scene(key.removeprefix(SCENE_PREFIX)) if key.startswith(SCENE_PREFIX) else None
            return events.Subscribed(**envelope, scene=scene, ticket=text("Ticket") or None)
        case "scan":
            return events.Scanned(**envelope, scene=_scene(leaves.get("EventKey", "")), ticket=text("Ticket") or None)
        case "unsubscribe":
            return events.Unsubscribed(**envelope)
        case "click":
            return events.MenuClicked(**envelope, key=text("EventKey"))
        case "view":
            return events.MenuViewed(**envelope, url=text("EventKey"))
        case "view_miniprogram":
            return events.MiniProgramOpened(**envelope, path=text("EventKey"))
        case "scancode_push" | "scancode_waitmsg":
            return events.MenuScanned(
                **envelope,
                key=text("EventKey"),
                wait=name == "scancode_waitmsg",
                result=text("ScanCodeInfo.ScanResult"),
            )
        case "pic_sysphoto" | "pic_photo_or_album" | "pic_weixin":
            return events.MenuPhotos(**envelope, key=text("EventKey"), count=_count(text("SendPicsInfo.Count")))
        case "location_select":
            latitude, longitude = text("SendLocationInfo.Location_X"), text("SendLocationInfo.Location_Y")
            return events.MenuLocation(
                **envelope,
                key=text("EventKey"),
                latitude=_degrees(latitude, 90) if latitude else None,
                longitude=_degrees(longitude, 180) if longitude else None,
                label=text("SendLocationInfo.Label"),
            )
        case "location":
            return events.LocationReported(
                **envelope,
                latitude=_degrees(leaves.get("Latitude", ""), 90),
                longitude=_degrees(leaves.get("Longitude", ""), 180),
            )
        case "masssendjobfinish":
            msg_id = _id(text("MsgID"))
            # A batch ends once, whoever seems to send the news and whenever they were sent.
            envelope["dedupe_key"] = f"{events.MassSendFinished.kind}:{msg_id}"
            return events.MassSendFinished(
                **envelope,
                msg_id=msg_id,
                status=text("Status"),
                total=_count(text("TotalCount")),
                filtered=_count(text("FilterCount")),
                sent=_count(text("SentCount")),
                failed=_count(text("ErrorCount")),
            )
        case "templatesendjobfinish":
            return events.TemplateSendFinished(**envelope, msg_id=_id(text("MsgID")), status=text("Status"))
        case "publishjobfinish":
            return events.PublishFinished(
                **envelope,
                publish_id=text("PublishEventInfo.publish_id"),
                status=_count(text("PublishEventInfo.publish_status")),
            )
        case "subscribe_msg_popup_event":
            return events.SubscriptionAnswered(**envelope, answers=_answers("SubscribeMsgPopupEvent", fields))
        case "subscribe_msg_change_event":
            return events.SubscriptionChanged(**envelope, answers=_answers("SubscribeMsgChangeEvent", fields))
        case "subscribe_msg_sent_event":
            return events.SubscriptionSent(**envelope, receipts=_receipts(fields))
        case "kf_create_session":
            return events.SessionOpened(**envelope, agent=text("KfAccount"))
        case "kf_close_session":
            return events.SessionClosed(**envelope, agent=text("KfAccount"))
        case "kf_switch_session":
            return events.SessionSwitched(**envelope, from_agent=text("FromKfAccount"), to_agent=text("ToKfAccount"))
        case "user_info_modified":
            return events.UserInfoModified(**envelope)
        case "user_authorization_revoke":
            return events.AuthorizationRevoked(**envelope, info=text("RevokeInfo"))
        case "user_authorization_cancellation":
            return events.AuthorizationCancelled(**envelope)
        case _ if name in _NOTICES:
            return events.AccountNotice(**envelope, name=name, reason=text("FailReason"))
        case _:
            return events.UnknownEvent(**envelope, name=name)


def clean(text: str) -> str:
    """A text people wrote, without anything invisible that could reorder or hide it, and not too long."""
    if not text.isprintable():
        text = _INVISIBLE.sub("", text[: 4 * MOST_CHARACTERS])
    return text[:MOST_CHARACTERS]


def _event_key(leaves: Mapping[str, str]) -> str:
    """Over everything that tells two events apart, for two different ones may share a second (EV-2)."""
    told = sorted(f"{path}={value}" for path, value in leaves.items() if value)
    return "e:" + hashlib.sha256("\0".join(told).encode()).hexdigest()[:32]


def _scene(text: str) -> str | None:
    """The scene of a code, or None: a malformed one is never guessed at (EV-10)."""
    is_payment = text.startswith("last_trade_no_")
    return text if SCENE.fullmatch(text) is not None and not is_payment else None


def _openid(text: str) -> str:
    if _OPENID.fullmatch(text) is None:
        raise Unusable("not an openid")
    return text


def _time(text: str, now: datetime) -> datetime:
    if _TIME.fullmatch(text) is None:
        raise Unusable("CreateTime is not a time")
    moment = datetime.fromtimestamp(int(text), UTC)
    if not now - OLDEST <= moment <= now + NEWEST:
        raise Unusable("CreateTime is too far from now")
    return moment


def _id(text: str) -> int:
    if _ID.fullmatch(text) is None or not 0 < int(text) < 1 << 64:
        raise Unusable("an id is not a number of 64 bits")
    return int(text)


def _count(text: str) -> int:
    """A count as given, negative ones too; 0 where there is none."""
    return int(text) if _COUNT.fullmatch(text) is not None else 0


def _degrees(text: str, most: int) -> float:
    if _DEGREES.fullmatch(text) is None or abs(float(text)) > most:
        raise Unusable("a place that is not on earth")
    return float(text)


def _answers(name: str, fields: Mapping[str, str]) -> tuple[events.SubscriptionAnswer, ...]:
    return tuple(
        events.SubscriptionAnswer(
            template_id=one.get("TemplateId", ""), is_accepted=one.get("SubscribeStatusString") == "accept"
        )
        for one in _list(name, fields)
    )


def _receipts(fields: Mapping[str, str]) -> tuple[events.SubscriptionReceipt, ...]:
    return tuple(
        events.SubscriptionReceipt(
            template_id=one.get("TemplateId", ""), msg_id=one.get("MsgID", ""), error_code=one.get("ErrorCode", "")
        )
        for one in _list("SubscribeMsgSentEvent", fields)
    )


def _list(name: str, fields: Mapping[str, str]) -> list[dict[str, str]]:
    """The repeated `List` elements below `name`, in their order."""
    items: dict[str, dict[str, str]] = {}
    for path, value in fields.items():
        parts = path.split(".")
        if parts[:2] == [name, "List"] and len(parts) == 4:
            items.setdefault(parts[2], {})[parts[3]] = value
    return list(items.values())
