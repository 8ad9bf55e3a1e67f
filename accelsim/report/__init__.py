"""Reports: how long, at what energy and traffic, and why; as values, tables, JSON, HTML and traces."""

from .comparison import Comparison, compare_files, compare_reports
from .comparison_text import print_comparison
from .contract import schema
from .perfetto import write_perfetto
from .report import Bounds, Report, make_report
from .study_page import study_html
from .terminal import print_report

__all__ = [
    "Bounds",
    "Comparison",
    "Report",
    "compare_files",
    "compare_reports",
    "make_report",
    "print_comparison",
    "print_report",
    "schema",
    "study_html",
    "write_perfetto",
]
