"""The platform's side of signatures and message encryption."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 32  # the platform pads to 32 bytes although AES has blocks of 16


class DecryptionFailed(Exception):
    """The text was not encrypted for this account."""


def signature(*parts: str) -> str:
    """SHA-1 over the parts, sorted bytewise and joined."""
    return hashlib.sha1(b"".join(sorted(part.encode() for part in parts)), usedforsecurity=False).hexdigest()


def is_same(expected: str, given: str) -> bool:
    """Compare two signatures in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode())


class MessageCipher:
    """AES-256-CBC with the account's EncodingAESKey, in the platform's framing."""

    def __init__(self, *, aes_key: str, app_id: str) -> None:
        # Without strict checking the decoder ignores non-zero trailing bits, which real keys have.
        self._key = base64.b64decode(aes_key + "=")
        if len(self._key) != 32:
            raise ValueError("an EncodingAESKey has 43 characters")
        self._app_id = app_id.encode()

    def encrypt(self, message: str, *, prefix: bytes | None = None) -> str:
        """The message as the text of an `<Encrypt>` element; `prefix` replaces the 16 random bytes."""
        content = message.encode()
        plain = (prefix or os.urandom(16)) + struct.pack(">I", len(content)) + content + self._app_id
        missing = BLOCK - len(plain) % BLOCK
        encryptor = self._cipher().encryptor()
        return base64.b64encode(encryptor.update(plain + bytes([missing]) * missing) + encryptor.finalize()).decode()

    def decrypt(self, encrypted: str) -> str:
        """The message inside an `<Encrypt>` element; raises DecryptionFailed."""
        try:
            sealed = base64.b64decode(encrypted)
            decryptor = self._cipher().decryptor()
            plain = decryptor.update(sealed) + decryptor.finalize()
            padding = plain[-1]
            if not 1 <= padding <= BLOCK or plain[-padding:] != bytes([padding]) * padding:
                raise DecryptionFailed("wrong padding")
            (length,) = struct.unpack(">I", plain[16:20])
            content, app_id = plain[20 : 20 + length], plain[20 + length : -padding]
            if len(content) != length or app_id != self._app_id:
                raise DecryptionFailed("made for another account")
            return content.decode()
        except (ValueError, IndexError, struct.error) as error:
            raise DecryptionFailed(str(error)) from error

    def _cipher(self) -> Cipher[modes.CBC]:
        return Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16]))
