"""The printed report: what a person and a barcode reader find on it."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from reading_queue.documents.fonts import FontSet, FontsUnusable, code_points
from reading_queue.documents.pdf import MISSING_MARK, RenderedPdf, ReportNotTypeset, age_text, render_pdf
from reading_queue.domain.report import ReportContent
from storage.contract.signed_report import SINGLE_PHYSICIAN_WORDS
from tests.support.reports import (
    FINDINGS,
    SHANGHAI,
    SIGNED_AT,
    SITE_NAME,
    find_fonts,
    report_content,
    report_of_one,
    report_of_two_orders,
    report_with_evidence,
    report_with_opinion,
    reported_study,
    signatory,
)

DIGEST = "0123456789abcdef" * 4
NOT_A_CHARACTER = "\ue000"  # private use: no font of ours has it


@pytest.fixture(scope="module")
def fonts_dir() -> Path:
    return find_fonts()


def render(content: ReportContent, fonts_dir: Path) -> RenderedPdf:
    created_at = SIGNED_AT.astimezone(SHANGHAI)
    return render_pdf(content, content_sha256=DIGEST, fonts_dir=fonts_dir, created_at=created_at)


def text_of(rendered: RenderedPdf, tmp_path: Path) -> str:
    """Return the text as pdftotext extracts it, without any white space."""
    path = tmp_path / "report.pdf"
    path.write_bytes(rendered.pdf)
    extracted = subprocess.run(["pdftotext", "-layout", str(path), "-"], capture_output=True, check=True)
    return "".join(extracted.stdout.decode().split())


def page_count(rendered: RenderedPdf, tmp_path: Path) -> int:
    path = tmp_path / "report.pdf"
    path.write_bytes(rendered.pdf)
    info = subprocess.run(["pdfinfo", str(path)], capture_output=True, check=True, text=True).stdout
    return int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pages:")))


def test_the_words_can_be_copied_out_of_it(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_content(), fonts_dir), tmp_path)
    for words in ("影像诊断报告书", "张三䶮", "女", "76岁", "P20260001", "A2026-0001", "胸部CT平扫", SITE_NAME, "赵六"):
        assert words in text
    for words in ("右肺上叶尖段见一磨玻璃结节", "主动脉粥样硬化", "三个月后复查低剂量胸部CT"):
        assert words in text
    assert "第1页/共1页" in text


def test_it_names_both_physicians_with_title_licence_and_local_time(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_content(), fonts_dir), tmp_path)
    for words in ("河北省第一人民医院", "李明住院医师", "王芳主任医师", "110310000012345"):
        assert words in text
    assert "报告时间2026-03-0209:00" in text
    assert "审核时间2026-03-0209:30" in text


def test_a_title_unknown_here_is_printed_as_it_is(fonts_dir: Path, tmp_path: Path) -> None:
    content = report_content(verifier=signatory("王芳", "特聘专家", "河北省第一人民医院"))
    assert "王芳特聘专家" in text_of(render(content, fonts_dir), tmp_path)


def test_a_long_report_goes_on_with_numbered_pages(fonts_dir: Path, tmp_path: Path) -> None:
    rendered = render(report_content(findings="\n".join([FINDINGS] * 18)), fonts_dir)
    assert page_count(rendered, tmp_path) == 2
    text = text_of(rendered, tmp_path)
    assert "第1页/共2页" in text
    assert "第2页/共2页" in text
    assert text.count("患者编号P20260001") == 3  # in the letterhead and at the foot of each page


def test_the_barcode_holds_the_digest_of_the_signed_report(fonts_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(render(report_content(), fonts_dir).pdf)
    subprocess.run(
        ["pdftoppm", "-r", "150", "-png", "-singlefile", str(tmp_path / "report.pdf"), str(tmp_path / "page")],
        check=True,
    )
    scan = ["zbarimg", "--quiet", "--raw", str(tmp_path / "page.png")]
    assert subprocess.run(scan, capture_output=True, check=True, text=True).stdout.strip() == DIGEST


def test_it_is_an_archive_pdf_with_its_fonts_inside(fonts_dir: Path, tmp_path: Path) -> None:
    rendered = render(report_content(), fonts_dir)
    assert b"<pdfaid:part>2</pdfaid:part>" in rendered.pdf
    assert b"<pdfaid:conformance>B</pdfaid:conformance>" in rendered.pdf
    (tmp_path / "report.pdf").write_bytes(rendered.pdf)
    fonts = subprocess.run(["pdffonts", str(tmp_path / "report.pdf")], capture_output=True, check=True, text=True)
    for font in fonts.stdout.splitlines()[2:]:
        assert font.split()[-5] == "yes"  # embedded


def test_rendered_twice_it_is_the_same_bytes(fonts_dir: Path) -> None:
    assert render(report_content(), fonts_dir).pdf == render(report_content(), fonts_dir).pdf


def test_a_character_no_font_has_is_marked_and_the_page_says_so(fonts_dir: Path, tmp_path: Path) -> None:
    rendered = render(report_content(impression=f"见{NOT_A_CHARACTER}影"), fonts_dir)
    assert rendered.replaced == (NOT_A_CHARACTER,)
    text = text_of(rendered, tmp_path)
    assert f"见{MISSING_MARK}影" in text
    assert "U+E000" in text
    assert "请以电子报告为准" in text


def test_invisible_characters_neither_show_nor_stop_the_page(fonts_dir: Path, tmp_path: Path) -> None:
    rendered = render(report_content(impression="未见\u200b异\u202e常\ufe00。\tOK"), fonts_dir)
    assert rendered.replaced == ()
    assert "未见异常。OK" in text_of(rendered, tmp_path)


def test_typesetting_commands_in_the_text_are_only_text(fonts_dir: Path, tmp_path: Path) -> None:
    rendered = render(report_content(impression='#read("/etc/passwd") *x* _y_ $z$ @a <b>'), fonts_dir)
    assert '#read("/etc/passwd")*x*_y_$z$@a<b>' in text_of(rendered, tmp_path)


def test_a_refusal_of_the_typesetter_quotes_nothing_of_the_report(
    fonts_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FontSet, "missing", lambda self, text: frozenset())
    with pytest.raises(ReportNotTypeset) as refusal:
        render(report_content(impression=f"张三{NOT_A_CHARACTER}"), fonts_dir)
    assert "could not be displayed" in str(refusal.value)
    assert "e000" not in str(refusal.value)
    assert refusal.value.__suppress_context__


RENDER_IN_A_FORKED_CHILD = """
import os, sys
from pathlib import Path
from reading_queue.services.reports import reports
from tests.support.reports import SIGNED_AT, report_content

