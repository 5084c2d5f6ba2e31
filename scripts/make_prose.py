#!/usr/bin/env python3
"""Makes prose.jsonl from two Debian packages, and from it the embedded corpus.

What it reads: the .deb files of `bible-kjv-text` (the King James Bible; translation of 1611, copyright expired) and
`r-cran-janeaustenr` (six novels of Jane Austen; public domain text, package MIT by Julia Silge). Get them with
  apt-get download bible-kjv-text r-cran-janeaustenr
What it writes: one JSON line a chapter, {"document": "Genesis 1", "text": ...}. Hard-wrapped lines are joined into
paragraphs (separated by a blank line), verse numbers, headings and the underscores that mark italics are dropped.
A Bible chapter is one paragraph, for the package marks none.

Formats. bible.data ("Compressed Data File"): big-endian words after a 80-byte name: version, block size, number of
blocks, then one offset a block and the end; each block is an LZW stream as `compress` writes it, all but the first
without its three magic bytes. Rdata.rdb (R's lazy-load database): a big-endian length and a zlib stream an object;
each is a character vector in R's XDR serialisation, one string a printed line.

With --corpus FOLDER it also writes FOLDER/corpus.jsonl and, with the `zstd` program, FOLDER/corpus.jsonl.zst:
about 1 MB of whole chapters, half from each source, shorter ones first but spread over all the books, no randomness.

Run:  python scripts/make_prose.py bible-kjv-text_*.deb r-cran-janeaustenr_*.deb --out prose.jsonl \\
          [--corpus src/documents/embedded]
Made with bible-kjv-text 4.38 and r-cran-janeaustenr 1.0.0-1; Python 3.11, standard library only; gzip and zstd programs.
"""

import argparse
import io
import json
import re
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

KJV_BOOKS = """
Ge Genesis|Exo Exodus|Lev Leviticus|Num Numbers|Deu Deuteronomy|Josh Joshua|Jdgs Judges|Ruth Ruth|1Sm 1 Samuel|
2Sm 2 Samuel|1Ki 1 Kings|2Ki 2 Kings|1Chr 1 Chronicles|2Chr 2 Chronicles|Ezra Ezra|Neh Nehemiah|Est Esther|Job Job|
Psa Psalm|Prv Proverbs|Eccl Ecclesiastes|SSol Song of Solomon|Isa Isaiah|Jer Jeremiah|Lam Lamentations|Eze Ezekiel|
Dan Daniel|Hos Hosea|Joel Joel|Amos Amos|Obad Obadiah|Jonah Jonah|Mic Micah|Nahum Nahum|Hab Habakkuk|Zep Zephaniah|
Hag Haggai|Zec Zechariah|Mal Malachi|Mat Matthew|Mark Mark|Luke Luke|John John|Acts Acts|Rom Romans|1Cor 1 Corinthians|
2Cor 2 Corinthians|Gal Galatians|Eph Ephesians|Phi Philippians|Col Colossians|1Th 1 Thessalonians|2Th 2 Thessalonians|
1Tim 1 Timothy|2Tim 2 Timothy|Titus Titus|Phmn Philemon|Heb Hebrews|Jas James|1Pet 1 Peter|2Pet 2 Peter|1Jn 1 John|
2Jn 2 John|3Jn 3 John|Jude Jude|Rev Revelation
"""
AUSTEN_BOOKS = {
    "emma": "Emma",
    "mansfieldpark": "Mansfield Park",
    "northangerabbey": "Northanger Abbey",
    "persuasion": "Persuasion",
    "prideprejudice": "Pride and Prejudice",
    "sensesensibility": "Sense and Sensibility",
}
ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50}


def deb_members(path):
    """Yields (name, bytes) of the regular files in a .deb: an `ar` archive that holds a data.tar."""
    raw = path.read_bytes()
    assert raw[:8] == b"!<arch>\n", f"{path}: expected an ar archive"
    at = 8
    while at < len(raw):
        name, size = raw[at : at + 16].decode().strip().rstrip("/"), int(raw[at + 48 : at + 58])
        body = raw[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                for member in archive:
                    if member.isfile():
                        yield member.name, archive.extractfile(member).read()


def deb_file(path, ending):
    """The one file of a .deb whose name ends so."""
    found = [data for name, data in deb_members(path) if name.endswith(ending)]
    assert len(found) == 1, f"{path}: expected one file ending in {ending!r}, got {len(found)}"
    return found[0]


def kjv_chapters(deb):
    """Yields (document, text) in the order of the book."""
    data = deb_file(deb, "/bible.data")
    _version, block_size, n_blocks = struct.unpack(">3I", data[80:92])
    offsets = struct.unpack(f">{n_blocks + 1}I", data[92 : 92 + 4 * (n_blocks + 1)])
    text, magic = b"", b"\x1f\x9d\x90"
    for start, end in zip(offsets, offsets[1:]):
        block = magic + data[start:end]
        text += subprocess.run(["gzip", "-dc"], input=block, capture_output=True, check=True).stdout
    names = dict(entry.strip().split(" ", 1) for entry in KJV_BOOKS.replace("\n", "").split("|"))
    chapters = {}
    for line in text.decode("ascii").splitlines()[1:]:
        book, chapter, _verse, words = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*)", line).groups()
        chapters.setdefault(f"{names[book]} {chapter}", []).append(words.strip())
    assert len(chapters) == 1189, len(chapters)
    for document, verses in chapters.items():
        yield document, re.sub(r" +", " ", " ".join(verses))


