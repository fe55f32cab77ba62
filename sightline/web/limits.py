"""How much the explorer gives, in all and to each of its visitors: sizes, counts, seconds; and the error of what is beyond them."""

import os
from dataclasses import dataclass

MEBI = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of the server. The defaults serve 32 people at once on a small machine.

    Args:
        upload_bytes: of an encoded picture.
        upload_pixels: of a picture, which are counted from its header, before anything is decoded.
        upload_side: rows or columns of a picture.
        uploads: pictures that are received at a time; others wait for their turn.
        workers: threads that decode pictures and run nets.
        waiting: jobs that run or wait; one more is answered with 503 and Retry-After.
        waiting_each: likewise, of one session.
        seconds: until a request is answered, received or given up.
        sessions: kept at a time; the one unused for longest goes first.
        idle_seconds: until a session and all its pictures and maps are forgotten.
        pictures_each: pictures a session may hold; its oldest goes first.
        picture_bytes: kept of the pictures of all sessions.
        map_bytes: kept of maps, of all sessions.
        map_bytes_each: likewise, of one session.
        answer_bytes: of one answer's maps; where all heads are more, one head is sent at a time.
        download_bytes: of the maps in one file of data, before they are compressed.
    """

    upload_bytes: int = 10 * MEBI
    upload_pixels: int = 40_000_000
    upload_side: int = 20_000
    uploads: int = 4
    workers: int = max(1, min(4, (os.cpu_count() or 2) // 2))
    waiting: int = 256
    waiting_each: int = 24
    seconds: float = 30.0
    sessions: int = 64
    idle_seconds: float = 1800.0
    pictures_each: int = 8
    picture_bytes: int = 128 * MEBI
    map_bytes: int = 256 * MEBI
    map_bytes_each: int = 64 * MEBI
    answer_bytes: int = 4 * MEBI
    download_bytes: int = 64 * MEBI


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault of ours)
    """A request that is answered with an error: HTTP status, what is wrong, and after how many seconds to try again."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
