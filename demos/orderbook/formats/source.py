"""A file of any size, read in order with constant memory, and the errors that every reader of it raises.

A `Source` hands out the bytes of a file, gzip or not, in chunks or in lines. Nothing is buffered beyond one chunk and
one line, both bounded, so a recording of a whole day and a gzip bomb cost the same memory. Readers (one module per
format) are generators over a source: they set `source.position` to the place of the record they yield, so that a
consumer that finds the record wrong can name the place too, and `bytes_read` moves against `bytes_total` for a
progress bar.

Every error is one line that names file, place and cause. `FormatError` means that the content is damaged; `Unreadable`
and `UnknownFormat` mean that there was nothing to read, or nothing that we know.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from typing import Final, Literal, Self

# Bytes asked of the file at once: larger reads are not faster, smaller ones cost a call each.
READ_BYTES: Final = 64 * 1024
# One line. The longest recorded one, a snapshot of two thousand levels, is under 100 kB.
LINE_BYTES_MAX: Final = 1024 * 1024
# Bytes of bad content quoted in an error, so that it stays one line.
QUOTED_BYTES_MAX: Final = 60

GZIP_MAGIC: Final = b"\x1f\x8b"

Unit = Literal["line", "byte"]


class FormatError(ValueError):
    """Bad content: `path`, `position` (None if there is no place), `unit` of the position, `what`. One line of text.

    A line number counts from 1; a byte offset counts from 0 in the content, after decompression.
    """

    def __init__(self, path: str, position: int | None, what: str, unit: Unit = "line") -> None:
        place = "" if position is None else f"{unit} {position}: "
        super().__init__(f"{path}: {place}{what}")
        self.path = path
        self.position = position
        self.unit = unit
        self.what = what


class TornTail(FormatError):
    """The file ends inside a record; everything before `position` was whole and has been yielded.

    `found` of `wanted` bytes of that record are there, where its length is known.
    """

    found: int | None = None
    wanted: int | None = None


class UnknownFormat(FormatError):
    """The content is none of the formats that we read."""


class Unreadable(FormatError):
    """The file is not there, not ours to read, or not a regular file; or the disk failed."""


def quoted(content: bytes) -> str:
    """The beginning of bad content for an error text: printable, one line, bounded."""
    text = repr(content[:QUOTED_BYTES_MAX])[1:]
    return text if len(content) <= QUOTED_BYTES_MAX else text + "..."


class Source:
    """One open file; a context manager. Raises `Unreadable` if it cannot be opened.

    `path` as given, `bytes_total` on disk, `position` of the record yielded last (line number or byte offset).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.position = 0
        try:
            # Looked at before it is opened: opening a pipe that nobody writes to would wait for ever.
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(self.path, None, "is not a regular file")
            self._raw = open(self.path, "rb", buffering=0)  # noqa: SIM115  # closed by close()
        except (OSError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise self._unreadable(error) from error
        self.bytes_total = status.st_size
        try:
            magic = self._raw.read(len(GZIP_MAGIC))
            self._raw.seek(0)
        except OSError as error:
            self._raw.close()
            raise self._unreadable(error) from error
        self._gzip = gzip.GzipFile(fileobj=self._raw, mode="rb") if magic == GZIP_MAGIC else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if self._gzip is not None:
            self._gzip.close()
        self._raw.close()

    @property
    def bytes_read(self) -> int:
        """Bytes of the file on disk consumed so far (compressed ones of a gzip file), at most `bytes_total`."""
        return 0 if self._raw.closed else min(self._raw.tell(), self.bytes_total)

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most `READ_BYTES`, to the end of the file.

        Raises `TornTail` where a gzip stream ends too early, `FormatError` where it is damaged, `Unreadable` when the
        disk fails; everything before that place has been yielded.
        """
        done = 0
        while True:
            try:
                chunk = self._raw.read(READ_BYTES) if self._gzip is None else self._gzip.read1(READ_BYTES)
            except EOFError as error:
                raise TornTail(self.path, done, "the gzip stream ends too early", "byte") from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise FormatError(self.path, done, f"the gzip stream is damaged: {error}", "byte") from error
            except OSError as error:
                raise self._unreadable(error) from error
            if not chunk:
                return
            done += len(chunk)
            yield chunk

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(line number from 1, line without its line end) in order. Raises as `chunks`, and on an endless line.

        A last line without a newline is a line.
        """
        number = 0
        rest = b""
        for chunk in self.chunks():
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                number += 1
                yield number, line.removesuffix(b"\r")
            if len(rest) > LINE_BYTES_MAX:
                raise FormatError(self.path, number + 1, f"a line of more than {LINE_BYTES_MAX} bytes")
        if rest:
            yield number + 1, rest

    def bad_line(self, line: int, what: str) -> FormatError:
        """The error for bad content in a line; the caller raises it."""
        return FormatError(self.path, line, what)

    def bad_byte(self, offset: int, what: str) -> FormatError:
        """The error for bad content at a byte offset; the caller raises it."""
        return FormatError(self.path, offset, what, "byte")

    def _unreadable(self, error: Exception) -> Unreadable:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Unreadable(self.path, None, f"cannot be read: {cause}")
