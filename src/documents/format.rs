//! File formats by the ending of the name.

/// The endings that are known, for messages.
pub(crate) const KNOWN: &str = ".txt, .jsonl, .ndjson, .json or .parquet (text formats also with .gz or .zst)";

/// How the inside of a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Plain text.
    Text,
    /// One JSON object a line.
    JsonLines,
    /// Columns; only one is read.
    Parquet,
    /// The corpus inside the program: JSON lines with a title.
    Embedded,
}

/// How the bytes of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Name for messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The compression that a file's first bytes show.
    pub(crate) fn of_bytes(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Format and compression that a file name tells, `None` for an unknown ending.
///
/// Parquet compresses inside; as a whole it cannot be read at random positions, so `.parquet.gz` is unknown.
pub(crate) fn of_name(name: &str) -> Option<(Format, Option<Compression>)> {
    let name = name.to_ascii_lowercase();
    let (stem, compression) = if let Some(stem) = name.strip_suffix(".gz") {
        (stem, Some(Compression::Gzip))
    } else if let Some(stem) = name.strip_suffix(".zst") {
        (stem, Some(Compression::Zstd))
    } else {
        (name.as_str(), None)
    };
    let (_, ending) = stem.rsplit_once('.')?;
    match ending {
        "txt" => Some((Format::Text, compression)),
        "jsonl" | "ndjson" | "json" => Some((Format::JsonLines, compression)),
        "parquet" if compression.is_none() => Some((Format::Parquet, None)),
        _ => None,
    }
}
