"""The platform's API: what it takes, what it refuses, and with which number."""

import io
import re
from typing import Any

import pytest
import requests
from PIL import Image

from tests.bot.menus.bad import BAD, GOOD

from .conftest import APP_ID, QUICK, SECRET, Box, StartBox


def picture(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, kind)
    return out.getvalue()


def classic_token(box: Box, **changes: str) -> dict[str, Any]:
    query = {"grant_type": "client_credential", "appid": APP_ID, "secret": SECRET} | changes
    answer: dict[str, Any] = box.http.get(f"{box.url}/cgi-bin/token", params=query).json()
    return answer


def stable_token(box: Box, **changes: Any) -> dict[str, Any]:
    body = {"grant_type": "client_credential", "appid": APP_ID, "secret": SECRET} | changes
    answer: dict[str, Any] = box.http.post(f"{box.url}/cgi-bin/stable_token", json=body).json()
    return answer


def works(box: Box, token: str) -> int:
    answer = box.http.get(f"{box.url}/cgi-bin/getcallbackip", params={"access_token": token}).json()
    return int(answer.get("errcode", 0))


# Tokens


def test_a_classic_token_outlives_its_successor_by_five_minutes(box: Box) -> None:
    first, second = classic_token(box)["access_token"], classic_token(box)["access_token"]
    assert (works(box, first), works(box, second)) == (0, 0)
    box.clock(advance_seconds=301)
    assert (works(box, first), works(box, second)) == (42001, 0)


def test_the_stable_token_stays_the_same_until_shortly_before_its_end(box: Box) -> None:
    first = stable_token(box)
    assert stable_token(box)["access_token"] == first["access_token"]
    box.clock(advance_seconds=6000)
    again = stable_token(box)
    assert again["access_token"] == first["access_token"]
    assert again["expires_in"] <= 1200
    box.clock(advance_seconds=950)
    assert stable_token(box)["access_token"] != first["access_token"]
    assert works(box, first["access_token"]) == 0


def test_forcing_replaces_the_stable_token_and_leaves_the_classic_one_alone(box: Box) -> None:
    classic = classic_token(box)["access_token"]
    first = stable_token(box)["access_token"]
    forced = stable_token(box, force_refresh=True)["access_token"]
    assert forced != first
    assert (works(box, first), works(box, forced), works(box, classic)) == (40001, 0, 0)
    assert stable_token(box, force_refresh=True)["access_token"] == forced, "within 30 s nothing happens"
    box.clock(advance_seconds=31)
    assert stable_token(box, force_refresh=True)["access_token"] != forced


def test_forcing_is_limited_to_twenty_a_day(box: Box) -> None:
    for _ in range(20):
        assert "access_token" in stable_token(box, force_refresh=True)
    assert stable_token(box, force_refresh=True)["errcode"] == 45009
    box.clock(advance_seconds=24 * 3600)
    assert "access_token" in stable_token(box, force_refresh=True)


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [({"appid": "wx1"}, 40013), ({"secret": "x"}, 40125), ({"grant_type": "password"}, 40002), ({"appid": ""}, 41002)],
)
def test_wrong_credentials(box: Box, changes: dict[str, str], errcode: int) -> None:
    answer = classic_token(box, **changes)
    assert answer["errcode"] == errcode
    assert re.search(r" rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$", answer["errmsg"])


def test_an_address_off_the_whitelist_gets_no_token(box: Box) -> None:
    box.control("/account", {"ip_whitelist": ["10.0.0.1"]})
    answer = classic_token(box)
    assert answer["errcode"] == 40164
    assert "127.0.0.1" in answer["errmsg"]


def test_token_errors(box: Box) -> None:
    assert works(box, "") == 41001
    assert works(box, "short") == 40014
    assert works(box, "90_" + "x" * 130) == 40001
    token = box.token()
    box.clock(advance_seconds=7201)
    assert works(box, token) == 42001


# Strictness


