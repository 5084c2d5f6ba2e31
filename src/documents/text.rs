//! Plain text: cuts a file into documents at blank lines and at `<|endoftext|>`.

use crate::documents::emit::{Emitter, Flow};
use crate::documents::lines::Lines;
use crate::error::Result;
use crate::error::corpus::CorpusError;

/// The mark that ends a document in the corpora of GPT-2 and its kin.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A text without blank lines is cut at a line end after this many times the wanted length.
const LINE_END_FACTOR: usize = 16;

/// Reads a plain-text file into the emitter.
///
/// # Errors
/// Those of [`Lines::next`], and [`CorpusError::DocumentTooLong`].
pub(crate) fn read_text(mut lines: Lines, min_chars: usize, emitter: &mut Emitter) -> Result<Flow> {
    let mut cutter = Cutter::new(min_chars);
    while let Some(line) = lines.next()? {
        if cutter.push_line(line, &mut |text| emitter.emit(text)).is_break() {
            return Ok(Flow::Break(()));
        }
        if cutter.len() > lines.max_bytes() {
            let offset = lines.offset().saturating_sub(cutter.len() as u64);
            let (url, limit) = (lines.url().to_owned(), lines.max_bytes());
            return Err(CorpusError::DocumentTooLong { url, offset, limit }.into());
        }
    }
    Ok(cutter.finish(&mut |text| emitter.emit(text)))
}

/// Cuts text that arrives line by line.
///
/// A finished document waits until the next one is long enough too: a short rest joins it instead of becoming
/// a document below the wanted length.
pub(crate) struct Cutter {
    min_chars: usize,
    /// A document of at least `min_chars`, or empty.
    waiting: String,
    /// What follows, with the blank lines before it.
    current: String,
    /// Characters of `current`, without the blank lines before and the whitespace after it.
    n_chars: usize,
    /// Whitespace at the end of `current`, in characters; counts when text follows.
    n_spaces: usize,
    seen_end_of_text: bool,
}

impl Cutter {
    /// `min_chars` = 0 cuts only at `<|endoftext|>`.
    pub(crate) fn new(min_chars: usize) -> Self {
        Self {
            min_chars,
            waiting: String::new(),
            current: String::new(),
            n_chars: 0,
            n_spaces: 0,
            seen_end_of_text: false,
        }
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.current.len()
    }

    /// Adds a line with its line end.
    pub(crate) fn push_line(&mut self, line: &str, emit: &mut impl FnMut(String) -> Flow) -> Flow {
        let mut pieces = line.split(END_OF_TEXT);
        // `split` yields at least one piece.
        let mut piece = pieces.next().unwrap_or_default();
        let whole_line = piece.len() == line.len();
        for next in pieces {
            self.append(piece);
            self.seen_end_of_text = true;
            if self.end_text(emit).is_break() {
                return Flow::Break(());
            }
            piece = next;
        }
        let is_blank = whole_line && piece.trim().is_empty();
        if is_blank && self.min_chars > 0 && self.n_chars >= self.min_chars && self.cut(emit).is_break() {
            return Flow::Break(());
        }
        self.append(piece);
        let overlong = self.min_chars > 0 && self.n_chars >= self.min_chars.saturating_mul(LINE_END_FACTOR);
        if overlong && piece.ends_with('\n') { self.cut(emit) } else { Flow::Continue(()) }
    }

    /// Ends the file.
    pub(crate) fn finish(mut self, emit: &mut impl FnMut(String) -> Flow) -> Flow {
        // What stands after the last mark is most often the file's last line end and no document.
        if self.seen_end_of_text && self.waiting.is_empty() && self.n_chars == 0 {
            return Flow::Continue(());
        }
        self.end_text(emit)
    }

    fn append(&mut self, piece: &str) {
        let text = piece.trim_end();
        if !text.is_empty() {
            self.n_chars += self.n_spaces + text.chars().count();
            self.n_spaces = 0;
        } else if self.n_chars == 0 && self.waiting.is_empty() {
            // Nothing before it to be joined with, so blank lines here can never be part of a document.
            return;
        }
        if self.n_chars > 0 {
            self.n_spaces += piece.get(text.len()..).unwrap_or_default().chars().count();
        }
        self.current.push_str(piece);
    }

    /// `current` is long enough: it becomes the document that waits.
    fn cut(&mut self, emit: &mut impl FnMut(String) -> Flow) -> Flow {
        let flow = if self.waiting.is_empty() { Flow::Continue(()) } else { emit(trimmed(&self.waiting)) };
        self.waiting = std::mem::take(&mut self.current);
        (self.n_chars, self.n_spaces) = (0, 0);
        flow
    }

    /// No later text can join: what is held becomes one document or two.
    fn end_text(&mut self, emit: &mut impl FnMut(String) -> Flow) -> Flow {
        let mut last = std::mem::take(&mut self.current);
        if !self.waiting.is_empty() {
            let mut waiting = std::mem::take(&mut self.waiting);
            if self.n_chars >= self.min_chars {
                if emit(trimmed(&waiting)).is_break() {
                    return Flow::Break(());
                }
            } else {
                waiting.push_str(&last);
                last = waiting;
            }
        }
        (self.n_chars, self.n_spaces) = (0, 0);
        emit(trimmed(&last))
    }
}

/// The text without the blank lines before it and the whitespace after it; its first line keeps its indentation.
fn trimmed(text: &str) -> String {
    let text = text.trim_end();
    let first = text.len() - text.trim_start().len();
    let start = text.get(..first).and_then(|blank| blank.rfind('\n')).map_or(0, |newline| newline + 1);
    text.get(start..).unwrap_or_default().to_owned()
}
