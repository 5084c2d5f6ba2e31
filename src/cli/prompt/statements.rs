//! Cuts typed lines into statements at the semicolons that are not inside quotes or comments.

/// Lines typed so far and where their end stands.
#[derive(Debug, Default)]
pub(super) struct Statements {
    text: String,
    /// Whether `text` has more than whitespace and comments.
    has_code: bool,
    place: Place,
}

/// Where the text ends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Place {
    #[default]
    Code,
    /// Inside `'…'`, `"…"` or `` `…` ``; a doubled quote closes and opens again, which comes to the same.
    Quoted(char),
    LineComment,
    /// `/* … */`, as deep as this.
    BlockComment(usize),
    /// `$tag$ … $tag$`, with both dollar signs.
    Dollar(String),
}

impl Statements {
    /// Whether no statement has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Forgets what was typed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a line; returns the statements it completes, without their semicolons.
    pub(super) fn push_line(&mut self, line: &str) -> Vec<String> {
        let mut complete = Vec::new();
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            if self.place == Place::Code && c == ';' {
                rest = rest.get(1..).unwrap_or_default();
                complete.extend(self.take_rest());
                continue;
            }
            let taken = self.step(rest, c);
            let (token, after) = rest.split_at(taken);
            self.text.push_str(token);
            rest = after;
        }
        if self.place == Place::LineComment {
            self.place = Place::Code;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        complete
    }

    /// The statement that stands without a semicolon, if there is one.
    pub(super) fn take_rest(&mut self) -> Option<String> {
        let taken = std::mem::take(self);
        taken.has_code.then(|| taken.text.trim().to_owned())
    }

    /// Moves over the next token; returns its length in bytes.
    fn step(&mut self, rest: &str, c: char) -> usize {
        match &mut self.place {
            Place::Code if rest.starts_with("--") => {
                self.place = Place::LineComment;
                return 2;
            }
            Place::Code if rest.starts_with("/*") => {
                self.place = Place::BlockComment(1);
                return 2;
            }
            Place::Code => {
                self.has_code |= !c.is_whitespace();
                if matches!(c, '\'' | '"' | '`') {
                    self.place = Place::Quoted(c);
                } else if c == '$'
                    && let Some(tag) = dollar_tag(rest)
                {
                    self.place = Place::Dollar(tag.to_owned());
                    return tag.len();
                }
            }
            Place::Quoted(quote) if c == *quote => self.place = Place::Code,
            Place::BlockComment(depth) if rest.starts_with("*/") => {
                *depth -= 1;
                if *depth == 0 {
                    self.place = Place::Code;
                }
                return 2;
            }
            Place::BlockComment(depth) if rest.starts_with("/*") => {
                *depth += 1;
                return 2;
            }
            Place::Dollar(tag) if rest.starts_with(tag.as_str()) => {
                let length = tag.len();
                self.place = Place::Code;
                return length;
            }
            Place::Quoted(_) | Place::LineComment | Place::BlockComment(_) | Place::Dollar(_) => {}
        }
        c.len_utf8()
    }
}

/// `$tag$` at the start of a text; `$1` and `$name` are parameters instead.
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest.get(1..)?.find('$')? + 2;
    let tag = rest.get(1..end - 1)?;
    let is_name =
        tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    if is_name { rest.get(..end) } else { None }
}
