"""Names of people who do not exist, phones that cannot ring, addresses that are nowhere."""

from datetime import date, timedelta

from feeds.sample_bank.dice import Dice

_FAMILY = "安柏程丁方高顾韩何江金孔蓝黎林陆罗孟穆倪潘乔秦任沈石宋苏唐陶田汪温吴夏萧谢许严杨叶余袁岳曾张赵郑钟周朱"
_GIVEN = (
    "安宝晨川丹冬朵帆芳枫歌光海涵禾恒虹华佳嘉建江洁晶静君凯兰乐磊林灵露美梦明"
    "宁平琪晴然仁蓉若山书思涛天文溪晓欣雪雅言阳怡逸音颖宇远悦云泽知志子"
)
_OPENINGS = ("Al", "Bel", "Cor", "Dam", "El", "Fen", "Gal", "Hol", "Il", "Jor", "Kel", "Lor", "Mar", "Nel", "Or", "Per")
_MIDDLES = ("a", "an", "e", "en", "i", "il", "o", "or", "u", "un")
_ENDINGS = ("da", "dis", "la", "lin", "mir", "na", "nor", "ra", "ren", "sa", "tha", "ton", "va", "vin", "wen", "zo")
_FAMILY_ENDINGS = ("bray", "cott", "dale", "fer", "gard", "holm", "kin", "low", "mere", "ning", "rick", "stad", "wick")
_ROADS = ("样例路", "示范街", "虚构大道", "模拟巷")

LATIN_SHARE = 0.25


def person(dice: Dice) -> str:
    if dice.chance(LATIN_SHARE):
        given = dice.one_of(_OPENINGS) + dice.one_of(_MIDDLES) + dice.one_of(_ENDINGS)
        return f"{given} {dice.one_of(_OPENINGS)}{dice.one_of(_MIDDLES)}{dice.one_of(_FAMILY_ENDINGS)}"
    second = dice.one_of(_GIVEN) if dice.chance(0.7) else ""
    return dice.one_of(_FAMILY) + dice.one_of(_GIVEN) + second


def phone(number: int) -> str:
    """No Chinese number begins with 000."""
    return f"+86 000 {number // 10_000:04d} {number % 10_000:04d}"


def email(number: int) -> str:
    """`.example` is nobody's (RFC 2606)."""
    return f"c{number:06d}@customers.example"


def address(dice: Dice, city: str) -> str:
    return f"{city}{dice.one_of(_ROADS)}{dice.between(1, 400)}号{dice.between(1, 30)}室"


def birthday(dice: Dice, today: date, youngest: int, oldest: int) -> date:
    """Of someone who is between so many years old."""
    return today - timedelta(days=dice.between(youngest * 365 + 30, oldest * 365))
