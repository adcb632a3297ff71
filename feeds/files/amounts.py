"""Amounts as people write them, in minor units."""

from decimal import Decimal, InvalidOperation

MOST_DIGITS = 40
"""On either side of the decimal mark; no event takes an amount of as many."""
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_PLACES = {currency: places for places, some in ((0, _NONE), (3, _THREE), (4, _FOUR)) for currency in some.split()}


def decimal_places(currency: str | None) -> int:
    """Of a currency's minor unit (ISO 4217): two, but for some."""
    return _PLACES.get(currency or "", 2)


def minor_units(written: object, places: int, mark: str = ".") -> int | None:
    """Of an amount in major units; None when it is no number, or finer than a minor unit. No thousands separators."""
    if isinstance(written, str):
        if mark == "," and "." in written:
            return None  # 1.500 are thousands to whoever writes 1,50
        number = written.replace(",", ".") if mark == "," else written
        whole, point, fraction = number.partition(".")
        if len(fraction) == places and (point or not places):  # nearly all are written out in full
            digits = whole[1:] if whole[:1] in ("-", "+") else whole
            if digits.isascii() and digits.isdigit() and ((fraction.isascii() and fraction.isdigit()) or not places):
                return int(whole + fraction)
        if not number.isascii() or "_" in number:
            return None
    elif isinstance(written, (int, float, Decimal)) and not isinstance(written, bool):
        number = repr(written) if isinstance(written, float) else str(written)
    else:
        return None
    try:
        sign, figures, exponent = Decimal(number).as_tuple()
    except InvalidOperation:
        return None
    if not isinstance(exponent, int) or not -MOST_DIGITS <= exponent <= MOST_DIGITS or len(figures) > 2 * MOST_DIGITS:
        return None
    units, rest = divmod(int("".join(map(str, figures))) * 10 ** (MOST_DIGITS + exponent + places), 10**MOST_DIGITS)
    return None if rest else -units if sign else units
