//! Cells of CSV that spreadsheets would run as formulas.

use std::borrow::Cow;

/// Whether a spreadsheet takes the text for a formula, or would if it lost the apostrophes before it.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// The text as a cell that no spreadsheet runs: an apostrophe stands before what looks like a formula.
pub fn neutral(text: &str) -> Cow<'_, str> {
    if is_formula(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The text of a cell that [`neutral`] wrote.
pub fn meant(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_like_a_formula_and_each_goes_round() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''@x", "'quoted'", "a=b", "", "'"] {
            let cell = neutral(text);
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
            assert_eq!(meant(&cell), text);
        }
        assert_eq!(neutral("a note"), "a note");
    }
}