def austen_lines(deb):
    """Yields (novel, lines); the index file gives the order of the objects."""
    database = deb_file(deb, "/data/Rdata.rdb")
    index = zlib.decompress(deb_file(deb, "/data/Rdata.rdx"), wbits=31)
    order = sorted(AUSTEN_BOOKS, key=lambda name: index.index(struct.pack(">I", len(name)) + name.encode()))
    at = 0
    for name in order:
        stream = zlib.decompressobj()
        data = stream.decompress(database[at + 4 :])
        at = len(database) - len(stream.unused_data)
        n_encoding = struct.unpack(">I", data[14:18])[0]
        cursor = 18 + n_encoding
        kind, n_lines = struct.unpack(">2I", data[cursor : cursor + 8])
        assert kind & 0xFF == 16, f"{name}: expected a character vector, got type {kind & 0xFF}"
        cursor, lines = cursor + 8, []
        for _ in range(n_lines):
            flags, length = struct.unpack(">2I", data[cursor : cursor + 8])
            cursor += 8
            lines.append(data[cursor : cursor + length].decode("latin-1" if flags & 0x4000 else "utf-8"))
            cursor += length
        yield name, lines


def arabic(numeral):
    """12 for "12" and for "XII"."""
    if numeral.isdigit():
        return int(numeral)
    values = [ROMAN[c] for c in numeral]
    return sum(-v if v < after else v for v, after in zip(values, values[1:] + [0]))


def austen_chapters(deb):
    """Yields (document, text) in the order of the book; front matter and closing notes are left out."""
    for name, lines in austen_lines(deb):
        volume, document, chapters = "", None, {}
        for line in lines:
            heading = re.fullmatch(r"\s*(VOLUME|CHAPTER|Chapter) ([IVXL]+|\d+)\.?\s*", line)
            if heading and heading[1] == "VOLUME":
                volume, document = f", volume {arabic(heading[2])}", None
            elif heading:
                document = f"{AUSTEN_BOOKS[name]}{volume}, chapter {arabic(heading[2])}"
                assert document not in chapters, document
                chapters[document] = []
            elif re.fullmatch(r"\s*(FINIS|Finis|THE END|A NOTE ON THE TEXT)\.?\s*", line):
                document = None
            elif document:
                chapters[document].append(line.replace("_", "").strip())
        for document, body in chapters.items():
            paragraphs = [" ".join(p.split()) for p in "\n".join(body).split("\n\n")]
            yield document, "\n\n".join(p for p in paragraphs if p and not re.fullmatch(r"[\s*]+", p))


def pick(chapters, n_bytes):
    """Whole chapters of about n_bytes together, in order: from each book its shorter ones, by share of its size."""
    total = sum(len(text) for _, text in chapters)
    books = {}
    for document, text in chapters:
        books.setdefault(re.sub(r",? (volume|chapter) .*| \d+$", "", document), []).append((document, text))
    kept = set()
    for group in books.values():
        budget = n_bytes * sum(len(text) for _, text in group) / total
        # Very short chapters make no full token sequence beside their neighbours: they come last.
        for document, text in sorted(group, key=lambda c: (len(c[1]) < 600, len(c[1]))):
            if budget < len(text) / 2 and any(d in kept for d, _ in group):
                break
            kept.add(document)
            budget -= len(text)
    return [c for c in chapters if c[0] in kept]


def lines_of(chapters):
    return "".join(json.dumps({"document": d, "text": t}, ensure_ascii=False) + "\n" for d, t in chapters)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kjv", type=Path)
    parser.add_argument("austen", type=Path)
    parser.add_argument("--out", type=Path, default=Path("prose.jsonl"))
    parser.add_argument("--corpus", type=Path, help="also write the embedded corpus into this folder")
    parser.add_argument("--corpus-bytes", type=int, default=1_000_000)
    args = parser.parse_args()
    kjv, austen = list(kjv_chapters(args.kjv)), list(austen_chapters(args.austen))
    args.out.write_text(lines_of(kjv + austen), encoding="utf-8")
    for name, chapters in (("kjv", kjv), ("austen", austen)):
        print(f"{name}: {len(chapters)} documents, {sum(len(t.encode()) for _, t in chapters)} bytes")
    if args.corpus:
        args.corpus.mkdir(parents=True, exist_ok=True)
        picked = [pick(chapters, args.corpus_bytes / 2) for chapters in (kjv, austen)]
        plain = args.corpus / "corpus.jsonl"
        plain.write_text(lines_of(picked[0] + picked[1]), encoding="utf-8")
        subprocess.run(["zstd", "-19", "-q", "-f", "--no-progress", str(plain), "-o", f"{plain}.zst"], check=True)
        plain.unlink()
        sizes = [sum(len(t.encode()) for _, t in p) for p in picked]
        print(f"corpus: {len(picked[0])} + {len(picked[1])} documents, {sizes[0]} + {sizes[1]} bytes of text,"
              f" {Path(f'{plain}.zst').stat().st_size} bytes compressed")


if __name__ == "__main__":
    main()