def test_unknown_path_and_wrong_method(box: Box) -> None:
    assert box.get("/cgi-bin/no/such")["errcode"] == 40066
    assert box.get("/cgi-bin/qrcode/create")["errcode"] == 43002
    assert box.post("/cgi-bin/user/get", {})["errcode"] == 43001


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b"", 44002),
        (b"{", 47001),
        (b"[]", 47001),
        (b'{"touser":NaN}', 47001),
        (b'{"touser":"\xff"}', 47001),
        (b'{"touser":"o","msgtype":"text","text":{"content":"\\u4f60"}}', 40033),
        (b'{"msgtype":"text","text":{"content":"hi"}}', 40003),
        (b'{"touser":1,"msgtype":"text","text":{"content":"hi"}}', 47001),
        (b'{"touser":"o","msgtype":"poem","poem":{}}', 40008),
        (b'{"touser":"o","msgtype":"text"}', 44004),
        (b'{"touser":"o","msgtype":"text","text":{"content":""}}', 44004),
        (b'{"touser":"o","msgtype":"text","text":{"content":"hi","colour":"red"}}', 40035),
        (b'{"touser":"o","msgtype":"text","text":{"content":"hi"}}', 40003),
        (b'{"touser":"o","msgtype":"text","text":{"content":"back\\\\u4f60slash"}}', 40003),
    ],
)
def test_bad_bodies(box: Box, body: bytes, errcode: int) -> None:
    assert box.post("/cgi-bin/message/custom/send", body)["errcode"] == errcode


def test_answers_are_raw_utf8(box: Box) -> None:
    box.post("/cgi-bin/tags/create", {"tag": {"name": "老顾客"}})
    answer = box.http.get(f"{box.url}/cgi-bin/tags/get", params={"access_token": box.token()})
    assert "老顾客".encode() in answer.content
    assert answer.headers["Content-Type"] == "application/json; encoding=utf-8"


# Codes


def test_kinds_of_codes(box: Box) -> None:
    permanent = box.code("door")
    assert set(permanent) == {"ticket", "url"}
    assert re.fullmatch(r"gQ[A-Za-z0-9_=-]{94}", permanent["ticket"])
    assert re.fullmatch(r"http://weixin\.qq\.com/q/02[A-Za-z0-9_-]{20}", permanent["url"])
    temporary = box.code("today", seconds=600)
    assert set(temporary) == {"ticket", "url", "expire_seconds"}
    numbered = {"action_name": "QR_LIMIT_SCENE", "action_info": {"scene": {"scene_id": 42}}}
    assert "ticket" in box.post("/cgi-bin/qrcode/create", numbered)
    kinds = {code["scene"]: code["kind"] for code in box.look("/codes")["codes"]}
    assert kinds == {"door": "permanent", "today": "temporary", "42": "permanent"}


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"action_name": "QR_NO", "action_info": {"scene": {"scene_str": "x"}}}, 40052),
        ({"action_name": "QR_LIMIT_STR_SCENE"}, 40053),
        ({"action_name": "QR_LIMIT_STR_SCENE", "action_info": {"scene_str": "x"}}, 40053),
        ({"action_name": "QR_LIMIT_STR_SCENE", "action_info": {"scene": {"scene_str": ""}}}, 40053),
        ({"action_name": "QR_LIMIT_STR_SCENE", "action_info": {"scene": {"scene_str": "x" * 65}}}, 40053),
        ({"action_name": "QR_LIMIT_SCENE", "action_info": {"scene": {"scene_id": 100_001}}}, 40053),
        ({"action_name": "QR_SCENE", "action_info": {"scene": {"scene_id": 0}}}, 40053),
        ({"action_name": "QR_SCENE", "action_info": {"scene": {"scene_id": "7"}}}, 47001),
        (
            {"action_name": "QR_STR_SCENE", "expire_seconds": 2_592_001, "action_info": {"scene": {"scene_str": "x"}}},
            40035,
        ),
    ],
)
def test_bad_codes(box: Box, body: dict[str, Any], errcode: int) -> None:
    assert box.post("/cgi-bin/qrcode/create", body)["errcode"] == errcode


def test_a_permanent_scene_takes_one_slot_however_often_it_is_created(start_box: StartBox) -> None:
    box = start_box("--limit", "permanent_codes=2")
    first, again = box.code("a"), box.code("a")
    assert first["ticket"] != again["ticket"]
    assert first["url"] == again["url"]
    assert "ticket" in box.code("b")
    assert box.code("c")["errcode"] == 45029
    assert "ticket" in box.code("a")
    assert "ticket" in box.code("c", seconds=60), "temporary codes are not counted"


