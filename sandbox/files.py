"""The bytes of uploaded media, one file each."""

from __future__ import annotations

import shutil
from pathlib import Path

SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/bmp": (b"BM",),
}


class Files:
    """A folder of media; names are media ids, which hold no path separators."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, media_id: str, content: bytes) -> None:
        """Keep a file."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / media_id).write_bytes(content)

    def read(self, media_id: str) -> bytes:
        """A kept file; raises FileNotFoundError."""
        return (self._folder / media_id).read_bytes()

    def remove(self, media_id: str) -> None:
        """Forget a file that may be gone already."""
        (self._folder / media_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def image_type(content: bytes) -> str | None:
    """The content type of a picture by its first bytes, None when it is no picture."""
    for content_type, starts in SIGNATURES.items():
        if content.startswith(starts):
            return content_type
    return None
