"""Bring the catalogues of the languages up to date with the code: `python -m scripts.catalogues [--check]`.

Looks through each package for texts (`message`, `message_in`, `counted` in Python; `_`, `_in`, `_n` in templates; of
fhir_profiles the names of codes), adds
new ones to `PACKAGE/locale/LANGUAGE.po` with nothing said yet, drops those that nobody says any more, and names
what a translator still has to do. With --check nothing is written, and anything to be done is a failure.
"""

import argparse
import io
import string
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from cds.language import LANGUAGES, PACKAGES
from fhir_profiles.codes import LOINC, TABLE

ROOT = Path(__file__).resolve().parent.parent
_METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
_KEYWORDS: dict[str, tuple[int | tuple[int, str], ...] | None] = {
    "message": (1,),
    "message_in": ((1, "c"), 2),
    "counted": (1, 2),
    "_": (1,),
    "_in": ((1, "c"), 2),
    "_n": (1, 2),
}
_OPTIONS = {"**/templates/**.html": {"trimmed": "true"}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if there is something to do"
    )
    check = parser.parse_args().check
    problems = []
    for package in PACKAGES:
        for language in LANGUAGES[1:]:
            path = ROOT / package / "locale" / f"{language}.po"
            catalogue = up_to_date(package, language)
            text = written(catalogue)
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            if text != before:
                if check:
                    problems.append(
                        f"{package}/locale/{language}.po: not as the code; run this without --check"
                    )
                else:
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(text, encoding="utf-8")
            problems += [f"{package}/locale/{language}.po: {problem}" for problem in faults(catalogue)]
    print("\n".join(problems) or "Every text is said in every language.")
    return 1 if problems else 0


def up_to_date(package: str, language: str) -> Catalog:
    """The catalogue as it should stand in its file: what is said already, for the texts that the code has now."""
    path = ROOT / package / "locale" / f"{language}.po"
    said = Catalog(locale=language)
    if path.exists():
        with path.open("rb") as file:
            said = read_po(file, locale=language, abort_invalid=True)
    fresh = Catalog(locale=language, project="LeukoCDS", charset="utf-8")
    for text, context in _texts(package):
        key = text if isinstance(text, str) else text[0]
        old = said.get(key, context=context)
        fits = old is not None and old.pluralizable == isinstance(text, tuple)
        fresh.add(text, old.string if old is not None and fits else None, context=context)
    return fresh


def _texts(package: str) -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """What a package says (with its plural, where it has one), and in what context."""
    for _, _, found, _, context in extract_from_dir(
        ROOT / package, _METHODS, _OPTIONS, keywords=_KEYWORDS, strip_comment_tags=True
    ):
        yield found if isinstance(found, str) else tuple(found), context
    if package == "fhir_profiles":
        yield from ((code.display, "code") for code in TABLE if code.system != LOINC)


def written(catalogue: Catalog) -> str:
    """As text of a .po file: sorted, without dates or line numbers, so that it changes with its texts alone."""
    file = io.BytesIO()
    write_po(file, catalogue, width=0, omit_header=True, sort_output=True, no_location=True)
    header = {
        "Language": str(catalogue.locale),
        "Plural-Forms": catalogue.plural_forms,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
    }
    lines = "".join(f'"{name}: {value}\\n"\n' for name, value in header.items())
    return f'msgid ""\nmsgstr ""\n{lines}\n{file.getvalue().decode()}'


def faults(catalogue: Catalog) -> Iterator[str]:
    """What a translator still has to do."""
    for entry in catalogue:
        if not entry.id:
            continue
        english = entry.id if isinstance(entry.id, str) else entry.id[0]
        forms = (entry.string,) if isinstance(entry.string, str) else tuple(entry.string or ("",))
        if not all(forms):
            yield f"not said: {english!r}"
        elif entry.fuzzy:
            yield f"marked fuzzy: {english!r}"
        else:
            yield from (
                f"other places than in {english!r}: {form!r}" for form in forms if not _fits(entry, form)
            )


def _fits(entry: Message, form: str) -> bool:
    """A translation has the places of its English, with the same formats; a form for one may leave the count out."""
    texts = (entry.id,) if isinstance(entry.id, str) else tuple(entry.id)
    return _places(form) in [_places(text) for text in texts]


def _places(text: str) -> set[tuple[str, str]]:
    return {(name, spec or "") for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


if __name__ == "__main__":
    sys.exit(main())
