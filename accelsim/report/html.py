"""HTML pages: of one Report, and of a study (re-exported, so that callers need one module)."""

from __future__ import annotations

from .study_page import study_html

__all__ = ["study_html"]
