//! Does a text hold a word or phrase, as a word: one needle, many texts.
//!
//! The texts of a batch lie one behind the other in memory, so the needle's longest word is looked for in all of them at once, by
//! the regex engine's literal search; only where it stands is the rule itself asked. The rule is [`Needle::holds`], by words.

use arrow::array::{Array, BooleanArray, BooleanBufferBuilder, StringArray, StringViewArray};
use regex::bytes::{Regex, RegexBuilder};

use super::words::{ENDINGS, fold, folded, words};

/// Longest text that a view holds in itself.
const INLINE: u32 = 12;

/// A word or phrase, ready to be looked for.
#[derive(Debug)]
pub(crate) struct Needle {
    /// Folded.
    words: Vec<String>,
    /// Finds the longest of the words anywhere in a text, in any case, also inside other words.
    anchor: Regex,
}

impl Needle {
    /// The needle of a word or phrase; `None` where it holds no word. A phrase so long that the regex engine refuses even its
    /// longest word has no word either.
    pub(crate) fn new(phrase: &str) -> Option<Self> {
        let words: Vec<String> = words(phrase).map(folded).collect();
        let longest = words.iter().max_by_key(|word| word.len())?;
        // A prefix finds every place that the whole word would, and keeps the automaton small.
        let end = longest.char_indices().nth(64).map_or(longest.len(), |(end, _)| end);
        let anchor = RegexBuilder::new(&regex::escape(&longest[..end])).case_insensitive(true).build().ok()?;
        Some(Self { words, anchor })
    }

    /// Whether the text holds the phrase: its words one after the other, the last of them with or without an ending. The definition.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let Some((last, before)) = self.words.split_last() else { return false };
        let texts: Vec<&str> = words(text).collect();
        texts.windows(self.words.len()).any(|window| {
            let is_last = |word: &str| ENDINGS.iter().any(|ending| is_word(word, last, ending));
            window.iter().zip(before).all(|(word, wanted)| is_word(word, wanted, ""))
                && window.last().is_some_and(|word| is_last(word))
        })
    }

    /// Whether the text holds the phrase, told that the anchor stands at `start..end`: for a needle of one whole word, what stands
    /// around it decides; `None` when the rest of the text must be looked at.
    fn holds_at(&self, text: &str, start: usize, end: usize) -> Option<bool> {
        let [word] = self.words.as_slice() else { return None };
        let (Some(before), Some(found), Some(after)) = (text.get(..start), text.get(start..end), text.get(end..))
        else {
            return Some(false);
        };
        if before.chars().next_back().is_some_and(char::is_alphanumeric) {
            return Some(false);
        }
        let rest = words(after).next().filter(|_| after.starts_with(char::is_alphanumeric)).unwrap_or_default();
        let whole = found.chars().count() == word.chars().count();
        whole.then(|| ENDINGS.iter().any(|ending| is_word(rest, "", ending)))
    }

    /// One answer a text, NULL for NULL.
    pub(crate) fn in_strings(&self, texts: &StringArray) -> BooleanArray {
        let mut found = none_found(texts.len());
        let offsets = texts.value_offsets();
        let haystack = Haystack { bytes: texts.value_data(), offset: 0 };
        let places = (0..texts.len()).map(|row| Place {
            row,
            start: offsets[row] as usize,
            end: offsets[row + 1] as usize,
            text: texts.value(row),
        });
        self.scan(haystack, places, &mut found);
        BooleanArray::new(found.finish(), texts.nulls().cloned())
    }

    /// As [`Needle::in_strings`], for the layout in which Parquet's texts arrive: runs of texts that lie behind one another in
    /// one buffer are looked through as one.
    pub(crate) fn in_views(&self, texts: &StringViewArray) -> BooleanArray {
        let mut found = none_found(texts.len());
        let buffers = texts.data_buffers();
        let mut run: Vec<Place<'_>> = Vec::new();
        let mut run_buffer = 0;
        let flush = |run: &mut Vec<Place<'_>>, buffer: usize, found: &mut BooleanBufferBuilder| {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                let haystack = Haystack { bytes: &buffers[buffer][first.start..last.end], offset: first.start };
                self.scan(haystack, run.drain(..), found);
            }
        };
        for (row, view) in texts.views().iter().enumerate() {
            let length = *view as u32;
            if texts.is_null(row) {
                continue;
            }
            let text = texts.value(row);
            if length <= INLINE {
                let haystack = Haystack { bytes: text.as_bytes(), offset: 0 };
                self.scan(haystack, std::iter::once(Place { row, start: 0, end: text.len(), text }), &mut found);
                continue;
            }
            // A view is length, first four bytes, number of the buffer, offset in it: 32 bits each.
            let (buffer, start) = ((view >> 64) as u32 as usize, (view >> 96) as u32 as usize);
            if buffer != run_buffer || run.last().is_some_and(|last| start < last.end) {
                flush(&mut run, run_buffer, &mut found);
                run_buffer = buffer;
            }
            run.push(Place { row, start, end: start + length as usize, text });
        }
        flush(&mut run, run_buffer, &mut found);
        BooleanArray::new(found.finish(), texts.nulls().cloned())
    }

    /// Looks through texts that lie in one haystack in rising order, and marks the rows that hold the phrase.
    fn scan<'a>(
        &self,
        haystack: Haystack<'_>,
        places: impl Iterator<Item = Place<'a>>,
        found: &mut BooleanBufferBuilder,
    ) {
        let mut places = places.peekable();
        let mut from = match places.peek() {
            Some(first) => first.start - haystack.offset,
            None => return,
        };
        while let Some(hit) = self.anchor.find_at(haystack.bytes, from) {
            let (start, end) = (hit.start() + haystack.offset, hit.end() + haystack.offset);
            while places.next_if(|place| place.end <= start).is_some() {}
            let Some(place) = places.peek() else { return };
            let decided = match () {
                // Between two texts, or across the end of one: no word of a text.
                () if start < place.start || end > place.end => Some(false),
                () => self.holds_at(place.text, start - place.start, end - place.start),
            };
            match decided {
                Some(false) => from = hit.start() + 1,
                Some(true) => {
                    found.set_bit(place.row, true);
                    from = place.end - haystack.offset;
                }
                None => {
                    found.set_bit(place.row, self.holds(place.text));
                    from = place.end - haystack.offset;
                }
            }
        }
    }
}

/// Bytes, and where in their buffer they begin.
struct Haystack<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// A text and where in its buffer it lies.
struct Place<'a> {
    row: usize,
    start: usize,
    end: usize,
    text: &'a str,
}

fn none_found(n: usize) -> BooleanBufferBuilder {
    let mut found = BooleanBufferBuilder::new(n);
    found.append_n(n, false);
    found
}

/// Whether a word of a text is the folded word with this ending.
fn is_word(word: &str, wanted: &str, ending: &str) -> bool {
    word.chars().map(fold).eq(wanted.chars().chain(ending.chars()))
}

#[cfg(test)]
mod tests;
