"""How things are written for people."""

from __future__ import annotations

import pytest
from flask import Flask
from flask_babel import Babel

from web.formats import device

APPLE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"{APPLE} Mobile/15E148 MicroMessenger/8.0.50 NetType/WIFI Language/zh_CN", "微信 · iPhone"),
        (f"{APPLE} Version/18.0 Mobile/15E148 Safari/604.1", "Safari · iPhone"),
        (
            "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
            "Chrome · 安卓手机",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Edg/126.0",
            "Edge · Windows 电脑",
        ),
        ("curl/8.7.1", "未知的浏览器"),
        ("", "未知的浏览器"),
    ],
)
def test_a_browser_is_called_what_its_owner_calls_it(user_agent: str, name: str) -> None:
    app = Flask(__name__)
    Babel(app, default_locale="zh_CN")
    with app.test_request_context():
        assert device(user_agent) == name
