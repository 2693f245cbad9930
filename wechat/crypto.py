"""Signatures and message encryption of the callback, exactly as the platform documents them.

Nothing here knows HTTP or XML parsing. Whatever is wrong with a message, callers see one exception, `Unauthentic`:
its `reason` is for our logs and must never reach the sender, who could learn from the difference.
"""

import base64
import hashlib
import hmac
import re
import secrets
from enum import StrEnum

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

_BLOCK = 32  # the platform pads to 32 bytes although the cipher's own block is 16
_RANDOM = 16
_LENGTH = 4
_AES_KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{43}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Reason(StrEnum):
    """Why a message was not believed."""

    NOT_BASE64 = "not base64"
    BAD_LENGTH = "ciphertext is not a whole number of blocks"
    BAD_PADDING = "padding is not PKCS#7 of 1 to 32 bytes"
    BAD_MESSAGE_LENGTH = "the inner length does not fit"
    FOREIGN_APP_ID = "made for another app id"


class Unauthentic(Exception):
    """The message was not made by somebody who holds our key, or not for us."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def signature(token: str, *parts: str) -> str:
    """SHA-1 over the token and the parts, sorted byte by byte and joined, as 40 lower-case hex digits."""
    # surrogatepass: a query string may decode to anything, and a strange one must merely fail to match.
    texts = sorted(text.encode("utf-8", "surrogatepass") for text in (token, *parts))
    return hashlib.sha1(b"".join(texts), usedforsecurity=False).hexdigest()


def is_signed(given: str, token: str, *parts: str) -> bool:
    """Whether `given` is the signature of these parts; takes equally long for every wrong one."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), signature(token, *parts).encode())


class MessageCrypto:
    """Opens and seals callback messages under one EncodingAESKey; build once and share between threads."""

    def __init__(self, app_id: str, token: str, aes_key: str) -> None:
        """Raises `ValueError` for a key text that is not 43 base64 characters."""
        if _AES_KEY_TEXT.fullmatch(aes_key) is None:
            raise ValueError("an EncodingAESKey has 43 letters or digits")
        # 43 characters carry 258 bits: the surplus two need not be zero (they are not in the official sample),
        # so this one place decodes leniently.
        key = base64.b64decode(aes_key + "=")
        self._app_id = app_id.encode()
        self._token = token
        self._cipher = Cipher(AES(key), CBC(key[:16]))

    def decrypt(self, encrypt: str) -> bytes:
        """The message inside an `Encrypt` element; raises `Unauthentic` unless every byte is as documented."""
        try:
            sealed = base64.b64decode(encrypt, validate=True)
        except ValueError:  # also what a non-ASCII text raises
            raise Unauthentic(Reason.NOT_BASE64) from None
        if not sealed or len(sealed) % _BLOCK:
            raise Unauthentic(Reason.BAD_LENGTH)
        decryptor = self._cipher.decryptor()
        padded = decryptor.update(sealed) + decryptor.finalize()

        padding = padded[-1]
        if not 1 <= padding <= _BLOCK or padded[-padding:] != bytes([padding]) * padding:
            raise Unauthentic(Reason.BAD_PADDING)
        content = padded[_RANDOM:-padding]

        length = int.from_bytes(content[:_LENGTH], "big")
        if len(content) < _LENGTH + length:
            raise Unauthentic(Reason.BAD_MESSAGE_LENGTH)
        if not hmac.compare_digest(content[_LENGTH + length :], self._app_id):
            raise Unauthentic(Reason.FOREIGN_APP_ID)
        return content[_LENGTH : _LENGTH + length]

    def encrypt(self, plain: bytes, *, timestamp: int, nonce: str, random16: bytes | None = None) -> str:
        """The XML of an encrypted passive reply; `random16` is given only to repeat a documented sample."""
        if _NONCE.fullmatch(nonce) is None:
            raise ValueError("a nonce is 1 to 64 letters, digits, - or _")
        prefix = secrets.token_bytes(_RANDOM) if random16 is None else random16
        if len(prefix) != _RANDOM:
            raise ValueError("the random prefix has 16 bytes")
        content = prefix + len(plain).to_bytes(_LENGTH, "big") + plain + self._app_id
        padding = _BLOCK - len(content) % _BLOCK
        encryptor = self._cipher.encryptor()
        sealed = encryptor.update(content + bytes([padding]) * padding) + encryptor.finalize()
        encrypt = base64.b64encode(sealed).decode()
        signed = signature(self._token, str(timestamp), nonce, encrypt)
        return (
            f"<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt>"
            f"<MsgSignature><![CDATA[{signed}]]></MsgSignature>"
            f"<TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
        )
