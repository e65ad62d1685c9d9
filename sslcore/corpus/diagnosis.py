"""What the doctor found, for people and for programs."""

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """One thing that is wrong, or will disappoint, and how to mend it."""

    model_config = ConfigDict(frozen=True)

    what: str
    how_to_mend: str


class Diagnosis(BaseModel):
    """Figures of a sample; those of the whole are estimated from it unless `complete`."""

    model_config = ConfigDict(frozen=True)

    files: int
    bytes: int = Field(description="On disk.")
    skipped: int = Field(description="Files below the folders that are not read: hidden, empty, binary.")
    formats: dict[str, int] = Field(description="Format and compression → files, of all files.")
    encodings: dict[str, int] = Field(description="Encoding → files, of the sampled text files.")
    document: str = Field(description="What one document is: a row, a file, a line, a paragraph, a docstring.")
    columns: list[str]
    text_column: str = Field(description="Empty: not a table, or not told.")
    label_column: str = Field(description="The one that was named.")
    suspected_label: str = Field(description="A column with few values that come again and again, @folder or @file.")
    labels: dict[str, int] = Field(description="Label → documents in the sample, most frequent first, at most 50.")
    languages: dict[str, float] = Field(description="ISO 639-1 → share of the sampled documents.")
    sampled_documents: int
    complete: bool = Field(description="Whether the sample is everything.")
    documents: int
    words: int
    characters_per_document: float
    duplicate_share: float = Field(
        description="Documents of the sample that repeat an earlier one but for case and space."
    )
    rejected: dict[str, int] = Field(description="Reason → rows of the sample that hold no document.")
    problems: list[Problem]

    def lines(self) -> list[str]:
        """A few lines for people: what is there, then each problem with its remedy."""
        about = "" if self.complete else "about "
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        encodings = ", ".join(self.encodings) or "binary"
        languages = ", ".join(f"{code} {share:.0%}" for code, share in list(self.languages.items())[:4]) or "none"
        said = [f"files       {_counted(self.files, 'file')}, {_size(self.bytes)}: {formats}; encoding: {encodings}"]
        if self.sampled_documents:
            said += [
                f"documents   {about}{self.documents:,}, one per {self.document}; {about}{self.words:,} words, "
                f"{self.characters_per_document:,.0f} characters each",
                f"languages   {languages}; duplicates: {self.duplicate_share:.1%}",
            ]
        if self.columns:
            said.append(f"columns     {', '.join(self.columns)}; text: {self.text_column or 'cannot be told'}")
        label = self.label_column or (
            f"none named, {self.suspected_label} looks like one" if self.suspected_label else "none"
        )
        most = ", ".join(f"{name} {count}" for name, count in list(self.labels.items())[:6])
        more = f" and {len(self.labels) - 6} more" if len(self.labels) > 6 else ""
        said.append(f"label       {label}" + (f" ({most}{more})" if most else ""))
        if not self.complete and self.sampled_documents:
            said.append(f"looked at   {self.sampled_documents:,} documents; the rest is estimated from them")
        if not self.problems:
            return [*said, "nothing is wrong"]
        return said + [f"{i}. {p.what} → {p.how_to_mend}" for i, p in enumerate(self.problems, start=1)]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