def test_the_picture_of_a_code(box: Box) -> None:
    code = box.code("door")
    answer = box.http.get(f"{box.url}/cgi-bin/showqrcode", params={"ticket": code["ticket"]})
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (430, 430)
    found = box.http.post(f"{box.url}/sandbox/decode", data=answer.content).json()
    assert found == {"url": code["url"]}
    assert box.http.get(f"{box.url}/cgi-bin/showqrcode", params={"ticket": "gQno"}).status_code == 404
    assert box.http.post(f"{box.url}/sandbox/decode", data=picture()).status_code == 422


# Users


def test_followers_page_by_page(start_box: StartBox) -> None:
    box = start_box("--limit", "user_page=2")
    people = [{"following": number != 1} for number in range(6)]
    openids = [person["openid"] for person in box.control("/people", {"people": people})["people"]]
    following = [openid for number, openid in enumerate(openids) if number != 1]
    seen: list[str] = []
    after = ""
    while (page := box.get("/cgi-bin/user/get", next_openid=after))["count"]:
        assert page["total"] == 5
        seen += page["data"]["openid"]
        after = page["next_openid"]
    assert seen == following
    assert page == {"total": 5, "count": 0, "next_openid": ""}
    assert box.get("/cgi-bin/user/get", next_openid="oNobody")["errcode"] == 40003


def test_user_info(box: Box) -> None:
    code = box.code("door")
    ann = box.person(name="安")
    assert box.get("/cgi-bin/user/info", openid=ann) == {"subscribe": 0, "openid": ann}
    box.act(ann, "scan", ticket=code["ticket"])
    info = box.get("/cgi-bin/user/info", openid=ann, lang="zh_CN")
    assert (info["subscribe"], info["nickname"], info["headimgurl"]) == (1, "", "")
    assert (info["subscribe_scene"], info["qr_scene"], info["qr_scene_str"]) == ("ADD_SCENE_QR_CODE", 0, "door")
    assert box.post("/cgi-bin/user/info/updateremark", {"openid": ann, "remark": "爱喝茶"})["errcode"] == 0
    batch = {"user_list": [{"openid": ann, "lang": "zh_CN"}, {"openid": box.person()}]}
    found = box.post("/cgi-bin/user/info/batchget", batch)["user_info_list"]
    assert [one["subscribe"] for one in found] == [1, 0]
    assert found[0]["remark"] == "爱喝茶"
    box.act(ann, "unfollow")
    assert box.get("/cgi-bin/user/info", openid=ann) == {"subscribe": 0, "openid": ann}
    assert box.get("/cgi-bin/user/info", openid="oNobody")["errcode"] == 40003
    assert box.post("/cgi-bin/user/info/batchget", {"user_list": []})["errcode"] == 40032
    assert box.post("/cgi-bin/user/info/batchget", {"user_list": [{"openid": ann}] * 101})["errcode"] == 40032


def test_tags(box: Box) -> None:
    ann = box.person(following=True)
    tag = box.post("/cgi-bin/tags/create", {"tag": {"name": "茶"}})["tag"]
    assert tag["id"] >= 100
    assert box.post("/cgi-bin/tags/create", {"tag": {"name": "茶"}})["errcode"] == 45157
    body = {"openid_list": [ann], "tagid": tag["id"]}
    assert box.post("/cgi-bin/tags/members/batchtagging", body)["errcode"] == 0
    assert box.post("/cgi-bin/tags/getidlist", {"openid": ann})["tagid_list"] == [tag["id"]]
    assert box.post("/cgi-bin/user/tag/get", {"tagid": tag["id"], "next_openid": ""})["data"] == {"openid": [ann]}
    assert box.post("/cgi-bin/tags/delete", {"tag": {"id": tag["id"]}})["errcode"] == 0
    assert box.post("/cgi-bin/tags/getidlist", {"openid": ann})["tagid_list"] == []


# Windows


def test_a_word_opens_five_messages_for_two_days(box: Box) -> None:
    ann = box.person(following=True)
    assert box.send_text(ann) == 45015
    box.act(ann, "say", text="在吗")
    assert [box.send_text(ann) for _ in range(6)] == [0, 0, 0, 0, 0, 45047]
    box.act(ann, "say", text="还在吗")
    assert box.send_text(ann) == 0
    box.clock(advance_seconds=48 * 3600 + 1)
    assert box.send_text(ann) == 45015


