"""Signatures and encryption against the published sample and our own vectors."""

import pytest

from sandbox.crypto import DecryptionFailed, MessageCipher, signature

MESSAGE_A = (
    "<xml><ToUserName><![CDATA[gh_0123456789ab]]></ToUserName>"
    "<FromUserName><![CDATA[oAAAAAAAAAAAAAAAAAAAAAAAAAA1]]></FromUserName><CreateTime>1700000000</CreateTime>"
    "<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[你好,二维码]]></Content><MsgId>24000000000000001</MsgId></xml>"
)
MESSAGE_B = (
    "<xml><ToUserName><![CDATA[gh_0123456789ab]]></ToUserName>"
    "<FromUserName><![CDATA[oAAAAAAAAAAAAAAAAAAAAAAAAAA2]]></FromUserName><CreateTime>1700000100</CreateTime>"
    "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[subscribe]]></Event>"
    "<EventKey><![CDATA[qrscene_m:000000000000000000000000042]]></EventKey><Ticket><![CDATA[gQTICKET]]></Ticket></xml>"
)
MESSAGE_C = (
    "<xml><ToUserName><![CDATA[oAAAAAAAAAAAAAAAAAAAAAAAAAA1]]></ToUserName>"
    "<FromUserName><![CDATA[gh_0123456789ab]]></FromUserName><CreateTime>1700000001</CreateTime>"
    "<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[ok]]></Content></xml>"
)
KEY_A = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
KEY_B = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA"

VECTORS = [
    pytest.param(
        "fanQrToken2024", "wx0123456789abcdef", KEY_A, "1700000000", "987654321", b"ABCDEFGHIJKLMNOP", MESSAGE_A,
        "29c9f49aa8da1f4d026ee04139ac222f7839a5c6", id="A",
    ),
    pytest.param(
        "fanQrToken2024", "wx0123456789abcdef", KEY_B, "1700000100", "13579", b"0000111122223333", MESSAGE_B,
        "8ecd8ee9cac55d4f4770855d4343914543e2a86f", id="B",
    ),
    pytest.param(
        "fanQrToken2024", "wx0123456789abcdef", KEY_A, "1700000001", "24680", b"ponmlkjihgfedcba", MESSAGE_C,
        "e9e88719da90dc17fd7086961c067d1fc280d47d", id="C",
    ),
    pytest.param(
        "pamtest", "wxb11529c136998cb6", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "1409304348", "xxxxxx",
        b"aaaabbbbccccdddd", "我是中文abcd123", "82c962d39941aa48552f90ef55aa323dc620cc10", id="official sample",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("token", "app_id", "key", "timestamp", "nonce", "prefix", "message", "expected"), VECTORS)
def test_vectors(
    token: str, app_id: str, key: str, timestamp: str, nonce: str, prefix: bytes, message: str, expected: str
) -> None:
    cipher = MessageCipher(aes_key=key, app_id=app_id)
    encrypted = cipher.encrypt(message, prefix=prefix)
    # msg_signature covers the cipher text, so equality proves the encryption byte for byte.
    assert signature(token, timestamp, nonce, encrypted) == expected
    assert cipher.decrypt(encrypted) == message


def test_official_sample_text() -> None:
    cipher = MessageCipher(aes_key="abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", app_id="wxb11529c136998cb6")
    assert cipher.encrypt("我是中文abcd123", prefix=b"aaaabbbbccccdddd") == (
        "jn1L23DB+6ELqJ+6bruv21Y6MD7KeIfP82D6gU39rmkgczbWwt5+3bnyg5K55bgVtVzd832WzZGMhkP72vVOfg=="
    )


def test_plain_signature() -> None:
    assert signature("AAAAA", "1714037059", "486452656") == "899cf89e464efb63f54ddac96b0a0a235f53aa78"


def test_message_for_another_account_is_refused() -> None:
    encrypted = MessageCipher(aes_key=KEY_A, app_id="wx0000000000000000").encrypt("hi")
    with pytest.raises(DecryptionFailed):
        MessageCipher(aes_key=KEY_A, app_id="wx0123456789abcdef").decrypt(encrypted)


@pytest.mark.parametrize("garbage", ["", "AAAA", "not base64!", "A" * 64])
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(DecryptionFailed):
        MessageCipher(aes_key=KEY_A, app_id="wx0123456789abcdef").decrypt(garbage)
