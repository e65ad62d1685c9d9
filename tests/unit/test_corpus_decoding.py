"""Bytes in any encoding come out as the text that went in; mojibake comes back as far as its bytes survive."""

import io
import json
import random
import tarfile
import time
from collections import Counter
from pathlib import Path

import ftfy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sslcore.corpus.decoding import decode, encoding_of, lines, lines_invalid_in, undecodable
from sslcore.corpus.encodings import WESTERN, detect
from sslcore.corpus.mojibake import repair

SIMPLIFIED = "这家餐厅的服务员非常热情，菜的味道也很好，我们下次还会再来。价格不贵，环境也不错！"
TRADITIONAL = "這家餐廳的服務員非常熱情，菜的味道也很好，我們下次還會再來。價格不貴，環境也不錯！"
JAPANESE = "このレストランはとても美味しかったです。また来たいと思います。値段も高くないし、雰囲気もいい。"
KOREAN = "이 식당은 음식이 정말 맛있고 직원들도 친절해서 다음에 또 오고 싶습니다."
WESTERN_TEXT = "Le déjeuner était très bon, déjà goûté à l’été “dernier” – 30 € à peine. Für Öl größer. ¿Mañana?"
RUSSIAN = "Ресторан оказался очень хорошим, мы обязательно придём сюда ещё раз вместе с друзьями."

ENCODED = [
    (SIMPLIFIED, "utf-8"), (SIMPLIFIED, "utf-8-sig"), (SIMPLIFIED, "utf-16"), (SIMPLIFIED, "gbk"),
    (SIMPLIFIED, "gb18030"),
    (SIMPLIFIED, "gb2312"), (TRADITIONAL, "big5"), (TRADITIONAL, "gb18030"), (TRADITIONAL, "utf-8"),
    (JAPANESE, "shift_jis"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (JAPANESE, "iso2022_jp"),
    (KOREAN, "cp949"), (WESTERN_TEXT, "cp1252"),
    (WESTERN_TEXT, "utf-8"), (WESTERN_TEXT, "utf-16"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (RUSSIAN, "utf-8"),
]  # fmt: skip
ASCII_LINE = "A plain line of English that says nothing of the encoding of what follows.\n"


def decoded(data: bytes, chunk: int = 1 << 20) -> str:
    return "".join(decode(iter([data[i : i + chunk] for i in range(0, len(data), chunk)])))


@pytest.mark.parametrize(("text", "encoding"), ENCODED)
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_each_encoding_is_told_from_its_bytes(text: str, encoding: str, chunk: int) -> None:
    document = f"{text}\n{text[::-1]}\nplain\n"
    assert decoded(document.encode(encoding), chunk).lstrip("\ufeff") == document


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_without_a_mark(encoding: str) -> None:
    document = f"{WESTERN_TEXT}\n{SIMPLIFIED}\nplain words\n" * 3
    assert decoded(document.encode(encoding)) == document


def test_latin_1_is_read_as_the_windows_code_page_that_writers_meant() -> None:
    text = "Un café très fort, où l'on boit à l'œil…\x81"
    assert decoded(text.encode(WESTERN)) == text  # all 256 bytes, also those that Python's cp1252 refuses
    assert detect("déjà vu à Nîmes, s'il vous plaît".encode("latin-1")) == WESTERN


@pytest.mark.parametrize(("text", "encoding"), [case for case in ENCODED if case[1] not in ("utf-16", "utf-8-sig")])
def test_a_file_that_begins_in_ascii_and_goes_on_otherwise(text: str, encoding: str) -> None:
    document = ASCII_LINE * 40_000 + f"{text}\n" * 3
    assert decoded(document.encode(encoding)) == document
    assert decoded(document.encode(encoding), 1 << 16) == document


def test_lines_in_another_encoding_are_read_by_themselves() -> None:
    data = f"{SIMPLIFIED}\n".encode() * 50 + f"{SIMPLIFIED}\n".encode("gb18030") + f"{WESTERN_TEXT}\n".encode()
    assert decoded(data) == f"{SIMPLIFIED}\n" * 51 + f"{WESTERN_TEXT}\n"
    assert encoding_of(data) == "utf-8"
    assert lines_invalid_in(data, "utf-8") == 1


def test_what_no_encoding_explains_is_marked_and_found_again() -> None:
    text = decoded(f"{SIMPLIFIED}\n".encode() * 50 + bytes([0xFF, 0xFE, 0x81, 0xFF, 0x80]) * 20)
    assert undecodable(text.split("\n")[-1])
    assert not undecodable(SIMPLIFIED)
    assert not undecodable("one lost character \ufffd in a title")


def test_the_declaration_of_a_page_is_believed_where_it_decodes() -> None:
    page = '<html><head><meta charset="koi8-r"></head><body>вода</body></html>'
    assert "вода" in "".join(decode(iter([page.encode("koi8-r")]), declared_in="html"))
    lying = page.replace("koi8-r", "gb2312")
    assert "вода" in "".join(decode(iter([lying.encode()]), declared_in="html"))


def test_only_a_newline_ends_a_line() -> None:
    text = "one\u2028still one\x85still one\x0cstill one\r\ntwo\n\nfour"
    for cut in range(len(text)):
        assert list(lines(iter([text[:cut], text[cut:]]))) == [
            "one\u2028still one\x85still one\x0cstill one",
            "two",
            "",
            "four",
        ]


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    chunk=st.integers(1, 50),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_unicode_survives_any_chunking(text: str, chunk: int, encoding: str) -> None:
    assume(not text.startswith("\ufeff") and "\x1b$" not in text and "~{" not in text)
    document = f"{SIMPLIFIED}\n{text}"
    assert decoded(document.encode(encoding), chunk) == document


@given(
    text=st.text(
        "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过", min_size=6
    )
)
def test_chinese_comes_back_from_any_legacy_encoding(text: str) -> None:
    assume(len(set(text)) > 3)
    assert decoded(f"{text}\n{text}".encode("gb18030")) == f"{text}\n{text}"


def test_real_files_of_many_encodings_are_told_better_than_by_charset_normalizer(data: Path) -> None:
    from charset_normalizer import from_bytes

    truth = {"iso-8859-1": WESTERN, "windows-1252": WESTERN, "windows-1251-russian": "cp1251",
             "windows-1251-bulgarian": "cp1251", "GB2312": "gb18030",
             "Big5": "big5hkscs", "SHIFT_JIS": "cp932", "EUC-KR": "cp949"}  # fmt: skip
    ours = theirs = files = 0
    with tarfile.open(data / "messy/encodings/encodings.tar.gz") as archive:
        for member in archive.getmembers():
            opened = archive.extractfile(member)
            if opened is None:
                continue
            content = opened.read()
            folder = member.name.split("/")[-2]
            wanted = content.decode(truth.get(folder, folder), "replace").lstrip("\ufeff")
            best = from_bytes(content).best()
            files += 1
            ours += _nearly(decoded(content), wanted)
            theirs += best is not None and _nearly(content.decode(best.encoding, "replace"), wanted)
    assert files > 100
    assert ours == files
    assert ours > theirs


def _nearly(text: str, wanted: str) -> bool:
    """Equal but for the odd byte that is invalid in the true encoding as well."""
    text = text.lstrip("\ufeff")
    return len(text) == len(wanted) and sum(a != b for a, b in zip(text, wanted, strict=True)) <= 0.002 * len(wanted)


# -- mojibake ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["latin-1", WESTERN])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [(SIMPLIFIED, "utf-8"), (SIMPLIFIED, "gb18030"), (TRADITIONAL, "big5"), (TRADITIONAL, "utf-8"),
     (TRADITIONAL, "gb18030"), (JAPANESE, "utf-8"), (JAPANESE, "cp932"), (KOREAN, "cp949"),
     ("国家", "gb18030"), ("Google健身", "utf-8")],
)  # fmt: skip
def test_east_asian_text_comes_back_whole(text: str, encoding: str, wrong: str) -> None:
    broken = text.encode(encoding).decode(wrong)
    assert broken != text
    assert repair(broken) == text
    mixed = f"{SIMPLIFIED}\nPlain English, “quoted”.\n{broken}\n"
    assert repair(mixed) == f"{SIMPLIFIED}\nPlain English, “quoted”.\n{text}\n"