def test_a_scan_opens_three_messages_for_a_minute(box: Box) -> None:
    box.code("door")
    ann = box.person()
    box.act(ann, "scan", scene="door")
    assert [box.send_text(ann) for _ in range(4)] == [0, 0, 0, 45047]
    box.act(ann, "tap", key="COUPONS")
    assert box.send_text(ann) == 0, "a menu tap is a pot of its own"
    box.clock(advance_seconds=61)
    assert box.send_text(ann) == 45015


def test_the_window_that_closes_first_is_spent_first(box: Box) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", text="在吗")
    box.act(ann, "tap", key="COUPONS")
    assert [box.send_text(ann) for _ in range(3)] == [0, 0, 0]
    box.clock(advance_seconds=61)
    assert [box.send_text(ann) for _ in range(6)] == [0, 0, 0, 0, 0, 45047]


def test_leaving_closes_every_window(box: Box) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", text="在吗")
    box.act(ann, "unfollow")
    assert box.send_text(ann) == 45015
    assert box.send_text("oNobody") == 40003


def test_kinds_of_messages(box: Box) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", text="在吗")
    image = box.upload("/cgi-bin/media/upload", "tea.png", picture(), type="image")["media_id"]
    news = {"title": "茶", "description": "新茶", "url": "https://example.com/", "picurl": "https://example.com/a.png"}
    menu = {"head_content": "喜欢吗", "list": [{"id": "1", "content": "喜欢"}], "tail_content": "谢谢"}
    for kind, content in {"image": {"media_id": image}, "news": {"articles": [news]}, "msgmenu": menu}.items():
        body = {"touser": ann, "msgtype": kind, kind: content}
        assert box.post("/cgi-bin/message/custom/send", body)["errcode"] == 0
    shown = [message for message in box.chat(ann) if message["from"] == "account"]
    assert [message["type"] for message in shown] == ["image", "news", "msgmenu"]
    assert box.http.get(shown[0]["image_url"]).content == picture()
    assert shown[1]["title"] == "茶"
    too_many = {"touser": ann, "msgtype": "news", "news": {"articles": [news, news]}}
    assert box.post("/cgi-bin/message/custom/send", too_many)["errcode"] == 45008
    unknown = {"touser": ann, "msgtype": "image", "image": {"media_id": "nothing"}}
    assert box.post("/cgi-bin/message/custom/send", unknown)["errcode"] == 40007
    assert box.send_text(ann, "字" * 683) == 45002


def test_typing(box: Box) -> None:
    ann = box.person(following=True)
    typing = {"touser": ann, "command": "Typing"}
    assert box.post("/cgi-bin/message/custom/typing", typing)["errcode"] == 45015
    box.act(ann, "say", text="在吗")
    assert box.post("/cgi-bin/message/custom/typing", typing)["errcode"] == 0
    assert box.look(f"/people/{ann}/chat")["typing"] is True
    assert box.post("/cgi-bin/message/custom/typing", typing)["errcode"] == 45081
    box.clock(advance_seconds=31)
    assert box.post("/cgi-bin/message/custom/typing", typing)["errcode"] == 45080


# Media


def test_temporary_media_live_three_days(box: Box) -> None:
    media_id = box.upload("/cgi-bin/media/upload", "tea.jpg", picture("JPEG"), type="image")["media_id"]
    query = {"access_token": box.token(), "media_id": media_id}
    assert box.http.get(f"{box.url}/cgi-bin/media/get", params=query).content == picture("JPEG")
    box.clock(advance_seconds=3 * 24 * 3600)
    assert box.get("/cgi-bin/media/get", media_id=media_id)["errcode"] == 40007


def test_material(box: Box) -> None:
    kept = box.upload("/cgi-bin/material/add_material", "tea.png", picture(), type="image")
    assert box.http.get(kept["url"]).content == picture()
    assert box.get("/cgi-bin/material/get_materialcount")["image_count"] == 1
    listed = box.post("/cgi-bin/material/batchget_material", {"type": "image", "offset": 0, "count": 20})
    assert [item["media_id"] for item in listed["item"]] == [kept["media_id"]]
    assert box.post("/cgi-bin/material/del_material", {"media_id": kept["media_id"]})["errcode"] == 0
    assert box.post("/cgi-bin/material/get_material", {"media_id": kept["media_id"]})["errcode"] == 40007
    assert "url" in box.upload("/cgi-bin/media/uploadimg", "tea.png", picture())