child = os.fork()
if child == 0:
    rendered = reports.render_pdf(
        report_content(), content_sha256="0" * 64, fonts_dir=Path(sys.argv[1]), created_at=SIGNED_AT
    )
    os._exit(0 if rendered.pdf.startswith(b"%PDF") else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_worker_that_forks_before_it_renders_can_render(fonts_dir: Path) -> None:
    subprocess.run([sys.executable, "-c", RENDER_IN_A_FORKED_CHILD, str(fonts_dir)], check=True, timeout=120)


def test_an_emergency_and_a_later_version_are_marked(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_content(lane="stat", report_version=2), fonts_dir), tmp_path)
    assert "特急" in text
    assert "更正／补充报告第2版" in text


def test_what_is_not_known_is_shown_as_a_dash(fonts_dir: Path, tmp_path: Path) -> None:
    patient = report_content().patient.model_copy(update={"sex": "", "birth_date": None, "name": ""})
    study = reported_study(accession_number="", description="", body_part="", study_date=None, referring_physician="")
    text = text_of(render(report_content(patient=patient, studies=(study,)), fonts_dir), tmp_path)
    assert "名未具名" in text
    assert "检查项目—" in text


def test_a_directory_without_chinese_fonts_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FontsUnusable, match="Noto Sans SC"):
        render(report_content(), tmp_path)


def test_a_file_that_is_no_font_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0\0\0")
    with pytest.raises(FontsUnusable, match=r"broken\.ttf"):
        code_points(tmp_path / "broken.ttf", 0)


@pytest.mark.parametrize(
    ("birth_date", "on", "shown"),
    [
        (date(1949, 12, 31), date(2026, 3, 2), "76岁"),
        (date(2023, 3, 2), date(2026, 3, 2), "3岁"),
        (date(2023, 3, 3), date(2026, 3, 2), "35月"),
        (date(2026, 2, 1), date(2026, 3, 2), "1月"),
        (date(2026, 2, 27), date(2026, 3, 2), "3天"),
        (date(2027, 1, 1), date(2026, 3, 2), "—"),
        (None, date(2026, 3, 2), "—"),
        (date(1949, 12, 31), None, "—"),
    ],
)
def test_the_age_is_counted_on_the_day_of_the_exam(birth_date: date | None, on: date | None, shown: str) -> None:
    assert age_text(birth_date, on) == shown


def test_key_images_and_measurements_are_printed_under_the_text(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_with_evidence(), fonts_dir), tmp_path)
    assert text.index("测量长度23.4mm（序列2图像35）") < text.index("关键图像序列2图像35")
    assert "关键图像" not in text_of(render(report_content(), fonts_dir), tmp_path)


def test_opinion_is_printed_with_who_gave_it_when_and_what_was_asked(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_with_opinion(), fonts_dir), tmp_path)
    assert "会诊意见省肿瘤医院林静主任医师（2026-03-0208:50）：建议增强扫描。警惕早期肺癌。" in text
    assert "李明2026-03-0208:40问：结节是否需要增强扫描？" in text
    assert "会诊意见" not in text_of(render(report_content(), fonts_dir), tmp_path)


def test_a_report_that_one_physician_signed_says_so_and_names_nobody_twice(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_of_one(), fonts_dir), tmp_path)
    assert "单医师报告" in text
    assert SINGLE_PHYSICIAN_WORDS in text
    assert "二维码为一位医师所签" in text
    assert text.count("王芳") == 1
    assert "审核医师" not in text
    of_two = text_of(render(report_content(), fonts_dir), tmp_path)
    assert "单医师" not in of_two
    assert "二维码为两位医师所签" in of_two


def test_all_numbers_of_what_it_answers_are_printed(fonts_dir: Path, tmp_path: Path) -> None:
    text = text_of(render(report_of_two_orders(), fonts_dir), tmp_path)
    assert "A2026-0001" in text
    assert "A2026-0002" in text
