"""The peers of the callback benchmark, as Flask applications: none of them stores anything.

Served by the same granian with the same workers: `benchmarks.peers:constant`, `:werobot_echo`, `:wechatpy_echo`.
"""

import os

from flask import Flask, request
from wechatpy import parse_message
from wechatpy.crypto import WeChatCrypto
from wechatpy.replies import create_reply
from werobot import WeRoBot
from werobot.contrib.flask import make_view

PATH = "/wechat/callback"
TOKEN = os.environ.get("WECHAT_TOKEN", "benchmark")
APP_ID = os.environ.get("WECHAT_APP_ID", "wx0123456789abcdef")
AES_KEY = os.environ.get("WECHAT_AES_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")

constant = Flask("constant")


@constant.post(PATH)
def say_success() -> str:
    return "success"


_robot = WeRoBot(token=TOKEN, app_id=APP_ID, encoding_aes_key=AES_KEY, SESSION_STORAGE=False)


@_robot.handler  # type: ignore[untyped-decorator]  # werobot has no types
def echo(message: object) -> str:
    return getattr(message, "content", None) or "ok"


werobot_echo = Flask("werobot_echo")
werobot_echo.add_url_rule(PATH, endpoint="werobot", view_func=make_view(_robot), methods=["GET", "POST"])

wechatpy_echo = Flask("wechatpy_echo")
_crypto = WeChatCrypto(TOKEN, AES_KEY, APP_ID)


@wechatpy_echo.post(PATH)
def decrypt_and_echo() -> str:
    arguments = request.args
    xml = _crypto.decrypt_message(request.data, arguments["msg_signature"], arguments["timestamp"], arguments["nonce"])
    message = parse_message(xml)
    reply = create_reply(getattr(message, "content", None) or "ok", message)
    encrypted: str = _crypto.encrypt_message(reply.render(), arguments["nonce"], arguments["timestamp"])
    return encrypted
