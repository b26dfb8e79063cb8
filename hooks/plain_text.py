"""A card's detail for EHRs that show it as plain text: GitHub Markdown without its marks, line by line."""

from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@lru_cache(maxsize=256)
def plain_text(markdown: str) -> str:
    """Headings, paragraphs and list items on lines of their own; a table row as its cells between bars."""
    lines: list[str] = []
    row: list[str] | None = None
    bullet = False
    for token in _MARKDOWN.parse(markdown):
        match token.type:
            case "tr_open":
                row = []
            case "tr_close":
                lines.append(" | ".join(cell for cell in row or [] if cell))
                row = None
            case "list_item_open":
                bullet = True
            case "paragraph_open" | "table_open" | "bullet_list_open" | "heading_open" if not token.hidden:
                if lines and lines[-1] and not bullet:
                    lines.append("")
            case "inline":
                text = "".join(_text(child) for child in token.children or [])
                if row is not None:
                    row.append(text)
                else:
                    lines.append(f"- {text}" if bullet else text)
                    bullet = False
            case "fence" | "code_block":
                lines.append(token.content.rstrip())
    return "\n".join(lines).strip()


def _text(token: Token) -> str:
    match token.type:
        case "text" | "text_special" | "code_inline" | "html_inline":
            return token.content
        case "softbreak" | "hardbreak":
            return " "
        case _:
            return ""
