//! How many values a body may hold: each takes memory many times its size.

use crate::refusal::Refusal;

/// Refuses JSON (or lines of it) of more than `max` values, lists and objects.
pub(crate) fn check(text: &[u8], max: usize) -> Result<(), Refusal> {
    // Each takes two bytes at least, one of its own and one that parts it from the next: most bodies need no count.
    if text.len() / 2 <= max || count(text, max) <= max { Ok(()) } else { Err(Refusal::TooManyValues { limit: max }) }
}

/// Values, lists and objects outside of strings, counted up to a little more than `max`. Never fewer than there are.
fn count(text: &[u8], max: usize) -> usize {
    let (mut count, mut is_string, mut bytes) = (1, false, text.iter());
    while count <= max
        && let Some(byte) = bytes.next()
    {
        match byte {
            b'\\' if is_string => _ = bytes.next(),
            b'"' => is_string = !is_string,
            b',' | b'[' | b'{' | b'\n' if !is_string => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_strings_is_no_value() {
        for (text, values) in [
            (r#"{"a":1}"#, 2),
            (r#"[1,2,[3],{"a":4}]"#, 7),
            (r#"{"a":"[1,2,3]","b":"\",[,"}"#, 3),
            ("[", 2),
            ("{}\n{}", 4),
        ] {
            assert_eq!(count(text.as_bytes(), 100), values, "{text}");
        }
        assert!(check(&b"[1,".repeat(100), 50).is_err());
        assert!(check(format!("[\"{}\"]", ",[".repeat(100)).as_bytes(), 50).is_ok());
        assert_eq!(count(&b"[".repeat(1_000), 10), 11, "it stops there");
    }
}
