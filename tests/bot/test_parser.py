"""Every documented payload becomes its typed event; whatever else arrives becomes `Unusable` and nothing worse."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot import events
from bot.events import Event
from bot.parser import MOST_CHARACTERS, Unusable, parse

ACCOUNT = "gh_0123456789ab"
ANN = "oAnn00000000000000000000000A"
AT = 1_700_000_000
NOW = datetime.fromtimestamp(AT + 30, UTC)


def envelope(*, to: str = ACCOUNT, sender: str = ANN, at: object = AT) -> str:
    return (
        f"<ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[{sender}]]></FromUserName>"
        f"<CreateTime>{at}</CreateTime>"
    )


def message(type_: str, rest: str = "", *, msg_id: object = 1234567890123456) -> str:
    return f"<xml>{envelope()}<MsgType><![CDATA[{type_}]]></MsgType>{rest}<MsgId>{msg_id}</MsgId></xml>"


def event(name: str, rest: str = "", *, sender: str = ANN, at: object = AT) -> str:
    return (
        f"<xml>{envelope(sender=sender, at=at)}<MsgType><![CDATA[event]]></MsgType>"
        f"<Event><![CDATA[{name}]]></Event>{rest}</xml>"
    )


def read(xml: str | bytes) -> Event:
    return parse(xml if isinstance(xml, bytes) else xml.encode(), account=ACCOUNT, now=NOW)


def flaw(xml: str | bytes) -> str:
    with pytest.raises(Unusable) as refused:
        read(xml)
    return refused.value.reason


def own_values(event: Event) -> dict[str, Any]:
    """The fields a kind of event has beyond those all have."""
    common = {field.name for field in dataclasses.fields(Event)}
    return {field.name: getattr(event, field.name) for field in dataclasses.fields(event) if field.name not in common}


ANSWERED = "<TemplateId>t</TemplateId><SubscribeStatusString>accept</SubscribeStatusString><PopupScene>2</PopupScene>"
REFUSED = "<TemplateId>u</TemplateId><SubscribeStatusString>reject</SubscribeStatusString>"
PICTURES = (
    "<EventKey>6</EventKey><SendPicsInfo><Count>1</Count><PicList><item>"
    "<PicMd5Sum>5a75aaca956d97be686719218f275c6b</PicMd5Sum></item></PicList></SendPicsInfo>"
)
CODE = "<EventKey>6</EventKey><ScanCodeInfo><ScanType>qrcode</ScanType><ScanResult>1</ScanResult></ScanCodeInfo>"
PERSON = f"<OpenID>{ANN}</OpenID><AppID>wx0123456789abcdef</AppID>"
ARTICLE = (
    "<item><ArticleIdx>1</ArticleIdx><UserDeclareState>0</UserDeclareState><AuditState>2</AuditState>"
    "<OriginalArticleUrl>u</OriginalArticleUrl><OriginalArticleType>1</OriginalArticleType><CanReprint>1</CanReprint>"
    "<NeedReplaceContent>1</NeedReplaceContent><NeedShowReprintSource>1</NeedShowReprintSource></item>"
)
MASS_SEND = (
    "<MsgID>1000001625</MsgID><Status>send success</Status><TotalCount>296</TotalCount>"
    "<FilterCount>295</FilterCount><SentCount>294</SentCount><ErrorCount>1</ErrorCount>"
    f"<CopyrightCheckResult><Count>8</Count><ResultList>{ARTICLE * 8}</ResultList>"
    "<CheckState>2</CheckState></CopyrightCheckResult><ArticleUrlResult><Count>1</Count><ResultList>"
    "<item><ArticleIdx>1</ArticleIdx><ArticleUrl>u</ArticleUrl></item></ResultList></ArticleUrlResult>"
)
PUBLISHED = (
    "<PublishEventInfo><publish_id>2247503051</publish_id><publish_status>0</publish_status>"
    "<article_id>a</article_id><article_detail><count>1</count><item><idx>1</idx><article_url>u</article_url></item>"
    "</article_detail></PublishEventInfo>"
)
NOT_PUBLISHED = (
    "<PublishEventInfo><publish_id>2247503052</publish_id><publish_status>2</publish_status>"
    "<fail_idx>1</fail_idx><fail_idx>2</fail_idx></PublishEventInfo>"
)
PLACE = (
    "<EventKey>6</EventKey><SendLocationInfo><Location_X>23</Location_X><Location_Y>113</Location_Y>"
    "<Scale>15</Scale><Label>addr</Label><Poiname>p</Poiname></SendLocationInfo>"
)

DOCUMENTED: list[tuple[str, type[Event], dict[str, Any]]] = [
    (message("text", "<Content>this is a test</Content>"), events.TextMessage, {"content": "this is a test"}),
    (
        message("image", "<PicUrl>url</PicUrl><MediaId>id</MediaId>"),
        events.ImageMessage,
        {"media_id": "id", "picture_url": "url"},
    ),
    (
        message("voice", "<MediaId>id</MediaId><Format>amr</Format>"),
        events.VoiceMessage,
        {"media_id": "id", "format": "amr"},
    ),
    (
        message("video", "<MediaId>id</MediaId><ThumbMediaId>thumb</ThumbMediaId>"),
        events.VideoMessage,
        {"media_id": "id", "thumb_media_id": "thumb"},
    ),
    (
        message("shortvideo", "<MediaId>id</MediaId><ThumbMediaId>thumb</ThumbMediaId>"),
        events.ShortVideoMessage,
        {"media_id": "id", "thumb_media_id": "thumb"},
    ),
    (
        message(
            "location",
            "<Location_X>23.134521</Location_X><Location_Y>113.358803</Location_Y><Scale>20</Scale><Label>addr</Label>",
        ),
        events.LocationMessage,
        {"latitude": 23.134521, "longitude": 113.358803, "label": "addr"},
    ),
    (
        message("link", "<Title>t</Title><Description>d</Description><Url>u</Url>"),
        events.LinkMessage,
        {"title": "t", "description": "d", "url": "u"},
    ),
    (message("hologram"), events.UnknownMessage, {"type": "hologram"}),
    (event("subscribe", "<EventKey></EventKey>"), events.Subscribed, {"scene": None, "ticket": None}),
    (event("subscribe"), events.Subscribed, {"scene": None, "ticket": None}),
    (
        event("subscribe", "<EventKey>qrscene_Sc3-n_e</EventKey><Ticket>gQticket</Ticket>"),
        events.Subscribed,
        {"scene": "Sc3-n_e", "ticket": "gQticket"},
    ),
    (
        event("subscribe", "<EventKey>last_trade_no_4002752001201704258347703919</EventKey>"),
        events.Subscribed,
        {"scene": None, "ticket": None},
    ),
    (
        event("SCAN", "<EventKey>Sc3-n_e</EventKey><Ticket>gQticket</Ticket>"),
        events.Scanned,
        {"scene": "Sc3-n_e", "ticket": "gQticket"},
    ),
    (event("unsubscribe", "<EventKey></EventKey>"), events.Unsubscribed, {}),
    (event("CLICK", "<EventKey>KEY</EventKey>"), events.MenuClicked, {"key": "KEY"}),
    (
        event("VIEW", "<EventKey>http://a.test/</EventKey><MenuId>1</MenuId>"),
        events.MenuViewed,
        {"url": "http://a.test/"},
    ),
    (
        event("view_miniprogram", "<EventKey>pages/index/index</EventKey><MenuId>1</MenuId>"),
        events.MiniProgramOpened,
        {"path": "pages/index/index"},
    ),
    (event("scancode_push", CODE), events.MenuScanned, {"key": "6", "wait": False, "result": "1"}),
    (event("scancode_waitmsg", CODE), events.MenuScanned, {"key": "6", "wait": True, "result": "1"}),
    (event("pic_sysphoto", PICTURES), events.MenuPhotos, {"key": "6", "count": 1}),
    (event("pic_photo_or_album", PICTURES), events.MenuPhotos, {"key": "6", "count": 1}),
    (event("pic_weixin", PICTURES), events.MenuPhotos, {"key": "6", "count": 1}),
    (
        event("location_select", PLACE),
        events.MenuLocation,
        {"key": "6", "latitude": 23.0, "longitude": 113.0, "label": "addr"},
    ),
    (
        event(
            "LOCATION",
            "<Latitude>23.137466</Latitude><Longitude>113.352425</Longitude><Precision>119.385040</Precision>",
        ),
        events.LocationReported,
        {"latitude": 23.137466, "longitude": 113.352425},
    ),
    (
        event("MASSSENDJOBFINISH", MASS_SEND, sender="mphelper"),
        events.MassSendFinished,
        {"msg_id": 1000001625, "status": "send success", "total": 296, "filtered": 295, "sent": 294, "failed": 1},
    ),
    (
        event("TEMPLATESENDJOBFINISH", "<MsgID>200163836</MsgID><Status>failed:user block</Status>"),
        events.TemplateSendFinished,
        {"msg_id": 200163836, "status": "failed:user block"},
    ),
    (event("PUBLISHJOBFINISH", PUBLISHED), events.PublishFinished, {"publish_id": "2247503051", "status": 0}),
    (event("PUBLISHJOBFINISH", NOT_PUBLISHED), events.PublishFinished, {"publish_id": "2247503052", "status": 2}),
    (
        event(
            "subscribe_msg_popup_event",
            f"<SubscribeMsgPopupEvent><List>{ANSWERED}</List><List>{REFUSED}</List></SubscribeMsgPopupEvent>",
        ),
        events.SubscriptionAnswered,
        {
            "answers": (
                events.SubscriptionAnswer(template_id="t", is_accepted=True),
                events.SubscriptionAnswer(template_id="u", is_accepted=False),
            )
        },
    ),
    (
        event(
            "subscribe_msg_change_event",
            f"<SubscribeMsgChangeEvent><List>{REFUSED}</List></SubscribeMsgChangeEvent>",
        ),
        events.SubscriptionChanged,
        {"answers": (events.SubscriptionAnswer(template_id="u", is_accepted=False),)},
    ),
    (
        event(
            "subscribe_msg_sent_event",
            "<SubscribeMsgSentEvent><List><TemplateId>t</TemplateId><MsgID>1700827132819554304</MsgID>"
            "<ErrorCode>0</ErrorCode><ErrorStatus>success</ErrorStatus></List></SubscribeMsgSentEvent>",
        ),
        events.SubscriptionSent,
        {"receipts": (events.SubscriptionReceipt(template_id="t", msg_id="1700827132819554304", error_code="0"),)},
    ),
    (event("kf_create_session", "<KfAccount>test1@test</KfAccount>"), events.SessionOpened, {"agent": "test1@test"}),
    (
        event("kf_close_session", "<KfAccount>test1@test</KfAccount><CloseType>1</CloseType>"),
        events.SessionClosed,
        {"agent": "test1@test"},
    ),
    (
        event("kf_switch_session", "<FromKfAccount>a@test</FromKfAccount><ToKfAccount>b@test</ToKfAccount>"),
        events.SessionSwitched,
        {"from_agent": "a@test", "to_agent": "b@test"},
    ),
    (event("user_info_modified", PERSON, sender="pushservice"), events.UserInfoModified, {}),
    (
        event("user_info_modified", PERSON.replace("OpenID", "openid").replace("AppID", "appid")),
        events.UserInfoModified,
        {},
    ),
    (
        event("user_authorization_revoke", f"{PERSON}<RevokeInfo>205</RevokeInfo>", sender="pushservice"),
        events.AuthorizationRevoked,
        {"info": "205"},
    ),
    (event("user_authorization_cancellation", PERSON, sender="pushservice"), events.AuthorizationCancelled, {}),
    *(
        (
            event(name, "<ExpiredTime>1442401156</ExpiredTime>", sender="fromUser"),
            events.AccountNotice,
            {"name": name, "reason": ""},
        )
        for name in ("qualification_verify_success", "naming_verify_success", "annual_renew", "verify_expired")
    ),
    *(
        (
            event(name, "<FailTime>1442401122</FailTime><FailReason>by time</FailReason>", sender="fromUser"),
            events.AccountNotice,
            {"name": name, "reason": "by time"},
        )
        for name in ("qualification_verify_fail", "naming_verify_fail")
    ),
    (event("zzz", sender="whoever"), events.UnknownEvent, {"name": "zzz"}),
]


@pytest.mark.parametrize(
    ("xml", "kind", "values"),
    DOCUMENTED,
    ids=[f"{kind.kind}-{number}" for number, (_, kind, _) in enumerate(DOCUMENTED)],
)
def test_every_documented_payload_has_its_type(xml: str, kind: type[Event], values: dict[str, Any]) -> None:
    found = read(xml)
    assert type(found) is kind
    assert own_values(found) == values
    assert found.occurred_at == datetime.fromtimestamp(AT, UTC)
    assert not found.has_sender or found.openid == ANN
    assert ANN not in found.fields.values()


def test_every_type_of_event_is_reached_by_a_documented_payload() -> None:
    named = {one for one in vars(events).values() if isinstance(one, type) and issubclass(one, Event)}
    # `Confirmed` never arrives: reconciling makes it up.
    assert named - {Event, events.Message, events.Confirmed} == {kind for _, kind, _ in DOCUMENTED}


def test_kinds_are_distinct_short_lower_case_words() -> None:
    kinds = [one.kind for one in {kind for _, kind, _ in DOCUMENTED}]
    assert len(kinds) == len(set(kinds))
    assert all(kind == kind.lower() and len(kind) <= 32 for kind in kinds)


# ---- Who, when, which ------------------------------------------------------------------------------------------------


def test_a_message_is_known_by_its_id() -> None:
    assert read(message("text", "<Content>a</Content>")).dedupe_key == "m:1234567890123456"


def test_the_order_of_elements_and_the_case_of_the_name_change_nothing() -> None:
    one = event("SCAN", "<EventKey>s</EventKey><Ticket>t</Ticket>")
    other = event("scan", "<Ticket>t</Ticket><EventKey>s</EventKey>")
    assert read(one).dedupe_key == read(other).dedupe_key


@pytest.mark.parametrize(
    "other",
    [
        event("unsubscribe"),
        event("subscribe", "<EventKey>qrscene_b</EventKey><Ticket>t</Ticket>"),
        event("subscribe", "<EventKey>qrscene_a</EventKey><Ticket>u</Ticket>"),
        event("subscribe", "<EventKey>qrscene_a</EventKey><Ticket>t</Ticket>", at=AT + 1),
        event("subscribe", "<EventKey>qrscene_a</EventKey><Ticket>t</Ticket>", sender=ANN[:-1] + "B"),
    ],
)
def test_two_events_of_the_same_second_are_told_apart(other: str) -> None:
    one = event("subscribe", "<EventKey>qrscene_a</EventKey><Ticket>t</Ticket>")
    assert read(one).dedupe_key != read(other).dedupe_key


def test_two_job_results_of_the_same_second_are_told_apart() -> None:
    one, other = (event("TEMPLATESENDJOBFINISH", f"<MsgID>{number}</MsgID>") for number in (1, 2))
    assert read(one).dedupe_key != read(other).dedupe_key


def test_a_mass_send_ends_once_whoever_says_so_and_when() -> None:
    one = read(event("MASSSENDJOBFINISH", MASS_SEND, sender="mphelper"))
    other = read(event("MASSSENDJOBFINISH", MASS_SEND, sender=ANN, at=AT + 5))
    assert one.dedupe_key == other.dedupe_key == "mass_send_finished:1000001625"
    assert not other.has_sender
    third = read(event("MASSSENDJOBFINISH", MASS_SEND.replace("1000001625", "1000001626")))
    assert third.dedupe_key != one.dedupe_key


def test_a_mass_send_without_a_number_is_unusable() -> None:
    assert "id" in flaw(event("MASSSENDJOBFINISH", "<Status>send success</Status>"))


@pytest.mark.parametrize("at", ["abc", "-1", "1" * 20, "", "1e9", "١٧٠٠٠٠٠٠٠٠", AT + 86_400, AT - 8 * 86_400])
def test_an_unbelievable_time_is_unusable(at: object) -> None:
    assert flaw(event("subscribe", at=at)).startswith("CreateTime")


@pytest.mark.parametrize("at", [AT - 6 * 86_400, AT + 240])
def test_late_and_slightly_early_events_are_taken(at: int) -> None:
    assert read(event("subscribe", at=at)).occurred_at == datetime.fromtimestamp(at, UTC)


@pytest.mark.parametrize(
    "sender", ["", "short", "o" * 65, "oAnn0000000000000000000'--", "oAnn000 0000000000000000000A"]
)
def test_a_sender_that_is_no_openid_is_unusable(sender: str) -> None:
    assert "openid" in flaw(event("subscribe", sender=sender))


def test_another_account_s_event_is_unusable() -> None:
    assert flaw(f"<xml>{envelope(to='gh_other')}<MsgType>text</MsgType></xml>") == "for another account"


@pytest.mark.parametrize("number", ["0", 2**64, "abc", "-5", "", "1.0", "٣"])
def test_a_message_id_is_a_positive_number_of_64_bits(number: object) -> None:
    assert "id" in flaw(message("text", msg_id=number))


def test_the_largest_message_id_is_taken() -> None:
    assert read(message("text", msg_id=2**64 - 1)).dedupe_key == f"m:{2**64 - 1}"


@pytest.mark.parametrize(
    "key",
    [
        "qrscene_",
        "qrscene_" + "a" * 65,
        "qrscene_" + "a" * 10_000,
        "qrscene_1' OR 1=1--",
        "qrscene_%00",
        "qrscene_../../",
        "qrscene_m:42",
        "qrscene_二维码",
        "qrscene_last_trade_no_1",
        "unprefixed",
    ],
)
def test_a_malformed_scene_is_nobodys(key: str) -> None:
    found = read(event("subscribe", f"<EventKey><![CDATA[{key}]]></EventKey><Ticket>gQ</Ticket>"))
    assert isinstance(found, events.Subscribed)
    assert found.scene is None
    assert found.fields["EventKey"] == key[:MOST_CHARACTERS]


def test_the_prefix_is_stripped_once_and_only_from_a_follow() -> None:
    followed = read(event("subscribe", "<EventKey>qrscene_qrscene_1</EventKey>"))
    again = read(event("SCAN", "<EventKey>qrscene_1</EventKey>"))
    assert isinstance(followed, events.Subscribed)
    assert isinstance(again, events.Scanned)
    assert followed.scene == again.scene == "qrscene_1"


@pytest.mark.parametrize("x", ["NaN", "1e999", "91", "-90.1", "", "1,5", "inf", "٣"])
def test_a_place_off_the_earth_is_unusable(x: str) -> None:
    assert "earth" in flaw(message("location", f"<Location_X>{x}</Location_X><Location_Y>1</Location_Y>"))
    assert "earth" in flaw(event("LOCATION", f"<Latitude>{x}</Latitude><Longitude>1</Longitude>"))


def test_pictures_without_their_list_are_taken() -> None:
    assert own_values(read(event("pic_weixin", "<EventKey>6</EventKey>"))) == {"key": "6", "count": 0}


@pytest.mark.parametrize("counts", [(296, 295, 294, 1), (296, 295, -3, 1), (10, 20, 20, 0)])
def test_odd_counts_of_a_mass_send_are_kept(counts: tuple[int, ...]) -> None:
    names = ("TotalCount", "FilterCount", "SentCount", "ErrorCount")
    rest = "".join(f"<{name}>{count}</{name}>" for name, count in zip(names, counts, strict=True))
    found = read(event("MASSSENDJOBFINISH", f"<MsgID>1</MsgID>{rest}"))
    assert isinstance(found, events.MassSendFinished)
    assert (found.total, found.filtered, found.sent, found.failed) == counts


# ---- XML that means harm ---------------------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE xml SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE xml [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;]>',
        f'<!DOCTYPE xml [<!ENTITY l0 "ha">{LAUGHS}]>',
        '<!DOCTYPE xml [<!ENTITY a "' + "a" * 100_000 + '">]>',
    ],
)
def test_a_document_type_is_never_read(prologue: str) -> None:
    assert flaw(prologue + message("text", "<Content>&l9;</Content>")) == "a document type"


def test_an_undeclared_entity_is_unusable() -> None:
    assert flaw(message("text", "<Content>&x;</Content>")) == "not well-formed"


@pytest.mark.parametrize(
    "xml",
    [
        "<xml>" + "<a>" * 100_000,
        "<xml>" + "<a>" * 100_000 + "</a>" * 100_000 + "</xml>",
        "<xml>" + "<a/>" * 100_000 + "</xml>",
        message("text", "<a><b><c><d><e/></d></c></b></a>"),
    ],
)
def test_too_deep_or_too_much_is_unusable(xml: str) -> None:
    assert flaw(xml) == "too deep or too many elements"


def test_too_many_values_are_unusable() -> None:
    items = "<item><PicMd5Sum>a</PicMd5Sum></item>" * 70
    assert flaw(event("pic_weixin", f"<SendPicsInfo><PicList>{items}</PicList></SendPicsInfo>")) == "too many fields"


@pytest.mark.parametrize(
    "xml",
    [
        message("text").encode("utf-16"),
        message("text").encode("utf-16-le"),
        message("text").encode("utf-16-be"),
        ('<?xml version="1.0" encoding="GBK"?>' + message("text", "<Content>你好</Content>")).encode("gbk"),
        ('<?xml version="1.0" encoding="GBK"?>' + message("text", "<Content>ascii</Content>")).encode(),
        message("text", "<Content>\xff</Content>").encode("latin-1"),
    ],
)
def test_anything_but_utf8_is_unusable(xml: bytes) -> None:
    assert flaw(xml) == "not UTF-8"


def test_a_byte_order_mark_and_a_declaration_are_fine() -> None:
    xml = '\ufeff<?xml version="1.0" encoding="utf-8"?>\n' + message("text", "<Content>你好</Content>")
    assert own_values(read(xml)) == {"content": "你好"}


@pytest.mark.parametrize(
    "xml", ["", " ", "{}", '{"MsgType":"text"}', "<xml/>", "<xml>text</xml>", "<html></html>", "<xml></xml><xml></xml>"]
)
def test_what_is_not_our_kind_of_xml_is_unusable(xml: str) -> None:
    assert flaw(xml)


@pytest.mark.parametrize("name", ["ToUserName", "FromUserName", "CreateTime", "MsgType"])
@pytest.mark.parametrize("change", ["missing", "twice", "attributed", "nested"])
def test_the_envelope_is_exactly_once_and_plain(name: str, change: str) -> None:
    xml = message("text", "<Content>a</Content>")
    start, end = xml.index(f"<{name}>"), xml.index(f"</{name}>") + len(f"</{name}>")
    element = xml[start:end]
    changed = {
        "missing": "",
        "twice": element * 2,
        "attributed": element.replace(f"<{name}>", f'<{name} a="b">'),
        "nested": f"<{name}><b>{ANN}</b></{name}>",
    }[change]
    assert flaw(xml[:start] + changed + xml[end:])


@pytest.mark.parametrize("rest", ["<EventKey>a</EventKey><EventKey>b</EventKey>", PERSON + PERSON.replace("D>", "d>")])
def test_a_value_that_comes_twice_is_unusable(rest: str) -> None:
    if "openid" in rest.lower():
        rest = PERSON + PERSON.replace("OpenID", "openid")
    assert flaw(event("subscribe", rest)) == "an element comes twice"


def test_elements_we_do_not_know_are_passed_over() -> None:
    harmless = (
        "<source>oVICTIM0000000000000000000000</source><raw>a</raw><type>b</type><__class__>c</__class__>"
        "<handlers><FromUserName>oVICTIM0000000000000000000000</FromUserName>text</handlers><new/><new/>"
    )
    plain, decorated = (
        read(message("text", "<Content>a</Content>")),
        read(message("text", harmless + "<Content>a</Content>")),
    )
    assert decorated == plain
    assert "VICTIM" not in repr(decorated)


# ---- Texts people write ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a\x00b\x01c\x1fd", "abcd"),
        ("a&#0;b&#x1F;c&#8;d", "abcd"),
        ("a&#xD800;b&#57343;c", "abc"),
        ("a\u202eb\u2066c\u200bd\ufeffe", "abcde"),
        ("line\nline\ttab", "line\nline\ttab"),
        ("&lt;/xml&gt;]]&gt;", "</xml>]]>"),
        ("<![CDATA[</xml>]]]]><![CDATA[>]]>", "</xml>]]>"),
        ("{{7*7}} {0.__class__} %s%n", "{{7*7}} {0.__class__} %s%n"),
        ("字" * 20_000, "字" * MOST_CHARACTERS),
        ("👨\u200d👩\u200d👧 a\u200db", "👨\u200d👩\u200d👧 ab"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("", ""),
    ],
)
def test_a_text_is_cleaned_not_refused(written: str, kept: str) -> None:
    found = read(message("text", f"<Content>{written}</Content>"))
    assert own_values(found) == {"content": kept}


def test_half_an_emoji_costs_only_itself() -> None:
    xml = message("text", "<Content>a\ud83db</Content>").encode("utf-8", "surrogatepass")
    assert own_values(read(xml)) == {"content": "ab"}


# ---- Anything at all -------------------------------------------------------------------------------------------------


def survives(xml: bytes) -> None:
    """Either an event or `Unusable`: anything else that is raised fails the test."""
    try:
        parse(xml, account=ACCOUNT, now=NOW)
    except Unusable:
        return


@given(st.binary(max_size=2_000))
@example(b"\xef\xbb\xbf")
@example(b"&#;")
def test_any_bytes_are_survived(xml: bytes) -> None:
    survives(xml)


@given(st.sampled_from([xml.encode() for xml, _, _ in DOCUMENTED]), st.data())
def test_any_damage_to_a_real_payload_is_survived(xml: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(xml)))
    end = data.draw(st.integers(start, min(len(xml), start + 40)))
    survives(xml[:start] + data.draw(st.binary(max_size=40)) + xml[end:])


NAMES = st.one_of(
    st.sampled_from(
        ["FromUserName", "Event", "EventKey", "MsgType", "CreateTime", "MsgId", "Content", "OpenID", "openid"]
    ),
    st.sampled_from(["xml", "item", "List", "SendPicsInfo", "PicList", "Count", "SubscribeMsgPopupEvent", "unknown"]),
)
VALUES = st.one_of(st.text(max_size=30), st.sampled_from([ANN, str(AT), "event", "location", "subscribe", "-1", "nan"]))
TREES = st.recursive(
    st.builds(lambda name, value: f"<{name}><![CDATA[{value}]]></{name}>", NAMES, VALUES),
    lambda below: st.builds(
        lambda name, parts: f"<{name}>{''.join(parts)}</{name}>", NAMES, st.lists(below, max_size=5)
    ),
    max_leaves=20,
)


@given(st.lists(TREES, max_size=8))
def test_any_elements_inside_the_envelope_are_survived(parts: list[str]) -> None:
    survives(f"<xml>{envelope()}{''.join(parts)}</xml>".encode("utf-8", "surrogatepass"))


@given(st.timedeltas(timedelta(days=-8), timedelta(days=1)))
def test_an_event_is_never_from_outside_the_believed_time(shift: timedelta) -> None:
    at = int((NOW + shift).timestamp())
    try:
        found = read(event("subscribe", at=at))
    except Unusable:
        assert not NOW - timedelta(days=7) <= datetime.fromtimestamp(at, UTC) <= NOW + timedelta(minutes=5)
    else:
        assert NOW - timedelta(days=7) <= found.occurred_at <= NOW + timedelta(minutes=5)