@pytest.mark.parametrize(
    ("name", "content", "kind", "errcode"),
    [
        ("tea.png", b"no picture", "image", 40005),
        ("tea.exe", b"MZ", "image", 40005),
        ("tea.png", b"", "image", 44001),
        ("tea.png", b"x", "poem", 40004),
        ("tea.mp3", b"x" * (2 << 20) + b"x", "voice", 45001),
    ],
)
def test_bad_media(box: Box, name: str, content: bytes, kind: str, errcode: int) -> None:
    assert box.upload("/cgi-bin/media/upload", name, content, type=kind)["errcode"] == errcode


# Menu, quotas, the rest


def test_menu(box: Box) -> None:
    assert box.get("/cgi-bin/menu/get")["errcode"] == 46003
    tap = {"type": "click", "name": "优惠", "key": "COUPONS"}
    shops = {"type": "view", "name": "店铺", "url": "https://example.com/shops"}
    button = [tap, {"name": "更多", "sub_button": [shops]}]
    assert box.post("/cgi-bin/menu/create", {"button": button})["errcode"] == 0
    with_lists = [tap | {"sub_button": []}, {"name": "更多", "sub_button": [shops | {"sub_button": []}]}]
    assert box.get("/cgi-bin/menu/get") == {"menu": {"button": with_lists}}
    assert box.look("/menu") == {"button": button}
    assert box.get("/cgi-bin/menu/delete")["errcode"] == 0
    assert box.look("/menu") == {"button": []}


@pytest.mark.parametrize("name", BAD)
def test_bad_menus(box: Box, name: str) -> None:
    button, errcode, _sentence = BAD[name]
    assert box.post("/cgi-bin/menu/create", {"button": button})["errcode"] == errcode


def test_a_menu_at_the_edge_of_every_limit(box: Box) -> None:
    assert box.post("/cgi-bin/menu/create", {"button": GOOD})["errcode"] == 0


def test_daily_quota_ends_at_midnight_in_beijing_and_can_be_cleared(start_box: StartBox) -> None:
    box = start_box(*QUICK, "--limit", "day:/cgi-bin/user/get=2", "--limit", "clear_quota_per_month=1")
    path = {"cgi_path": "/cgi-bin/user/get"}
    errcodes = [box.get("/cgi-bin/user/get").get("errcode", 0) for _ in range(3)]
    assert errcodes == [0, 0, 45009]
    assert box.post("/cgi-bin/openapi/quota/get", path)["quota"] == {"daily_limit": 2, "used": 2, "remain": 0}
    assert box.post("/cgi-bin/clear_quota", {"appid": APP_ID})["errcode"] == 0
    assert "total" in box.get("/cgi-bin/user/get")
    assert box.post("/cgi-bin/clear_quota", {"appid": APP_ID})["errcode"] == 48006
    box.get("/cgi-bin/user/get")
    assert box.get("/cgi-bin/user/get")["errcode"] == 45009
    box.clock(advance_seconds=24 * 3600)
    assert "total" in box.get("/cgi-bin/user/get")
    assert box.post("/cgi-bin/openapi/quota/get", {"cgi_path": "/no"})["errcode"] == 76021


def test_minute_quota(start_box: StartBox) -> None:
    box = start_box("--limit", "minute:/cgi-bin/getcallbackip=2")
    errcodes = {box.get("/cgi-bin/getcallbackip").get("errcode", 0) for _ in range(5)}
    assert errcodes == {0, 45011}
    box.clock(advance_seconds=60)
    assert "ip_list" in box.get("/cgi-bin/getcallbackip")


def test_basics(box: Box) -> None:
    assert box.get("/cgi-bin/get_api_domain_ip")["ip_list"]
    ticket = box.get("/cgi-bin/ticket/getticket", type="jsapi")
    assert ticket["expires_in"] == 7200
    assert box.get("/cgi-bin/ticket/getticket", type="jsapi")["ticket"] == ticket["ticket"]
    check = box.post("/cgi-bin/callback/check", {"action": "all", "check_operator": "DEFAULT"})
    assert set(check) == {"dns", "ping"}


# OAuth