@pytest.mark.parametrize("errors", ["replace", "ignore"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_where_bytes_are_lost_every_character_whose_bytes_survive_comes_back(encoding: str, errors: str) -> None:
    broken = SIMPLIFIED.encode(encoding).decode("cp1252", errors)  # five bytes have no character there
    lost = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
    survivors = Counter(c for c in SIMPLIFIED if not lost & set(c.encode(encoding)))
    assert survivors.total() > 0.7 * len(SIMPLIFIED)
    assert survivors <= Counter(repair(broken))


def test_a_no_break_space_made_plain_is_understood() -> None:
    broken = "你好，你们好，想你".encode().decode(WESTERN).replace("\xa0", " ")
    assert repair(broken) == "你好，你们好，想你"


def test_text_saved_wrongly_twice() -> None:
    broken = SIMPLIFIED
    for _ in range(2):
        broken = broken.encode().decode(WESTERN)
    assert repair(broken) == SIMPLIFIED


@pytest.mark.parametrize(
    "text",
    [
        WESTERN_TEXT, SIMPLIFIED, TRADITIONAL, JAPANESE, KOREAN, RUSSIAN, "plain", "",
        "Hääyöaie, Äänekoski, öljyä, Çà et là",
        "CRÉÉE À L’ÉCOLE “ÉTÉ”… «ÊTRE»", "Việt Nam: Thành phố Hồ Chí Minh được", "½ × ¾ ± 5 °C, §§ 3–4 ™®©",
        "Ελληνικά, Türkçe, Íslenska",
        "cliché”—naïveté”—", "…—“”’", "Ångström ÅÄÖ åäö",
    ],
)  # fmt: skip
def test_text_in_order_is_the_very_same_object(text: str) -> None:
    assert repair(text) is text


def test_mojibake_found_in_the_wild_is_repaired_as_well_as_by_ftfy(data: Path) -> None:
    cases = json.loads((data / "messy/mojibake/in-the-wild.json").read_text())
    punctuation = ftfy.TextFixerConfig(fix_encoding=False)  # ftfy's expected answers also have straight quotes
    ours = sum(ftfy.fix_text(repair(case["original"]), punctuation) == case["fixed"] for case in cases)
    theirs = sum(ftfy.fix_text(ftfy.fix_encoding(case["original"]), punctuation) == case["fixed"] for case in cases)
    assert ours >= theirs > 60


def test_clean_text_costs_next_to_nothing(data: Path) -> None:
    import zstandard

    rng = random.Random(0)
    with zstandard.open(data / "corpora/en_wikipedia/articles.jsonl.zst", "rb") as file:
        articles = [json.loads(line)["text"] for line in io.BufferedReader(file).readlines(8_000_000)]
    rng.shuffle(articles)
    started = time.process_time()
    changed = sum(repair(article) is not article for article in articles)
    seconds = time.process_time() - started
    assert changed <= 0.01 * len(articles)
    assert sum(map(len, articles)) / seconds > 10e6  # characters a second; about 80e6 on a quiet core
