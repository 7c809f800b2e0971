//! Where and why JSON cannot be read.

use serde::de::IgnoredAny;

/// An error of JSON syntax and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// What is wrong, in words. Never repeats what was sent.
    pub(crate) message: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// In bytes, counted from 1.
    pub(crate) column: usize,
    /// In bytes from the start of the body, counted from 0.
    pub(crate) position: usize,
}

impl JsonError {
    /// The error that the parser found in `text`. The parser that is fast is vague about places, so the text is read
    /// again by one that is exact.
    pub(crate) fn locate(text: &[u8], found: &simd_json::Error) -> Self {
        if let Err(error) = std::str::from_utf8(text) {
            return Self::at(text, error.valid_up_to(), "the text is not UTF-8".to_owned());
        }
        match serde_json::from_slice::<IgnoredAny>(text) {
            Err(error) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default().to_owned();
                Self::at(text, position(text, error.line(), error.column()), message)
            }
            Ok(_) => {
                let message = match found.error() {
                    simd_json::ErrorType::DepthLimitExceeded => "lists and objects are nested too deep",
                    _ => "a number or an escape is outside of what JSON can carry",
                };
                Self::at(text, found.index().min(text.len()), message.to_owned())
            }
        }
    }

    /// The same error in a text that begins `lines` lines and `bytes` bytes into the body.
    pub(crate) fn moved(self, lines: usize, bytes: usize) -> Self {
        Self { line: self.line + lines, position: self.position + bytes, ..self }
    }

    fn at(text: &[u8], position: usize, message: String) -> Self {
        let before = text.get(..position).unwrap_or(text);
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        Self { message, line, column: position - line_start.min(position) + 1, position }
    }
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { message, line, column, position } = self;
        write!(f, "{message} (line {line}, column {column}, byte {position})")
    }
}

/// The byte at a line and column, both counted from 1; column 0 is the end of the line before.
fn position(text: &[u8], line: usize, column: usize) -> usize {
    let line_start: usize = text.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (line_start + column).saturating_sub(1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(text: &str) -> JsonError {
        let error = simd_json::to_borrowed_value(&mut text.as_bytes().to_vec()).unwrap_err();
        JsonError::locate(text.as_bytes(), &error)
    }

    #[test]
    fn the_place_is_exact() {
        let error = locate("{\n  \"phone\": 1,\n  \"zip\": oops\n}");
        assert_eq!((error.line, error.column, error.position), (3, 10, 25));
        let error = locate("{\"a\": 1,\n\"b\": \"hi \\x\"}");
        assert_eq!((error.line, error.column), (2, 11));
        let error = locate("{\"a\": \"x\\ny\", \"b\" 1}");
        assert_eq!((error.line, error.column, error.position), (1, 19, 18));
    }

    #[test]
    fn what_only_the_fast_parser_refuses_has_its_place_too() {
        for text in [
            "{\"a\": 1,\n \"b\": 993143214321423154315154321}",
            "{\"a\": 1,\n \"b\": 1e999}",
            "{\"a\": 1,\n \"b\": -1e999, \"c\": \"x\"}",
        ] {
            let error = locate(text);
            let number = text.find("\"b\": ").unwrap() + 5..=text.len();
            assert!(error.line == 2 && number.contains(&error.position), "{text}: {error}");
        }
    }

    #[test]
    fn every_refused_text_has_a_place_within_it() {
        let deep = "[".repeat(2_000) + &"]".repeat(2_000);
        for text in ["", "{", "{\"a\":1e999}", "{} {}", "[1,]", "nul", "\u{feff}", "{\"a\":\"\\ud800\"}", &deep] {
            let Err(found) = simd_json::to_borrowed_value(&mut text.as_bytes().to_vec()) else { continue };
            let error = JsonError::locate(text.as_bytes(), &found);
            assert!(error.position <= text.len() && error.line == 1, "{text:.20}: {error}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_told_where() {
        let bytes = b"{\"a\": \"\xff\"}";
        let found = simd_json::to_borrowed_value(&mut bytes.to_vec()).unwrap_err();
        assert_eq!(JsonError::locate(bytes, &found).position, 7);
    }
}
