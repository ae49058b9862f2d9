"""What the app's pop-up shows: the form of the notices file, which is also the answer of GET /v1/notices."""

from typing import Annotated

from msgspec import Meta, Struct


class Notice(Struct, frozen=True, forbid_unknown_fields=True):
    """One known problem or its fix, as the app's pop-up shows it."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    title: dict[str, str]  # language → text, as {"ko": …, "en": …}
    text: dict[str, str]
    since: str = ""
    until: str = ""


class Notices(Struct, frozen=True, forbid_unknown_fields=True):
    """Known problems and their fixes, the most pressing first."""

    notices: tuple[Notice, ...] = ()