def authorize(box: Box, openid: str, scope: str = "snsapi_base", **changes: str) -> requests.Response:
    query = {
        "appid": APP_ID,
        "redirect_uri": "https://shop.example.com/m/back?a=1",
        "response_type": "code",
        "scope": scope,
        "state": "abc123",
    }
    cookies = {"sandbox_person": openid} if openid else {}
    return box.http.get(
        f"{box.url}/connect/oauth2/authorize", params=query | changes, cookies=cookies, allow_redirects=False
    )


def exchange(box: Box, response: requests.Response) -> dict[str, Any]:
    location = response.headers["Location"]
    assert location.startswith("https://shop.example.com/m/back?a=1&code=")
    assert location.endswith("&state=abc123")
    code = location.partition("code=")[2].partition("&")[0]
    query = {"appid": APP_ID, "secret": SECRET, "code": code, "grant_type": "authorization_code"}
    answer: dict[str, Any] = box.http.get(f"{box.url}/sns/oauth2/access_token", params=query).json()
    again = box.http.get(f"{box.url}/sns/oauth2/access_token", params=query).json()
    assert again["errcode"] == 40163
    return answer


def test_silent_authorization(box: Box) -> None:
    ann = box.person()
    tokens = exchange(box, authorize(box, ann))
    assert (tokens["openid"], tokens["scope"]) == (ann, "snsapi_base")
    query = {"access_token": tokens["access_token"], "openid": ann}
    assert box.http.get(f"{box.url}/sns/auth", params=query).json()["errcode"] == 0
    assert box.http.get(f"{box.url}/sns/userinfo", params=query).json()["errcode"] == 48001
    refresh = {"appid": APP_ID, "grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    box.clock(advance_seconds=7201)
    assert box.http.get(f"{box.url}/sns/auth", params=query).json()["errcode"] == 42001
    assert "access_token" in box.http.get(f"{box.url}/sns/oauth2/refresh_token", params=refresh).json()


def test_authorization_with_consent(box: Box) -> None:
    ann = box.person(name="安")
    page = authorize(box, ann, "snsapi_userinfo")
    assert page.status_code == 200
    assert "安" in page.text
    agreed = box.http.post(page.url, data={"openid": ann, "decision": "allow"}, allow_redirects=False)
    tokens = exchange(box, agreed)
    query = {"access_token": tokens["access_token"], "openid": ann, "lang": "zh_CN"}
    info = box.http.get(f"{box.url}/sns/userinfo", params=query).json()
    assert info["nickname"] == "安"
    assert box.http.get(info["headimgurl"]).headers["Content-Type"].startswith("image/svg+xml")


def test_a_snapshot_visitor_is_somebody_else(box: Box) -> None:
    ann = box.person(name="安", snapshot=True, following=True)
    tokens = exchange(box, authorize(box, ann))
    assert tokens["is_snapshotuser"] == 1
    assert tokens["openid"] != ann
    assert len(tokens["openid"]) == 28
    assert box.get("/cgi-bin/user/info", openid=tokens["openid"])["subscribe"] == 0


def test_without_a_person_the_page_asks_who_it_is(box: Box) -> None:
    ann = box.person(name="安")
    page = authorize(box, "")
    assert page.status_code == 200
    assert f"sandbox_openid={ann}" in page.text


def test_bad_authorizations(box: Box) -> None:
    ann = box.person()
    assert authorize(box, ann, appid="wx1").status_code == 400
    assert authorize(box, ann, scope="all").status_code == 400
    assert authorize(box, ann, state="a b").status_code == 400
    box.control("/account", {"oauth_domain": "other.example.com"})
    assert "10003" in authorize(box, ann).text
    query = {"appid": APP_ID, "secret": SECRET, "code": "no", "grant_type": "authorization_code"}
    assert box.http.get(f"{box.url}/sns/oauth2/access_token", params=query).json()["errcode"] == 40029


def test_an_unused_code_expires(box: Box) -> None:
    location = authorize(box, box.person()).headers["Location"]
    code = location.partition("code=")[2].partition("&")[0]
    box.clock(advance_seconds=301)
    query = {"appid": APP_ID, "secret": SECRET, "code": code, "grant_type": "authorization_code"}
    assert box.http.get(f"{box.url}/sns/oauth2/access_token", params=query).json()["errcode"] == 42003
