"""The documented samples pass both ways; anything one byte off is refused with the right inner reason."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from wechat.crypto import MessageCrypto, Reason, Unauthentic, is_signed, signature


@dataclass(frozen=True)
class Vector:
    name: str
    token: str
    app_id: str
    aes_key: str
    random16: str
    timestamp: str
    nonce: str
    signature: str | None
    message: str
    encrypt: str
    msg_signature: str

    @property
    def crypto(self) -> MessageCrypto:
        return MessageCrypto(self.app_id, self.token, self.aes_key)


VECTORS = [Vector(**row) for row in json.loads(Path(__file__).with_name("crypto_vectors.json").read_text("utf-8"))]
every_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
A = VECTORS[0]


def seal(padded: bytes, *, aes_key: str = A.aes_key) -> str:
    """Encrypts exactly these bytes, whatever their padding, as somebody who holds the key could."""
    key = base64.b64decode(aes_key + "=")
    encryptor = Cipher(AES(key), CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def framed(message: bytes, *, length: int | None = None, app_id: str = A.app_id) -> bytes:
    size = len(message) if length is None else length
    return b"r" * 16 + size.to_bytes(4, "big") + message + app_id.encode()


def padded(content: bytes) -> bytes:
    padding = 32 - len(content) % 32
    return content + bytes([padding]) * padding


def refusal(encrypt: str) -> Reason:
    with pytest.raises(Unauthentic) as refused:
        A.crypto.decrypt(encrypt)
    return refused.value.reason


@every_vector
def test_a_documented_sample_is_opened(vector: Vector) -> None:
    assert vector.crypto.decrypt(vector.encrypt).decode() == vector.message


@every_vector
def test_a_documented_sample_is_sealed_byte_for_byte(vector: Vector) -> None:
    reply = vector.crypto.encrypt(
        vector.message.encode(),
        timestamp=int(vector.timestamp),
        nonce=vector.nonce,
        random16=vector.random16.encode(),
    )
    assert reply == (
        f"<xml><Encrypt><![CDATA[{vector.encrypt}]]></Encrypt>"
        f"<MsgSignature><![CDATA[{vector.msg_signature}]]></MsgSignature>"
        f"<TimeStamp>{vector.timestamp}</TimeStamp><Nonce><![CDATA[{vector.nonce}]]></Nonce></xml>"
    )


@every_vector
def test_documented_signatures_are_recognised(vector: Vector) -> None:
    parts = (vector.token, vector.timestamp, vector.nonce)
    assert is_signed(vector.msg_signature, *parts, vector.encrypt)
    if vector.signature is not None:
        assert is_signed(vector.signature, *parts)


def test_the_official_signature_sample() -> None:
    assert signature("AAAAA", "1714037059", "486452656") == "899cf89e464efb63f54ddac96b0a0a235f53aa78"


@pytest.mark.parametrize(
    "given_signature",
    [
        "",
        "3335a291b1f6004cb2164295d349328680531bc8",
        "3335A291B1F6004CB2164295D349328680531BC9",
        "3335a291b1f6004cb2164295d349328680531bc9 ",
        "签名",
        "\udcff",
    ],
)
def test_any_other_signature_is_refused_quietly(given_signature: str) -> None:
    assert not is_signed(given_signature, A.token, A.timestamp, A.nonce)


def test_two_replies_with_the_same_words_look_different() -> None:
    def reply() -> str:
        return A.crypto.encrypt(b"ok", timestamp=1700000001, nonce="24680")

    assert reply() != reply()


def test_a_message_under_another_key_is_refused() -> None:
    assert refusal(VECTORS[1].encrypt)


@pytest.mark.parametrize("text", ["不是", "a", "****", "YQ==YQ==", A.encrypt + "\n", " " + A.encrypt, "=" * 44])
def test_what_is_not_base64_is_refused(text: str) -> None:
    assert refusal(text) is Reason.NOT_BASE64


@pytest.mark.parametrize("size", [0, 1, 15, 16, 33, 48])
def test_half_a_block_is_refused(size: int) -> None:
    assert refusal(base64.b64encode(b"x" * size).decode()) is Reason.BAD_LENGTH


@pytest.mark.parametrize("last", [0, 33, 64, 255])
def test_a_padding_byte_outside_1_to_32_is_refused(last: int) -> None:
    assert refusal(seal(b"x" * 63 + bytes([last]))) is Reason.BAD_PADDING


def test_every_padding_byte_is_checked() -> None:
    content = padded(framed(b"hello"))
    assert refusal(seal(content[:-2] + b"\x00" + content[-1:])) is Reason.BAD_PADDING


@pytest.mark.parametrize("length", [6 + len(A.app_id), 2**31, 2**32 - 1])
def test_an_inner_length_beyond_the_content_is_refused(length: int) -> None:
    assert refusal(seal(padded(framed(b"hello", length=length)))) is Reason.BAD_MESSAGE_LENGTH


def test_content_too_short_for_its_own_length_is_refused() -> None:
    assert refusal(seal(padded(b"r" * 16 + b"\x00"))) is Reason.BAD_MESSAGE_LENGTH
    assert refusal(seal(bytes([32]) * 32)) is Reason.BAD_MESSAGE_LENGTH


@pytest.mark.parametrize("app_id", ["wx0123456789abcdee", "", A.app_id + "x"])
def test_a_message_for_another_account_is_refused(app_id: str) -> None:
    assert refusal(seal(padded(framed(b"hello", app_id=app_id)))) is Reason.FOREIGN_APP_ID


def test_a_length_that_shifts_the_app_id_is_refused() -> None:
    assert refusal(seal(padded(framed(b"hello", length=4)))) is Reason.FOREIGN_APP_ID


@pytest.mark.parametrize("aes_key", ["", "short", "a" * 42, "a" * 44, "密" * 43, "a" * 42 + "=", "a" * 42 + "\n"])
def test_a_malformed_key_is_refused_without_repeating_it(aes_key: str) -> None:
    with pytest.raises(ValueError, match="43 letters") as refused:
        MessageCrypto(A.app_id, A.token, aes_key)
    assert not aes_key or aes_key not in str(refused.value)


@pytest.mark.parametrize("nonce", ["", "a]]>b", "空", "a" * 65])
def test_a_nonce_that_could_break_the_reply_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        A.crypto.encrypt(b"ok", timestamp=1, nonce=nonce)


@given(st.binary(max_size=600))
def test_whatever_is_sealed_opens_to_the_same_bytes(message: bytes) -> None:
    reply = A.crypto.encrypt(message, timestamp=1700000001, nonce="24680")
    found = re.search(r"<Encrypt><!\[CDATA\[(.+?)\]\]>", reply)
    assert found is not None
    assert A.crypto.decrypt(found[1]) == message


@given(st.binary(max_size=200))
def test_random_ciphertext_never_raises_anything_else(sealed: bytes) -> None:
    with pytest.raises(Unauthentic):
        A.crypto.decrypt(base64.b64encode(sealed).decode())
