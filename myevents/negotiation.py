"""Which of the media types that a server has suits a caller best (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def best(accept: str | None, offers: Sequence[str], usual: str) -> str | None:
    """The offer that `accept` prefers, earlier ones first where it likes several; None where it takes none of them.

    `usual` is for those who do not say, or who would take anything.
    """
    if accept is None or not accept.strip():
        return usual
    ranges = [_range(part) for part in accept.split(",")]
    chosen, most = None, (0.0, False)
    for offer in offers:
        kind = offer.partition("/")[0]
        # The range that names the offer most closely says how much it is liked.
        closeness = {offer: 2, f"{kind}/*": 1, "*/*": 0}
        fitting = [(closeness[name], q) for name, q in ranges if name in closeness]
        specific, q = max(fitting, default=(0, 0.0))
        liked = (q, specific == 2 or offer == usual)
        if q > 0 and liked > most:
            chosen, most = offer, liked
    return chosen


def _range(text: str) -> tuple[str, float]:
    """A media range and its weight; one that cannot be read weighs nothing."""
    name, *parameters = (part.strip() for part in text.lower().split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError:
                return name, 0.0
    return name, 1.0
