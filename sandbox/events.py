"""Messages and events as the platform words them, each kind complete with sample values."""

from __future__ import annotations

import copy

from sandbox.jsontext import JsonObject

MESSAGES: dict[str, JsonObject] = {
    "text": {"Content": "你好"},
    "image": {"PicUrl": "http://mmbiz.qpic.cn/sample/0", "MediaId": "media"},
    "voice": {"MediaId": "media", "Format": "amr"},
    "video": {"MediaId": "media", "ThumbMediaId": "thumb"},
    "shortvideo": {"MediaId": "media", "ThumbMediaId": "thumb"},
    "location": {"Location_X": "23.134521", "Location_Y": "113.358803", "Scale": 20, "Label": "广州市海珠区"},
    "link": {"Title": "标题", "Description": "描述", "Url": "https://example.com/"},
}

_PICTURES: JsonObject = {
    "EventKey": "6",
    "SendPicsInfo": {"Count": 1, "PicList": {"item": [{"PicMd5Sum": "5a75aaca956d97be686719218f275c6b"}]}},
}
_SCANCODE: JsonObject = {"EventKey": "6", "ScanCodeInfo": {"ScanType": "qrcode", "ScanResult": "1"}}

EVENTS: dict[str, JsonObject] = {
    "subscribe": {"EventKey": ""},
    "unsubscribe": {"EventKey": ""},
    "SCAN": {"EventKey": "scene", "Ticket": "gQ"},
    "CLICK": {"EventKey": "KEY"},
    "VIEW": {"EventKey": "https://example.com/"},
    "view_miniprogram": {"EventKey": "pages/index/index", "MenuId": 1},
    "scancode_push": _SCANCODE,
    "scancode_waitmsg": _SCANCODE,
    "pic_sysphoto": _PICTURES,
    "pic_photo_or_album": _PICTURES,
    "pic_weixin": _PICTURES,
    "location_select": {
        "EventKey": "6",
        "SendLocationInfo": {
            "Location_X": "23",
            "Location_Y": "113",
            "Scale": "15",
            "Label": "广州市海珠区",
            "Poiname": "小区",
        },
    },
    "LOCATION": {"Latitude": "23.137466", "Longitude": "113.352425", "Precision": "119.385040"},
    "MASSSENDJOBFINISH": {
        "MsgID": 1000001625,
        "Status": "send success",
        "TotalCount": 296,
        "FilterCount": 295,
        "SentCount": 295,
        "ErrorCount": 0,
        "CopyrightCheckResult": {"Count": 0, "ResultList": "", "CheckState": 0},
        "ArticleUrlResult": {"Count": 0, "ResultList": ""},
    },
    "TEMPLATESENDJOBFINISH": {"MsgID": 200163836, "Status": "success"},
    "PUBLISHJOBFINISH": {
        "PublishEventInfo": {
            "publish_id": 2247503051,
            "publish_status": 0,
            "article_id": "article",
            "article_detail": {"count": 1, "item": [{"idx": 1, "article_url": "https://example.com/a"}]},
        }
    },
    "subscribe_msg_popup_event": {
        "SubscribeMsgPopupEvent": {
            "List": [{"TemplateId": "template", "SubscribeStatusString": "accept", "PopupScene": "2"}]
        }
    },
    "subscribe_msg_change_event": {
        "SubscribeMsgChangeEvent": {"List": [{"TemplateId": "template", "SubscribeStatusString": "reject"}]}
    },
    "subscribe_msg_sent_event": {
        "SubscribeMsgSentEvent": {
            "List": [
                {"TemplateId": "template", "MsgID": "1700827132819554304", "ErrorCode": "0", "ErrorStatus": "success"}
            ]
        }
    },
    "kf_create_session": {"KfAccount": "test1@test"},
    "kf_close_session": {"KfAccount": "test1@test"},
    "kf_switch_session": {"FromKfAccount": "a@test", "ToKfAccount": "b@test"},
    "user_info_modified": {"OpenID": "", "AppID": ""},
    "user_authorization_revoke": {"OpenID": "", "AppID": "", "RevokeInfo": "205"},
    "user_authorization_cancellation": {"OpenID": "", "AppID": ""},
    "qualification_verify_success": {"ExpiredTime": 1442401156},
    "qualification_verify_fail": {"FailTime": 1442401122, "FailReason": "by time"},
    "naming_verify_success": {"ExpiredTime": 1442401156},
    "naming_verify_fail": {"FailTime": 1442401122, "FailReason": "by time"},
    "annual_renew": {"ExpiredTime": 1442401156},
    "verify_expired": {"ExpiredTime": 1442401156},
}

# To these nobody waits for words: a passive reply is ignored.
WITHOUT_REPLY = frozenset(EVENTS) - {
    "subscribe",
    "SCAN",
    "CLICK",
    "scancode_push",
    "scancode_waitmsg",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
    "LOCATION",
}


def compose(
    fields: JsonObject, *, original_id: str, app_id: str, openid: str, create_time: int, msg_id: int
) -> JsonObject:
    """A whole push: the given fields win, the sample values and the envelope fill what they leave out."""
    kind = str(fields.get("MsgType", "event" if "Event" in fields else "text"))
    sample = EVENTS.get(str(fields.get("Event"))) if kind == "event" else MESSAGES.get(kind)
    content: JsonObject = {**copy.deepcopy(sample or {}), **fields}
    if content.get("OpenID") == "":
        content["OpenID"], content["AppID"] = openid, app_id
    first: JsonObject = {
        "ToUserName": original_id,
        "FromUserName": openid,
        "CreateTime": create_time,
        "MsgType": kind,
    }
    last: JsonObject = {"MsgId": msg_id}
    if kind == "event":
        first["Event"], last = content.get("Event", ""), {}
    return {**first, **content, **{name: fields.get(name, value) for name, value in last.items()}}


def to_xml(fields: JsonObject) -> str:
    """The push as clear XML: strings in CDATA, numbers bare, a list as repeated elements."""
    return f"<xml>{_elements(fields)}</xml>"


def _elements(fields: JsonObject) -> str:
    return "".join(
        f"<{name}>{_content(one)}</{name}>"
        for name, value in fields.items()
        for one in (value if isinstance(value, list) else [value])
    )


def _content(value: object) -> str:
    if isinstance(value, dict):
        return _elements(value)
    if isinstance(value, str):
        return "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"
    return str(value)
